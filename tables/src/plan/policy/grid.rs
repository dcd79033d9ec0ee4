//! The times elapsed that are told apart at a block's start.

use std::vec::Vec;

use crate::plan::schedule::Plan;

/// How many.
pub(super) const BINS: usize = 160;
/// They go from this fraction of the planned start time ...
const EARLY: f64 = 0.85;
/// ... to this one.
const LATE: f64 = 1.30;

/// Start of each block under the plan, and the frame's end, in seconds.
pub(super) struct Grid(Vec<f64>);

impl Grid {
    pub fn new(plan: &Plan) -> Self {
        let mut starts = plan.block_starts_s.clone();
        starts.push(plan.outcome.time_s);
        Self(starts)
    }

    /// When a block starts under the plan; behind the last one, when the frame ends.
    pub fn planned(&self, block: usize) -> f64 {
        self.0[block]
    }

    /// The elapsed time of a bin at a block's start.
    pub fn elapsed(&self, block: usize, bin: usize) -> f64 {
        self.0[block] * (EARLY + (LATE - EARLY) * bin as f64 / (BINS - 1) as f64)
    }

    /// The place among the bins of a block's start.
    pub fn place(&self, block: usize, elapsed_s: f64) -> f64 {
        (elapsed_s / self.0[block].max(1e-12) - EARLY) / (LATE - EARLY) * (BINS - 1) as f64
    }
}

/// The bin below a place between bins, and how far from it to the next one the place is.
#[inline]
pub(super) fn between(place: f64) -> (usize, f64) {
    let place = place.clamp(0.0, (BINS - 1) as f64 - 1e-9);
    let bin = place as usize;
    (bin, place - bin as f64)
}

/// The value at a place between bins.
#[inline]
pub(super) fn at(values: &[f64], place: f64) -> f64 {
    let (bin, part) = between(place);
    values[bin] + part * (values[bin + 1] - values[bin])
}
