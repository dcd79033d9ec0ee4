//! Being told to stop. The signal only sets a number; the command sees it, puts the clocks back and dies by it. While no
//! command waits for signals they end the process at once, also where one waited before.

use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM};

use crate::failure::Failure;

const SIGNALS: [i32; 4] = [SIGTERM, SIGINT, SIGHUP, SIGQUIT];

/// Whether SIGTERM, SIGINT, SIGHUP or SIGQUIT came.
#[derive(Clone, Debug)]
pub struct Stop {
    seen: Arc<AtomicUsize>,
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
    for signal in SIGNALS {
        signal_hook::flag::register_conditional_default(signal, Arc::clone(&nobody))?;
    }
    Ok(NOBODY.get_or_init(|| nobody))
}

impl Stop {
    /// Until this and its clones are dropped, the four signals do not end the process.
    pub fn install() -> Result<Self, Failure> {
        let failed = |e: std::io::Error| Failure::failed(format_args!("signals: {e}"));
        let waits = Waits::begin().map_err(failed)?;
        let seen = Arc::new(AtomicUsize::new(0));
        let (wake, write) = UnixStream::pair().map_err(failed)?;
        for signal in SIGNALS {
            // In this order: whoever is woken finds the number set.
            signal_hook::flag::register_usize(signal, Arc::clone(&seen), signal as usize).map_err(failed)?;
            signal_hook::low_level::pipe::register(signal, write.try_clone().map_err(failed)?).map_err(failed)?;
        }
        Ok(Self { seen, wake: Some(Arc::new(wake)), _waits: Some(Arc::new(waits)) })
    }

    /// One that no signal sets: a virtual board needs no care.
    pub fn never() -> Self {
        Self { seen: Arc::default(), wake: None, _waits: None }
    }

    /// The signal that came, if any.
    pub fn signal(&self) -> Option<i32> {
        match self.seen.load(Ordering::Relaxed) {
            0 => None,
            signal => i32::try_from(signal).ok(),
        }
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
