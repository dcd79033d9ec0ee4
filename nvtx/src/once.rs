//! Words to the program's user, on its stderr.

use std::fmt::Display;
use std::io::Write as _;
use std::sync::atomic::{AtomicBool, Ordering};

/// Says a line. Where nothing can be said the program runs on.
pub fn say(line: impl Display) {
    let _ = std::io::stderr().write_all(format!("jetpace-nvtx: {line}\n").as_bytes());
}

/// What is said once in a process.
#[derive(Debug, Default)]
pub struct Once(AtomicBool);

impl Once {
    /// Says a line, unless one was said.
    #[cold]
    pub fn say(&self, line: impl Display) {
        if !self.0.swap(true, Ordering::Relaxed) {
            say(line);
        }
    }
}
