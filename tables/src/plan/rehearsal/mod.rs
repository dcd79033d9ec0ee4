//! A rehearsal: the real governor follows a table for some thousand frames of the problem, with bursts, blocks and settle
//! times drawn from what was measured. It judges tables before one is chosen.

pub(super) mod bursts;
pub(super) mod classes;
pub(super) mod dependable;
pub(super) mod gap;

use std::vec::Vec;

use crate::governor::{Action, Governor};
use crate::plan::sizes::SizeClass;
use crate::table::{Rung, Table};
use crate::units::Nanos;
use crate::work::{BlockId, ClockIndex};
use bursts::{Burst, MatchedBursts, Random};

/// Frames that a table is rehearsed for.
pub(in crate::plan) const REHEARSAL: usize = 20_000;
/// A table is taken for a saving of at least this fraction, which is what power models are good for, or for half the
/// misses at no more energy.
pub(in crate::plan) const WORTH: f64 = 1.5e-2;

/// What following a table comes to, on average over frames.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Expected {
    /// Energy of a period.
    pub energy_j: f64,
    /// Probability of a miss.
    pub miss: f64,
}

/// The machine: the clock by the settle law with drawn settle times, bursts, and the energy so far.
struct Machine<'a> {
    bursts: &'a MatchedBursts<'a>,
    burst: Burst,
    turns: Random,
    random: Random,
    now: f64,
    clock: usize,
    pending: Option<(usize, f64)>,
    scheduled: Option<(usize, f64)>,
    stalled_until: f64,
    energy_j: f64,
}

/// Classes with their bursts.
pub(in crate::plan) fn with_bursts<'a>(classes: &[SizeClass<'a>]) -> Vec<(SizeClass<'a>, MatchedBursts<'a>)> {
    classes.iter().map(|class| (*class, MatchedBursts::new(class.problem))).collect()
}

/// Mean energy and misses over `frames` frames, of sizes drawn as often as they come.
pub(in crate::plan) fn rehearse(
    classes: &[(SizeClass<'_>, MatchedBursts<'_>)],
    table: &Table,
    frames: usize,
) -> Expected {
    let Some((_, bursts)) = classes.first() else { return Expected::default() };
    let (mut noise, mut sizes) = (Random(4), Random(5));
    let mut governor = Governor::new(table);
    let first = table.gap().first.index();
    let mut machine = Machine {
        bursts,
        burst: Burst { rank: 0.5, ends: 0.0 },
        turns: Random(1),
        random: Random(2),
        now: 0.0,
        clock: first,
        pending: None,
        scheduled: None,
        stalled_until: 0.0,
        energy_j: 0.0,
    };
    let mut missed = 0;
    for _ in 0..frames {
        let mut drawn = sizes.unit();
        let here = classes.iter().find(|(class, _)| {
            drawn -= class.share;
            drawn < 0.0
        });
        let (class, bursts) = here.unwrap_or(&classes[classes.len() - 1]);
        machine.bursts = bursts;
        let problem = class.problem;
        let start = machine.now;
        let action = governor.frame_start(nanos(start));
        machine.carry_out(table, action);
        for i in 0..problem.blocks.len() {
            let action = governor.block_start(BlockId(i as u16), class.largest, nanos(machine.now));
            machine.carry_out(table, action);
            machine.block(i, bursts.own * noise.normal());
        }
        missed += usize::from(machine.now - start > problem.deadline_s);
        let action = governor.frame_end(nanos(machine.now));
        machine.carry_out(table, action);
        machine.idle_until(start + problem.period_s);
    }
    // Per period of the plan: frames that ran over are charged for the time they took.
    Expected { energy_j: machine.energy_j / frames as f64, miss: missed as f64 / frames as f64 }
}

fn nanos(seconds: f64) -> Nanos {
    Nanos::from_secs_f64(seconds)
}

impl Machine<'_> {
    fn carry_out(&mut self, table: &Table, action: Action) {
        let index = |clock: ClockIndex| table.rung_below(clock).map_or(0, Rung::index);
        match action {
            // A rehearsal's board stays what it is.
            Action::Hold | Action::Look => {}
            Action::Set(clock) => {
                self.scheduled = None;
                self.write(index(clock));
            }
            Action::SetAt(clock, at) => self.scheduled = Some((index(clock), at.as_secs_f64())),
            Action::SetThenAt(clock, then, at) => {
                self.write(index(clock));
                self.scheduled = Some((index(then), at.as_secs_f64()));
            }
            Action::Release => self.scheduled = None,
        }
    }

    fn write(&mut self, to: usize) {
        let change = self.bursts.problem.change(self.clock, to);
        let settle = (change.settle_s + change.settle_sd_s * self.random.normal()).max(0.1 * change.settle_s);
        self.pending = (to != self.clock).then_some((to, self.now + settle));
    }

    /// The next moment at which the clock changes or is to be written, and at most `end`.
    fn until(&self, end: f64) -> f64 {
        let resumes = if self.stalled_until > self.now { self.stalled_until } else { f64::INFINITY };
        let effect = self.pending.map_or(f64::INFINITY, |p| p.1);
        let write = self.scheduled.map_or(f64::INFINITY, |s| s.1);
        end.min(resumes).min(effect).min(write).max(self.now)
    }

    /// What is due now.
    fn turn(&mut self) {
        if let Some((to, _)) = self.scheduled.take_if(|s| s.1 <= self.now) {
            self.write(to);
        }
        if let Some((to, at)) = self.pending.take_if(|p| p.1 <= self.now) {
            self.stalled_until = at + self.bursts.problem.change(self.clock, to).stall_s;
            self.clock = to;
        }
    }

    /// A block that deviates by `own` of its standard deviations, and by what the bursts bring.
    fn block(&mut self, block: usize, own: f64) {
        let cost = &self.bursts.problem.blocks[block];
        let mut left = 1.0;
        while left > 1e-12 {
            self.turn();
            self.bursts.at(&mut self.burst, self.now, &mut self.turns);
            let stalled = self.stalled_until > self.now;
            let burst = self.bursts.deviation(self.clock, self.burst.rank);
            let mean = cost.time_s[self.clock];
            let time = (mean + (burst + own) * cost.time_sd_s[self.clock]).max(0.3 * mean);
            let end = if stalled { f64::INFINITY } else { self.now + left * time };
            let next = self.until(end.min(self.burst.ends));
            let span = next - self.now;
            let power = if stalled { self.bursts.problem.idle_w[self.clock] } else { cost.power_w[self.clock] };
            self.energy_j += power * span;
            if !stalled {
                left = if next >= end { 0.0 } else { left - span / time };
            }
            self.now = next;
        }
    }

    fn idle_until(&mut self, end: f64) {
        while self.now < end {
            self.turn();
            let next = self.until(end);
            self.energy_j += self.bursts.problem.idle_w[self.clock] * (next - self.now);
            self.now = next;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::tests::oracle::{Random as Instances, random_problem};
    use crate::plan::{Holds, Noise, list_table, plan};

    #[test]
    fn without_noise_a_list_costs_what_the_evaluator_says() {
        let mut switching = 0;
        for seed in 0..60 {
            let mut problem = random_problem(&mut Instances(seed), 6, 3);
            problem.noise = Noise::Moments { correlation: 1.0 };
            problem.blocks.iter_mut().for_each(|b| b.time_sd_s.fill(0.0));
            for change in &mut problem.changes {
                // Just above a step of the table, so that the governor does not wait for what has happened.
                change.settle_s = (change.settle_s * 1e4).floor() * 1e-4 + 2e-5;
                (change.settle_sd_s, change.settle_late_s) = (0.0, change.settle_s);
            }
            let Ok(plan) = plan(&problem) else { continue };
            let clocks = problem.clocks.clone();
            let holds = Holds { board: [0; 32], model: [0; 32], network: "n", emc: None, board_clocks: &clocks };
            let list = list_table(&SizeClass::only(&problem, &plan), &holds).unwrap();
            let found = rehearse(&with_bursts(&SizeClass::only(&problem, &plan)), &list, 50);
            let wrong = (found.energy_j / plan.outcome.energy_j - 1.0).abs();
            // The governor rounds settle times to 0.1 ms, and puts a write off while a rise is on its way.
            assert!(wrong < 0.02, "seed {seed}: {} {} {:?}", found.energy_j, plan.outcome.energy_j, plan.schedule);
            switching += u32::from(!plan.schedule.writes.is_empty());
        }
        assert!(switching > 10);
    }
}
