//! A change of nvpmodel's mode while the clock was held. nvpmodel writes its cap into the same `max_freq`; a hot write
//! may have gone over it before anyone looked, and the cap of the mode before must not come back.

use std::path::Path;

use crate::board::nvpmodel::{self, STATUS};
use crate::board::{Bound, highest_below};
use crate::guard::put_back::{Report, put_back};
use crate::guard::state::{Entry, Kind, State};
use crate::nodes::Nodes;
use crate::text;

/// Puts entries back, in view of nvpmodel's mode. Looked at again afterwards: nvpmodel may act in the middle.
pub(super) fn put_back_in_mode<N: Nodes>(nodes: &N, state: &State, entries: &[Entry]) -> Report {
    let first = as_of_now(nodes, state, entries.to_vec());
    let report = put_back(nodes, &first);
    let mut again = as_of_now(nodes, state, entries.to_vec());
    if again == first {
        return report;
    }
    for (entry, before) in again.iter_mut().zip(first) {
        entry.ours.push(before.original);
    }
    put_back(nodes, &again)
}

/// The entries with the new mode's cap in the place of the old one's, where the mode has changed since.
fn as_of_now<N: Nodes>(nodes: &N, state: &State, mut entries: Vec<Entry>) -> Vec<Entry> {
    let status = nodes.read(Path::new(STATUS));
    if status.is_ok_and(|now| now == state.power_mode) {
        return entries;
    }
    // Where the file cannot be read or the mode is not in nvpmodel's configuration, what was found at start stands.
    let mode = nvpmodel::mode(nodes, &mut Vec::new());
    let Some(mode) = mode.filter(|mode| mode.applied && mode.gpu_max != Bound::Unknown) else {
        return entries;
    };
    for entry in entries.iter_mut().filter(|entry| entry.kind == Kind::Max) {
        let clocks = entry.path.with_file_name("available_frequencies");
        // The EMC's bound is another cap of nvpmodel's; only the GPU lists clocks beside its bound.
        if let Ok((clocks, _)) = text::clock_list(nodes, &clocks) {
            entry.original = highest_below(&clocks, mode.gpu_max.at()).get().to_string();
        }
    }
    entries
}
