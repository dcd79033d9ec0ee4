//! What was measured, against a model: whether it still holds, and which of two is better.

use jetpace_tables::fit::{Options, fit};
use jetpace_tables::model::Model;
use jetpace_tables::sample::Sweep;
use jetpace_tables::stats;
use jetpace_tables::units::Hertz;

use crate::calibrate::Looked;
use crate::commands::predict::{self, Frame};

/// A look is not within the model where it is so many standard deviations off: with two clocks, time and power, one
/// night in 500 would be taken for drift by chance if frames were independent. On virtual boards it was one in 120, where a
/// disturbance lasted as long as the look. It costs a sweep, which is judged before it is used.
const DEVIATIONS: f64 = 3.5;
/// What is not worth a sweep: the relative error of a frame's time.
const TIME: f64 = 0.01;
/// And of its power, which goes with the chip's temperature.
const POWER: f64 = 0.05;

/// What a look says of a model.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Off {
    /// The clock.
    pub clock: Hertz,
    /// Relative, of what was predicted: above 0 where frames take longer.
    pub time: f64,
    /// The same of power; 0 where it is not known.
    pub power: f64,
    /// What either may be off before it counts: the model's uncertainty and the look's own.
    pub within: (f64, f64),
    /// Whether one of them is off by more.
    pub drifted: bool,
}

/// How far a look is off what was predicted for its clock; between blocks the GPU idles, at this power where it is known.
pub fn off(looked: &Looked, predicted: &Frame, idle_w: Option<f64>) -> Off {
    let times: Vec<f64> = looked.times.iter().map(|time| time.as_secs_f64()).collect();
    let mean = stats::mean(&times);
    let squares: f64 = times.iter().map(|time| (time / mean - 1.0).powi(2)).sum();
    // The standard error of the mean, as a fraction.
    let error = (squares / (times.len().max(2) - 1) as f64 / times.len().max(1) as f64).sqrt();
    let time = mean / predicted.time_s - 1.0;
    let expected = |watts: f64| looked.busy * watts + (1.0 - looked.busy) * idle_w.unwrap_or(watts);
    let power = looked.power.zip(predicted.power_w);
    let power = power.map_or(0.0, |(seen, watts)| seen.as_watts_f64() / expected(watts) - 1.0);
    let within = |least: f64, sd: f64| least.max(DEVIATIONS * sd);
    let within =
        (within(TIME, predicted.time_sd.unwrap_or(0.0).hypot(error)), within(POWER, predicted.power_sd.unwrap_or(0.0)));
    let drifted = time.abs() > within.0 || power.abs() > within.1;
    Off { clock: looked.clock, time, power, within, drifted }
}

/// Errors of two models at points of a sweep that neither was fitted on, as fractions: of a frame's time, and of its power
/// where that is known, together.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct HeldOut {
    /// A model of this sweep's other points.
    pub new: f64,
    /// A model of the same points of the sweep before.
    pub old: f64,
}

/// Judges a new sweep and the one in use by the clocks that are held out of every second one: which of the two says more of
/// them, each without having seen them. `None` where they have no such point in common.
pub fn held_out(sweep: &Sweep, whole: &Model, before: &Sweep, network: &str) -> Option<HeldOut> {
    let clocks = whole.series.iter().map(|series| series.clocks).max()?;
    let options = Options { train: Some(clocks / 2 + 1), ..Options::default() };
    let [half, old] = [fit(sweep, &options).ok()?, fit(before, &options).ok()?];
    let (mut new_errors, mut old_errors) = (Vec::new(), Vec::new());
    for emc in whole.emc_clocks(network) {
        let [measured, new, old] = [whole, &half, &old].map(|model| model.blocks(network, emc));
        let (Some(first), Some(trained)) = (measured.first(), new.first()) else { continue };
        if measured.len() != new.len() || measured.len() != old.len() {
            continue;
        }
        let trained: Vec<Hertz> = trained.series.points.iter().map(|point| point.gpu_freq_hz).collect();
        let held_out =
            first.series.points.iter().map(|point| point.gpu_freq_hz).filter(|clock| !trained.contains(clock));
        for clock in held_out {
            let points =
                measured.iter().map(|block| block.series.points.iter().find(|point| point.gpu_freq_hz == clock));
            let Some(points) = points.collect::<Option<Vec<_>>>() else { continue };
            let time_s: f64 = points.iter().map(|point| point.time_s).sum();
            let energy_j: Option<f64> = points.iter().map(|point| Some(point.power_w? * point.time_s)).sum();
            let error = |of: &[_]| {
                let frame = predict::frame(of, clock, None);
                let power = energy_j.zip(frame.power_w).map_or(0.0, |(joules, watts)| watts * time_s / joules - 1.0);
                (frame.time_s / time_s - 1.0).abs() + power.abs()
            };
            new_errors.push(error(&new));
            old_errors.push(error(&old));
        }
    }
    (!new_errors.is_empty()).then(|| HeldOut { new: stats::mean(&new_errors), old: stats::mean(&old_errors) })
}
