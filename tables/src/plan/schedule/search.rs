//! The exact search. For an idle clock, pricing the deadline (and the period) gives the least energy of any plan. Idle
//! clocks are taken up in the order of what they promise and searched by labels, the more thoroughly the more often,
//! until none promises more than the best plan found.

use std::vec::Vec;

use super::dual::{Cut, DualBound, IdleFrame, Sums};
use super::graph::Graph;
use super::labels::{Cuts, Effort, Search};
use crate::plan::problem::Problem;
use crate::plan::writes::Schedule;

/// The search is exhaustive up to this many blocks; above, it stops within [`GAP`].
pub const EXHAUSTIVE_BLOCKS: usize = 12;
/// The gap allowed above [`EXHAUSTIVE_BLOCKS`], and the one aimed at until this many arcs have been looked at.
pub const GAP: f64 = 1e-3;
const FINE: f64 = 1e-4;
/// About how often a part looks at each arc.
const PASSES: usize = 8;
const FINE_ARCS: usize = 5_000_000;
/// Labels kept at a node, at first, and how many times as many from try to try.
const WIDTH: usize = 4;
const WIDER: usize = 8;
/// Above [`EXHAUSTIVE_BLOCKS`], what a search may come to in all.
const LABELS: usize = 4_000_000;

/// A part of the search: all plans with one idle clock.
#[derive(Clone, Copy)]
struct Part {
    idle: usize,
    cuts: Cuts,
    /// No plan of this part takes less.
    bound_j: f64,
    /// The multipliers are the best ones.
    priced: bool,
    width: usize,
}

/// The least-energy schedule among those below `known_j`, an energy that is known to be reachable, and an energy that
/// no schedule goes below.
pub(in crate::plan) fn least_energy(problem: &Problem, graph: &Graph, known_j: f64) -> (Option<Schedule>, f64) {
    let exhaustive = graph.blocks <= EXHAUSTIVE_BLOCKS;
    let frames: Vec<IdleFrame> = (0..graph.clocks).map(|idle| IdleFrame::new(problem, graph, idle)).collect();
    let mut parts = parts(problem, &frames);
    let mut best: Option<Schedule> = None;
    let (mut reachable_j, mut least_j, mut labels, mut arcs) = (known_j, f64::INFINITY, 0, 0);
    while let Some(next) = (0..parts.len()).min_by(|a, b| parts[*a].bound_j.total_cmp(&parts[*b].bound_j)) {
        let tolerance = match exhaustive {
            true => 0.0,
            false if arcs < FINE_ARCS => FINE,
            false => GAP,
        };
        let enough_j = reachable_j * (1.0 - 0.9 * tolerance);
        let mut part = parts.swap_remove(next);
        if part.bound_j >= enough_j || (!exhaustive && labels > LABELS) {
            least_j = least_j.min(part.bound_j);
            continue;
        }
        let frame = &frames[part.idle];
        arcs += PASSES * graph.arcs.len();
        if !part.priced {
            if part.price(frame, enough_j) {
                parts.push(part);
            }
            continue;
        }
        let effort = Effort { tolerance, width: part.width };
        let found = Search::new(frame, part.cuts, reachable_j, effort).run();
        labels += found.labels.max(1);
        if let Some((schedule, energy_j)) = found.schedule {
            reachable_j = energy_j;
            best = Some(schedule);
        }
        part.bound_j = part.bound_j.max(found.least_j);
        part.width *= WIDER;
        parts.push(part);
    }
    (best, least_j.min(reachable_j))
}

/// One for each idle clock: what a second costs between frames comes off its price within one, so that the first one's
/// price tells about what the others' are.
fn parts(problem: &Problem, frames: &[IdleFrame]) -> Vec<Part> {
    let (deadline, period) = (Cut::deadline(problem), Cut::period(problem));
    let sums = Sums::new(&frames[0], deadline);
    let multiplier = sums.price(DualBound::default(), f64::INFINITY).map_or(0.0, |priced| priced.multiplier);
    let part = |frame: &IdleFrame| {
        let guess = frame.alike(multiplier, &frames[0]);
        let cuts = Cuts { deadline, period, priced: [DualBound::guess(guess), DualBound::default()], by_period: false };
        Part { idle: frame.idle, cuts, bound_j: sums.with(frame).bound(guess).0, priced: false, width: WIDTH }
    };
    frames.iter().map(part).collect()
}

impl Part {
    /// Finds the best multipliers; false where no path keeps to the limits.
    fn price(&mut self, frame: &IdleFrame, enough_j: f64) -> bool {
        let cuts = &mut self.cuts;
        let Some(priced) = Sums::new(frame, cuts.deadline).price(cuts.priced[0], enough_j) else { return false };
        cuts.priced[0] = priced;
        self.bound_j = self.bound_j.max(priced.bound_j);
        if self.bound_j < enough_j && cuts.priced[0].outlasts(frame.problem.period_s) {
            let Some(priced) = Sums::new(frame, cuts.period).price(cuts.priced[1], enough_j) else { return false };
            cuts.priced[1] = priced;
            if priced.bound_j > self.bound_j {
                (cuts.by_period, self.bound_j) = (true, priced.bound_j);
            }
        }
        self.priced = true;
        true
    }
}
