//! Where to measure next: the clock that makes the time of a frame least uncertain, of one as it was planned or of frames
//! at any clock.

use std::vec::Vec;

use super::quality::{Fitted, moved};
use crate::math;
use crate::model::{Model, Series, TimeModel};
use crate::units::Hertz;

/// A clock to measure, and what that promises.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize)]
pub struct Suggestion {
    /// The clock.
    pub clock_hz: Hertz,
    /// Standard deviation of the predicted time of the frames that count, as a fraction of it: as it is.
    pub sd_now: f64,
    /// The same once every block was measured there.
    pub sd_then: f64,
}

/// A frame: its blocks' series, and the clock that each runs at.
pub type PlannedFrame<'a> = Vec<(&'a Series, Hertz)>;

/// What is known of one block's time, over the board's clocks and those that it was measured at.
struct Known<'a> {
    series: &'a Series,
    clocks: Vec<Hertz>,
    /// At each clock: the time.
    times: Vec<f64>,
    /// Between each two clocks: the covariance of what the predictions may be off, relative.
    covariance: Vec<Vec<f64>>,
    noise: f64,
}

/// The `count` best clocks, the second given the first and so on: each makes the variance of a frame's predicted time,
/// averaged over the frames that are planned, least. What is not known is the default form's parameters (linearised; each
/// known beforehand to within itself) and what the form leaves over, which is the device's process. Blocks count with
/// their share of the frame. Where nothing is planned all blocks are one frame, at each of the board's clocks. Clocks
/// measured already are candidates too.
pub fn suggest(model: &Model, count: usize, planned: &[PlannedFrame<'_>]) -> Vec<Suggestion> {
    let mut known: Vec<Known<'_>> =
        model.series.iter().filter(|series| !series.is_joint()).filter_map(|series| Known::of(model, series)).collect();
    let frames = match planned {
        [] => {
            let frame =
                |clock: &Hertz| known.iter().enumerate().filter_map(|(b, k)| Some((b, k.place(*clock)?))).collect();
            model.clocks_hz.iter().map(frame).collect()
        }
        planned => planned.iter().map(|frame| in_places(frame, &known)).collect::<Vec<Vec<_>>>(),
    };
    let mut found = Vec::new();
    for _ in 0..count {
        let now = spread(&known, &frames, None);
        let then = model.clocks_hz.iter().map(|clock| (*clock, spread(&known, &frames, Some(*clock))));
        let Some((clock_hz, then)) = then.min_by(|a, b| a.1.total_cmp(&b.1)) else { break };
        for block in &mut known {
            block.learn(clock_hz);
        }
        found.push(Suggestion { clock_hz, sd_now: now.sqrt(), sd_then: then.sqrt() });
    }
    found
}

/// Blocks and clocks by their places; a block of which nothing is known does not count.
fn in_places(frame: &PlannedFrame<'_>, known: &[Known<'_>]) -> Vec<(usize, usize)> {
    let place = |(series, clock): &(&Series, Hertz)| {
        let block = known.iter().position(|block| core::ptr::eq(block.series, *series))?;
        Some((block, known[block].place(*clock)?))
    };
    frame.iter().filter_map(place).collect()
}

/// Mean over frames of their time's relative variance, with one more measurement at a clock.
fn spread(known: &[Known<'_>], frames: &[Vec<(usize, usize)>], more: Option<Hertz>) -> f64 {
    let places: Vec<Option<usize>> = known.iter().map(|block| block.place(more?)).collect();
    let relative = |frame: &Vec<(usize, usize)>| {
        let (mut variance, mut total) = (0.0, 0.0);
        for &(block, at) in frame {
            let time = known[block].times[at];
            variance += known[block].variance(at, places[block]) * time * time;
            total += time;
        }
        if total > 0.0 { variance / (total * total) } else { 0.0 }
    };
    frames.iter().map(relative).sum::<f64>() / frames.len().max(1) as f64
}

impl<'a> Known<'a> {
    fn of(model: &Model, series: &'a Series) -> Option<Self> {
        let fit = series.time_fit(None)?;
        let mut clocks: Vec<Hertz> =
            model.clocks_hz.iter().copied().chain(series.points.iter().map(|point| point.gpu_freq_hz)).collect();
        clocks.sort_unstable();
        clocks.dedup();
        let relative = |clock: &Hertz| clock.as_f64() / model.f_ref_hz.as_f64();
        let slopes: Vec<Vec<f64>> = clocks.iter().map(|clock| slopes(fit.model, relative(clock))).collect();
        let process = model.device_constants.time_process.map(|process| process.scaled(series.time_scale));
        let covariance = |a: usize, b: usize| {
            let form: f64 = slopes[a].iter().zip(&slopes[b]).map(|(a, b)| a * b).sum();
            let place = |i: usize| math::ln(relative(&clocks[i]));
            form + process.map_or(0.0, |process| process.covariance(place(a), place(b)))
        };
        let all = 0..clocks.len();
        let mut known = Self {
            series,
            times: clocks.iter().map(|clock| fit.model.time_s(relative(clock), 1.0)).collect(),
            covariance: all.clone().map(|a| all.clone().map(|b| covariance(a, b)).collect()).collect(),
            noise: process.map_or(series.time_sd.max(1e-4), |process| process.noise),
            clocks,
        };
        for point in &series.points {
            known.learn(point.gpu_freq_hz);
        }
        Some(known)
    }

    fn place(&self, clock: Hertz) -> Option<usize> {
        self.clocks.iter().position(|known| *known == clock)
    }

    /// Relative variance of the predicted time at a clock, were it measured at one more.
    fn variance(&self, at: usize, more: Option<usize>) -> f64 {
        let gain =
            |more: usize| self.covariance[at][more].powi(2) / (self.covariance[more][more] + self.noise * self.noise);
        (self.covariance[at][at] - more.map_or(0.0, gain)).max(0.0)
    }

    /// What a measurement at a clock teaches of all.
    fn learn(&mut self, clock: Hertz) {
        let Some(here) = self.place(clock) else { return };
        let seen = self.covariance[here].clone();
        let total = seen[here] + self.noise * self.noise;
        for (row, a) in self.covariance.iter_mut().zip(&seen) {
            for (cell, b) in row.iter_mut().zip(&seen) {
                *cell -= a * b / total;
            }
        }
    }
}

/// Relative change of the time at a clock per relative change of each free parameter.
fn slopes(mut model: TimeModel, x: f64) -> Vec<f64> {
    let named: Vec<(&'static str, f64)> = model.params().iter().map(|(name, value)| (*name, **value)).collect();
    let free = named.into_iter().enumerate().filter(|(_, (name, value))| model.is_free(name) && *value > 0.0);
    free.map(|(i, (_, value))| {
        let (up, down) = (moved(model, i, value * 1.0001), moved(model, i, value * 0.9999));
        (up.time_s(x, 1.0) - down.time_s(x, 1.0)) / (2e-4 * model.time_s(x, 1.0))
    })
    .collect()
}
