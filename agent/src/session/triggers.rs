//! What starts a frame where the timer does not: lines on stdin, or packets on a socket.
//!
//! A trigger is empty, or says when it came, counted from the first frame's earliest start (`0ms`, `41.2ms`, ...): so a
//! camera's recorded times are played again on a virtual board. On a real board a trigger comes when it comes. Every
//! trigger is one frame; those that come while a frame runs wait for its end.

use std::collections::VecDeque;
use std::fmt;
use std::fs;
use std::io::{self, Stdin};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use jetpace_tables::units::Nanos;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::unistd::read;

use crate::failure::Failure;
use crate::signals::Stop;

/// The longest trigger.
const LONGEST: usize = 4096;

/// Where triggers come from: `--trigger`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// Lines on stdin, to its end.
    Stdin,
    /// Packets on a unix datagram socket that is made here.
    Socket(PathBuf),
}

impl FromStr for Source {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.strip_prefix("unix:") {
            Some(path) if !path.is_empty() => Ok(Self::Socket(path.into())),
            None if text == "stdin" => Ok(Self::Stdin),
            _ => Err("`stdin`, or `unix:PATH` for a socket, is meant"),
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stdin => f.write_str("stdin"),
            Self::Socket(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// What waiting for a trigger came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// A trigger, and when it says that it came.
    Trigger(Option<Nanos>),
    /// None so far: time is up, or a signal came.
    Nothing,
    /// None will come any more.
    End,
}

#[derive(Debug)]
enum From {
    Stdin(Stdin),
    Socket(UnixDatagram, PathBuf),
    Memory,
}

/// Triggers that come.
#[derive(Debug)]
pub struct Triggers {
    from: From,
    read: Vec<u8>,
    ended: bool,
    waiting: VecDeque<Option<Nanos>>,
    taken: Vec<Option<Nanos>>,
    count: u64,
    keep: bool,
}

impl Triggers {
    /// Listens to a source.
    pub fn open(source: &Source) -> Result<Self, Failure> {
        let from = match source {
            Source::Stdin => From::Stdin(io::stdin()),
            Source::Socket(path) => From::Socket(listen(path)?, path.clone()),
        };
        Ok(Self::new(from))
    }

    /// Those that were taken before, once more.
    pub fn again(taken: &[Option<Nanos>]) -> Self {
        let mut again = Self::new(From::Memory);
        again.waiting.extend(taken);
        again.ended = true;
        again
    }

    fn new(from: From) -> Self {
        let (waiting, taken) = (VecDeque::new(), Vec::new());
        Self { from, read: Vec::new(), ended: false, waiting, taken, count: 0, keep: false }
    }

    /// Remembers what is taken from here on.
    pub fn keep(&mut self) {
        self.keep = true;
    }

    /// What was taken since [`Self::keep`].
    pub fn taken(&self) -> &[Option<Nanos>] {
        &self.taken
    }

    /// Waits for a trigger, for as long as `timeout` says and until a signal comes.
    pub fn next(&mut self, timeout: Option<Nanos>, stop: &Stop) -> Result<Next, Failure> {
        if self.waiting.is_empty() && !self.ended && stop.signal().is_none() && self.is_ready(timeout, stop)? {
            self.hear()?;
        }
        if stop.signal().is_some() {
            return Ok(Next::Nothing);
        }
        match self.waiting.pop_front() {
            Some(trigger) => {
                if self.keep {
                    self.taken.push(trigger);
                }
                Ok(Next::Trigger(trigger))
            }
            None if self.ended => Ok(Next::End),
            None => Ok(Next::Nothing),
        }
    }

    fn fd(&self) -> Option<BorrowedFd<'_>> {
        match &self.from {
            From::Stdin(stdin) => Some(stdin.as_fd()),
            From::Socket(socket, _) => Some(socket.as_fd()),
            From::Memory => None,
        }
    }

    fn is_ready(&self, timeout: Option<Nanos>, stop: &Stop) -> Result<bool, Failure> {
        let Some(fd) = self.fd() else { return Ok(false) };
        // Rounded up: woken too early, the caller would come back at once, again and again.
        let timeout = timeout.map_or(PollTimeout::NONE, |time| {
            PollTimeout::try_from(time.get().div_ceil(1_000_000)).unwrap_or(PollTimeout::MAX)
        });
        let mut fds = vec![PollFd::new(fd, PollFlags::POLLIN)];
        fds.extend(stop.fd().map(|stop| PollFd::new(stop, PollFlags::POLLIN)));
        match poll(&mut fds, timeout) {
            Ok(_) => Ok(fds.first().is_some_and(|fd| fd.any().unwrap_or(true))),
            Err(Errno::EINTR) => Ok(false),
            Err(e) => Err(Failure::failed(format_args!("triggers: {e}"))),
        }
    }

    /// Takes what is there.
    fn hear(&mut self) -> Result<(), Failure> {
        let mut buffer = [0; LONGEST];
        match &self.from {
            From::Memory => {}
            From::Stdin(stdin) => {
                let length = match read(stdin, &mut buffer) {
                    Ok(length) => length,
                    Err(Errno::EINTR | Errno::EAGAIN) => return Ok(()),
                    Err(e) => return Err(Failure::failed(format_args!("stdin: {e}"))),
                };
                self.read.extend_from_slice(buffer.get(..length).unwrap_or_default());
                self.ended = length == 0;
                self.split_lines()?;
            }
            From::Socket(socket, path) => match socket.recv(&mut buffer) {
                Ok(length) => {
                    let packet = buffer.get(..length).unwrap_or_default().to_vec();
                    self.add(&packet)?;
                }
                Err(e) if matches!(e.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {}
                Err(e) => return Err(Failure::file(path, &e)),
            },
        }
        Ok(())
    }

    fn split_lines(&mut self) -> Result<(), Failure> {
        while let Some(end) = self.read.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = self.read.drain(..=end).collect();
            self.add(&line)?;
        }
        if self.read.len() > LONGEST {
            return Err(Failure::usage(format_args!("trigger {}: a line without an end", self.count)));
        }
        // A last line without its newline counts.
        if self.ended && !self.read.is_empty() {
            let line = std::mem::take(&mut self.read);
            self.add(&line)?;
        }
        Ok(())
    }

    fn add(&mut self, text: &[u8]) -> Result<(), Failure> {
        let text = String::from_utf8_lossy(text);
        let text = text.trim();
        let at = match text {
            "" => None,
            time => {
                Some(time.parse().map_err(|e| Failure::usage(format_args!("trigger {}: {text}: {e}", self.count)))?)
            }
        };
        self.count += 1;
        self.waiting.push_back(at);
        Ok(())
    }
}

impl Drop for Triggers {
    fn drop(&mut self) {
        if let From::Socket(_, path) = &self.from {
            // Without us it is of no use; a left one is replaced by the next.
            let _ = fs::remove_file(path);
        }
    }
}

/// A socket at `path`; one that nobody listens at any more is replaced.
fn listen(path: &Path) -> Result<UnixDatagram, Failure> {
    use std::os::unix::fs::FileTypeExt;
    let named = |e: io::Error| Failure::file(path, &e);
    if fs::symlink_metadata(path).is_ok_and(|found| found.file_type().is_socket()) {
        let asking = UnixDatagram::unbound().map_err(named)?;
        if asking.connect(path).is_ok() {
            return Err(Failure::failed(format_args!("{}: another program takes triggers here", path.display())));
        }
        fs::remove_file(path).map_err(named)?;
    }
    let socket = UnixDatagram::bind(path).map_err(named)?;
    socket.set_nonblocking(true).map_err(named)?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn take(triggers: &mut Triggers) -> Next {
        triggers.next(Some(Nanos::from_millis(1)), &Stop::never()).unwrap()
    }

    #[test]
    fn packets_are_triggers_and_bad_ones_are_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("triggers");
        let mut triggers = Triggers::open(&Source::Socket(path.clone())).unwrap();
        triggers.keep();
        assert_eq!(take(&mut triggers), Next::Nothing);
        let camera = UnixDatagram::unbound().unwrap();
        for packet in [&b""[..], b"\n", b" 12.5ms\n"] {
            camera.send_to(packet, &path).unwrap();
        }
        let at = Nanos::from_micros(12_500);
        for expected in [None, None, Some(at)] {
            assert_eq!(take(&mut triggers), Next::Trigger(expected));
        }
        camera.send_to(b"soon", &path).unwrap();
        let error = triggers.next(None, &Stop::never()).unwrap_err().to_string();
        assert!(error.contains("trigger 3: soon") && error.contains("40ms"), "{error}");
        let mut again = Triggers::again(triggers.taken());
        let all: Vec<Next> = (0..4).map(|_| take(&mut again)).collect();
        assert_eq!(all, [Next::Trigger(None), Next::Trigger(None), Next::Trigger(Some(at)), Next::End]);
    }

    #[test]
    fn a_socket_in_use_is_left_and_a_dead_one_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("triggers");
        let first = Triggers::open(&Source::Socket(path.clone())).unwrap();
        let error = Triggers::open(&Source::Socket(path.clone())).unwrap_err().to_string();
        assert!(error.contains("another program"), "{error}");
        drop(first);
        assert!(!path.exists());
        drop(UnixDatagram::bind(&path).unwrap());
        assert!(path.exists(), "left by a killed program");
        drop(Triggers::open(&Source::Socket(path.clone())).unwrap());
        fs::write(&path, "a file").unwrap();
        assert!(Triggers::open(&Source::Socket(path.clone())).is_err());
        assert_eq!(fs::read_to_string(&path).unwrap(), "a file");
    }

    #[test]
    fn lines_come_whole_and_the_last_needs_no_end() {
        let mut triggers = Triggers::new(From::Memory);
        triggers.read.extend_from_slice(b"\n1ms\n2m");
        triggers.split_lines().unwrap();
        assert_eq!(
            (take(&mut triggers), take(&mut triggers)),
            (Next::Trigger(None), Next::Trigger(Some(Nanos::from_millis(1))))
        );
        assert_eq!(take(&mut triggers), Next::Nothing);
        triggers.read.push(b's');
        triggers.ended = true;
        triggers.split_lines().unwrap();
        assert_eq!((take(&mut triggers), take(&mut triggers)), (Next::Trigger(Some(Nanos::from_millis(2))), Next::End));
    }

    #[test]
    fn sources_have_names() {
        assert_eq!("stdin".parse(), Ok(Source::Stdin));
        assert_eq!("unix:/run/x".parse(), Ok(Source::Socket("/run/x".into())));
        assert!("unix:".parse::<Source>().is_err() && "/run/x".parse::<Source>().is_err());
    }
}
