//! From a sweep to a model: relative least squares with coefficients that are not negative, bounded and deterministic.
//!
//! Time forms are fitted per series, power forms with one V(f) for the device. What plans is their average, weighed by
//! leaving each training clock out in turn and corrected by what was measured; held-out clocks are looked at once, for
//! the report, when everything is fitted.

pub mod adaptive;
mod bursts;
mod changes;
mod emc;
mod evidence;
pub mod explain;
mod group;
mod late;
mod least;
mod marquardt;
mod outlier;
mod power;
mod powers;
mod quality;
mod sized;
pub mod suggest;
#[cfg(test)]
mod tests;
mod time;
mod times;

use std::collections::BTreeSet;
use std::string::String;
use std::vec::Vec;

use crate::model::{BoardId, DeviceConstants, FORMAT, Model, PowerForm, Series, TimeForm};
use crate::sample::{Kind, Sweep};
use crate::units::Hertz;

use group::Group;
pub use group::spread;
use times::Timed;

/// What to fit on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// Fit on this many clocks of each series, evenly spread over its list with both ends in; hold the others out.
    pub train: Option<usize>,
    /// Leave lower clocks out altogether.
    pub min_clock: Option<Hertz>,
    /// Add a series over all EMC clocks per block.
    pub emc_joint: bool,
    /// The training points (GPU clock, EMC clock) of those; empty for all.
    pub train_points: Vec<(Hertz, Hertz)>,
    /// Plan with this time form alone, as it is.
    pub form: Option<TimeForm>,
    /// Plan with this power form alone.
    pub power_form: Option<PowerForm>,
    /// Use every row that calibration did not reject, also those that no block can have produced at their clock: for
    /// judging what was fitted on others.
    pub keep_outliers: bool,
}

/// Why a sweep cannot be fitted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FitError {
    /// No block was measured.
    #[error("no row of kind `block` is left to fit: measure the blocks with `jetpace calibrate`")]
    NoBlocks,
    /// No block was measured at a clock that is to be used.
    #[error("no row of kind `block` has a clock of {0} or more: lower --min-clock")]
    AllBelow(Hertz),
    /// V(f) is one device's.
    #[error("rows of two devices, `{0}` and `{1}`: fit one sweep per device")]
    SeveralDevices(String, String),
    /// Nothing can be learnt of how a block depends on the clock.
    #[error("{what} was measured at one clock only, {clock}: measure it at two or more")]
    OneClock {
        /// The series.
        what: String,
        /// The clock.
        clock: Hertz,
    },
    /// A selection of fewer than two clocks.
    #[error("fitting on {0} clock(s): two are the fewest that show how a block depends on its clock")]
    FewTraining(usize),
    /// A named training point that was not measured.
    #[error("no row at GPU {gpu}, EMC {emc}, which the training points name")]
    TrainPoint {
        /// GPU clock.
        gpu: Hertz,
        /// EMC clock.
        emc: Hertz,
    },
}

/// Fits a sweep.
pub fn fit(sweep: &Sweep, options: &Options) -> Result<Model, FitError> {
    if let Some(few) = options.train.filter(|train| *train < 2) {
        return Err(FitError::FewTraining(few));
    }
    one_device(sweep)?;
    let (mut left, mut warnings) = (Vec::new(), Vec::new());
    let mut groups = group::groups(sweep, options, false, &mut left, &mut warnings)?;
    if groups.is_empty() {
        return Err(options.min_clock.map_or(FitError::NoBlocks, FitError::AllBelow));
    }
    if !options.keep_outliers {
        outlier::reject(&mut groups, group::watched(sweep), &mut left, &mut warnings);
    }
    cpu_clocks(&groups, &mut warnings);
    let clocks = sweep.clocks();
    let f_ref_hz = clocks.last().copied().unwrap_or(Hertz::ZERO);
    let emc_ref_hz = sweep.rows.iter().filter(|row| row.kind == Kind::Block).filter_map(|row| row.emc_freq).max();
    if groups.iter().any(|group| group.train.iter().any(|point| point.emc_freq_hz.is_none())) {
        warnings.push("rows without their EMC clock: the times hold for one that is not known".into());
    }
    let reference = times::Reference { f_hz: f_ref_hz.as_f64(), emc_hz: emc_ref_hz.map(Hertz::as_f64) };

    let (timed, time_process): (Vec<Timed>, _) = times::single(groups, reference, options.form);
    let powers = powers::fit(&timed, reference, options.power_form, options.form.is_none());
    let (voltage, power_process, mut powers) = (powers.voltage, powers.process, powers.fits);
    let mut series: Vec<Series> = timed
        .iter()
        .zip(&mut powers)
        .map(|(timed, (fits, scale))| timed.series(std::mem::take(fits), *scale))
        .collect();
    let groups: Vec<Group> = timed.into_iter().map(|timed| timed.group).collect();
    let sized = sized::fit(&groups, reference.f_hz, &voltage);
    let emc_base = powers::emc_base(&series);
    if options.emc_joint {
        for group in group::groups(sweep, options, true, &mut Vec::new(), &mut warnings)? {
            series.push(times::joint(group, reference).series(Vec::new(), 1.0));
        }
    }

    let mut model = Model {
        format: FORMAT,
        f_ref_hz,
        emc_ref_hz,
        board: sweep.board.clone().map(|digest| BoardId {
            digest,
            name: sweep.field("name").or(sweep.rows.first().map(|row| row.device.as_str())).unwrap_or_default().into(),
        }),
        power_of: sweep.power_of(),
        clocks_hz: clocks,
        series,
        device_constants: DeviceConstants { voltage, emc_base, time_process, power_process },
        sized,
        idle: changes::idle(sweep, &mut left),
        settle: changes::changes(sweep, Kind::Settle, &mut left),
        stall: changes::changes(sweep, Kind::Stall, &mut left),
        write: changes::writes(sweep, &mut left),
        frames: Vec::new(),
        left_out: left,
        warnings,
    };
    if !model.power_of.is_module() {
        let whose = model.power_of.word();
        model.warnings.push(std::format!(
            "power is the {whose} rail's, not the module's: plans keep that rail's energy low, and what the rest of the \
             module draws does not count"
        ));
    }
    model.frames = late::frames(sweep, &model);
    Ok(model)
}

/// The part of a block's time that does not depend on the GPU's clock is launching, and that depends on the CPU's.
fn cpu_clocks(groups: &[Group], warnings: &mut Vec<String>) {
    let moving = || groups.iter().filter(|group| group.cpu_moved.is_some());
    let Some((low, high)) = moving().filter_map(|group| group.cpu_moved).reduce(|a, b| (a.0.min(b.0), a.1.max(b.1)))
    else {
        return;
    };
    warnings.push(std::format!(
        "the CPU clock moved between {low} and {high} while blocks were measured: lock it, as the launch-bound part of {} \
         blocks depends on it",
        moving().count()
    ));
}

fn one_device(sweep: &Sweep) -> Result<(), FitError> {
    let devices: BTreeSet<&str> =
        sweep.rows.iter().filter(|row| row.kind == Kind::Block).map(|row| row.device.as_str()).collect();
    let mut devices = devices.into_iter();
    match (devices.next(), devices.next()) {
        (Some(a), Some(b)) => Err(FitError::SeveralDevices(a.into(), b.into())),
        _ => Ok(()),
    }
}
