//! The tree as the agent sees it: every access through the kernel's rules, with the faults that were asked for.

use std::io;
use std::path::{Path, PathBuf};

use super::faults::{self, Faults};
use super::{Logged, Tree, errno};
use crate::nodes::{NodeHandle, Nodes};

impl Nodes for Tree {
    type Handle = TreeHandle;

    fn read(&self, path: &Path) -> io::Result<String> {
        let mut inner = self.alive()?;
        let path = inner.files.resolve(path)?;
        inner.fault(|faults| faults.read())?;
        inner.read(&path)
    }

    fn open(&self, path: &Path) -> io::Result<TreeHandle> {
        let mut inner = self.alive()?;
        let path = inner.files.resolve(path)?;
        inner.fault(|faults| faults.read())?;
        inner.read(&path)?;
        const READ_ONLY: [&str; 4] = ["cur_freq", "target_freq", "available_frequencies", "available_governors"];
        if inner.ruled(&path).is_some_and(|(_, file)| READ_ONLY.contains(&file)) {
            return Err(errno(libc::EACCES));
        }
        let age = inner.age(&path);
        Ok(TreeHandle { tree: self.clone(), path, age })
    }

    fn open_to_read(&self, path: &Path) -> io::Result<TreeHandle> {
        let mut inner = self.alive()?;
        let path = inner.files.resolve(path)?;
        inner.fault(|faults| faults.read())?;
        inner.read(&path)?;
        let age = inner.age(&path);
        Ok(TreeHandle { tree: self.clone(), path, age })
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let inner = self.alive()?;
        let dir = inner.files.resolve(dir)?;
        inner.files.list(&dir)
    }

    fn canonical(&self, path: &Path) -> io::Result<PathBuf> {
        let inner = self.alive()?;
        inner.files.resolve(path).and_then(|path| inner.files.mode(&path).map(|_| path))
    }

    fn mode(&self, path: &Path) -> io::Result<u32> {
        let inner = self.alive()?;
        let path = inner.files.resolve(path)?;
        match inner.ruled(&path) {
            Some(_) => inner.read(&path).map(|_| 0o644),
            None => inner.files.mode(&path),
        }
    }
}

/// An open node of a [`Tree`].
pub struct TreeHandle {
    tree: Tree,
    path: PathBuf,
    age: Option<(u64, u64)>,
}

impl NodeHandle for TreeHandle {
    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        let text = std::str::from_utf8(bytes).map_err(|_| errno(libc::EINVAL))?;
        let mut inner = self.tree.alive()?;
        inner.act_before_write();
        if inner.age(&self.path) != self.age {
            inner.log.push(Logged {
                who: "jetpace",
                path: self.path.clone(),
                text: text.to_owned(),
                error: Some(libc::ENODEV),
            });
            return Err(errno(libc::ENODEV));
        }
        match inner.faults.as_mut().and_then(Faults::write) {
            None => inner.write("jetpace", &self.path, text),
            Some(faults::Kind::Refused(code)) => Err(errno(code)),
            Some(faults::Kind::Ignored) => Ok(()),
            Some(faults::Kind::TakenAndRefused(code)) => inner.write("jetpace", &self.path, text).and(Err(errno(code))),
        }
    }

    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut inner = self.tree.alive()?;
        inner.fault(|faults| faults.read())?;
        if inner.age(&self.path) != self.age {
            return Err(errno(libc::ENODEV));
        }
        let text = inner.read(&self.path)?;
        let length = text.len().min(buffer.len());
        buffer[..length].copy_from_slice(&text.as_bytes()[..length]);
        Ok(length)
    }
}
