//! What a form leaves over, as a Gaussian process in log clock.
//!
//! Residuals of neighbouring clocks go together, as the same voltage step, memory clock or scheduling is behind them. An
//! exponential kernel assumes nothing smooth, as steps are not; so a prediction is the measurement where something was
//! measured and falls back to the form with the distance (kriging; Rasmussen and Williams 2006, chapter 2).

use std::vec::Vec;

use serde::{Deserialize, Serialize};

use crate::linear::{backward, cholesky, forward};
use crate::math;

/// How residuals vary, in logarithms, so that 0.01 is one per cent. One for the times and one for the powers of a device.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Process {
    /// Standard deviation of what a form leaves over.
    pub sd: f64,
    /// Over which difference of log clocks residuals stop going together.
    pub length: f64,
    /// Standard deviation of a measurement, run to run.
    pub noise: f64,
}

impl Process {
    /// A series whose residuals and noise are so many times those of its device.
    pub fn scaled(self, by: f64) -> Self {
        Self { sd: self.sd * by, noise: self.noise * by, ..self }
    }

    /// Covariance of the residuals at two log clocks.
    pub fn covariance(&self, a: f64, b: f64) -> f64 {
        self.sd * self.sd * math::exp(-(a - b).abs() / self.length)
    }
}

/// A process with the log clocks at which residuals were seen.
#[derive(Clone, Debug)]
pub struct Seen {
    process: Process,
    at: Vec<f64>,
    factor: Vec<Vec<f64>>,
}

/// A value and where it was measured.
#[derive(Clone, Copy, Debug)]
pub struct Measured {
    /// The log clock.
    pub at: f64,
    /// Seconds or watts.
    pub value: f64,
    /// How many repeats, each with the process's noise, it is a mean of.
    pub repeats: u32,
}

impl Seen {
    /// With single measurements. `None` where they contradict each other, as two without noise at one clock do.
    pub fn new(process: Process, at: Vec<f64>) -> Option<Self> {
        Self::repeated(process, at, &[])
    }

    /// With means of so many repeats, of one each where the list ends.
    pub fn repeated(process: Process, at: Vec<f64>, repeats: &[u32]) -> Option<Self> {
        let covariance = |(i, a): (usize, &f64)| -> Vec<f64> {
            let means = f64::from(repeats.get(i).copied().unwrap_or(1).max(1));
            let noise = |j: usize| if i == j { process.noise * process.noise / means } else { 0.0 };
            at.iter().enumerate().map(|(j, b)| process.covariance(*a, *b) + noise(j)).collect()
        };
        let matrix: Vec<Vec<f64>> = at.iter().enumerate().map(covariance).collect();
        let factor = cholesky(&matrix)?;
        Some(Self { process, at, factor })
    }

    /// Run-to-run noise.
    pub fn noise(&self) -> f64 {
        self.process.noise
    }

    /// What residuals at the clocks seen weigh elsewhere: the inverse covariance times them.
    pub fn solve(&self, residuals: &[f64]) -> Vec<f64> {
        backward(&self.factor, &forward(&self.factor, residuals))
    }

    /// The expected residual at a log clock.
    pub fn mean(&self, at: f64, solved: &[f64]) -> f64 {
        self.at.iter().zip(solved).map(|(seen, weight)| self.process.covariance(at, *seen) * weight).sum()
    }

    /// How far the residual at a log clock may be from that: a variance, the noise of a measurement not included.
    pub fn variance(&self, at: f64) -> f64 {
        let near: Vec<f64> = self.at.iter().map(|seen| self.process.covariance(at, *seen)).collect();
        let known: f64 = forward(&self.factor, &near).iter().map(|y| y * y).sum();
        (self.process.sd * self.process.sd - known).max(0.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec;

    #[test]
    fn it_keeps_to_what_was_seen_and_forgets_with_distance() {
        let process = Process { sd: 0.02, length: 0.5, noise: 1e-6 };
        let seen = Seen::new(process, vec![-1.0, 0.0]).unwrap();
        let solved = seen.solve(&[0.01, -0.03]);
        assert!((seen.mean(-1.0, &solved) - 0.01).abs() < 1e-6 && (seen.mean(0.0, &solved) + 0.03).abs() < 1e-6);
        assert!(seen.variance(0.0) < 1e-9);
        // The Markov property of the exponential kernel: beyond the last one seen only that one counts.
        assert!((seen.mean(0.5, &solved) + 0.03 * (-1.0_f64).exp()).abs() < 1e-6);
        assert!((seen.variance(0.5) - 4e-4 * (1.0 - (-2.0_f64).exp())).abs() < 1e-8);
        assert!(seen.mean(50.0, &solved).abs() < 1e-12 && (seen.variance(50.0) - 4e-4).abs() < 1e-12);
    }

    #[test]
    fn noise_is_not_followed() {
        let process = Process { sd: 0.02, length: 0.5, noise: 0.02 };
        let seen = Seen::new(process, vec![0.0]).unwrap();
        assert!((seen.mean(0.0, &seen.solve(&[0.04])) - 0.02).abs() < 1e-12);
        assert!((seen.variance(0.0) - 2e-4).abs() < 1e-12);
        // The mean of four has half the noise of one.
        let mean = Seen::repeated(process, vec![0.0], &[4]).unwrap();
        assert!((mean.mean(0.0, &mean.solve(&[0.04])) - 0.032).abs() < 1e-12);
        assert!(Seen::new(Process { noise: 0.0, ..process }, vec![0.0, 0.0]).is_none());
    }
}
