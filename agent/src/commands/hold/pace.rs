//! The lowest clock that keeps a frame rate: down a step while the rate is kept, up again where it is not.

use jetpace_tables::work::ClockIndex;

/// A rate this far below the wanted one still counts as kept: a window rarely holds a whole number of frames.
const TOLERANCE: f64 = 0.02;

/// After so many windows a clock that once failed is tried again: the load may have changed.
const FORGET_AFTER: u32 = 30;

/// What is known of the clocks so far.
#[derive(Debug)]
pub struct Pace {
    wanted: f64,
    at: ClockIndex,
    /// The highest clock that did not keep the rate, and how many windows ago.
    failed: Option<(ClockIndex, u32)>,
    /// A window in which the clock changed says nothing.
    settling: bool,
}

impl Pace {
    /// Starts at a clock that is thought to be enough.
    pub fn new(wanted: f64, at: ClockIndex) -> Self {
        Self { wanted, at, failed: None, settling: true }
    }

    /// Takes the frame rate of the last window and gives the clock for the next.
    pub fn judge(&mut self, rate: f64, cap: ClockIndex) -> ClockIndex {
        self.at = self.at.min(cap);
        if std::mem::take(&mut self.settling) {
            return self.at;
        }
        self.failed = self.failed.map(|(clock, age)| (clock, age + 1)).filter(|(_, age)| *age < FORGET_AFTER);
        let before = self.at;
        if rate < self.wanted * (1.0 - TOLERANCE) {
            self.failed = Some((self.at, 0));
            self.at = ClockIndex(self.at.0.saturating_add(1)).min(cap);
        } else if self.at.0 > 0 && self.failed.is_none_or(|(failed, _)| failed.0 + 1 < self.at.0) {
            self.at.0 -= 1;
        }
        self.settling = self.at != before;
        self.at
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A command whose rate grows with the clock: 10 frames a second per step, and never more than `most`.
    fn settle(wanted: f64, most: f64, windows: usize) -> Vec<u8> {
        let mut pace = Pace::new(wanted, ClockIndex(5));
        let mut at = ClockIndex(5);
        let mut seen = Vec::new();
        for _ in 0..windows {
            at = pace.judge((10.0 * f64::from(at.0 + 1)).min(most), ClockIndex(5));
            seen.push(at.0);
        }
        seen
    }

    #[test]
    fn it_comes_to_rest_on_the_lowest_clock_that_keeps_the_rate() {
        let seen = settle(30.0, 1e9, 24);
        assert_eq!(seen.last(), Some(&2));
        assert!(seen.iter().filter(|at| **at == 1).count() <= 2, "{seen:?}");
    }

    #[test]
    fn a_rate_out_of_reach_ends_at_the_cap() {
        assert_eq!(settle(90.0, 1e9, 8).last(), Some(&5));
    }

    #[test]
    fn a_command_paced_by_itself_goes_to_the_lowest_clock_that_it_needs() {
        // A camera of 30 frames a second: higher clocks give no more.
        assert_eq!(settle(30.0, 30.0, 24).last(), Some(&2));
    }
}
