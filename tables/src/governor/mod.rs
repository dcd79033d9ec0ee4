//! The governor: a state machine without I/O that follows a [`Table`].
//!
//! The shell calls it at the start of a frame, at the start of every block and at the end of the frame, tells it
//! what went wrong, and carries out the [`Action`]s. Nothing here allocates, locks, formats or panics; time is an
//! argument.

pub mod drift;
mod scheduled;
mod state;
#[cfg(test)]
mod tests;
pub mod trace;

use core::ops::Deref;

use crate::governor::trace::{Event, Fault, Ring};
use crate::table::{Lead, Rung, Table};
use crate::units::Nanos;
use crate::work::{BlockId, ClockIndex, Size};

pub use drift::Drift;
pub use scheduled::{AtOnce, Scheduled};
pub use state::{Action, Counters, State};

/// Refused writes in a row after which the clock is handed back.
const MAX_REFUSED: u32 = 3;

/// After a hand-back that needs something repaired: how long until the first try to come back, and at most between two
/// tries. Every try in vain doubles the pause.
const FIRST_PAUSE: Nanos = Nanos::from_millis(1_000);
const LONGEST_PAUSE: Nanos = Nanos::from_millis(60_000);

/// Events that a governor's trace keeps.
pub const TRACE: usize = 256;

/// The clock as the governor knows it from its own writes.
#[derive(Clone, Copy, Debug)]
struct Clock {
    in_effect: Rung,
    /// Written at the time, on its way.
    pending: Option<(Rung, Nanos)>,
    /// To be written at the time by the shell's timer.
    scheduled: Option<(Rung, Nanos)>,
}

impl Clock {
    /// Where it will be when what is written takes effect.
    fn target(&self) -> Rung {
        self.pending.map_or(self.in_effect, |(to, _)| to)
    }
}

/// The frame that runs.
#[derive(Clone, Copy, Debug)]
struct Running {
    start: Nanos,
    /// When it should have started, by the one before.
    due: Nanos,
    next: u16,
}

/// What of the frame that runs can be compared with the table's times: blocks that ran at one clock from their start to
/// their end.
#[derive(Clone, Copy, Debug, Default)]
struct Compared {
    seen: Nanos,
    expected: Nanos,
    /// What the block that runs should take, and when it started.
    running: Option<(Nanos, Nanos)>,
    /// Someone else had the GPU, or heat its clock: the frame says nothing.
    disturbed: bool,
}

/// Follows a table; `T` is a reference to one, a box or an `Arc`.
#[derive(Debug)]
pub struct Governor<T> {
    table: T,
    state: State,
    clock: Option<Clock>,
    /// The highest clock of the board that is allowed now; `None` before any was told.
    bound: Option<ClockIndex>,
    /// The highest rung allowed by that.
    cap: Rung,
    frame: Option<Running>,
    compared: Compared,
    drift: Drift,
    /// When the last frame started.
    started: Option<Nanos>,
    /// Time went backwards within the frame, and the next block is to be held at the safe clock.
    went_back: bool,
    last: Nanos,
    refused: u32,
    /// What has to be repaired after a hand-back.
    broken: Option<Fault>,
    /// When to try next whether it is.
    try_at: Nanos,
    /// How long to wait behind that try.
    pause: Nanos,
    counters: Counters,
    trace: Ring<TRACE>,
}

impl<T: Deref<Target = Table>> Governor<T> {
    /// Follows the table from the next frame on, whatever the clock is now.
    pub fn new(table: T) -> Self {
        let cap = Rung(table.clocks().len().saturating_sub(1) as u8);
        Self {
            table,
            state: State::Following,
            clock: None,
            bound: None,
            cap,
            frame: None,
            compared: Compared::default(),
            drift: Drift::default(),
            started: None,
            went_back: false,
            last: Nanos::ZERO,
            refused: 0,
            broken: None,
            try_at: Nanos::ZERO,
            pause: FIRST_PAUSE,
            counters: Counters::default(),
            trace: Ring::new(),
        }
    }

    /// Follows another table of the same blocks from the next frame on; to be called between frames. The one before.
    pub fn exchange(&mut self, table: T) -> T {
        let before = core::mem::replace(&mut self.table, table);
        let rung = |of: Rung| {
            let index = before.clock(of);
            self.table.clocks().iter().position(|c| c.index == index).map(|at| Rung(at as u8))
        };
        let later = |change: Option<(Rung, Nanos)>| match change {
            Some((to, at)) => rung(to).map(|to| Some((to, at))),
            None => Some(None),
        };
        // Where the new one lacks a clock the next frame takes its own anew.
        let clock = self.clock.and_then(|Clock { in_effect, pending, scheduled }| {
            Some(Clock { in_effect: rung(in_effect)?, pending: later(pending)?, scheduled: later(scheduled)? })
        });
        let top = Rung(self.table.clocks().len().saturating_sub(1) as u8);
        self.cap = self.bound.map_or(top, |bound| self.table.rung_below(bound).unwrap_or_default());
        self.clock = clock;
        (self.compared, self.drift) = Default::default();
        before
    }

    /// The table.
    pub fn table(&self) -> &Table {
        &self.table
    }

    /// Whose the clock is.
    pub fn state(&self) -> State {
        self.state
    }

    /// What happened so far.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// The last events.
    pub fn trace(&self) -> &Ring<TRACE> {
        &self.trace
    }

    /// Whether frames take what the table says.
    pub fn drift(&self) -> &Drift {
        &self.drift
    }

    /// The clock in effect, as far as the governor's own writes tell.
    pub fn in_effect(&self) -> Option<ClockIndex> {
        self.clock.map(|c| self.table.clock(c.in_effect))
    }

    /// A frame starts.
    pub fn frame_start(&mut self, now: Nanos) -> Action {
        let now = self.advance(now);
        if self.frame.is_some() {
            self.note(now, Fault::FrameCut);
        }
        self.counters.frames += 1;
        if core::mem::take(&mut self.went_back) {
            self.note(now, Fault::TimeBackwards);
        }
        self.frame = Some(Running { start: now, due: self.due(now), next: 0 });
        self.started = Some(now);
        self.compared = Compared::default();
        self.trace.push(now, Event::FrameStart);
        if let Some(why) = self.broken {
            if now < self.try_at {
                return Action::Hold;
            }
            self.counters.tries += 1;
            if why == Fault::TableStale {
                self.plan_try(now);
                return Action::Look;
            }
            // The first write of this frame is the try: one more refusal hands back again.
            self.broken = None;
            self.refused = MAX_REFUSED - 1;
        }
        if self.state != State::Following {
            self.state = State::Following;
            self.trace.push(now, Event::Follow);
        }
        match self.clock {
            // After a start or a hand-back nobody knows the clock: take the one that the table starts from.
            None => self.set(self.raised(self.table.gap().first), now),
            Some(_) => Action::Hold,
        }
    }

    /// A block starts; the blocks of a frame come in order.
    #[inline]
    pub fn block_start(&mut self, block: BlockId, size: Size, now: Nanos) -> Action {
        let now = self.advance(now);
        self.counters.blocks += 1;
        self.compare(now);
        let action = self.choose(block, size, now);
        self.begin_to_compare(block, now);
        action
    }

    #[inline]
    fn choose(&mut self, block: BlockId, size: Size, now: Nanos) -> Action {
        if core::mem::take(&mut self.went_back) {
            let next = block.0.saturating_add(1);
            self.frame = self.frame.map(|frame| Running { next, ..frame });
            return self.safe(now, Fault::TimeBackwards);
        }
        let Some(frame) = &mut self.frame else { return self.safe(now, Fault::BlockOutOfOrder) };
        let expected = frame.next;
        frame.next = block.0.saturating_add(1);
        let elapsed = now.saturating_sub(frame.start);
        let slack = self.table.slack(elapsed);
        if block.0 != expected {
            let known = block.index() < self.table.blocks();
            return self.safe(now, if known { Fault::BlockOutOfOrder } else { Fault::UnknownBlock });
        }
        if block.index() >= self.table.blocks() {
            return self.safe(now, Fault::UnknownBlock);
        }
        let (State::Following, Some(clock)) = (self.state, self.clock) else { return Action::Hold };
        let target = clock.target();
        let remaining = self.remaining(&clock, now);
        let settled = remaining == Nanos::ZERO;
        let loss = if settled { 0 } else { self.table.pending_loss(clock.in_effect, target, remaining) };
        let choice = self.table.look_up(self.table.class(size), block, target, slack.saturating_sub(loss));
        let choice = self.raised(choice).min(self.cap);
        // A write would start the settle time anew: a rise on its way is waited for, a fall only called off.
        let waits = !settled && (target > clock.in_effect || choice < target) && target <= self.cap;
        let choice = if waits { target } else { choice };
        let slack_us = micros(slack);
        self.trace.push(now, Event::Block { block, clock: self.table.clock(choice), slack_us });
        if waits && clock.scheduled.is_some() {
            return Action::Hold;
        }
        if choice != target {
            let action = self.set(choice, now);
            let Some(lead) = self.lead(block, choice) else { return action };
            // A change that lands in this block, and behind it the one that is timed for its end.
            let settle = self.table.settle(clock.in_effect, choice);
            let at = now.saturating_add(lead.delay.max(settle));
            let _ = self.set_at(lead.to, at);
            return Action::SetThenAt(self.table.clock(choice), self.table.clock(lead.to), at);
        }
        if clock.scheduled.is_some_and(|(to, _)| to != choice) {
            // A write that an earlier block scheduled and that is no longer wanted; writing the clock again drops it.
            return self.set(choice, now);
        }
        // Not before a change that is still on its way is in effect: it would take that one's place.
        if let Some(lead) = self.lead(block, choice) {
            return self.set_at(lead.to, now.saturating_add(lead.delay.max(remaining)));
        }
        Action::Hold
    }

    /// The frame's last block has ended.
    pub fn frame_end(&mut self, now: Nanos) -> Action {
        let now = self.advance(now);
        if core::mem::take(&mut self.went_back) {
            self.note(now, Fault::TimeBackwards);
        }
        let Some(frame) = self.frame.take() else {
            self.note(now, Fault::FrameCut);
            return Action::Hold;
        };
        self.compare(now);
        if usize::from(frame.next) == self.table.blocks() {
            self.judge(now);
        } else {
            self.note(now, Fault::FrameCut);
        }
        let slack = self.table.slack(now.saturating_sub(frame.start));
        self.counters.missed += u64::from(slack < 0);
        self.trace.push(now, Event::FrameEnd { slack_us: micros(slack) });
        let (State::Following, Some(clock)) = (self.state, self.clock) else { return Action::Hold };
        self.gap(&clock, now, frame.due.saturating_add(self.table.period()))
    }

    /// Called by the shell's timer, at least once a period: hands the GPU back after three periods of silence.
    pub fn tick(&mut self, now: Nanos) -> Action {
        let silent = now.saturating_sub(self.last);
        let handed_back = matches!(self.state, State::HandedBack(_));
        if !self.has_started() || handed_back || silent < self.table.silence() {
            return Action::Hold;
        }
        self.frame = None;
        self.hand_back(now, Fault::Silence)
    }

    /// Whether anything was told that may have asked for a clock: a block without its frame asks for the safe one.
    pub fn has_started(&self) -> bool {
        self.counters.frames > 0 || self.counters.blocks > 0
    }

    /// The board now allows clocks up to `cap` only (the board's index), or again.
    pub fn cap(&mut self, cap: ClockIndex, now: Nanos) -> Action {
        let now = self.advance(now);
        let lowered = self.cap;
        // Below the table's lowest clock the choice is that one, and the board runs what it allows.
        self.bound = Some(cap);
        self.cap = self.table.rung_below(cap).unwrap_or_default();
        self.compared.disturbed = true;
        if self.cap < lowered {
            self.note(now, Fault::CapLowered);
        }
        match (self.state, self.clock) {
            (State::Following | State::Safe(_), Some(clock)) if clock.target() > self.cap => self.set(self.cap, now),
            _ => Action::Hold,
        }
    }

    /// What ran since the event before shared the GPU with another client.
    pub fn shared(&mut self, now: Nanos) {
        self.compared.disturbed = true;
        self.trace.push(now, Event::Shared);
    }

    /// The write of the last action was refused.
    pub fn write_failed(&mut self, now: Nanos) -> Action {
        let now = self.advance(now);
        if matches!(self.state, State::HandedBack(_)) {
            // The hand-back itself was refused, or a write that came before it.
            self.note(now, Fault::WriteFailed);
            return Action::Hold;
        }
        self.refused += 1;
        // What is in effect is anyone's guess; the next frame takes the clock anew.
        self.clock = None;
        if self.refused >= MAX_REFUSED {
            return self.hand_back(now, Fault::WriteFailed);
        }
        self.safe(now, Fault::WriteFailed)
    }

    /// The last write of a clock went through.
    #[inline]
    pub fn write_done(&mut self) {
        self.refused = 0;
        if self.broken.is_none() {
            self.pause = FIRST_PAUSE;
        }
    }

    /// The table no longer holds: the board's power mode, EMC clock or release changed.
    pub fn stale(&mut self, now: Nanos) -> Action {
        let now = self.advance(now);
        self.hand_back(now, Fault::TableStale)
    }

    /// The board is the table's again; the next frame is followed.
    pub fn renewed(&mut self) {
        if self.broken == Some(Fault::TableStale) {
            self.broken = None;
            self.refused = 0;
        }
    }

    /// When the frame that starts was due. One that the machine let start late is followed by one on time, whose clock
    /// has to be there; one that is late by half a period begins a new beat.
    fn due(&self, start: Nanos) -> Nanos {
        let period = self.table.period();
        let due = self.started.map_or(start, |last| last.saturating_add(period));
        if start.saturating_sub(due) > Nanos::new(period.get() / 2) { start } else { due.min(start) }
    }

    /// The next try comes behind the pause.
    fn plan_try(&mut self, now: Nanos) {
        self.try_at = now.saturating_add(self.pause);
        self.pause = Nanos::new(self.pause.get().saturating_mul(2)).min(LONGEST_PAUSE);
    }

    /// Moves the known clock on to `now`.
    #[inline]
    fn advance(&mut self, now: Nanos) -> Nanos {
        if now < self.last {
            self.restart_time(now);
        }
        self.last = now;
        let Some(mut clock) = self.clock else { return now };
        if let Some((to, at)) = clock.scheduled.take_if(|(_, at)| *at <= now) {
            // What was written before may have taken effect before this write.
            self.settle(&mut clock, at);
            clock.pending = (to != clock.in_effect).then_some((to, at));
        }
        self.settle(&mut clock, now);
        self.clock = Some(clock);
        now
    }

    /// A pending change is in effect once its settle time is over.
    #[inline]
    fn settle(&self, clock: &mut Clock, now: Nanos) {
        if self.remaining(clock, now) == Nanos::ZERO
            && let Some((to, _)) = clock.pending.take()
        {
            clock.in_effect = to;
        }
    }

    /// Time went backwards: what was timed counts from now, and the slack of this frame is not known any more.
    #[cold]
    fn restart_time(&mut self, now: Nanos) {
        self.went_back = self.frame.is_some();
        if !self.went_back {
            self.note(now, Fault::TimeBackwards);
        }
        if let Some(frame) = &mut self.frame {
            (frame.start, frame.due) = (now, now);
        }
        self.started = self.started.map(|at| at.min(now));
        self.try_at = self.try_at.min(now.saturating_add(self.pause));
        if let Some(clock) = &mut self.clock {
            clock.pending = clock.pending.map(|(to, at)| (to, at.min(now)));
            clock.scheduled = clock.scheduled.map(|(to, at)| (to, at.min(now)));
        }
    }

    /// The change to be written within a block that is to run at a clock.
    #[inline]
    fn lead(&self, block: BlockId, from: Rung) -> Option<Lead> {
        self.table.leads().iter().find(|l| l.block == block && l.from == from && l.to <= self.cap).copied()
    }

    /// Until a pending change takes effect.
    #[inline]
    fn remaining(&self, clock: &Clock, now: Nanos) -> Nanos {
        clock.pending.map_or(Nanos::ZERO, |(to, at)| {
            at.saturating_add(self.table.settle(clock.in_effect, to)).saturating_sub(now)
        })
    }

    fn set(&mut self, to: Rung, now: Nanos) -> Action {
        let in_effect = self.clock.map_or(to, |c| c.in_effect);
        let pending = (in_effect != to).then_some((to, now));
        self.clock = Some(Clock { in_effect, pending, scheduled: None });
        self.counters.writes += 1;
        let clock = self.table.clock(to);
        self.trace.push(now, Event::Set(clock));
        Action::Set(clock)
    }

    fn set_at(&mut self, to: Rung, at: Nanos) -> Action {
        if let Some(clock) = &mut self.clock {
            clock.scheduled = Some((to, at));
        }
        self.counters.writes += 1;
        Action::SetAt(self.table.clock(to), at)
    }

    /// Between frames: to the idle clock if there is time to, and in time to the one that the next frame starts at.
    fn gap(&mut self, clock: &Clock, now: Nanos, next_frame: Nanos) -> Action {
        let gap = self.table.gap();
        let (idle, first, target) = (gap.idle.min(self.cap), self.raised(gap.first).min(self.cap), clock.target());
        let wakes = gap.wake_lead > Nanos::ZERO;
        // A clock that is raised takes longer to reach than the planned one, for which the lead was made.
        let planned = gap.first.min(self.cap);
        let longer = self.table.settle(idle, first).saturating_sub(self.table.settle(idle, planned));
        let wake_at = next_frame.saturating_sub(gap.wake_lead).saturating_sub(longer);
        let worth = now.saturating_add(self.table.settle(target, idle)) < wake_at;
        if idle != target && worth {
            let action = self.set(idle, now);
            if !wakes || first == idle {
                return action;
            }
            let _ = self.set_at(first, wake_at);
            return Action::SetThenAt(self.table.clock(idle), self.table.clock(first), wake_at);
        }
        if !wakes || first == target {
            return Action::Hold;
        }
        if wake_at <= now { self.set(first, now) } else { self.set_at(first, wake_at) }
    }

    /// The block that ran has ended.
    #[inline]
    fn compare(&mut self, now: Nanos) {
        if let Some((expected, since)) = self.compared.running.take() {
            self.compared.seen = self.compared.seen.saturating_add(now.saturating_sub(since));
            self.compared.expected = self.compared.expected.saturating_add(expected);
        }
    }

    /// A block begins; it is compared where nothing that is on its way or timed moves its clock.
    #[inline]
    fn begin_to_compare(&mut self, block: BlockId, now: Nanos) {
        let (State::Following, Some(clock)) = (self.state, self.clock) else { return };
        if clock.pending.is_none() && clock.scheduled.is_none() {
            self.compared.running = self.table.expected(block, clock.in_effect).map(|expected| (expected, now));
        }
    }

    /// A whole frame has ended: whether frames still take what the table says. Below the highest clock that the table wants
    /// nobody knows what really runs, as heat may lower it further.
    fn judge(&mut self, now: Nanos) {
        let Compared { seen, expected, disturbed, .. } = self.compared;
        let held_down = self.cap.index() + 1 < self.table.clocks().len();
        if disturbed || held_down || expected < self.table.least_to_compare() {
            return;
        }
        if self.drift.take(seen, expected) && self.drift.off_ppm() != 0 {
            self.note(now, if self.drift.off_ppm() > 0 { Fault::Slower } else { Fault::Faster });
        }
    }

    /// The clock that is as fast as a planned one was taken for, where frames take longer than the table says; the highest
    /// where none is.
    #[inline]
    fn raised(&self, planned: Rung) -> Rung {
        match self.drift.margin_ppm() {
            0 => planned,
            margin => self.table.faster_by(planned, margin),
        }
    }

    #[cold]
    fn safe(&mut self, now: Nanos, why: Fault) -> Action {
        self.count(why);
        if matches!(self.state, State::HandedBack(_)) {
            self.trace.push(now, Event::Noted(why));
            return Action::Hold;
        }
        self.state = State::Safe(why);
        self.trace.push(now, Event::Hold(why));
        let safe = self.table.safe().min(self.cap);
        match self.clock {
            Some(clock) if clock.target() == safe && clock.scheduled.is_none() => Action::Hold,
            _ => self.set(safe, now),
        }
    }

    #[cold]
    fn hand_back(&mut self, now: Nanos, why: Fault) -> Action {
        self.count(why);
        let handed_back = matches!(self.state, State::HandedBack(_));
        if why != Fault::Silence && self.broken != Some(why) {
            self.broken = Some(why);
            self.plan_try(now);
        }
        self.clock = None;
        self.state = State::HandedBack(why);
        self.trace.push(now, Event::HandBack(why));
        if handed_back { Action::Hold } else { Action::Release }
    }

    #[cold]
    fn note(&mut self, now: Nanos, fault: Fault) {
        self.count(fault);
        self.trace.push(now, Event::Noted(fault));
    }

    fn count(&mut self, fault: Fault) {
        if let Some(counter) = self.counters.faults.get_mut(fault as usize) {
            *counter += 1;
        }
    }
}

/// A slack in microseconds, as far as the trace holds them.
fn micros(slack: i64) -> i32 {
    (slack / 1000).clamp(i64::from(i32::MIN), i64::from(i32::MAX)) as i32
}
