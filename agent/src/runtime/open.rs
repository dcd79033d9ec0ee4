//! A board's GPU taken for a table: on this machine, in a copied tree, or virtual.

use jetpace_devfreq::board::Board;
use jetpace_devfreq::gpu::Way;
use jetpace_devfreq::guard::{self, Guard, Leftover, Store};
use jetpace_devfreq::nodes::Nodes;
use jetpace_tables::hw::Timer;
use jetpace_tables::table::{Digest, Table};

use super::tend::BoardClock;
use crate::failure::{Failure, Reason};

/// Takes the GPU's clock: what a killed instance left is put back first, and on every way out so is what was found.
///
/// # Errors
/// Where there is no GPU, another instance holds it, or no way of fixing the clock works.
pub fn take<N: Nodes + Store + Clone, T: Timer>(
    nodes: N,
    timer: T,
    way: Option<Way>,
) -> Result<(BoardClock<N, T>, Digest), Failure> {
    let board = Board::discover(&nodes)?;
    let (guard, leftover) = Guard::take(nodes.clone())?;
    if let Leftover::Restored(report) = leftover {
        log::warn!("a killed instance left clocks changed; they were put back first");
        guard::log_foreign(&report);
    }
    let digest = digest(&board.digest())?;
    Ok((BoardClock::open(nodes, timer, &board, &guard, way)?, digest))
}

/// Refuses a table that was made for another board.
///
/// # Errors
/// Exit code 4, where the digests differ.
pub fn check(table: &Table, board: &Digest) -> Result<(), Failure> {
    if table.board() == board {
        return Ok(());
    }
    let why = "the table is for another board, power mode, EMC clock or release: calibrate and plan again";
    Err(Failure::new(Reason::Calibration, why))
}

/// A digest from its 64 hex digits.
fn digest(hex: &str) -> Result<Digest, Failure> {
    let mut digest = [0; 32];
    for (i, byte) in digest.iter_mut().enumerate() {
        *byte = hex
            .get(2 * i..2 * i + 2)
            .and_then(|pair| u8::from_str_radix(pair, 16).ok())
            .ok_or_else(|| Failure::failed(format_args!("{hex} is no digest")))?;
    }
    Ok(digest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_are_64_hex_digits() {
        assert_eq!(digest(&"0f".repeat(32)).unwrap(), [15; 32]);
        assert!(digest("0f").is_err());
        assert!(digest(&"0é".repeat(32)).is_err());
    }
}
