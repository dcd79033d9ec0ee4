//! A board's GPU as the control thread tends it: the clock, its cap, and which tables hold on it.

use std::time::Instant;

use jetpace_devfreq::board::{Board, Digests, EmcRange};
use jetpace_devfreq::error::Error;
use jetpace_devfreq::gpu::{GpuNode, Way};
use jetpace_devfreq::guard::{Guard, Store};
use jetpace_devfreq::nodes::Nodes;
use jetpace_tables::hw::{GpuClock, Timer};
use jetpace_tables::units::{Hertz, Nanos};
use jetpace_tables::work::ClockIndex;

use super::control::{Look, WatchedClock};

/// Looks between two discoveries of the board: at 50 ms a look, one in five seconds.
const LOOKS_PER_DISCOVERY: u32 = 100;

/// Writes that are timed to know what one costs.
const TIMED_WRITES: usize = 16;

/// The GPU of a board.
pub struct BoardClock<N: Nodes + Store + Clone, T> {
    node: GpuNode<N, T>,
    nodes: N,
    board: Board,
    /// The board's, kept: the control thread looks many times a second.
    digests: Digests,
    emc: EmcRange,
    looks: u32,
    /// Changes of nvpmodel's mode that were followed.
    modes: u32,
}

impl<N: Nodes + Store + Clone, T: Timer> BoardClock<N, T> {
    /// Takes the clock by the cheapest way that works here, or by the one that is named.
    ///
    /// # Errors
    /// Where no way works.
    pub fn open(nodes: N, timer: T, board: &Board, guard: &Guard<N>, way: Option<Way>) -> Result<Self, Error> {
        let node = GpuNode::open(nodes.clone(), timer, board, guard, way)?;
        let emc = board.emc.as_ref().map_or(EmcRange::Free, |emc| emc.range(&nodes));
        Ok(Self { node, nodes, board: board.clone(), digests: board.digests(), emc, looks: 0, modes: 0 })
    }

    /// What tables have to be made for, as last looked at.
    pub fn board(&self) -> Digests {
        self.digests
    }

    /// What one write costs here: the median over a few between the two lowest clocks. Hands the GPU back.
    ///
    /// # Errors
    /// Where a write is refused.
    pub fn write_cost(&mut self) -> Result<Nanos, Error> {
        let second = ClockIndex(u8::from(self.node.clocks().len() > 1));
        let mut times = [Nanos::ZERO; TIMED_WRITES];
        for (i, time) in times.iter_mut().enumerate() {
            let started = Instant::now();
            self.node.set(if i % 2 == 0 { second } else { ClockIndex(0) })?;
            *time = Nanos::new(started.elapsed().as_nanos() as u64);
        }
        self.node.release()?;
        times.sort_unstable();
        Ok(times[TIMED_WRITES / 2])
    }
}

impl<N: Nodes + Store + Clone, T: Timer> GpuClock for BoardClock<N, T> {
    type Error = Error;

    fn clocks(&self) -> &[Hertz] {
        self.node.clocks()
    }

    fn set(&mut self, clock: ClockIndex) -> Result<(), Error> {
        self.node.set(clock)
    }

    fn pin(&mut self, clock: ClockIndex) -> Result<Hertz, Error> {
        self.node.pin(clock)
    }

    fn current(&mut self) -> Result<Hertz, Error> {
        self.node.current()
    }

    fn release(&mut self) -> Result<(), Error> {
        self.node.release()
    }
}

impl<N: Nodes + Store + Clone, T: Timer> WatchedClock for BoardClock<N, T> {
    fn held_down(&self) -> Option<&str> {
        self.node.heat().map(|heat| heat.by.as_str())
    }

    fn look(&mut self, whole: bool) -> Result<Look, Error> {
        self.node.watch()?;
        self.looks = self.looks.wrapping_add(1);
        // nvpmodel has acted: the board is another for tables, too.
        let acted = self.modes != self.node.mode_changes();
        self.modes = self.node.mode_changes();
        if whole || acted || self.looks.is_multiple_of(LOOKS_PER_DISCOVERY) {
            self.board = self.board.look_again(&self.nodes)?;
            self.digests = self.board.digests();
            self.emc = self.board.emc.as_ref().map_or(EmcRange::Free, |emc| emc.range(&self.nodes));
        }
        Ok(Look { cap: self.node.cap(), board: self.board(), emc: self.emc })
    }
}
