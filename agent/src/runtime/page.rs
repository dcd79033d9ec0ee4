//! The page that a client and the daemon share: a ring of block events from the client, a few words back.
//!
//! The client owns `head` and the slots, the daemon `tail`, `state` and the figures. The daemon believes nothing that
//! it reads here: it keeps its own tail, and a head that is further ahead than the ring is long ends the connection.
//! Every field is an atomic, so whatever the other side writes is a value, never undefined behaviour.

use super::doorbell::{Doorbell, Scope};
use super::sync::{AtomicU32, AtomicU64, Ordering};
use jetpace_tables::units::{Hertz, Nanos};
use jetpace_tables::work::{BlockId, Size};

/// Events the ring holds. A client that is further ahead than this has its events counted as lost.
#[cfg(not(loom))]
pub const SLOTS: usize = 1024;
/// Small, so that the model checker sees the ring full.
#[cfg(loom)]
pub const SLOTS: usize = 2;

/// What the client says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// A frame starts.
    FrameStart,
    /// A block of this size starts.
    BlockStart(BlockId, Size),
    /// The frame's last block has ended.
    FrameEnd,
    /// The block that ran is run again: only while a program is measured.
    BlockAgain(BlockId),
    /// How long a run of a block took by the GPU's own clock: only while a program is measured. Up to 18 minutes.
    Took(BlockId, Nanos),
}

/// One event and when the client saw it, on the monotonic clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event {
    /// The client's clock; the daemon holds it between the previous event and now.
    pub at: Nanos,
    /// What happened.
    pub what: What,
}

const FRAME_START: u64 = 1;
const BLOCK_START: u64 = 2;
const FRAME_END: u64 = 3;
const BLOCK_AGAIN: u64 = 4;
const TOOK: u64 = 5;

/// The longest time that an event can say.
const LONGEST_TIME: u64 = (1 << 40) - 1;

/// Kind in bits 0..8, block in 8..24, size in 24..56, or nanoseconds in 24..64.
fn pack(what: What) -> u64 {
    match what {
        What::FrameStart => FRAME_START,
        What::BlockStart(block, size) => BLOCK_START | u64::from(block.0) << 8 | u64::from(size.0) << 24,
        What::FrameEnd => FRAME_END,
        What::BlockAgain(block) => BLOCK_AGAIN | u64::from(block.0) << 8,
        What::Took(block, time) => TOOK | u64::from(block.0) << 8 | time.get().min(LONGEST_TIME) << 24,
    }
}

fn unpack(word: u64) -> Option<What> {
    let block = BlockId((word >> 8) as u16);
    match word & 0xff {
        FRAME_START => Some(What::FrameStart),
        BLOCK_START => Some(What::BlockStart(block, Size((word >> 24) as u32))),
        BLOCK_AGAIN => Some(What::BlockAgain(block)),
        TOOK => Some(What::Took(block, Nanos::new(word >> 24))),
        FRAME_END => Some(What::FrameEnd),
        _ => None,
    }
}

#[derive(Debug)]
#[repr(C)]
struct Slot {
    at: AtomicU64,
    what: AtomicU64,
}

/// What the daemon lets a client read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    /// The clock that the daemon wrote last, over all clients.
    pub clock: Hertz,
    /// Frames that this client ended.
    pub frames: u64,
    /// Frames of them that ended after their deadline.
    pub missed: u64,
    /// Clock changes that this client's blocks asked for.
    pub switches: u64,
    /// Faults counted for this client.
    pub faults: u64,
    /// Frames of this client in which another client was busy too.
    pub shared: u64,
    /// The governor's state: following, safe, handed back.
    pub state: u32,
    /// Events taken so far: the figures are of these.
    pub taken: u64,
}

/// Why the daemon let a client go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum State {
    /// The client is served.
    Served = 0,
    /// The daemon has let the client go, or ends: its requests count no more.
    Dropped = 1,
}

/// What the frame that comes is to be, while a program is measured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Order {
    /// A block that is to run so many times in a row, where it is one that the program repeats.
    pub repeat: Option<(BlockId, u32)>,
    /// The size that the frame should have, where the program asks.
    pub size: Option<Size>,
}

/// What whoever measures says to the program: the frame of which turn may run, and what it is to be.
#[derive(Debug)]
#[repr(C)]
struct Orders {
    state: AtomicU32,
    /// Counts frames that may run; stands still where the program is to wait.
    turn: AtomicU32,
    /// Repeats in the upper half, block in the lower one.
    repeat: AtomicU64,
    /// 0 is the program's own.
    size: AtomicU32,
}

/// Keeps what the two sides write on cache lines of their own.
#[derive(Debug)]
#[repr(C, align(64))]
struct Line<T>(T);

/// The shared page. All-zero memory is a page without events.
#[derive(Debug)]
#[repr(C)]
pub struct Page {
    head: Line<AtomicU64>,
    lost: AtomicU64,
    bell: Line<Doorbell>,
    tail: Line<AtomicU64>,
    orders: Line<Orders>,
    figures: Line<[AtomicU64; 8]>,
    slots: [Slot; SLOTS],
}

impl Default for Page {
    fn default() -> Self {
        Self {
            head: Line(AtomicU64::new(0)),
            lost: AtomicU64::new(0),
            bell: Line(Doorbell::default()),
            tail: Line(AtomicU64::new(0)),
            orders: Line(Orders {
                state: AtomicU32::new(State::Served as u32),
                turn: AtomicU32::new(0),
                repeat: AtomicU64::new(0),
                size: AtomicU32::new(0),
            }),
            figures: Line(core::array::from_fn(|_| AtomicU64::new(0))),
            slots: core::array::from_fn(|_| Slot { at: AtomicU64::new(0), what: AtomicU64::new(0) }),
        }
    }
}

/// The client's side; one per page.
#[derive(Debug, Default)]
pub struct Writer {
    head: u64,
    /// The daemon's tail when last looked at: only a ring that seems full is worth another look.
    tail: u64,
    lost: u64,
}

impl Writer {
    /// Says what happened: three stores and, if the daemon sleeps, one futex wake. Where the ring is full the event
    /// is lost and counted, and the answer is false; the daemon then sees a block out of order and holds.
    pub fn post(&mut self, page: &Page, event: Event) -> bool {
        if self.head.wrapping_sub(self.tail) >= SLOTS as u64 {
            self.tail = page.tail.0.load(Ordering::Acquire);
        }
        if self.head.wrapping_sub(self.tail) >= SLOTS as u64 {
            self.lost += 1;
            page.lost.store(self.lost, Ordering::Relaxed);
            page.bell.0.ring(Scope::Shared);
            return false;
        }
        let slot = &page.slots[(self.head % SLOTS as u64) as usize];
        slot.at.store(event.at.get(), Ordering::Relaxed);
        slot.what.store(pack(event.what), Ordering::Relaxed);
        self.head = self.head.wrapping_add(1);
        page.head.0.store(self.head, Ordering::Release);
        page.bell.0.ring(Scope::Shared);
        true
    }

    /// Events posted.
    pub fn posted(&self) -> u64 {
        self.head
    }

    /// Events that did not fit.
    pub fn lost(&self) -> u64 {
        self.lost
    }
}

/// What a page held that no honest client writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Lie {
    /// The head is ahead of the tail by more than the ring holds, or behind it.
    #[error("the page's head is out of the ring")]
    Head,
    /// An event of no known kind.
    #[error("the page holds an event of no known kind")]
    Kind,
}

/// The daemon's side; one per page. Its tail is private: the one in the page is for the client alone.
#[derive(Debug, Default)]
pub struct Reader {
    tail: u64,
}

impl Reader {
    /// The next event, or none yet.
    pub fn next(&mut self, page: &Page) -> Result<Option<Event>, Lie> {
        let ahead = page.head.0.load(Ordering::Acquire).wrapping_sub(self.tail);
        if ahead == 0 {
            return Ok(None);
        }
        if ahead > SLOTS as u64 {
            return Err(Lie::Head);
        }
        let slot = &page.slots[(self.tail % SLOTS as u64) as usize];
        let at = Nanos::new(slot.at.load(Ordering::Relaxed));
        let what = unpack(slot.what.load(Ordering::Relaxed)).ok_or(Lie::Kind)?;
        self.tail = self.tail.wrapping_add(1);
        page.tail.0.store(self.tail, Ordering::Release);
        Ok(Some(Event { at, what }))
    }

    /// Events taken.
    pub fn taken(&self) -> u64 {
        self.tail
    }

    /// Whether an event waits.
    pub fn has_next(&self, page: &Page) -> bool {
        page.head.0.load(Ordering::Relaxed) != self.tail
    }

    /// Sleeps until the client posts, [`Page::wake`] is called, or the monotonic time `until`; may return early.
    /// `stop` is asked after the page says that the daemon sleeps.
    pub fn sleep(&self, page: &Page, until: Option<Nanos>, stop: impl FnOnce() -> bool) {
        page.bell.0.sleep(Scope::Shared, until, || self.has_next(page) || stop());
    }
}

impl Page {
    /// Whether the client that woke this thread was on the same CPU.
    pub fn is_woken_from_here(&self) -> bool {
        self.bell.0.is_woken_from_here()
    }

    /// Wakes the daemon's thread whatever the client wrote over the bell.
    pub fn wake(&self) {
        self.bell.0.ring_anyway(Scope::Shared);
    }

    /// Events that the daemon has taken, by its own word.
    pub fn taken(&self) -> u64 {
        self.tail.0.load(Ordering::Relaxed)
    }

    /// Whether the daemon sleeps, for measuring.
    pub fn is_asleep(&self) -> bool {
        self.bell.0.is_asleep()
    }

    /// Whether every event was taken, for measuring.
    pub fn is_drained(&self) -> bool {
        self.head.0.load(Ordering::Relaxed) == self.tail.0.load(Ordering::Acquire)
    }

    /// Events that the client says it lost.
    pub fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }

    /// Tells the client that it is served no more.
    pub fn set_state(&self, state: State) {
        self.orders.0.state.store(state as u32, Ordering::Release);
    }

    /// Whether the client is served.
    pub fn state(&self) -> State {
        if self.orders.0.state.load(Ordering::Acquire) == State::Served as u32 { State::Served } else { State::Dropped }
    }

    /// Lets the frame of the next turn run. Whoever waits for it is to be woken at [`Page::turns`].
    pub fn set_order(&self, turn: u32, order: Order) {
        let (block, times) = order.repeat.map_or((0, 0), |(block, times)| (block.0, times));
        let orders = &self.orders.0;
        orders.repeat.store(u64::from(times) << 32 | u64::from(block), Ordering::Relaxed);
        orders.size.store(order.size.map_or(0, |size| size.0), Ordering::Relaxed);
        orders.turn.store(turn, Ordering::Release);
    }

    /// The turn whose frame may run, and what it is to be.
    pub fn order(&self) -> (u32, Order) {
        let orders = &self.orders.0;
        let turn = orders.turn.load(Ordering::Acquire);
        let (repeat, size) = (orders.repeat.load(Ordering::Relaxed), orders.size.load(Ordering::Relaxed));
        let repeat = Some((BlockId(repeat as u16), (repeat >> 32) as u32)).filter(|(_, times)| *times > 0);
        (turn, Order { repeat, size: Some(Size(size)).filter(|size| size.0 > 0) })
    }

    /// The word that counts the turns, to sleep on.
    #[cfg(not(loom))]
    pub fn turns(&self) -> &AtomicU32 {
        &self.orders.0.turn
    }

    /// Publishes the figures, each for itself: a reader may see some of the last frame and some of this one.
    pub fn set_figures(&self, figures: &Figures) {
        let Figures { clock, frames, missed, switches, faults, shared, state, taken } = *figures;
        let values = [clock.get(), frames, missed, switches, faults, shared, u64::from(state), taken];
        for (slot, value) in self.figures.0.iter().zip(values) {
            slot.store(value, Ordering::Relaxed);
        }
    }

    /// The figures.
    pub fn figures(&self) -> Figures {
        let [clock, frames, missed, switches, faults, shared, state, taken] =
            core::array::from_fn(|i| self.figures.0[i].load(Ordering::Relaxed));
        Figures { clock: Hertz::new(clock), frames, missed, switches, faults, shared, state: state as u32, taken }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    fn event(n: u64) -> Event {
        Event { at: Nanos::new(n), what: What::BlockStart(BlockId(n as u16), Size(u32::MAX)) }
    }

    #[test]
    fn events_come_in_order_and_a_full_ring_counts_what_it_loses() {
        let page = Page::default();
        let (mut writer, mut reader) = (Writer::default(), Reader::default());
        for round in 0..3 {
            for n in 0..SLOTS as u64 {
                assert!(writer.post(&page, event(n)));
            }
            assert!(!writer.post(&page, event(0)));
            assert_eq!(page.lost(), round + 1);
            for n in 0..SLOTS as u64 {
                assert_eq!(reader.next(&page), Ok(Some(event(n))));
            }
            assert_eq!(reader.next(&page), Ok(None));
        }
    }

    #[test]
    fn orders_and_what_is_said_of_repeats_arrive() {
        let page = Page::default();
        assert_eq!(page.order(), (0, Order::default()));
        let order = Order { repeat: Some((BlockId(u16::MAX), u32::MAX)), size: Some(Size(u32::MAX)) };
        page.set_order(7, order);
        assert_eq!((page.order(), page.state()), ((7, order), State::Served));
        let (mut writer, mut reader) = (Writer::default(), Reader::default());
        for (said, heard) in [(5, 5), (LONGEST_TIME + 9, LONGEST_TIME)] {
            let event = |time| Event { at: Nanos::new(1), what: What::Took(BlockId(3), Nanos::new(time)) };
            writer.post(&page, event(said));
            assert_eq!(reader.next(&page), Ok(Some(event(heard))));
        }
        let again = Event { at: Nanos::new(2), what: What::BlockAgain(BlockId(u16::MAX)) };
        writer.post(&page, again);
        assert_eq!(reader.next(&page), Ok(Some(again)));
    }

    #[test]
    fn lies_are_seen() {
        let page = Page::default();
        let mut reader = Reader::default();
        page.head.0.store(SLOTS as u64 + 1, Ordering::Relaxed);
        assert_eq!(reader.next(&page), Err(Lie::Head));
        page.head.0.store(u64::MAX, Ordering::Relaxed);
        assert_eq!(reader.next(&page), Err(Lie::Head));
        page.head.0.store(1, Ordering::Relaxed);
        assert_eq!(reader.next(&page), Err(Lie::Kind));
        // The tail in the page is the client's to read: what it writes there changes nothing for the daemon.
        page.slots[0].what.store(FRAME_END, Ordering::Relaxed);
        page.tail.0.store(99, Ordering::Relaxed);
        assert_eq!(reader.next(&page).map(|e| e.map(|e| e.what)), Ok(Some(What::FrameEnd)));
        assert_eq!(reader.next(&page), Ok(None));
    }
}
