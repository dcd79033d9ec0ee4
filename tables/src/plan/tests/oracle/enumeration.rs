//! All schedules of a small instance. Blocks are followed event by event, apart from the planner's sums and from the
//! evaluator, as a lead's place depends on what runs before it.

use std::vec::Vec;

use super::*;

/// Writes at one moment have their own schedule.
const EPS: f64 = 1e-9;

/// Which schedules are called.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Which {
    /// No write while a change is on its way.
    NoneReplaced,
    /// Writes that replace one on its way or call it off as well, up to three in a block.
    All,
}

/// Within a block: where it stands, and what is on its way with the time of its effect.
#[derive(Clone, Copy, Debug)]
struct Position {
    block: usize,
    block_start_s: f64,
    time_s: f64,
    /// The part of the block that is left.
    left: f64,
    clock: usize,
    pending: Option<(usize, f64)>,
    stalled_until_s: f64,
    /// Writes in this block so far.
    writes: usize,
}

pub(super) struct Enumeration<'a, F> {
    pub problem: &'a Problem,
    pub which: Which,
    pub found: F,
    pub schedule: Schedule,
}

impl<F: FnMut(&Schedule)> Enumeration<'_, F> {
    /// Calls `found` with every schedule: from every clock, with nothing on its way at a frame's start, or a change
    /// that takes effect at a later boundary.
    pub fn run(&mut self) {
        let problem = self.problem;
        let clocks = problem.clocks.len();
        for start in 0..clocks {
            let position = Position {
                block: 0,
                block_start_s: 0.0,
                time_s: 0.0,
                left: 1.0,
                clock: start,
                pending: None,
                stalled_until_s: 0.0,
                writes: 0,
            };
            self.schedule = Schedule::fixed(start);
            self.block(position);
            for to in (0..clocks).filter(|to| *to != start) {
                let mut boundary_s = 0.0;
                for block in &problem.blocks[..problem.blocks.len() - 1] {
                    boundary_s += block.time_s[start];
                    let lead = problem.change(start, to).settle_s - boundary_s;
                    if lead > EPS * problem.blocks[0].time_s[start] {
                        self.schedule = Schedule { wake: Some((to, lead)), ..Schedule::fixed(start) };
                        self.block(Position { pending: Some((to, boundary_s)), ..position });
                    }
                }
            }
        }
    }

    fn block(&mut self, at: Position) {
        let most = if self.which == Which::All { 3 } else { 2 };
        let free = |at: &Position| at.pending.is_none() || self.which == Which::All;
        let mut writes: Vec<(f64, usize)> = Vec::new();
        if at.writes < most {
            if at.time_s == at.block_start_s && at.writes == 0 && free(&at) {
                let others = (0..self.problem.clocks.len()).filter(|to| *to != at.clock || at.pending.is_some());
                writes.extend(others.map(|to| (at.time_s, to)));
            }
            // Before what is on its way, and behind it.
            let end = self.end(at);
            let effect = at.pending.map_or(f64::INFINITY, |(_, effect)| effect);
            if free(&at) {
                self.leads(at, 0.0, effect.min(end.time_s), &mut writes);
            }
            if let Some((to, effect)) =
                at.pending.filter(|(_, e)| *e < end.time_s - EPS * (end.time_s - at.block_start_s))
            {
                let change = self.problem.change(at.clock, to);
                let late_s = (change.settle_late_s - change.settle_s).max(0.0);
                self.leads(self.advance(at, effect), late_s, end.time_s, &mut writes);
            }
        }
        for (time_s, to) in writes {
            // At a block's start a write comes before a change that is due there, and takes its place.
            let mut next = if time_s == at.time_s { at } else { self.advance(at, time_s) };
            let settle = self.problem.change(next.clock, to).settle_s;
            next.pending = (to != next.clock).then_some((to, time_s + settle));
            next.writes += 1;
            self.schedule.writes.push(Write { block: at.block, delay_s: time_s - at.block_start_s, to });
            self.block(next);
            self.schedule.writes.pop();
        }
        let end = self.end(at);
        if end.block < self.problem.blocks.len() { self.block(end) } else { self.gap(end) }
    }

    /// The writes before `until` that put a change on a boundary, if nothing else changes from `at` on; what took effect
    /// there may do so late.
    fn leads(&self, at: Position, late_s: f64, until: f64, writes: &mut Vec<(f64, usize)>) {
        let blocks = &self.problem.blocks;
        let mut boundary = at.time_s.max(at.stalled_until_s) + at.left * blocks[at.block].time_s[at.clock];
        let close = EPS * blocks[at.block].time_s[at.clock];
        for later in at.block + 1..=blocks.len() {
            for to in (0..self.problem.clocks.len()).filter(|to| *to != at.clock) {
                let write = boundary - self.problem.change(at.clock, to).settle_s;
                if write > at.time_s + late_s + close && write < until - close {
                    writes.push((write, to));
                }
            }
            boundary += blocks.get(later).map_or(0.0, |block| block.time_s[at.clock]);
        }
    }

    /// On to a time within the block.
    fn advance(&self, mut at: Position, time_s: f64) -> Position {
        let cost = &self.problem.blocks[at.block].time_s;
        let run = |at: &mut Position, to_s: f64| {
            let from = at.time_s.max(at.stalled_until_s).min(to_s);
            at.left -= (to_s - from) / cost[at.clock];
            at.time_s = to_s;
        };
        if let Some((to, effect)) = at.pending.filter(|(_, effect)| *effect <= time_s) {
            let effect = effect.max(at.time_s);
            run(&mut at, effect);
            at.stalled_until_s = at.time_s + self.problem.change(at.clock, to).stall_s;
            (at.clock, at.pending) = (to, None);
        }
        run(&mut at, time_s);
        at
    }

    /// The next block's start, if nothing more is written.
    fn end(&self, mut at: Position) -> Position {
        let cost = &self.problem.blocks[at.block].time_s;
        let mut end = at.time_s.max(at.stalled_until_s) + at.left * cost[at.clock];
        // A change timed for the boundary takes effect behind it.
        if let Some((_, effect)) = at.pending.filter(|(_, effect)| *effect < end - 1e-12 * end) {
            at = self.advance(at, effect);
            end = at.stalled_until_s + at.left * cost[at.clock];
        }
        let block = at.block + 1;
        Position { block, block_start_s: end, time_s: end, left: 1.0, writes: 0, ..at }
    }

    fn gap(&mut self, at: Position) {
        let problem = self.problem;
        let clocks = problem.clocks.len();
        let (start, entry) = (self.schedule.start, self.schedule.wake);
        let pending = at.pending.map(|(to, effect)| (to, effect.max(at.time_s)));
        for idle in 0..=clocks {
            self.schedule.idle = (idle < clocks).then_some(idle);
            let (idling, settled) = match (self.schedule.idle, pending) {
                (Some(_), Some(_)) if self.which == Which::NoneReplaced => continue,
                (Some(idle), _) if idle == at.clock => (idle, at.time_s),
                (Some(idle), _) => {
                    let change = problem.change(at.clock, idle);
                    (idle, at.time_s + change.settle_s + change.stall_s)
                }
                (None, Some((to, effect))) => (to, effect + problem.change(at.clock, to).stall_s),
                (None, None) => (at.clock, at.time_s),
            };
            // A frame that starts with a change on its way starts at the idle clock.
            if entry.is_some() && idling != start {
                continue;
            }
            let wake = entry.or((start != idling).then(|| (start, problem.wake_lead_s(idling, start))));
            if settled + wake.map_or(0.0, |(_, lead)| lead) <= problem.period_s * (1.0 + 1e-12) {
                self.schedule.wake = wake;
                (self.found)(&self.schedule);
            }
        }
        (self.schedule.idle, self.schedule.wake) = (None, entry);
    }
}

/// The least energy of any schedule that meets the deadline, and that schedule.
pub(super) fn enumerate(problem: &Problem, which: Which) -> Option<(f64, Schedule)> {
    let mut best: Option<(f64, Schedule)> = None;
    let found = |schedule: &Schedule| {
        let Some((outcome, _)) = evaluate(problem, schedule) else { return };
        let better = best.as_ref().is_none_or(|(least, _)| outcome.energy_j < *least);
        if better && problem.bound_s(&outcome) <= problem.deadline_s {
            best = Some((outcome.energy_j, schedule.clone()));
        }
    };
    Enumeration { problem, which, found, schedule: Schedule::fixed(0) }.run();
    best
}

/// The least energy of schedules whose last write lands in the next frame, wherever that is: what the domain leaves
/// out. Writes at boundaries only.
pub(super) fn carried_over(problem: &Problem) -> Option<f64> {
    let (clocks, blocks) = (problem.clocks.len(), problem.blocks.len());
    let mut best: Option<f64> = None;
    for code in 0..(clocks + 1).pow(blocks as u32 + 1) {
        let choice = |place: usize| code / (clocks + 1).pow(place as u32) % (clocks + 1);
        let written = (0..blocks).map(|block| (block, choice(block))).filter(|(_, to)| *to < clocks);
        let writes: Vec<Write> = written.map(|(block, to)| Write { block, delay_s: 0.0, to }).collect();
        let idle = Some(choice(blocks)).filter(|to| *to < clocks);
        for start in 0..clocks {
            let schedule = Schedule { start, writes: writes.clone(), idle, wake: None };
            let Some((outcome, _)) = evaluate(problem, &schedule) else { continue };
            if problem.bound_s(&outcome) <= problem.deadline_s {
                best = Some(best.map_or(outcome.energy_j, |least| least.min(outcome.energy_j)));
            }
        }
    }
    best
}
