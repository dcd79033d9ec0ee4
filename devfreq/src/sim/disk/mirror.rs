//! The board's nodes as files: what is written to them reaches the board, and what it reads is written to them.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions, Permissions};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::{FileExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify, WatchDescriptor};

use crate::sim::Shared;
use crate::sim::nodes::{self, Entry, VirtualNodes};
use crate::sim::world::World;

/// One node.
#[derive(Debug)]
struct Node {
    entry: Entry,
    file: File,
    /// What the file holds, without its end.
    text: String,
    /// How long the file is.
    length: usize,
}

/// All files of a board that may change.
#[derive(Debug)]
pub(super) struct Mirror {
    nodes: Vec<Node>,
    inotify: Inotify,
    /// The node that a watch is on.
    watched: BTreeMap<WatchDescriptor, usize>,
}

impl Mirror {
    /// Makes the files and links of a board below a folder.
    pub fn lay_out(board: &VirtualNodes, world: &Shared, folder: &Path) -> io::Result<Self> {
        fs::create_dir_all(folder)?;
        let inotify = Inotify::init(InitFlags::IN_NONBLOCK | InitFlags::IN_CLOEXEC)?;
        let mut mirror = Self { nodes: Vec::new(), inotify, watched: BTreeMap::new() };
        let world = world.lock();
        for (path, (entry, mode)) in &board.tree().files {
            let text = match nodes::text(&world, entry) {
                Ok(text) => text,
                // A zone that answers nothing lies there empty; a governor's node that is not there does not lie there.
                Err(e) if e.raw_os_error() == Some(libc::EAGAIN) => String::new(),
                Err(_) => continue,
            };
            mirror.file(&below(folder, path), entry, *mode, &text)?;
        }
        for (path, target) in &board.tree().links {
            let place = below(folder, path);
            make_parent(&place)?;
            symlink(relative(path, target), place)?;
        }
        Ok(mirror)
    }

    fn file(&mut self, place: &Path, entry: &Entry, mode: u32, text: &str) -> io::Result<()> {
        make_parent(place)?;
        let file = OpenOptions::new().read(true).write(true).create_new(true).open(place)?;
        file.write_all_at(text.as_bytes(), 0)?;
        file.set_permissions(Permissions::from_mode(mode & 0o777))?;
        if matches!(entry, Entry::Text(_)) {
            return Ok(());
        }
        if mode & 0o222 != 0 {
            let descriptor = self.inotify.add_watch(place, AddWatchFlags::IN_MODIFY)?;
            self.watched.insert(descriptor, self.nodes.len());
        }
        let node = Node { entry: entry.clone(), file, text: text.trim_end().to_owned(), length: text.len() };
        self.nodes.push(node);
        Ok(())
    }

    /// Hands what others wrote to the board, in the order in which they did; whether there was anything.
    pub fn take_writes(&mut self, world: &mut World) -> bool {
        let mut any = false;
        while let Ok(events) = self.inotify.read_events() {
            for event in events {
                let Some(node) = self.watched.get(&event.wd).and_then(|at| self.nodes.get_mut(*at)) else {
                    continue;
                };
                let Some(written) = node.changed() else { continue };
                any = true;
                // What the kernel refuses is put back by the next refresh.
                let _ = nodes::take(world, &node.entry, &written);
                node.text = written;
            }
        }
        any
    }

    /// Writes what the nodes read now, where they read something else than before.
    pub fn refresh(&mut self, world: &World) {
        for node in &mut self.nodes {
            let Ok(text) = nodes::text(world, &node.entry) else { continue };
            let text = text.trim_end();
            // What came in the meantime is not written over: it is taken first.
            if text != node.text && node.changed().is_none() {
                node.put(text);
            }
        }
    }
}

impl AsFd for Mirror {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.inotify.as_fd()
    }
}

impl Node {
    /// What the file holds, where that is not what was last seen in it.
    fn changed(&mut self) -> Option<String> {
        let mut bytes = [0; 256];
        let length = self.file.read_at(&mut bytes, 0).ok()?;
        self.length = length;
        let text = String::from_utf8_lossy(bytes.get(..length)?).trim_end().to_owned();
        (text != self.text).then_some(text)
    }

    /// One write, padded over the old tail with line ends: whoever reads meanwhile reads the old number or the new one.
    fn put(&mut self, text: &str) {
        let mut bytes = text.as_bytes().to_vec();
        bytes.push(b'\n');
        bytes.resize(bytes.len().max(self.length), b'\n');
        if self.file.write_all_at(&bytes, 0).is_ok() {
            self.text = text.to_owned();
            self.length = bytes.len();
        }
    }
}

fn below(folder: &Path, path: &Path) -> PathBuf {
    folder.join(path.strip_prefix("/").unwrap_or(path))
}

fn make_parent(place: &Path) -> io::Result<()> {
    place.parent().map_or(Ok(()), fs::create_dir_all)
}

/// A link's target as seen from the link's own folder: the tree may lie anywhere.
fn relative(link: &Path, target: &Path) -> PathBuf {
    let up = link.components().count().saturating_sub(2);
    let mut path: PathBuf = std::iter::repeat_n("..", up).collect();
    path.push(target.strip_prefix("/").unwrap_or(target));
    path
}
