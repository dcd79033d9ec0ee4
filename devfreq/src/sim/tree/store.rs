//! The state file and the lock of a [`Tree`].

use std::io;
use std::path::Path;

use super::faults::{self, Faults};
use super::{Tree, errno};
use crate::guard::{Store, Written};

/// The lock of one life.
pub struct TreeLock(Tree);

impl Drop for TreeLock {
    fn drop(&mut self) {
        let mut inner = self.0.lock_inner();
        if inner.locked_by == Some(self.0.life) {
            inner.locked_by = None;
        }
    }
}

impl Store for Tree {
    type Lock = TreeLock;

    fn load(&self, path: &Path) -> io::Result<String> {
        let mut inner = self.alive()?;
        inner.fault(|faults| faults.read())?;
        inner.files.read(path)
    }

    fn save(&self, path: &Path, text: &str) -> io::Result<()> {
        let mut inner = self.alive()?;
        match inner.faults.as_mut().and_then(Faults::write) {
            Some(faults::Kind::TakenAndRefused(code)) => {
                inner.files.put(path, text);
                Err(errno(code))
            }
            Some(faults::Kind::Refused(code)) => Err(errno(code)),
            // A file system that says it wrote and did not is not among the faults.
            _ => {
                inner.files.put(path, text);
                Ok(())
            }
        }
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut inner = self.alive()?;
        if let Some(faults::Kind::Refused(code)) = inner.faults.as_mut().and_then(Faults::write) {
            return Err(errno(code));
        }
        inner.files.remove(path);
        Ok(())
    }

    fn set_aside(&self, path: &Path, to: &Path) -> io::Result<()> {
        let mut inner = self.alive()?;
        let text = inner.files.read(path)?;
        inner.files.put(to, &text);
        inner.files.remove(path);
        Ok(())
    }

    fn written(&self, _path: &Path) -> io::Result<Written> {
        let mut inner = self.alive()?;
        inner.written = Written::memory();
        Ok(inner.written.clone())
    }

    fn written_before(&self, _path: &Path) -> Option<Written> {
        self.alive().ok().map(|inner| inner.written.clone())
    }

    fn lock(&self, _path: &Path) -> io::Result<Result<TreeLock, u32>> {
        let mut inner = self.alive()?;
        if inner.locked_by.is_some() {
            return Ok(Err(0));
        }
        inner.locked_by = Some(self.life);
        drop(inner);
        Ok(Ok(TreeLock(self.clone())))
    }
}
