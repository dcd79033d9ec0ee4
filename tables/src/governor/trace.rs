//! What the governor did, as typed events in a fixed ring that can be read while it runs.
//!
//! One writer, any readers. A slot is written with relaxed stores between two values of its sequence number (odd
//! while it is written), so a reader tells a torn slot and leaves it out. Words of 32 bits: the ring also works on
//! targets without 64-bit atomics, and in a page shared between processes.

use core::sync::atomic::{AtomicU32, Ordering::Acquire, Ordering::Relaxed, Ordering::Release, fence};

use crate::units::Nanos;
use crate::work::{BlockId, ClockIndex};

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// A frame started.
    FrameStart,
    /// A block started, with its slack.
    Block {
        /// Which.
        block: BlockId,
        /// The clock it was given.
        clock: ClockIndex,
        /// Deadline minus elapsed; negative when late. In microseconds.
        slack_us: i32,
    },
    /// A clock was asked for.
    Set(ClockIndex),
    /// A frame ended, with the slack left.
    FrameEnd {
        /// Deadline minus the frame's time, in microseconds.
        slack_us: i32,
    },
    /// The clock is held at the safe one from here.
    Hold(Fault),
    /// The GPU was handed back to the stock governor.
    HandBack(Fault),
    /// Something that leaves the state as it is.
    Noted(Fault),
    /// The table is followed again.
    Follow,
    /// What ran since the event before shared the GPU with another client: its time says little.
    Shared,
}

/// What can go wrong while running.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Fault {
    /// A block came that is not the next one.
    BlockOutOfOrder,
    /// A block that the table does not have.
    UnknownBlock,
    /// A frame started before the last one ended, or ended with blocks missing.
    FrameCut,
    /// Time went backwards.
    TimeBackwards,
    /// The highest clock allowed now is below one that the table uses.
    CapLowered,
    /// A write was refused.
    WriteFailed,
    /// The table does not hold for the board, power mode, EMC clock or release of now.
    TableStale,
    /// No event came for three periods.
    Silence,
    /// Frames take longer than the table says, for long: clocks are chosen higher by that.
    Slower,
    /// Frames take less than the table says, for long: a new plan could save energy.
    Faster,
}

// A fault's place is its number: counters are found by it, and states are published as it.
const _: () = {
    let mut at = 0;
    while at < Fault::ALL.len() {
        assert!(Fault::ALL[at] as usize == at);
        at += 1;
    }
};

impl Fault {
    /// All, in the order of their counters.
    pub const ALL: [Self; 10] = [
        Self::BlockOutOfOrder,
        Self::UnknownBlock,
        Self::FrameCut,
        Self::TimeBackwards,
        Self::CapLowered,
        Self::WriteFailed,
        Self::TableStale,
        Self::Silence,
        Self::Slower,
        Self::Faster,
    ];

    /// In words, for a person.
    pub const fn text(self) -> &'static str {
        match self {
            Self::BlockOutOfOrder => "block out of order",
            Self::UnknownBlock => "unknown block",
            Self::FrameCut => "frame cut short",
            Self::TimeBackwards => "time went backwards",
            Self::CapLowered => "cap lowered",
            Self::WriteFailed => "write failed",
            Self::TableStale => "table is stale",
            Self::Silence => "no event for three periods",
            Self::Slower => "frames take longer than planned",
            Self::Faster => "frames take less than planned",
        }
    }

    const fn from_code(code: u8) -> Option<Self> {
        let place = code as usize;
        if place < Self::ALL.len() { Some(Self::ALL[place]) } else { None }
    }
}

/// Kind in the top byte, clock or fault in the next, block in the low half; the slack in a word of its own.
const fn pack(event: Event) -> (u32, i32) {
    const fn word(kind: u32, detail: u8, block: u16) -> u32 {
        kind << 24 | (detail as u32) << 16 | block as u32
    }
    match event {
        Event::FrameStart => (word(1, 0, 0), 0),
        Event::Block { block, clock, slack_us } => (word(2, clock.0, block.0), slack_us),
        Event::Set(clock) => (word(3, clock.0, 0), 0),
        Event::FrameEnd { slack_us } => (word(4, 0, 0), slack_us),
        Event::Hold(fault) => (word(5, fault as u8, 0), 0),
        Event::HandBack(fault) => (word(6, fault as u8, 0), 0),
        Event::Noted(fault) => (word(7, fault as u8, 0), 0),
        Event::Follow => (word(8, 0, 0), 0),
        Event::Shared => (word(9, 0, 0), 0),
    }
}

fn unpack(word: u32, slack_us: i32) -> Option<Event> {
    let [block_low, block_high, detail, kind] = word.to_le_bytes();
    Some(match kind {
        1 => Event::FrameStart,
        2 => {
            let block = BlockId(u16::from_le_bytes([block_low, block_high]));
            Event::Block { block, clock: ClockIndex(detail), slack_us }
        }
        3 => Event::Set(ClockIndex(detail)),
        4 => Event::FrameEnd { slack_us },
        5 => Event::Hold(Fault::from_code(detail)?),
        6 => Event::HandBack(Fault::from_code(detail)?),
        7 => Event::Noted(Fault::from_code(detail)?),
        8 => Event::Follow,
        9 => Event::Shared,
        _ => return None,
    })
}

/// One event's place.
#[derive(Debug, Default)]
#[repr(C)]
struct Slot {
    sequence: AtomicU32,
    at_low: AtomicU32,
    at_high: AtomicU32,
    event: AtomicU32,
    slack: AtomicU32,
}

/// The ring of the last `N` events.
#[derive(Debug)]
#[repr(C)]
pub struct Ring<const N: usize> {
    /// Events written so far, modulo 2^32.
    written: AtomicU32,
    slots: [Slot; N],
}

impl<const N: usize> Default for Ring<N> {
    fn default() -> Self {
        Self::new()
    }
}

impl<const N: usize> Ring<N> {
    /// An empty ring.
    pub fn new() -> Self {
        Self { written: AtomicU32::new(0), slots: core::array::from_fn(|_| Slot::default()) }
    }

    /// Events written so far, modulo 2^32.
    pub fn written(&self) -> u32 {
        self.written.load(Acquire)
    }

    /// Writes an event over the oldest one. For one writer; a second one at the same time garbles events, no more.
    pub fn push(&self, at: Nanos, event: Event) {
        let number = self.written.load(Relaxed);
        let Some(slot) = self.slots.get(number as usize % N.max(1)) else { return };
        let (word, slack) = pack(event);
        slot.sequence.store(number.wrapping_mul(2).wrapping_add(1), Relaxed);
        fence(Release);
        slot.at_low.store(at.get() as u32, Relaxed);
        slot.at_high.store((at.get() >> 32) as u32, Relaxed);
        slot.event.store(word, Relaxed);
        slot.slack.store(slack as u32, Relaxed);
        slot.sequence.store(number.wrapping_mul(2).wrapping_add(2), Release);
        self.written.store(number.wrapping_add(1), Release);
    }

    /// The event with a number, if it was written, is still in the ring and is not just being overwritten.
    pub fn read(&self, number: u32) -> Option<(Nanos, Event)> {
        let slot = self.slots.get(number as usize % N.max(1))?;
        let whole = number.wrapping_mul(2).wrapping_add(2);
        if slot.sequence.load(Acquire) != whole {
            return None;
        }
        let at = u64::from(slot.at_low.load(Relaxed)) | u64::from(slot.at_high.load(Relaxed)) << 32;
        let event = unpack(slot.event.load(Relaxed), slot.slack.load(Relaxed) as i32);
        fence(Acquire);
        if slot.sequence.load(Relaxed) != whole {
            return None;
        }
        event.map(|event| (Nanos::new(at), event))
    }

    /// The events still in the ring, oldest first.
    pub fn events(&self) -> impl Iterator<Item = (Nanos, Event)> + '_ {
        let end = self.written();
        let count = end.min(N as u32);
        (0..count).filter_map(move |i| self.read(end.wrapping_sub(count).wrapping_add(i)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_event_comes_back_as_it_went_in() {
        let ring = Ring::<64>::new();
        let mut events = std::vec![
            Event::FrameStart,
            Event::Block { block: BlockId(63), clock: ClockIndex(15), slack_us: -7 },
            Event::Set(ClockIndex(3)),
            Event::FrameEnd { slack_us: i32::MIN },
            Event::Follow,
            Event::Shared,
        ];
        for fault in Fault::ALL {
            events.extend([Event::Hold(fault), Event::HandBack(fault), Event::Noted(fault)]);
        }
        let at = Nanos::new(0x1_2345_6789_abcd);
        events.iter().for_each(|e| ring.push(at, *e));
        let read: std::vec::Vec<_> = ring.events().collect();
        assert_eq!(read, events.iter().map(|e| (at, *e)).collect::<std::vec::Vec<_>>());
    }

    #[test]
    fn the_oldest_are_overwritten() {
        let ring = Ring::<4>::new();
        for i in 0..10 {
            ring.push(Nanos::new(i), Event::Set(ClockIndex(i as u8)));
        }
        let times: std::vec::Vec<_> = ring.events().map(|(at, _)| at.get()).collect();
        assert_eq!(times, [6, 7, 8, 9]);
        assert_eq!(ring.read(5), None);
        assert_eq!(ring.read(10), None, "not written yet");
    }
}
