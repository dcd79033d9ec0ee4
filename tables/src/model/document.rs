//! The model file: what `fit` prints, and what planning needs besides.

use std::collections::BTreeMap;
use std::string::String;
use std::vec::Vec;

use serde::{Deserialize, Serialize};

use super::form::{PowerModel, TimeModel, Voltage};
use super::process::Process;
use crate::hw::PowerOf;
use crate::stats::{LEVELS, Spread};
use crate::units::Hertz;
use crate::work::Size;

fn same() -> f64 {
    1.0
}

/// The version of the document. Version 1 knew one form per series and no process of what it leaves over; it is read still.
pub const FORMAT: u32 = 2;

/// A model of one device: every block's time and power against the clock, and what changing clocks costs.
///
/// As JSON it is the document of `fit --json`; errors are fractions.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Model {
    /// [`FORMAT`].
    pub format: u32,
    /// The reference clock: the board's highest.
    pub f_ref_hz: Hertz,
    /// The reference of the memory's clock: the highest in the sweep; `None` where no row says its memory clock.
    #[serde(default)]
    pub emc_ref_hz: Option<Hertz>,
    /// The board that it holds for; published sweeps have none.
    #[serde(default)]
    pub board: Option<BoardId>,
    /// Whose power the sweep measured; every watt and joule of the model is of it.
    #[serde(default, skip_serializing_if = "PowerOf::is_module")]
    pub power_of: PowerOf,
    /// The board's available clocks, ascending.
    #[serde(default)]
    pub clocks_hz: Vec<Hertz>,
    /// One per (device, model, block, size, EMC clock), in the order of the sweep, which is the order in which a
    /// network's blocks run.
    pub series: Vec<Series>,
    /// What all blocks of the device share.
    pub device_constants: DeviceConstants,
    /// Blocks that were measured at several sizes.
    #[serde(default)]
    pub sized: Vec<SizedBlock>,
    /// Idle power per clock, ascending.
    #[serde(default)]
    pub idle: Vec<Idle>,
    /// From a write until the new clock is in effect, per change.
    #[serde(default)]
    pub settle: Vec<ChangeTime>,
    /// How long the GPU does nothing, per change.
    #[serde(default)]
    pub stall: Vec<ChangeTime>,
    /// What a write takes the writer.
    #[serde(default)]
    pub write: Option<Spread>,
    /// How whole frames vary, per network and EMC clock.
    #[serde(default)]
    pub frames: Vec<FrameNoise>,
    /// Rows that were left out, and why.
    #[serde(default)]
    pub left_out: Vec<Left>,
    /// What a user should know before relying on it.
    #[serde(default)]
    pub warnings: Vec<String>,
}

/// The board that a model holds for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BoardId {
    /// Hex digest of part number, release, power mode, TPC mask, clock list and EMC clock.
    pub digest: String,
    /// Its name, for people.
    pub name: String,
}

/// What all blocks of a device share.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DeviceConstants {
    /// V(f) of the default power form: the knee and slope.
    #[serde(flatten)]
    pub voltage: Voltage,
    /// Power that the memory adds at each of its clocks, over the lowest; empty where one was measured.
    #[serde(default)]
    pub emc_base: Vec<EmcBase>,
    /// What time forms leave over; `None`: forms are taken as they are.
    #[serde(default)]
    pub time_process: Option<Process>,
    /// What power forms leave over.
    #[serde(default)]
    pub power_process: Option<Process>,
}

/// Power that the memory adds at one of its clocks.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct EmcBase {
    /// The memory's clock.
    pub emc_freq_hz: Hertz,
    /// Over the lowest one.
    pub base_w: f64,
}

/// A block at one size and one EMC clock.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Series {
    /// The machine.
    pub device: String,
    /// The network.
    pub model: String,
    /// The block.
    pub block: String,
    /// Its amount of work.
    pub size: Size,
    /// The memory's clock; `None` where it is unknown, or where the series is over all of them.
    pub emc_freq_hz: Option<Hertz>,
    /// The CPU clock that the clock-independent part was measured at; the median where it moved by itself.
    #[serde(default)]
    pub cpu_freq_hz: Option<Hertz>,
    /// Whether the CPU's clock moved by itself.
    #[serde(default)]
    pub cpu_moving: bool,
    /// How many GPU clocks were measured, held-out ones included.
    pub clocks: usize,
    /// Every form, simplest first.
    pub time: Vec<TimeFit>,
    /// Every form, simplest first; empty where power was not measured.
    pub power: Vec<PowerFit>,
    /// Relative standard deviation of single executions about their mean.
    #[serde(default)]
    pub time_sd: f64,
    /// How many times the device's process of time this series' residuals and noise are.
    #[serde(default = "same")]
    pub time_scale: f64,
    /// The same of power.
    #[serde(default = "same")]
    pub power_scale: f64,
    /// What was fitted: the mean over repeats at each training clock.
    #[serde(default)]
    pub points: Vec<Point>,
    /// What was measured to be slower than the clock explains, at clocks that are in no fit: planned with as it is.
    #[serde(default)]
    pub apart: Vec<Point>,
}

/// A measured point: means over repeats.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Point {
    /// The GPU's clock.
    pub gpu_freq_hz: Hertz,
    /// The memory's clock, where known.
    pub emc_freq_hz: Option<Hertz>,
    /// Mean time.
    pub time_s: f64,
    /// Standard deviation of single executions; 0 where it was not measured.
    pub time_sd_s: f64,
    /// Mean power of the module.
    pub power_w: Option<f64>,
    /// How many repeats, measured apart from each other, the time is a mean of; 1 where they may have erred together.
    #[serde(default = "once", skip_serializing_if = "is_once")]
    pub repeats: u32,
    /// The same of power.
    #[serde(default = "once", skip_serializing_if = "is_once")]
    pub power_repeats: u32,
}

fn once() -> u32 {
    1
}

#[allow(clippy::trivially_copy_pass_by_ref)] // as serde asks
fn is_once(repeats: &u32) -> bool {
    *repeats == 1
}

/// One time form fitted to a series.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TimeFit {
    /// Form and parameters.
    #[serde(flatten)]
    pub model: TimeModel,
    /// The form with the most weight. Its errors are those of what plans: all forms by their weights, corrected by the
    /// process; every other form's are its own.
    pub default: bool,
    /// Its part in what plans; of one series they add up to 1. All 0 where the default form plans alone.
    #[serde(default)]
    pub weight: f64,
    /// Errors, intervals, warnings.
    #[serde(flatten)]
    pub quality: Quality,
}

/// One power form fitted to a series.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PowerFit {
    /// Form and parameters.
    #[serde(flatten)]
    pub model: PowerModel,
    /// V(f) as this form sees it: one for all series of the device, but another for each form.
    #[serde(flatten)]
    pub voltage: Voltage,
    /// The form with the most weight. Its errors are those of what plans: all forms by their weights, corrected by the
    /// process; every other form's are its own.
    pub default: bool,
    /// Its part in what plans; of one series they add up to 1. All 0 where the default form plans alone.
    #[serde(default)]
    pub weight: f64,
    /// Errors, intervals, warnings.
    #[serde(flatten)]
    pub quality: Quality,
}

/// How well a form fits; errors are mean absolute fractions.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Quality {
    /// The 95 % interval, low and high, of each fitted parameter that is not 0, where the data gives one.
    pub ci95: BTreeMap<String, [f64; 2]>,
    /// Over the training points.
    pub mape_fit: f64,
    /// Over the training clocks, each left out in turn; `None` where too few are left to fit.
    pub mape_lofo: Option<f64>,
    /// Over the held-out points.
    pub mape_heldout: Option<f64>,
    /// The largest over the held-out points.
    pub worst_heldout: Option<f64>,
    /// Of the default form, its own errors without the other forms and the process: held out, else left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mape_alone: Option<f64>,
    /// Of the default form, the share of held-out points within the 95 % interval of their prediction.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub covered95: Option<f64>,
    /// What the data does not determine.
    pub warnings: Vec<String>,
}

/// A block whose parameters are affine in its size: `[at size 0, per unit of size]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SizedBlock {
    /// The machine.
    pub device: String,
    /// The network.
    pub model: String,
    /// The block.
    pub block: String,
    /// The memory's clock.
    pub emc_freq_hz: Option<Hertz>,
    /// The sizes that were measured, ascending; others are extrapolated.
    pub sizes: Vec<Size>,
    /// Time: `smooth-roofline` with affine w, m and c.
    pub time: SizedTime,
    /// Power: P0, k, and the charge per execution E, affine in the size; `None` where power was not measured.
    pub power: Option<SizedPower>,
    /// Mean absolute error over the measured points.
    pub mape_fit: f64,
}

/// `smooth-roofline` with parameters affine in the size.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct SizedTime {
    /// Compute time at the reference clock.
    pub w_s: [f64; 2],
    /// Memory time.
    pub m_s: [f64; 2],
    /// Clock-independent time.
    pub c_s: [f64; 2],
    /// The exponent.
    pub q: f64,
}

/// `voltage-activity` with a charge affine in the size.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct SizedPower {
    /// Busy base power.
    pub p0_w: f64,
    /// What the GPU draws at the reference clock and flat voltage.
    pub k_w: f64,
    /// Charge per execution.
    pub e_j: [f64; 2],
}

/// Idle power at a clock.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Idle {
    /// The GPU's clock.
    pub gpu_freq_hz: Hertz,
    /// The memory's clock, where known.
    pub emc_freq_hz: Option<Hertz>,
    /// Mean power of the module.
    pub power_w: f64,
    /// Rows behind it.
    pub rows: usize,
}

/// What changing from one clock to another takes.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct ChangeTime {
    /// The clock before.
    pub from_hz: Hertz,
    /// The clock after.
    pub to_hz: Hertz,
    /// How long it takes.
    #[serde(flatten)]
    pub time: Spread,
}

/// What slows and speeds blocks up comes in bursts: how long one lasts, and how blocks deviate in it.
#[derive(Clone, Debug, PartialEq)]
pub struct Bursts {
    /// Mean length; lengths are taken as exponential.
    pub length_s: f64,
    /// Share of a block's variance that it has in common with what runs just before and behind it, from 0 to 1.
    pub share: f64,
    /// Deviations of blocks, in their own standard deviations: the quantiles at [`LEVELS`], ascending.
    pub quantiles: Vec<f64>,
}

/// How whole frames vary about what the model says; from sweeps whose repeats are frames.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FrameNoise {
    /// The network.
    pub model: String,
    /// The memory's clock.
    pub emc_freq_hz: Option<Hertz>,
    /// How many frames.
    pub count: usize,
    /// Mean over blocks of the correlation of two blocks' deviations in one frame; `None` for a single block.
    pub correlation: Option<f64>,
    /// Relative standard deviation of a frame's time.
    pub sd: f64,
    /// By what fraction frames take longer than predicted, ascending in clocks. What disturbs memory shows more at
    /// high GPU clocks.
    pub late: Vec<ClockLate>,
    /// How long what slows blocks lasts, on average, in seconds; `None` where blocks do not vary together. Lengths are
    /// taken as exponential.
    #[serde(default, alias = "spell_s")]
    pub burst_s: Option<f64>,
    /// Share of a block's variance that it has in common with what runs just before and behind it, from 0 to 1.
    #[serde(default, alias = "spell_share")]
    pub burst_share: f64,
    /// Deviations of blocks, in their own standard deviations: the quantiles at [`LEVELS`], ascending.
    #[serde(default, alias = "spell_quantiles")]
    pub burst_quantiles: Vec<f64>,
}

/// Frames that must have been measured so that an empirical quantile may be trusted: n x risk at least this.
const TAIL_FRAMES: f64 = 10.0;

impl FrameNoise {
    /// Whether enough frames were measured to say how late one is that is late by this risk.
    pub fn tells(&self, risk: f64) -> bool {
        self.count as f64 * risk >= TAIL_FRAMES
    }

    /// What varies within a frame, where it was measured.
    pub fn bursts(&self) -> Option<Bursts> {
        Some(Bursts { length_s: self.burst_s?, share: self.burst_share, quantiles: self.burst_quantiles.clone() })
    }

    /// Quantiles of lateness at [`LEVELS`] at a clock: those of the nearest clock measured; none where none was.
    pub fn late_at(&self, clock: Hertz) -> [f64; LEVELS.len()] {
        let nearest = self.late.iter().min_by_key(|late| late.gpu_freq_hz.get().abs_diff(clock.get()));
        let mut levels = [0.0; LEVELS.len()];
        if let Some(late) = nearest {
            levels.iter_mut().zip(&late.quantiles).for_each(|(level, late)| *level = *late);
        }
        levels
    }
}

/// How late frames are at a clock.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ClockLate {
    /// The GPU's clock.
    pub gpu_freq_hz: Hertz,
    /// Measured over predicted time - 1: the quantiles at [`LEVELS`], ascending.
    pub quantiles: Vec<f64>,
}

/// A row that was not used.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Left {
    /// Its line in the sweep; 0 where it came from no file.
    pub line: u64,
    /// Which measurement.
    pub what: String,
    /// Why.
    pub why: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bursts_are_read_under_their_earlier_name() {
        let old = r#"{"model": "n", "emc_freq_hz": null, "count": 1, "correlation": 0.5, "sd": 0.1, "late": [],
            "spell_s": 0.25, "spell_share": 0.5, "spell_quantiles": [1.5]}"#;
        let frames: FrameNoise = serde_json::from_str(old).unwrap();
        assert_eq!((frames.burst_s, frames.burst_share, frames.burst_quantiles), (Some(0.25), 0.5, std::vec![1.5]));
    }
}
