//! A program that is started and stopped at will, with all that it starts.

use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus};
use std::thread;
use std::time::Duration;

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

use crate::failure::Failure;

/// How often a program is looked at that is to end.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// So many looks may it take to end once it is told to.
const GRACE: u32 = 250;

/// The shell with the command, in a process group of their own.
#[derive(Debug)]
pub struct Process {
    child: Child,
}

impl Process {
    /// Starts it.
    ///
    /// # Errors
    /// Where there is no shell.
    pub fn start(command: &str, environment: &[(&'static str, PathBuf)]) -> Result<Self, Failure> {
        let mut shell = Command::new("sh");
        shell.args(["-c", command]).envs(environment.iter().map(|(name, value)| (name, value))).process_group(0);
        Ok(Self { child: shell.spawn().map_err(|e| Failure::failed(format_args!("sh: {e}")))? })
    }

    /// Its status where it has ended.
    ///
    /// # Errors
    /// Where that cannot be known.
    pub fn ended(&mut self) -> Result<Option<ExitStatus>, Failure> {
        self.child.try_wait().map_err(|e| Failure::failed(format_args!("sh: {e}")))
    }

    fn tell(&self, signal: Signal) {
        if let Ok(pid) = i32::try_from(self.child.id()) {
            // A group that has just ended is told nothing.
            let _ = killpg(Pid::from_raw(pid), signal);
        }
    }
}

impl Drop for Process {
    /// Ends it, and waits until it has.
    fn drop(&mut self) {
        for look in 0..=GRACE {
            if !matches!(self.child.try_wait(), Ok(None)) {
                return;
            }
            match look {
                0 => self.tell(Signal::SIGTERM),
                GRACE => self.tell(Signal::SIGKILL),
                _ => {}
            }
            thread::sleep(LOOK_EVERY);
        }
        // Killed, it ends at once.
        let _ = self.child.wait();
    }
}
