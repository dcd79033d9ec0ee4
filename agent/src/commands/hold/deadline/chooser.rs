//! Which clock a program's frames call for, whatever they come from.

use jetpace_tables::units::{Hertz, Nanos};
use jetpace_tables::work::ClockIndex;

use super::governor::Governor;
use super::rate::Rate;
use super::source::Heard;

/// A clock is in effect so long after it was asked for: 5 to 10 ms were measured on an Orin Nano.
const SETTLE: Nanos = Nanos::from_millis(12);
/// Frames before the first step down, where their times are told; and windows, where only a rate is.
const LEAST_FRAMES: usize = 6;
const LEAST_WINDOWS: usize = 2;
/// A mean over a window hides how far single frames are above it.
const MEAN_GOAL: f64 = 0.92;

/// What is wanted of a program's frames.
#[derive(Clone, Copy, Debug)]
pub struct Goal {
    /// Time that a frame may take, from start to end.
    pub deadline: Nanos,
    /// Time between frames, where it is known.
    pub period: Option<Nanos>,
    /// Accepted share of late frames.
    pub risk: f64,
}

/// Chooses the clock.
#[derive(Debug)]
pub struct Chooser {
    deadline: Nanos,
    by_frames: Governor,
    by_rate: Governor,
    rate: Rate,
    wanted: ClockIndex,
    changed_at: Nanos,
}

impl Chooser {
    /// For a machine's clocks, ascending; begins at the cap, at a time at which that is asked for.
    pub fn new(goal: Goal, clocks: &[Hertz], cap: ClockIndex, now: Nanos) -> Self {
        let mean = Nanos::from_secs_f64(goal.deadline.as_secs_f64() * MEAN_GOAL);
        Self {
            deadline: goal.deadline,
            by_frames: Governor::new(clocks, cap, goal.deadline, goal.risk, LEAST_FRAMES),
            by_rate: Governor::new(clocks, cap, mean, goal.risk, LEAST_WINDOWS),
            rate: Rate::new(goal.period),
            wanted: cap,
            changed_at: now,
        }
    }

    /// Takes frames' times that an earlier run saw at each clock, by its position, and begins where they lead.
    pub fn remember(&mut self, known: &[(usize, Vec<Nanos>)], cap: ClockIndex) {
        for (at, times) in known {
            self.by_frames.know(*at, times);
        }
        self.wanted = self.by_frames.begin(cap);
    }

    /// Frames' times at each clock, by its position.
    pub fn seen(&self) -> impl Iterator<Item = (usize, Vec<Nanos>)> {
        self.by_frames.seen()
    }

    /// The clock that is wanted.
    pub fn wanted(&self) -> ClockIndex {
        self.wanted
    }

    /// Takes what was heard since the last look, and the GPU's load of now (0 to 1). Where another clock is wanted than
    /// before the caller sets it and calls [`Self::changed`].
    pub fn take(&mut self, now: Nanos, heard: &Heard, load: f64, cap: ClockIndex) -> ClockIndex {
        let settled = self.changed_at.saturating_add(SETTLE);
        if heard.frames.is_empty() {
            if let Some(window) = self.rate.look(now, heard.ends, load).filter(|window| window.start >= settled) {
                let late = self.deadline.max(window.busy).saturating_add(Nanos::new(1));
                self.wanted = self.by_rate.frame(if window.short { late } else { window.busy }, cap);
            }
            return self.wanted;
        }
        for frame in heard.frames.iter().filter(|frame| frame.start >= settled) {
            let before = self.wanted;
            self.wanted = self.by_frames.frame(frame.busy, cap);
            if self.wanted != before {
                break;
            }
        }
        self.wanted
    }

    /// The wanted clock was asked for at this time.
    pub fn changed(&mut self, now: Nanos) {
        self.changed_at = now;
        self.rate.restart();
    }
}
