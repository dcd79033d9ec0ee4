//! The exact search. For an idle clock and a range of the frame's independent variance, a cut lies below the bound of
//! the frame's time; pricing it gives the least energy of any such plan. Parts of the search are taken up in the order
//! of what they promise: split where the cut is loose, searched by labels where it is not, the more thoroughly the
//! more often, until none promises more than the best plan found.

use std::vec;
use std::vec::Vec;

use super::cut::{Cut, Range, Spread};
use super::dual::{DualBound, IdleFrame, Sums};
use super::graph::{Cost, Graph};
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
/// A cut that is off by more than this fraction of the deadline is split.
const LOOSE: f64 = 2e-3;
/// A cut that is off by less than this is not split: what it allows wrongly is told by exact labels.
const LEAST_LOOSE: f64 = 1e-5;
/// Labels kept at a node, at first, and how many times as many from try to try.
const WIDTH: usize = 4;
const WIDER: usize = 8;
/// Above [`EXHAUSTIVE_BLOCKS`], what a search may come to in all.
const LABELS: usize = 4_000_000;

/// A part of the search.
#[derive(Clone, Copy)]
struct Part {
    idle: usize,
    /// Of a plan's independent variance.
    range: Range,
    /// Only plans with no variance, at the low end of the range.
    alone: bool,
    /// The common part of the bound, about, which the cut is to be close at.
    common_s: f64,
    cuts: Cuts,
    /// No plan of this part takes less.
    bound_j: f64,
    /// The multipliers are the best ones.
    priced: bool,
    width: usize,
    /// How often it was split.
    depth: usize,
    /// Labels are told apart by all that the bound depends on, not by the cut.
    exact: bool,
}

/// The least-energy schedule among those below `known_j`, an energy that is known to be reachable, and an energy that
/// no schedule goes below.
pub(in crate::plan) fn least_energy(
    problem: &Problem,
    graph: &Graph,
    spread: Spread,
    known_j: f64,
) -> (Option<Schedule>, f64) {
    let exhaustive = graph.blocks <= EXHAUSTIVE_BLOCKS;
    let frames: Vec<IdleFrame> = (0..graph.clocks).map(|idle| IdleFrame::new(problem, graph, idle)).collect();
    let Some(root) = Part::root(problem, graph, spread, exhaustive) else { return (None, known_j) };
    let mut best: Option<Schedule> = None;
    let (mut reachable_j, mut least_j, mut labels, mut arcs) = (known_j, f64::INFINITY, 0, 0);
    // One idle clock first, until a plan is found; its ranges then serve the others.
    let first = promising(&frames, root);
    let mut parts = vec![Part { idle: first, ..root }];
    // Parts that are done with meanwhile: the best plan of another idle clock may lie in their ranges.
    let mut closed = Some(Vec::new());
    loop {
        if let Some(mut ranges) = closed.take_if(|_| labels > 0 || parts.is_empty()) {
            ranges.extend(parts.iter().copied());
            for part in &ranges {
                let sums = Sums::new(&frames[first], part.cuts.deadline);
                let others = frames.iter().filter(|frame| frame.idle != first);
                parts.extend(others.map(|frame| part.with_idle(&sums.with(frame), &frames[first], exhaustive)));
            }
        }
        let Some(next) = next(&parts, closed.is_some()) else { break };
        let tolerance = match exhaustive {
            true => 0.0,
            false if arcs < FINE_ARCS => FINE,
            false => GAP,
        };
        let enough_j = reachable_j * (1.0 - 0.9 * tolerance);
        let mut part = parts.swap_remove(next);
        if part.bound_j >= enough_j || (!exhaustive && labels > LABELS) {
            least_j = least_j.min(part.bound_j);
            closed.iter_mut().for_each(|closed| closed.push(part));
            continue;
        }
        let frame = &frames[part.idle];
        arcs += PASSES * graph.arcs.len();
        if !part.priced {
            if part.price(frame, spread, enough_j) {
                parts.push(part);
            } else {
                closed.iter_mut().for_each(|closed| closed.push(part));
            }
            continue;
        }
        if part.error_s(&spread) > LOOSE * problem.deadline_s {
            parts.extend(part.split(spread, frame));
            continue;
        }
        let effort = Effort { exact: part.exact, tolerance, width: part.width };
        let found = Search::new(frame, spread, part.cuts, reachable_j, effort).run();
        labels += found.labels.max(1);
        if let Some((schedule, energy_j)) = found.schedule {
            reachable_j = energy_j;
            best = Some(schedule);
        }
        part.bound_j = part.bound_j.max(found.least_j);
        match found.by_cut {
            None => part.width *= WIDER,
            Some(var_s2) if part.error_s(&spread) > LEAST_LOOSE * problem.deadline_s && part.range.holds(var_s2) => {
                parts.extend(part.split_at(var_s2, spread, frame));
                continue;
            }
            Some(_) => part.exact = true,
        }
        parts.push(part);
    }
    (best, least_j.min(reachable_j))
}

/// The part that promises most; among those that were split most often where a plan is to be found soon.
fn next(parts: &[Part], soon: bool) -> Option<usize> {
    let depth = |part: &Part| core::cmp::Reverse(if soon { part.depth } else { 0 });
    let order = |a: &Part, b: &Part| depth(a).cmp(&depth(b)).then(a.bound_j.total_cmp(&b.bound_j));
    (0..parts.len()).min_by(|a, b| order(&parts[*a], &parts[*b]))
}

/// The idle clock that promises most, by the price that is best for the first one.
fn promising(frames: &[IdleFrame], root: Part) -> usize {
    let cut = root.cuts.deadline;
    let sums = Sums::new(&frames[0], cut);
    let priced = sums.price(DualBound::default(), f64::INFINITY);
    let multiplier = priced.map_or(0.0, |priced| priced.multiplier);
    let bound_j = |frame: &IdleFrame| sums.with(frame).bound(frame.alike(multiplier, &frames[0])).0;
    let bounds = frames.iter().map(|frame| (bound_j(frame), frame.idle));
    bounds.min_by(|a, b| a.0.total_cmp(&b.0)).map_or(0, |best| best.1)
}

impl Part {
    /// All plans; `None` where no path is fast enough. The idle clock is yet to be set.
    fn root(problem: &Problem, graph: &Graph, spread: Spread, exact: bool) -> Option<Self> {
        let least = |of: &dyn Fn(&Cost) -> f64| graph.least(of);
        let (time_s, common_s) = (least(&|c| c.time_s), spread.common * least(&|c| c.sd_s));
        let spare_s = problem.deadline_s - time_s;
        if spare_s < 0.0 {
            return None;
        }
        let low = least(&|c| c.var_s2);
        // A^2 + k^2 v <= (D - t)^2.
        let high = (spare_s * spare_s - common_s * common_s) / (spread.independent * spread.independent);
        let range = Range { low, high: high.max(low) };
        let deadline = Cut::deadline(&spread, range, common_s, problem.deadline_s);
        let period = Cut::period(problem.period_s);
        Some(Self {
            idle: 0,
            cuts: Cuts { deadline, period, priced: [DualBound::default(); 2], by_period: false },
            range,
            alone: false,
            common_s,
            bound_j: f64::NEG_INFINITY,
            priced: false,
            width: WIDTH,
            depth: 0,
            exact,
        })
    }

    /// The same plans with another idle clock: what a second costs between frames comes off its price within one.
    fn with_idle(&self, sums: &Sums, from: &IdleFrame, exact: bool) -> Self {
        let (frame, mut cuts) = (sums.frame, self.cuts);
        cuts.priced = cuts.priced.map(|priced| priced.guess(frame.alike(priced.multiplier, from)));
        let bound_j = sums.bound(cuts.priced[0].multiplier).0;
        Self { idle: frame.idle, cuts, bound_j, priced: false, width: WIDTH, exact, ..*self }
    }

    /// By how much the cut's chord is off.
    fn error_s(&self, spread: &Spread) -> f64 {
        if self.alone { 0.0 } else { self.range.chord_error_s(spread) }
    }

    /// Finds the best multipliers; false where no path keeps to the limits.
    fn price(&mut self, frame: &IdleFrame, spread: Spread, enough_j: f64) -> bool {
        let cuts = &mut self.cuts;
        cuts.by_period = false;
        let Some(priced) = Sums::new(frame, cuts.deadline).price(cuts.priced[0], enough_j) else { return false };
        cuts.priced[0] = priced;
        self.bound_j = self.bound_j.max(priced.bound_j);
        // The cuts of its parts are to be closest where the plans are.
        self.common_s = spread.common * priced.fast.cost.sd_s;
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

    fn cut(&self, spread: &Spread, deadline_s: f64) -> Cut {
        if self.alone {
            Cut::alone(spread, self.range.high, deadline_s)
        } else {
            Cut::deadline(spread, self.range, self.common_s, deadline_s)
        }
    }

    /// Two parts that meet where the cut is furthest off, or at the variance that plans come to. Plans with no variance
    /// at all stand alone: any other has at least that of one arc.
    fn split(&self, spread: Spread, frame: &IdleFrame) -> Vec<Self> {
        let Range { low, high } = self.range;
        if low > 0.0 {
            let usual = 2.0 * self.cuts.priced[0].fast.cost.var_s2;
            let middle = self.range.middle();
            return self.split_at(if self.range.holds(usual) { usual.min(middle) } else { middle }, spread, frame);
        }
        let arcs = frame.graph.arcs.iter().chain(frame.graph.entries.iter().map(|entry| &entry.arc));
        let vars = arcs.map(|arc| arc.cost.var_s2).filter(|v| *v > 0.0);
        let least = vars.fold(f64::INFINITY, f64::min);
        let none = Self { alone: true, ..*self }.part(spread, frame, low, least.min(high));
        if least < high { vec![none, self.part(spread, frame, least, high)] } else { vec![none] }
    }

    fn split_at(&self, var_s2: f64, spread: Spread, frame: &IdleFrame) -> Vec<Self> {
        let Range { low, high } = self.range;
        vec![self.part(spread, frame, low, var_s2), self.part(spread, frame, var_s2, high)]
    }

    /// The plans whose variance lies in a range.
    fn part(&self, spread: Spread, frame: &IdleFrame, low: f64, high: f64) -> Self {
        let mut part = Self { range: Range { low, high }, priced: false, depth: self.depth + 1, ..*self };
        part.cuts.deadline = part.cut(&spread, frame.problem.deadline_s);
        part
    }
}
