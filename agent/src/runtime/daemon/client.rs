//! The thread of one client: proves its table, follows its page, and asks the hub for clocks.

use std::io;
use std::os::fd::AsFd;
use std::sync::atomic::Ordering;

use jetpace_tables::governor::{Action, AtOnce, Governor, Scheduled, State as GovernorState};
use jetpace_tables::names::Shown;
use jetpace_tables::table::{Table, image};
use jetpace_tables::units::Nanos;
use jetpace_tables::work::ClockIndex;

use crate::files::table::{OTHER_BOARD, encode};

use super::super::control::{Schedule, Seen, WatchedClock};
use super::super::map::Mapping;
use super::super::page::{Event, Figures, Reader, What};
use super::super::status::{drifted, state_code};
use super::super::writer::{Asked, Writer};
use super::super::{sys, wire};
use super::hub::Hub;
use super::served::{Served, Service};

/// Events taken before the figures are published and the stop is looked at.
const BATCH: usize = 256;

/// Looks at an empty page before going to sleep: blocks that follow closely find the thread awake. None where the
/// client waits for this very CPU: nothing could come.
const LOOKS: u32 = 2_000;

/// The longest sleep while a client is connected. The bell is on the client's page: it may clear it, or move the sleeper to a
/// futex of its own, where no wake of ours finds it. The time of a sleep is the kernel's.
const LONGEST_SLEEP: Nanos = Nanos::from_millis(1_000);

/// Wakes without an event in a second that no honest client causes.
const EMPTY_WAKES_PER_S: u32 = 10_000;

const SECOND: Nanos = Nanos::from_millis(1_000);

/// What every client is served by.
pub struct Terms {
    /// The table for clients that bring none.
    pub table: Option<Box<Table>>,
    /// Events a second that a client may send for long; more is a flood.
    pub events_per_s: u32,
    /// Changes of the clock a second that a user may cause.
    pub changes_per_s: u32,
    /// Who writes.
    pub writer: Asked,
    /// How the threads run.
    pub schedule: Schedule,
}

/// From the client's request to the end of its connection.
pub fn serve<C: WatchedClock>(served: &Served, hub: &Hub<C>, terms: &Terms, image: &[u8]) {
    match open(served, hub, terms, image) {
        Ok((service, table)) => {
            log::info!("{}: served as client {}", served.peer, served.slot);
            if let Err(e) = terms.schedule.apply() {
                log::warn!("{}: the schedule: {e}", served.peer);
            }
            let mut thread = Thread::new(served, service, hub, table, terms);
            if let Err(why) = thread.run() {
                served.account.warn(format_args!("{}: dropped: {}", served.peer, why.text()), sys::now());
            }
        }
        Err((errno, why)) => {
            served.account.warn(format_args!("{}: {why}", served.peer), sys::now());
            let _ = wire::answer(&served.socket, errno, why.as_bytes(), None);
        }
    }
    hub.forget(served.slot);
    served.hang_up();
}

/// Proves the table, makes the page and answers.
fn open<'a, C: WatchedClock>(
    served: &'a Served,
    hub: &Hub<C>,
    terms: &Terms,
    image: &[u8],
) -> Result<(&'a Service, Box<Table>), (i32, String)> {
    let table = match (image, &terms.table) {
        ([], None) => return Err((libc::ENOENT, "bring a table: the daemon has none of its own".to_owned())),
        ([], Some(own)) => own.clone(),
        _ => Box::new(image::decode(image).map_err(|e| (libc::EBADMSG, e.to_string()))?),
    };
    if !hub.suits(&table) {
        return Err((libc::ESTALE, OTHER_BOARD.to_owned()));
    }
    let bytes = match image {
        [] => encode(&table).map_err(|e| (libc::EBADMSG, e.to_string()))?,
        own => own.to_vec(),
    };
    let no_memory = |e: io::Error| (libc::ENOMEM, format!("shared memory: {e}"));
    let (page, fd) = Mapping::create().map_err(no_memory)?;
    let writer = Writer::choose(terms.writer, &table).unwrap_or(Writer::Inline);
    let service = served.begin(Service { page, network: table.network().to_owned(), writer });
    // A client that does not take its answer hangs up, which the main thread sees.
    let _ = wire::answer(&served.socket, 0, &bytes, Some(fd.as_fd()));
    Ok((service, table))
}

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

/// What the thread itself knows.
struct Thread<'a, C> {
    served: &'a Served,
    service: &'a Service,
    hub: &'a Hub<C>,
    governor: Governor<Box<Table>>,
    terms: &'a Terms,
    /// The drift that was told last.
    told: i32,
    /// What was asked of the hub last.
    wished: Option<ClockIndex>,
    /// A lower wish than that, which has to wait for its user's allowance, and until when.
    owed: Option<(Option<ClockIndex>, Nanos)>,
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

impl<'a, C: WatchedClock> Thread<'a, C> {
    fn new(served: &'a Served, service: &'a Service, hub: &'a Hub<C>, table: Box<Table>, terms: &'a Terms) -> Self {
        let now = sys::now();
        Self {
            served,
            service,
            hub,
            governor: Governor::new(table),
            terms,
            told: 0,
            wished: None,
            owed: None,
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
            if let Some((clock, _)) = self.owed.take_if(|(_, at)| *at <= now) {
                self.wish(clock);
            }
            self.watch(now)?;
            self.rest(now)?;
        }
        Ok(())
    }

    /// Takes what is there, up to a batch.
    fn drain(&mut self) -> Result<usize, Dropped> {
        let page = &*self.service.page;
        let mut taken = 0;
        let Some(first) = self.reader.next(page).map_err(|_| Dropped::Lied)? else { return Ok(0) };
        let mut next = Some(first);
        while let Some(event) = next {
            taken += 1;
            let now = sys::now();
            self.heard = now;
            // The client's clock counts between a second ago and now; in a time namespace of its own it is nobody's.
            let at = if event.at <= now && now.saturating_sub(event.at) < SECOND { event.at } else { now };
            if let Some(news) = self.hub.desk().news(self.seen.news) {
                // At the event's time, not at the later one of now: time must not go backwards for the governor.
                self.hear_news(news, at);
            }
            let action = self.tell(event, at);
            self.carry_out(action);
            next = match taken < BATCH {
                true => self.reader.next(page).map_err(|_| Dropped::Lied)?,
                false => None,
            };
        }
        self.count(taken as u32, 0)?;
        Ok(taken)
    }

    fn tell(&mut self, event: Event, at: Nanos) -> Action {
        match event.what {
            What::FrameStart => {
                self.in_frame = true;
                self.hub.set_busy(self.served.slot, true);
                self.others = self.hub.begun_by_others(self.served.slot);
                self.beside = self.hub.is_shared(self.served.slot);
                self.shared = false;
                self.governor.frame_start(at)
            }
            What::BlockStart(block, size) => {
                self.look_around(at);
                self.governor.block_start(block, size, at)
            }
            What::FrameEnd => {
                self.look_around(at);
                self.served.shared.fetch_add(u64::from(self.shared && self.in_frame), Ordering::Relaxed);
                self.in_frame = false;
                self.hub.set_busy(self.served.slot, false);
                self.governor.frame_end(at)
            }
            // For whoever measures.
            What::BlockAgain(_) | What::Took(..) => Action::Hold,
        }
    }

    /// Marks what ran since the event before where another client was within a frame then, is now, or began one between.
    fn look_around(&mut self, at: Nanos) {
        let slot = self.served.slot;
        let before = (self.beside, self.others);
        (self.beside, self.others) = (self.hub.is_shared(slot), self.hub.begun_by_others(slot));
        if self.in_frame && (before.0 || self.beside || self.others != before.1) {
            self.shared = true;
            self.governor.shared(at);
        }
    }

    #[cold]
    fn hear_news(&mut self, news: u32, now: Nanos) {
        self.seen.news = news;
        if self.hub.desk().written.faults() != self.seen.faults {
            self.hub.doubt();
        }
        let action = self.seen.tell(self.hub.desk(), &mut self.governor, now);
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

    /// Asks for a clock, or for none. Over its user's allowance a client keeps the higher one: no deadline suffers.
    fn wish(&mut self, clock: Option<ClockIndex>) {
        self.owed = None;
        if clock != self.wished
            && let Err(again) = self.served.account.may_change(self.terms.changes_per_s, sys::now())
            && clock < self.wished
        {
            self.owed = Some((clock, again));
            return;
        }
        self.wished = clock;
        self.hub.wish(self.served.slot, clock, self.service.writer);
    }

    /// Silence: between frames the request is released, within one the client hangs and is dropped.
    fn watch(&mut self, now: Nanos) -> Result<(), Dropped> {
        if now < self.silent_at() {
            return Ok(());
        }
        let action = self.governor.tick(now);
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
        let governor = &self.governor;
        match governor.state() {
            GovernorState::HandedBack(_) => Nanos::MAX,
            _ if !governor.has_started() => Nanos::MAX,
            _ => self.heard.saturating_add(governor.table().silence()),
        }
    }

    /// Looks on for a moment, then sleeps until something is due.
    fn rest(&mut self, now: Nanos) -> Result<(), Dropped> {
        let page = &*self.service.page;
        if now.saturating_sub(self.heard) < Nanos::from_millis(1) && !page.is_woken_from_here() {
            for _ in 0..LOOKS {
                if self.reader.has_next(page) {
                    return Ok(());
                }
                std::hint::spin_loop();
            }
        }
        let due = self.scheduled.at().unwrap_or(Nanos::MAX).min(self.owed.map_or(Nanos::MAX, |(_, at)| at));
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
        let flooded = self.rate.events > self.terms.events_per_s || self.rate.empty_wakes > EMPTY_WAKES_PER_S;
        if flooded { Err(Dropped::Flooded) } else { Ok(()) }
    }

    /// Tells of drift, and of its end.
    fn tell_drift(&mut self) {
        let drift = self.governor.drift();
        if drift.off_ppm() == self.told {
            return;
        }
        self.told = drift.off_ppm();
        let said =
            if self.told == 0 { "frames take again what was planned".to_owned() } else { drifted(drift.share()) };
        let network = Shown(&self.service.network);
        self.served.account.warn(format_args!("{}: {network}: {said}", self.served.peer), sys::now());
    }

    fn publish(&mut self) {
        self.tell_drift();
        let governor = &self.governor;
        self.served.published.publish(governor);
        let counters = governor.counters();
        self.service.page.set_figures(&Figures {
            clock: self.hub.clock(),
            frames: counters.frames,
            missed: counters.missed,
            switches: counters.writes,
            faults: counters.made(),
            shared: self.served.shared.load(Ordering::Relaxed),
            state: state_code(governor.state()),
            taken: self.reader.taken(),
        });
    }
}
