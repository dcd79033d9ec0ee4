//! `jetpace recalibrate`: what cron runs at night. Looks whether the tables that this machine keeps still hold, and measures
//! anew where they do not; what is worse than what is there is thrown away.

pub mod config;
mod place;
mod verdict;

use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};

use clap::Parser;
use jetpace_devfreq::guard::Store;
use jetpace_devfreq::nodes::Nodes;
use jetpace_tables::fit::{Options, fit};
use jetpace_tables::hw::{BlockRunner, Timer};
use jetpace_tables::model::Model;
use jetpace_tables::table::Table;
use jetpace_tables::units::Hertz;

use super::calibrate::{self, Work};
use super::{plan, predict};
use crate::args::BoardArg;
use crate::calibrate::{Done, Looked, Subject};
use crate::failure::{Failure, Reason};
use crate::files::output::{print_text, say};
use crate::files::{model, sweep, table};
use crate::runtime::remote;
use crate::runtime::wire::Request;
use crate::signals::Stop;
use config::Config;
use place::{MODEL, Place, SWEEP, TABLE};

/// Options of `recalibrate`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The tables; all of the folder's where none is named
    #[arg(value_name = "NAME", required_if_eq("rollback", "true"))]
    names: Vec<String>,
    /// The folder with a file NAME.toml for every table
    #[arg(long, default_value = config::FOLDER, value_name = "FOLDER")]
    config: PathBuf,
    /// Say what would be done, by what can be told without a measurement; nothing is measured or written
    #[arg(long)]
    dry_run: bool,
    /// Put the table before this one back into use
    #[arg(long, conflicts_with = "dry_run")]
    rollback: bool,
}

/// What has to be done for a table.
enum Need {
    /// A whole sweep, for this reason. The model in use is one of this board and network where it is given.
    Sweep(String, Option<Box<Model>>),
    /// The model holds, as this says; but another plan is asked for.
    Plan(String),
    /// All holds, as this says.
    Nothing(String),
}

/// What is in use.
struct InUse {
    table: Box<Table>,
    model: Model,
}

impl Args {
    /// Does it for every table; one that cannot be done keeps no other from being done.
    pub fn run(self) -> Result<(), Failure> {
        let files = self.files()?;
        let (mut configs, mut failed) = (Vec::new(), None);
        for file in files {
            match Config::read(&file) {
                Ok(config) => configs.push(config),
                Err(failure) => hold_back(&mut failed, failure),
            }
        }
        config::apart(&configs)?;
        let stop = Stop::install()?;
        for config in &configs {
            let name = &config.name;
            let said = if self.dry_run { self.dry_run(config) } else { self.keep(config, &stop) };
            match said {
                Ok(line) if self.dry_run => print_text(&format!("{name}: {line}\n"))?,
                Ok(line) => say(format_args!("{name}: {line}")),
                Err(e) => hold_back(&mut failed, Failure::new(e.reason(), format_args!("{name}: {e}"))),
            }
            if stop.signal().is_some() {
                failed.iter().for_each(say);
                stop.die();
            }
        }
        failed.map_or(Ok(()), Err)
    }

    /// The files of the tables that are named.
    fn files(&self) -> Result<Vec<PathBuf>, Failure> {
        let mut files = config::files(&self.config)?;
        let folder = self.config.display();
        let all: Vec<String> = files.iter().map(|file| config::name(file)).collect();
        if let Some(unknown) = self.names.iter().find(|name| !all.contains(name)) {
            let there = if all.is_empty() { "none".to_owned() } else { all.join(", ") };
            return Err(Failure::usage(format_args!("{folder} has no {unknown}.toml; it has {there}")));
        }
        if !self.names.is_empty() {
            files.retain(|file| self.names.contains(&config::name(file)));
        }
        if files.is_empty() {
            say(format_args!("{folder}: no file NAME.toml, so there is nothing to do"));
        }
        Ok(files)
    }

    /// Keeps one table; what came of it in a line.
    fn keep(&self, config: &Config, stop: &Stop) -> Result<String, Failure> {
        let place = Place::open(&config.folder)?;
        // What a killed run left.
        place.give_up()?;
        if self.rollback {
            place.roll_back()?;
            return Ok(format!("rolled back: the table before is in use again, {}", place.file(TABLE).display()));
        }
        the_clock_is_free(config)?;
        let made = match need(config, Some(stop))? {
            Need::Nothing(how) => return Ok(format!("kept: {how}")),
            Need::Plan(why) => {
                let next = place.begin_with_model()?;
                plan(config, &next).map(|()| format!("swapped: planned anew, {why}"))
            }
            Need::Sweep(why, old) => {
                let next = place.begin()?;
                let measured = measure(config, &next, old.as_deref(), stop);
                let measured = measured.map_err(|e| Failure::new(e.reason(), format_args!("{e} ({why})")));
                measured.map(|how| format!("swapped: {why}; {how}"))
            }
        };
        let swapped = made.and_then(|line| place.swap().map(|()| line));
        if swapped.is_err() {
            // What was begun is of no use; the next one that begins removes it where this fails.
            let _ = place.give_up();
        }
        swapped
    }

    /// What would be done, as far as that can be told without a measurement.
    fn dry_run(&self, config: &Config) -> Result<String, Failure> {
        if self.rollback {
            return Ok("would be rolled back".to_owned());
        }
        nobody_is_active(config)?;
        Ok(match need(config, None)? {
            Need::Nothing(how) => how,
            Need::Plan(why) => format!("would be planned anew, {why}"),
            Need::Sweep(why, _) => format!("would be measured: {why}"),
        })
    }
}

/// Keeps a failure for the end of the program, and says the one that was kept before.
fn hold_back(held: &mut Option<Failure>, failure: Failure) {
    if let Some(before) = held.replace(failure) {
        say(before);
    }
}

/// Something that is done another time.
fn not_now(why: impl fmt::Display) -> Failure {
    Failure::new(Reason::NotNow, why)
}

/// What the daemon says of itself, or a run in its place; `None` where nobody listens, or nobody answers.
fn daemon(config: &Config) -> Option<serde_json::Value> {
    let status = remote::document(&config.board.daemon()?, &Request::Status).ok()?;
    serde_json::from_slice(&status).ok()
}

/// Refuses to measure while a program has its clock from the daemon, or runs in its place.
fn nobody_is_active(config: &Config) -> Result<(), Failure> {
    let Some(status) = daemon(config) else { return Ok(()) };
    let Some(client) = status["clients"].as_array().and_then(|clients| clients.first()) else { return Ok(()) };
    Err(not_now(format_args!("not now: process {} has its clock from the daemon", client["pid"])))
}

/// The same where nobody is active, but a daemon waits for somebody: one process has this machine's clocks. A virtual board
/// in memory is nobody else's.
fn the_clock_is_free(config: &Config) -> Result<(), Failure> {
    nobody_is_active(config)?;
    match daemon(config).filter(|_| !matches!(config.board, BoardArg::Sim(_))) {
        Some(status) => Err(not_now(format_args!(
            "not now: the daemon (process {}) has the clocks; stop it meanwhile, as jetpace-recalibrate.service does",
            status["pid"]
        ))),
        None => Ok(()),
    }
}

/// What has to be done, by a look at the board where there is somebody to stop it.
fn need(config: &Config, look: Option<&Stop>) -> Result<Need, Failure> {
    let sweep = |why: &str| Ok(Need::Sweep(why.to_owned(), None));
    let Some(found) = in_use(config) else { return sweep("there was no table") };
    let Ok(InUse { table, model }) = found else { return sweep("what was there could not be read") };
    let board = config.board.discover()?;
    if !board.digests().include(table.board()) {
        return sweep("the board, its power mode or its release is another");
    }
    if !model.networks().contains(&config.network.as_str()) {
        return sweep("the table was of another network");
    }
    let asked = (config.deadline, config.period, (config.risk * 1e6).round() as u32);
    let other = (asked != (table.deadline(), table.period(), table.risk_ppm())).then(|| {
        format!("for a deadline of {} and a period of {}, risk {}", config.deadline, config.period, config.risk)
    });
    let Some(stop) = look else {
        return Ok(other.map_or(Need::Nothing("would be looked at".to_owned()), Need::Plan));
    };
    let (drifted, how) = look_at(config, &table, &model, stop)?;
    Ok(match (drifted, other) {
        (true, _) => Need::Sweep(how, Some(Box::new(model))),
        (false, Some(other)) => Need::Plan(other),
        (false, None) => Need::Nothing(how),
    })
}

/// The table and the model that are in use, where they are whole and belong together; `None` where there are none.
fn in_use(config: &Config) -> Option<Result<InUse, Failure>> {
    let path = config.table();
    if !path.exists() {
        return None;
    }
    let read = || {
        let table = table::read(&path)?;
        let (model, digest) = model::read(&config.folder.join(MODEL))?;
        if *table.model() != digest {
            return Err(Failure::usage(format_args!("{} is not of the model beside it", path.display())));
        }
        Ok(InUse { table, model })
    };
    Some(read().inspect_err(|e| log::warn!("{e}")))
}

/// Looks at the lowest and the highest of the table's clocks: whether the model does not hold any more, and how far it is
/// off.
fn look_at(config: &Config, table: &Table, model: &Model, stop: &Stop) -> Result<(bool, String), Failure> {
    let clocks: Vec<Hertz> =
        [table.clocks().first(), table.clocks().last()].into_iter().flatten().map(|at| at.clock).collect();
    let looked = calibration(config, Path::new("none"))?.with_subject(Looking { clocks: &clocks, stop })?;
    if let Some(spoilt) = looked.iter().find(|looked| !looked.spoilt.is_empty()) {
        return Err(not_now(format_args!("not now: at {} nothing can be told: {}", spoilt.clock, spoilt.spoilt)));
    }
    if looked.len() < clocks.len() {
        return Err(not_now("not now: a clock of the table is not allowed, so nothing can be told"));
    }
    let blocks = model.blocks(&config.network, table.emc());
    if blocks.is_empty() {
        return Ok((true, "the model says nothing of the table's memory clock".to_owned()));
    }
    let off = |looked: &Looked| verdict::off(looked, &predict::frame(&blocks, looked.clock, None));
    let seen: Vec<verdict::Off> = looked.iter().map(off).collect();
    let said =
        |off: &verdict::Off| format!("at {} time {:+.1} %, power {:+.1} %", off.clock, off.time * 1e2, off.power * 1e2);
    let said = seen.iter().map(said).collect::<Vec<_>>().join("; ");
    let drifted = seen.iter().any(|off| off.drifted);
    Ok((drifted, if drifted { format!("drift: {said}") } else { format!("holds: {said}") }))
}

/// Options as they stand behind a command.
#[derive(Parser)]
struct Line<A: clap::Args> {
    #[command(flatten)]
    options: A,
}

fn options<A: clap::Args>(words: Vec<OsString>) -> Result<A, Failure> {
    let words = std::iter::once(OsString::from("jetpace")).chain(words);
    Ok(Line::<A>::try_parse_from(words).map_err(Failure::usage)?.options)
}

/// `jetpace calibrate` for a table.
fn calibration(config: &Config, sweep: &Path) -> Result<calibrate::Args, Failure> {
    let mut words: Vec<OsString> =
        ["--board".into(), config.board.to_string().into(), "--net".into(), config.network.clone().into()].into();
    words.extend(["--seed".into(), config.seed.to_string().into(), "-o".into(), sweep.into()]);
    if let Some(weights) = &config.weights {
        words.extend(["--weights".into(), weights.into()]);
    }
    options(words)
}

/// A look at some clocks.
struct Looking<'a> {
    clocks: &'a [Hertz],
    stop: &'a Stop,
}

impl Work for Looking<'_> {
    type Done = Vec<Looked>;

    fn on<N, R, Q, T>(self, subject: Subject<N, R, Q, T>) -> Result<Vec<Looked>, Failure>
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

    fn on<N, R, Q, T>(self, subject: Subject<N, R, Q, T>) -> Result<Done, Failure>
    where
        N: Nodes + Store + Clone,
        R: BlockRunner,
        Q: BlockRunner,
        T: Timer + Clone,
    {
        let settings = self.options.settings(subject.settings())?;
        let settings = self.config.budget.map_or(settings.clone(), |budget| settings.within(budget));
        subject.calibrate(self.path, &settings, self.stop, &mut |_| {})
    }
}

/// Measures, fits and plans into a folder; in words how it went. The old model is one of the same board and network.
fn measure(config: &Config, next: &Path, old: Option<&Model>, stop: &Stop) -> Result<String, Failure> {
    let path = next.join(SWEEP);
    let options = calibration(config, &path)?;
    let done = options.with_subject(Sweeping { config, options: &options, path: &path, stop })?;
    let swept = sweep::read(&path)?;
    let new = fit(&swept, &Options::default()).map_err(|e| {
        Failure::failed(format_args!("refused: the sweep cannot be fitted: {e}; what was in use stays"))
    })?;
    let judged = old.and_then(|old| verdict::held_out(&swept, &new, old, &config.network));
    if let Some(errors) = judged.filter(|errors| errors.new > errors.old) {
        return Err(Failure::failed(format_args!(
            "refused: at clocks held out of its own sweep the new model is wrong by {:.2} %, that in use by {:.2} %, which \
             stays",
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
fn plan(config: &Config, next: &Path) -> Result<(), Failure> {
    let (model, path) = (next.join(MODEL), next.join(TABLE));
    let mut words: Vec<OsString> = vec![model.into(), "--net".into(), config.network.clone().into()];
    let time = |time: jetpace_tables::units::Nanos| OsString::from(format!("{}ns", time.get()));
    words.extend(["--deadline".into(), time(config.deadline), "--period".into(), time(config.period)]);
    words.extend(["--risk".into(), config.risk.to_string().into(), "-o".into(), path.clone().into()]);
    let planned = options::<plan::Args>(words)?.table_alone();
    let planned = planned.map_err(|e| Failure::new(e.reason(), format_args!("refused: {e}; what was in use stays")))?;
    table::write(&path, &planned)
}
