//! A socket of whole packets, listened at and accepted from without waiting, in a place that nobody else can change.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::path::{Component, Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, openat};
use nix::sys::socket::{AddressFamily, Backlog, SockFlag, SockType, UnixAddr, accept4, bind, listen, socket};
use nix::sys::stat::{FchmodatFlags, FileStat, Mode, SFlag, fchmod, fchmodat, fstat, fstatat};
use nix::unistd::{Gid, UnlinkatFlags, fchownat, unlinkat};

use super::access::is_trusted;

/// Connections that may wait to be accepted.
const BACKLOG: i32 = 128;

/// A socket at a path. Dropped, the path is removed where it still is this socket's.
#[derive(Debug)]
pub struct Listener {
    socket: OwnedFd,
    folder: OwnedFd,
    path: PathBuf,
    id: (u64, u64),
}

impl Listener {
    /// Listens at a path, for root, this process's own user and a group. What a process that was killed left there is
    /// replaced, and nothing else.
    ///
    /// # Errors
    /// `AddrInUse` where somebody listens there, `AlreadyExists` where something else lies there, and where another user
    /// could change the path: what root gives to a group must not be put in the socket's place.
    pub fn open(path: &Path, group: Option<Gid>) -> io::Result<Self> {
        let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?;
        let parent = path.parent().filter(|parent| *parent != Path::new("")).unwrap_or(Path::new("."));
        let made = make_folder(parent)?;
        // Links in a path that only root and this user can change are theirs.
        let parent = parent.canonicalize()?;
        let folder = trusted_folder(&parent)?;
        if made {
            fchmod(&folder, Mode::from_bits_truncate(0o755))?;
        }
        let path = parent.join(name);
        make_room(&folder, name, &path)?;
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let socket = socket(AddressFamily::Unix, SockType::SeqPacket, flags, None)?;
        bind(socket.as_raw_fd(), &UnixAddr::new(&path)?)?;
        if group.is_some() {
            fchownat(&folder, name, None, group, AtFlags::AT_SYMLINK_NOFOLLOW)?;
        }
        // Nobody else can have replaced it by a link. Before `listen`, nobody can connect.
        fchmodat(&folder, name, Mode::from_bits_truncate(0o660), FchmodatFlags::FollowSymlink)?;
        let id = id(&fstatat(&folder, name, AtFlags::AT_SYMLINK_NOFOLLOW)?);
        listen(&socket, Backlog::new(BACKLOG)?)?;
        Ok(Self { socket, folder, path, id })
    }

    /// Takes the next connection; `EAGAIN` where none waits.
    #[allow(unsafe_code)]
    pub fn accept(&self) -> Result<OwnedFd, Errno> {
        let fd = accept4(self.socket.as_raw_fd(), SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK)?;
        // SAFETY: the kernel made this descriptor for us in accept4 just now; nobody else owns it.
        Ok(unsafe { OwnedFd::from_raw_fd(fd) })
    }

    /// Where it listens.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Removes the path, where it still is this socket's.
    pub fn close(&self) {
        let name = self.path.file_name().unwrap_or(OsStr::new(""));
        let there = fstatat(&self.folder, name, AtFlags::AT_SYMLINK_NOFOLLOW);
        if there.is_ok_and(|there| id(&there) == self.id) {
            // One that is left is replaced by the next.
            let _ = unlinkat(&self.folder, name, UnlinkatFlags::NoRemoveDir);
        }
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.close();
    }
}

fn id(found: &FileStat) -> (u64, u64) {
    (found.st_dev, found.st_ino)
}

/// Makes a folder where it is missing; whether it had to.
fn make_folder(folder: &Path) -> io::Result<bool> {
    match fs::create_dir(folder) {
        Ok(()) => Ok(true),
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => Ok(false),
        Err(e) if e.kind() == io::ErrorKind::NotFound => fs::create_dir_all(folder).map(|()| true),
        Err(e) => Err(e),
    }
}

/// Opens a folder that no user but root and this one can take away from under a name in it, nor any above it.
fn trusted_folder(path: &Path) -> io::Result<OwnedFd> {
    let flags = OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let mut folder = nix::fcntl::open("/", flags, Mode::empty())?;
    let mut so_far = PathBuf::from("/");
    for part in path.components() {
        judge(&folder, &so_far)?;
        if let Component::Normal(part) = part {
            folder = openat(&folder, part, flags, Mode::empty())?;
            so_far.push(part);
        }
    }
    judge(&folder, &so_far)?;
    Ok(folder)
}

fn judge(folder: &OwnedFd, path: &Path) -> io::Result<()> {
    let found = fstat(folder)?;
    let mode = Mode::from_bits_truncate(found.st_mode);
    let ours = is_trusted(found.st_uid);
    let open = mode.intersects(Mode::S_IWGRP | Mode::S_IWOTH) && !mode.contains(Mode::S_ISVTX);
    if ours && !open {
        return Ok(());
    }
    let why = match ours {
        false => format!("belongs to user {}", found.st_uid),
        true => "is open for writing to other users".to_owned(),
    };
    Err(io::Error::other(format!("{} {why}: choose a folder that only root or you can change", path.display())))
}

/// Removes a socket that nobody listens at any more.
fn make_room(folder: &OwnedFd, name: &OsStr, path: &Path) -> io::Result<()> {
    let found = match fstatat(folder, name, AtFlags::AT_SYMLINK_NOFOLLOW) {
        Err(Errno::ENOENT) => return Ok(()),
        found => found?,
    };
    if SFlag::from_bits_truncate(found.st_mode & SFlag::S_IFMT.bits()) != SFlag::S_IFSOCK {
        return Err(io::Error::new(io::ErrorKind::AlreadyExists, "there is something that is not a socket"));
    }
    match super::remote::dial(path) {
        // Left by a daemon that was killed.
        Err(e) if e.raw_os_error() == Some(libc::ECONNREFUSED) => {
            Ok(unlinkat(folder, name, UnlinkatFlags::NoRemoveDir)?)
        }
        // A living one, which may have another board's lock; or a socket of another kind, which is someone's.
        _ => Err(io::Error::new(io::ErrorKind::AddrInUse, "another process listens there")),
    }
}
