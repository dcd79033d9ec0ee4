//! The exact search, one idle clock at a time: a Lagrangian dual gives a lower bound of the energy from every node
//! to the end, and labels (energy, time, spread) that cannot beat the best plan known are dropped.
//!
//! With the idle clock fixed, a frame's energy is a sum over its arcs, so that idle power enters as -P_idle per second
//! of busy time. The frame's bound in time is at least r = mean + k sqrt(rho) sum sd (or the sum of late blocks), which
//! is a sum too:
//! min E + lambda (r - D) over all paths is a lower bound for every lambda >= 0. Labels are kept while they are not
//! dominated in every part of the true bound.

use std::vec;
use std::vec::Vec;

use super::graph::{Cost, Graph, Tail};
use super::{Noise, Problem, Schedule, Write};

/// The search is exhaustive up to this many blocks; above, it stops within [`GAP`].
pub const EXHAUSTIVE_BLOCKS: usize = 12;
/// The gap allowed above [`EXHAUSTIVE_BLOCKS`].
pub const GAP: f64 = 1e-3;
/// Labels kept at a node, pass by pass: a narrow one finds a good plan, which lets the wide ones drop more.
const WIDTHS: [usize; 3] = [4, 64, 1024];

/// How the spread of a frame's time enters its bound.
#[derive(Clone, Copy, Debug)]
pub(super) struct Margin {
    /// Factor of sum sd.
    common: f64,
    /// Factor of the root of the independent variance.
    independent: f64,
    /// The share of the blocks' variance that is independent.
    pub block_share: f64,
    /// A chord below the curve by which independent variance adds to the bound, see [`Margin::with_chord`].
    per_var: f64,
    chord_s: f64,
}

impl Margin {
    pub fn new(problem: &Problem) -> Self {
        let flat = Self { common: 0.0, independent: 1.0, block_share: 0.0, per_var: 0.0, chord_s: 0.0 };
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

    /// The bound is t + A + (sqrt(A^2 + k^2 v) - A) with A the common part. The last term is least at the
    /// largest A that meets the deadline and concave in v, so it lies above its chord between the least v of any
    /// path and the largest v that the deadline leaves room for.
    fn with_chord(mut self, problem: &Problem, graph: &Graph) -> Self {
        let (linear, var) = (least(graph, |c| self.linear(c)), least(graph, |c| c.var_s2));
        let room = problem.deadline_s - linear;
        // A <= D - t, and A <= a t where that is so of every arc, so that (1 + 1/a) A <= A + t <= D.
        let part = |c: &Cost| if c.time_s > 0.0 { self.common * c.sd_s / c.time_s } else { 0.0 };
        let a = graph.arcs.iter().map(|arc| part(&arc.cost)).fold(0.0, f64::max);
        let most = (problem.deadline_s - least(graph, |c| c.time_s)).clamp(0.0, problem.deadline_s * a / (1.0 + a));
        let k = self.independent;
        let extra = |v: f64| (most * most + k * k * v).sqrt() - most;
        // extra(v) = room at v = (room^2 + 2 room most) / k^2.
        let largest = (room * room + 2.0 * room * most) / (k * k);
        if room > 0.0 && largest > var * (1.0 + 1e-9) + 1e-18 {
            self.per_var = (extra(largest) - extra(var)) / (largest - var);
            self.chord_s = extra(var) - self.per_var * var;
        }
        self
    }
}

/// The least sum over any path.
fn least(graph: &Graph, of: impl Fn(&Cost) -> f64) -> f64 {
    let inner = graph.blocks * graph.clocks;
    let mut to_go = vec![0.0; graph.tails_from() + graph.tails.len()];
    for node in (0..inner).rev() {
        let through = |arc: &super::graph::Arc| of(&arc.cost) + to_go[arc.to as usize];
        to_go[node] = graph.arcs_of(node).iter().map(through).fold(f64::INFINITY, f64::min);
    }
    to_go[..graph.clocks].iter().copied().fold(f64::INFINITY, f64::min)
}

/// A path so far. Dominance compares every field that the bound or the period depends on.
#[derive(Clone, Copy)]
struct Label {
    cost: Cost,
    /// Energy less the idle power of the time spent.
    net_j: f64,
    /// The lead of the next frame's first clock.
    lead_s: f64,
    /// How much better a label was that this one stands for.
    slack_j: f64,
    parent: u32,
    arc: u32,
}

const ROOT: u32 = u32::MAX;

/// Least (net energy + lambda r), and the r of that path, from every node to the end.
struct ToGo {
    lambda: f64,
    value: Vec<f64>,
    linear: Vec<f64>,
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
    idle: usize,
    idle_w: f64,
    /// The least energy known to be reachable.
    best: f64,
    /// No plan with this idle clock takes less.
    proven: f64,
    /// The best frame found, and its energy.
    schedule: Option<(Schedule, f64)>,
}

/// The least-energy schedule among those below `known_j`, an energy that is known to be reachable, and an energy that
/// no schedule goes below.
pub(super) fn least_energy(problem: &Problem, graph: &Graph, margin: Margin, known_j: f64) -> (Option<Schedule>, f64) {
    let margin = margin.with_chord(problem, graph);
    let exhaustive = graph.blocks <= EXHAUSTIVE_BLOCKS;
    let tolerance = if exhaustive { 0.0 } else { GAP };
    let mut best: Option<Schedule> = None;
    let mut reachable = known_j;
    let mut duals: Vec<_> = (0..graph.clocks)
        .filter_map(|idle| Search::new(problem, graph, margin, idle, f64::INFINITY).dual().map(|d| (d.0, idle, d.1)))
        .collect();
    duals.sort_by(|a, b| a.0.total_cmp(&b.0));
    let mut proven: Vec<f64> = duals.iter().map(|d| d.0).collect();
    for width in WIDTHS {
        for ((bound, idle, to_go), proven) in duals.iter().zip(&mut proven) {
            if bound.max(*proven) >= reachable * (1.0 - 0.9 * tolerance) {
                continue;
            }
            let mut search = Search::new(problem, graph, margin, *idle, reachable);
            search.labels(to_go, Effort { tolerance, width });
            *proven = proven.max(search.proven);
            if let Some((schedule, energy_j)) = search.schedule
                && energy_j < reachable
            {
                reachable = energy_j;
                best = Some(schedule);
            }
        }
    }
    (best, proven.into_iter().fold(reachable, f64::min))
}

impl<'a> Search<'a> {
    fn new(problem: &'a Problem, graph: &'a Graph, margin: Margin, idle: usize, best: f64) -> Self {
        let idle_w = problem.idle_w[idle];
        Self { problem, graph, margin, idle, idle_w, best, proven: f64::INFINITY, schedule: None }
    }

    /// Energy of a whole period in which nothing runs.
    fn base(&self) -> f64 {
        self.idle_w * self.problem.period_s
    }

    /// What the linear part of the bound may come to.
    fn limit(&self) -> f64 {
        self.problem.deadline_s - self.margin.chord_s
    }

    /// What waking to `start` adds, and its lead.
    fn wake(&self, start: usize) -> (f64, f64) {
        if start == self.idle {
            return (0.0, 0.0);
        }
        let lead = self.problem.wake_lead_s(self.idle, start);
        let settle = self.problem.change(self.idle, start).settle_s;
        ((self.problem.idle_w[start] - self.idle_w) * (lead - settle), lead)
    }

    /// What the change to the idle clock adds behind the frame's end.
    fn tail(&self, tail: &Tail) -> Option<f64> {
        (tail.idle == self.idle).then(|| (self.problem.idle_w[tail.from] - self.idle_w) * tail.settle_s)
    }

    /// Backward over the graph; an infinite lambda counts r alone.
    fn to_go(&self, lambda: f64) -> ToGo {
        let graph = self.graph;
        let from = graph.tails_from();
        let (energy, time) = if lambda.is_finite() { (1.0, lambda) } else { (0.0, 1.0) };
        let mut value = vec![f64::INFINITY; from + graph.tails.len()];
        let mut linear = value.clone();
        for (i, tail) in graph.tails.iter().enumerate() {
            if let Some(net) = self.tail(tail) {
                value[from + i] = energy * net;
                linear[from + i] = 0.0;
            }
        }
        for clock in 0..graph.clocks {
            let node = graph.blocks * graph.clocks + clock;
            for (i, _) in graph.ends(clock) {
                if value[from + i] < value[node] {
                    value[node] = value[from + i];
                    linear[node] = 0.0;
                }
            }
        }
        let per_second = time - energy * self.idle_w;
        let (per_sd, per_var) = (time * self.margin.common, time * self.margin.per_var);
        for node in (0..graph.blocks * graph.clocks).rev() {
            let (mut least, mut at) = (f64::INFINITY, None);
            for arc in graph.arcs_of(node) {
                let cost = &arc.cost;
                let through = energy * cost.energy_j
                    + per_second * cost.time_s
                    + per_sd * cost.sd_s
                    + per_var * cost.var_s2
                    + value[arc.to as usize];
                if through < least {
                    (least, at) = (through, Some(arc));
                }
            }
            value[node] = least;
            linear[node] = at.map_or(f64::INFINITY, |arc| self.margin.linear(&arc.cost) + linear[arc.to as usize]);
        }
        ToGo { lambda, value, linear }
    }

    /// The least value over all starts, with the energy and r of the path that has it.
    fn value(&self, to_go: &ToGo) -> (f64, f64, f64) {
        let mut least = (f64::INFINITY, 0.0, 0.0);
        for start in 0..self.graph.clocks {
            let wake = if to_go.lambda.is_finite() { self.wake(start).0 } else { 0.0 };
            let value = to_go.value[start] + wake;
            if value < least.0 {
                let r = to_go.linear[start];
                let energy = if to_go.lambda.is_finite() { value - to_go.lambda * r } else { f64::INFINITY };
                least = (value, energy, r);
            }
        }
        least
    }

    /// The best lower bound of the energy and the multipliers that give it; `None` where no path is fast enough.
    fn dual(&self) -> Option<(f64, ToGo)> {
        let deadline = self.limit();
        let free = self.to_go(0.0);
        let (_, slow_j, slow_r) = self.value(&free);
        if slow_r <= deadline {
            return Some((slow_j + self.base(), free));
        }
        if self.value(&self.to_go(f64::INFINITY)).2 > deadline * (1.0 + 1e-12) {
            return None;
        }
        // Up from the frugal path until a path meets the deadline, then between the two.
        let mut slow = (slow_j, slow_r);
        let mut lambda = slow_j.abs().max(1e-9) / slow_r;
        let mut fast = None;
        let mut best = (slow_j, free);
        for _ in 0..60 {
            let to_go = self.to_go(lambda);
            let (value, energy, r) = self.value(&to_go);
            let bound = value - lambda * deadline;
            let done = fast.is_some() && bound <= best.0 + 1e-12 * best.0.abs();
            if bound > best.0 {
                best = (bound, to_go);
            }
            if done {
                break;
            }
            if r > deadline {
                slow = (energy, r)
            } else {
                fast = Some((energy, r))
            }
            lambda = match fast {
                None => lambda * 4.0,
                Some((e, r)) if slow.1 - r > 1e-15 => (e - slow.0) / (slow.1 - r),
                Some(_) => break,
            };
        }
        Some((best.0 + self.base(), best.1))
    }

    /// Labels from every start to the end: leaves the best schedule found, and what no schedule goes below.
    fn labels(&mut self, to_go: &ToGo, effort: Effort) {
        let graph = self.graph;
        let fastest = self.to_go(f64::INFINITY).value;
        let inner = graph.blocks * graph.clocks;
        let mut pool: Vec<Label> = Vec::new();
        let mut waiting: Vec<Vec<Label>> = vec![Vec::new(); graph.tails_from()];
        for (start, place) in waiting.iter_mut().enumerate().take(graph.clocks) {
            let (net_j, lead_s) = self.wake(start);
            place.push(Label { cost: Cost::default(), net_j, lead_s, slack_j: 0.0, parent: ROOT, arc: start as u32 });
        }
        for node in 0..graph.tails_from() {
            let progress = (node / graph.clocks) as f64 / graph.blocks as f64;
            let spare = if self.best.is_finite() { 0.5 * effort.tolerance * self.best * progress } else { 0.0 };
            let mut labels = thin(core::mem::take(&mut waiting[node]), spare, self.margin.common);
            self.narrow(&mut labels, node, to_go, effort.width);
            for label in labels {
                if node >= inner {
                    for (i, tail) in graph.ends(node - inner) {
                        self.finish(&label, &pool, i, tail);
                    }
                    continue;
                }
                let id = pool.len() as u32;
                pool.push(label);
                for (arc_id, arc) in (graph.first[node]..).zip(graph.arcs_of(node)) {
                    let cost = Cost {
                        energy_j: label.cost.energy_j + arc.cost.energy_j,
                        time_s: label.cost.time_s + arc.cost.time_s,
                        sd_s: label.cost.sd_s + arc.cost.sd_s,
                        var_s2: label.cost.var_s2 + arc.cost.var_s2,
                    };
                    let net_j = label.net_j + arc.cost.energy_j - self.idle_w * arc.cost.time_s;
                    let next = Label { cost, net_j, parent: id, arc: arc_id, ..label };
                    let to = arc.to as usize;
                    if let Some(tail) = to.checked_sub(graph.tails_from()) {
                        self.finish(&next, &pool, tail, &graph.tails[tail]);
                    } else if self.hopeful(&next, to, to_go, &fastest, effort.tolerance) {
                        waiting[to].push(next);
                    }
                }
            }
        }
    }

    /// No plan through this label takes less.
    fn bound(&self, label: &Label, node: usize, to_go: &ToGo) -> f64 {
        let spent = self.margin.linear(&label.cost) - self.limit();
        label.net_j + to_go.value[node] + to_go.lambda * spent + self.base()
    }

    /// Whether a label may still become the best plan.
    fn hopeful(&mut self, label: &Label, node: usize, to_go: &ToGo, fastest: &[f64], tolerance: f64) -> bool {
        if self.margin.linear(&label.cost) + fastest[node] > self.limit() + self.problem.deadline_s * 1e-12 {
            return false;
        }
        let bound = self.bound(label, node, to_go);
        if bound <= self.best * (1.0 - 0.5 * tolerance) * (1.0 + 1e-12) {
            return true;
        }
        self.proven = self.proven.min(bound - label.slack_j);
        false
    }

    /// Keeps the most promising labels.
    fn narrow(&mut self, labels: &mut Vec<Label>, node: usize, to_go: &ToGo, width: usize) {
        if labels.len() <= width {
            return;
        }
        labels.sort_by(|a, b| self.bound(a, node, to_go).total_cmp(&self.bound(b, node, to_go)));
        for label in labels.drain(width..) {
            let bound = self.bound(&label, node, to_go) - label.slack_j;
            self.proven = self.proven.min(bound);
        }
    }

    /// A whole frame: kept if it meets the deadline and leaves time for the changes between frames.
    fn finish(&mut self, label: &Label, pool: &[Label], index: usize, tail: &Tail) {
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
                self.schedule = Some((self.trace(label, pool, index), energy));
            }
        }
    }

    fn trace(&self, last: &Label, pool: &[Label], tail: usize) -> Schedule {
        let mut writes: Vec<Write> = Vec::new();
        let mut label = last;
        while label.parent != ROOT {
            writes.extend(self.graph.arcs[label.arc as usize].write);
            label = &pool[label.parent as usize];
        }
        writes.reverse();
        let start = label.arc as usize;
        let tail = &self.graph.tails[tail];
        let wake = (start != self.idle).then(|| (start, self.problem.wake_lead_s(self.idle, start)));
        Schedule { start, writes, idle: tail.written_at_end.then_some(tail.idle), wake }
    }
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
        });
        match better {
            Some(other) => other.slack_j = other.slack_j.max(label.slack_j + other.net_j - label.net_j),
            None => kept.push(label),
        }
    }
    kept
}
