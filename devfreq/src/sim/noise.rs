//! What makes times vary: a slow drift, rare spikes, and bursts in which something else takes memory bandwidth. Drift
//! and bursts last longer than a frame, so late frames come in clusters.

use rand::{RngExt, SeedableRng};
use rand_distr::{Distribution, Exp1, StandardNormal};
use rand_pcg::Pcg64Mcg;

/// By how much things vary.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Profile {
    /// Standard deviation of the drift, and the time over which it forgets.
    pub drift_sd: f64,
    pub drift_s: f64,
    /// Standard deviation of single executions about the drift, and the share of them that vary five times as much.
    pub single_sd: f64,
    pub tail: f64,
    /// Mean time between spikes, how long one lasts, and how much longer the GPU takes in one.
    pub spike_every_s: f64,
    pub spike_s: (f64, f64),
    pub spike: (f64, f64),
    /// Mean time between bursts of EMC contention, their mean length, and the part of the bandwidth that they take.
    pub burst_every_s: f64,
    pub burst_s: f64,
    pub burst: (f64, f64),
    /// Relative standard deviation of the settle time; the share of changes that take `slow_s` instead.
    pub settle_sd: f64,
    pub slow: f64,
    pub slow_s: f64,
}

impl Profile {
    /// Run to run, times on a real TX2 vary by 0.7 %; the rest is assumed.
    pub const CALM: Self = Self {
        drift_sd: 0.007,
        drift_s: 0.1,
        single_sd: 0.0015,
        tail: 0.0,
        spike_every_s: 4.0,
        spike_s: (0.005, 0.015),
        spike: (0.05, 0.20),
        burst_every_s: 4.0,
        burst_s: 0.12,
        burst: (0.05, 0.18),
        settle_sd: 0.2,
        slow: 0.0,
        slow_s: 0.05,
    };

    /// Heavy tails, longer bursts, and now and then a change that takes ten times as long.
    pub const HARSH: Self = Self {
        drift_sd: 0.010,
        drift_s: 0.5,
        single_sd: 0.004,
        tail: 0.03,
        spike_s: (0.005, 0.03),
        spike: (0.05, 0.30),
        burst_s: 0.25,
        burst: (0.05, 0.22),
        settle_sd: 0.18,
        slow: 0.005,
        ..Self::CALM
    };
}

/// In the heavy tail of single executions.
const TAIL_WIDER: f64 = 5.0;

const NANOS: f64 = 1e9;

/// The one generator of a board, and the disturbances that it makes.
#[derive(Clone, Debug)]
pub(super) struct Noise {
    rng: Pcg64Mcg,
    profile: Profile,
    quiet: bool,
    drift: f64,
    drift_at: u64,
    spike: f64,
    spike_turns_at: u64,
    taken: f64,
    burst_turns_at: u64,
}

impl Noise {
    pub fn new(seed: u64, profile: Profile) -> Self {
        let mut noise = Self {
            rng: Pcg64Mcg::seed_from_u64(seed),
            profile,
            quiet: false,
            drift: 0.0,
            drift_at: 0,
            spike: 0.0,
            spike_turns_at: 0,
            taken: 0.0,
            burst_turns_at: 0,
        };
        noise.drift = noise.normal();
        noise.spike_turns_at = noise.wait(profile.spike_every_s);
        noise.burst_turns_at = noise.wait(profile.burst_every_s);
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
                self.wait(self.profile.spike_every_s)
            } else {
                self.spike = self.between(self.profile.spike);
                (self.between(self.profile.spike_s) * NANOS) as u64
            };
            self.spike_turns_at = now + length.max(1);
        }
        if now >= self.burst_turns_at {
            let length = if self.taken > 0.0 {
                self.taken = 0.0;
                self.wait(self.profile.burst_every_s)
            } else {
                self.taken = self.between(self.profile.burst);
                self.wait(self.profile.burst_s)
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
        let Profile { drift_sd, drift_s, single_sd, tail, .. } = self.profile;
        let keep = (-((now - self.drift_at) as f64 / NANOS) / drift_s).exp();
        self.drift = keep * self.drift + (1.0 - keep * keep).sqrt() * self.normal();
        self.drift_at = now;
        // Only where there is a tail, so that boards without one stay what they were.
        let wider = if tail > 0.0 && self.rng.random_range(0.0..1.0) < tail { TAIL_WIDER } else { 1.0 };
        (1.0 + drift_sd * self.drift + single_sd * wider * self.normal()).max(0.5)
    }

    /// A settle time about its mean.
    pub fn settle_s(&mut self, mean_s: f64) -> f64 {
        let Profile { settle_sd, slow, slow_s, .. } = self.profile;
        if slow > 0.0 && self.rng.random_range(0.0..1.0) < slow {
            return slow_s.max(mean_s);
        }
        mean_s * self.spread(settle_sd)
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
