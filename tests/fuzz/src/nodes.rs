//! Discovery on a machine whose nodes hold anything: recorded boards, some of their files replaced.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use jetpace_devfreq::board::Board;
use jetpace_devfreq::nodes::{NodeHandle, Nodes};
use jetpace_devfreq::rails::{self, Rails};
use jetpace_devfreq::sim::tree::{Tree, TreeHandle};
use jetpace_devfreq::timer::Monotonic;
use jetpace_tables::hw::{PowerRails, RailSample};

/// One board of each layout.
const BOARDS: [&str; 4] = ["tx2-r32.7", "xavier-nx-r35.5", "orin-nano-8gb-r39.2", "thor-r38.2"];

struct Recorded {
    tree: Tree,
    files: Vec<PathBuf>,
}

/// The first byte names a board; then come node (two bytes), length (one byte) and content, again and again.
/// `/etc/nvpmodel.conf` and the device tree are among the nodes. Whether a GPU was found.
pub fn nodes(data: &[u8]) -> bool {
    static RECORDED: OnceLock<Vec<Recorded>> = OnceLock::new();
    let recorded = RECORDED.get_or_init(|| BOARDS.iter().map(|name| load(name)).collect());
    let Some((board, mut rest)) = data.split_first() else { return false };
    let board = &recorded[usize::from(*board) % recorded.len()];
    let mut replaced = BTreeMap::new();
    while let [high, low, length, tail @ ..] = rest {
        let (content, tail) = tail.split_at(tail.len().min(usize::from(*length)));
        let node = usize::from(u16::from_be_bytes([*high, *low])) % board.files.len();
        replaced.insert(board.files[node].clone(), String::from_utf8_lossy(content).into_owned());
        rest = tail;
    }
    look(&Altered { tree: &board.tree, replaced: &replaced })
}

fn look(nodes: &Altered<'_>) -> bool {
    let board = Board::discover(nodes);
    if let Ok(board) = &board {
        assert!(board.gpu.clocks.is_sorted() && !board.gpu.clocks.is_empty());
        assert_eq!(board.digest().len(), 64);
    }
    let (found, _) = rails::find(nodes, None, &mut Vec::new());
    let mut samples = vec![RailSample::default(); found.len()];
    // An error names the node; that is fine.
    let _ = Rails::new(*nodes, Monotonic::new(), found).sample(&mut samples);
    board.is_ok()
}

fn load(name: &str) -> Recorded {
    let folder = crate::root().join("tests/boards").join(name);
    let tree = Tree::load(&folder).unwrap_or_else(|e| panic!("{e}"));
    let mut files = Vec::new();
    collect(&folder, &folder, &mut files).unwrap_or_else(|e| panic!("{name}: {e}"));
    files.sort();
    Recorded { tree, files }
}

/// The board's nodes, as paths on the board.
fn collect(folder: &Path, dir: &Path, files: &mut Vec<PathBuf>) -> io::Result<()> {
    for entry in std::fs::read_dir(dir)? {
        let entry = entry?;
        let kind = entry.file_type()?;
        match (kind.is_dir(), kind.is_file() && dir != folder) {
            (true, _) => collect(folder, &entry.path(), files)?,
            (_, true) => files.extend(entry.path().strip_prefix(folder).map(|path| Path::new("/").join(path))),
            _ => {}
        }
    }
    Ok(())
}

/// A recorded board with other content in some nodes.
#[derive(Clone, Copy)]
struct Altered<'a> {
    tree: &'a Tree,
    replaced: &'a BTreeMap<PathBuf, String>,
}

impl Altered<'_> {
    fn instead(&self, path: &Path) -> Option<String> {
        self.replaced.get(&self.tree.canonical(path).ok()?).cloned()
    }
}

enum Handle {
    Instead(String),
    Recorded(TreeHandle),
}

impl Nodes for Altered<'_> {
    type Handle = Handle;

    fn read(&self, path: &Path) -> io::Result<String> {
        self.instead(path).map_or_else(|| self.tree.read(path), Ok)
    }

    fn open(&self, path: &Path) -> io::Result<Handle> {
        match self.instead(path) {
            Some(text) => Ok(Handle::Instead(text)),
            None => self.tree.open_to_read(path).map(Handle::Recorded),
        }
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        self.tree.list(dir)
    }

    fn canonical(&self, path: &Path) -> io::Result<PathBuf> {
        self.tree.canonical(path)
    }

    fn mode(&self, path: &Path) -> io::Result<u32> {
        self.tree.mode(path)
    }
}

impl NodeHandle for Handle {
    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        panic!("looking writes {bytes:?}");
    }

    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Recorded(handle) => handle.read(buffer),
            Self::Instead(text) => {
                let length = text.len().min(buffer.len());
                buffer[..length].copy_from_slice(&text.as_bytes()[..length]);
                Ok(length)
            }
        }
    }
}
