//! The judge of plans: follows a schedule through time, event by event, and adds up what it costs.
//!
//! It shares no code with the search. The settle law (DESIGN, Planning): written at time x, the old clock runs until
//! x + s, then the GPU stalls for z, then the new clock runs; a block does at each clock the share of its work that
//! its time there allows. A second write while a change is on its way takes its place and starts s anew; writing
//! the clock in effect calls the change off.

use std::vec::Vec;

use super::problem::{Noise, Problem};
use super::writes::{Outcome, Schedule};
use crate::stats::LEVELS;

/// Times closer than this fraction of the period are the same moment: a change timed for a boundary falls on it.
const SAME: f64 = 1e-12;

/// The clock on its way.
#[derive(Clone, Copy, Debug, PartialEq)]
struct State {
    clock: usize,
    /// The clock written and when the old one ends.
    pending: Option<(usize, f64)>,
    /// The GPU does nothing until then.
    stalled_until: f64,
}

/// What happened to each block of the last frame.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Course {
    /// When it started, in seconds from the frame's start.
    pub starts_s: Vec<f64>,
    /// The clock in effect at its end.
    pub clocks: Vec<usize>,
}

struct Judge<'a> {
    problem: &'a Problem,
    schedule: &'a Schedule,
    outcome: Outcome,
    course: Course,
    state: State,
    now: f64,
}

/// What a schedule costs per frame in the steady state; `None` where there is none, because a frame outlasts its
/// period or the clock at the start of a frame never repeats.
pub fn evaluate(problem: &Problem, schedule: &Schedule) -> Option<(Outcome, Course)> {
    // What the gap writes for a later boundary is on its way when a frame starts.
    let on_its_way = schedule.wake.filter(|(to, _)| *to != schedule.start);
    let pending = on_its_way.map(|(to, lead_s)| (to, problem.change(schedule.start, to).settle_s - lead_s));
    let state = State { clock: schedule.start, pending, stalled_until: 0.0 };
    let (outcome, course) = (Outcome::default(), Course::default());
    let mut judge = Judge { problem, schedule, outcome, course, state, now: 0.0 };
    for _ in 0..64 {
        let before = judge.state;
        judge.outcome = Outcome::default();
        judge.course = Course::default();
        judge.frame()?;
        if judge.repeats(before) {
            return Some((judge.outcome, judge.course));
        }
    }
    None
}

/// The probability of a miss: the least risk at which the schedule's bound meets the deadline, to a ten-thousandth; 1
/// where its mean does not. It is at most the problem's own risk just where [`Problem::bound_s`] is at most the deadline.
pub fn miss_probability(problem: &Problem, schedule: &Schedule) -> f64 {
    let meets = |risk: f64| {
        let problem = Problem { risk, ..problem.clone() };
        evaluate(&problem, schedule).is_some_and(|(outcome, _)| problem.bound_s(&outcome) <= problem.deadline_s)
    };
    let (mut low, mut high) = if meets(problem.risk) { (0.0, problem.risk) } else { (problem.risk, 1.0) };
    while high - low > 1e-4 {
        let middle = 0.5 * (low + high);
        if meets(middle) { high = middle } else { low = middle }
    }
    // Of frames later than the last level nothing is known but how many there are.
    let rarest = match problem.noise {
        Noise::Frames { .. } => 1.0 - LEVELS[LEVELS.len() - 1],
        Noise::Moments { .. } => 0.0,
    };
    high.max(rarest.min(problem.risk))
}

impl Judge<'_> {
    fn same(&self, a: f64, b: f64) -> bool {
        (a - b).abs() <= SAME * self.problem.period_s
    }

    fn repeats(&self, before: State) -> bool {
        let pending = match (before.pending, self.state.pending) {
            (None, None) => true,
            (Some((a, t)), Some((b, u))) => a == b && self.same(t, u),
            _ => false,
        };
        before.clock == self.state.clock
            && pending
            && self.same(before.stalled_until.max(0.0), self.state.stalled_until.max(0.0))
    }

    /// One frame and the gap behind it; afterwards times count from the next frame's start.
    fn frame(&mut self) -> Option<()> {
        self.now = 0.0;
        for block in 0..self.problem.blocks.len() {
            self.block(block);
        }
        self.outcome.time_s = self.now;
        let period = self.problem.period_s;
        if self.now > period * (1.0 + SAME) {
            return None;
        }
        if let Some(idle) = self.schedule.idle {
            self.write(idle);
        }
        if let Some((first, lead)) = self.schedule.wake {
            self.idle_until((period - lead).max(self.now));
            self.write(first);
        }
        self.idle_until(period);
        self.state.pending = self.state.pending.map(|(to, at)| (to, at - period));
        self.state.stalled_until -= period;
        Some(())
    }

    fn write(&mut self, to: usize) {
        let settle = self.problem.change(self.state.clock, to).settle_s;
        self.state.pending = (to != self.state.clock).then_some((to, self.now + settle));
    }

    /// The pending change takes effect: the stall begins.
    fn take_effect(&mut self) {
        if let Some((to, at)) = self.state.pending.take() {
            self.state.stalled_until =
                at.max(self.state.stalled_until) + self.problem.change(self.state.clock, to).stall_s;
            self.state.clock = to;
        }
    }

    fn idle_until(&mut self, end: f64) {
        while self.now < end {
            let effect = self.state.pending.map_or(f64::INFINITY, |(_, at)| at);
            if effect <= self.now || self.same(effect, self.now) {
                self.take_effect();
                continue;
            }
            let next = effect.min(end);
            self.outcome.energy_j += self.problem.idle_w[self.state.clock] * (next - self.now);
            self.now = next;
        }
        if self.state.pending.is_some_and(|(_, at)| at <= end || self.same(at, end)) {
            self.take_effect();
        }
    }

    fn block(&mut self, block: usize) {
        let cost = &self.problem.blocks[block];
        let mut writes: Vec<_> =
            self.schedule.writes.iter().filter(|w| w.block == block).map(|w| (self.now + w.delay_s, w.to)).collect();
        writes.reverse();
        self.course.starts_s.push(self.now);
        let (mut left, mut variance_root) = (1.0, 0.0);
        loop {
            let clock = self.state.clock;
            let stalled = self.state.stalled_until > self.now && !self.same(self.state.stalled_until, self.now);
            let done = if stalled { f64::INFINITY } else { self.now + left * cost.time_s[clock] };
            let write = writes.last().map_or(f64::INFINITY, |w| w.0);
            let effect = self.state.pending.map_or(f64::INFINITY, |(_, at)| at);
            let resumes = if stalled { self.state.stalled_until } else { f64::INFINITY };
            let mut next = done.min(write).min(effect).min(resumes);
            // A write at the moment at which a change is due takes its place, and a change timed for this boundary
            // takes effect behind it.
            if self.same(next, write) {
                next = write;
            }
            if self.same(next, done) {
                next = done;
            }
            let span = (next - self.now).max(0.0);
            if stalled {
                self.outcome.energy_j += self.problem.idle_w[clock] * span;
            } else {
                let share = (span / cost.time_s[clock]).min(left);
                left -= share;
                self.outcome.energy_j += cost.power_w[clock] * span;
                self.outcome.common_sd_s += share * self.problem.spread_s(cost, clock);
                variance_root += share * cost.time_sd_s[clock];
            }
            self.now = next.max(self.now);
            if next == done {
                break;
            }
            if next == write {
                if let Some((_, to)) = writes.pop() {
                    self.write(to);
                }
            } else if next == effect
                && let Some((to, _)) = self.state.pending
            {
                // A settle time that is longer by ds moves ds / t(old) of the block's work to the old clock.
                let slope = 1.0 - cost.time_s[to] / cost.time_s[clock];
                self.outcome.settle_var_s2 += (slope * self.problem.settle_spread_s(clock, to)).powi(2);
                self.take_effect();
            }
        }
        self.outcome.block_var_s2 += variance_root * variance_root;
        self.course.clocks.push(self.state.clock);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{BlockCost, ChangeCost, Write};
    use crate::units::Hertz;
    use proptest::prelude::Strategy;
    use std::string::String;
    use std::vec;

    /// Two blocks of 10 ms at the high clock and 20 ms at the low one; 10 W and 4 W busy, 2 W and 1 W idle; settle 5 ms,
    /// stall 1 ms; deadline and period 100 ms.
    fn two_blocks() -> Problem {
        let block = |name: &str| BlockCost {
            name: String::from(name),
            time_s: vec![0.020, 0.010],
            time_sd_s: vec![0.002, 0.001],
            power_w: vec![4.0, 10.0],
        };
        let change = ChangeCost { settle_s: 0.005, settle_sd_s: 0.001, settle_late_s: 0.008, stall_s: 0.001 };
        Problem {
            clocks: vec![Hertz::new(1), Hertz::new(2)],
            blocks: vec![block("a"), block("b")],
            idle_w: vec![1.0, 2.0],
            changes: vec![ChangeCost::default(), change, change, ChangeCost::default()],
            deadline_s: 0.1,
            period_s: 0.1,
            risk: 0.01,
            noise: Noise::Moments { correlation: 1.0 },
            leads: true,
        }
    }

    fn assert_near(a: f64, b: f64) {
        assert!((a - b).abs() < 1e-12, "{a} {b}");
    }

    #[test]
    fn one_clock() {
        let (outcome, course) = evaluate(&two_blocks(), &Schedule::fixed(1)).unwrap();
        assert_near(outcome.time_s, 0.020);
        assert_near(outcome.energy_j, 0.020 * 10.0 + 0.080 * 2.0);
        assert_near(outcome.common_sd_s, 0.002);
        assert_eq!(course.clocks, [1, 1]);
    }

    #[test]
    fn a_block_that_straddles_a_change_is_split_by_its_work() {
        // Low until 5 ms: a quarter of block a. Stall until 6 ms, three quarters at the high clock: 13.5 ms; b ends at
        // 23.5 ms. Then the low clock is written: high until 28.5 ms.
        let schedule =
            Schedule { start: 0, writes: vec![Write { block: 0, delay_s: 0.0, to: 1 }], idle: Some(0), wake: None };
        let (outcome, course) = evaluate(&two_blocks(), &schedule).unwrap();
        assert_near(outcome.time_s, 0.0235);
        assert_near(course.starts_s[1], 0.0135);
        let busy = 0.005 * 4.0 + 0.001 * 2.0 + 0.0075 * 10.0 + 0.010 * 10.0;
        assert_near(outcome.energy_j, busy + 0.005 * 2.0 + (0.1 - 0.0285) * 1.0);
        assert_near(outcome.common_sd_s, 0.25 * 0.002 + 0.75 * 0.001 + 0.001);
        // A longer settle time by ds leaves 0.5 ds more to do at the low clock's pace.
        assert_near(outcome.settle_var_s2, (0.5f64 * 0.001).powi(2));
    }

    #[test]
    fn a_lead_puts_the_change_on_the_boundary() {
        let schedule =
            Schedule { start: 0, writes: vec![Write { block: 0, delay_s: 0.015, to: 1 }], idle: Some(0), wake: None };
        let (outcome, course) = evaluate(&two_blocks(), &schedule).unwrap();
        assert_near(course.starts_s[1], 0.020);
        assert_near(outcome.time_s, 0.020 + 0.001 + 0.010);
        assert_eq!(course.clocks, [0, 1]);
    }

    #[test]
    fn a_second_write_takes_the_place_of_the_first() {
        let both = Schedule {
            start: 0,
            writes: vec![Write { block: 0, delay_s: 0.0, to: 1 }, Write { block: 0, delay_s: 0.004, to: 0 }],
            idle: None,
            wake: None,
        };
        assert_eq!(evaluate(&two_blocks(), &both).unwrap().0, evaluate(&two_blocks(), &Schedule::fixed(0)).unwrap().0);
    }

    #[test]
    fn a_wake_is_in_effect_when_the_frame_starts() {
        let schedule = Schedule { start: 1, writes: vec![], idle: Some(0), wake: Some((1, 0.009)) };
        let (outcome, _) = evaluate(&two_blocks(), &schedule).unwrap();
        assert_near(outcome.time_s, 0.020);
        // High until 25 ms, low until 91 + 5 ms, high to the end.
        assert_near(outcome.energy_j, 0.2 + 0.005 * 2.0 + (0.096 - 0.025) * 1.0 + 0.004 * 2.0);
    }

    #[test]
    fn a_change_that_crosses_the_frames_end_starts_the_next_frame() {
        // No gap: the wake is written at the end of the frame and lands in the next one, as in every later one.
        let mut problem = two_blocks();
        problem.period_s = 0.031;
        let schedule = Schedule {
            start: 1,
            writes: vec![Write { block: 1, delay_s: 0.0, to: 0 }],
            idle: None,
            wake: Some((1, 0.002)),
        };
        let (outcome, _) = evaluate(&problem, &schedule).unwrap();
        assert!(outcome.time_s > 0.0245 && outcome.time_s < 0.031, "{}", outcome.time_s);
    }

    #[test]
    fn a_frame_longer_than_its_period_has_no_steady_state() {
        let mut problem = two_blocks();
        problem.period_s = 0.019;
        assert!(evaluate(&problem, &Schedule::fixed(1)).is_none());
    }

    /// A schedule for three blocks and two clocks: writes at boundaries or within blocks, and an idle clock.
    fn schedules() -> impl Strategy<Value = Schedule> {
        let write = (0..3usize, 0.0..0.009f64, 0..2usize);
        let writes = proptest::collection::vec(write, 0..4);
        (0..2usize, writes, proptest::option::of(0..2usize)).prop_map(|(start, mut writes, idle)| {
            writes.sort_by(|a, b| a.0.cmp(&b.0).then(a.1.total_cmp(&b.1)));
            let writes = writes.into_iter().map(|(block, delay_s, to)| Write { block, delay_s, to }).collect();
            Schedule { start, writes, idle, wake: Some((start, 0.02)) }
        })
    }

    fn three_blocks(times: [f64; 3]) -> Problem {
        let mut problem = two_blocks();
        problem.blocks.push(problem.blocks[0].clone());
        for (block, time) in problem.blocks.iter_mut().zip(times) {
            block.time_s = vec![2.0 * time, time];
        }
        problem.period_s = 0.2;
        problem
    }

    fn near(a: f64, b: f64) -> bool {
        (a - b).abs() <= 1e-9 * a.abs().max(b.abs()).max(1.0)
    }

    proptest::proptest! {
        #[test]
        fn energy_goes_with_power_and_lies_between_the_extremes(
            times in proptest::array::uniform3(0.010..0.025), schedule in schedules(), factor in 0.1..10.0,
        ) {
            let problem = three_blocks(times);
            let Some((outcome, _)) = evaluate(&problem, &schedule) else { return Ok(()) };
            let mut scaled = problem.clone();
            scaled.idle_w.iter_mut().for_each(|w| *w *= factor);
            scaled.blocks.iter_mut().flat_map(|b| &mut b.power_w).for_each(|w| *w *= factor);
            let (more, _) = evaluate(&scaled, &schedule).unwrap();
            proptest::prop_assert!(near(more.energy_j, factor * outcome.energy_j));
            proptest::prop_assert!(near(more.time_s, outcome.time_s));
            // Nothing draws less than the lowest idle power nor more than the highest busy one.
            let (low, high) = (1.0 * problem.period_s, 10.0 * problem.period_s);
            proptest::prop_assert!((low..=high).contains(&outcome.energy_j), "{}", outcome.energy_j);
        }

        #[test]
        fn a_block_in_two_costs_what_it_costs_whole(
            times in proptest::array::uniform3(0.010..0.025), schedule in schedules(), share in 0.1..0.9,
        ) {
            let problem = three_blocks(times);
            let Some((whole, course)) = evaluate(&problem, &schedule) else { return Ok(()) };
            // The last block, and only where no write comes so late that it would belong to its second half.
            if schedule.writes.iter().any(|w| w.block == 2 && w.delay_s > 0.0) {
                return Ok(());
            }
            let mut halves = problem.clone();
            let mut second = halves.blocks[2].clone();
            for (block, share) in [(&mut halves.blocks[2], share), (&mut second, 1.0 - share)] {
                block.time_s.iter_mut().chain(&mut block.time_sd_s).for_each(|t| *t *= share);
            }
            halves.blocks.push(second);
            let (split, parts) = evaluate(&halves, &schedule).unwrap();
            proptest::prop_assert!(near(split.energy_j, whole.energy_j), "{} {}", split.energy_j, whole.energy_j);
            proptest::prop_assert!(near(split.time_s, whole.time_s) && near(split.common_sd_s, whole.common_sd_s));
            proptest::prop_assert_eq!(&parts.starts_s[..3], &course.starts_s[..]);
        }
    }
}
