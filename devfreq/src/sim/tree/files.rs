//! Plain files, folders and links in memory.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Component, Path, PathBuf};

use super::errno;

/// More links than this are a loop.
const MOST_LINKS: u32 = 40;

#[derive(Clone)]
pub(super) enum Node {
    File {
        text: String,
        mode: u32,
    },
    /// Where it leads, absolute.
    Link(PathBuf),
}

#[derive(Clone, Default)]
pub(super) struct Files(BTreeMap<PathBuf, Node>);

impl Files {
    pub fn insert(&mut self, path: PathBuf, node: Node) {
        self.0.insert(path, node);
    }

    pub fn paths(&self) -> impl Iterator<Item = &Path> {
        self.0.iter().filter(|(_, node)| matches!(node, Node::File { .. })).map(|(path, _)| path.as_path())
    }

    pub fn set_mode(&mut self, path: &Path, new: u32) {
        if let Some(Node::File { mode, .. }) = self.0.get_mut(path) {
            *mode = new;
        }
    }

    /// The path behind all links.
    pub fn resolve(&self, path: &Path) -> io::Result<PathBuf> {
        let mut done = PathBuf::from("/");
        let mut left: Vec<PathBuf> = parts(path);
        let mut links = 0;
        while let Some(part) = left.pop() {
            if part == Path::new("..") {
                done.pop();
                continue;
            }
            done.push(part);
            if let Some(Node::Link(to)) = self.0.get(&done) {
                links += 1;
                if links > MOST_LINKS {
                    return Err(errno(libc::ELOOP));
                }
                left.extend(parts(to));
                done = PathBuf::from("/");
            }
        }
        Ok(done)
    }

    pub fn read(&self, path: &Path) -> io::Result<String> {
        match self.0.get(path) {
            Some(Node::File { text, .. }) => Ok(text.clone()),
            _ if self.is_folder(path) => Err(errno(libc::EISDIR)),
            _ => Err(errno(libc::ENOENT)),
        }
    }

    /// Writes a node that exists.
    pub fn write(&mut self, path: &Path, new: &str) -> io::Result<()> {
        match self.0.get_mut(path) {
            Some(Node::File { text, .. }) => {
                *text = format!("{}\n", new.trim_end_matches('\n'));
                Ok(())
            }
            _ => Err(errno(libc::ENOENT)),
        }
    }

    /// Writes a file, made where it is missing.
    pub fn put(&mut self, path: &Path, text: &str) {
        self.0.insert(path.to_owned(), Node::File { text: text.to_owned(), mode: 0o644 });
    }

    pub fn remove(&mut self, path: &Path) {
        self.0.remove(path);
    }

    pub fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let below = self.0.keys().filter_map(|path| path.strip_prefix(dir).ok());
        let names: BTreeSet<String> = below
            .filter_map(|rest| rest.components().next())
            .map(|part| part.as_os_str().to_string_lossy().into_owned())
            .collect();
        match names.is_empty() {
            true => Err(errno(libc::ENOENT)),
            false => Ok(names.into_iter().collect()),
        }
    }

    pub fn mode(&self, path: &Path) -> io::Result<u32> {
        match self.0.get(path) {
            Some(Node::File { mode, .. }) => Ok(*mode),
            _ if self.is_folder(path) => Ok(0o755),
            _ => Err(errno(libc::ENOENT)),
        }
    }

    fn is_folder(&self, path: &Path) -> bool {
        let after = self.0.range(path.to_owned()..).find(|(other, _)| other.as_path() != path);
        after.is_some_and(|(other, _)| other.starts_with(path))
    }
}

/// The parts of a path, last first.
fn parts(path: &Path) -> Vec<PathBuf> {
    let parts = path.components().filter(|part| matches!(part, Component::Normal(_) | Component::ParentDir));
    let mut parts: Vec<PathBuf> = parts.map(|part| PathBuf::from(part.as_os_str())).collect();
    parts.reverse();
    parts
}
