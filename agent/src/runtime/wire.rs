//! What goes over the daemon's socket: one packet there, one packet back, the shared memory's descriptor with it.
//!
//! ```text
//! request: "JPQ1", kind u8, three zero bytes, payload        kinds: open (a table image, or nothing for the daemon's
//!                                                            own table), status, trace (client u8, from u32),
//!                                                            name (of a block, UTF-8: while a program is measured),
//!                                                            energy
//! reply:   "JPA1", errno i32, payload                        the table image, a JSON document, a block's number
//!                                                            (u32), or what is wrong
//! ```
//! Whoever measures a program answers an open with an empty payload: there is no table yet, and its blocks are named
//! one by one over the same connection.
//! Little endian. Sockets are SOCK_SEQPACKET: a packet comes whole or not at all.

use std::io::{self, IoSlice, IoSliceMut};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use jetpace_tables::names;
use jetpace_tables::table::image::MAX_BYTES;
use jetpace_tables::work::BlockId;
use nix::sys::socket::{ControlMessage, ControlMessageOwned, MsgFlags, recv, recvmsg, send, sendmsg};

/// Where the daemon listens: in a folder of its own, which containers may have without the daemon's state.
pub const SOCKET: &str = "/run/jetpace-clients/jetpace.sock";

/// What to do where its socket refuses a user.
pub const JOIN: &str =
    "join the group that the socket belongs to (`jetpace probe --fix` prints the lines), or ask as root";

/// Names another socket to programs with libjetpace that name none themselves.
pub const SOCKET_VARIABLE: &str = "JETPACE_SOCKET";

/// `1` for programs with libjetpace that are being measured: a table of theirs is not followed then, and need not be there.
pub const SWEEP_VARIABLE: &str = "JETPACE_SWEEP";

/// The longest name of a block, in bytes.
pub const LONGEST_NAME: usize = 128;

/// The longest packet.
pub const LONGEST: usize = if MAX_BYTES > 64 * 1024 { MAX_BYTES + 64 } else { 64 * 1024 };

const REQUEST: [u8; 4] = *b"JPQ1";
const REPLY: [u8; 4] = *b"JPA1";
const HEADER: usize = 8;

/// What a client asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// To be served, by this table image or, where it is empty, by the daemon's own.
    Open(Vec<u8>),
    /// How the daemon and its clients are.
    Status,
    /// A client's events from a number on.
    Trace {
        /// Its slot, as in the status.
        client: u8,
        /// The first event's number.
        from: u32,
    },
    /// The number of a block of this name.
    Name(String),
    /// The board's energy so far; it is read as long as a connection is open that asked.
    Energy,
}

/// Whether a name may be a block's: plain text, neither empty nor longer than [`LONGEST_NAME`].
pub fn is_name(name: &str) -> bool {
    (1..=LONGEST_NAME).contains(&name.len()) && names::is_plain(name)
}

impl Request {
    /// As a packet.
    pub fn encode(&self) -> Vec<u8> {
        let (kind, payload) = match self {
            Self::Open(image) => (1, image.clone()),
            Self::Status => (2, Vec::new()),
            Self::Trace { client, from } => (3, [&[*client][..], &from.to_le_bytes()].concat()),
            Self::Name(name) => (4, name.as_bytes().to_vec()),
            Self::Energy => (5, Vec::new()),
        };
        [&REQUEST[..], &[kind, 0, 0, 0], &payload].concat()
    }

    /// From a packet; `None` for anything that is not one.
    pub fn decode(packet: &[u8]) -> Option<Self> {
        let (header, payload) = packet.split_at_checked(HEADER)?;
        let kind = header.strip_prefix(&REQUEST)?;
        match (kind, payload) {
            ([1, 0, 0, 0], image) => Some(Self::Open(image.to_vec())),
            ([2, 0, 0, 0], []) => Some(Self::Status),
            ([3, 0, 0, 0], [client, from @ ..]) => {
                Some(Self::Trace { client: *client, from: u32::from_le_bytes(from.try_into().ok()?) })
            }
            ([4, 0, 0, 0], name) => {
                std::str::from_utf8(name).ok().filter(|name| is_name(name)).map(|name| Self::Name(name.to_owned()))
            }
            ([5, 0, 0, 0], []) => Some(Self::Energy),
            _ => None,
        }
    }
}

/// The number of a block, as the answer to its name.
pub fn encode_number(block: BlockId) -> [u8; 4] {
    u32::from(block.0).to_le_bytes()
}

/// The same, read; `None` for what is no block's number.
pub fn decode_number(payload: &[u8]) -> Option<BlockId> {
    u16::try_from(u32::from_le_bytes(payload.try_into().ok()?)).ok().map(BlockId)
}

/// What the daemon answers.
#[derive(Debug)]
pub struct Reply {
    /// 0, or why not.
    pub errno: i32,
    /// The table image, a JSON document, or what is wrong in words.
    pub payload: Vec<u8>,
    /// The shared page.
    pub page: Option<OwnedFd>,
}

/// Sends a request.
pub fn ask(socket: &OwnedFd, request: &Request) -> io::Result<()> {
    send(socket.as_raw_fd(), &request.encode(), MsgFlags::MSG_NOSIGNAL)?;
    Ok(())
}

/// Sends a reply without waiting: a client that does not read its answer is not worth it.
pub fn answer(socket: &OwnedFd, errno: i32, payload: &[u8], page: Option<BorrowedFd<'_>>) -> io::Result<()> {
    let packet = [&REPLY[..], &errno.to_le_bytes(), payload].concat();
    let fds = page.map(|fd| [fd.as_raw_fd()]);
    let rights = fds.as_ref().map(|fds| ControlMessage::ScmRights(fds));
    let flags = MsgFlags::MSG_NOSIGNAL | MsgFlags::MSG_DONTWAIT;
    sendmsg::<()>(socket.as_raw_fd(), &[IoSlice::new(&packet)], rights.as_slice(), flags, None)?;
    Ok(())
}

/// Receives a request without waiting; `Ok(None)` where the peer has gone or sent what is no request.
pub fn next_request(socket: &OwnedFd, buffer: &mut [u8]) -> io::Result<Option<Request>> {
    // A descriptor that came along would be ours to close: plain recv has none installed.
    let length = recv(socket.as_raw_fd(), buffer, MsgFlags::MSG_DONTWAIT)?;
    Ok(buffer.get(..length).and_then(Request::decode))
}

/// Receives a reply.
pub fn reply(socket: &OwnedFd) -> io::Result<Reply> {
    let mut buffer = vec![0; LONGEST];
    let mut space = nix::cmsg_space!([std::os::fd::RawFd; 1]);
    let (length, page) = {
        let mut parts = [IoSliceMut::new(&mut buffer)];
        let message = recvmsg::<()>(socket.as_raw_fd(), &mut parts, Some(&mut space), MsgFlags::MSG_CMSG_CLOEXEC)?;
        let mut page = None;
        for control in message.cmsgs()? {
            if let ControlMessageOwned::ScmRights(fds) = control {
                page = fds.into_iter().map(own).next_back();
            }
        }
        (message.bytes, page)
    };
    let body = buffer.get(..length).and_then(|packet| packet.strip_prefix(&REPLY));
    let (errno, payload) = body
        .and_then(|body| body.split_first_chunk::<4>())
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "the daemon's answer is not one"))?;
    Ok(Reply { errno: i32::from_le_bytes(*errno), payload: payload.to_vec(), page })
}

#[allow(unsafe_code)]
fn own(fd: std::os::fd::RawFd) -> OwnedFd {
    // SAFETY: the kernel installed this descriptor for us in recvmsg just now; nobody else owns it.
    unsafe { OwnedFd::from_raw_fd(fd) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_survive_and_garbage_is_none() {
        let name = Request::Name("stage 1: läuft".to_owned());
        for request in
            [Request::Open(vec![1; 99]), Request::Status, Request::Trace { client: 3, from: 77 }, name, Request::Energy]
        {
            assert_eq!(Request::decode(&request.encode()), Some(request));
        }
        for garbage in
            [&b""[..], b"JPQ1", b"JPQ1\x09\0\0\0", b"JPQ1\x02\0\0\0x", b"JPQ1\x03\0\0\0\x01ab", b"JPQ2\x02\0\0\0"]
        {
            assert_eq!(Request::decode(garbage), None);
        }
        for name in ["", "a\nb", "\u{202e}a", &"x".repeat(LONGEST_NAME + 1)] {
            assert_eq!(Request::decode(&Request::Name(name.to_owned()).encode()), None, "{name}");
        }
        assert_eq!(Request::decode(b"JPQ1\x04\0\0\0\xff\xfe"), None, "not UTF-8");
        assert_eq!(decode_number(&encode_number(BlockId(700))), Some(BlockId(700)));
        assert_eq!([decode_number(&[0; 3]), decode_number(&[0, 0, 1, 0])], [None; 2]);
    }
}
