//! Files beside a virtual board's nodes: they live and die with the board.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::nodes::VirtualNodes;
use super::rules::errno;
use crate::guard::{Store, Written};

/// The files and locks of one board.
#[derive(Clone, Debug, Default)]
pub(super) struct Files(Arc<Mutex<Inner>>);

#[derive(Debug, Default)]
struct Inner {
    files: BTreeMap<PathBuf, String>,
    locks: Vec<PathBuf>,
    written: Option<Written>,
}

impl Files {
    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Store for VirtualNodes {
    type Lock = VirtualLock;

    fn load(&self, path: &Path) -> io::Result<String> {
        self.store.inner().files.get(path).cloned().ok_or_else(|| errno(libc::ENOENT))
    }

    fn save(&self, path: &Path, text: &str) -> io::Result<()> {
        self.store.inner().files.insert(path.to_owned(), text.to_owned());
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.store.inner().files.remove(path);
        Ok(())
    }

    fn set_aside(&self, path: &Path, to: &Path) -> io::Result<()> {
        let mut inner = self.store.inner();
        let text = inner.files.remove(path).ok_or_else(|| errno(libc::ENOENT))?;
        inner.files.insert(to.to_owned(), text);
        Ok(())
    }

    fn written(&self, _path: &Path) -> io::Result<Written> {
        Ok(self.store.inner().written.insert(Written::memory()).clone())
    }

    fn written_before(&self, _path: &Path) -> Option<Written> {
        self.store.inner().written.clone()
    }

    fn lock(&self, path: &Path) -> io::Result<Result<VirtualLock, u32>> {
        let mut inner = self.store.inner();
        if inner.locks.iter().any(|held| held == path) {
            return Ok(Err(std::process::id()));
        }
        inner.locks.push(path.to_owned());
        Ok(Ok(VirtualLock { files: self.store.clone(), path: path.to_owned() }))
    }
}

/// A lock on a virtual board, held as long as it lives.
#[derive(Debug)]
pub struct VirtualLock {
    files: Files,
    path: PathBuf,
}

impl Drop for VirtualLock {
    fn drop(&mut self) {
        self.files.inner().locks.retain(|held| *held != self.path);
    }
}
