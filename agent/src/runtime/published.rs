//! What a governor did, as other threads see it while it goes on: published at the end of a frame or of a batch of events by
//! a few stores an event, no lock and no system call.

use std::sync::atomic::{AtomicI32, AtomicU32, AtomicU64, Ordering};

use jetpace_tables::governor::drift::share;
use jetpace_tables::governor::trace::{Fault, Ring};
use jetpace_tables::governor::{Counters, Governor, State, TRACE};
use jetpace_tables::table::Table;

/// What is published: each figure for itself, together they may be a frame apart.
#[derive(Debug, Default)]
pub struct Published {
    ring: Ring<TRACE>,
    /// How many of the governor's events are in the ring.
    taken: AtomicU32,
    counters: [AtomicU64; 5],
    faults: [AtomicU64; Fault::ALL.len()],
    /// As [`Drift::off_ppm`](jetpace_tables::governor::Drift::off_ppm) has it.
    off_ppm: AtomicI32,
    /// 0 following, then holding the safe clock for a fault, then handed back for one.
    state: AtomicU32,
}

const FAULTS: u32 = Fault::ALL.len() as u32;

impl Published {
    /// The last events.
    pub fn trace(&self) -> &Ring<TRACE> {
        &self.ring
    }

    /// Publishes what has happened since the last time. For one thread.
    pub fn publish(&self, governor: &Governor<Box<Table>>) {
        let (from, all) = (self.taken.load(Ordering::Relaxed), governor.trace());
        let new = all.written().wrapping_sub(from).min(TRACE as u32);
        for i in (0..new).rev() {
            if let Some((at, event)) = all.read(all.written().wrapping_sub(1).wrapping_sub(i)) {
                self.ring.push(at, event);
            }
        }
        self.taken.store(all.written(), Ordering::Relaxed);
        let Counters { frames, missed, blocks, writes, tries, faults } = *governor.counters();
        let values = [frames, missed, blocks, writes, tries].into_iter().chain(faults);
        for (slot, value) in self.counters.iter().chain(&self.faults).zip(values) {
            slot.store(value, Ordering::Relaxed);
        }
        self.off_ppm.store(governor.drift().off_ppm(), Ordering::Relaxed);
        let state = match governor.state() {
            State::Following => 0,
            State::Safe(why) => 1 + why as u32,
            State::HandedBack(why) => 1 + FAULTS + why as u32,
        };
        self.state.store(state, Ordering::Relaxed);
    }

    /// What was counted.
    pub fn counters(&self) -> Counters {
        let [frames, missed, blocks, writes, tries] = self.counters.each_ref().map(|n| n.load(Ordering::Relaxed));
        let faults = self.faults.each_ref().map(|n| n.load(Ordering::Relaxed));
        Counters { frames, missed, blocks, writes, tries, faults }
    }

    /// By what share frames take longer than the table says.
    pub fn drift(&self) -> f64 {
        share(self.off_ppm.load(Ordering::Relaxed))
    }

    /// Whose the clock is.
    pub fn state(&self) -> State {
        let state = self.state.load(Ordering::Relaxed);
        let why = |of: u32| Fault::ALL[(of % FAULTS) as usize];
        match state.checked_sub(1) {
            None => State::Following,
            Some(of) if of < FAULTS => State::Safe(why(of)),
            Some(of) => State::HandedBack(why(of)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use jetpace_tables::table::TableClock;
    use jetpace_tables::units::{Hertz, Nanos};
    use jetpace_tables::work::{BlockId, ClockIndex, Size};

    #[test]
    fn what_is_published_is_what_happened() {
        let clocks = [1, 2].map(|i| TableClock {
            index: ClockIndex(i),
            clock: Hertz::from_khz(u64::from(i) * 100_000),
            relative_time: 1,
        });
        let second = Nanos::from_millis(1_000);
        let blocks = [("a", ClockIndex(1)), ("b", ClockIndex(2))];
        let table = Table::plain([0; 32], &clocks, &blocks, (second, second), Nanos::ZERO).unwrap();
        let mut governor = Governor::new(Box::new(table));
        let published = Published::default();
        for frame in 0..200 {
            let at = |ms: u64| Nanos::from_millis(frame * 1_000 + ms);
            _ = governor.frame_start(at(1));
            for block in 0..2 {
                // Now and then one out of order.
                _ = governor.block_start(
                    BlockId(if frame % 50 == 7 { 1 } else { block }),
                    Size(1),
                    at(2 + u64::from(block)),
                );
            }
            _ = governor.frame_end(at(9));
            published.publish(&governor);
            assert_eq!(published.state(), governor.state());
        }
        assert_eq!(published.counters(), *governor.counters());
        assert!(published.counters().fault(Fault::BlockOutOfOrder) > 0);
        assert_eq!(published.ring.written(), governor.trace().written());
        assert!(published.ring.events().eq(governor.trace().events()));
        // More than a ring's length at once: the last of them.
        for frame in 1_000..1_100 {
            _ = governor.frame_start(Nanos::from_millis(frame * 1_000));
            _ = governor.frame_end(Nanos::from_millis(frame * 1_000 + 1));
        }
        published.publish(&governor);
        assert!(published.ring.events().eq(governor.trace().events()));
    }

    #[test]
    fn every_state_comes_back() {
        let published = Published::default();
        for (i, fault) in Fault::ALL.into_iter().enumerate() {
            published.state.store(1 + i as u32, Ordering::Relaxed);
            assert_eq!(published.state(), State::Safe(fault));
            published.state.store(1 + FAULTS + i as u32, Ordering::Relaxed);
            assert_eq!(published.state(), State::HandedBack(fault));
        }
    }
}
