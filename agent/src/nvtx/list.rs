//! What a process lists of its ranges, for `jetpace nvtx`.

use jetpace_tables::units::Nanos;
use serde::{Deserialize, Serialize};

/// What ends a process's file in the folder.
pub const ENDING: &str = "json";

/// How a range is begun and ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Pushed and popped, on one thread.
    Push,
    /// Started and ended, on any.
    Start,
    /// A point in time.
    Mark,
}

/// All ranges of a name, in one process.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Tally {
    /// The domain; empty for the one without a name.
    pub domain: String,
    /// The name.
    pub name: String,
    /// How they are begun and ended.
    pub kind: Kind,
    /// How many have begun.
    pub count: u64,
    /// What those that ended took together, in nanoseconds.
    pub total_ns: u64,
    /// How many have ended.
    pub ended: u64,
    /// Times of them, spread over all, in nanoseconds.
    pub samples_ns: Vec<u64>,
    /// On how many threads they began.
    pub threads: u32,
    /// How many pushed ranges of their thread were around them, at least.
    pub depth: u32,
    /// The one right around them, by its place in this list, where that is always the same.
    pub within: Option<usize>,
    /// The least and the largest whole payload.
    pub payloads: Option<[i64; 2]>,
}

impl Tally {
    /// What one takes that is longer than half of them and shorter than the others.
    pub fn median(&self) -> Option<Nanos> {
        let mut times = self.samples_ns.clone();
        times.sort_unstable();
        times.get(times.len() / 2).copied().map(Nanos::new)
    }

    /// What one takes on average.
    pub fn mean(&self) -> Option<Nanos> {
        self.total_ns.checked_div(self.ended).map(Nanos::new)
    }
}
