//! Being told to stop. The signal only sets a number; the command sees it, puts the clocks back and dies by it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM};

use crate::failure::Failure;

/// Whether SIGTERM, SIGINT, SIGHUP or SIGQUIT came.
#[derive(Clone, Debug)]
pub struct Stop(Arc<AtomicUsize>);

impl Stop {
    /// From here on the four signals no longer end the process.
    pub fn install() -> Result<Self, Failure> {
        let seen = Arc::new(AtomicUsize::new(0));
        for signal in [SIGTERM, SIGINT, SIGHUP, SIGQUIT] {
            signal_hook::flag::register_usize(signal, Arc::clone(&seen), signal as usize)
                .map_err(|e| Failure::failed(format_args!("signal {signal}: {e}")))?;
        }
        Ok(Self(seen))
    }

    /// One that no signal sets: a virtual board needs no care.
    pub fn never() -> Self {
        Self(Arc::default())
    }

    /// The signal that came, if any.
    pub fn signal(&self) -> Option<i32> {
        match self.0.load(Ordering::Relaxed) {
            0 => None,
            signal => i32::try_from(signal).ok(),
        }
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
