//! A board's GPU taken for a table: on this machine, in a copied tree, or virtual.

use jetpace_devfreq::board::{Board, Digests};
use jetpace_devfreq::gpu::Way;
use jetpace_devfreq::guard::{Guard, Store};
use jetpace_devfreq::nodes::Nodes;
use jetpace_tables::hw::{GpuClock, Timer};

use super::tend::BoardClock;
use crate::failure::Failure;

/// Takes the GPU's clock: what a killed instance left is put back first, and on every way out so is what was found. The
/// GPU is left to the stock governor.
///
/// # Errors
/// Where there is no GPU, another instance holds it, or no way of fixing the clock works.
pub fn take<N: Nodes + Store + Clone, T: Timer>(
    nodes: N,
    timer: T,
    way: Option<Way>,
) -> Result<(BoardClock<N, T>, Digests), Failure> {
    let board = Board::discover(&nodes)?;
    let (guard, _) = Guard::take(nodes.clone())?;
    let mut clock = BoardClock::open(nodes, timer, &board, &guard, way)?;
    // Finding out which way works leaves the GPU at its lowest clock; until a frame starts it is the stock governor's.
    clock.release()?;
    let digests = clock.board();
    Ok((clock, digests))
}
