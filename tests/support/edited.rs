//! A recorded board with edits: a copy on disk in which files are written and removed, so that a case is a few lines and
//! not a tree.

use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use jetpace_devfreq::board::Board;
use jetpace_devfreq::nodes::SysfsRoot;
use jetpace_devfreq::sim::tree::Tree;
use tempfile::TempDir;

/// A copy of a recorded board.
pub struct Edited {
    folder: TempDir,
}

impl Edited {
    /// A copy of a board of `tests/boards`.
    ///
    /// # Panics
    /// Where it cannot be copied.
    pub fn new(name: &str) -> Self {
        let folder = tempfile::tempdir().unwrap_or_else(|e| panic!("a folder for {name}: {e}"));
        copy(&crate::root().join("tests/boards").join(name), folder.path()).unwrap_or_else(|e| panic!("{name}: {e}"));
        Self { folder }
    }

    /// Its root on disk.
    pub fn root(&self) -> &Path {
        self.folder.path()
    }

    /// Where a file of it lies on disk.
    pub fn on_disk(&self, path: &str) -> PathBuf {
        self.root().join(path.trim_start_matches('/'))
    }

    /// Writes a file, with the folders above it.
    #[must_use]
    pub fn put(self, path: &str, text: impl AsRef<[u8]>) -> Self {
        let place = self.on_disk(path);
        let folder = place.parent().unwrap_or(self.root());
        let written = fs::create_dir_all(folder).and_then(|()| fs::write(&place, text));
        written.unwrap_or_else(|e| panic!("{path}: {e}"));
        self
    }

    /// Makes a link, in the place of what is there.
    #[must_use]
    pub fn link(self, path: &str, to: &str) -> Self {
        let this = self.remove(path);
        let place = this.on_disk(path);
        fs::create_dir_all(place.parent().unwrap_or(this.root())).unwrap_or_else(|e| panic!("{path}: {e}"));
        symlink(to, place).unwrap_or_else(|e| panic!("{path}: {e}"));
        this
    }

    /// Removes a file or a folder, where it is there.
    #[must_use]
    pub fn remove(self, path: &str) -> Self {
        let place = self.on_disk(path);
        let gone = match fs::symlink_metadata(&place) {
            Ok(meta) if meta.is_dir() => fs::remove_dir_all(&place),
            Ok(_) => fs::remove_file(&place),
            Err(_) => Ok(()),
        };
        gone.unwrap_or_else(|e| panic!("{path}: {e}"));
        self
    }

    /// Writes a node of the GPU's devfreq folder.
    #[must_use]
    pub fn gpu(self, node: &str, text: &str) -> Self {
        let devfreq = self.board().gpu.node(node);
        self.put(&devfreq.to_string_lossy(), format!("{text}\n"))
    }

    /// A cooling device at work.
    #[must_use]
    pub fn cooling(self, number: u32, kind: &str, state: u32) -> Self {
        let dir = format!("/sys/class/thermal/cooling_device{number}");
        self.put(&format!("{dir}/type"), format!("{kind}\n")).put(&format!("{dir}/cur_state"), format!("{state}\n"))
    }

    /// nvpmodel's status.
    #[must_use]
    pub fn mode(self, id: u32) -> Self {
        self.put("/var/lib/nvpmodel/status", format!("pmode:{id:04}\n"))
    }

    /// Its nodes on disk.
    pub fn nodes(&self) -> SysfsRoot {
        SysfsRoot::new(self.root())
    }

    /// What is found on it.
    ///
    /// # Panics
    /// Where nothing is.
    pub fn board(&self) -> Board {
        Board::discover(&self.nodes()).unwrap_or_else(|e| panic!("{e}"))
    }

    /// It as a tree in memory, with the kernel's rules.
    ///
    /// # Panics
    /// Where it cannot be loaded.
    pub fn tree(&self) -> Tree {
        Tree::load(self.root()).unwrap_or_else(|e| panic!("{e}"))
    }
}

fn copy(from: &Path, to: &Path) -> io::Result<()> {
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let place = to.join(entry.file_name());
        match entry.file_type()? {
            kind if kind.is_symlink() => symlink(fs::read_link(entry.path())?, place)?,
            kind if kind.is_dir() => {
                fs::create_dir_all(&place)?;
                copy(&entry.path(), &place)?;
            }
            _ => drop(fs::copy(entry.path(), place)?),
        }
    }
    Ok(())
}
