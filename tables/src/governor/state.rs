//! What a governor asks for, whose the clock is, and what was counted.

use crate::governor::trace::Fault;
use crate::units::Nanos;
use crate::work::ClockIndex;

/// What the shell is to do now. Anything but `Hold` takes the place of a write that an earlier action scheduled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Action {
    /// Nothing; what is scheduled stays scheduled.
    Hold,
    /// Write this clock now.
    Set(ClockIndex),
    /// Write this clock at this time.
    SetAt(ClockIndex, Nanos),
    /// Between frames: write the first clock now, and at the time the second.
    SetThenAt(ClockIndex, ClockIndex, Nanos),
    /// Hand the GPU back to the stock governor and write no more until the next action.
    Release,
    /// Look whether the board is again the one that the table was made for; if it is, say so by
    /// [`renewed`](super::Governor::renewed). Nothing is to be written.
    Look,
}

/// Whose the clock is.
///
/// ```text
///              new
///               |
///               v    block out of order, unknown block,
///         +-----------+  time backwards, write failed   +-----------+
///         | Following | ------------------------------> | Safe(why) |
///         |           | <------------------------------ |           |
///         +-----------+        next frame_start         +-----------+
///            |     ^                                          |
///  silence,  |     | next frame_start (after 3 refused        | silence,
///  stale,    |     | writes: the first one after a pause;     | stale,
///  3 writes  |     | after stale: when `Look` has led to      | 3 writes
///  refused   v     | `renewed`)                               | refused
///         +------------------+                                |
///         | HandedBack(why)  | <------------------------------+
///         +------------------+
/// ```
/// In `Safe` the safe clock is held to the end of the frame; in `HandedBack` the stock governor has the GPU and every
/// event is only counted. A lowered cap changes no state: choices are held to it, and it is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// The table decides.
    Following,
    /// The safe clock (or the cap, if lower) is held to the end of the frame.
    Safe(Fault),
    /// The stock governor decides.
    HandedBack(Fault),
}

/// What happened so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Frames started.
    pub frames: u64,
    /// Frames that ended behind their deadline.
    pub missed: u64,
    /// Blocks started.
    pub blocks: u64,
    /// Writes asked for, also those scheduled.
    pub writes: u64,
    /// Tries to come back after refused writes or a stale table.
    pub tries: u64,
    /// By [`Fault`], in the order of [`Fault::ALL`].
    pub faults: [u64; Fault::ALL.len()],
}

impl Counters {
    /// How often any came that somebody made: that frames take something else than planned is nobody's.
    pub fn made(&self) -> u64 {
        let drift = self.fault(Fault::Slower) + self.fault(Fault::Faster);
        self.faults.iter().sum::<u64>().saturating_sub(drift)
    }

    /// How often a fault came.
    pub fn fault(&self, fault: Fault) -> u64 {
        self.faults.get(fault as usize).copied().unwrap_or(0)
    }
}
