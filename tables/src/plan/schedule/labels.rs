//! Labels: paths from a frame's start to a node, kept while none other is better in everything and while the price of
//! what is left may still make them the best plan.

use std::vec;
use std::vec::Vec;

use super::dual::{Cut, DualBound, IdleFrame, Sums, ToGo};
use super::graph::{Cost, Graph, Tail};
use crate::plan::writes::{Schedule, Write};

/// Multipliers besides the best one, as factors of it: a label that is early or late has a price of its own.
const PRICES: [f64; 5] = [0.0, 0.5, 0.8, 1.25, 2.0];
/// Labels that a label is compared with: one that is left uncompared costs time only.
const COMPARED: usize = 24;

/// A path so far.
#[derive(Clone, Copy)]
struct Label {
    cost: Cost,
    /// Energy less the idle power of the time spent.
    net_j: f64,
    /// The path's sums: of the deadline's cut, and of the period's.
    cut_s: f64,
    period_s: f64,
    /// No plan through this label takes less: by the best multiplier, and by all of them.
    main_j: f64,
    bound_j: f64,
    /// The lead of the next frame's first clock.
    lead_s: f64,
    /// Where it stands: its node's level.
    slot: u32,
    /// How much better a label was that this one stands for.
    slack_j: f64,
    parent: u32,
    /// The arc that led here or, of the first label, the start.
    arc: u32,
}

const ROOT: u32 = u32::MAX;

/// What is searched, and how thoroughly.
pub(in crate::plan) struct Effort {
    /// Plans that are better by less than this fraction are let go.
    pub tolerance: f64,
    /// Labels kept at a node.
    pub width: usize,
}

/// The limits that plans keep to.
#[derive(Clone, Copy)]
pub(in crate::plan) struct Cuts {
    pub deadline: Cut,
    pub period: Cut,
    /// What the deadline's and the period's limits come to.
    pub priced: [DualBound; 2],
    /// The period gives the higher bound.
    pub by_period: bool,
}

/// What a search came to.
pub(in crate::plan) struct Found {
    /// No plan takes less.
    pub least_j: f64,
    /// The best plan below the energy known before.
    pub schedule: Option<(Schedule, f64)>,
    /// Labels that were followed.
    pub labels: usize,
}

pub(in crate::plan) struct Search<'a> {
    frame: &'a IdleFrame<'a>,
    cuts: Cuts,
    effort: Effort,
    main: ToGo,
    others: Vec<ToGo>,
    fastest: [ToGo; 2],
    /// The least energy known to be reachable.
    best_j: f64,
    /// The changes between frames may not fit into the period.
    tight: bool,
    found: Found,
    pool: Vec<Label>,
}

impl<'a> Search<'a> {
    pub fn new(frame: &'a IdleFrame<'a>, cuts: Cuts, known_j: f64, effort: Effort) -> Self {
        // Where even the most frugal plan is fast enough, prices start from what a second of the frame costs.
        let usual = frame.base_j().max(1e-9) / frame.problem.period_s;
        let sums = [cuts.deadline, cuts.period].map(|cut| Sums::new(frame, cut));
        let mut others = Vec::new();
        for (sums, priced) in sums.iter().zip(&cuts.priced) {
            let from = if priced.multiplier > 0.0 { priced.multiplier } else { usual };
            if priced.multiplier > 0.0 || sums.cut.between <= 0.0 {
                others.extend(PRICES.map(|factor| sums.to_go(factor * from)));
            }
        }
        let main = usize::from(cuts.by_period);
        Self {
            frame,
            cuts,
            effort,
            main: sums[main].to_go(cuts.priced[main].multiplier),
            others,
            fastest: [sums[0].to_go(f64::INFINITY), sums[1].to_go(f64::INFINITY)],
            best_j: known_j,
            tight: frame.tight(),
            found: Found { least_j: f64::INFINITY, schedule: None, labels: 0 },
            pool: Vec::new(),
        }
    }

    /// Labels from every start to the end.
    pub fn run(mut self) -> Found {
        let frame = self.frame;
        let graph = frame.graph;
        let mut waiting: Vec<Vec<Label>> = vec![Vec::new(); graph.nodes()];
        for (i, start) in frame.starts().iter().enumerate() {
            let lead_s = start.lead_s();
            let main = self.main.cut.of(&start.cost, lead_s);
            let label = Label {
                cost: start.cost,
                net_j: start.net_j,
                cut_s: self.cuts.deadline.of(&start.cost, 0.0),
                period_s: start.cost.time_s + lead_s,
                main_j: self.main.bound_j(frame, start.slot, start.net_j, main),
                bound_j: 0.0,
                lead_s,
                slot: start.slot as u32,
                slack_j: 0.0,
                parent: ROOT,
                arc: i as u32,
            };
            waiting[start.node].extend(self.hopeful(label));
        }
        for node in 0..graph.nodes() {
            let labels = core::mem::take(&mut waiting[node]);
            if labels.is_empty() {
                continue;
            }
            let mut labels = self.thin(labels, node / graph.clocks);
            self.narrow(&mut labels);
            if let Some(clock) = node.checked_sub(graph.inner()) {
                let (index, tail) = frame.end(clock);
                labels.iter().for_each(|label| self.finish(label, index, tail));
            }
            let arcs = self.arcs(node);
            for label in labels {
                let id = self.pool.len() as u32;
                self.pool.push(label);
                self.follow(node, label, id, &arcs, &mut waiting);
            }
        }
        self.found.labels = self.pool.len();
        self.found
    }

    /// A node's arcs, with what the best path through each is worth: those first that are worth least.
    fn arcs(&self, node: usize) -> Vec<(f64, u32)> {
        let (own, leads) = self.frame.graph.arcs_of(node);
        let mut arcs: Vec<_> =
            own.chain(leads).map(|index| (self.main.through(self.frame, index), index as u32)).collect();
        arcs.retain(|(value, _)| value.is_finite());
        arcs.sort_unstable_by(|a, b| a.0.total_cmp(&b.0));
        arcs
    }

    fn follow(&mut self, node: usize, label: Label, id: u32, arcs: &[(f64, u32)], waiting: &mut [Vec<Label>]) {
        let graph = self.frame.graph;
        let level = label.slot as usize - graph.slots_of(node).start;
        let end = graph.arcs_of(node).1.start + level;
        // What the label's bound counts on from here.
        let value = self.main.value[label.slot as usize];
        for (through, index) in arcs {
            let main_j = label.main_j + through - value;
            if self.hopeless(main_j) {
                self.drop_at(main_j - label.slack_j);
                return;
            }
            let index = *index as usize;
            if index >= end {
                continue;
            }
            let arc = &graph.arcs[index];
            let mut cost = label.cost;
            cost.add(arc.cost);
            let net_j = label.net_j + self.frame.arc_j(index);
            let (cut_s, period_s) = (self.cuts.deadline.of(&cost, 0.0), cost.time_s + label.lead_s);
            let slot = graph.to[index];
            let next = Label { cost, net_j, cut_s, period_s, main_j, slot, parent: id, arc: index as u32, ..label };
            if let Some(tail) = (slot as usize).checked_sub(graph.tails_from()) {
                self.finish(&next, tail, &graph.tails[tail]);
            } else if let Some(next) = self.hopeful(next) {
                waiting[arc.node as usize].push(next);
            }
        }
    }

    fn hopeless(&self, bound_j: f64) -> bool {
        bound_j > self.best_j * (1.0 - 0.5 * self.effort.tolerance) * (1.0 + 1e-12)
    }

    /// Plans from here on take at least this, and are left out.
    fn drop_at(&mut self, bound_j: f64) {
        self.found.least_j = self.found.least_j.min(bound_j);
    }

    /// The label with its bound, where it may still become the best plan.
    fn hopeful(&mut self, mut label: Label) -> Option<Label> {
        let slot = label.slot as usize;
        let [deadline, period] = &self.fastest;
        let late = |sum_s: f64, to_go: &ToGo| {
            sum_s + to_go.value[slot] > to_go.cut.limit_s + self.frame.problem.period_s * 1e-12
        };
        if late(label.cut_s, deadline) || late(label.period_s, period) {
            return None;
        }
        let bound_j = |to_go: &ToGo| {
            let spent_s = if to_go.cut.between > 0.0 { label.period_s } else { label.cut_s };
            to_go.bound_j(self.frame, slot, label.net_j, spent_s)
        };
        label.bound_j = self.others.iter().map(bound_j).fold(label.main_j, f64::max);
        if self.hopeless(label.bound_j) {
            self.drop_at(label.bound_j - label.slack_j);
            return None;
        }
        Some(label)
    }

    /// Whether `a` is as good as `b` in all that a deadline and a period ask for, and has as many leads before it.
    fn as_fast(&self, a: &Label, b: &Label) -> bool {
        a.slot >= b.slot && a.cut_s <= b.cut_s && (!self.tight || a.period_s <= b.period_s)
    }

    /// The labels that no other one dominates; above, a faster label stands for one that is more frugal by less than
    /// its share of the tolerance, which grows from block to block.
    fn thin(&self, mut labels: Vec<Label>, block: usize) -> Vec<Label> {
        let progress = block as f64 / self.frame.graph.blocks as f64;
        let spare_j = if self.best_j.is_finite() { 0.4 * self.effort.tolerance * self.best_j * progress } else { 0.0 };
        labels.sort_unstable_by(|a, b| a.cut_s.total_cmp(&b.cut_s).then(a.net_j.total_cmp(&b.net_j)));
        let mut kept: Vec<Label> = Vec::new();
        for label in labels {
            let better = kept.iter_mut().rev().take(COMPARED).find(|other| {
                let loss_j = other.net_j - label.net_j;
                (loss_j <= 0.0 || label.slack_j + loss_j <= spare_j) && self.as_fast(other, &label)
            });
            match better {
                Some(other) => other.slack_j = other.slack_j.max(label.slack_j + other.net_j - label.net_j),
                None => kept.push(label),
            }
        }
        kept
    }

    /// Keeps the most promising labels.
    fn narrow(&mut self, labels: &mut Vec<Label>) {
        if labels.len() <= self.effort.width {
            return;
        }
        labels.sort_unstable_by(|a, b| a.bound_j.total_cmp(&b.bound_j));
        for label in labels.drain(self.effort.width..) {
            self.drop_at(label.bound_j - label.slack_j);
        }
    }

    /// A whole frame: kept if it meets the deadline and leaves time for the changes between frames.
    fn finish(&mut self, label: &Label, index: usize, tail: &Tail) {
        let Some(tail_j) = self.frame.tail(tail) else { return };
        let problem = self.frame.problem;
        let late = |time: f64, limit: f64| time > limit * (1.0 + 1e-12);
        if late(label.cost.time_s + tail.settle_s + tail.stall_s + label.lead_s, problem.period_s) {
            return;
        }
        let energy_j = label.net_j + tail_j + self.frame.base_j();
        if late(label.cut_s, problem.deadline_s) {
            return;
        }
        self.drop_at(energy_j - label.slack_j);
        if energy_j < self.best_j {
            self.best_j = energy_j;
            self.found.schedule = Some((self.trace(label, index), energy_j));
        }
    }

    fn trace(&self, last: &Label, tail: usize) -> Schedule {
        let graph: &Graph = self.frame.graph;
        let mut writes: Vec<Write> = Vec::new();
        let mut label = last;
        while label.parent != ROOT {
            let arc = label.arc as usize;
            label = &self.pool[label.parent as usize];
            let (node, last_s) = match label.parent {
                ROOT => self.begun(label),
                _ => (graph.arcs[label.arc as usize].node as usize, graph.arcs[label.arc as usize].last_s),
            };
            writes.extend(graph.write(node, arc, last_s));
        }
        writes.reverse();
        let start = &self.frame.starts()[label.arc as usize];
        let tail = &graph.tails[tail];
        let idle = tail.written_at_end.then_some(tail.idle);
        Schedule { start: start.clock, writes, idle, wake: start.wake }
    }

    /// A first label's node, and how long the block before it took.
    fn begun(&self, label: &Label) -> (usize, f64) {
        let start = &self.frame.starts()[label.arc as usize];
        (start.node, start.last_s)
    }
}
