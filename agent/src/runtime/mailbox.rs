//! The mailbox between a launching thread and the control thread: one word that holds what is to be written, the latest
//! request wins.

use super::doorbell::{Doorbell, Scope};
use super::sync::{AtomicBool, AtomicU64, Ordering};
use jetpace_tables::governor::Action;
use jetpace_tables::units::Nanos;
use jetpace_tables::work::ClockIndex;

/// Times in the word count in these, so that 45 bits of them last for nine years of uptime.
const TICK_NS: u64 = 8192;
const LAST_TICK: u64 = (1 << 45) - 1;

const FULL: u64 = 1 << 63;
const SET: u64 = 0;
const SET_AT: u64 = 1;
const SET_THEN_AT: u64 = 2;
const RELEASE: u64 = 3;

/// The word: bit 63 says that it holds a request, bits 61..63 which, bits 16..61 the time in ticks, bits 8..16 the
/// later clock, bits 0..8 the clock at once.
fn pack(action: Action) -> u64 {
    let word = |kind: u64, at: Nanos, then: u8, now: u8| {
        FULL | kind << 61 | (at.get() / TICK_NS).min(LAST_TICK) << 16 | u64::from(then) << 8 | u64::from(now)
    };
    match action {
        Action::Set(clock) => word(SET, Nanos::ZERO, 0, clock.0),
        Action::SetAt(clock, at) => word(SET_AT, at, clock.0, 0),
        Action::SetThenAt(now, then, at) => word(SET_THEN_AT, at, then.0, now.0),
        Action::Release => word(RELEASE, Nanos::ZERO, 0, 0),
        // Nothing to write.
        Action::Hold | Action::Look => 0,
    }
}

fn unpack(word: u64) -> Option<Action> {
    if word & FULL == 0 {
        return None;
    }
    let at = Nanos::new(((word >> 16) & LAST_TICK) * TICK_NS);
    let [now, then, ..] = word.to_le_bytes().map(ClockIndex);
    Some(match (word >> 61) & 3 {
        SET => Action::Set(now),
        SET_AT => Action::SetAt(then, at),
        SET_THEN_AT => Action::SetThenAt(now, then, at),
        _ => Action::Release,
    })
}

/// The mailbox. Posting never waits; a request that was not yet taken is replaced.
#[derive(Debug)]
pub struct Mailbox {
    word: AtomicU64,
    closed: AtomicBool,
    bell: Doorbell,
}

impl Default for Mailbox {
    fn default() -> Self {
        Self { word: AtomicU64::new(0), closed: AtomicBool::new(false), bell: Doorbell::default() }
    }
}

impl Mailbox {
    /// Leaves a request: a swap and, if the control thread sleeps, one futex wake. Times are kept to 8 us. Says whether
    /// there was none: one that was not yet taken is replaced.
    pub fn post(&self, action: Action) -> bool {
        let word = pack(action);
        if word == 0 {
            return false;
        }
        // A swap and not a store: it comes wholly before or wholly after the other side's.
        let before = self.word.swap(word, Ordering::AcqRel);
        self.bell.ring(Scope::Process);
        before == 0
    }

    /// Takes the latest request, if there is one.
    pub fn take(&self) -> Option<Action> {
        if self.word.load(Ordering::Relaxed) == 0 {
            return None;
        }
        unpack(self.word.swap(0, Ordering::Acquire))
    }

    /// Sleeps until something is posted, the mailbox is closed, or the monotonic time `until`; may return early.
    /// `stay` is asked after the bell says that this side sleeps: for what [`Mailbox::wake`] was called for.
    pub fn sleep(&self, until: Option<Nanos>, stay: impl FnOnce() -> bool) {
        self.bell.sleep(Scope::Process, until, || {
            self.word.load(Ordering::Relaxed) != 0 || self.closed.load(Ordering::Relaxed) || stay()
        });
    }

    /// Wakes the control thread, if it sleeps, for something said elsewhere.
    pub fn wake(&self) {
        self.bell.ring(Scope::Process);
    }

    /// Asks the control thread to end; a request left before is still carried out.
    pub fn close(&self) {
        self.closed.store(true, Ordering::Release);
        self.bell.ring_anyway(Scope::Process);
    }

    /// Whether the control thread is asked to end.
    pub fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    /// Whether the control thread sleeps now, for measuring.
    pub fn is_asleep(&self) -> bool {
        self.bell.is_asleep()
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn every_request_survives_the_word() {
        let eight_years = Nanos::new(8 * 365 * 24 * 3600 * 1_000_000_000 / TICK_NS * TICK_NS);
        for action in [
            Action::Set(ClockIndex(0)),
            Action::Set(ClockIndex(255)),
            Action::SetAt(ClockIndex(0), Nanos::ZERO),
            Action::SetAt(ClockIndex(255), eight_years),
            Action::SetThenAt(ClockIndex(1), ClockIndex(255), eight_years),
            Action::Release,
        ] {
            assert_eq!(unpack(pack(action)), Some(action));
        }
        assert!(matches!(
            unpack(pack(Action::SetAt(ClockIndex(3), Nanos::MAX))),
            Some(Action::SetAt(ClockIndex(3), _))
        ));
    }

    #[test]
    fn the_latest_request_wins() {
        let mailbox = Mailbox::default();
        assert_eq!(mailbox.take(), None);
        mailbox.post(Action::Set(ClockIndex(1)));
        mailbox.post(Action::Set(ClockIndex(2)));
        assert_eq!(mailbox.take(), Some(Action::Set(ClockIndex(2))));
        assert_eq!(mailbox.take(), None);
    }
}
