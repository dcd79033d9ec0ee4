//! Who may connect: root, the daemon's own user, and the members of a group.

use std::fmt;
use std::io;
use std::os::fd::OwnedFd;

use nix::sys::socket::{getsockopt, sockopt};
use nix::unistd::{Gid, geteuid};

use super::sys;

/// The process at the other end, as the kernel noted it when it connected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Its process id in the daemon's namespace; 0 where it has none there.
    pub pid: i32,
    /// Its user.
    pub uid: u32,
    /// Its primary group.
    pub gid: u32,
}

impl Peer {
    /// Of a connected socket.
    pub fn of(socket: &OwnedFd) -> io::Result<Self> {
        let credentials = getsockopt(socket, sockopt::PeerCredentials)?;
        Ok(Self { pid: credentials.pid(), uid: credentials.uid(), gid: credentials.gid() })
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "process {} of user {}", self.pid, self.uid)
    }
}

/// Whether a user is root or this process's own: what is theirs nobody else has made.
pub fn is_trusted(uid: u32) -> bool {
    uid == 0 || uid == geteuid().as_raw()
}

/// Who may connect.
#[derive(Clone, Copy, Debug, Default)]
pub struct Access {
    group: Option<Gid>,
}

impl Access {
    /// Root, the daemon's own user and, where one is given, the members of this group.
    pub fn new(group: Option<Gid>) -> Self {
        Self { group }
    }

    /// The group that the socket belongs to.
    pub fn group(&self) -> Option<Gid> {
        self.group
    }

    /// Whether this peer may connect. The socket's mode says the same; this holds also where the file was opened up.
    pub fn allows(&self, peer: &Peer, socket: &OwnedFd) -> bool {
        if is_trusted(peer.uid) {
            return true;
        }
        let Some(group) = self.group.map(Gid::as_raw) else { return false };
        // Where the kernel does not tell the groups, the primary one has to do.
        peer.gid == group || sys::peer_groups(socket).is_ok_and(|groups| groups.contains(&group))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::sys::socket::{AddressFamily, SockFlag, SockType, socketpair};

    #[test]
    fn strangers_are_refused_and_members_are_not() {
        let (socket, _other) =
            socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC).unwrap();
        let own = Peer::of(&socket).unwrap();
        assert_eq!(own.pid as u32, std::process::id());
        assert!(Access::new(None).allows(&own, &socket));
        let stranger = Peer { pid: 1, uid: 12345, gid: 54321 };
        assert!(!Access::new(None).allows(&stranger, &socket));
        assert!(!Access::new(Some(Gid::from_raw(54320))).allows(&stranger, &socket));
        assert!(Access::new(Some(Gid::from_raw(54321))).allows(&stranger, &socket));
    }
}
