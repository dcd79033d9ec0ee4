//! The command that runs while the clock is held.

use std::ffi::OsString;
use std::io::{Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::{self, JoinHandle};

use super::LOOK_EVERY;
use super::lines::Counter;
use crate::failure::{Failure, Reason};
use crate::signals::Stop;

/// The command at work.
#[derive(Debug)]
pub struct Running {
    name: OsString,
    child: Child,
    lines: Arc<AtomicU64>,
    /// Passes its output on; `None` where that goes out by itself.
    reader: Option<JoinHandle<()>>,
    passed: Arc<AtomicU64>,
}

/// A command that cannot be started ends as a shell says it: not found, or not executable.
const NOT_FOUND: u8 = 127;
const NOT_EXECUTABLE: u8 = 126;

/// Output that a command has left in its pipe is passed on until none has come for so many looks: a child of its own may
/// hold the pipe open.
const QUIET_LOOKS: u32 = 10;

impl Running {
    /// Starts the command, and calls `started` before anything else is. With a counter its stdout is passed on and its
    /// lines are counted.
    ///
    /// # Errors
    /// Where the command cannot be started: its exit code is then a shell's.
    pub fn start(
        command: &[OsString],
        environment: &[(&str, PathBuf)],
        counter: Option<Counter>,
        started: impl FnOnce(),
    ) -> Result<Self, Failure> {
        let [name, arguments @ ..] = command else {
            return Err(Failure::usage("no command to run"));
        };
        let mut start = Command::new(name);
        start.args(arguments).envs(environment.iter().map(|(name, value)| (name, value)));
        if counter.is_some() {
            start.stdout(Stdio::piped());
        }
        let mut child = start.spawn().map_err(|e| {
            let code = if e.kind() == std::io::ErrorKind::NotFound { NOT_FOUND } else { NOT_EXECUTABLE };
            Failure::new(Reason::Command(code), format_args!("{}: {e}", name.display()))
        })?;
        let (lines, passed) = (Arc::<AtomicU64>::default(), Arc::<AtomicU64>::default());
        let reader = child.stdout.take().map(|stdout| {
            let (lines, passed) = (Arc::clone(&lines), Arc::clone(&passed));
            let counter = counter.unwrap_or_default();
            thread::spawn(move || pass_on(stdout, counter, &lines, &passed))
        });
        started();
        Ok(Self { name: name.clone(), child, lines, reader, passed })
    }

    /// Its status where it has ended.
    ///
    /// # Errors
    /// Where that cannot be known.
    pub fn ended(&mut self) -> Result<Option<ExitStatus>, Failure> {
        self.child.try_wait().map_err(|e| self.failure(&e))
    }

    /// Lines so far that count.
    pub fn lines(&self) -> u64 {
        self.lines.load(Ordering::Relaxed)
    }

    fn failure(&self, error: &std::io::Error) -> Failure {
        Failure::failed(format_args!("{}: {error}", self.name.display()))
    }

    /// Hands a signal on. One from the terminal has reached the command already; twice does no harm.
    pub fn tell(&self, signal: i32) {
        let (Ok(pid), Ok(signal)) = (i32::try_from(self.child.id()), nix::sys::signal::Signal::try_from(signal)) else {
            return;
        };
        // A command that has just ended is told nothing.
        let _ = nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), signal);
    }

    /// Waits for the rest of the output of a command that has ended.
    pub fn drain(&mut self) {
        let Some(reader) = self.reader.take() else { return };
        let (mut seen, mut quiet) = (0, 0);
        while !reader.is_finished() && quiet < QUIET_LOOKS {
            let now = self.passed.load(Ordering::Relaxed);
            quiet = if now == seen { quiet + 1 } else { 0 };
            seen = now;
            thread::sleep(LOOK_EVERY);
        }
    }

    /// The command's own status, or that of its signal as a shell says it.
    ///
    /// # Errors
    /// Where the command failed and nobody had told it to stop.
    pub fn judge(&self, status: ExitStatus, stop: &Stop) -> Result<(), Failure> {
        if status.success() || stop.signal().is_some() {
            return Ok(());
        }
        let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal)).unwrap_or(1);
        let message = format_args!("{} ended with {status}", self.name.display());
        Err(Failure::new(Reason::Command(u8::try_from(code).unwrap_or(1)), message))
    }
}

impl Drop for Running {
    /// Where holding failed the command does not run on at whatever clock comes.
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            self.tell(signal_hook::consts::SIGTERM);
        }
    }
}

/// Passes the command's output on and counts its lines, however long they are. Ends with the command's stdout.
fn pass_on(mut stdout: impl Read, mut counter: Counter, lines: &AtomicU64, passed: &AtomicU64) {
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let read = match stdout.read(&mut buffer) {
            Ok(0) => return,
            Ok(length) => buffer.get(..length).unwrap_or_default(),
            Err(e) if e.kind() == std::io::ErrorKind::Interrupted => continue,
            Err(_) => return,
        };
        lines.fetch_add(counter.count(read), Ordering::Relaxed);
        // A closed stdout of ours is no reason to stop counting.
        let mut out = std::io::stdout();
        let _ = out.write_all(read).and_then(|()| out.flush());
        passed.fetch_add(read.len() as u64, Ordering::Relaxed);
    }
}
