//! A rehearsal: the real governor follows a table for some thousand frames of the problem, with deviations of frames,
//! blocks and settle times drawn from what was measured. It judges tables before one is chosen.

use super::feedback::Expected;
use super::{Noise, Problem};
use crate::governor::{Action, Governor};
use crate::math;
use crate::table::{Rung, Table};
use crate::units::Nanos;
use crate::work::{BlockId, ClockIndex, Size};

/// How long what slows a frame lasts; on boards, late frames come in clusters.
const MEMORY_S: f64 = 0.1;

/// Frames that a table is rehearsed for.
pub(super) const REHEARSAL: usize = 4000;

/// Numbers that are the same for every table rehearsed (splitmix64, Box and Muller).
struct Random(u64);

impl Random {
    fn unit(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ mixed >> 31) >> 11) as f64 / (1u64 << 53) as f64
    }

    fn normal(&mut self) -> f64 {
        let radius = (-2.0 * math::ln(self.unit().max(1e-300))).sqrt();
        radius * math::cos(core::f64::consts::TAU * self.unit())
    }
}

/// The machine: the clock by the settle law with drawn settle times, and the energy so far.
struct Machine<'a> {
    problem: &'a Problem,
    random: Random,
    now: f64,
    clock: usize,
    pending: Option<(usize, f64)>,
    scheduled: Option<(usize, f64)>,
    stalled_until: f64,
    energy_j: f64,
}

/// Mean energy and misses over `frames` frames.
pub(super) fn rehearse(problem: &Problem, table: &Table, frames: usize) -> Expected {
    let correlation = match &problem.noise {
        Noise::Moments { correlation } | Noise::Frames { correlation, .. } => *correlation,
    };
    let own = (1.0 - correlation).sqrt();
    let keep = math::exp(-problem.period_s / MEMORY_S);
    // A frame's time, by the last one.
    let mut time_s = super::fixed::frame(problem, problem.clocks.len() - 1).time_s;
    let mut noise = Random(1);
    let mut state = noise.normal();
    let mut governor = Governor::new(table);
    let first = table.gap().first.index();
    let mut machine = Machine {
        problem,
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
        state = keep * state + (1.0 - keep * keep).sqrt() * noise.normal();
        let rank = 0.5 * libm::erfc(-state / core::f64::consts::SQRT_2);
        let start = machine.now;
        // What a frame takes longer, it takes within the time that such a thing lasts.
        let window = time_s.min(MEMORY_S);
        let opens = start + noise.unit() * (time_s - window);
        let action = governor.frame_start(nanos(start));
        machine.carry_out(table, action);
        for (i, block) in problem.blocks.iter().enumerate() {
            let action = governor.block_start(BlockId(i as u16), Size::default(), nanos(machine.now));
            machine.carry_out(table, action);
            let (time, sd) = (block.time_s[machine.clock], block.time_sd_s[machine.clock]);
            let overlap = (machine.now + time).min(opens + window) - machine.now.max(opens);
            // All of a frame's deviation falls into the window: as much of it into a block as lies in there.
            let share = overlap.max(0.0) / time * time_s / window;
            let extra = problem.deviation(machine.clock, rank) * share * sd + own * sd * noise.normal();
            machine.block(i, (1.0 + extra / time).max(0.3));
        }
        time_s = machine.now - start;
        missed += usize::from(time_s > problem.deadline_s);
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
        let change = self.problem.change(self.clock, to);
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
            self.stalled_until = at + self.problem.change(self.clock, to).stall_s;
            self.clock = to;
        }
    }

    fn block(&mut self, block: usize, factor: f64) {
        let cost = &self.problem.blocks[block];
        let mut left = 1.0;
        while left > 1e-12 {
            self.turn();
            let stalled = self.stalled_until > self.now;
            let time = cost.time_s[self.clock] * factor;
            let end = if stalled { f64::INFINITY } else { self.now + left * time };
            let next = self.until(end);
            let span = next - self.now;
            let power = if stalled { self.problem.idle_w[self.clock] } else { cost.power_w[self.clock] };
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
            self.energy_j += self.problem.idle_w[self.clock] * (next - self.now);
            self.now = next;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::oracle::{Random as Instances, random_problem};
    use super::super::{Holds, list_table, plan};
    use super::*;

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
            let list = list_table(&problem, &plan, &holds).unwrap();
            let found = rehearse(&problem, &list, 50);
            let wrong = (found.energy_j / plan.outcome.energy_j - 1.0).abs();
            // The governor rounds settle times to 0.1 ms, and puts a write off while a rise is on its way.
            assert!(wrong < 0.02, "seed {seed}: {} {} {:?}", found.energy_j, plan.outcome.energy_j, plan.schedule);
            switching += u32::from(!plan.schedule.writes.is_empty());
        }
        assert!(switching > 10);
    }
}
