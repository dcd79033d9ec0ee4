//! Where the state lies: plain files, whole or not at all, and a lock that dies with its holder.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use nix::fcntl::{FcntlArg, OFlag, fcntl};

use super::folder::Folder;
use super::written::Written;
use crate::nodes::SysfsRoot;

/// No state file is longer.
const LONGEST_STATE: u64 = 1024 * 1024;

/// Files beside the nodes, in the same tree.
pub trait Store {
    /// Held as long as it lives.
    type Lock;

    /// A file's content; `NotFound` where there is none, and another error where it may not be believed.
    fn load(&self, path: &Path) -> io::Result<String>;

    /// Writes a file so that after a crash at any point the old content or the new one is there, and makes it last.
    fn save(&self, path: &Path, text: &str) -> io::Result<()>;

    /// Removes a file; a missing one is no error.
    fn remove(&self, path: &Path) -> io::Result<()>;

    /// Gives a file that cannot be used another name, in the place of one set aside before.
    fn set_aside(&self, path: &Path, to: &Path) -> io::Result<()>;

    /// Takes a lock, or says which process holds it (0 where that is not known).
    fn lock(&self, path: &Path) -> io::Result<Result<Self::Lock, u32>>;

    /// Whether a lock that was taken still excludes others: someone may have removed its file.
    fn is_held(&self, _lock: &Self::Lock) -> io::Result<bool> {
        Ok(true)
    }

    /// New bits for the clocks that will be written, none of them set.
    fn written(&self, path: &Path) -> io::Result<Written>;

    /// The bits that an earlier process left.
    fn written_before(&self, path: &Path) -> Option<Written>;
}

impl Store for SysfsRoot {
    type Lock = FileLock;

    fn load(&self, path: &Path) -> io::Result<String> {
        let (folder, name) = folder_of(self, path, false)?;
        let mut text = String::new();
        folder.file(name, OFlag::O_RDONLY)?.take(LONGEST_STATE).read_to_string(&mut text)?;
        Ok(text)
    }

    fn save(&self, path: &Path, text: &str) -> io::Result<()> {
        let (folder, name) = folder_of(self, path, true)?;
        folder.replace(name, text.as_bytes())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        match folder_of(self, path, false) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
            found => {
                let (folder, name) = found?;
                folder.remove(name)
            }
        }
    }

    fn set_aside(&self, path: &Path, to: &Path) -> io::Result<()> {
        let (folder, name) = folder_of(self, path, false)?;
        folder.rename(name, to.file_name().unwrap_or(name))
    }

    fn lock(&self, path: &Path) -> io::Result<Result<FileLock, u32>> {
        let (folder, name) = folder_of(self, path, true)?;
        FileLock::take(self.on_disk(path), &folder, name)
    }

    fn is_held(&self, lock: &FileLock) -> io::Result<bool> {
        let path = &lock.path;
        let folder = path.parent().unwrap_or(path).strip_prefix(self.root()).unwrap_or(path);
        let Some(name) = path.file_name() else { return Ok(false) };
        Folder::open(self.root(), folder, false)?.is_still(name, &lock.file)
    }

    fn written(&self, path: &Path) -> io::Result<Written> {
        let (folder, name) = folder_of(self, path, true)?;
        Written::in_file(&folder.zeros(name, Written::BYTES)?)
    }

    fn written_before(&self, path: &Path) -> Option<Written> {
        let (folder, name) = folder_of(self, path, false).ok()?;
        let mut bytes = Vec::new();
        let most = Written::BYTES as u64 + 1;
        folder.file(name, OFlag::O_RDONLY).ok()?.take(most).read_to_end(&mut bytes).ok()?;
        Written::from_bytes(&bytes)
    }
}

/// The folder of a file of the agent's, and the file's name in it.
fn folder_of<'a>(nodes: &SysfsRoot, path: &'a Path, make: bool) -> io::Result<(Folder, &'a OsStr)> {
    let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(io::ErrorKind::InvalidInput.into());
    };
    Ok((Folder::open(nodes.root(), folder, make)?, name))
}

/// Locks held by this process: a record lock does not exclude its own process.
static HELD: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());

/// A record lock (`F_SETLK`) on a file. Unlike `flock` it is not handed on to forked children, so it dies with its
/// holder even where a child lives on.
#[derive(Debug)]
pub struct FileLock {
    path: PathBuf,
    file: File,
}

impl FileLock {
    fn take(path: PathBuf, folder: &Folder, name: &OsStr) -> io::Result<Result<Self, u32>> {
        {
            let mut held = HELD.lock().unwrap_or_else(PoisonError::into_inner);
            if held.contains(&path) {
                return Ok(Err(std::process::id()));
            }
            held.push(path.clone());
        }
        let taken = Self::take_record(folder, name);
        if !matches!(taken, Ok(Ok(_))) {
            let_go(&path);
        }
        Ok(taken?.map(|file| Self { path, file }))
    }

    fn take_record(folder: &Folder, name: &OsStr) -> io::Result<Result<File, u32>> {
        let file = folder.file(name, OFlag::O_RDWR | OFlag::O_CREAT)?;
        let mut whole = libc::flock {
            l_type: libc::F_WRLCK as libc::c_short,
            l_whence: libc::SEEK_SET as libc::c_short,
            l_start: 0,
            l_len: 0,
            l_pid: 0,
        };
        match fcntl(file.as_fd(), FcntlArg::F_SETLK(&whole)) {
            // Removed between the two: whoever comes next locks another file.
            Ok(_) if !folder.is_still(name, &file)? => Ok(Err(0)),
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
