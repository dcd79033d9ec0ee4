//! A table that is followed in this process, as other processes see it: while the clock is ours no daemon can run, and
//! `jetpace status` and `jetpace trace` find us where it would answer.
//!
//! The launching thread publishes at the end of a frame: a few stores an event, no lock and no system call. Another thread
//! answers.

use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use jetpace_tables::units::{Hertz, Nanos};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::access::{Access, Peer};
use super::control::Desk;
use super::listen::Listener;
use super::published::Published;
use super::status::{self, Client};
use super::sys;
use super::wire::{self, Request};
use super::writer::Writer;

/// How long one that connects may take to ask.
const PATIENCE_MS: u16 = 500;

/// How long to wait where a connection could not be taken.
const AGAIN: Duration = Duration::from_millis(10);

/// Answers until dropped.
#[derive(Debug)]
pub struct Watch {
    stop: UnixStream,
    thread: Option<JoinHandle<()>>,
}

/// What does not change of what is followed.
pub struct About {
    /// The network's name.
    pub network: String,
    /// Who writes.
    pub writer: Writer,
    /// The board's clocks.
    pub clocks: Vec<Hertz>,
    /// What is written.
    pub desk: Arc<Desk>,
}

impl Watch {
    /// Listens where the daemon would, for root and this user.
    ///
    /// # Errors
    /// Where somebody listens there, for another board, or the socket or the thread cannot be made.
    pub fn open(socket: &Path, about: About, published: Arc<Published>) -> io::Result<Self> {
        let listener = Listener::open(socket, None)?;
        let (stop, stopped) = UnixStream::pair()?;
        let started = sys::now();
        let answers = Answers { about, published, started };
        let thread = std::thread::Builder::new()
            .name("jetpace-status".into())
            .spawn(move || answers.serve(&listener, &stopped))?;
        Ok(Self { stop, thread: Some(thread) })
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        // Only where the other end is gone, and then the thread is, too.
        let _ = self.stop.write_all(&[0]);
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

struct Answers {
    about: About,
    published: Arc<Published>,
    started: Nanos,
}

impl Answers {
    fn serve(&self, listener: &Listener, stop: &UnixStream) {
        let mut buffer = vec![0; wire::LONGEST];
        loop {
            let mut fds = [stop.as_fd(), listener.as_fd()].map(|fd| PollFd::new(fd, PollFlags::POLLIN));
            // A signal is no reason to stop; a failing poll would go on failing.
            match poll(&mut fds, PollTimeout::NONE) {
                Ok(_) | Err(nix::errno::Errno::EINTR) => {}
                Err(_) => return,
            }
            if fds[0].any() != Some(false) {
                return;
            }
            let Ok(socket) = listener.accept() else {
                // Out of descriptors: the connection stays, and is tried again.
                std::thread::sleep(AGAIN);
                continue;
            };
            let mut fds = [socket.as_fd(), stop.as_fd()].map(|fd| PollFd::new(fd, PollFlags::POLLIN));
            if poll(&mut fds, PATIENCE_MS).is_ok() && fds[0].any() == Some(true) {
                self.answer(&socket, &mut buffer);
            }
        }
    }

    fn answer(&self, socket: &OwnedFd, buffer: &mut [u8]) {
        let allowed = Peer::of(socket).is_ok_and(|peer| Access::default().allows(&peer, socket));
        let (errno, text) = match wire::next_request(socket, buffer) {
            Ok(Some(_)) if !allowed => (libc::EACCES, b"only root and the user that follows the table".to_vec()),
            Ok(Some(Request::Status)) => (0, self.status()),
            Ok(Some(Request::Trace { client: 0, from })) => (0, status::trace(self.published.trace(), from)),
            Ok(Some(Request::Trace { .. })) => (libc::ENOENT, b"no such client".to_vec()),
            Ok(Some(Request::Open(_) | Request::Name(_) | Request::Energy)) => {
                (libc::EBUSY, b"`jetpace run` has the clock; wait for its end".to_vec())
            }
            Ok(None) | Err(_) => return,
        };
        // One that does not read its answer is not worth more.
        let _ = wire::answer(socket, errno, &text, None);
    }

    fn status(&self) -> Vec<u8> {
        let About { network, writer, clocks, desk } = &self.about;
        let own = Peer { pid: std::process::id() as i32, uid: nix::unistd::geteuid().as_raw(), gid: 0 };
        let how = (self.published.state(), &self.published.counters(), self.published.drift());
        let client = Client::new((0, own), (network, *writer), how, self.published.trace().written());
        let clock = desk.written.clock().and_then(|clock| clocks.get(clock.index()));
        status::document(desk, clocks, clock.copied(), (self.started, None), vec![client])
    }
}

#[cfg(test)]
mod tests {
    use super::super::remote;
    use super::*;

    #[test]
    fn another_ones_socket_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("jetpace.sock");
        let watch = |published: &Arc<Published>| {
            let about =
                About { network: "net".to_owned(), writer: Writer::Inline, clocks: Vec::new(), desk: Arc::default() };
            Watch::open(&socket, about, Arc::clone(published))
        };
        let published = Arc::default();
        let first = watch(&published).unwrap();
        assert_eq!(watch(&published).unwrap_err().kind(), io::ErrorKind::AddrInUse);
        assert!(remote::document(&socket, &Request::Status).is_ok());
        let refused = remote::document(&socket, &Request::Open(Vec::new())).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::ResourceBusy);
        // One that says nothing holds nobody up for long.
        let _silent = remote::dial(&socket).unwrap();
        assert!(remote::document(&socket, &Request::Trace { client: 0, from: 0 }).is_ok());
        drop(first);
        assert!(!socket.exists());
        // One that was left by a process that was killed is replaced.
        drop(std::os::unix::net::UnixDatagram::bind(&socket).unwrap());
        assert!(socket.exists());
        drop(watch(&published).unwrap());
    }
}
