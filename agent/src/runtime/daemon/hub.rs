//! What all clients ask for together: the highest clock wins.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use jetpace_tables::governor::Action;
use jetpace_tables::hw::GpuClock;
use jetpace_tables::table::Table;
use jetpace_tables::units::{Hertz, Nanos};
use jetpace_tables::work::ClockIndex;

use super::super::control::{Desk, InlineWriter, WatchedClock};
use super::super::sys;
use super::super::writer::Writer;
use super::SLOTS;

/// Between the clients' threads and the clock. A client's thread writes itself where it can and writes are short: waking
/// the control thread for it would take longer than the write, and on a busy machine more of the clients' time.
///
/// Nothing here is held while a node is written or read: whoever comes meanwhile leaves its wish, and the one that writes
/// looks again. A driver that hangs stops that one thread.
pub struct Hub<C> {
    inline: InlineWriter<C>,
    clocks: Vec<Hertz>,
    wishes: Mutex<Wishes>,
    busy: [AtomicBool; SLOTS],
    /// Frames that clients have begun.
    begun: [AtomicU64; SLOTS],
    /// When a client's thread last had the board looked at.
    looked: AtomicU64,
    /// When the daemon started.
    pub started: Nanos,
}

/// A look at the whole board costs milliseconds; whoever brings tables for another one must not cause more of them.
const LOOKS_APART: Nanos = Nanos::from_millis(100);

/// The same for whoever asks how the board is.
const LOOKS_ASKED_APART: Nanos = Nanos::from_millis(900);

#[derive(Default)]
struct Wishes {
    by_client: [Wish; SLOTS],
    posted: Posted,
    /// A client's thread writes just now.
    writing: bool,
}

#[derive(Clone, Copy, Default)]
enum Wish {
    /// Nobody has this slot, or its client has gone: what its thread still wishes counts no more.
    #[default]
    Gone,
    For(Option<ClockIndex>),
}

impl Wishes {
    fn highest(&self) -> Posted {
        let clocks = self.by_client.iter().filter_map(|wish| match wish {
            Wish::For(clock) => *clock,
            Wish::Gone => None,
        });
        clocks.max().map_or(Posted::Released, Posted::Clock)
    }

    /// What is to be asked of the clock now, where that is something else than before and nobody writes: whoever does looks
    /// again.
    fn news(&mut self) -> Option<Posted> {
        let post = self.highest();
        if self.writing || self.posted == post {
            return None;
        }
        self.posted = post;
        Some(post)
    }
}

/// What was asked of the clock last.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Posted {
    /// To be the stock governor's, as it is when the daemon starts.
    #[default]
    Released,
    Clock(ClockIndex),
    /// Writes were refused since: what is in effect is not known.
    Unknown,
}

impl<C: WatchedClock> Hub<C> {
    /// Whether a table holds on this board; only where it seems not to is the board looked at again.
    pub fn suits(&self, table: &Table) -> bool {
        let fits = table.clocks().iter().all(|c| self.clocks.get(c.index.index()) == Some(&c.clock));
        let holds = || self.desk().suits(table) == Some(true);
        if !fits || holds() {
            return fits;
        }
        // The board may have changed while nobody was served: only then it is not looked at.
        let (now, looked) = (sys::now(), self.looked.load(Ordering::Relaxed));
        if now.saturating_sub(Nanos::new(looked)) >= LOOKS_APART {
            self.looked.store(now.get(), Ordering::Relaxed);
            self.inline.look();
        }
        holds()
    }
}

impl<C: GpuClock> Hub<C> {
    pub fn new(inline: InlineWriter<C>, clocks: Vec<Hertz>) -> Self {
        let busy = std::array::from_fn(|_| AtomicBool::new(false));
        let begun = std::array::from_fn(|_| AtomicU64::new(0));
        let looked = AtomicU64::new(0);
        Self { inline, clocks, wishes: Mutex::default(), busy, begun, looked, started: sys::now() }
    }

    pub fn desk(&self) -> &Desk {
        self.inline.desk()
    }

    /// Has the control thread look at the board, where nobody has for a while; asking costs nothing.
    pub fn look_soon(&self, now: Nanos) {
        if now.saturating_sub(Nanos::new(self.looked.load(Ordering::Relaxed))) >= LOOKS_ASKED_APART {
            self.looked.store(now.get(), Ordering::Relaxed);
            self.desk().ask_to_look();
        }
    }

    pub fn clocks(&self) -> &[Hertz] {
        &self.clocks
    }

    /// The frequency of the clock written last; zero while the stock governor has the GPU.
    pub fn clock(&self) -> Hertz {
        let written = self.desk().written.clock();
        written.and_then(|clock| self.clocks.get(clock.index())).copied().unwrap_or_default()
    }

    /// A client comes.
    pub fn admit(&self, slot: usize) {
        if let Some(wish) = self.wishes().by_client.get_mut(slot) {
            *wish = Wish::For(None);
        }
    }

    /// A client asks for a clock, or for none, and has it written by this writer if it changes anything.
    pub fn wish(&self, slot: usize, clock: Option<ClockIndex>, writer: Writer) {
        let mut wishes = self.wishes();
        match wishes.by_client.get_mut(slot) {
            Some(Wish::For(wish)) => *wish = clock,
            _ => return,
        }
        // A refused write is on the desk, where every client's governor hears of it.
        while let Some(post) = wishes.news() {
            let Posted::Clock(clock) = post else { return self.desk().post(Action::Release) };
            if writer == Writer::Thread {
                return self.desk().post(Action::Set(clock));
            }
            wishes.writing = true;
            drop(wishes);
            let written = self.inline.write(clock, sys::now);
            wishes = self.wishes();
            wishes.writing = false;
            if written.is_none() {
                // The control thread has the clock; what is wanted by now is left to it.
                wishes.posted = wishes.highest();
                return self.desk().post(match wishes.posted {
                    Posted::Clock(clock) => Action::Set(clock),
                    Posted::Released | Posted::Unknown => Action::Release,
                });
            }
        }
    }

    /// Writes were refused: what is in effect is not known, the next wish is written even if it is the same.
    pub fn doubt(&self) {
        self.wishes().posted = Posted::Unknown;
    }

    /// A client has gone. Waits for nothing.
    pub fn forget(&self, slot: usize) {
        self.set_busy(slot, false);
        self.wish(slot, None, Writer::Thread);
        if let Some(wish) = self.wishes().by_client.get_mut(slot) {
            *wish = Wish::Gone;
        }
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
        (0..2).for_each(|slot| hub.admit(slot));
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
        for nobody in [1, 2, SLOTS] {
            hub.wish(nobody, Some(ClockIndex(7)), Writer::Inline);
            assert_eq!(taken(), None, "no such client, or one that has gone");
        }
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
