//! The choices of a frame as a graph. A node is a block's start with a clock in effect and no change on its way; an
//! arc is a block run through, a change written at the node (from there to the end of the block in which it lands), or
//! a change written a lead before a boundary.
//!
//! A lead's write may lie in the block behind the node, where that block was long enough at this clock: as long as the
//! clock has been in effect there. So a node has levels: how many of its leads, sorted by how far they look back, the
//! way to it leaves room for. Levels of one node are neighbouring slots, and arcs lead to slots.

use std::vec::Vec;

use super::{Problem, Write};

/// Writes closer to an event than this fraction of the block are at the event itself, which has its own arc.
const CLOSE: f64 = 1e-9;

/// What an arc adds to a frame.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Cost {
    pub energy_j: f64,
    pub time_s: f64,
    /// Sum of the blocks' standard deviations.
    pub sd_s: f64,
    /// Variance that is independent of the other blocks'.
    pub var_s2: f64,
}

impl Cost {
    pub fn add(&mut self, other: &Cost) {
        self.energy_j += other.energy_j;
        self.time_s += other.time_s;
        self.sd_s += other.sd_s;
        self.var_s2 += other.var_s2;
    }
}

/// Where the clock goes after the frame's last block.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Tail {
    /// The clock of the frame's end and the one that follows it.
    pub from: usize,
    pub idle: usize,
    /// From the frame's end until the change is in effect.
    pub settle_s: f64,
    /// The stall behind that.
    pub stall_s: f64,
    /// Written at the frame's end, rather than before.
    pub written_at_end: bool,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Arc {
    pub cost: Cost,
    /// How long its last block takes.
    pub last_s: f64,
    /// The slot that it leads to; at or above [`Graph::tails_from`], a tail.
    pub to: u32,
    /// The slot's node; nothing for a tail.
    pub node: u32,
}

/// A change written so that it takes effect at a boundary.
#[derive(Clone, Copy, Debug)]
struct Lead {
    /// From the write to the node, which is the end of the block in which it is written.
    before_s: f64,
    next: usize,
    boundary: usize,
}

pub(super) struct Graph {
    pub clocks: usize,
    pub blocks: usize,
    /// A node's arcs: the block run through, the changes written now (to each other clock, ascending), its leads.
    pub arcs: Vec<Arc>,
    /// Of each node, also those behind the last block, which have leads only; one more than nodes.
    first: Vec<u32>,
    leads: Vec<Lead>,
    /// The first slot of each node; one more than nodes.
    slots: Vec<u32>,
    /// One per clock in effect and idle clock comes first, in the order `from * clocks + idle`.
    pub tails: Vec<Tail>,
    /// Starts with a change on its way.
    pub entries: Vec<Entry>,
}

/// A change on its way at a frame's start, timed for a boundary of that frame.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entry {
    /// In effect at the start, and written.
    pub from: usize,
    pub next: usize,
    /// Written before the frame's start by this.
    pub lead_s: f64,
    /// From the start through the block in which it takes effect.
    pub arc: Arc,
}

/// What the graph is made from, besides costs of runs of blocks at one clock, as sums from the frame's start.
struct Builder<'a> {
    problem: &'a Problem,
    /// The share of the blocks' variance that is independent.
    independent: f64,
    time_s: Vec<Vec<f64>>,
    cost: Vec<Vec<Cost>>,
}

impl Graph {
    pub fn new(problem: &Problem, independent: f64) -> Self {
        let (clocks, blocks) = (problem.clocks.len(), problem.blocks.len());
        let builder = Builder::new(problem, independent);
        let mut graph = Self {
            clocks,
            blocks,
            arcs: Vec::new(),
            first: Vec::new(),
            leads: Vec::new(),
            slots: Vec::new(),
            tails: Vec::new(),
            entries: Vec::new(),
        };
        let most_stall = problem.changes.iter().map(|c| c.stall_s).fold(0.0, f64::max);
        for node in 0..graph.nodes() {
            let (block, clock) = (node / clocks, node % clocks);
            graph.first.push((node.min(graph.inner()) * clocks + graph.leads.len()) as u32);
            graph.slots.push((node + graph.leads.len()) as u32);
            builder.leads(block, clock, most_stall, &mut graph.leads);
        }
        graph.first.push((graph.inner() * clocks + graph.leads.len()) as u32);
        graph.slots.push((graph.nodes() + graph.leads.len()) as u32);
        for from in 0..clocks {
            for idle in 0..clocks {
                let change = problem.change(from, idle);
                let (settle_s, stall_s) = if from == idle { (0.0, 0.0) } else { (change.settle_s, change.stall_s) };
                graph.tails.push(Tail { from, idle, settle_s, stall_s, written_at_end: from != idle });
            }
        }
        for node in 0..graph.nodes() {
            let (block, clock) = (node / clocks, node % clocks);
            if block < blocks {
                let last_s = problem.blocks[block].time_s[clock];
                let arc = graph.arc(builder.block(block, clock), last_s, (block + 1, clock, last_s), problem);
                graph.arcs.push(arc);
                for next in (0..clocks).filter(|next| *next != clock) {
                    let arc = graph.change_now(&builder, (block, clock, next));
                    graph.arcs.push(arc);
                }
            }
            for i in 0..graph.leads_of(node).len() {
                let lead = graph.leads_of(node)[i];
                let arc = graph.change_at_boundary(&builder, (block, clock), lead);
                graph.arcs.push(arc);
            }
        }
        graph.entries = graph.entries(&builder);
        graph
    }

    /// Nodes at which a block starts.
    pub fn inner(&self) -> usize {
        self.blocks * self.clocks
    }

    /// Those, and one per clock behind the last block.
    pub fn nodes(&self) -> usize {
        (self.blocks + 1) * self.clocks
    }

    /// Where the tails start among the indices that arcs lead to: behind all slots.
    pub fn tails_from(&self) -> usize {
        self.slots[self.nodes()] as usize
    }

    /// The slots of a node: one per level.
    pub fn slots_of(&self, node: usize) -> core::ops::Range<usize> {
        self.slots[node] as usize..self.slots[node + 1] as usize
    }

    /// The node of a slot.
    pub fn node_of(&self, slot: usize) -> usize {
        self.slots.partition_point(|first| *first as usize <= slot) - 1
    }

    /// The arcs that every level of a node has, and its leads.
    pub fn arcs_of(&self, node: usize) -> (core::ops::Range<usize>, core::ops::Range<usize>) {
        let (from, to) = (self.first[node] as usize, self.first[node + 1] as usize);
        let leads = if node < self.inner() { from + self.clocks } else { from };
        (from..leads, leads..to)
    }

    /// The tails from a node behind the last block, with their indices.
    pub fn ends(&self, clock: usize) -> impl Iterator<Item = (usize, &Tail)> {
        self.tails.iter().enumerate().skip(clock * self.clocks).take(self.clocks)
    }

    /// What an arc of a node writes; `last_s` is how long the block before the node took on the way to it.
    pub fn write(&self, node: usize, arc: usize, last_s: f64) -> Option<Write> {
        let (block, clock) = (node / self.clocks, node % self.clocks);
        let (own, leads) = self.arcs_of(node);
        if arc < leads.start {
            let nth = arc - own.start;
            let to = if nth <= clock { nth.checked_sub(1)? } else { nth };
            return Some(Write { block, delay_s: 0.0, to });
        }
        let lead = self.leads_of(node)[arc - leads.start];
        Some(Write { block: block - 1, delay_s: last_s - lead.before_s, to: lead.next })
    }

    /// What follows when a governor keeps a clock or writes another one at a block's start, and the node behind it; a
    /// planned lead is followed where the clock is kept.
    pub fn follow(&self, block: usize, clock: usize, choice: usize, lead: Option<&Write>) -> (Cost, usize) {
        let node = block * self.clocks + clock;
        let own = self.arcs_of(node).0;
        let nth = if choice < clock { choice + 1 } else { choice };
        let mut arc = self.arcs[own.start + if choice == clock { 0 } else { nth }];
        let mut to_clock = choice;
        if let Some(lead) = lead.filter(|_| choice == clock) {
            let (at, before_s) = ((block + 1) * self.clocks + clock, arc.last_s - lead.delay_s);
            let leads = self.leads_of(at).iter().zip(self.arcs_of(at).1).filter(|(l, _)| l.next == lead.to);
            let off = |l: &Lead| (l.before_s - before_s).abs();
            if let Some((_, found)) = leads.min_by(|a, b| off(a.0).total_cmp(&off(b.0))) {
                let mut cost = arc.cost;
                cost.add(&self.arcs[found].cost);
                arc = Arc { cost, ..self.arcs[found] };
                to_clock = lead.to;
            }
        }
        // A change that outlasts the frame: the next clock to count with is the new one.
        let beyond = arc.to as usize >= self.tails_from();
        (arc.cost, if beyond { self.inner() + to_clock } else { arc.node as usize })
    }

    /// A change to be in effect at boundary 0 is written early enough even for a late one, see `Search::starts`.
    fn entries(&self, builder: &Builder<'_>) -> Vec<Entry> {
        let problem = builder.problem;
        let mut entries = Vec::new();
        for from in 0..self.clocks {
            let time = &builder.time_s[from];
            for next in (0..self.clocks).filter(|next| *next != from) {
                let change = problem.change(from, next);
                for (boundary, at) in time.iter().enumerate().take(self.blocks).skip(1) {
                    let lead_s = change.settle_s - at;
                    if lead_s <= CLOSE * problem.blocks[0].time_s[from] {
                        break;
                    }
                    entries.push(Entry { from, next, lead_s, arc: self.landing(builder, (0, from), (boundary, next)) });
                }
            }
        }
        entries
    }

    fn leads_of(&self, node: usize) -> &[Lead] {
        let before = |node: usize| self.slots[node] as usize - node;
        &self.leads[before(node)..before(node + 1)]
    }

    /// The slot of a node that is reached with its clock in effect for `window_s` of the block before.
    fn slot(&self, block: usize, clock: usize, window_s: f64, problem: &Problem) -> u32 {
        let node = block * self.clocks + clock;
        let least = window_s - CLOSE * problem.blocks[block - 1].time_s[clock];
        let level = self.leads_of(node).partition_point(|lead| lead.before_s < least);
        self.slots[node] + level as u32
    }

    fn arc(&self, cost: Cost, last_s: f64, to: (usize, usize, f64), problem: &Problem) -> Arc {
        let (block, clock, window_s) = to;
        let node = (block * self.clocks + clock) as u32;
        Arc { cost, last_s, to: self.slot(block, clock, window_s, problem), node }
    }

    /// To a change that takes effect when the frame is over.
    fn tail(&mut self, cost: Cost, tail: Tail) -> Arc {
        self.tails.push(tail);
        Arc { cost, last_s: 0.0, to: (self.tails_from() + self.tails.len() - 1) as u32, node: u32::MAX }
    }

    /// Written at the block's start: the old clock runs for the settle time, into the block where the change lands.
    fn change_now(&mut self, builder: &Builder<'_>, (block, clock, next): (usize, usize, usize)) -> Arc {
        let problem = builder.problem;
        let change = problem.change(clock, next);
        let time = &builder.time_s[clock];
        let effect = time[block] + change.settle_s;
        let landing = time.partition_point(|t| *t <= effect) - 1;
        if landing >= self.blocks {
            let settle_s = effect - time[self.blocks];
            let stall_s = change.stall_s;
            let tail = Tail { from: clock, idle: next, settle_s, stall_s, written_at_end: false };
            return self.tail(builder.run(clock, block, self.blocks), tail);
        }
        let cost = &problem.blocks[landing];
        let share = (effect - time[landing]) / cost.time_s[clock];
        let window_s = change.stall_s + (1.0 - share) * cost.time_s[next];
        let mut whole = builder.run(clock, block, landing);
        whole.add(&builder.landed(landing, share, (clock, next)));
        self.arc(whole, share * cost.time_s[clock] + window_s, (landing + 1, next, window_s), problem)
    }

    /// Written before the node, in effect exactly at a later boundary.
    fn change_at_boundary(&mut self, builder: &Builder<'_>, (block, clock): (usize, usize), lead: Lead) -> Arc {
        let Lead { next, boundary, .. } = lead;
        if boundary == self.blocks {
            let stall_s = builder.problem.change(clock, next).stall_s;
            let tail = Tail { from: clock, idle: next, settle_s: 0.0, stall_s, written_at_end: false };
            return self.tail(builder.run(clock, block, boundary), tail);
        }
        self.landing(builder, (block, clock), (boundary, next))
    }

    /// From a block's start at one clock through the block at whose start another one takes effect.
    fn landing(&self, builder: &Builder<'_>, from: (usize, usize), (boundary, next): (usize, usize)) -> Arc {
        let ((block, clock), problem) = (from, builder.problem);
        let mut cost = builder.run(clock, block, boundary);
        cost.add(&builder.landed(boundary, 0.0, (clock, next)));
        let last_s = problem.change(clock, next).stall_s + problem.blocks[boundary].time_s[next];
        self.arc(cost, last_s, (boundary + 1, next, last_s), problem)
    }
}

impl<'a> Builder<'a> {
    fn new(problem: &'a Problem, independent: f64) -> Self {
        let mut builder = Self { problem, independent, time_s: Vec::new(), cost: Vec::new() };
        for clock in 0..problem.clocks.len() {
            let mut total = Cost::default();
            let mut costs = std::vec![total];
            for block in 0..problem.blocks.len() {
                total.add(&builder.block(block, clock));
                costs.push(total);
            }
            builder.time_s.push(costs.iter().map(|c| c.time_s).collect());
            builder.cost.push(costs);
        }
        builder
    }

    /// The leads that end at or behind a node and are written in the block before it, those that look back least first.
    fn leads(&self, block: usize, clock: usize, most_stall_s: f64, leads: &mut Vec<Lead>) {
        let Some(before) = block.checked_sub(1) else { return };
        let time = &self.time_s[clock];
        let length = self.problem.blocks[before].time_s[clock];
        let first = leads.len();
        for next in (0..self.problem.clocks.len()).filter(|next| *next != clock) {
            let effect = time[block] + self.problem.change(clock, next).settle_s;
            let earliest = time.partition_point(|t| *t <= effect - length - most_stall_s).max(block);
            for (boundary, at) in time.iter().enumerate().skip(earliest) {
                let before_s = effect - at;
                if before_s <= CLOSE * length {
                    break;
                }
                leads.push(Lead { before_s, next, boundary });
            }
        }
        leads[first..].sort_by(|a, b| a.before_s.total_cmp(&b.before_s));
    }

    /// A block of which `share` is done at the old clock, then comes the stall and the rest at the new one.
    fn landed(&self, block: usize, share: f64, (old, new): (usize, usize)) -> Cost {
        let problem = self.problem;
        let change = problem.change(old, new);
        let block = &problem.blocks[block];
        let (before, after) = (share * block.time_s[old], (1.0 - share) * block.time_s[new]);
        let sd_s = share * problem.spread_s(block, old) + (1.0 - share) * problem.spread_s(block, new);
        let slope = 1.0 - block.time_s[new] / block.time_s[old];
        Cost {
            energy_j: before * block.power_w[old] + change.stall_s * problem.idle_w[new] + after * block.power_w[new],
            time_s: before + change.stall_s + after,
            sd_s,
            var_s2: self.independent * sd_s * sd_s + (slope * problem.settle_spread_s(old, new)).powi(2),
        }
    }

    fn block(&self, block: usize, clock: usize) -> Cost {
        let block = &self.problem.blocks[block];
        let (time_s, sd_s) = (block.time_s[clock], self.problem.spread_s(block, clock));
        Cost { energy_j: block.power_w[clock] * time_s, time_s, sd_s, var_s2: self.independent * sd_s * sd_s }
    }

    fn run(&self, clock: usize, from: usize, to: usize) -> Cost {
        let (a, b) = (self.cost[clock][from], self.cost[clock][to]);
        Cost {
            energy_j: b.energy_j - a.energy_j,
            time_s: b.time_s - a.time_s,
            sd_s: b.sd_s - a.sd_s,
            var_s2: b.var_s2 - a.var_s2,
        }
    }
}
