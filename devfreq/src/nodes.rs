//! The seam below the hardware traits: small text files, read and written in an order and with errors that are
//! behaviour. [`SysfsRoot`] is a machine's tree on disk; the virtual boards are other implementations.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Component, Path, PathBuf};

use nix::fcntl::{AT_FDCWD, AtFlags};
use nix::sys::statvfs::{FsFlags, statvfs};
use nix::unistd::{AccessFlags, faccessat, geteuid};

/// No node is longer; a longer file is not a node and is not read to its end.
pub const LONGEST_NODE: u64 = 64 * 1024;

/// More links than this are a loop.
const MOST_LINKS: u32 = 40;

/// A tree of nodes. Paths are absolute, as on the machine: `/sys/class/devfreq/...`.
pub trait Nodes {
    /// A node that is kept open.
    type Handle: NodeHandle;

    /// A node's content, at most [`LONGEST_NODE`] bytes of it.
    fn read(&self, path: &Path) -> io::Result<String>;

    /// Writes a node once: opened, written, closed.
    fn write(&self, path: &Path, text: &str) -> io::Result<()> {
        self.open(path)?.write(text.as_bytes())
    }

    /// Opens a node for writing and reading, to be kept.
    fn open(&self, path: &Path) -> io::Result<Self::Handle>;

    /// Opens a node for reading alone: most rails are not writable, not even by root.
    fn open_to_read(&self, path: &Path) -> io::Result<Self::Handle> {
        self.open(path)
    }

    /// Names in a directory, sorted.
    fn list(&self, dir: &Path) -> io::Result<Vec<String>>;

    /// Where a path leads behind all links.
    fn canonical(&self, path: &Path) -> io::Result<PathBuf>;

    /// The permission bits.
    fn mode(&self, path: &Path) -> io::Result<u32>;

    /// Whether the calling process may do something to a node, as the kernel answers it. Where there is no kernel everybody
    /// may what the node's mode lets its owner do.
    ///
    /// # Errors
    /// As the kernel's: `PermissionDenied`, `ReadOnlyFilesystem`, `NotFound`.
    fn access(&self, path: &Path, access: Access) -> io::Result<()> {
        let bit = match access {
            Access::Read => 0o400,
            Access::Write | Access::Own => 0o200,
        };
        if self.mode(path)? & bit != 0 { Ok(()) } else { Err(io::ErrorKind::PermissionDenied.into()) }
    }

    /// Whether a node lies on a mount on which nobody may write.
    fn is_read_only(&self, _path: &Path) -> bool {
        false
    }
}

/// What a process may want to do to a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// To read it.
    Read,
    /// To write it, or to make something in it.
    Write,
    /// To change it as its owner.
    Own,
}

/// An open node. A node of a device that was unbound, or of a governor that was switched away, answers `ENODEV` for
/// ever and has to be opened anew.
pub trait NodeHandle {
    /// One write from offset 0, as one `store` in the kernel. The hot path.
    fn write(&mut self, bytes: &[u8]) -> io::Result<()>;

    /// Reads from offset 0 into `buffer`; how many bytes came.
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize>;
}

/// A machine's tree on disk; `/` is the machine itself, any other root a copy of one.
#[derive(Clone, Debug)]
pub struct SysfsRoot {
    root: PathBuf,
}

impl SysfsRoot {
    /// The tree below `root`.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// The root that was given.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Where a node lies on this machine's disk.
    pub fn on_disk(&self, path: &Path) -> PathBuf {
        self.root.join(path.strip_prefix("/").unwrap_or(path))
    }

    /// Like [`Self::on_disk`], but behind the links of a copied tree, which stay below its root: an agent that runs as root
    /// must not write a clock into a file that someone else's tree points at.
    fn inside(&self, path: &Path) -> io::Result<PathBuf> {
        if self.root == Path::new("/") {
            Ok(self.on_disk(path))
        } else {
            self.canonical(path).map(|path| self.on_disk(&path))
        }
    }

    /// Where a path leads in a copied tree: absolute links lead to below its root, and none leads above it.
    fn resolve(&self, path: &Path) -> io::Result<PathBuf> {
        let parts = |path: &Path| {
            let named = path.components().filter(|part| matches!(part, Component::Normal(_) | Component::ParentDir));
            named.map(|part| part.as_os_str().to_owned()).rev().collect::<Vec<_>>()
        };
        let mut done = PathBuf::from("/");
        let mut left = parts(path);
        let mut links = 0;
        while let Some(part) = left.pop() {
            if part == ".." {
                done.pop();
                continue;
            }
            done.push(part);
            let here = self.on_disk(&done);
            if !fs::symlink_metadata(&here)?.is_symlink() {
                continue;
            }
            links += 1;
            if links > MOST_LINKS {
                return Err(io::Error::from_raw_os_error(libc::ELOOP));
            }
            let to = fs::read_link(&here)?;
            done.pop();
            if to.is_absolute() {
                done = PathBuf::from("/");
            }
            left.extend(parts(&to));
        }
        Ok(done)
    }

    /// A node is a regular file; a FIFO would hang, a device or a directory is not meant.
    fn node(&self, file: File, path: &Path) -> io::Result<OpenNode> {
        if file.metadata()?.is_file() {
            return Ok(OpenNode { file, plain_file: self.root != Path::new("/") });
        }
        Err(io::Error::new(io::ErrorKind::InvalidInput, format!("{} is not a regular file", path.display())))
    }
}

impl Nodes for SysfsRoot {
    type Handle = OpenNode;

    fn read(&self, path: &Path) -> io::Result<String> {
        // Non-blocking, so that a FIFO in a bad tree does not hang the agent.
        let mut bytes = Vec::new();
        self.open_to_read(path)?.file.take(LONGEST_NODE).read_to_end(&mut bytes)?;
        // One byte of another encoding does not discard the rest.
        Ok(String::from_utf8(bytes).unwrap_or_else(|e| String::from_utf8_lossy(e.as_bytes()).into_owned()))
    }

    fn open(&self, path: &Path) -> io::Result<OpenNode> {
        // Never created or truncated: a node exists or the path is wrong.
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .custom_flags(libc::O_NONBLOCK | libc::O_CLOEXEC)
            .open(self.inside(path)?)?;
        self.node(file, path)
    }

    fn open_to_read(&self, path: &Path) -> io::Result<OpenNode> {
        let file =
            OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK | libc::O_CLOEXEC).open(self.inside(path)?)?;
        self.node(file, path)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(self.inside(dir)?)? {
            names.push(entry?.file_name().to_string_lossy().into_owned());
        }
        names.sort();
        Ok(names)
    }

    fn canonical(&self, path: &Path) -> io::Result<PathBuf> {
        if self.root == Path::new("/") { path.canonicalize() } else { self.resolve(path) }
    }

    fn mode(&self, path: &Path) -> io::Result<u32> {
        Ok(fs::metadata(self.inside(path)?)?.mode())
    }

    fn access(&self, path: &Path, access: Access) -> io::Result<()> {
        let place = self.inside(path)?;
        let flags = match access {
            Access::Read => AccessFlags::R_OK,
            Access::Write => AccessFlags::W_OK,
            Access::Own => match fs::metadata(&place)?.uid() == geteuid().as_raw() {
                true => AccessFlags::W_OK,
                false => return Err(io::ErrorKind::PermissionDenied.into()),
            },
        };
        // As the effective user: the call without a flag would ask for the real one.
        Ok(faccessat(AT_FDCWD, &place, flags, AtFlags::AT_EACCESS)?)
    }

    fn is_read_only(&self, path: &Path) -> bool {
        let flags = self.inside(path).ok().and_then(|place| statvfs(&place).ok()).map(|mount| mount.flags());
        flags.is_some_and(|flags| flags.contains(FsFlags::ST_RDONLY))
    }
}

/// A kept file descriptor of one node.
#[derive(Debug)]
pub struct OpenNode {
    file: File,
    /// In a copied tree a node is a plain file, which keeps the tail of a longer text.
    plain_file: bool,
}

impl OpenNode {
    /// The system call itself: libc's `pwrite` is a point at which a thread may be cancelled, and in a process of several
    /// threads it guards against that with two locked operations, a tenth of a write to tmpfs.
    fn write_once(&self, bytes: &[u8]) -> io::Result<()> {
        match rustix::io::pwrite(&self.file, bytes, 0)? {
            n if n == bytes.len() => Ok(()),
            n => Err(io::Error::other(format!("only {n} of {} bytes were taken", bytes.len()))),
        }
    }
}

impl NodeHandle for OpenNode {
    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        if !self.plain_file {
            return self.write_once(bytes);
        }
        // Line ends over the old tail, in the same write: a kill in between must not leave half a number.
        let length = self.file.metadata()?.len().min(LONGEST_NODE) as usize;
        let mut padded = bytes.to_vec();
        padded.resize(length.max(bytes.len()), b'\n');
        self.write_once(&padded)
    }

    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.file.read_at(buffer, 0)
    }
}
