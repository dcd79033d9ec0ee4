//! Where the state file lies: a plain file, whole or not at all, and a lock that dies with its holder.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use nix::fcntl::{FcntlArg, fcntl};

use crate::nodes::SysfsRoot;

/// No state file is longer.
const LONGEST_STATE: u64 = 1024 * 1024;

/// Files beside the nodes, in the same tree.
pub trait Store {
    /// Held as long as it lives.
    type Lock;

    /// A file's content; `NotFound` where there is none.
    fn load(&self, path: &Path) -> io::Result<String>;

    /// Writes a file so that after a crash at any point the old content or the new one is there, and makes it last.
    fn save(&self, path: &Path, text: &str) -> io::Result<()>;

    /// Removes a file; a missing one is no error.
    fn remove(&self, path: &Path) -> io::Result<()>;

    /// Takes a lock, or says which process holds it (0 where that is not known).
    fn lock(&self, path: &Path) -> io::Result<Result<Self::Lock, u32>>;
}

impl Store for SysfsRoot {
    type Lock = FileLock;

    fn load(&self, path: &Path) -> io::Result<String> {
        let file = open(&self.beside(path)?, OpenOptions::new().read(true))?;
        let mut text = String::new();
        file.take(LONGEST_STATE).read_to_string(&mut text)?;
        Ok(text)
    }

    fn save(&self, path: &Path, text: &str) -> io::Result<()> {
        let path = self.beside(path)?;
        let beside = path.with_extension("new");
        // Left by a kill in the middle of this function.
        match fs::remove_file(&beside) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
            _ => {}
        }
        let mut file = open(&beside, OpenOptions::new().write(true).create_new(true).mode(0o600))?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&beside, &path)?;
        sync_folder(&path)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let path = match self.beside(path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
            path => path?,
        };
        match fs::remove_file(&path) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
            _ => sync_folder(&path),
        }
    }

    fn lock(&self, path: &Path) -> io::Result<Result<FileLock, u32>> {
        if let Some(folder) = self.on_disk(path).parent() {
            fs::create_dir_all(folder)?;
        }
        FileLock::take(self.beside(path)?)
    }
}

impl SysfsRoot {
    /// A file's place on disk, its folder proven to lie inside the tree.
    fn beside(&self, path: &Path) -> io::Result<PathBuf> {
        use crate::nodes::Nodes;
        if self.root() != Path::new("/") {
            self.canonical(path.parent().unwrap_or(path))?;
        }
        Ok(self.on_disk(path))
    }
}

/// Opens a regular file and nothing else: no link, no FIFO.
fn open(path: &Path, options: &mut OpenOptions) -> io::Result<File> {
    let file = options.custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_CLOEXEC).open(path)?;
    if file.metadata()?.is_file() {
        return Ok(file);
    }
    Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"))
}

fn sync_folder(path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(folder) => File::open(folder)?.sync_all(),
        None => Ok(()),
    }
}

/// Locks held by this process: a record lock does not exclude its own process.
static HELD: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());

/// A record lock (`F_SETLK`) on a file. Unlike `flock` it is not handed on to forked children, so it dies with its
/// holder even where a child lives on.
#[derive(Debug)]
pub struct FileLock {
    path: PathBuf,
    _file: File,
}

impl FileLock {
    fn take(path: PathBuf) -> io::Result<Result<Self, u32>> {
        {
            let mut held = HELD.lock().unwrap_or_else(PoisonError::into_inner);
            if held.contains(&path) {
                return Ok(Err(std::process::id()));
            }
            held.push(path.clone());
        }
        let taken = Self::take_record(&path);
        if !matches!(taken, Ok(Ok(_))) {
            let_go(&path);
        }
        Ok(taken?.map(|file| Self { path, _file: file }))
    }

    fn take_record(path: &Path) -> io::Result<Result<File, u32>> {
        let file = open(path, OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600))?;
        let mut whole = libc::flock {
            l_type: libc::F_WRLCK as libc::c_short,
            l_whence: libc::SEEK_SET as libc::c_short,
            l_start: 0,
            l_len: 0,
            l_pid: 0,
        };
        match fcntl(file.as_fd(), FcntlArg::F_SETLK(&whole)) {
            Ok(_) => Ok(Ok(file)),
            Err(nix::errno::Errno::EACCES | nix::errno::Errno::EAGAIN) => {
                let told = fcntl(file.as_fd(), FcntlArg::F_GETLK(&mut whole)).is_ok();
                Ok(Err(if told { u32::try_from(whole.l_pid).unwrap_or(0) } else { 0 }))
            }
            Err(e) => Err(e.into()),
        }
    }
}

impl Drop for FileLock {
    fn drop(&mut self) {
        let_go(&self.path);
    }
}

fn let_go(path: &Path) {
    HELD.lock().unwrap_or_else(PoisonError::into_inner).retain(|held| held != path);
}
