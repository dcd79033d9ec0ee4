//! Being told to stop. The signal only sets a number; the command sees it, puts the clocks back and dies by it.

use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM};

use crate::failure::Failure;

/// Whether SIGTERM, SIGINT, SIGHUP or SIGQUIT came.
#[derive(Clone, Debug)]
pub struct Stop {
    seen: Arc<AtomicUsize>,
    wake: Option<Arc<UnixStream>>,
}

impl Stop {
    /// From here on the four signals no longer end the process.
    pub fn install() -> Result<Self, Failure> {
        let failed = |e: std::io::Error| Failure::failed(format_args!("signals: {e}"));
        let seen = Arc::new(AtomicUsize::new(0));
        let (wake, write) = UnixStream::pair().map_err(failed)?;
        for signal in [SIGTERM, SIGINT, SIGHUP, SIGQUIT] {
            // In this order: whoever is woken finds the number set.
            signal_hook::flag::register_usize(signal, Arc::clone(&seen), signal as usize).map_err(failed)?;
            signal_hook::low_level::pipe::register(signal, write.try_clone().map_err(failed)?).map_err(failed)?;
        }
        Ok(Self { seen, wake: Some(Arc::new(wake)) })
    }

    /// One that no signal sets: a virtual board needs no care.
    pub fn never() -> Self {
        Self { seen: Arc::default(), wake: None }
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
