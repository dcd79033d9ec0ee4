//! The memory's (EMC) clock at run time: whether it is the one that a table holds for.

use std::path::Path;

use jetpace_devfreq::board::{Board, Emc, EmcLock};
use jetpace_devfreq::nodes::Nodes;
use jetpace_tables::table::Table;
use jetpace_tables::units::Hertz;

use crate::failure::{Failure, Reason};

/// The clock that the memory is held at: locked above the cap it runs at the cap. `None` where it follows the load, or
/// where nobody may look.
pub fn held<N: Nodes>(nodes: &N, emc: &Emc) -> Option<Hertz> {
    held_below(nodes, emc, Emc::cap_now(nodes).or(emc.cap))
}

fn held_below<N: Nodes>(nodes: &N, emc: &Emc, cap: Option<Hertz>) -> Option<Hertz> {
    locked(nodes, emc).map(|locked| cap.map_or(locked, |cap| cap.min(locked)))
}

/// The clock that the memory is locked at.
pub fn locked<N: Nodes>(nodes: &N, emc: &Emc) -> Option<Hertz> {
    let number = |name: &str| number(nodes, &emc.dir.join(name));
    match emc.lock.as_ref()? {
        EmcLock::Devfreq => number("min_freq").filter(|floor| number("max_freq") == Some(*floor)).map(Hertz::new),
        EmcLock::Bpmp if number("mrq_rate_locked")? == 1 && number("state")? == 1 => number("rate").map(Hertz::new),
        EmcLock::Override if number("clk_state")? == 1 => number("clk_update_rate").map(Hertz::new),
        EmcLock::Bpmp | EmcLock::Override => None,
    }
}

fn number<N: Nodes>(nodes: &N, path: &Path) -> Option<u64> {
    nodes.read(path).ok()?.trim().parse().ok()
}

/// Whether the memory still can run at the clock that a table was planned for, and does not run above it. Below it an
/// unlocked clock may be at any time: then nothing asks for more.
///
/// # Errors
/// Exit code 4, naming both clocks, where the table does not hold.
pub fn check<N: Nodes>(nodes: &N, board: &Board, table: &Table) -> Result<(), Failure> {
    let (Some(planned), Some(emc)) = (table.emc(), &board.emc) else { return Ok(()) };
    let cap = Emc::cap_now(nodes).or(emc.cap);
    let now = match held_below(nodes, emc, cap) {
        Some(held) => Some(held).filter(|now| *now != planned),
        None => cap
            .filter(|cap| *cap < planned)
            .or_else(|| number(nodes, &emc.rate).map(Hertz::new).filter(|rate| *rate > planned)),
    };
    match now {
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
