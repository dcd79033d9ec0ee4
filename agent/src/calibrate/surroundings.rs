//! What else happens on the machine while it is measured.

use std::path::{Path, PathBuf};

use jetpace_devfreq::board::Board;
use jetpace_devfreq::nodes::Nodes;
use jetpace_devfreq::thermal;
use jetpace_tables::units::{Hertz, MilliCelsius};

/// What may spoil a measurement.
pub trait Surroundings {
    /// The memory's clock, where the machine tells it.
    fn emc(&mut self) -> Option<Hertz>;

    /// The CPU's clock, where the machine tells it.
    fn cpu(&mut self) -> Option<Hertz>;

    /// The GPU's temperature, where the machine tells it.
    fn temperature(&mut self) -> Option<MilliCelsius>;

    /// Whether the machine holds the GPU down because of heat.
    fn throttled(&mut self) -> bool;
}

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
}

impl<N: Nodes> Surroundings for BoardSurroundings<N> {
    fn emc(&mut self) -> Option<Hertz> {
        self.number(&self.board.emc.as_ref()?.rate).map(Hertz::new)
    }

    fn cpu(&mut self) -> Option<Hertz> {
        self.number(self.cpu.as_deref()?).map(Hertz::from_khz)
    }

    fn temperature(&mut self) -> Option<MilliCelsius> {
        let gpu = self.board.zones.iter().find(|zone| zone.name.to_ascii_lowercase().starts_with("gpu"))?;
        gpu.read(&self.nodes)
    }

    fn throttled(&mut self) -> bool {
        thermal::gpu_throttled(&self.nodes, &self.board.cooling)
    }
}
