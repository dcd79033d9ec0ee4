//! What planning works on: costs per block and clock, per change, and between frames.

use std::format;
use std::string::String;
use std::vec::Vec;

use super::error::PlanError;
use super::writes::Outcome;
use crate::math;
use crate::model::Bursts;
use crate::stats::{LEVELS, at_level, cantelli, normal_quantile};
use crate::units::Hertz;

/// By how much the time of blocks together varies, as a share of what it were if all were late together; `together` is the
/// correlation of two blocks by the time between their middles.
fn spread(blocks: &[BlockCost], clock: usize, together: impl Fn(f64) -> f64) -> f64 {
    let (mut start_s, mut sum, mut variance) = (0.0, 0.0, 0.0);
    let mut before: Vec<(f64, f64)> = Vec::new();
    for block in blocks {
        let (time_s, sd_s) = (block.time_s[clock], block.time_sd_s[clock]);
        let middle_s = start_s + 0.5 * time_s;
        let shared: f64 = before.iter().map(|(at_s, other_s)| other_s * together(middle_s - at_s)).sum();
        variance += sd_s * (sd_s + 2.0 * shared);
        sum += sd_s;
        start_s += time_s;
        before.push((middle_s, sd_s));
    }
    variance.sqrt() / sum
}

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
pub struct ChangeCost {
    /// Mean time from the write until the old clock ends.
    pub settle_s: f64,
    /// Its standard deviation.
    pub settle_sd_s: f64,
    /// The settle time at a high quantile: what a lead must cover for the change to be in effect in time.
    pub settle_late_s: f64,
    /// How long the GPU then does nothing, with the time that the write takes the launching thread. It draws the idle
    /// power of the new clock meanwhile.
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
    /// Whole frames, where enough of them were measured.
    Frames {
        /// By how much frames take longer than their mean, per clock, ascending: the quantiles at [`LEVELS`], in units
        /// of the sum of the blocks' `time_sd_s` at that clock.
        deviations: Vec<[f64; LEVELS.len()]>,
        /// Between any two blocks' deviations, from 0 to 1.
        correlation: f64,
        /// What varies within a frame, where it was measured.
        bursts: Option<Bursts>,
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
    pub changes: Vec<ChangeCost>,
    /// The latest end of a frame, from its start.
    pub deadline_s: f64,
    /// Between frame starts.
    pub period_s: f64,
    /// The accepted probability that a frame misses its deadline.
    pub risk: f64,
    /// How a frame's time varies.
    pub noise: Noise,
    /// Whether a change may be written a lead before a boundary. A table of several size classes holds no leads.
    pub leads: bool,
}

impl Problem {
    /// The cost of a change.
    pub fn change(&self, from: usize, to: usize) -> ChangeCost {
        self.changes.get(from * self.clocks.len() + to).copied().unwrap_or_default()
    }

    /// The time before the next frame at which its first clock is written: late settle time and stall.
    pub fn wake_lead_s(&self, from: usize, to: usize) -> f64 {
        let change = self.change(from, to);
        change.settle_late_s.max(change.settle_s) + change.stall_s
    }

    /// Behind a change: for how long no lead is written, as the change may be a late one, and would be replaced. Who
    /// writes at a block's start can look; a timer cannot.
    pub fn blind_s(&self, from: usize, to: usize) -> f64 {
        let change = self.change(from, to);
        (change.settle_late_s - change.settle_s).max(0.0)
    }

    /// By how much a settle time varies: its standard deviation where the frame is judged by moments, and what lies
    /// between the mean and a late one where it is judged by quantiles.
    pub fn settle_spread_s(&self, from: usize, to: usize) -> f64 {
        match &self.noise {
            Noise::Frames { .. } => self.blind_s(from, to),
            Noise::Moments { .. } => self.change(from, to).settle_sd_s,
        }
    }

    /// k of Cantelli's inequality for the accepted risk.
    pub fn cantelli(&self) -> f64 {
        cantelli(self.risk)
    }

    /// By how much a frame at a clock takes longer than its mean, more than which only the share 1 - p of them take, in
    /// units of the sum of the blocks' standard deviations there. Measured, or normal with the blocks' common part.
    pub fn deviation(&self, clock: usize, p: f64) -> f64 {
        match &self.noise {
            Noise::Frames { deviations, .. } => deviations.get(clock).map_or(0.0, |of| at_level(of, p)),
            Noise::Moments { correlation } => correlation.sqrt() * normal_quantile(p),
        }
    }

    /// What a block at a clock adds to the part of a frame's spread that is common to all blocks: its standard
    /// deviation or, where whole frames were measured, how late it is in a frame as late as the risk allows.
    pub fn spread_s(&self, block: &BlockCost, clock: usize) -> f64 {
        match &self.noise {
            Noise::Frames { .. } => block.time_sd_s[clock] * self.deviation(clock, 1.0 - self.risk).max(0.0),
            Noise::Moments { .. } => block.time_sd_s[clock],
        }
    }

    /// The time that a frame exceeds with at most the accepted probability.
    ///
    /// By moments: mean + k sqrt(rho (sum sd)^2 + (1 - rho) sum sd^2 + settle variance). By measured frames: mean +
    /// sqrt((sum of late blocks)^2 + sum (late settle time's effect)^2), as frames and settle times vary independently.
    pub fn bound_s(&self, outcome: &Outcome) -> f64 {
        let squared = match &self.noise {
            Noise::Frames { .. } => outcome.common_sd_s.powi(2) + outcome.settle_var_s2,
            Noise::Moments { correlation } => self.cantelli().powi(2) * self.variance(outcome, *correlation),
        };
        outcome.time_s + squared.sqrt()
    }

    fn variance(&self, outcome: &Outcome, correlation: f64) -> f64 {
        correlation * outcome.common_sd_s.powi(2) + (1.0 - correlation) * outcome.block_var_s2 + outcome.settle_var_s2
    }

    /// The same for the first blocks alone: what is late in one block is made up for in others, and less so in fewer. By
    /// bursts, where they were measured, blocks deviate together as far as they lie close: with share x exp(-lag /
    /// length); else any two of them with the correlation of all.
    pub fn first_blocks(&self, count: usize) -> Self {
        let mut problem = Self { blocks: self.blocks.iter().take(count).cloned().collect(), ..self.clone() };
        if let Noise::Frames { deviations, correlation, bursts } = &mut problem.noise {
            let (correlation, bursts) = (*correlation, bursts.as_ref());
            let together =
                |lag_s: f64| bursts.map_or(correlation, |bursts| bursts.share * math::exp(-lag_s / bursts.length_s));
            for (clock, of) in deviations.iter_mut().enumerate() {
                let scale = spread(&problem.blocks, clock, together) / spread(&self.blocks, clock, together);
                if scale.is_finite() {
                    of.iter_mut().for_each(|deviation| *deviation *= scale);
                }
            }
        }
        problem
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
            |c: &ChangeCost| [c.settle_s, c.settle_sd_s, c.settle_late_s, c.stall_s].iter().all(|x| not_negative(*x));
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
            Noise::Frames { deviations, .. }
                if deviations.len() != clocks
                    || !deviations.iter().all(|of| of.is_sorted() && of.iter().all(|d| d.is_finite())) =>
            {
                invalid(format!("the frames' deviations: numbers that ascend, for each of {clocks} clocks"))
            }
            Noise::Frames { bursts: Some(bursts), .. }
                if !positive(bursts.length_s)
                    || !(0.0..=1.0).contains(&bursts.share)
                    || bursts.quantiles.len() != LEVELS.len()
                    || !bursts.quantiles.is_sorted()
                    || !bursts.quantiles.iter().all(|d| d.is_finite()) =>
            {
                invalid(format!(
                    "bursts of {} s and a share of {}: a length above 0, a share from 0 to 1, and as many deviations as levels, ascending",
                    bursts.length_s, bursts.share
                ))
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fewer_blocks_make_up_for_less() {
        let block = |time_sd_s| BlockCost {
            name: String::new(),
            time_s: std::vec![1.0],
            time_sd_s: std::vec![time_sd_s],
            power_w: std::vec![1.0],
        };
        let problem = |correlation, bursts| Problem {
            clocks: std::vec![Hertz::from_khz(100_000)],
            blocks: std::vec![block(0.1); 4],
            idle_w: std::vec![1.0],
            changes: std::vec![ChangeCost::default()],
            deadline_s: 9.0,
            period_s: 9.0,
            risk: 0.01,
            noise: Noise::Frames { deviations: std::vec![LEVELS], correlation, bursts },
            leads: true,
        };
        let scale = |whole: Problem, count| {
            let first = whole.first_blocks(count);
            assert_eq!(first.blocks.len(), count);
            first.deviation(0, 0.9) / whole.deviation(0, 0.9)
        };
        // Independent blocks: of one block the deviation is its own, of four it is half of that.
        let halves = 0.625f64.sqrt() / 0.4375f64.sqrt();
        for (correlation, count, wanted) in [(0.0, 1, 2.0), (0.0, 4, 1.0), (1.0, 1, 1.0), (0.25, 2, halves)] {
            assert!((scale(problem(correlation, None), count) - wanted).abs() < 1e-12, "{correlation} {count}");
        }
        // Bursts that outlast the frame are a correlation, brief ones none; in between neighbours make up for less than
        // blocks that lie far apart.
        let bursts = |length_s| Some(Bursts { length_s, share: 0.25, quantiles: Vec::new() });
        assert!((scale(problem(0.9, bursts(1e12)), 2) - halves).abs() < 1e-9);
        assert!((scale(problem(0.9, bursts(1e-3)), 1) - 2.0).abs() < 1e-9);
        // Of 1 + 1 + 2 x 0.25 e^-1/2, and 4 + 2 x 0.25 (3 e^-1/2 + 2 e^-1 + e^-3/2), by hand.
        let wanted = (2.303_265_3_f64 / 4.0 / (5.389_240_5 / 16.0)).sqrt();
        assert!((scale(problem(0.9, bursts(2.0)), 2) - wanted).abs() < 1e-6);
    }
}
