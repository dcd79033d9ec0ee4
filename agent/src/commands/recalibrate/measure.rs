//! What a table is made by: the options of `calibrate` and `plan`, as its file has them, and their work.

use std::ffi::OsString;
use std::path::Path;

use jetpace_devfreq::guard::Store;
use jetpace_devfreq::nodes::Nodes;
use jetpace_tables::fit::{Options, fit};
use jetpace_tables::hw::{BlockRunner, Timer};
use jetpace_tables::units::Hertz;

use super::config::{Config, Of};
use super::place::{MODEL, SWEEP, TABLE};
use super::verdict;
use crate::args::options;
use crate::calibrate::{Done, Looked, Settings, Subject};
use crate::commands::calibrate::{self, Work};
use crate::commands::plan;
use crate::failure::Failure;
use crate::files::{model, sweep, table};
use crate::signals::Stop;

/// `jetpace calibrate` for a table.
fn calibration(config: &Config, sweep: &Path) -> Result<calibrate::Args, Failure> {
    let mut words: Vec<OsString> = [format!("--board={}", config.board).into(), "-o".into(), sweep.into()].into();
    match &config.of {
        Of::Network { weights, seed } => {
            words.extend(["--net".into(), config.network.clone().into(), "--seed".into(), seed.to_string().into()]);
            words.extend(weights.iter().flat_map(|weights| ["--weights".into(), weights.into()]));
        }
        Of::Program(program) => {
            words.extend([
                "--cmd".into(),
                program.command.clone().into(),
                "--model".into(),
                config.network.clone().into(),
            ]);
            words.extend(program.blocks.iter().flat_map(|block| ["--blocks".into(), block.into()]));
            words.extend(program.frames.iter().flat_map(|frames| ["--frames".into(), frames.to_string().into()]));
            words.extend(program.constants.iter().flat_map(|file| ["--board-constants".into(), file.into()]));
        }
    }
    options(words)
}

/// Looks at some clocks of the table's machine.
///
/// # Errors
/// What the machine says, and a signal.
pub fn look(config: &Config, clocks: &[Hertz], stop: &Stop) -> Result<Vec<Looked>, Failure> {
    // A look writes no sweep; the options of one have to name it.
    calibration(config, Path::new("none"))?.with_subject(Looking { clocks, stop })
}

/// A look at some clocks.
struct Looking<'a> {
    clocks: &'a [Hertz],
    stop: &'a Stop,
}

impl Work for Looking<'_> {
    type Done = Vec<Looked>;

    fn on<N, R, Q, T>(self, subject: Subject<N, R, Q, T>, _: Settings) -> Result<Vec<Looked>, Failure>
    where
        N: Nodes + Store + Clone,
        R: BlockRunner,
        Q: BlockRunner,
        T: Timer + Clone,
    {
        subject.look(self.clocks, self.stop)
    }
}

/// A whole sweep.
struct Sweeping<'a> {
    config: &'a Config,
    options: &'a calibrate::Args,
    path: &'a Path,
    stop: &'a Stop,
}

impl Work for Sweeping<'_> {
    type Done = Done;

    fn on<N, R, Q, T>(self, subject: Subject<N, R, Q, T>, usual: Settings) -> Result<Done, Failure>
    where
        N: Nodes + Store + Clone,
        R: BlockRunner,
        Q: BlockRunner,
        T: Timer + Clone,
    {
        let settings = self.options.settings(usual)?;
        let settings = self.config.budget.map_or(settings.clone(), |budget| settings.within(budget));
        subject.calibrate(self.path, &settings, self.stop, &mut |_| {})
    }
}

/// Measures, fits and plans into a folder; in words how it went. `same`: what is in use is of the same board and network.
///
/// # Errors
/// That it is refused, with what stays; what the machine says, and a signal.
pub fn measure(config: &Config, next: &Path, same: bool, stop: &Stop) -> Result<String, Failure> {
    let path = next.join(SWEEP);
    let options = calibration(config, &path)?;
    let done = options.with_subject(Sweeping { config, options: &options, path: &path, stop })?;
    let swept = sweep::read(&path)?;
    let new = fit(&swept, &Options::default())
        .map_err(|e| Failure::failed(format_args!("refused: the sweep cannot be fitted: {e}{}", stays(config))))?;
    // Where the sweep before is gone there is nothing to judge by.
    let before = same.then(|| sweep::read(&config.folder.join(SWEEP)).ok()).flatten();
    let judged = before.and_then(|before| verdict::held_out(&swept, &new, &before, &config.network));
    if let Some(errors) = judged.filter(|errors| errors.new > errors.old) {
        return Err(Failure::failed(format_args!(
            "refused: at clocks held out of its own sweep the new measurement is wrong by {:.2} %, that in use by {:.2} %, \
             which stays",
            errors.new * 1e2,
            errors.old * 1e2
        )));
    }
    model::write(&next.join(MODEL), &new)?;
    plan(config, next)?;
    let mut how = format!("{} rows measured", done.measured);
    if done.rejected > 0 {
        how += &format!(", {} rejected", done.rejected);
    }
    if let Some(errors) = judged {
        how += &format!("; wrong by {:.2} % at held-out clocks, before by {:.2} %", errors.new * 1e2, errors.old * 1e2);
    }
    Ok(how)
}

/// Plans the table of the model in a folder.
///
/// # Errors
/// That no plan holds, with what stays.
pub fn plan(config: &Config, next: &Path) -> Result<(), Failure> {
    let (model, path) = (next.join(MODEL), next.join(TABLE));
    let mut words = plan::words(&config.network, config.deadline, config.period, config.risk);
    words.extend(["-o".into(), path.clone().into(), model.into()]);
    let planned = options::<plan::Args>(words)?.table_alone();
    let planned = planned.map_err(|e| Failure::new(e.reason(), format_args!("refused: {e}{}", stays(config))))?;
    table::write(&path, &planned)
}

/// That what is in use stays, where something is.
fn stays(config: &Config) -> &'static str {
    if config.table().exists() { "; what was in use stays" } else { "; there is no table yet" }
}
