//! The runtime beside the process: a daemon in a thread of this one, and a client that is served through its page.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread::JoinHandle;

use jetpace_tables::hw::GpuClock;
use jetpace_tables::work::{BlockId, ClockIndex, Size};
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socketpair};
use nix::unistd::Pid;

use super::clock::{BLOCKS, FileClock, table};
use super::measure::{BATCH, BATCHES, FALLING_ASLEEP, Figures, SINGLES, Stopwatch};
use crate::runtime::access::Access;
use crate::runtime::control::{Desk, Schedule};
use crate::runtime::daemon::{Daemon, Options, Unmanaged};
use crate::runtime::doorbell::Scope;
use crate::runtime::listen::Listener;
use crate::runtime::page::What;
use crate::runtime::remote::{Gone, Remote};
use crate::runtime::sys;
use crate::runtime::writer::Asked;

/// A daemon that serves until it is dropped, and a client.
struct Served {
    client: Option<Remote>,
    desk: Arc<Desk>,
    stop: Option<OwnedFd>,
    thread: Option<JoinHandle<io::Result<()>>>,
}

impl Served {
    fn start(clock: FileClock, odd: ClockIndex, socket: &Path, schedule: Schedule) -> io::Result<Self> {
        let table = table(clock.clocks(), odd)?;
        let options = Options {
            access: Access::new(None),
            table: Some(table),
            events_per_s: u32::MAX,
            changes_per_s: u32::MAX,
            writer: Asked::default(),
            schedule,
        };
        let daemon = Daemon::new(clock, Listener::open(socket, None)?, options)?;
        let desk = daemon.desk();
        let (stop, wait) = socketpair(AddressFamily::Unix, SockType::Stream, None, SockFlag::SOCK_CLOEXEC)?;
        let thread = std::thread::spawn(move || daemon.run(wait.as_fd(), &mut Unmanaged));
        let client = Some(Remote::open(socket, &[])?);
        Ok(Self { client, desk, stop: Some(stop), thread: Some(thread) })
    }

    fn client(&mut self) -> io::Result<&mut Remote> {
        self.client.as_mut().ok_or_else(|| io::Error::other("no client"))
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.client = None;
        self.stop = None;
        if let Some(thread) = self.thread.take() {
            // What it failed with has nothing to do with what was measured.
            let _ = thread.join();
        }
    }
}

fn gone(_: Gone) -> io::Error {
    io::Error::other("the daemon dropped the client while measuring")
}

/// Events of frame after frame.
fn event(i: u32) -> What {
    match i % (u32::from(BLOCKS) + 2) {
        0 => What::FrameStart,
        n if n <= u32::from(BLOCKS) => What::BlockStart(BlockId(n as u16 - 1), Size(1)),
        _ => What::FrameEnd,
    }
}

/// The caller's part of a block's start while the daemon is awake: on a CPU of its own, as it cannot be awake on the
/// caller's.
pub fn caller_awake(watch: &Stopwatch, clock: FileClock, socket: &Path) -> io::Result<Option<Figures>> {
    let before = sched_getaffinity(Pid::from_raw(0))?;
    let allowed: Vec<usize> = (0..CpuSet::count()).filter(|cpu| before.is_set(*cpu).unwrap_or(false)).collect();
    let [here, there, ..] = allowed[..] else { return Ok(None) };
    let mut own = CpuSet::new();
    own.set(here)?;
    sched_setaffinity(Pid::from_raw(0), &own)?;
    let figures = awake_at(watch, clock, socket, there);
    sched_setaffinity(Pid::from_raw(0), &before)?;
    figures.map(Some)
}

fn awake_at(watch: &Stopwatch, clock: FileClock, socket: &Path, cpu: usize) -> io::Result<Figures> {
    let mut served = Served::start(clock, ClockIndex(0), socket, Schedule { fifo: None, cpu: Some(cpu) })?;
    let client = served.client()?;
    let mut number = 0;
    let mut samples = Vec::with_capacity(BATCHES);
    for _ in 0..BATCHES {
        // A few events wake the daemon, and it looks on for a moment; then the batch, which fits into the ring.
        for _ in 0..4 {
            client.tell(event(number)).map_err(gone)?;
            number += 1;
        }
        while !client.page().is_drained() {
            std::hint::spin_loop();
        }
        let mut told = Ok(());
        let time = watch.time(|| {
            for _ in 0..BATCH {
                told = told.and(client.tell(event(number)));
                number += 1;
            }
        });
        told.map_err(gone)?;
        samples.push(time / f64::from(BATCH));
        while !client.page().is_drained() {
            std::hint::spin_loop();
        }
    }
    if client.lost() > 0 {
        return Err(io::Error::other(format!("{} events were lost while measuring", client.lost())));
    }
    Ok(Figures::of(samples, BATCH))
}

/// The caller's part of a block's start while the daemon sleeps, and the time until the clock was written.
pub fn caller_asleep(watch: &Stopwatch, clock: FileClock, socket: &Path) -> io::Result<(Figures, Figures)> {
    let mut served = Served::start(clock, ClockIndex(1), socket, Schedule::default())?;
    let desk = Arc::clone(&served.desk);
    let client = served.client()?;
    let (mut caller, mut written) = (Vec::new(), Vec::new());
    let mut number = 0;
    while caller.len() < SINGLES {
        let what = event(number);
        while !(client.page().is_drained() && client.page().is_asleep() && desk.mailbox.is_asleep()) {
            // Not a spin: the daemon shall find a processor that is free.
            std::thread::yield_now();
        }
        std::thread::sleep(FALLING_ASLEEP);
        let writes = desk.written.writes();
        let start = sys::now();
        client.tell(what).map_err(gone)?;
        let called = watch.since(start);
        // Every block but the first of a frame changes the clock.
        if matches!(what, What::BlockStart(block, _) if block.0 > 0) {
            while desk.written.writes() == writes {
                std::hint::spin_loop();
            }
            if number > u32::from(BLOCKS) {
                caller.push(called);
                written.push(desk.written.at().saturating_sub(start).get() as f64);
            }
        }
        number += 1;
    }
    Ok((Figures::of(caller, 1), Figures::of(written, 1)))
}

/// A futex wake of a thread that sleeps, and nothing else: the part of [`caller_asleep`] that is the kernel's.
pub fn futex_wake_bare(watch: &Stopwatch) -> Figures {
    // 1 while the other thread sleeps, or is about to.
    let (word, done) = (AtomicU32::new(0), AtomicBool::new(false));
    let mut taken = Vec::with_capacity(SINGLES);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Acquire) {
                word.store(1, Ordering::SeqCst);
                sys::futex_wait(&word, 1, Scope::Shared, None);
            }
        });
        for last in (0..SINGLES).rev() {
            while word.load(Ordering::SeqCst) == 0 {
                std::thread::yield_now();
            }
            std::thread::sleep(FALLING_ASLEEP);
            done.store(last == 0, Ordering::Release);
            word.store(0, Ordering::SeqCst);
            taken.push(watch.time(|| sys::futex_wake(&word, Scope::Shared)));
        }
    });
    Figures::of(taken, 1)
}
