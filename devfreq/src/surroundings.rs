//! What else a board does while something is measured on it.

use std::path::{Path, PathBuf};

use jetpace_tables::units::{Hertz, MilliCelsius};

use crate::board::Board;
use crate::nodes::Nodes;
use crate::thermal;

/// The surroundings as a board's nodes tell them.
#[derive(Debug)]
pub struct BoardSurroundings<N> {
    nodes: N,
    board: Board,
    cpu: Option<PathBuf>,
}

impl<N: Nodes> BoardSurroundings<N> {
    /// Of a board that was found on these nodes.
    pub fn new(nodes: N, board: Board) -> Self {
        let cpu = board.cpus.first().map(|policy| policy.join("scaling_cur_freq"));
        Self { nodes, board, cpu }
    }

    fn number(&self, path: &Path) -> Option<u64> {
        self.nodes.read(path).ok()?.trim().parse().ok()
    }

    /// The memory's clock, where the machine tells it.
    pub fn emc(&self) -> Option<Hertz> {
        self.number(&self.board.emc.as_ref()?.rate).map(Hertz::new)
    }

    /// The CPU's clock, where the machine tells it.
    pub fn cpu(&self) -> Option<Hertz> {
        self.number(self.cpu.as_deref()?).map(Hertz::from_khz)
    }

    /// The GPU's temperature, where the machine tells it.
    pub fn temperature(&self) -> Option<MilliCelsius> {
        let gpu = self.board.zones.iter().find(|zone| zone.name.to_ascii_lowercase().starts_with("gpu"))?;
        gpu.read(&self.nodes)
    }

    /// Whether heat or over-current holds the GPU down now.
    pub fn throttled(&self) -> bool {
        thermal::gpu_throttled(&self.nodes, &self.board.cooling)
    }
}
