//! The choices of a frame as a graph: a node is a block's start with a clock in effect and no change on its way, an
//! arc is a block run through, or a change of clock from its write to the end of the block in which it lands.

use std::vec::Vec;

use super::{Problem, Write};

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
    pub fn add(&mut self, other: Cost) {
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
    /// Index of the node that it leads to, or of a tail.
    pub to: u32,
}

pub(super) struct Graph {
    pub clocks: usize,
    pub blocks: usize,
    /// Arcs of node `block * clocks + clock` are `arcs[first[node]..first[node + 1]]`, ends excepted.
    pub arcs: Vec<Arc>,
    /// What each arc writes, apart from the arcs so that these lie close together.
    pub writes: Vec<Option<Write>>,
    pub first: Vec<u32>,
    /// Arcs to a node at or above `blocks * clocks` lead to the tail `to - blocks * clocks`; one per clock in effect
    /// and idle clock comes first, in the order `from * clocks + idle`.
    pub tails: Vec<Tail>,
}

/// Costs of runs of blocks at one clock, as sums from the frame's start.
struct Sums {
    time_s: Vec<Vec<f64>>,
    cost: Vec<Vec<Cost>>,
    /// Of each block, not as a sum.
    spread_s: Vec<Vec<f64>>,
}

impl Graph {
    pub fn new(problem: &Problem, independent: f64) -> Self {
        let (clocks, blocks) = (problem.clocks.len(), problem.blocks.len());
        let sums = Sums::new(problem, independent);
        let mut graph =
            Self { clocks, blocks, arcs: Vec::new(), writes: Vec::new(), first: Vec::new(), tails: Vec::new() };
        for from in 0..clocks {
            for idle in 0..clocks {
                let change = problem.change(from, idle);
                let (settle_s, stall_s) = if from == idle { (0.0, 0.0) } else { (change.settle_s, change.stall_s) };
                graph.tails.push(Tail { from, idle, settle_s, stall_s, written_at_end: from != idle });
            }
        }
        for block in 0..blocks {
            for clock in 0..clocks {
                graph.first.push(graph.arcs.len() as u32);
                let to = graph.node(block + 1, clock);
                graph.arc(sums.block(block, clock, problem, independent), to, None);
                for next in (0..clocks).filter(|next| *next != clock) {
                    graph.change_now(problem, &sums, independent, (block, clock, next));
                    if problem.leads {
                        graph.change_at_boundaries(problem, &sums, independent, (block, clock, next));
                    }
                }
            }
        }
        graph.first.push(graph.arcs.len() as u32);
        graph
    }

    /// The node, or behind the last block the index of "at this clock": see [`Graph::ends`].
    fn node(&self, block: usize, clock: usize) -> u32 {
        (block * self.clocks + clock) as u32
    }

    /// Where the tails start among the indices that arcs lead to.
    pub fn tails_from(&self) -> usize {
        (self.blocks + 1) * self.clocks
    }

    /// The indices of a node's arcs.
    pub fn range(&self, node: usize) -> core::ops::Range<usize> {
        self.first[node] as usize..self.first[node + 1] as usize
    }

    pub fn arcs_of(&self, node: usize) -> &[Arc] {
        &self.arcs[self.range(node)]
    }

    fn arc(&mut self, cost: Cost, to: u32, write: Option<Write>) {
        self.arcs.push(Arc { cost, to });
        self.writes.push(write);
    }

    /// The least sum over any path.
    pub fn least(&self, of: impl Fn(&Cost) -> f64) -> f64 {
        let inner = self.blocks * self.clocks;
        let mut to_go = std::vec![0.0; self.tails_from() + self.tails.len()];
        for node in (0..inner).rev() {
            let through = |arc: &Arc| of(&arc.cost) + to_go[arc.to as usize];
            to_go[node] = self.arcs_of(node).iter().map(through).fold(f64::INFINITY, f64::min);
        }
        to_go[..self.clocks].iter().copied().fold(f64::INFINITY, f64::min)
    }

    fn tail(&mut self, tail: Tail) -> u32 {
        self.tails.push(tail);
        (self.tails_from() + self.tails.len() - 1) as u32
    }

    /// Written at the block's start: the old clock runs for the settle time, into the block where the change lands.
    fn change_now(
        &mut self,
        problem: &Problem,
        sums: &Sums,
        independent: f64,
        (block, clock, next): (usize, usize, usize),
    ) {
        let change = problem.change(clock, next);
        let write = Some(Write { block, delay_s: 0.0, to: next });
        let time = &sums.time_s[clock];
        let effect = time[block] + change.settle_s;
        let landing = time.partition_point(|t| *t <= effect) - 1;
        if landing >= self.blocks {
            let settle_s = effect - time[self.blocks];
            let stall_s = change.stall_s;
            let to = self.tail(Tail { from: clock, idle: next, settle_s, stall_s, written_at_end: false });
            self.arc(sums.run(clock, block, self.blocks), to, write);
            return;
        }
        let mut cost = sums.run(clock, block, landing);
        let share = (effect - time[landing]) / problem.blocks[landing].time_s[clock];
        cost.add(sums.landed(problem, independent, landing, share, (clock, next)));
        let to = self.node(landing + 1, next);
        self.arc(cost, to, write);
    }

    /// Written within the block, so that it takes effect exactly at a later boundary.
    fn change_at_boundaries(
        &mut self,
        problem: &Problem,
        sums: &Sums,
        independent: f64,
        (block, clock, next): (usize, usize, usize),
    ) {
        let change = problem.change(clock, next);
        let time = &sums.time_s[clock];
        for boundary in block + 1..=self.blocks {
            let delay_s = time[boundary] - time[block] - change.settle_s;
            // At a boundary but for rounding: that is a write at the boundary, and has its own arc.
            let (early, late) = (1e-9, 1.0 - 1e-9);
            if delay_s <= early * problem.blocks[block].time_s[clock] {
                continue;
            }
            if delay_s >= late * problem.blocks[block].time_s[clock] {
                break;
            }
            let write = Some(Write { block, delay_s, to: next });
            let mut cost = sums.run(clock, block, boundary);
            let to = if boundary == self.blocks {
                let stall_s = change.stall_s;
                self.tail(Tail { from: clock, idle: next, settle_s: 0.0, stall_s, written_at_end: false })
            } else {
                cost.add(sums.landed(problem, independent, boundary, 0.0, (clock, next)));
                self.node(boundary + 1, next)
            };
            self.arc(cost, to, write);
        }
    }
}

impl Sums {
    fn new(problem: &Problem, independent: f64) -> Self {
        let mut sums = Self { time_s: Vec::new(), cost: Vec::new(), spread_s: Vec::new() };
        for clock in 0..problem.clocks.len() {
            sums.spread_s.push(problem.blocks.iter().map(|block| problem.spread_s(block, clock)).collect());
            let mut total = Cost::default();
            let mut costs = std::vec![total];
            for block in 0..problem.blocks.len() {
                total.add(sums.block(block, clock, problem, independent));
                costs.push(total);
            }
            sums.time_s.push(costs.iter().map(|c| c.time_s).collect());
            sums.cost.push(costs);
        }
        sums
    }

    /// A block of which `share` is done at the old clock, then comes the stall and the rest at the new one.
    fn landed(
        &self,
        problem: &Problem,
        independent: f64,
        block: usize,
        share: f64,
        (old, new): (usize, usize),
    ) -> Cost {
        let change = problem.change(old, new);
        let (old_s, new_s) = (self.spread_s[old][block], self.spread_s[new][block]);
        let block = &problem.blocks[block];
        let (before, after) = (share * block.time_s[old], (1.0 - share) * block.time_s[new]);
        let sd_s = share * old_s + (1.0 - share) * new_s;
        let slope = 1.0 - block.time_s[new] / block.time_s[old];
        Cost {
            energy_j: before * block.power_w[old] + change.stall_s * problem.idle_w[new] + after * block.power_w[new],
            time_s: before + change.stall_s + after,
            sd_s,
            var_s2: independent * sd_s * sd_s + (slope * problem.settle_spread_s(old, new)).powi(2),
        }
    }

    fn block(&self, block: usize, clock: usize, problem: &Problem, independent: f64) -> Cost {
        let (sd_s, block) = (self.spread_s[clock][block], &problem.blocks[block]);
        let time_s = block.time_s[clock];
        Cost { energy_j: block.power_w[clock] * time_s, time_s, sd_s, var_s2: independent * sd_s * sd_s }
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
