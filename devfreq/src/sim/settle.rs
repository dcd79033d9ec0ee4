//! What a change of the clock takes: the old clock runs on for the settle time, then the GPU stalls, then the new one
//! runs. A second write while a change is pending replaces it and starts the settle time anew.
//!
//! Measured on Orin Nano by others: about 5 ms, 5 to 10 ms, and more at low clocks; stalls below 100 us. How it
//! depends on the two clocks is not published: here it is longer the lower the lower one is.

use super::noise::Noise;

/// Mean settle time where both clocks are high.
const SETTLE_S: f64 = 0.005;
/// Mean stall.
const STALL_S: f64 = 100e-6;
/// Relative standard deviation of the stall.
const STALL_SD: f64 = 0.15;

/// Mean settle time between two clocks, each as a fraction of the highest.
pub(super) fn mean_s(from: f64, to: f64) -> f64 {
    SETTLE_S * (0.9 + 0.1 / from.min(to).max(0.05))
}

/// Mean stall.
pub(super) const fn stall_s() -> f64 {
    STALL_S
}

/// A change that was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Pending {
    to: usize,
    at: u64,
    stall: u64,
}

/// The clock of the GPU's domain, by position in the list.
#[derive(Clone, Debug)]
pub(super) struct ClockPath {
    running: usize,
    pending: Option<Pending>,
    stalled_until: u64,
}

impl ClockPath {
    pub fn new(running: usize) -> Self {
        Self { running, pending: None, stalled_until: 0 }
    }

    /// The clock in effect.
    pub fn running(&self) -> usize {
        self.running
    }

    /// Whether the GPU does nothing because its clock is being changed.
    pub fn stalled(&self, now: u64) -> bool {
        now < self.stalled_until
    }

    /// When something happens by itself: a change comes into effect, or a stall ends.
    pub fn next(&self, now: u64) -> u64 {
        let stall = if self.stalled(now) { self.stalled_until } else { u64::MAX };
        self.pending.map_or(stall, |pending| pending.at.min(stall))
    }

    /// Carries out what is due.
    pub fn turn(&mut self, now: u64) {
        if let Some(pending) = self.pending.take_if(|pending| now >= pending.at) {
            self.running = pending.to;
            self.stalled_until = now + pending.stall;
        }
    }

    /// The GPU is told to run a clock; `settle_s` is the mean settle time from a clock.
    pub fn ask(&mut self, to: usize, now: u64, settle_s: impl Fn(usize) -> f64, noise: &mut Noise) {
        if self.pending.map_or(self.running, |pending| pending.to) == to {
            return;
        }
        if to == self.running {
            // Back to what runs: nothing is left to change.
            self.pending = None;
            return;
        }
        let settle = noise.settle_s(settle_s(self.running));
        let stall = STALL_S * noise.spread(STALL_SD);
        self.pending = Some(Pending { to, at: now + (settle * 1e9) as u64, stall: (stall * 1e9) as u64 });
    }

    /// The domain is switched on afresh: it starts at its clock.
    pub fn restart(&mut self, at: usize) {
        *self = Self::new(at);
    }
}
