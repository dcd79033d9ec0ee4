//! Where to measure next: the clock that makes predictions of a frame's time least uncertain.

use std::vec::Vec;

use super::marquardt::{cholesky, forward};
use super::quality::{Fitted, moved};
use crate::model::{Model, Series, TimeModel};
use crate::units::Hertz;

/// A clock to measure, and what that promises.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize)]
pub struct Suggestion {
    /// The clock.
    pub clock_hz: Hertz,
    /// Standard deviation of the predicted time of a frame, as a fraction, over all clocks of the board: as it is.
    pub sd_now: f64,
    /// The same once every block was measured there.
    pub sd_then: f64,
}

/// One block's parameters: how well they are known, and what predictions make of them.
struct Known {
    /// The inverse of their covariance.
    information: Vec<Vec<f64>>,
    /// For each clock of the board: the prediction's relative change per unit of each parameter.
    slopes: Vec<Vec<f64>>,
    /// For each clock of the board: the time.
    times: Vec<f64>,
    noise: f64,
}

/// The `count` best clocks, the second given the first and so on: each makes the variance of the frame's predicted time,
/// averaged over the board's clocks, least (the fits linearised at their parameters, each parameter known beforehand to
/// within itself). Blocks count with their share of the frame. Clocks measured already are candidates too.
pub fn suggest(model: &Model, count: usize) -> Vec<Suggestion> {
    let mut known: Vec<Known> =
        model.series.iter().filter(|series| !series.is_joint()).filter_map(|series| Known::of(model, series)).collect();
    let mut found = Vec::new();
    for _ in 0..count {
        let now = spread(&known, None);
        let then = (0..model.clocks_hz.len()).map(|at| (at, spread(&known, Some(at))));
        let Some((at, then)) = then.min_by(|a, b| a.1.total_cmp(&b.1)) else { break };
        for block in &mut known {
            block.information = block.with(at);
        }
        found.push(Suggestion { clock_hz: model.clocks_hz[at], sd_now: now.sqrt(), sd_then: then.sqrt() });
    }
    found
}

/// Mean over clocks of the frame time's relative variance, with one more measurement at a clock.
fn spread(known: &[Known], more: Option<usize>) -> f64 {
    let clocks = known.first().map_or(0, |block| block.times.len());
    let mut variances = std::vec![0.0; clocks];
    let mut frames = std::vec![0.0; clocks];
    for block in known {
        let information = more.map_or_else(|| block.information.clone(), |at| block.with(at));
        let Some(factor) = cholesky(&information) else { continue };
        for (i, (slopes, time)) in block.slopes.iter().zip(&block.times).enumerate() {
            let relative: f64 = forward(&factor, slopes).iter().map(|y| y * y).sum();
            variances[i] += relative * time * time;
            frames[i] += time;
        }
    }
    let relative = variances.iter().zip(&frames).map(|(variance, frame)| variance / (frame * frame));
    relative.sum::<f64>() / clocks.max(1) as f64
}

impl Known {
    fn of(model: &Model, series: &Series) -> Option<Self> {
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
