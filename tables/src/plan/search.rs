//! The exact search, one idle clock at a time: a Lagrangian dual gives a lower bound of the energy from every node
//! to the end, and labels (energy, time, spread) that cannot beat the best plan known are dropped.
//!
//! With the idle clock fixed, a frame's energy is a sum over its arcs, so that idle power enters as -P_idle per second
//! of busy time. The frame's bound in time is at least r = mean + k sqrt(rho) sum sd (or the sum of late blocks), which is a sum too:
//! min E + lambda (r - D) over all paths is a lower bound for every lambda >= 0. Labels are kept while they are not
//! dominated in every part of the true bound.

use std::vec;
use std::vec::Vec;

use super::graph::{Arc, Cost, Graph, Tail};
use super::{Noise, Problem, Schedule, Write};

/// The search is exhaustive up to this many blocks; above, it stops within [`GAP`].
pub const EXHAUSTIVE_BLOCKS: usize = 12;
/// The gap allowed above [`EXHAUSTIVE_BLOCKS`].
pub const GAP: f64 = 1e-3;
/// Labels kept at a node, pass by pass: a narrow one finds a good plan, which lets the wide ones drop more.
const WIDTHS: [usize; 4] = [4, 32, 256, 1024];
/// How far below the bound in time a chord may lie, as a fraction of the deadline, and how many there are at most.
const CHORD: f64 = 2e-4;
const MOST_PIECES: f64 = 8.0;
/// Above [`EXHAUSTIVE_BLOCKS`] no new pass begins once this many labels were followed: what is left shows as the gap.
const LABELS: usize = 200_000;

/// How the spread of a frame's time enters its bound.
#[derive(Clone, Copy, Debug)]
pub(super) struct Margin {
    /// Factor of sum sd.
    common: f64,
    /// Factor of the root of the independent variance.
    independent: f64,
    /// The share of the blocks' variance that is independent.
    pub block_share: f64,
    /// A chord below the curve by which independent variance adds to the bound, see [`Margin::pieces`].
    per_var: f64,
    chord_s: f64,
    /// The largest common part of a path that meets the deadline.
    most_s: f64,
    /// The variance at which the chord ends.
    most_var_s2: f64,
}

impl Margin {
    pub fn new(problem: &Problem) -> Self {
        let flat = Self {
            common: 0.0,
            independent: 1.0,
            block_share: 0.0,
            per_var: 0.0,
            chord_s: 0.0,
            most_s: 0.0,
            most_var_s2: f64::INFINITY,
        };
        let k = problem.cantelli();
        let moments = |rho: f64| Self { common: k * rho.sqrt(), independent: k, block_share: 1.0 - rho, ..flat };
        match &problem.noise {
            Noise::Frames { .. } => Self { common: 1.0, ..flat },
            Noise::Moments { correlation } => moments(*correlation),
        }
    }

    fn bound(&self, cost: &Cost) -> f64 {
        let common = self.common * cost.sd_s;
        cost.time_s + (common * common + self.independent * self.independent * cost.var_s2).sqrt()
    }

    /// At most the bound of any path that meets the deadline, and a sum over its arcs.
    fn linear(&self, cost: &Cost) -> f64 {
        cost.time_s + self.common * cost.sd_s + self.per_var * cost.var_s2
    }

    /// The largest common part A of a path that meets the deadline: A <= D - t, and A <= a t where that is so
    /// of every arc, so that (1 + 1/a) A <= A + t <= D.
    fn most_s(&self, problem: &Problem, graph: &Graph) -> f64 {
        let part = |c: &Cost| self.common * c.sd_s / c.time_s;
        let arcs = graph.arcs.iter().chain(graph.entries.iter().map(|entry| &entry.arc));
        let a = arcs.filter(|arc| arc.cost.time_s > 0.0).map(|arc| part(&arc.cost)).fold(0.0, f64::max);
        (problem.deadline_s - least(graph, |c| c.time_s)).clamp(0.0, problem.deadline_s * a / (1.0 + a))
    }

    /// The bound is t + A + (sqrt(A^2 + k^2 v) - A) with A the common part. The last term is least at the
    /// largest A that meets the deadline and concave in v, so it lies above its chord between two variances. Paths are
    /// told apart by their variance, from the least of any path to the largest that the deadline leaves room for, so
    /// that no chord is far below the curve.
    fn pieces(mut self, problem: &Problem, graph: &Graph) -> Vec<Self> {
        let (linear, var) = (least(graph, |c| self.linear(c)), least(graph, |c| c.var_s2));
        self.most_s = self.most_s(problem, graph);
        let (room, k) = (problem.deadline_s - linear, self.independent);
        // extra(v) = room at v = (room^2 + 2 room most) / k^2.
        let largest = (room * room + 2.0 * room * self.most_s) / (k * k);
        if room <= 0.0 || largest <= var * (1.0 + 1e-9) + 1e-18 {
            return vec![self];
        }
        let (low, high) = (self.extra(var), self.extra(largest));
        // A chord over a part d of the root u is below it by d^2 / 8u at most.
        let part_s = (8.0 * (self.most_s + 0.5 * (low + high)) * CHORD * problem.deadline_s).sqrt();
        let count = ((high - low) / part_s).ceil().clamp(1.0, MOST_PIECES);
        let var_at = |i: f64| {
            let extra = low + (high - low) * i / count;
            (extra * extra + 2.0 * extra * self.most_s) / (k * k)
        };
        let piece = |i: usize| {
            let (from, to) = (var_at(i as f64), var_at(i as f64 + 1.0));
            let per_var = (self.extra(to) - self.extra(from)) / (to - from);
            Self { per_var, chord_s: self.extra(from) - per_var * from, most_var_s2: to, ..self }
        };
        (0..count as usize).map(piece).collect()
    }

    /// What independent variance adds to the bound, at least.
    fn extra(&self, var_s2: f64) -> f64 {
        (self.most_s * self.most_s + self.independent * self.independent * var_s2).sqrt() - self.most_s
    }

    /// At most the bound of any path that begins with this cost, the rest of it left out.
    fn spent(&self, cost: &Cost) -> f64 {
        cost.time_s + self.common * cost.sd_s + self.extra(cost.var_s2)
    }
}

/// The least sum over any path.
fn least(graph: &Graph, of: impl Fn(&Cost) -> f64) -> f64 {
    let mut to_go = vec![0.0; graph.tails_from() + graph.tails.len()];
    backward(graph, &mut to_go, |arc| of(&graph.arcs[arc].cost), |_, _| {});
    let at_start = (0..graph.clocks).map(|start| to_go[graph.slots_of(start).start]);
    let on_the_way = graph.entries.iter().map(|entry| of(&entry.arc.cost) + to_go[entry.arc.to as usize]);
    at_start.chain(on_the_way).fold(f64::INFINITY, f64::min)
}

/// The least sum from every slot to the end, given those of the tails and, for the nodes behind the last block, those
/// of the first slot; `chosen` is told each slot's best arc. Behind the last block it is told nothing where none of the
/// leads is better.
fn backward(graph: &Graph, value: &mut [f64], cost: impl Fn(usize) -> f64, mut chosen: impl FnMut(usize, usize)) {
    for node in (0..graph.nodes()).rev() {
        let (own, leads) = graph.arcs_of(node);
        let slots = graph.slots_of(node);
        let (mut least, mut at) = (f64::INFINITY, None);
        if node >= graph.inner() {
            least = value[slots.start];
        }
        let mut better = |arc: usize, value: &[f64]| {
            let through = cost(arc) + value[graph.arcs[arc].to as usize];
            if through < least {
                (least, at) = (through, Some(arc));
            }
            (least, at)
        };
        let mut found = (f64::INFINITY, None);
        for arc in own {
            found = better(arc, value);
        }
        let mut keep = |slot: usize, (least, at): (f64, Option<usize>), value: &mut [f64]| {
            value[slot] = least;
            if let Some(arc) = at {
                chosen(slot, arc);
            }
        };
        if node < graph.inner() {
            keep(slots.start, found, value);
        }
        for (slot, arc) in (slots.start + 1..slots.end).zip(leads) {
            let found = better(arc, value);
            keep(slot, found, value);
        }
    }
}

/// A path so far. Dominance compares every field that the bound, the period or what may follow depends on.
#[derive(Clone, Copy)]
struct Label {
    cost: Cost,
    /// Energy less the idle power of the time spent.
    net_j: f64,
    /// The lead of the next frame's first clock.
    lead_s: f64,
    /// How much better a label was that this one stands for.
    slack_j: f64,
    /// Of the pool; [`ROOT`] for a frame's start.
    parent: u32,
    /// Of the graph, or of the starts.
    arc: u32,
    slot: u32,
}

const ROOT: u32 = u32::MAX;

/// How a frame may start.
#[derive(Clone, Copy)]
struct Start {
    /// In effect.
    clock: usize,
    /// Written before it: clock and lead.
    wake: Option<(usize, f64)>,
    /// Up to the first node.
    arc: Arc,
    /// What the wake adds to the gap.
    gap_j: f64,
}

/// Least (net energy + lambda r) from every slot to the end.
struct ToGo {
    lambda: f64,
    value: Vec<f64>,
    /// The best arc of each slot; `u32::MAX` for none.
    chosen: Vec<u32>,
}

/// What an idle clock allows.
struct Idle {
    clock: usize,
    power_w: f64,
    starts: Vec<Start>,
    /// The least time, with the common part, from every slot to the end.
    fastest: Vec<f64>,
    /// The least time from every slot until the idle clock is in effect.
    ends: Vec<f64>,
}

/// What the dual found: no plan with this idle clock and a variance on this chord takes less than `bound`.
struct Dual<'a> {
    bound: f64,
    lambda: f64,
    margin: Margin,
    idle: &'a Idle,
    /// Least (net energy + lambda r) from every slot to the end.
    value: Vec<f64>,
    /// The same over each arc.
    through: Vec<f64>,
}

/// How thorough a pass is.
#[derive(Clone, Copy)]
struct Effort {
    /// Plans that are better by less than this fraction are let go.
    tolerance: f64,
    /// Labels kept at a node.
    width: usize,
}

struct Search<'a> {
    problem: &'a Problem,
    graph: &'a Graph,
    margin: Margin,
    idle: &'a Idle,
    /// The least energy known to be reachable.
    best: f64,
    /// No plan with this idle clock takes less.
    proven: f64,
    /// The best frame found, and its energy.
    schedule: Option<(Schedule, f64)>,
    /// Labels followed.
    followed: usize,
}

/// What is known over all idle clocks.
struct Known {
    reachable: f64,
    best: Option<Schedule>,
    /// Labels followed.
    followed: usize,
}

/// The least-energy schedule among those below `known_j`, an energy that is known to be reachable, and an energy that
/// no schedule goes below.
pub(super) fn least_energy(problem: &Problem, graph: &Graph, margin: Margin, known_j: f64) -> (Option<Schedule>, f64) {
    let pieces = margin.pieces(problem, graph);
    let exhaustive = graph.blocks <= EXHAUSTIVE_BLOCKS;
    let tolerance = if exhaustive { 0.0 } else { GAP };
    let enough = |reachable: f64| reachable * (1.0 - 0.9 * tolerance);
    let mut known = Known { reachable: known_j, best: None, followed: 0 };
    // The most frugal idle clock first: what it reaches spares the others most of their work.
    let mut idles: Vec<Idle> = (0..graph.clocks).map(|clock| Idle::new(problem, graph, margin, clock)).collect();
    idles.sort_by(|a, b| a.power_w.total_cmp(&b.power_w));
    let mut proven = f64::INFINITY;
    let mut duals: Vec<Dual<'_>> = Vec::new();
    let mut lambda = 0.0;
    for idle in &idles {
        for piece in &pieces {
            let search = Search::new(problem, graph, *piece, idle, known.reachable);
            let Some(dual) = search.dual(lambda, enough(known.reachable)) else { continue };
            lambda = dual.lambda;
            if dual.bound >= enough(known.reachable) {
                proven = proven.min(dual.bound);
                continue;
            }
            if duals.iter().all(|other| dual.bound < other.bound) {
                improve(problem, graph, &dual, Effort { tolerance, width: WIDTHS[0] }, &mut known);
            }
            duals.push(dual);
        }
    }
    duals.sort_by(|a, b| a.bound.total_cmp(&b.bound));
    for width in WIDTHS {
        for dual in &mut duals {
            if dual.bound >= enough(known.reachable) || (!exhaustive && known.followed > LABELS) {
                continue;
            }
            let found = improve(problem, graph, dual, Effort { tolerance, width }, &mut known);
            dual.bound = dual.bound.max(found);
        }
    }
    let proven = duals.iter().map(|dual| dual.bound).fold(proven, f64::min);
    (known.best, proven.min(known.reachable))
}

/// One pass of labels; returns an energy that no schedule with this idle clock and variance goes below.
fn improve(problem: &Problem, graph: &Graph, dual: &Dual<'_>, effort: Effort, known: &mut Known) -> f64 {
    let mut search = Search::new(problem, graph, dual.margin, dual.idle, known.reachable);
    search.labels(dual, effort);
    if let Some((schedule, energy_j)) = search.schedule
        && energy_j < known.reachable
    {
        known.reachable = energy_j;
        known.best = Some(schedule);
    }
    known.followed += search.followed;
    search.proven
}

impl Idle {
    fn new(problem: &Problem, graph: &Graph, margin: Margin, clock: usize) -> Self {
        let tail_s = |tail: &Tail| (tail.idle == clock).then_some(tail.settle_s + tail.stall_s);
        let ends = to_end(graph, |cost| cost.time_s, tail_s, |_, _| {});
        let r = |cost: &Cost| cost.time_s + margin.common * cost.sd_s;
        let fastest = to_end(graph, r, |tail| (tail.idle == clock).then_some(0.0), |_, _| {});
        let late = |time: f64, limit: f64| time > limit * (1.0 + 1e-12);
        let mut starts = starts(problem, graph, clock);
        // A start that leaves no time for its wake, or is too slow, is none.
        starts.retain(|start| {
            let (slot, cost) = (start.arc.to as usize, &start.arc.cost);
            let lead_s = start.wake.map_or(0.0, |(_, lead_s)| lead_s);
            !late(cost.time_s + ends[slot] + lead_s, problem.period_s)
                && !late(r(cost) + fastest[slot], problem.deadline_s)
        });
        Self { clock, power_w: problem.idle_w[clock], starts, fastest, ends }
    }
}

/// The least sum from every slot and tail to the end, where tails begin with `tail`; `chosen` is told the arcs taken.
fn to_end(
    graph: &Graph,
    of: impl Fn(&Cost) -> f64,
    tail: impl Fn(&Tail) -> Option<f64>,
    chosen: impl FnMut(usize, usize),
) -> Vec<f64> {
    let from = graph.tails_from();
    let mut value = vec![f64::INFINITY; from];
    value.extend(graph.tails.iter().map(|t| tail(t).unwrap_or(f64::INFINITY)));
    for clock in 0..graph.clocks {
        let slot = graph.slots_of(graph.inner() + clock).start;
        value[slot] = graph.ends(clock).map(|(i, _)| value[from + i]).fold(f64::INFINITY, f64::min);
    }
    backward(graph, &mut value, |arc| of(&graph.arcs[arc].cost), chosen);
    value
}

impl<'a> Search<'a> {
    fn new(problem: &'a Problem, graph: &'a Graph, margin: Margin, idle: &'a Idle, best: f64) -> Self {
        Self { problem, graph, margin, idle, best, proven: f64::INFINITY, schedule: None, followed: 0 }
    }

    /// Energy of a whole period in which nothing runs.
    fn base(&self) -> f64 {
        self.idle.power_w * self.problem.period_s
    }

    /// What the linear part of the bound may come to.
    fn limit(&self) -> f64 {
        self.problem.deadline_s - self.margin.chord_s
    }

    /// What the change to the idle clock adds behind the frame's end.
    fn tail(&self, tail: &Tail) -> Option<f64> {
        (tail.idle == self.idle.clock).then(|| (self.problem.idle_w[tail.from] - self.idle.power_w) * tail.settle_s)
    }

    /// Backward over the graph.
    fn to_go(&self, lambda: f64) -> ToGo {
        let mut chosen = vec![u32::MAX; self.graph.tails_from()];
        let value =
            to_end(self.graph, self.weighted(lambda), |tail| self.tail(tail), |slot, arc| chosen[slot] = arc as u32);
        ToGo { lambda, value, chosen }
    }

    /// Net energy + lambda r of a cost.
    fn weighted(&self, lambda: f64) -> impl Fn(&Cost) -> f64 + use<> {
        let per_second = lambda - self.idle.power_w;
        let (per_sd, per_var) = (lambda * self.margin.common, lambda * self.margin.per_var);
        move |cost| cost.energy_j + per_second * cost.time_s + per_sd * cost.sd_s + per_var * cost.var_s2
    }

    /// The least value over all starts, with the energy and r of the path that has it.
    fn value(&self, to_go: &ToGo) -> (f64, f64, f64) {
        let weighted = self.weighted(to_go.lambda);
        let of = |s: &Start| s.gap_j + weighted(&s.arc.cost) + to_go.value[s.arc.to as usize];
        let Some(start) = self.idle.starts.iter().min_by(|a, b| of(a).total_cmp(&of(b))) else {
            return (f64::INFINITY, f64::INFINITY, f64::INFINITY);
        };
        let value = of(start);
        let (mut r, mut slot) = (self.margin.linear(&start.arc.cost), start.arc.to as usize);
        while let Some(arc) = to_go.chosen.get(slot).and_then(|arc| self.graph.arcs.get(*arc as usize)) {
            r += self.margin.linear(&arc.cost);
            slot = arc.to as usize;
        }
        (value, value - to_go.lambda * r, r)
    }

    /// The best lower bound of the energy and the multipliers that give it, from a first guess of lambda; `None` where
    /// no path is fast enough. Stops early at a bound that is `enough`.
    fn dual(&self, guess: f64, enough: f64) -> Option<Dual<'a>> {
        if self.idle.starts.is_empty() {
            return None;
        }
        let deadline = self.limit();
        let (mut slow, mut fast) = (None, None);
        let mut best: Option<(f64, ToGo)> = None;
        let mut lambda = guess;
        for _ in 0..60 {
            let to_go = self.to_go(lambda);
            let (value, energy, r) = self.value(&to_go);
            let bound = value - lambda * deadline;
            // Both lines through the optimum meet at the last bound: nothing is left to gain.
            let done = best.as_ref().is_some_and(|(least, _)| {
                slow.is_some() && fast.is_some() && bound <= least + 1e-9 * (least + self.base()).abs()
            });
            if best.as_ref().is_none_or(|(least, _)| bound > *least) {
                best = Some((bound, to_go));
            }
            if done || bound + self.base() >= enough || (lambda == 0.0 && r <= deadline) {
                break;
            }
            if r > deadline {
                slow = Some((energy, r));
            } else {
                fast = Some((energy, r));
            }
            lambda = match (slow, fast) {
                (Some((slow_j, slow_r)), None) if lambda == 0.0 => slow_j.abs().max(1e-9) / slow_r,
                (Some(_), None) => lambda * 4.0,
                (None, _) => 0.0,
                (Some((slow_j, slow_r)), Some((fast_j, fast_r))) if slow_r - fast_r > 1e-15 => {
                    ((fast_j - slow_j) / (slow_r - fast_r)).max(0.0)
                }
                _ => break,
            };
        }
        let (bound, ToGo { lambda, value, .. }) = best?;
        let weighted = self.weighted(lambda);
        let through = self.graph.arcs.iter().map(|arc| weighted(&arc.cost) + value[arc.to as usize]).collect();
        Some(Dual { bound: bound + self.base(), lambda, margin: self.margin, idle: self.idle, value, through })
    }

    /// Labels from every start to the end: leaves the best schedule found, and what no schedule goes below.
    fn labels(&mut self, dual: &Dual<'_>, effort: Effort) {
        let graph = self.graph;
        let mut pool: Vec<Label> = Vec::new();
        let mut waiting: Vec<Vec<Label>> = vec![Vec::new(); graph.nodes()];
        for (i, start) in self.idle.starts.iter().enumerate() {
            let cost = start.arc.cost;
            waiting[start.arc.node as usize].push(Label {
                cost,
                net_j: start.gap_j + cost.energy_j - self.idle.power_w * cost.time_s,
                lead_s: start.wake.map_or(0.0, |(_, lead_s)| lead_s),
                slack_j: 0.0,
                parent: ROOT,
                arc: i as u32,
                slot: start.arc.to,
            });
        }
        for node in 0..graph.nodes() {
            let progress = (node / graph.clocks) as f64 / graph.blocks as f64;
            let spare = if self.best.is_finite() { 0.5 * effort.tolerance * self.best * progress } else { 0.0 };
            let mut labels = thin(core::mem::take(&mut waiting[node]), spare, self.margin.common);
            self.narrow(&mut labels, dual, effort.width);
            let (own, leads) = graph.arcs_of(node);
            for label in labels {
                let id = pool.len() as u32;
                pool.push(label);
                if node >= graph.inner() {
                    for (i, tail) in graph.ends(node - graph.inner()) {
                        self.finish(&label, &pool, (node, None), (i, tail));
                    }
                }
                self.followed += 1;
                let over = self.margin.linear(&label.cost) - self.limit();
                let so_far = label.net_j + dual.lambda * over + self.base();
                let level = label.slot as usize - graph.slots_of(node).start;
                for arc_id in own.start..leads.start + level {
                    // Most arcs end here.
                    let least = so_far + dual.through[arc_id];
                    if least > self.worth(effort.tolerance) {
                        self.proven = self.proven.min(least - label.slack_j);
                        continue;
                    }
                    let arc = &graph.arcs[arc_id];
                    let mut cost = label.cost;
                    cost.add(&arc.cost);
                    let net_j = label.net_j + arc.cost.energy_j - self.idle.power_w * arc.cost.time_s;
                    let next = Label { cost, net_j, parent: id, arc: arc_id as u32, slot: arc.to, ..label };
                    let to = arc.to as usize;
                    if let Some(tail) = to.checked_sub(graph.tails_from()) {
                        self.finish(&next, &pool, (node, Some(arc_id)), (tail, &graph.tails[tail]));
                    } else if self.hopeful(&next, dual, effort.tolerance) {
                        waiting[arc.node as usize].push(next);
                    }
                }
            }
        }
    }

    /// No plan through this label takes less.
    fn bound(&self, label: &Label, dual: &Dual) -> f64 {
        let over = self.margin.linear(&label.cost) - self.limit();
        label.net_j + dual.value[label.slot as usize] + dual.lambda * over + self.base()
    }

    /// What a plan may take at most to be worth finding.
    fn worth(&self, tolerance: f64) -> f64 {
        self.best * (1.0 - 0.5 * tolerance) * (1.0 + 1e-12)
    }

    /// Whether a label may still become the best plan.
    fn hopeful(&mut self, label: &Label, dual: &Dual<'_>, tolerance: f64) -> bool {
        let least = self.margin.spent(&label.cost) + self.idle.fastest[label.slot as usize];
        let end = label.cost.time_s + self.idle.ends[label.slot as usize] + label.lead_s;
        let late = |time: f64, limit: f64| time > limit * (1.0 + 1e-12);
        // One of more variance belongs to another piece.
        let varies = label.cost.var_s2 > self.margin.most_var_s2 * (1.0 + 1e-9);
        if varies || late(least, self.problem.deadline_s) || late(end, self.problem.period_s) {
            return false;
        }
        let bound = self.bound(label, dual);
        if bound <= self.worth(tolerance) {
            return true;
        }
        self.proven = self.proven.min(bound - label.slack_j);
        false
    }

    /// Keeps the most promising labels.
    fn narrow(&mut self, labels: &mut Vec<Label>, dual: &Dual<'_>, width: usize) {
        if labels.len() <= width {
            return;
        }
        labels.sort_by(|a, b| self.bound(a, dual).total_cmp(&self.bound(b, dual)));
        for label in labels.drain(width..) {
            let bound = self.bound(&label, dual) - label.slack_j;
            self.proven = self.proven.min(bound);
        }
    }

    /// A whole frame: kept if it meets the deadline and leaves time for the changes between frames.
    fn finish(&mut self, label: &Label, pool: &[Label], last: (usize, Option<usize>), (index, tail): (usize, &Tail)) {
        let Some(tail_j) = self.tail(tail) else { return };
        let end = label.cost.time_s + tail.settle_s + tail.stall_s;
        let late = |time: f64, limit: f64| time > limit * (1.0 + 1e-12);
        if late(self.margin.bound(&label.cost), self.problem.deadline_s)
            || late(end + label.lead_s, self.problem.period_s)
        {
            return;
        }
        let energy = label.net_j + tail_j + self.base();
        self.proven = self.proven.min(energy - label.slack_j);
        if energy < self.best || self.schedule.is_none() {
            self.best = self.best.min(energy);
            if self.schedule.as_ref().is_none_or(|(_, least)| energy < *least) {
                self.schedule = Some((self.trace(pool, last, index), energy));
            }
        }
    }

    /// The schedule of a path that ends with the pool's last label, the arc behind it and a tail.
    fn trace(&self, pool: &[Label], (node, arc): (usize, Option<usize>), tail: usize) -> Schedule {
        let graph = self.graph;
        let mut writes: Vec<Write> = Vec::new();
        let mut start = 0;
        // The arc that leads on from the label, and the node that it leaves from.
        let mut on = arc.map(|arc| (node, arc));
        let mut at = pool.len().checked_sub(1);
        while let Some(label) = at.map(|at| &pool[at]) {
            let from_start = label.parent == ROOT;
            let last_s = if from_start {
                self.idle.starts[label.arc as usize].arc.last_s
            } else {
                graph.arcs[label.arc as usize].last_s
            };
            writes.extend(on.and_then(|(node, arc)| graph.write(node, arc, last_s)));
            if from_start {
                start = label.arc as usize;
                break;
            }
            at = Some(label.parent as usize);
            on = Some((graph.node_of(pool[label.parent as usize].slot as usize), label.arc as usize));
        }
        writes.reverse();
        let Start { clock, wake, .. } = self.idle.starts[start];
        let tail = &graph.tails[tail];
        Schedule { start: clock, writes, idle: tail.written_at_end.then_some(tail.idle), wake }
    }
}

/// The ways to start a frame from an idle clock: at it; at another one, written early enough to be in effect even
/// where the change is late; or at it with a change on its way that is timed for a boundary of the frame.
fn starts(problem: &Problem, graph: &Graph, idle: usize) -> Vec<Start> {
    let at_start = (0..graph.clocks).map(|clock| {
        let arc =
            Arc { cost: Cost::default(), last_s: 0.0, to: graph.slots_of(clock).start as u32, node: clock as u32 };
        if clock == idle {
            return Start { clock, wake: None, arc, gap_j: 0.0 };
        }
        let lead_s = problem.wake_lead_s(idle, clock);
        let gap_s = lead_s - problem.change(idle, clock).settle_s;
        let gap_j = (problem.idle_w[clock] - problem.idle_w[idle]) * gap_s;
        Start { clock, wake: Some((clock, lead_s)), arc, gap_j }
    });
    let on_the_way = graph.entries.iter().filter(|entry| entry.from == idle).map(|entry| {
        let wake = Some((entry.next, entry.lead_s));
        Start { clock: idle, wake, arc: entry.arc, gap_j: 0.0 }
    });
    at_start.chain(on_the_way).collect()
}

/// The labels that no other one dominates; within `spare` of energy a faster label stands for a more frugal one.
///
/// With A = `common` x sum sd, the bound t + sqrt(A^2 + k^2 v) of a label with less t, less t + A and less v is less,
/// whatever follows: where its A is more, trading t for A one to one lowers the bound, as the root grows by less than A.
fn thin(mut labels: Vec<Label>, spare: f64, common: f64) -> Vec<Label> {
    let late = |label: &Label| label.cost.time_s + common * label.cost.sd_s;
    labels.sort_by(|a, b| a.cost.time_s.total_cmp(&b.cost.time_s).then(a.net_j.total_cmp(&b.net_j)));
    let mut kept: Vec<Label> = Vec::new();
    for label in labels {
        let better = kept.iter_mut().rev().find(|other| {
            let loss = other.net_j - label.net_j;
            (loss <= 0.0 || label.slack_j + loss <= spare)
                && late(other) <= late(&label)
                && other.cost.var_s2 <= label.cost.var_s2
                && other.lead_s <= label.lead_s
                && other.slot >= label.slot
        });
        match better {
            Some(other) => other.slack_j = other.slack_j.max(label.slack_j + other.net_j - label.net_j),
            None => kept.push(label),
        }
    }
    kept
}
