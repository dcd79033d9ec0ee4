//! A block's time over the GPU's and the CPU's clock: what launches kernels is on the CPU, so the block takes as long as
//! the slower of both.

use std::string::String;
use std::vec::Vec;

use serde::{Deserialize, Serialize};

use crate::linear::{backward, cholesky, forward};
use crate::math;
use crate::units::Hertz;
use crate::work::Size;

/// One block over all clocks of the GPU and the CPU that it was measured at: t = ((w / x)^q + (h / y)^q + m^q)^(1/q) + c,
/// with x and y the clocks over the highest ones, corrected by a Gaussian process in the logarithms of both.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CpuJoint {
    /// The machine.
    pub device: String,
    /// The network.
    pub model: String,
    /// The block.
    pub block: String,
    /// Its amount of work.
    pub size: Size,
    /// The memory's clock, where it is known.
    pub emc_freq_hz: Option<Hertz>,
    /// The highest clocks: where x and y are 1.
    pub gpu_ref_hz: Hertz,
    /// As above, of the CPU.
    pub cpu_ref_hz: Hertz,
    /// Form and parameters.
    pub time: CpuTime,
    /// What the form leaves over.
    pub process: CpuProcess,
    /// What was fitted.
    pub points: Vec<CpuPoint>,
    /// Mean relative error at the points, of the corrected form.
    pub mape_fit: f64,
    /// Mean relative error at the points that were held out; `None` where none was.
    pub mape_heldout: Option<f64>,
    /// The largest of them.
    pub worst_heldout: Option<f64>,
}

/// The form's parameters, in seconds at the highest clocks.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct CpuTime {
    /// What the GPU's clock moves.
    pub w_s: f64,
    /// What the CPU's clock moves: launching.
    pub h_s: f64,
    /// What neither moves, and runs beside the others.
    pub m_s: f64,
    /// What neither moves, and runs after them.
    pub c_s: f64,
    /// How sharply the slowest of them wins.
    pub q: f64,
}

/// A Gaussian process in the logarithms of both clocks, exponential in each.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct CpuProcess {
    /// Standard deviation of what the form leaves over, relative.
    pub sd: f64,
    /// Difference of the GPU's log clocks over which residuals stop going together.
    pub gpu_length: f64,
    /// The same of the CPU's.
    pub cpu_length: f64,
    /// Standard deviation of a measurement, run to run.
    pub noise: f64,
}

/// The mean time at one pair of clocks.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct CpuPoint {
    /// GPU clock.
    pub gpu_freq_hz: Hertz,
    /// CPU clock.
    pub cpu_freq_hz: Hertz,
    /// Mean over repeats.
    pub time_s: f64,
}

impl CpuTime {
    /// Seconds at relative clocks of GPU and CPU.
    pub fn time_s(&self, x: f64, y: f64) -> f64 {
        self.beside(x, y).0 + self.c_s
    }

    /// By how much of itself the time falls as the CPU's clock rises: 1 where the GPU only waits.
    pub fn waits(&self, x: f64, y: f64) -> f64 {
        let (beside, launch) = self.beside(x, y);
        if beside > 0.0 { launch * beside / (beside + self.c_s) } else { 0.0 }
    }

    /// The smooth maximum, and launching's share of it.
    fn beside(&self, x: f64, y: f64) -> (f64, f64) {
        let sides = [self.w_s / x, self.h_s / y, self.m_s];
        let highest = sides.into_iter().fold(0.0, f64::max);
        if highest <= 0.0 {
            return (0.0, 0.0);
        }
        let powers = sides.map(|side| math::pow(side / highest, self.q));
        let sum: f64 = powers.iter().sum();
        (highest * math::pow(sum, 1.0 / self.q), powers[1] / sum)
    }
}

impl CpuProcess {
    /// Covariance of residuals at two places: log clocks of GPU and CPU.
    pub fn covariance(&self, a: (f64, f64), b: (f64, f64)) -> f64 {
        let far = (a.0 - b.0).abs() / self.gpu_length + (a.1 - b.1).abs() / self.cpu_length;
        self.sd * self.sd * math::exp(-far)
    }
}

impl CpuJoint {
    /// Ready to be asked.
    pub fn predictor(&self) -> CpuPredictor<'_> {
        let places: Vec<(f64, f64)> = self.points.iter().map(|p| self.place(p.gpu_freq_hz, p.cpu_freq_hz)).collect();
        let residual = |point: &CpuPoint| {
            let (x, y) = self.relative(point.gpu_freq_hz, point.cpu_freq_hz);
            math::ln(point.time_s / self.time.time_s(x, y).max(f64::MIN_POSITIVE))
        };
        let residuals: Vec<f64> = self.points.iter().map(residual).collect();
        let factor = cholesky(&covariances(&self.process, &places));
        let solved = factor.map_or_else(Vec::new, |factor| backward(&factor, &forward(&factor, &residuals)));
        CpuPredictor { joint: self, places, solved }
    }

    fn relative(&self, gpu: Hertz, cpu: Hertz) -> (f64, f64) {
        (gpu.as_f64() / self.gpu_ref_hz.as_f64(), cpu.as_f64() / self.cpu_ref_hz.as_f64())
    }

    fn place(&self, gpu: Hertz, cpu: Hertz) -> (f64, f64) {
        let (x, y) = self.relative(gpu, cpu);
        (math::ln(x), math::ln(y))
    }

    /// The share of the time that waits for the CPU at these clocks.
    pub fn waits(&self, gpu: Hertz, cpu: Hertz) -> f64 {
        let (x, y) = self.relative(gpu, cpu);
        self.time.waits(x, y)
    }
}

/// Covariances of measurements at some places.
pub fn covariances(process: &CpuProcess, places: &[(f64, f64)]) -> Vec<Vec<f64>> {
    let cell = |i: usize, j: usize| {
        process.covariance(places[i], places[j]) + if i == j { process.noise * process.noise } else { 0.0 }
    };
    (0..places.len()).map(|i| (0..places.len()).map(|j| cell(i, j)).collect()).collect()
}

/// A joint series with its corrections solved.
#[derive(Clone, Debug)]
pub struct CpuPredictor<'a> {
    joint: &'a CpuJoint,
    places: Vec<(f64, f64)>,
    solved: Vec<f64>,
}

impl CpuPredictor<'_> {
    /// Mean time in seconds at a GPU and a CPU clock.
    pub fn time_s(&self, gpu: Hertz, cpu: Hertz) -> f64 {
        let (x, y) = self.joint.relative(gpu, cpu);
        let at = self.joint.place(gpu, cpu);
        let seen = self.places.iter().zip(&self.solved);
        let over: f64 = seen.map(|(place, weight)| self.joint.process.covariance(at, *place) * weight).sum();
        self.joint.time.time_s(x, y) * math::exp(over)
    }
}
