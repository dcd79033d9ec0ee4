//! What may be put back from a file: nodes that discovery finds on this machine, and nothing else.

use std::path::{Path, PathBuf};

use super::state::Entry;
use crate::board::Board;
use crate::error::Error;
use crate::nodes::Nodes;

/// The nodes that the agent writes on this machine.
pub(super) struct Writable {
    /// `None` where the GPU's driver is away: what was written is not known then.
    known: Option<Vec<PathBuf>>,
}

impl Writable {
    /// Looks at the machine.
    ///
    /// # Errors
    /// Where its GPU cannot be looked at.
    pub fn find<N: Nodes>(nodes: &N) -> Result<Self, Error> {
        match Board::discover(nodes) {
            Ok(board) => Ok(Self { known: Some(board.writable()) }),
            Err(Error::NoGpu { .. }) => Ok(Self { known: None }),
            Err(e) => Err(e),
        }
    }

    /// Whether a node is there and none that the agent writes.
    pub fn is_stranger<N: Nodes>(&self, nodes: &N, path: &Path) -> bool {
        self.known.as_ref().is_some_and(|known| !known.iter().any(|node| node == path) && nodes.mode(path).is_ok())
    }

    /// Takes out of the entries those that cannot be judged now, each with why it is not put back.
    pub fn take_unknown<N: Nodes>(&self, nodes: &N, entries: &mut Vec<Entry>) -> Vec<(PathBuf, String, String)> {
        if self.known.is_some() {
            return Vec::new();
        }
        let unknown: Vec<Entry> = entries.extract_if(.., |entry| nodes.mode(&entry.path).is_ok()).collect();
        let why = || "the GPU that it belongs to is not found now".to_owned();
        unknown.into_iter().map(|entry| (entry.path, entry.original, why())).collect()
    }
}
