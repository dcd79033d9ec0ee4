//! The agent's own folder below /run: reached through no link, judged on its descriptor, this user's alone.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Component, Path};

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, openat, renameat};
use nix::sys::stat::{FileStat, Mode, SFlag, fchmod, fstat, fstatat, mkdirat};
use nix::unistd::{UnlinkatFlags, geteuid, unlinkat};

/// A folder that nobody else can change.
pub(super) struct Folder(OwnedFd);

const PRIVATE: Mode = Mode::S_IRWXU;
const FILE: Mode = Mode::S_IRUSR.union(Mode::S_IWUSR);
const PLAIN: OFlag = OFlag::O_NOFOLLOW.union(OFlag::O_NONBLOCK).union(OFlag::O_CLOEXEC);

impl Folder {
    /// Opens a folder below `root`; with `make` it is made where it is missing. Whatever the umask and whatever it was
    /// before, it is this user's alone (0700) then.
    ///
    /// # Errors
    /// Where a part of the path is a link or no folder, or the folder belongs to someone else.
    pub fn open(root: &Path, path: &Path, make: bool) -> io::Result<Self> {
        let folder = OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let mut at = nix::fcntl::open(root, folder, Mode::empty())?;
        for part in path.components() {
            let Component::Normal(part) = part else { continue };
            let open = |at: &OwnedFd| openat(at, part, folder | OFlag::O_NOFOLLOW, Mode::empty());
            at = match open(&at) {
                Err(Errno::ENOENT) if make => {
                    match mkdirat(&at, part, PRIVATE | Mode::S_IXOTH | Mode::S_IROTH | Mode::S_IXGRP | Mode::S_IRGRP) {
                        Ok(()) | Err(Errno::EEXIST) => open(&at)?,
                        Err(e) => return Err(e.into()),
                    }
                }
                opened => opened?,
            };
        }
        let found = fstat(&at)?;
        if found.st_uid != geteuid().as_raw() {
            return Err(not_ours("the folder", found.st_uid));
        }
        if Mode::from_bits_truncate(found.st_mode) != PRIVATE {
            fchmod(&at, PRIVATE)?;
        }
        Ok(Self(at))
    }

    /// Opens a plain file that this user alone could have written: no link, no FIFO, no second name.
    pub fn file(&self, name: &OsStr, flags: OFlag) -> io::Result<File> {
        let file = openat(&self.0, name, PLAIN | flags, FILE)?;
        let found = fstat(&file)?;
        if SFlag::from_bits_truncate(found.st_mode & SFlag::S_IFMT.bits()) != SFlag::S_IFREG {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
        }
        if found.st_uid != geteuid().as_raw() {
            return Err(not_ours("it", found.st_uid));
        }
        let others = Mode::S_IWGRP | Mode::S_IWOTH;
        if Mode::from_bits_truncate(found.st_mode).intersects(others) || found.st_nlink != 1 {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "others could have written it"));
        }
        Ok(file.into())
    }

    /// Writes a file beside its place and renames it there, durable.
    pub fn replace(&self, name: &OsStr, bytes: &[u8]) -> io::Result<()> {
        let beside = Path::new(name).with_extension("new");
        // Left by a kill in the middle of this function.
        self.unlink(beside.as_os_str())?;
        let mut file = self.file(beside.as_os_str(), OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL)?;
        fchmod(&file, FILE)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        self.rename(beside.as_os_str(), name)
    }

    /// A new file of `length` zero bytes whose blocks are there.
    pub fn zeros(&self, name: &OsStr, length: usize) -> io::Result<OwnedFd> {
        self.unlink(name)?;
        let mut file = self.file(name, OFlag::O_RDWR | OFlag::O_CREAT | OFlag::O_EXCL)?;
        fchmod(&file, FILE)?;
        file.write_all(&vec![0; length])?;
        Ok(file.into())
    }

    /// Gives a file another name, durable.
    pub fn rename(&self, from: &OsStr, to: &OsStr) -> io::Result<()> {
        renameat(&self.0, from, &self.0, to)?;
        self.sync()
    }

    /// Removes a file, durable; a missing one is no error.
    pub fn remove(&self, name: &OsStr) -> io::Result<()> {
        self.unlink(name)?;
        self.sync()
    }

    /// Whether this is still the file of that name.
    pub fn is_still(&self, name: &OsStr, file: impl AsFd) -> io::Result<bool> {
        let id = |found: FileStat| (found.st_dev, found.st_ino);
        match fstatat(&self.0, name, AtFlags::AT_SYMLINK_NOFOLLOW) {
            Ok(there) => Ok(id(there) == id(fstat(file)?)),
            Err(Errno::ENOENT) => Ok(false),
            Err(e) => Err(e.into()),
        }
    }

    fn unlink(&self, name: &OsStr) -> io::Result<()> {
        match unlinkat(&self.0, name, UnlinkatFlags::NoRemoveDir) {
            Err(e) if e != Errno::ENOENT => Err(e.into()),
            _ => Ok(()),
        }
    }

    fn sync(&self) -> io::Result<()> {
        Ok(nix::unistd::fsync(&self.0)?)
    }
}

fn not_ours(what: &str, owner: u32) -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidInput,
        format!("{what} belongs to user {owner}: remove it, or give it to this user"),
    )
}
