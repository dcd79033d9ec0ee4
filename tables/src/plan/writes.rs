//! What is written when, and what that comes to.

use std::vec::Vec;

/// A write at a time within a frame.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Write {
    /// The block in which it is issued.
    pub block: usize,
    /// From the block's start; 0 is at the boundary.
    pub delay_s: f64,
    /// The clock written.
    pub to: usize,
}

/// What is written when. Clocks are positions in [`crate::plan::Problem::clocks`].
///
/// Writes are issued at the starts of blocks, or a lead before a boundary, so that the change takes effect there; the
/// idle clock at a frame's end; the first clock before the next frame, so that it is in effect at that frame's start or
/// at a later boundary of it. No write is issued while a change is on its way, and no lead behind one until it is in
/// effect even when it is late ([`crate::plan::Problem::blind_s`]).
///
/// Nothing is lost by the last. Say that write B is issued while write A's change is on its way. By the settle law B
/// takes A's place: what runs, stalls and draws power between the two is what would have run without A, and behind B
/// only B counts (its settle time starts anew, from the clock in effect, which A has not moved). So the schedule without
/// A has the same course. If B writes the clock in effect it calls A off, and both can go.
///
/// Between frames one thing is left out on purpose: a change that is written before the frame's last block has ended (or
/// then) and that takes effect in the next frame. When that is hangs on how long this frame took, and so the risk
/// counted for the next one would be wrong. What the gap writes is timed from the next frame's start.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Schedule {
    /// The clock in effect when a frame starts.
    pub start: usize,
    /// In order.
    pub writes: Vec<Write>,
    /// Written at the frame's end; `None` leaves the clock alone.
    pub idle: Option<usize>,
    /// Written before the next frame's start, so that it is in effect there or at a later boundary: clock and lead.
    pub wake: Option<(usize, f64)>,
}

impl Schedule {
    /// One clock for everything.
    pub fn fixed(clock: usize) -> Self {
        Self { start: clock, writes: Vec::new(), idle: None, wake: None }
    }

    /// The clock in effect when a frame starts, or on its way there.
    pub fn first(&self) -> usize {
        self.wake.map_or(self.start, |wake| wake.0)
    }

    /// The clock that is in effect or on its way once a block has started: what a table asks for there.
    pub fn asked(&self, block: usize) -> usize {
        let before = self.writes.iter().rfind(|w| w.block < block || (w.block == block && w.delay_s == 0.0));
        before.map_or(self.first(), |w| w.to)
    }

    /// How many writes a frame has.
    pub fn writes_per_frame(&self) -> usize {
        self.writes.len() + usize::from(self.idle.is_some()) + usize::from(self.wake.is_some())
    }
}

/// What a schedule comes to, per frame in the steady state.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Outcome {
    /// Expected energy of a period.
    pub energy_j: f64,
    /// Expected time of a frame.
    pub time_s: f64,
    /// The part of its spread that is common to all blocks: the sum of their [`crate::plan::Problem::spread_s`].
    pub common_sd_s: f64,
    /// What settle times add: the sum of squares of [`crate::plan::Problem::settle_spread_s`] times its effect on the frame.
    pub settle_var_s2: f64,
    /// The sum of the blocks' variances.
    pub block_var_s2: f64,
}
