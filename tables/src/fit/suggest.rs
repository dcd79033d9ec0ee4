//! Where to measure next: the clock that makes the time of a frame least uncertain, of one as it was planned or of frames
//! at any clock.

use std::vec::Vec;

use super::quality::{Fitted, moved};
use crate::linear::{cholesky, forward};
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

/// One block's parameters: how well they are known, and what predictions make of them.
struct Known<'a> {
    series: &'a Series,
    /// The inverse of their covariance.
    information: Vec<Vec<f64>>,
    /// For each clock of the board: the prediction's relative change per unit of each parameter.
    slopes: Vec<Vec<f64>>,
    /// For each clock of the board: the time.
    times: Vec<f64>,
    noise: f64,
}

/// The `count` best clocks, the second given the first and so on: each makes the variance of a frame's predicted time,
/// averaged over the frames that are planned, least (the fits linearised at their parameters, each parameter known
/// beforehand to within itself). Blocks count with their share of the frame. Where nothing is planned all blocks are one
/// frame, at each of the board's clocks. Clocks measured already are candidates too.
pub fn suggest(model: &Model, count: usize, planned: &[PlannedFrame<'_>]) -> Vec<Suggestion> {
    let mut known: Vec<Known<'_>> =
        model.series.iter().filter(|series| !series.is_joint()).filter_map(|series| Known::of(model, series)).collect();
    let frames = match planned {
        [] => (0..model.clocks_hz.len()).map(|at| (0..known.len()).map(|block| (block, at)).collect()).collect(),
        planned => planned.iter().map(|frame| in_places(frame, &known, &model.clocks_hz)).collect::<Vec<Vec<_>>>(),
    };
    let mut found = Vec::new();
    for _ in 0..count {
        let now = spread(&known, &frames, None);
        let then = (0..model.clocks_hz.len()).map(|at| (at, spread(&known, &frames, Some(at))));
        let Some((at, then)) = then.min_by(|a, b| a.1.total_cmp(&b.1)) else { break };
        for block in &mut known {
            block.information = block.with(at);
        }
        found.push(Suggestion { clock_hz: model.clocks_hz[at], sd_now: now.sqrt(), sd_then: then.sqrt() });
    }
    found
}

/// Blocks and clocks by their places; a block of which nothing is known does not count.
fn in_places(frame: &PlannedFrame<'_>, known: &[Known<'_>], clocks: &[Hertz]) -> Vec<(usize, usize)> {
    let place = |(series, clock): &(&Series, Hertz)| {
        let block = known.iter().position(|block| core::ptr::eq(block.series, *series))?;
        Some((block, clocks.iter().position(|listed| listed == clock)?))
    };
    frame.iter().filter_map(place).collect()
}

/// Mean over frames of their time's relative variance, with one more measurement at a clock.
fn spread(known: &[Known<'_>], frames: &[Vec<(usize, usize)>], more: Option<usize>) -> f64 {
    let factors: Vec<_> = known
        .iter()
        .map(|block| cholesky(&more.map_or_else(|| block.information.clone(), |at| block.with(at))))
        .collect();
    let relative = |frame: &Vec<(usize, usize)>| {
        let (mut variance, mut total) = (0.0, 0.0);
        for &(block, at) in frame {
            let (Some(factor), block) = (&factors[block], &known[block]) else { continue };
            let relative: f64 = forward(factor, &block.slopes[at]).iter().map(|y| y * y).sum();
            variance += relative * block.times[at].powi(2);
            total += block.times[at];
        }
        if total > 0.0 { variance / (total * total) } else { 0.0 }
    };
    frames.iter().map(relative).sum::<f64>() / frames.len().max(1) as f64
}

impl<'a> Known<'a> {
    fn of(model: &Model, series: &'a Series) -> Option<Self> {
        let fit = series.time_fit(None)?;
        let reference = model.f_ref_hz.as_f64();
        let slopes = |clock: Hertz| slopes(fit.model, clock.as_f64() / reference);
        // Known beforehand: each parameter to within itself, one that is 0 not at all uncertain.
        let n = slopes(model.f_ref_hz).len();
        let mut information: Vec<Vec<f64>> =
            (0..n).map(|i| (0..n).map(|j| if i == j { 1.0 } else { 0.0 }).collect()).collect();
        let noise = series.time_sd.max(1e-4);
        for point in &series.points {
            add(&mut information, &slopes(point.gpu_freq_hz), noise);
        }
        Some(Self {
            series,
            information,
            slopes: model.clocks_hz.iter().map(|clock| slopes(*clock)).collect(),
            times: model.clocks_hz.iter().map(|clock| fit.model.time_s(clock.as_f64() / reference, 1.0)).collect(),
            noise,
        })
    }

    fn with(&self, at: usize) -> Vec<Vec<f64>> {
        let mut information = self.information.clone();
        add(&mut information, &self.slopes[at], self.noise);
        information
    }
}

fn add(information: &mut [Vec<f64>], slopes: &[f64], noise: f64) {
    for (row, a) in information.iter_mut().zip(slopes) {
        for (cell, b) in row.iter_mut().zip(slopes) {
            *cell += a * b / (noise * noise);
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
