//! The control thread: it alone writes the clock, so that a slow kernel driver never delays the launching thread.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::{Builder, JoinHandle};

use jetpace_tables::hw::GpuClock;
use jetpace_tables::units::Nanos;
use jetpace_tables::work::ClockIndex;
use nix::sched::{CpuSet, sched_setaffinity};
use nix::unistd::Pid;

use super::mailbox::{Mailbox, Request};
use super::sys;

/// How the control thread runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Schedule {
    /// `SCHED_FIFO` at this priority (1 to 99) instead of the usual scheduling.
    pub fifo: Option<u8>,
    /// On this CPU alone.
    pub cpu: Option<usize>,
}

impl Schedule {
    /// Puts the calling thread under this schedule.
    fn apply(self) -> io::Result<()> {
        if let Some(cpu) = self.cpu {
            let mut set = CpuSet::new();
            set.set(cpu)?;
            sched_setaffinity(Pid::from_raw(0), &set)?;
        }
        self.fifo.map_or(Ok(()), sys::schedule_fifo)
    }
}

/// What the control thread has done so far; each figure is exact, together they may be one write apart.
#[derive(Debug, Default)]
pub struct Written {
    writes: AtomicU64,
    faults: AtomicU64,
    at: AtomicU64,
    /// The clock of the last write, plus one; 0 when the GPU is with the stock governor.
    clock: AtomicU64,
}

impl Written {
    /// Writes that the kernel took, releases among them.
    pub fn writes(&self) -> u64 {
        self.writes.load(Ordering::Acquire)
    }

    /// Writes that it refused.
    pub fn faults(&self) -> u64 {
        self.faults.load(Ordering::Acquire)
    }

    /// When the last write came back.
    pub fn at(&self) -> Nanos {
        Nanos::new(self.at.load(Ordering::Acquire))
    }

    /// The clock written last, or `None` when the GPU is with the stock governor.
    pub fn clock(&self) -> Option<ClockIndex> {
        self.clock.load(Ordering::Acquire).checked_sub(1).map(|clock| ClockIndex(clock as u8))
    }

    fn note<E>(&self, result: Result<(), E>, clock: Option<ClockIndex>) {
        match result {
            Ok(()) => {
                self.clock.store(clock.map_or(0, |clock| u64::from(clock.0) + 1), Ordering::Relaxed);
                self.at.store(sys::now().get(), Ordering::Release);
                self.writes.fetch_add(1, Ordering::AcqRel);
            }
            Err(_) => {
                self.faults.fetch_add(1, Ordering::AcqRel);
            }
        }
    }
}

/// The two ends of the control thread that others hold.
#[derive(Debug, Default)]
pub struct Desk {
    /// Where requests go.
    pub mailbox: Mailbox,
    /// What came of them.
    pub written: Written,
}

/// A running control thread. Dropping it ends the thread, which hands the GPU back to the stock governor.
#[derive(Debug)]
pub struct Control<C> {
    desk: Arc<Desk>,
    thread: Option<JoinHandle<C>>,
}

impl<C: GpuClock + Send + 'static> Control<C> {
    /// Starts the thread. Where the schedule is not allowed to this user, the error says so and nothing runs.
    pub fn start(clock: C, schedule: Schedule) -> io::Result<Self> {
        let desk = Arc::new(Desk::default());
        let (started, wait) = std::sync::mpsc::sync_channel(1);
        let thread = {
            let desk = Arc::clone(&desk);
            Builder::new().name("jetpace-control".into()).spawn(move || {
                let applied = schedule.apply();
                let go = applied.is_ok();
                // The receiver waits below; it cannot be gone.
                let _ = started.send(applied);
                if go { serve(&desk, clock) } else { clock }
            })?
        };
        let applied = wait.recv().map_err(|_| io::Error::other("the control thread died at its start"))?;
        let control = Self { desk, thread: Some(thread) };
        applied.map(|()| control)
    }

    /// Where to post requests and see what came of them.
    pub fn desk(&self) -> &Arc<Desk> {
        &self.desk
    }

    /// Ends the thread after the last request and gives the clock back, as it is.
    pub fn stop(mut self) -> Option<C> {
        self.join()
    }
}

impl<C> Control<C> {
    fn join(&mut self) -> Option<C> {
        self.desk.mailbox.close();
        // A panic in the thread has been printed there; the clock is lost with it, the guard restores.
        self.thread.take().and_then(|thread| thread.join().ok())
    }
}

impl<C> Drop for Control<C> {
    fn drop(&mut self) {
        self.join();
    }
}

fn serve<C: GpuClock>(desk: &Desk, mut clock: C) -> C {
    let mut pending: Option<(ClockIndex, Nanos)> = None;
    loop {
        // Asked before the last look, so that a request left before the end is not missed.
        let closed = desk.mailbox.is_closed();
        match desk.mailbox.take() {
            Some(Request::Set(to)) => {
                pending = None;
                desk.written.note(clock.set(to), Some(to));
            }
            Some(Request::SetAt(to, at)) => pending = Some((to, at)),
            Some(Request::Release) => {
                pending = None;
                desk.written.note(clock.release(), None);
            }
            None if closed => return clock,
            None => {}
        }
        match pending {
            Some((to, at)) if sys::now() >= at => {
                pending = None;
                desk.written.note(clock.set(to), Some(to));
            }
            Some((_, at)) => desk.mailbox.sleep(Some(at)),
            None => desk.mailbox.sleep(None),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use jetpace_tables::units::Hertz;
    use std::sync::mpsc::{Receiver, Sender, channel};
    use std::time::Duration;

    /// Says what was written and when.
    struct Told(Sender<(Option<ClockIndex>, Nanos)>);

    impl GpuClock for Told {
        type Error = io::Error;
        fn clocks(&self) -> &[Hertz] {
            &[]
        }
        fn set(&mut self, clock: ClockIndex) -> io::Result<()> {
            if clock == ClockIndex(13) {
                return Err(io::ErrorKind::PermissionDenied.into());
            }
            self.0.send((Some(clock), sys::now())).map_err(io::Error::other)
        }
        fn pin(&mut self, _: ClockIndex) -> io::Result<Hertz> {
            Err(io::ErrorKind::Unsupported.into())
        }
        fn current(&mut self) -> io::Result<Hertz> {
            Err(io::ErrorKind::Unsupported.into())
        }
        fn release(&mut self) -> io::Result<()> {
            self.0.send((None, sys::now())).map_err(io::Error::other)
        }
    }

    fn start() -> (Control<Told>, Receiver<(Option<ClockIndex>, Nanos)>) {
        let (told, writes) = channel();
        (Control::start(Told(told), Schedule::default()).unwrap(), writes)
    }

    const LONG: Duration = Duration::from_secs(60);

    #[test]
    fn a_timed_request_is_written_at_its_time_and_not_before() {
        let (control, writes) = start();
        let at = sys::now().saturating_add(Nanos::from_millis(20));
        control.desk().mailbox.post(Request::SetAt(ClockIndex(3), at));
        let (clock, written) = writes.recv_timeout(LONG).unwrap();
        assert_eq!(clock, Some(ClockIndex(3)));
        // The mailbox keeps times to 64 ns.
        assert!(written.saturating_add(Nanos::new(64)) >= at);
    }

    #[test]
    fn a_newer_request_replaces_the_pending_one() {
        let (control, writes) = start();
        let hour = Nanos::from_secs_f64(3600.0);
        control.desk().mailbox.post(Request::SetAt(ClockIndex(3), sys::now().saturating_add(hour)));
        control.desk().mailbox.post(Request::Set(ClockIndex(5)));
        assert_eq!(writes.recv_timeout(LONG).unwrap().0, Some(ClockIndex(5)));
        control.desk().mailbox.post(Request::Release);
        assert_eq!(writes.recv_timeout(LONG).unwrap().0, None);
        let desk = Arc::clone(control.desk());
        assert!(control.stop().is_some());
        assert!(writes.try_recv().is_err(), "the replaced request was written");
        assert_eq!((desk.written.writes(), desk.written.faults(), desk.written.clock()), (2, 0, None));
    }

    #[test]
    fn a_refused_write_is_counted() {
        let (control, _writes) = start();
        control.desk().mailbox.post(Request::Set(ClockIndex(13)));
        let desk = Arc::clone(control.desk());
        control.stop();
        assert_eq!((desk.written.writes(), desk.written.faults()), (0, 1));
    }

    #[test]
    fn a_schedule_that_cannot_be_is_refused() {
        let (told, _writes) = channel();
        let nowhere = Schedule { cpu: Some(CpuSet::count() - 1), fifo: None };
        assert!(Control::start(Told(told), nowhere).is_err());
    }
}
