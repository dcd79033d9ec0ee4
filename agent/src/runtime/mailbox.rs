//! The mailbox between a launching thread and the control thread: one word, the latest request wins.

use super::doorbell::{Doorbell, Scope};
use super::sync::{AtomicBool, AtomicU64, Ordering};
use jetpace_tables::units::Nanos;
use jetpace_tables::work::ClockIndex;

/// Times in the word count in these, so that 55 bits of them last for 73 years of uptime.
const TICK_NS: u64 = 64;
const LAST_TICK: u64 = (1 << 55) - 1;

/// What the control thread is asked to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request {
    /// Write this clock at once.
    Set(ClockIndex),
    /// Write this clock at a monotonic time, unless another request comes first.
    SetAt(ClockIndex, Nanos),
    /// Hand the GPU back to the stock governor.
    Release,
}

/// The word: bit 63 says that it holds a request, bits 8..63 the time in ticks (0 = at once), bits 0..8 the clock. A
/// release has a time that no clock can have.
fn pack(request: Request) -> u64 {
    const FULL: u64 = 1 << 63;
    match request {
        Request::Set(clock) => FULL | u64::from(clock.0),
        // A time so early that it is tick 0 is past anyway.
        Request::SetAt(clock, at) => FULL | (at.get() / TICK_NS).min(LAST_TICK - 1) << 8 | u64::from(clock.0),
        Request::Release => FULL | LAST_TICK << 8,
    }
}

fn unpack(word: u64) -> Option<Request> {
    if word >> 63 == 0 {
        return None;
    }
    let clock = ClockIndex((word & 0xff) as u8);
    Some(match (word >> 8) & LAST_TICK {
        0 => Request::Set(clock),
        LAST_TICK => Request::Release,
        tick => Request::SetAt(clock, Nanos::new(tick * TICK_NS)),
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
    /// Leaves a request: a swap and, if the control thread sleeps, one futex wake. Times are kept to 64 ns.
    pub fn post(&self, request: Request) {
        // A swap and not a store: it comes wholly before or wholly after the other side's.
        self.word.swap(pack(request), Ordering::AcqRel);
        self.bell.ring(Scope::Process);
    }

    /// Takes the latest request, if there is one.
    pub fn take(&self) -> Option<Request> {
        if self.word.load(Ordering::Relaxed) == 0 {
            return None;
        }
        unpack(self.word.swap(0, Ordering::Acquire))
    }

    /// Sleeps until something is posted, the mailbox is closed, or the monotonic time `until`; may return early.
    pub fn sleep(&self, until: Option<Nanos>) {
        self.bell.sleep(Scope::Process, until, || {
            self.word.load(Ordering::Relaxed) != 0 || self.closed.load(Ordering::Relaxed)
        });
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
        let year = 365 * 24 * 3600 * 1_000_000_000;
        for request in [
            Request::Set(ClockIndex(0)),
            Request::Set(ClockIndex(255)),
            Request::SetAt(ClockIndex(7), Nanos::new(64)),
            Request::SetAt(ClockIndex(255), Nanos::new(70 * year / 64 * 64)),
            Request::Release,
        ] {
            assert_eq!(unpack(pack(request)), Some(request));
        }
        assert_eq!(unpack(pack(Request::SetAt(ClockIndex(3), Nanos::new(63)))), Some(Request::Set(ClockIndex(3))));
        assert!(matches!(
            unpack(pack(Request::SetAt(ClockIndex(3), Nanos::MAX))),
            Some(Request::SetAt(ClockIndex(3), _))
        ));
    }

    #[test]
    fn the_latest_request_wins() {
        let mailbox = Mailbox::default();
        assert_eq!(mailbox.take(), None);
        mailbox.post(Request::Set(ClockIndex(1)));
        mailbox.post(Request::Set(ClockIndex(2)));
        assert_eq!(mailbox.take(), Some(Request::Set(ClockIndex(2))));
        assert_eq!(mailbox.take(), None);
    }
}
