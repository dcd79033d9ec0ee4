//! One client: its page, its governor, and the thread that serves it.

use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jetpace_tables::governor::trace::Event as TraceEvent;
use jetpace_tables::governor::{Action, AtOnce, Governor, Scheduled, State as GovernorState};
use jetpace_tables::hw::GpuClock;
use jetpace_tables::table::Table;
use jetpace_tables::units::Nanos;
use jetpace_tables::work::ClockIndex;
use nix::sys::socket::{Shutdown, shutdown};

use super::super::access::Peer;
use super::super::control::{Schedule, Seen};
use super::super::map::Mapping;
use super::super::page::{Event, Figures, Page, Reader, State, What};
use super::super::status::state_code;
use super::super::sys;
use super::super::writer::Writer;
use super::hub::Hub;

/// Events taken before the figures are published and the stop is looked at.
const BATCH: usize = 256;

/// Looks at an empty page before going to sleep: blocks that follow closely find the thread awake. None where the
/// client waits for this very CPU: nothing could come.
const LOOKS: u32 = 2_000;

/// The longest sleep while a client is connected: no client can hold its thread for longer.
const LONGEST_SLEEP: Nanos = Nanos::from_millis(5_000);

/// Wakes without an event in a second that no honest client causes.
const EMPTY_WAKES_PER_S: u32 = 10_000;

const SECOND: Nanos = Nanos::from_millis(1_000);

/// Why a client was let go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dropped {
    /// Its page held what no honest client writes.
    Lied,
    /// It sent more than it may.
    Flooded,
    /// It was silent within a frame for three periods.
    Hung,
}

impl Dropped {
    /// In words.
    pub const fn text(self) -> &'static str {
        match self {
            Self::Lied => "its page held garbage",
            Self::Flooded => "it sent too many events",
            Self::Hung => "it was silent within a frame",
        }
    }
}

/// What a client is to be served with.
pub struct Service {
    pub slot: usize,
    pub peer: Peer,
    pub page: Mapping<Page>,
    pub table: Box<Table>,
    pub socket: Arc<OwnedFd>,
    pub writer: Writer,
    pub events_per_s: u32,
}

/// A client that is served.
pub struct Served {
    slot: usize,
    peer: Peer,
    page: Mapping<Page>,
    governor: Mutex<Governor<Box<Table>>>,
    shared: AtomicU64,
    socket: Arc<OwnedFd>,
    writer: Writer,
    events_per_s: u32,
    stopping: AtomicBool,
}

impl Served {
    pub fn new(service: Service) -> Self {
        let Service { slot, peer, page, table, socket, writer, events_per_s } = service;
        let governor = Mutex::new(Governor::new(table));
        let (shared, stopping) = (AtomicU64::new(0), AtomicBool::new(false));
        Self { slot, peer, page, governor, shared, socket, writer, events_per_s, stopping }
    }

    pub fn slot(&self) -> usize {
        self.slot
    }

    pub fn peer(&self) -> Peer {
        self.peer
    }

    /// Who writes what it asks for.
    pub fn writer(&self) -> Writer {
        self.writer
    }

    /// Frames in which another client was busy, too.
    pub fn shared(&self) -> u64 {
        self.shared.load(Ordering::Relaxed)
    }

    /// Events that the client says it lost; its own word.
    pub fn lost(&self) -> u64 {
        self.page.lost()
    }

    /// The governor. Held by the client's thread for a batch of events at most.
    pub fn governor(&self) -> MutexGuard<'_, Governor<Box<Table>>> {
        self.governor.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells the thread to end.
    pub fn stop(&self) {
        self.stopping.store(true, Ordering::Release);
        self.page.set_state(State::Dropped);
        self.wake();
    }

    /// Wakes the thread.
    pub fn wake(&self) {
        self.page.wake();
    }

    fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Acquire)
    }

    /// The thread: to the end of the connection, or until the client has to be dropped.
    pub fn serve<C: GpuClock>(&self, hub: &Hub<C>, schedule: Schedule) {
        if let Err(e) = schedule.apply() {
            log::warn!("{}: the schedule: {e}", self.peer);
        }
        let mut thread = Thread::new(self, hub);
        if let Err(why) = thread.run() {
            log::warn!("{}: dropped: {}", self.peer, why.text());
        }
        hub.forget(self.slot);
        self.page.set_state(State::Dropped);
        // The main thread sees the hang-up and does the rest.
        let _ = shutdown(self.socket.as_raw_fd(), Shutdown::Both);
    }
}

/// What the thread itself knows.
struct Thread<'a, C> {
    served: &'a Served,
    hub: &'a Hub<C>,
    reader: Reader,
    seen: Seen,
    scheduled: Scheduled,
    /// When the last event came, by the daemon's clock.
    heard: Nanos,
    in_frame: bool,
    shared: bool,
    /// At the event before: whether another client was within a frame, and how many frames the others had begun.
    beside: bool,
    others: u64,
    rate: Rate,
}

/// What came in this second.
struct Rate {
    since: Nanos,
    events: u32,
    empty_wakes: u32,
}

impl<'a, C: GpuClock> Thread<'a, C> {
    fn new(served: &'a Served, hub: &'a Hub<C>) -> Self {
        let now = sys::now();
        Self {
            served,
            hub,
            reader: Reader::default(),
            seen: Seen::now(hub.desk()),
            scheduled: Scheduled::default(),
            heard: now,
            in_frame: false,
            shared: false,
            beside: false,
            others: 0,
            rate: Rate { since: now, events: 0, empty_wakes: 0 },
        }
    }

    fn run(&mut self) -> Result<(), Dropped> {
        while !self.served.is_stopping() {
            let taken = self.drain()?;
            if taken > 0 {
                self.publish();
                continue;
            }
            let now = sys::now();
            if let Some(clock) = self.scheduled.take_due(now) {
                self.wish(Some(clock));
            }
            self.watch(now)?;
            self.rest(now)?;
        }
        Ok(())
    }

    /// Takes what is there, up to a batch.
    fn drain(&mut self) -> Result<usize, Dropped> {
        let page = &*self.served.page;
        let mut taken = 0;
        let Some(first) = self.reader.next(page).map_err(|_| Dropped::Lied)? else { return Ok(0) };
        let mut next = Some(first);
        let mut governor = self.served.governor();
        while let Some(event) = next {
            taken += 1;
            let now = sys::now();
            self.heard = now;
            // The client's clock counts between a second ago and now; in a time namespace of its own it is nobody's.
            let at = if event.at <= now && now.saturating_sub(event.at) < SECOND { event.at } else { now };
            if let Some(news) = self.hub.desk().news(self.seen.news) {
                // At the event's time, not at the later one of now: time must not go backwards for the governor.
                self.hear_news(news, &mut governor, at);
            }
            let action = self.tell(&mut governor, event, at);
            self.carry_out(action);
            next = match taken < BATCH {
                true => self.reader.next(page).map_err(|_| Dropped::Lied)?,
                false => None,
            };
        }
        drop(governor);
        self.count(taken as u32, 0)?;
        Ok(taken)
    }

    fn tell(&mut self, governor: &mut Governor<Box<Table>>, event: Event, at: Nanos) -> Action {
        match event.what {
            What::FrameStart => {
                self.in_frame = true;
                self.hub.set_busy(self.served.slot, true);
                self.others = self.hub.begun_by_others(self.served.slot);
                self.beside = self.hub.is_shared(self.served.slot);
                self.shared = false;
                governor.frame_start(at)
            }
            What::BlockStart(block, size) => {
                self.look_around(governor, at);
                governor.block_start(block, size, at)
            }
            What::FrameEnd => {
                self.look_around(governor, at);
                self.served.shared.fetch_add(u64::from(self.shared && self.in_frame), Ordering::Relaxed);
                self.in_frame = false;
                self.hub.set_busy(self.served.slot, false);
                governor.frame_end(at)
            }
        }
    }

    /// Marks what ran since the event before where another client was within a frame then, is now, or began one between.
    fn look_around(&mut self, governor: &Governor<Box<Table>>, at: Nanos) {
        let slot = self.served.slot;
        let before = (self.beside, self.others);
        (self.beside, self.others) = (self.hub.is_shared(slot), self.hub.begun_by_others(slot));
        if self.in_frame && (before.0 || self.beside || self.others != before.1) {
            self.shared = true;
            governor.trace().push(at, TraceEvent::Shared);
        }
    }

    #[cold]
    fn hear_news(&mut self, news: u32, governor: &mut Governor<Box<Table>>, now: Nanos) {
        self.seen.news = news;
        if self.hub.desk().written.faults() != self.seen.faults {
            self.hub.doubt();
        }
        let action = self.seen.tell(self.hub.desk(), governor, now);
        self.carry_out(action);
    }

    fn carry_out(&mut self, action: Action) {
        match self.scheduled.take(action) {
            AtOnce::Nothing => {}
            AtOnce::Set(clock) => self.wish(Some(clock)),
            AtOnce::Release => self.wish(None),
            AtOnce::Look => self.hub.desk().ask_to_look(),
        }
    }

    fn wish(&mut self, clock: Option<ClockIndex>) {
        self.hub.wish(self.served.slot, clock, self.served.writer);
    }

    /// Silence: between frames the request is released, within one the client hangs and is dropped.
    fn watch(&mut self, now: Nanos) -> Result<(), Dropped> {
        if now < self.silent_at() {
            return Ok(());
        }
        let action = self.served.governor().tick(now);
        if action == Action::Release {
            self.carry_out(action);
            self.publish();
            if self.in_frame {
                return Err(Dropped::Hung);
            }
        }
        Ok(())
    }

    fn silent_at(&self) -> Nanos {
        let governor = self.served.governor();
        match governor.state() {
            GovernorState::HandedBack(_) => Nanos::MAX,
            _ if !governor.has_started() => Nanos::MAX,
            _ => self.heard.saturating_add(governor.table().silence()),
        }
    }

    /// Looks on for a moment, then sleeps until something is due.
    fn rest(&mut self, now: Nanos) -> Result<(), Dropped> {
        let page = &*self.served.page;
        if now.saturating_sub(self.heard) < Nanos::from_millis(1) && !page.is_woken_from_here() {
            for _ in 0..LOOKS {
                if self.reader.has_next(page) {
                    return Ok(());
                }
                std::hint::spin_loop();
            }
        }
        let due = self.scheduled.at().unwrap_or(Nanos::MAX);
        let until = due.min(self.silent_at()).min(now.saturating_add(LONGEST_SLEEP));
        self.reader.sleep(page, Some(until), || self.served.is_stopping());
        self.count(0, 1)
    }

    fn count(&mut self, events: u32, empty_wakes: u32) -> Result<(), Dropped> {
        let now = sys::now();
        if now.saturating_sub(self.rate.since) >= SECOND {
            self.rate = Rate { since: now, events: 0, empty_wakes: 0 };
        }
        self.rate.events += events;
        // Every event may have woken the thread once.
        self.rate.empty_wakes = (self.rate.empty_wakes + empty_wakes).saturating_sub(events);
        let flooded = self.rate.events > self.served.events_per_s || self.rate.empty_wakes > EMPTY_WAKES_PER_S;
        if flooded { Err(Dropped::Flooded) } else { Ok(()) }
    }

    fn publish(&self) {
        let governor = self.served.governor();
        let counters = governor.counters();
        self.served.page.set_figures(&Figures {
            clock: self.hub.clock(),
            frames: counters.frames,
            missed: counters.missed,
            switches: counters.writes,
            faults: counters.faults.iter().sum(),
            shared: self.served.shared(),
            state: state_code(governor.state()),
            taken: self.reader.taken(),
        });
    }
}
