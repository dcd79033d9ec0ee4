//! Which clock to measure next so that the plan of a deadline no longer depends on what was not measured.
//!
//! Where the decision falls is worth more than an even spread: the clock that a bold plan would take is measured, as it
//! is either right or ruled out, then the one that is expected, then the one that a careful plan takes, then the
//! neighbours of that (upper and lower confidence bounds, as in bandit problems).

use std::vec::Vec;

use crate::model::BlockModel;
use crate::units::Hertz;

/// How far a bold plan trusts to luck, in standard deviations of what is not known of a clock's time.
const BOLD: f64 = -1.6;

/// How far a careful plan keeps clear of what it does not know of a clock that was not measured.
pub const CAREFUL: f64 = 1.0;

/// A frame that is to be planned at one clock.
pub struct Frame<'a> {
    /// Its blocks.
    pub blocks: &'a [BlockModel<'a>],
    /// The clocks that it may run at, ascending.
    pub clocks: &'a [Hertz],
    /// The deadline, which is the period as well.
    pub deadline_s: f64,
    /// By what fraction the predicted time has to stay below it.
    pub margin: f64,
    /// Idle power at a clock.
    pub idle_w: &'a dyn Fn(Hertz) -> f64,
}

/// A clock to measure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Next {
    /// The clock.
    pub clock: Hertz,
    /// Why this one.
    pub why: &'static str,
}

impl Frame<'_> {
    /// The clock of least expected energy among those that meet the deadline, their time taken as so many standard
    /// deviations later; the highest where none does. Of a measured clock only the margin is left to be afraid of.
    pub fn choose(&self, deviations: f64, measured: &[Hertz]) -> Option<Hertz> {
        let meets = |clock: &&Hertz| {
            let (time_s, sd) = self.time(**clock);
            let sd = if measured.contains(clock) { 0.0 } else { sd };
            time_s * (1.0 + self.margin) * (1.0 + deviations * sd) <= self.deadline_s
        };
        let energies = self.clocks.iter().filter(meets).filter_map(|clock| Some((self.energy_j(*clock)?, *clock)));
        energies.min_by(|a, b| a.0.total_cmp(&b.0)).map(|(_, clock)| clock).or_else(|| self.clocks.last().copied())
    }

    /// The next clock to measure after these; `None` where the plan rests on measured clocks only.
    pub fn next(&self, measured: &[Hertz]) -> Option<Next> {
        let open = |clock: &Hertz| !measured.contains(clock);
        let plans = [
            (BOLD, "a bold plan would take it"),
            (0.0, "it is expected to be the best"),
            (CAREFUL, "a careful plan takes it"),
        ];
        for (deviations, why) in plans {
            if let Some(clock) = self.choose(deviations, measured).filter(open) {
                return Some(Next { clock, why });
            }
        }
        let at = self.clocks.iter().position(|clock| Some(*clock) == self.choose(CAREFUL, measured))?;
        let beside: Vec<usize> = [at.checked_sub(1), Some(at + 1)].into_iter().flatten().collect();
        let beside = beside.into_iter().filter_map(|i| self.clocks.get(i).copied());
        beside.filter(open).map(|clock| Next { clock, why: "it lies beside the best" }).next()
    }

    fn time(&self, clock: Hertz) -> (f64, f64) {
        let (mut time_s, mut sd_s) = (0.0, 0.0);
        for block in self.blocks {
            let own = block.time_s(clock, block.series.size);
            time_s += own;
            // Blocks of one board err together.
            sd_s += own * block.unknown(clock);
        }
        (time_s, sd_s / time_s)
    }

    fn energy_j(&self, clock: Hertz) -> Option<f64> {
        let busy: Option<f64> = self
            .blocks
            .iter()
            .map(|block| Some(block.power_w(clock, block.series.size)? * block.time_s(clock, block.series.size)))
            .sum();
        Some(busy? + (self.idle_w)(clock) * (self.deadline_s - self.time(clock).0))
    }
}
