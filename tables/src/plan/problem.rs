//! What planning works on: costs per block and clock, per change, and between frames.

use std::format;
use std::string::String;
use std::vec::Vec;

use super::{Outcome, PlanError};
use crate::units::Hertz;

/// A block's cost at every clock.
#[derive(Clone, Debug, PartialEq)]
pub struct BlockCost {
    /// Its name.
    pub name: String,
    /// Mean time at each clock.
    pub time_s: Vec<f64>,
    /// Standard deviation of that time.
    pub time_sd_s: Vec<f64>,
    /// Mean power while it runs, at each clock.
    pub power_w: Vec<f64>,
}

/// What a change of clock takes.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Change {
    /// Mean time from the write until the old clock ends.
    pub settle_s: f64,
    /// Its standard deviation.
    pub settle_sd_s: f64,
    /// The settle time at a high quantile: what a lead must cover for the change to be in effect in time.
    pub settle_late_s: f64,
    /// How long the GPU then does nothing. It draws the idle power of the new clock meanwhile.
    pub stall_s: f64,
}

/// How a frame's time varies about its mean.
#[derive(Clone, Debug, PartialEq)]
pub enum Noise {
    /// Known by moments only: Cantelli's bound with this correlation between any two blocks (1 where unknown).
    Moments {
        /// From 0 to 1.
        correlation: f64,
    },
    /// Measured over predicted time of whole frames, ascending; used where enough of them were measured.
    Frames {
        /// The ratios.
        ratios: Vec<f64>,
        /// Between any two blocks' deviations, from 0 to 1; feedback lives by it.
        correlation: f64,
    },
}

/// Everything that a plan depends on.
#[derive(Clone, Debug, PartialEq)]
pub struct Problem {
    /// Ascending.
    pub clocks: Vec<Hertz>,
    /// In the order in which they run.
    pub blocks: Vec<BlockCost>,
    /// Power between frames, at each clock.
    pub idle_w: Vec<f64>,
    /// From clock (row) to clock, row by row.
    pub changes: Vec<Change>,
    /// The latest end of a frame, from its start.
    pub deadline_s: f64,
    /// Between frame starts.
    pub period_s: f64,
    /// The accepted probability that a frame misses its deadline.
    pub risk: f64,
    /// How a frame's time varies.
    pub noise: Noise,
}

impl Problem {
    /// The cost of a change.
    pub fn change(&self, from: usize, to: usize) -> Change {
        self.changes.get(from * self.clocks.len() + to).copied().unwrap_or_default()
    }

    /// The time before the next frame at which its first clock is written: late settle time and stall.
    pub fn wake_lead_s(&self, from: usize, to: usize) -> f64 {
        let change = self.change(from, to);
        change.settle_late_s.max(change.settle_s) + change.stall_s
    }

    /// By how much a settle time varies: its standard deviation where the frame is judged by moments, and what lies
    /// between the mean and a late one where it is judged by quantiles.
    pub fn settle_spread_s(&self, from: usize, to: usize) -> f64 {
        let change = self.change(from, to);
        match self.frame_quantile() {
            Some(_) => (change.settle_late_s - change.settle_s).max(0.0),
            None => change.settle_sd_s,
        }
    }

    /// k of Cantelli's inequality P(T - mean >= k sd) <= 1 / (1 + k^2), for the accepted risk.
    pub fn cantelli(&self) -> f64 {
        ((1.0 - self.risk) / self.risk).sqrt()
    }

    /// The measured ratio that a frame exceeds with at most the accepted probability; at least 1.
    pub fn frame_quantile(&self) -> Option<f64> {
        match &self.noise {
            Noise::Frames { ratios, .. } if !ratios.is_empty() => {
                let rank = ((1.0 - self.risk) * ratios.len() as f64).ceil() as usize;
                Some(ratios[rank.clamp(1, ratios.len()) - 1].max(1.0))
            }
            _ => None,
        }
    }

    /// The time that a frame exceeds with at most the accepted probability.
    ///
    /// By moments: mean + k sqrt(rho (sum sd)^2 + (1 - rho) sum sd^2 + settle variance). By measured frames: mean +
    /// sqrt(((q - 1) mean)^2 + sum (late settle time's effect)^2), as frames and settle times vary independently.
    pub fn bound_s(&self, outcome: &Outcome) -> f64 {
        let k = self.cantelli();
        let squared = match (self.frame_quantile(), &self.noise) {
            (Some(q), _) => ((q - 1.0) * outcome.time_s).powi(2) + outcome.settle_var_s2,
            (None, Noise::Moments { correlation }) => k * k * self.variance(outcome, *correlation),
            (None, Noise::Frames { .. }) => k * k * self.variance(outcome, 1.0),
        };
        outcome.time_s + squared.sqrt()
    }

    /// The probability of a miss: counted over the measured frames, else Cantelli's bound on it.
    pub fn miss_probability(&self, outcome: &Outcome) -> f64 {
        let spare = self.deadline_s - outcome.time_s;
        if spare <= 0.0 {
            return 1.0;
        }
        match &self.noise {
            Noise::Frames { ratios, .. } if !ratios.is_empty() => {
                let worst = self.deadline_s - outcome.settle_var_s2.sqrt();
                let over = ratios.iter().filter(|ratio| **ratio * outcome.time_s > worst).count();
                over as f64 / ratios.len() as f64
            }
            Noise::Moments { correlation } => {
                let variance = self.variance(outcome, *correlation);
                variance / (variance + spare * spare)
            }
            Noise::Frames { .. } => 1.0,
        }
    }

    fn variance(&self, outcome: &Outcome, correlation: f64) -> f64 {
        correlation * outcome.common_sd_s.powi(2) + (1.0 - correlation) * outcome.block_var_s2 + outcome.settle_var_s2
    }

    /// Refuses what no plan can be made of.
    pub fn check(&self) -> Result<(), PlanError> {
        let clocks = self.clocks.len();
        let invalid = |what: String| Err(PlanError::Invalid(what));
        let positive = |x: f64| x.is_finite() && x > 0.0;
        let not_negative = |x: f64| x.is_finite() && x >= 0.0;
        if clocks == 0 || self.blocks.is_empty() {
            return invalid(format!("{clocks} clocks and {} blocks: nothing to plan", self.blocks.len()));
        }
        if !self.clocks.is_sorted_by(|a, b| a < b) {
            return invalid(String::from("the clocks do not ascend"));
        }
        for block in &self.blocks {
            let lengths = [block.time_s.len(), block.time_sd_s.len(), block.power_w.len()];
            if lengths != [clocks; 3]
                || !block.time_s.iter().all(|t| positive(*t))
                || !block.time_sd_s.iter().chain(&block.power_w).all(|x| not_negative(*x))
            {
                return invalid(format!("block {}: needs a time and a power at each of {clocks} clocks", block.name));
            }
        }
        if self.idle_w.len() != clocks || !self.idle_w.iter().all(|p| not_negative(*p)) {
            return invalid(format!("idle power: needed at each of {clocks} clocks"));
        }
        let sound =
            |c: &Change| [c.settle_s, c.settle_sd_s, c.settle_late_s, c.stall_s].iter().all(|x| not_negative(*x));
        if self.changes.len() != clocks * clocks || !self.changes.iter().all(sound) {
            return invalid(format!("settle time and stall: needed for each of {} changes", clocks * clocks));
        }
        if !(positive(self.deadline_s) && positive(self.period_s) && self.deadline_s <= self.period_s) {
            return invalid(format!(
                "deadline {} s and period {} s: the deadline is above 0 and at most the period",
                self.deadline_s, self.period_s
            ));
        }
        if !(self.risk > 0.0 && self.risk < 1.0) {
            return invalid(format!("risk {}: a probability above 0 and below 1", self.risk));
        }
        match &self.noise {
            Noise::Moments { correlation } | Noise::Frames { correlation, .. }
                if !(0.0..=1.0).contains(correlation) =>
            {
                invalid(format!("correlation {correlation}: between 0 and 1"))
            }
            Noise::Frames { ratios, .. } if !ratios.is_sorted() || !ratios.iter().all(|r| positive(*r)) => {
                invalid(String::from("the frames' ratios are positive and ascend"))
            }
            _ => Ok(()),
        }
    }
}
