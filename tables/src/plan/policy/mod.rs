//! A feedback policy: a partially observed average-cost problem, solved by relative value iteration (White, J. Math.
//! Anal. Appl. 6, 1963; Puterman, Markov Decision Processes, 1994, chapter 8), each iteration backward over the frame.
//!
//! The belief is not carried along: of what slows blocks, a governor knows the time elapsed, and what follows from that
//! is worked out once, forward over the frame under the plan.
//!
//! What varies is taken apart into bursts (hidden, in units of the blocks' standard deviations, see `rehearsal::bursts`)
//! and each block's own part. The state at a block's start is the clock in effect and the time elapsed; how likely each
//! burst is follows from the time elapsed. The policy minimises expected energy + price x P(miss). What a clock costs at
//! a block is summed over a change's settle time, so that a change is weighed with all that it takes.
//!
//! Each state's choices are cut to the form of an [`Entry`] (at most four clocks, falling with slack) while the
//! values are computed, so the values are those of the table that runs.

mod backup;
mod belief;
mod entry;
pub(super) mod feedback;
mod grid;
mod transition;

use std::vec;
use std::vec::Vec;

use crate::table::{Entry, Table};
use backup::{Choices, Program};

/// Frames looked back over, at most, and what they stand still by: a probability of a miss.
const FRAMES: usize = 8;
const STILL: f64 = 1e-3;
/// Part of what a start cost before that is kept from frame to frame.
const KEPT: f64 = 0.3;

/// What the policy of all size classes costs per frame in the long run, and its entries: backward over the frame again
/// and again until what a frame costs more for starting at another clock stands still (relative value iteration).
/// `starts` is that, from clock (row) to clock on its way; what it holds before, from another price, is a start.
///
/// Part of what was there is kept: frames that start well and badly by turns would never stand still.
fn run(programs: &[Program<'_>], table: &Table, choices: Choices, starts: &mut Vec<f64>) -> (f64, Vec<Entry>) {
    let clocks = table.clocks.len();
    let Some(program) = programs.last() else { return (0.0, Vec::new()) };
    starts.resize(clocks * clocks, 0.0);
    let mut last = (0.0, Vec::new());
    for _ in 0..FRAMES {
        let (mut found, mut entries) = (vec![0.0; starts.len()], Vec::new());
        for program in programs {
            let (of_class, more) = program.frame(table, choices, starts);
            entries.extend(more);
            found.iter_mut().zip(of_class).for_each(|(found, of_class)| *found += program.share * of_class);
        }
        last = (program.planned(table, &found), entries);
        let mut moved: f64 = 0.0;
        for (start, found) in starts.iter_mut().zip(&found) {
            let next = (1.0 - KEPT) * (found - last.0) + KEPT * *start;
            moved = moved.max((next - *start).abs());
            *start = next;
        }
        if moved <= STILL * choices.price {
            break;
        }
    }
    last
}
