//! What the control thread and the launching thread tell each other: atomics only, but for the board, which is asked
//! for when it is another.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use jetpace_devfreq::board::{Digests, EmcRange};
use jetpace_tables::governor::Action;
use jetpace_tables::table::Table;
use jetpace_tables::units::Nanos;
use jetpace_tables::work::ClockIndex;

use super::super::mailbox::Mailbox;
use super::Look;

/// No cap was seen yet.
const NO_CAP: u32 = u32::MAX;

/// What was written so far; each figure is exact, together they may be one write apart.
#[derive(Debug, Default)]
pub struct Written {
    writes: AtomicU64,
    sets: AtomicU64,
    faults: AtomicU64,
    at: AtomicU64,
    /// The clock of the last write, plus one; 0 when the GPU is with the stock governor.
    clock: AtomicU32,
}

impl Written {
    /// Writes that the kernel took, releases among them.
    pub fn writes(&self) -> u64 {
        self.writes.load(Ordering::Acquire)
    }

    /// Writes of a clock that it took.
    pub fn sets(&self) -> u64 {
        self.sets.load(Ordering::Acquire)
    }

    /// Writes that it refused.
    pub fn faults(&self) -> u64 {
        self.faults.load(Ordering::Acquire)
    }

    /// When the last write came back, or where it was written inline the event that it was written for.
    pub fn at(&self) -> Nanos {
        Nanos::new(self.at.load(Ordering::Acquire))
    }

    /// The clock written last, or `None` when the GPU is with the stock governor.
    pub fn clock(&self) -> Option<ClockIndex> {
        self.clock.load(Ordering::Acquire).checked_sub(1).map(|clock| ClockIndex(clock as u8))
    }
}

/// The table between the launching thread and the control thread.
#[derive(Debug)]
pub struct Desk {
    /// Where requests go.
    pub mailbox: Mailbox,
    /// What came of them.
    pub written: Written,
    /// Counts up with everything that the launching thread has to learn: one load tells it that there is nothing.
    news: AtomicU32,
    heartbeat: AtomicU64,
    posted: AtomicU64,
    settled: AtomicU64,
    silenced: AtomicU32,
    look_asked: AtomicBool,
    /// Odd while a node is written or read; counts up with each beginning and end.
    io: AtomicU64,
    /// The board as last looked at, and the clock that its memory was locked at.
    board: Mutex<Option<(Digests, EmcRange)>>,
    /// What holds the clock down by heat, and since when it was seen to.
    held_down: Mutex<Option<(String, Nanos)>>,
    cap: AtomicU32,
}

impl Default for Desk {
    fn default() -> Self {
        Self {
            mailbox: Mailbox::default(),
            written: Written::default(),
            news: AtomicU32::new(0),
            heartbeat: AtomicU64::new(0),
            posted: AtomicU64::new(0),
            settled: AtomicU64::new(0),
            silenced: AtomicU32::new(0),
            look_asked: AtomicBool::new(false),
            io: AtomicU64::new(0),
            board: Mutex::new(None),
            held_down: Mutex::new(None),
            cap: AtomicU32::new(NO_CAP),
        }
    }
}

impl Desk {
    /// Leaves to the control thread what an action asks for. For one poster.
    pub fn post(&self, action: Action) {
        if action == Action::Look {
            return self.ask_to_look();
        }
        // Counted as the control thread counts what it takes. In between the thread may be ahead; this side writes
        // nothing then.
        if self.mailbox.post(action) {
            self.posted.store(self.posted.load(Ordering::Relaxed) + 1, Ordering::Release);
        }
    }

    /// Whether everything posted was carried out and no timer runs: only then may the poster write inline.
    #[inline]
    pub fn is_settled(&self) -> bool {
        self.settled.load(Ordering::Acquire) == self.posted.load(Ordering::Relaxed)
    }

    /// Says that the launching thread lives.
    #[inline]
    pub fn beat(&self, now: Nanos) {
        self.heartbeat.store(now.get(), Ordering::Relaxed);
    }

    /// Something to learn since `seen`, as the new value for `seen`.
    #[inline]
    pub fn news(&self, seen: u32) -> Option<u32> {
        let news = self.news.load(Ordering::Acquire);
        (news != seen).then_some(news)
    }

    /// How often the GPU was handed back for silence.
    pub fn silenced(&self) -> u32 {
        self.silenced.load(Ordering::Acquire)
    }

    /// The board as last looked at, once it was. Waits for a lock, but for the time of a copy at most.
    pub fn board(&self) -> Option<Digests> {
        self.lock_board().map(|(board, _)| board)
    }

    /// Whether a table holds on the board as last looked at. Waits as [`Self::board`] does.
    pub fn suits(&self, table: &Table) -> Option<bool> {
        let other = |emc: EmcRange| table.emc().is_some_and(|planned| emc.other_than(planned).is_some());
        self.lock_board().map(|(board, emc)| board.include(table.board()) && !other(emc))
    }

    /// What holds the clock down by heat or over-current, as last looked at, and since when. Waits as [`Self::board`] does.
    pub fn held_down(&self) -> Option<(String, Nanos)> {
        self.held_down.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn set_held_down(&self, by: Option<&str>, now: Nanos) {
        let mut held = self.held_down.lock().unwrap_or_else(PoisonError::into_inner);
        match (by, &mut *held) {
            (Some(by), Some((before, _))) if before == by => {}
            (Some(by), Some((before, _))) => by.clone_into(before),
            (Some(by), none) => *none = Some((by.to_owned(), now)),
            (None, held) => *held = None,
        }
    }

    /// Asks the control thread to look at the board, also where the GPU is with the stock governor.
    pub fn ask_to_look(&self) {
        self.look_asked.store(true, Ordering::Release);
        self.mailbox.wake();
    }

    pub(super) fn is_look_asked(&self) -> bool {
        self.look_asked.load(Ordering::Relaxed)
    }

    pub(super) fn take_look_asked(&self) -> bool {
        self.look_asked.swap(false, Ordering::AcqRel)
    }

    /// Does something with the nodes, seen by whoever watches for a driver that hangs. Called with the clock's lock, by one
    /// thread at a time.
    #[inline]
    pub(super) fn watched<R>(&self, io: impl FnOnce() -> R) -> R {
        let count = self.io.load(Ordering::Relaxed);
        self.io.store(count.wrapping_add(1), Ordering::Relaxed);
        let result = io();
        self.io.store(count.wrapping_add(2), Ordering::Relaxed);
        result
    }

    /// A number that is odd while a node is written or read, and the same as long as that takes.
    pub fn io(&self) -> u64 {
        self.io.load(Ordering::Relaxed)
    }

    /// The highest clock allowed, once it was looked at.
    pub fn cap(&self) -> Option<ClockIndex> {
        match self.cap.load(Ordering::Acquire) {
            NO_CAP => None,
            cap => Some(ClockIndex(cap as u8)),
        }
    }

    /// Notes what came of a write; `clock` is `None` for a release. Called while the clock's lock is held, by one thread
    /// at a time, so that no count needs an atomic addition.
    #[inline]
    pub fn note<E>(&self, result: &Result<(), E>, clock: Option<ClockIndex>, at: Nanos) {
        let count = |counter: &AtomicU64| counter.store(counter.load(Ordering::Relaxed) + 1, Ordering::Release);
        if result.is_ok() {
            self.written.clock.store(clock.map_or(0, |clock| u32::from(clock.0) + 1), Ordering::Release);
            self.written.at.store(at.get(), Ordering::Release);
            count(&self.written.writes);
            if clock.is_some() {
                count(&self.written.sets);
            }
        } else {
            count(&self.written.faults);
            self.tell();
        }
    }

    pub(super) fn heartbeat(&self) -> Nanos {
        Nanos::new(self.heartbeat.load(Ordering::Relaxed))
    }

    /// So many requests were taken and carried out.
    pub(super) fn set_settled(&self, taken: u64) {
        self.settled.store(taken, Ordering::Release);
    }

    pub(super) fn set_silenced(&self) {
        self.silenced.fetch_add(1, Ordering::AcqRel);
        self.tell();
    }

    pub(super) fn set_look(&self, look: Look) {
        let cap = u32::from(look.cap.0);
        if self.cap.swap(cap, Ordering::AcqRel) != cap {
            self.tell();
        }
        let found = (look.board, look.emc);
        if self.lock_board().replace(found) != Some(found) {
            self.tell();
        }
    }

    fn lock_board(&self) -> MutexGuard<'_, Option<(Digests, EmcRange)>> {
        // A digest is whole or was not written.
        self.board.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell(&self) {
        self.news.fetch_add(1, Ordering::AcqRel);
    }
}
