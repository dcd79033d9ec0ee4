//! The client's side of the daemon.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;
use std::time::Duration;

use jetpace_tables::table::Table;
use jetpace_tables::table::image;
use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockType, UnixAddr, connect, recv, setsockopt, socket, sockopt,
};
use nix::sys::time::{TimeVal, TimeValLike};

use super::map::Mapping;
use super::page::{Event, Figures, Page, State, What, Writer};
use super::sys;
use super::wire::{self, Request};

/// How long the daemon may take to answer.
const PATIENCE_S: i64 = 5;

/// How often, a millisecond apart, the daemon's figures are looked at until they are of all that was told.
const PATIENT_LOOKS: u32 = 50;

/// Connects to a daemon's socket.
///
/// # Errors
/// `NotFound` or `ConnectionRefused` where no daemon listens, `PermissionDenied` where this user may not.
pub fn dial(path: &Path) -> io::Result<OwnedFd> {
    let socket = socket(AddressFamily::Unix, SockType::SeqPacket, SockFlag::SOCK_CLOEXEC, None)?;
    setsockopt(&socket, sockopt::ReceiveTimeout, &TimeVal::seconds(PATIENCE_S))?;
    setsockopt(&socket, sockopt::SendTimeout, &TimeVal::seconds(PATIENCE_S))?;
    connect(socket.as_raw_fd(), &UnixAddr::new(path)?)?;
    Ok(socket)
}

/// Asks a daemon for a document: status or trace.
///
/// # Errors
/// As [`dial`]; where the daemon refuses, its errno with its words.
pub fn document(path: &Path, request: &Request) -> io::Result<Vec<u8>> {
    let socket = dial(path)?;
    ask(&socket, request)
}

fn accepted(reply: wire::Reply) -> io::Result<wire::Reply> {
    if reply.errno == 0 {
        return Ok(reply);
    }
    let kind = io::Error::from_raw_os_error(reply.errno).kind();
    Err(io::Error::new(kind, Refusal { errno: reply.errno, why: String::from_utf8_lossy(&reply.payload).into_owned() }))
}

/// The daemon's no.
#[derive(Debug, thiserror::Error)]
#[error("the daemon refuses: {why}")]
pub struct Refusal {
    /// The errno that says the same to a program.
    pub errno: i32,
    /// In words.
    pub why: String,
}

/// The daemon serves this client no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the daemon serves this client no more")]
pub struct Gone;

/// The memory shared with whoever answers, and the table's image; empty where the program is to be measured.
///
/// # Errors
/// As [`document`].
pub(super) fn open_at(path: &Path, image: &[u8]) -> io::Result<(OwnedFd, Mapping<Page>, Vec<u8>)> {
    let socket = dial(path)?;
    wire::ask(&socket, &Request::Open(image.to_vec()))?;
    let reply = accepted(wire::reply(&socket)?)?;
    let fd = reply.page.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "the daemon sent no memory"))?;
    Ok((socket, Mapping::open(&fd)?, reply.payload))
}

/// Asks over a connection that is open.
///
/// # Errors
/// As [`document`].
pub(super) fn ask(socket: &OwnedFd, request: &Request) -> io::Result<Vec<u8>> {
    wire::ask(socket, request)?;
    accepted(wire::reply(socket)?).map(|reply| reply.payload)
}

/// Whether the other end of a connection is open, which never sends anything by itself.
pub(super) fn is_connected(socket: &OwnedFd) -> bool {
    let mut byte = [0];
    let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_PEEK;
    matches!(recv(socket.as_raw_fd(), &mut byte, flags), Err(Errno::EAGAIN | Errno::EINTR))
}

/// A client that is served.
#[derive(Debug)]
pub struct Remote {
    socket: OwnedFd,
    page: Mapping<Page>,
    writer: Writer,
    /// What the daemon had taken at the last frame's start.
    taken: u64,
    table: Box<Table>,
}

impl Remote {
    /// Asks to be served, by a table image or, where it is empty, by the daemon's own table.
    ///
    /// # Errors
    /// As [`document`].
    pub fn open(path: &Path, image: &[u8]) -> io::Result<Self> {
        let (socket, page, image) = open_at(path, image)?;
        Self::served(socket, page, &image)
    }

    pub(super) fn served(socket: OwnedFd, page: Mapping<Page>, image: &[u8]) -> io::Result<Self> {
        let table = image::decode(image).map_err(|e| io::Error::new(io::ErrorKind::InvalidData, e))?;
        // Behind the page, which matters more. Where that is not allowed or not possible, blocks are served all the same.
        let _ = sys::keep_code_in_memory();
        Ok(Self { socket, page, writer: Writer::default(), taken: 0, table: Box::new(table) })
    }

    /// The table that the daemon follows.
    pub fn table(&self) -> &Table {
        &self.table
    }

    /// Says what happens: a clock read, three stores, and a futex wake if the daemon sleeps. At a frame's start a daemon
    /// that has taken nothing since the one before is looked for by one system call that waits for nothing: one that was
    /// killed is noticed within two frames.
    ///
    /// # Errors
    /// Where the daemon has let this client go, or has died.
    #[inline]
    pub fn tell(&mut self, what: What) -> Result<(), Gone> {
        if self.page.state() == State::Dropped || what == What::FrameStart && !self.is_alive() {
            return Err(Gone);
        }
        if self.writer.post(&self.page, Event { at: sys::now(), what }) { Ok(()) } else { self.full() }
    }

    fn is_alive(&mut self) -> bool {
        let taken = self.page.taken();
        std::mem::replace(&mut self.taken, taken) != taken || is_connected(&self.socket)
    }

    /// The ring is full: the daemon is behind, or no longer there.
    #[cold]
    fn full(&self) -> Result<(), Gone> {
        if is_connected(&self.socket) { Ok(()) } else { Err(Gone) }
    }

    /// What the daemon counted; waits a moment for it to have taken what was told before. Not for the hot path.
    pub fn figures(&self) -> Figures {
        for _ in 0..PATIENT_LOOKS {
            let figures = self.page.figures();
            if figures.taken == self.writer.posted() || self.page.state() == State::Dropped {
                return figures;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        self.page.figures()
    }

    /// Events that the daemon was too far behind to take.
    pub fn lost(&self) -> u64 {
        self.writer.lost()
    }

    /// The page, for measuring.
    pub fn page(&self) -> &Page {
        &self.page
    }
}
