//! What all clients ask for together: the highest clock wins.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use jetpace_tables::governor::Action;
use jetpace_tables::hw::GpuClock;
use jetpace_tables::units::{Hertz, Nanos};
use jetpace_tables::work::ClockIndex;

use super::super::control::{Desk, InlineWriter};
use super::super::sys;
use super::super::writer::Writer;
use super::MAX_CLIENTS;

/// Between the clients' threads and the clock. A client's thread writes itself where it can and writes are short: waking
/// the control thread for it would take longer than the write, and on a busy machine more of the clients' time.
pub struct Hub<C> {
    inline: InlineWriter<C>,
    clocks: Vec<Hertz>,
    wishes: Mutex<Wishes>,
    busy: [AtomicBool; MAX_CLIENTS],
    /// Frames that clients have begun.
    begun: [AtomicU64; MAX_CLIENTS],
    /// When the daemon started.
    pub started: Nanos,
}

#[derive(Default)]
struct Wishes {
    by_client: [Option<ClockIndex>; MAX_CLIENTS],
    posted: Posted,
}

/// What was asked of the clock last.
#[derive(Default, PartialEq, Eq)]
enum Posted {
    /// To be the stock governor's, as it is when the daemon starts.
    #[default]
    Released,
    Clock(ClockIndex),
    /// Writes were refused since: what is in effect is not known.
    Unknown,
}

impl<C: GpuClock> Hub<C> {
    pub fn new(inline: InlineWriter<C>, clocks: Vec<Hertz>) -> Self {
        let busy = std::array::from_fn(|_| AtomicBool::new(false));
        let begun = std::array::from_fn(|_| AtomicU64::new(0));
        Self { inline, clocks, wishes: Mutex::default(), busy, begun, started: sys::now() }
    }

    pub fn desk(&self) -> &Desk {
        self.inline.desk()
    }

    pub fn clocks(&self) -> &[Hertz] {
        &self.clocks
    }

    /// The frequency of the clock written last; zero while the stock governor has the GPU.
    pub fn clock(&self) -> Hertz {
        let written = self.desk().written.clock();
        written.and_then(|clock| self.clocks.get(clock.index())).copied().unwrap_or_default()
    }

    /// A client asks for a clock, or for none, and has it written by this writer if it changes anything.
    pub fn wish(&self, slot: usize, clock: Option<ClockIndex>, writer: Writer) {
        let mut wishes = self.wishes();
        let Some(wish) = wishes.by_client.get_mut(slot) else { return };
        *wish = clock;
        let highest = wishes.by_client.iter().flatten().max().copied();
        let post = highest.map_or(Posted::Released, Posted::Clock);
        if wishes.posted == post {
            return;
        }
        wishes.posted = post;
        // A refused write is on the desk, where every client's governor hears of it.
        match highest {
            Some(clock) if writer == Writer::Inline && self.inline.write(clock, sys::now).is_some() => {}
            Some(clock) => self.desk().post(Action::Set(clock)),
            None => self.desk().post(Action::Release),
        }
    }

    /// Writes were refused: what is in effect is not known, the next wish is written even if it is the same.
    pub fn doubt(&self) {
        self.wishes().posted = Posted::Unknown;
    }

    /// A client has gone.
    pub fn forget(&self, slot: usize) {
        self.set_busy(slot, false);
        self.wish(slot, None, Writer::Thread);
    }

    /// A client is within a frame, or no longer.
    pub fn set_busy(&self, slot: usize, busy: bool) {
        if let (Some(flag), Some(begun)) = (self.busy.get(slot), self.begun.get(slot)) {
            flag.store(busy, Ordering::Relaxed);
            begun.fetch_add(u64::from(busy), Ordering::Relaxed);
        }
    }

    /// How many frames all other clients have begun: one that lies within a single block of this client is seen by it.
    pub fn begun_by_others(&self, slot: usize) -> u64 {
        let others = self.begun.iter().enumerate().filter(|(other, _)| *other != slot);
        others.map(|(_, begun)| begun.load(Ordering::Relaxed)).fold(0, u64::wrapping_add)
    }

    /// Whether a client other than this one is within a frame.
    pub fn is_shared(&self, slot: usize) -> bool {
        self.busy.iter().enumerate().any(|(other, busy)| other != slot && busy.load(Ordering::Relaxed))
    }

    fn wishes(&self) -> MutexGuard<'_, Wishes> {
        // Every wish is whole by itself; a panic elsewhere does not spoil it.
        self.wishes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::Untouched;

    #[test]
    fn the_highest_wish_wins_and_the_last_one_to_go_releases() {
        let hub = Hub::new(InlineWriter::new(Untouched), vec![Hertz::new(1); 8]);
        let taken = || hub.desk().mailbox.take();
        hub.wish(0, Some(ClockIndex(3)), Writer::Inline);
        assert_eq!(taken(), Some(Action::Set(ClockIndex(3))));
        hub.wish(1, Some(ClockIndex(2)), Writer::Inline);
        assert_eq!(taken(), None, "a lower wish changes nothing");
        hub.wish(1, Some(ClockIndex(5)), Writer::Inline);
        assert_eq!(taken(), Some(Action::Set(ClockIndex(5))));
        hub.forget(1);
        assert_eq!(taken(), Some(Action::Set(ClockIndex(3))));
        hub.wish(0, None, Writer::Inline);
        assert_eq!(taken(), Some(Action::Release));
        hub.wish(0, None, Writer::Inline);
        assert_eq!(taken(), None, "it is released");
        hub.doubt();
        hub.wish(0, None, Writer::Inline);
        assert_eq!(taken(), Some(Action::Release), "a refused write may have left it held");
        hub.wish(MAX_CLIENTS, Some(ClockIndex(7)), Writer::Inline);
        assert_eq!(taken(), None, "no such client");
    }

    #[test]
    fn another_client_within_a_frame_marks_a_frame_as_shared() {
        let hub = Hub::new(InlineWriter::new(Untouched), Vec::new());
        hub.set_busy(4, true);
        assert!(!hub.is_shared(4));
        assert!(hub.is_shared(3));
        assert_eq!((hub.begun_by_others(3), hub.begun_by_others(4)), (1, 0));
        hub.forget(4);
        assert_eq!(hub.begun_by_others(3), 1);
        assert!(!hub.is_shared(3));
    }
}
