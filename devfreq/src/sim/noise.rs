//! What makes times vary: a slow drift, rare spikes, and bursts in which something else takes memory bandwidth. Drift
//! and bursts last longer than a frame, so late frames come in clusters.

use rand::{RngExt, SeedableRng};
use rand_distr::{Distribution, Exp1, StandardNormal};
use rand_pcg::Pcg64Mcg;

/// Standard deviation of the drift: run to run, times on a real TX2 vary by 0.7 %.
const DRIFT_SD: f64 = 0.007;
/// Time over which the drift forgets.
const DRIFT_S: f64 = 0.1;
/// Standard deviation of single executions about the drift.
const SINGLE_SD: f64 = 0.0015;
/// Mean time between spikes, and how long one lasts.
const SPIKE_EVERY_S: f64 = 4.0;
const SPIKE_S: (f64, f64) = (0.005, 0.015);
/// How much longer the GPU takes in a spike.
const SPIKE: (f64, f64) = (0.05, 0.20);
/// Mean time between bursts of EMC contention, and their mean length.
const BURST_EVERY_S: f64 = 4.0;
const BURST_S: f64 = 0.12;
/// Part of the bandwidth that a burst takes.
const BURST: (f64, f64) = (0.05, 0.18);

const NANOS: f64 = 1e9;

/// The one generator of a board, and the disturbances that it makes.
#[derive(Clone, Debug)]
pub(super) struct Noise {
    rng: Pcg64Mcg,
    quiet: bool,
    drift: f64,
    drift_at: u64,
    spike: f64,
    spike_turns_at: u64,
    taken: f64,
    burst_turns_at: u64,
}

impl Noise {
    pub fn new(seed: u64) -> Self {
        let mut noise = Self {
            rng: Pcg64Mcg::seed_from_u64(seed),
            quiet: false,
            drift: 0.0,
            drift_at: 0,
            spike: 0.0,
            spike_turns_at: 0,
            taken: 0.0,
            burst_turns_at: 0,
        };
        noise.drift = noise.normal();
        noise.spike_turns_at = noise.wait(SPIKE_EVERY_S);
        noise.burst_turns_at = noise.wait(BURST_EVERY_S);
        noise
    }

    /// Switches every disturbance of block times off, for judging.
    pub fn silence(&mut self) {
        self.quiet = true;
        (self.spike, self.taken) = (0.0, 0.0);
        (self.spike_turns_at, self.burst_turns_at) = (u64::MAX, u64::MAX);
    }

    /// When a spike or a burst begins or ends next.
    pub fn next_turn(&self) -> u64 {
        self.spike_turns_at.min(self.burst_turns_at)
    }

    /// Begins or ends what is due at `now`.
    pub fn turn(&mut self, now: u64) {
        if now >= self.spike_turns_at {
            let length = if self.spike > 0.0 {
                self.spike = 0.0;
                self.wait(SPIKE_EVERY_S)
            } else {
                self.spike = self.between(SPIKE);
                (self.between(SPIKE_S) * NANOS) as u64
            };
            self.spike_turns_at = now + length.max(1);
        }
        if now >= self.burst_turns_at {
            let length = if self.taken > 0.0 {
                self.taken = 0.0;
                self.wait(BURST_EVERY_S)
            } else {
                self.taken = self.between(BURST);
                self.wait(BURST_S)
            };
            self.burst_turns_at = now + length.max(1);
        }
    }

    /// How much longer the GPU takes now, as a fraction.
    pub fn spike(&self) -> f64 {
        self.spike
    }

    /// Part of the memory bandwidth that something else takes now.
    pub fn taken(&self) -> f64 {
        self.taken
    }

    /// What the time of an execution that starts now is multiplied with.
    pub fn execution(&mut self, now: u64) -> f64 {
        if self.quiet {
            return 1.0;
        }
        let keep = (-((now - self.drift_at) as f64 / NANOS) / DRIFT_S).exp();
        self.drift = keep * self.drift + (1.0 - keep * keep).sqrt() * self.normal();
        self.drift_at = now;
        (1.0 + DRIFT_SD * self.drift + SINGLE_SD * self.normal()).max(0.5)
    }

    /// Log-normal with a mean of 1 and about this relative standard deviation.
    pub fn spread(&mut self, sd: f64) -> f64 {
        (sd * self.normal() - 0.5 * sd * sd).exp()
    }

    /// From the standard normal distribution.
    pub fn normal(&mut self) -> f64 {
        StandardNormal.sample(&mut self.rng)
    }

    fn between(&mut self, (low, high): (f64, f64)) -> f64 {
        self.rng.random_range(low..high)
    }

    fn wait(&mut self, mean_s: f64) -> u64 {
        let waits: f64 = Exp1.sample(&mut self.rng);
        (waits * mean_s * NANOS) as u64
    }
}
