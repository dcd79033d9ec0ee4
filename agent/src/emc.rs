//! Whether the memory's (EMC) clock is the one that a table holds for.

use jetpace_devfreq::board::Board;
use jetpace_devfreq::nodes::Nodes;
use jetpace_tables::table::Table;

use crate::failure::{Failure, Reason};

/// Whether the memory still can run at the clock that a table was planned for, and does not run above it.
///
/// # Errors
/// Exit code 4, naming both clocks, where the table does not hold.
pub fn check<N: Nodes>(nodes: &N, board: &Board, table: &Table) -> Result<(), Failure> {
    let (Some(planned), Some(emc)) = (table.emc(), &board.emc) else { return Ok(()) };
    match emc.other_than(nodes, planned) {
        None => Ok(()),
        Some(now) => Err(Failure::new(
            Reason::Calibration,
            format_args!(
                "the table holds for an EMC clock of {planned}, and it is {now} now: lock it at {planned}, or plan for \
                 {now} (`jetpace plan --emc`)"
            ),
        )),
    }
}
