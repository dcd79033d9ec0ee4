//! A socket of whole packets, listened at and accepted from without waiting.

use std::fs;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::Path;

use nix::errno::Errno;
use nix::sys::socket::{AddressFamily, Backlog, SockFlag, SockType, UnixAddr, accept4, bind, listen, socket};
use nix::unistd::{Gid, chown};

/// Listens without waiting at a path, for root, this process's own user and a group.
pub(crate) fn listen_at(path: &Path, group: Option<Gid>) -> io::Result<OwnedFd> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    match fs::symlink_metadata(path) {
        Ok(found) => {
            if !found.file_type().is_socket() {
                return Err(io::Error::new(io::ErrorKind::AlreadyExists, "there is something that is not a socket"));
            }
            // Left by a daemon that was killed. A living one may have another board's lock.
            if super::remote::dial(path).is_ok() {
                return Err(io::Error::new(io::ErrorKind::AddrInUse, "another process listens there"));
            }
            fs::remove_file(path)?;
        }
        Err(e) if e.kind() == io::ErrorKind::NotFound => {}
        Err(e) => return Err(e),
    }
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let listener = socket(AddressFamily::Unix, SockType::SeqPacket, flags, None)?;
    bind(listener.as_raw_fd(), &UnixAddr::new(path)?)?;
    if let Some(group) = group {
        chown(path, None, Some(group))?;
    }
    // Before `listen`, nobody can connect.
    fs::set_permissions(path, fs::Permissions::from_mode(0o660))?;
    listen(&listener, Backlog::new(16)?)?;
    Ok(listener)
}

/// Takes the next connection; `EAGAIN` where none waits.
#[allow(unsafe_code)]
pub(crate) fn accept_at(listener: &OwnedFd) -> Result<OwnedFd, Errno> {
    let fd = accept4(listener.as_raw_fd(), SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK)?;
    // SAFETY: the kernel made this descriptor for us in accept4 just now; nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}
