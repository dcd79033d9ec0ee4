//! The choices of a frame as a graph. A node is a block's start with a clock in effect and no change on its way. An arc
//! is a block run through, a change written at the node (up to the end of the block in which it lands), or a change
//! written a lead before a boundary.
//!
//! A lead's write lies in the block before the node, where the clock was in effect long enough there: as long as that
//! block ran, or since another change landed in it, even a late one. So a node has levels: how many of its leads, sorted by how far they
//! look back, the way to it leaves room for. The levels of a node are neighbouring slots, and arcs lead to slots.

use core::ops::Range;
use std::vec::Vec;

use crate::plan::problem::Problem;
use crate::plan::writes::Write;

/// Writes closer to an event than this fraction of the block are at the event itself, which has its own arc.
const CLOSE: f64 = 1e-9;

/// What an arc adds to a frame.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(in crate::plan) struct Cost {
    pub energy_j: f64,
    pub time_s: f64,
    /// What it takes longer in a frame as late as the risk allows.
    pub late_s: f64,
}

impl Cost {
    pub fn add(&mut self, other: Cost) {
        self.energy_j += other.energy_j;
        self.time_s += other.time_s;
        self.late_s += other.late_s;
    }
}

/// Where the clock goes after the frame's last block.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(in crate::plan) struct Tail {
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
pub(in crate::plan) struct Arc {
    pub cost: Cost,
    /// How long its last block takes.
    pub last_s: f64,
    /// The node that it leads to; a tail counts on from [`Graph::nodes`].
    pub node: u32,
}

/// A change written so that it takes effect at a boundary.
#[derive(Clone, Copy, Debug)]
struct LeadArc {
    /// From the write to the node.
    before_s: f64,
    next: usize,
    boundary: usize,
}

/// A change on its way when a frame starts, timed for a boundary of that frame.
#[derive(Clone, Copy, Debug)]
pub(in crate::plan) struct Entry {
    /// In effect at the start, and written.
    pub from: usize,
    pub next: usize,
    /// Written before the frame's start by this.
    pub lead_s: f64,
    /// From the start through the block in which it takes effect.
    pub arc: Arc,
    /// The slot that this leads to.
    pub to: u32,
}

pub(in crate::plan) struct Graph {
    pub clocks: usize,
    pub blocks: usize,
    /// A node's arcs: the block run through, the changes written now (to each other clock, ascending), its leads. Nodes
    /// behind the last block have leads only.
    pub arcs: Vec<Arc>,
    /// The slot that each arc leads to, or at and above [`Graph::tails_from`] the tail; apart from the arcs, as every
    /// pass reads these.
    pub to: Vec<u32>,
    /// The first arc of each node; one more than nodes.
    first: Vec<u32>,
    leads: Vec<LeadArc>,
    /// The first slot of each node; one more than nodes.
    slots: Vec<u32>,
    /// One per clock in effect and idle clock comes first, in the order `from * clocks + idle`.
    pub tails: Vec<Tail>,
    /// Starts with a change on its way.
    pub entries: Vec<Entry>,
}

/// What the graph is made from: costs of runs of blocks at one clock, as sums from the frame's start.
struct Builder<'a> {
    problem: &'a Problem,
    time_s: Vec<Vec<f64>>,
    cost: Vec<Vec<Cost>>,
    /// Of each block, not as a sum.
    late_s: Vec<Vec<f64>>,
}

impl Graph {
    pub fn new(problem: &Problem) -> Self {
        let (clocks, blocks) = (problem.clocks.len(), problem.blocks.len());
        let builder = Builder::new(problem);
        let mut graph = Self {
            clocks,
            blocks,
            arcs: Vec::new(),
            to: Vec::new(),
            first: Vec::new(),
            leads: Vec::new(),
            slots: Vec::new(),
            tails: Vec::new(),
            entries: Vec::new(),
        };
        // Slots first, as arcs lead forward to them.
        for node in 0..=graph.nodes() {
            graph.first.push((node.min(graph.inner()) * clocks + graph.leads.len()) as u32);
            graph.slots.push((node + graph.leads.len()) as u32);
            if problem.leads && node < graph.nodes() {
                builder.leads(node / clocks, node % clocks, &mut graph.leads);
            }
        }
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
                graph.arc(&builder, builder.block(block, clock), last_s, (block + 1, clock, last_s));
                for next in (0..clocks).filter(|next| *next != clock) {
                    graph.change_now(&builder, (block, clock, next));
                }
            }
            for i in graph.leads_of(node) {
                graph.change_at_boundary(&builder, (block, clock), graph.leads[i]);
            }
        }
        if problem.leads {
            graph.entries(&builder);
        }
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
    pub fn slots_of(&self, node: usize) -> Range<usize> {
        self.slots[node] as usize..self.slots[node + 1] as usize
    }

    /// A node's arcs: those that all its levels have, and the leads, one more of them with each level.
    pub fn arcs_of(&self, node: usize) -> (Range<usize>, Range<usize>) {
        let (from, to) = (self.first[node] as usize, self.first[node + 1] as usize);
        let leads = if node < self.inner() { from + self.clocks } else { from };
        (from..leads, leads..to)
    }

    /// What an arc of a node writes; `last_s` is how long the block before the node took on the way to it.
    pub fn write(&self, node: usize, arc: usize, last_s: f64) -> Option<Write> {
        let (block, clock) = (node / self.clocks, node % self.clocks);
        let (own, leads) = self.arcs_of(node);
        if arc >= leads.start {
            let lead = self.leads[self.leads_of(node).start + arc - leads.start];
            return Some(Write { block: block - 1, delay_s: last_s - lead.before_s, to: lead.next });
        }
        let nth = arc - own.start;
        let to = if nth <= clock { nth.checked_sub(1)? } else { nth };
        Some(Write { block, delay_s: 0.0, to })
    }

    /// A block's start at a clock that is kept, or written to another one: what follows, and the node behind it.
    pub fn choose(&self, block: usize, clock: usize, choice: usize) -> &Arc {
        let own = self.arcs_of(block * self.clocks + clock).0;
        let nth = if choice < clock { choice + 1 } else { choice };
        &self.arcs[own.start + if choice == clock { 0 } else { nth }]
    }

    /// What follows where, in the block that an arc ends with, a change is written a lead before a boundary: `lead`, as
    /// [`Graph::write`] has it but for the delay, which is the nearest that there is.
    pub fn then(&self, arc: &Arc, lead: &Write) -> Arc {
        let node = arc.node as usize;
        if node >= self.nodes() || node / self.clocks != lead.block + 1 {
            return *arc;
        }
        let fits = |at: &LeadArc| at.next == lead.to && at.before_s < arc.last_s;
        let leads = self.leads_of(node).zip(self.arcs_of(node).1).filter(|(i, _)| fits(&self.leads[*i]));
        let off = |i: usize| (arc.last_s - self.leads[i].before_s - lead.delay_s).abs();
        let Some((_, index)) = leads.min_by(|a, b| off(a.0).total_cmp(&off(b.0))) else { return *arc };
        let mut both = self.arcs[index];
        both.cost.add(arc.cost);
        both
    }

    /// The least sum from every slot to the end, by what each arc adds and the ends at each clock; those of the tails
    /// stand in `to_go` already.
    pub fn backward(&self, to_go: &mut [f64], adds: &[f64], ends: &[f64]) {
        for node in (0..self.nodes()).rev() {
            let (own, leads) = self.arcs_of(node);
            let mut least = node.checked_sub(self.inner()).map_or(f64::INFINITY, |clock| ends[clock]);
            for (adds, to) in adds[own.clone()].iter().zip(&self.to[own]) {
                let value = adds + to_go[*to as usize];
                // Plainly, as f64::min is slower for its care of NaN.
                if value < least {
                    least = value;
                }
            }
            let slot = self.slots[node] as usize;
            to_go[slot] = least;
            for (level, (adds, to)) in adds[leads.clone()].iter().zip(&self.to[leads]).enumerate() {
                let value = adds + to_go[*to as usize];
                if value < least {
                    least = value;
                }
                to_go[slot + 1 + level] = least;
            }
        }
    }

    /// Positions among the leads.
    fn leads_of(&self, node: usize) -> Range<usize> {
        self.slots[node] as usize - node..self.slots[node + 1] as usize - node - 1
    }

    /// The slot of a node that is reached with its clock in effect for `window_s` of the block before.
    fn slot(&self, builder: &Builder<'_>, (block, clock, window_s): (usize, usize, f64)) -> u32 {
        let node = block * self.clocks + clock;
        let least = window_s - CLOSE * builder.problem.blocks[block - 1].time_s[clock];
        let level = self.leads[self.leads_of(node)].partition_point(|lead| lead.before_s < least);
        self.slots[node] + level as u32
    }

    fn arc(&mut self, builder: &Builder<'_>, cost: Cost, last_s: f64, to: (usize, usize, f64)) {
        self.to.push(self.slot(builder, to));
        self.arcs.push(Arc { cost, last_s, node: (to.0 * self.clocks + to.1) as u32 });
    }

    /// To a change that takes effect when the frame is over.
    fn tail(&mut self, cost: Cost, tail: Tail) {
        self.to.push((self.tails_from() + self.tails.len()) as u32);
        self.arcs.push(Arc { cost, last_s: 0.0, node: (self.nodes() + self.tails.len()) as u32 });
        self.tails.push(tail);
    }

    /// Written at the block's start: the old clock runs for the settle time, into the block where the change lands.
    fn change_now(&mut self, builder: &Builder<'_>, (block, clock, next): (usize, usize, usize)) {
        let problem = builder.problem;
        let change = problem.change(clock, next);
        let time = &builder.time_s[clock];
        let effect = time[block] + change.settle_s;
        let landing = time.partition_point(|t| *t <= effect) - 1;
        if landing >= self.blocks {
            let settle_s = effect - time[self.blocks];
            let tail = Tail { from: clock, idle: next, settle_s, stall_s: change.stall_s, written_at_end: false };
            self.tail(builder.run(clock, block, self.blocks), tail);
            return;
        }
        let times = &problem.blocks[landing].time_s;
        let share = (effect - time[landing]) / times[clock];
        let behind_s = change.stall_s + (1.0 - share) * times[next];
        let mut cost = builder.run(clock, block, landing);
        cost.add(builder.landed(landing, share, (clock, next)));
        let to = (landing + 1, next, behind_s - problem.blind_s(clock, next));
        self.arc(builder, cost, share * times[clock] + behind_s, to);
    }

    /// Written before the node, in effect exactly at a later boundary or at this one.
    fn change_at_boundary(&mut self, builder: &Builder<'_>, (block, clock): (usize, usize), lead: LeadArc) {
        let LeadArc { next, boundary, .. } = lead;
        if boundary == self.blocks {
            let stall_s = builder.problem.change(clock, next).stall_s;
            let tail = Tail { from: clock, idle: next, settle_s: 0.0, stall_s, written_at_end: false };
            return self.tail(builder.run(clock, block, boundary), tail);
        }
        let (cost, last_s, window_s) = builder.landing((block, clock), (boundary, next));
        self.arc(builder, cost, last_s, (boundary + 1, next, window_s));
    }

    /// A change that is to be in effect at boundary 0 is written early enough even for a late one: see `Frame::wake`.
    fn entries(&mut self, builder: &Builder<'_>) {
        let problem = builder.problem;
        for from in 0..self.clocks {
            for next in (0..self.clocks).filter(|next| *next != from) {
                for boundary in 1..self.blocks {
                    let lead_s = problem.change(from, next).settle_s - builder.time_s[from][boundary];
                    if lead_s <= CLOSE * problem.blocks[0].time_s[from] {
                        break;
                    }
                    let (cost, last_s, window_s) = builder.landing((0, from), (boundary, next));
                    let to = self.slot(builder, (boundary + 1, next, window_s));
                    let arc = Arc { cost, last_s, node: ((boundary + 1) * self.clocks + next) as u32 };
                    self.entries.push(Entry { from, next, lead_s, arc, to });
                }
            }
        }
    }
}

impl<'a> Builder<'a> {
    fn new(problem: &'a Problem) -> Self {
        let mut builder = Self { problem, time_s: Vec::new(), cost: Vec::new(), late_s: Vec::new() };
        for clock in 0..problem.clocks.len() {
            builder.late_s.push(problem.blocks.iter().map(|block| problem.late_s(block, clock)).collect());
            let mut total = Cost::default();
            let mut costs = std::vec![total];
            for block in 0..problem.blocks.len() {
                total.add(builder.block(block, clock));
                costs.push(total);
            }
            builder.time_s.push(costs.iter().map(|c| c.time_s).collect());
            builder.cost.push(costs);
        }
        builder
    }

    /// The leads that end at a node or behind it and are written in the block before it, those that look back least
    /// first. Behind a change that landed there, its stall leaves room for leads besides.
    fn leads(&self, block: usize, clock: usize, leads: &mut Vec<LeadArc>) {
        let Some(before) = block.checked_sub(1) else { return };
        let (problem, time, clocks) = (self.problem, &self.time_s[clock], self.problem.clocks.len());
        let stall_s = (0..clocks).map(|from| problem.change(from, clock).stall_s).fold(0.0, f64::max);
        let length = problem.blocks[before].time_s[clock];
        let first = leads.len();
        for next in (0..clocks).filter(|next| *next != clock) {
            let effect = time[block] + problem.change(clock, next).settle_s;
            let earliest = time.partition_point(|t| *t <= effect - length - stall_s).max(block);
            for (boundary, at) in time.iter().enumerate().skip(earliest) {
                let before_s = effect - at;
                if before_s <= CLOSE * length {
                    break;
                }
                let place = first + leads[first..].partition_point(|lead| lead.before_s <= before_s);
                leads.insert(place, LeadArc { before_s, next, boundary });
            }
        }
    }

    /// From a block's start at one clock through the block at whose start another one takes effect; how long that block
    /// takes, and for how long of it leads may be written.
    fn landing(&self, (block, clock): (usize, usize), (boundary, next): (usize, usize)) -> (Cost, f64, f64) {
        let mut cost = self.run(clock, block, boundary);
        cost.add(self.landed(boundary, 0.0, (clock, next)));
        let last_s = self.problem.change(clock, next).stall_s + self.problem.blocks[boundary].time_s[next];
        (cost, last_s, last_s - self.problem.blind_s(clock, next))
    }

    /// A block of which `share` is done at the old clock, then comes the stall and the rest at the new one.
    fn landed(&self, block: usize, share: f64, (old, new): (usize, usize)) -> Cost {
        let change = self.problem.change(old, new);
        let blocks_s = share * self.late_s[old][block] + (1.0 - share) * self.late_s[new][block];
        let block = &self.problem.blocks[block];
        let (before, after) = (share * block.time_s[old], (1.0 - share) * block.time_s[new]);
        let stall_j = change.stall_s * self.problem.idle_w[new];
        Cost {
            energy_j: before * block.power_w[old] + stall_j + after * block.power_w[new],
            time_s: before + change.stall_s + after,
            late_s: blocks_s + self.problem.late_settle_s(block, old, new),
        }
    }

    fn block(&self, block: usize, clock: usize) -> Cost {
        let (late_s, block) = (self.late_s[clock][block], &self.problem.blocks[block]);
        Cost { energy_j: block.power_w[clock] * block.time_s[clock], time_s: block.time_s[clock], late_s }
    }

    fn run(&self, clock: usize, from: usize, to: usize) -> Cost {
        let (a, b) = (self.cost[clock][from], self.cost[clock][to]);
        Cost { energy_j: b.energy_j - a.energy_j, time_s: b.time_s - a.time_s, late_s: b.late_s - a.late_s }
    }
}
