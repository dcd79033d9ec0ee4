//! Being told to stop. The signal only sets a number; the command sees it, puts the clocks back and dies by it. While no
//! command waits for signals they end the process at once, also where one waited before.

use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use signal_hook::consts::{
    SIGALRM, SIGHUP, SIGINT, SIGPROF, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2, SIGVTALRM, SIGXCPU, SIGXFSZ,
};

use crate::failure::Failure;

/// What ends a process that does not catch it. A signal that whoever started us ignores (`nohup`, a shell's background
/// job) stays ignored, here and in the command that we start.
const ENDS: [i32; 9] = [SIGTERM, SIGINT, SIGHUP, SIGQUIT, SIGALRM, SIGVTALRM, SIGPROF, SIGXCPU, SIGXFSZ];

/// What is only passed on to a command: it means something to the command alone.
const PASSED_ON: [i32; 2] = [SIGUSR1, SIGUSR2];

/// Whether one of the signals came that end a process.
#[derive(Clone, Debug)]
pub struct Stop {
    seen: Arc<AtomicUsize>,
    passed_on: [Arc<AtomicBool>; 2],
    wake: Option<Arc<UnixStream>>,
    _waits: Option<Arc<Waits>>,
}

/// Somebody who waits for signals; while nobody does, they end the process.
#[derive(Debug)]
struct Waits;

static WAITING: Mutex<usize> = Mutex::new(0);

impl Waits {
    fn begin() -> std::io::Result<Self> {
        let mut waiting = WAITING.lock().unwrap_or_else(PoisonError::into_inner);
        let nobody = nobody()?;
        *waiting += 1;
        nobody.store(false, Ordering::SeqCst);
        Ok(Self)
    }
}

impl Drop for Waits {
    fn drop(&mut self) {
        let mut waiting = WAITING.lock().unwrap_or_else(PoisonError::into_inner);
        *waiting -= 1;
        if let Ok(nobody) = nobody() {
            nobody.store(*waiting == 0, Ordering::SeqCst);
        }
    }
}

/// Whether nobody waits. With the first one who asks, the signals' default comes to hang on it.
fn nobody() -> std::io::Result<&'static Arc<AtomicBool>> {
    static NOBODY: OnceLock<Arc<AtomicBool>> = OnceLock::new();
    if let Some(nobody) = NOBODY.get() {
        return Ok(nobody);
    }
    // Called with the count locked, so once.
    let nobody = Arc::new(AtomicBool::new(false));
    for signal in ENDS.into_iter().filter(|signal| !is_ignored(*signal)) {
        signal_hook::flag::register_conditional_default(signal, Arc::clone(&nobody))?;
    }
    Ok(NOBODY.get_or_init(|| nobody))
}

impl Stop {
    /// Until this and its clones are dropped, these signals do not end the process.
    pub fn install() -> Result<Self, Failure> {
        let failed = |e: std::io::Error| Failure::failed(format_args!("signals: {e}"));
        let waits = Waits::begin().map_err(failed)?;
        let seen = Arc::new(AtomicUsize::new(0));
        let (wake, write) = UnixStream::pair().map_err(failed)?;
        let heard = |signal: &i32| !is_ignored(*signal);
        let passed_on: [Arc<AtomicBool>; 2] = Default::default();
        for (signal, came) in PASSED_ON.into_iter().zip(&passed_on).filter(|(signal, _)| heard(signal)) {
            signal_hook::flag::register(signal, Arc::clone(came)).map_err(failed)?;
        }
        for signal in ENDS.into_iter().filter(heard) {
            // In this order: whoever is woken finds the number set.
            signal_hook::flag::register_usize(signal, Arc::clone(&seen), signal as usize).map_err(failed)?;
            signal_hook::low_level::pipe::register(signal, write.try_clone().map_err(failed)?).map_err(failed)?;
        }
        Ok(Self { seen, passed_on, wake: Some(Arc::new(wake)), _waits: Some(Arc::new(waits)) })
    }

    /// One that no signal sets: a virtual board needs no care.
    pub fn never() -> Self {
        Self { seen: Arc::default(), passed_on: Default::default(), wake: None, _waits: None }
    }

    /// The signal that came, if any.
    pub fn signal(&self) -> Option<i32> {
        match self.seen.load(Ordering::Relaxed) {
            0 => None,
            signal => i32::try_from(signal).ok(),
        }
    }

    /// Goes on as long as no signal came, in a calibration, which keeps what it has measured.
    ///
    /// # Errors
    /// That one came.
    pub fn go_on(&self) -> Result<(), Failure> {
        match self.signal() {
            Some(_) => Err(Failure::failed("interrupted; the same command goes on from here")),
            None => Ok(()),
        }
    }

    /// The signals for a command that came since this was last asked.
    pub fn to_pass_on(&self) -> impl Iterator<Item = i32> {
        let came = PASSED_ON.into_iter().zip(&self.passed_on);
        came.filter(|(_, came)| came.swap(false, Ordering::Relaxed)).map(|(signal, _)| signal)
    }

    /// Readable once a signal came; `None` where none can come.
    pub fn fd(&self) -> Option<BorrowedFd<'_>> {
        self.wake.as_deref().map(AsFd::as_fd)
    }

    /// Ends the process by the signal that came, so that whoever sent it sees that it worked. To be called once
    /// everything is put back; returns where none came.
    pub fn die(&self) {
        if let Some(signal) = self.signal() {
            // Where even this fails the caller goes on to its ordinary end.
            let _ = signal_hook::low_level::emulate_default_handler(signal);
        }
    }
}

/// Whether this process ignores a signal from its start, and so what it starts: from /proc, as asking the C library takes
/// `unsafe`.
pub fn is_ignored(signal: i32) -> bool {
    // A bit each.
    static AT_START: OnceLock<u64> = OnceLock::new();
    AT_START.get_or_init(read_ignored) >> (signal - 1) & 1 == 1
}

fn read_ignored() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0)
}
