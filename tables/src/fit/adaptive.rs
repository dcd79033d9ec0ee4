//! Which clock to measure next so that the plan of a deadline no longer depends on what was not measured.
//!
//! Where the decision falls is worth more than an even spread: the clock that a bold plan would take is measured, as it
//! is either right or ruled out, then the one that is expected, then the one that a careful plan takes, then the
//! neighbours of that (upper and lower confidence bounds, as in bandit problems), then whichever promises to save
//! something worth it still.

use std::vec::Vec;

use crate::model::BlockModel;
use crate::stats::normal_quantile;
use crate::units::Hertz;

/// How far a bold plan trusts to luck, in standard deviations of what is not known of a clock's time.
pub const BOLD: f64 = -1.6;

/// How far a careful plan keeps clear of what it does not know of a clock that was not measured.
pub const CAREFUL: f64 = 1.0;

/// Less energy than this share of a period's, expected to be lost by what was not measured, is not worth a measurement.
pub const ENOUGH: f64 = 2e-3;

/// Quantiles of a normal distribution that stand for it.
const DRAWS: usize = 32;

/// A frame that is to be planned at one clock.
#[derive(Clone, Copy)]
pub struct Frame<'a> {
    /// Its blocks.
    pub blocks: &'a [BlockModel<'a>],
    /// The clocks that it may run at, ascending.
    pub clocks: &'a [Hertz],
    /// The deadline.
    pub deadline_s: f64,
    /// Between two frames' starts.
    pub period_s: f64,
    /// By what fraction the predicted time has to stay below the deadline at a clock.
    pub late: &'a dyn Fn(Hertz) -> f64,
    /// Idle power at a clock.
    pub idle_w: &'a dyn Fn(Hertz) -> f64,
}

/// A clock to measure.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Next {
    /// The clock.
    pub clock: Hertz,
    /// Why this one.
    pub why: &'static str,
    /// What is expected to be lost by planning now, as a fraction of the energy.
    pub regret: f64,
}

impl Frame<'_> {
    /// The clock of least expected energy among those that meet the deadline, their time taken as so many standard
    /// deviations later; the highest where none does. Of a measured clock only lateness is left to be afraid of.
    pub fn choose(&self, deviations: f64, measured: &[Hertz]) -> Option<Hertz> {
        let meets = |clock: &&Hertz| {
            let (time_s, sd) = self.time(**clock);
            let sd = if measured.contains(clock) { 0.0 } else { sd };
            time_s * (1.0 + (self.late)(**clock)) * (1.0 + deviations * sd) <= self.deadline_s
        };
        let energies = self.clocks.iter().filter(meets).filter_map(|clock| Some((self.energy_j(*clock)?, *clock)));
        energies.min_by(|a, b| a.0.total_cmp(&b.0)).map(|(_, clock)| clock).or_else(|| self.clocks.last().copied())
    }

    /// The same of measured clocks alone, which is what is known for sure.
    pub fn known(&self, measured: &[Hertz]) -> Option<Hertz> {
        let clocks: Vec<Hertz> = self.clocks.iter().copied().filter(|clock| measured.contains(clock)).collect();
        Frame { clocks: &clocks, ..*self }.choose(CAREFUL, measured)
    }

    /// The next clock to measure after these; `None` where the plan rests on measured clocks only and no other promises
    /// to save [`ENOUGH`].
    pub fn next(&self, measured: &[Hertz]) -> Option<Next> {
        let promise = self.promise(measured);
        let regret = promise.map_or(0.0, |(_, regret)| regret);
        let open = |clock: &Hertz| !measured.contains(clock);
        let plans = [
            (BOLD, "a bold plan would take it"),
            (0.0, "it is expected to be the best"),
            (CAREFUL, "a careful plan takes it"),
        ];
        for (deviations, why) in plans {
            if let Some(clock) = self.choose(deviations, measured).filter(open) {
                return Some(Next { clock, why, regret });
            }
        }
        // The model is surest of itself beside what it knows, and steps are not in it.
        let at = self.clocks.iter().position(|clock| Some(*clock) == self.choose(CAREFUL, measured))?;
        let beside = [at.checked_sub(1), Some(at + 1)].into_iter().flatten();
        if let Some(clock) = beside.filter_map(|i| self.clocks.get(i).copied()).find(open) {
            return Some(Next { clock, why: "it lies beside the best", regret });
        }
        let (clock, regret) = promise.filter(|(_, regret)| *regret >= ENOUGH)?;
        Some(Next { clock, why: "it may yet be better", regret })
    }

    /// What is expected to be lost by taking the best measured clock now, as a fraction of its energy.
    pub fn regret(&self, measured: &[Hertz]) -> f64 {
        self.promise(measured).map_or(0.0, |(_, regret)| regret)
    }

    /// The clock that was not measured which promises most over the best measured one, and how much: the mean of what it
    /// saves where it meets the deadline and saves anything, over what is not known of its time and power.
    fn promise(&self, measured: &[Hertz]) -> Option<(Hertz, f64)> {
        let taken_j = self.energy_j(self.known(measured)?)?;
        let draws: Vec<f64> = (0..DRAWS).map(|i| normal_quantile((i as f64 + 0.5) / DRAWS as f64)).collect();
        let saves = |clock: Hertz| {
            let ((time_s, time_sd), (busy_j, power_sd)) = (self.time(clock), self.busy(clock)?);
            let (late, idle_w) = ((self.late)(clock), (self.idle_w)(clock));
            let mut saved_j = 0.0;
            for by_time in draws.iter().map(|draw| 1.0 + draw * time_sd) {
                if time_s * by_time * (1.0 + late) > self.deadline_s {
                    continue;
                }
                for by_power in draws.iter().map(|draw| 1.0 + draw * power_sd) {
                    let energy_j = busy_j * by_time * by_power + idle_w * (self.period_s - time_s * by_time);
                    saved_j += (taken_j - energy_j).max(0.0);
                }
            }
            Some((clock, saved_j / (DRAWS * DRAWS) as f64 / taken_j))
        };
        let open = self.clocks.iter().filter(|clock| !measured.contains(clock));
        open.filter_map(|clock| saves(*clock)).max_by(|a, b| a.1.total_cmp(&b.1))
    }

    /// Seconds, and the relative standard deviation of what is not known of them.
    pub fn time(&self, clock: Hertz) -> (f64, f64) {
        let (mut time_s, mut sd_s) = (0.0, 0.0);
        for block in self.blocks {
            let own = block.time_s(clock, block.series.size);
            time_s += own;
            // Blocks of one board err together.
            sd_s += own * block.unknown(clock);
        }
        (time_s, sd_s / time_s)
    }

    /// The same of what the blocks take, as far as their power makes it.
    fn busy(&self, clock: Hertz) -> Option<(f64, f64)> {
        let (mut busy_j, mut sd_j) = (0.0, 0.0);
        for block in self.blocks {
            let own = block.power_w(clock, block.series.size)? * block.time_s(clock, block.series.size);
            busy_j += own;
            sd_j += own * block.power_unknown(clock)?;
        }
        Some((busy_j, sd_j / busy_j))
    }

    fn energy_j(&self, clock: Hertz) -> Option<f64> {
        let (busy_j, _) = self.busy(clock)?;
        Some(busy_j + (self.idle_w)(clock) * (self.period_s - self.time(clock).0))
    }
}
