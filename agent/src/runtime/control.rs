//! The control thread: it writes the clock where that is slow, keeps the timers, and looks after the board.

mod desk;
mod seen;
#[cfg(test)]
mod tests;

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};

use jetpace_devfreq::board::{Digests, EmcRange};
use jetpace_tables::governor::{Action, AtOnce, Scheduled};
use jetpace_tables::hw::GpuClock;
use jetpace_tables::units::Nanos;
use jetpace_tables::work::ClockIndex;
use nix::sched::{CpuSet, sched_setaffinity};
use nix::unistd::Pid;

pub use desk::{Desk, Written};
pub use seen::Seen;

use super::sys;

/// A clock with a board around it, on which caps move and power modes change.
pub trait WatchedClock: GpuClock<Error: Send> {
    /// Looks at what someone else may have changed, and obeys it. Called off the hot path, every [`LOOK_EVERY`], and
    /// where it matters now which board this is with `whole`.
    fn look(&mut self, whole: bool) -> Result<Look, Self::Error>;

    /// What held the clock down by heat or over-current at the last look.
    fn held_down(&self) -> Option<&str> {
        None
    }
}

/// What a look found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Look {
    /// The highest clock allowed now.
    pub cap: ClockIndex,
    /// What tables have to be made for now.
    pub board: Digests,
    /// What the memory may run at: tables for another clock do not hold.
    pub emc: EmcRange,
}

/// How often the control thread looks at the board while the GPU is not with the stock governor.
pub const LOOK_EVERY: Nanos = Nanos::from_millis(50);

/// How often a hand-back that was refused is tried again.
const RELEASE_AGAIN: Nanos = Nanos::from_millis(1_000);

/// How a thread runs that writes the clock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Schedule {
    /// `SCHED_FIFO` at this priority (1 to 99) instead of the usual scheduling.
    pub fifo: Option<u8>,
    /// On this CPU alone.
    pub cpu: Option<usize>,
}

impl Schedule {
    /// Puts the calling thread under this schedule. Its timers are exact: by default the kernel may be 50 us late.
    pub fn apply(self) -> io::Result<()> {
        nix::sys::prctl::set_timerslack(1)?;
        if let Some(cpu) = self.cpu {
            let mut set = CpuSet::new();
            set.set(cpu)?;
            sched_setaffinity(Pid::from_raw(0), &set)?;
        }
        self.fifo.map_or(Ok(()), sys::schedule_fifo)
    }
}

/// A running control thread. Dropping it ends the thread and hands the GPU back to the stock governor.
#[derive(Debug)]
pub struct Control<C: WatchedClock> {
    desk: Arc<Desk>,
    clock: Arc<Mutex<C>>,
    thread: Option<JoinHandle<Result<(), C::Error>>>,
    pid: u32,
}

impl<C: WatchedClock + Send + 'static> Control<C> {
    /// Starts the thread. After `silence` without an event it hands the GPU back to the stock governor; zero never
    /// does. Where the schedule is not allowed to this user, the error says so and nothing runs.
    pub fn start(clock: C, silence: Nanos, schedule: Schedule) -> io::Result<Self> {
        let desk = Arc::new(Desk::default());
        let clock = Arc::new(Mutex::new(clock));
        let started = Arc::new(OnceLock::new());
        let thread = {
            let (desk, clock, started) = (Arc::clone(&desk), Arc::clone(&clock), Arc::clone(&started));
            Builder::new().name("jetpace-control".into()).spawn(move || {
                let applied = schedule.apply();
                let go = applied.is_ok();
                // Set once, here.
                let _ = started.set(applied.err());
                if !go {
                    return Ok(());
                }
                let (desk, clock) = (&*desk, &*clock);
                let (scheduled, look_at) = (Scheduled::default(), Nanos::ZERO);
                Thread { desk, clock, silence, taken: 0, scheduled, owed: None, look_at }.serve()
            })?
        };
        let control = Self { desk, clock, thread: Some(thread), pid: std::process::id() };
        match started.wait() {
            None => Ok(control),
            Some(e) => Err(e.raw_os_error().map_or_else(|| e.kind().into(), io::Error::from_raw_os_error)),
        }
    }

    /// Where to post requests and see what came of them.
    pub fn desk(&self) -> &Arc<Desk> {
        &self.desk
    }

    /// Looks at the board now, on the calling thread, which may wait for a write.
    pub fn look(&self) {
        look(&self.desk, &self.clock, true);
    }

    /// Asks the thread to end and waits so long at most; `None` where it has not ended by then, because the driver hangs.
    /// It is left alone then.
    pub fn stop_within(mut self, limit: Duration) -> Option<Result<(), C::Error>> {
        self.desk.mailbox.close();
        let started = Instant::now();
        while self.thread.as_ref().is_some_and(|thread| !thread.is_finished()) {
            if started.elapsed() >= limit {
                self.thread = None;
                return None;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        Some(self.stop())
    }

    /// For writing inline.
    pub fn inline_writer(&self) -> InlineWriter<C> {
        InlineWriter { desk: Arc::clone(&self.desk), clock: Arc::clone(&self.clock) }
    }
}

impl<C: WatchedClock> Control<C> {
    /// Ends the thread after its last request and hands the GPU back. In a forked child, which has no such thread and
    /// must restore nothing, it does nothing.
    ///
    /// # Errors
    /// Where the clock could not be handed back.
    pub fn stop(&mut self) -> Result<(), C::Error> {
        let Some(thread) = self.thread.take().filter(|_| std::process::id() == self.pid) else { return Ok(()) };
        self.desk.mailbox.close();
        // A panic in the thread has been printed there; the clock is handed back all the same.
        thread.join().unwrap_or_else(|_| hand_back(&self.desk, &self.clock))
    }
}

/// Writes the clock in place of the control thread, which holds it only while it writes or looks.
#[derive(Debug)]
pub struct InlineWriter<C> {
    desk: Arc<Desk>,
    clock: Arc<Mutex<C>>,
}

impl<C: GpuClock> InlineWriter<C> {
    /// For a clock that nobody tends: everything is left on the desk.
    #[cfg(test)]
    pub fn new(clock: C) -> Self {
        Self { desk: Arc::default(), clock: Arc::new(Mutex::new(clock)) }
    }

    /// What was written and what is to be.
    pub fn desk(&self) -> &Desk {
        &self.desk
    }

    /// Writes here and now, and says whether the kernel took it; `None` where the control thread has to: because it still
    /// has something to do, because it holds the clock just now, or because it must start to tend it. `at` says when
    /// the write came back.
    #[inline]
    pub fn write(&self, clock: ClockIndex, at: impl FnOnce() -> Nanos) -> Option<bool> {
        // Only this side posts, so what is settled stays so.
        if !self.desk.is_settled() {
            return None;
        }
        let mut gpu = self.clock.try_lock().ok()?;
        // With the lock, as the control thread may just have handed back.
        self.desk.written.clock()?;
        let result = self.desk.watched(|| gpu.set(clock));
        self.desk.note(&result, Some(clock), at());
        Some(result.is_ok())
    }
}

impl<C: WatchedClock> InlineWriter<C> {
    /// Looks at the board now, on the calling thread, which may wait for a write.
    pub fn look(&self) {
        look(&self.desk, &self.clock, true);
    }
}

impl<C: WatchedClock> Drop for Control<C> {
    fn drop(&mut self) {
        if let Err(e) = self.stop() {
            log::error!("{e}");
        }
    }
}

/// What the thread itself knows.
struct Thread<'a, C> {
    desk: &'a Desk,
    clock: &'a Mutex<C>,
    silence: Nanos,
    /// Requests so far.
    taken: u64,
    scheduled: Scheduled,
    /// A hand-back that was refused, and when to try again.
    owed: Option<Nanos>,
    look_at: Nanos,
}

impl<C: WatchedClock> Thread<'_, C> {
    /// To the end, and hands the clock back.
    fn serve(&mut self) -> Result<(), C::Error> {
        loop {
            // Asked before the last look, so that a request left before the end is not missed.
            let closed = self.desk.mailbox.is_closed();
            let action = self.desk.mailbox.take();
            if action.is_none() && closed {
                return hand_back(self.desk, self.clock);
            }
            if let Some(action) = action {
                self.taken += 1;
                self.carry_out(action);
            }
            let now = sys::now();
            if let Some(to) = self.scheduled.take_due(now) {
                self.set(to);
            }
            if self.scheduled.at().is_none() {
                self.desk.set_settled(self.taken);
            }
            if self.desk.take_look_asked() {
                look(self.desk, self.clock, true);
            }
            let wake = self.tend(now);
            let until = earliest(self.scheduled.at(), wake);
            self.desk.mailbox.sleep(until, || self.desk.is_look_asked());
        }
    }

    fn carry_out(&mut self, action: Action) {
        self.owed = None;
        match self.scheduled.take(action) {
            AtOnce::Set(to) => self.set(to),
            AtOnce::Release => self.release(),
            AtOnce::Nothing | AtOnce::Look => {}
        }
    }

    fn set(&self, to: ClockIndex) {
        let mut clock = self.lock();
        let written = self.desk.watched(|| clock.set(to));
        self.desk.note(&written, Some(to), sys::now());
    }

    fn release(&mut self) {
        let mut clock = self.lock();
        let released = self.desk.watched(|| clock.release());
        let now = sys::now();
        self.desk.note(&released, None, now);
        drop(clock);
        self.owed = released.is_err().then(|| now.saturating_add(RELEASE_AGAIN));
    }

    /// Looks after silence and the board; when to look again. Nothing while the stock governor has the GPU.
    fn tend(&mut self, now: Nanos) -> Option<Nanos> {
        if let Some(at) = self.owed {
            if now >= at {
                self.release();
            }
            return self.owed;
        }
        self.desk.written.clock()?;
        let silent_at = self.desk.heartbeat().saturating_add(self.silence);
        let watched = self.silence > Nanos::ZERO;
        if watched && now >= silent_at {
            self.scheduled.clear();
            self.desk.set_silenced();
            self.release();
            return self.owed;
        }
        if now >= self.look_at {
            self.look_at = now.saturating_add(LOOK_EVERY);
            look(self.desk, self.clock, false);
        }
        earliest(watched.then_some(silent_at), Some(self.look_at))
    }

    fn lock(&self) -> MutexGuard<'_, C> {
        lock(self.clock)
    }
}

fn look<C: WatchedClock>(desk: &Desk, clock: &Mutex<C>, whole: bool) {
    let mut held = lock(clock);
    let looked = desk.watched(|| held.look(whole));
    desk.set_held_down(held.held_down(), sys::now());
    drop(held);
    match looked {
        Ok(look) => desk.set_look(look),
        // The nodes are gone or refuse: the next write will say so, and is counted.
        Err(e) => log::debug!("{e}"),
    }
}

/// Hands the clock back where it is not the stock governor's already.
fn hand_back<C: GpuClock>(desk: &Desk, clock: &Mutex<C>) -> Result<(), C::Error> {
    if desk.written.clock().is_none() && desk.written.writes() > 0 {
        return Ok(());
    }
    let mut held = lock(clock);
    let released = desk.watched(|| held.release());
    desk.note(&released, None, sys::now());
    released
}

fn lock<C>(clock: &Mutex<C>) -> MutexGuard<'_, C> {
    // A writer that panicked left at worst an unwritten clock behind.
    clock.lock().unwrap_or_else(PoisonError::into_inner)
}

fn earliest(a: Option<Nanos>, b: Option<Nanos>) -> Option<Nanos> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (one, other) => one.or(other),
    }
}
