//! One step of value iteration: backward over a frame, from what the next one costs to what this one does, and to its
//! entries. Costs are energy and the price of misses together, in joules.

use std::vec;
use std::vec::Vec;

use super::belief::Belief;
use super::entry;
use super::grid::{BINS, at};
use super::transition::{Dynamics, Transition};
use crate::plan::rehearsal::bursts::MatchedBursts;
use crate::plan::sizes::SizeClass;
use crate::table::{Entry, Table};

/// What is asked of a policy.
#[derive(Clone, Copy)]
pub(in crate::plan) struct Choices {
    /// Of a miss, in joules.
    pub price: f64,
    /// Without the form of an entry.
    pub free: bool,
}

/// What follows from a block's start at one clock: for each level of the burst that it starts in, and within it for each
/// bin. Behind the levels stands their mean: what follows where another burst begins. Behind the frame's end only bins.
type CostToGo = Vec<f64>;

/// The program of one size class.
pub(in crate::plan) struct Program<'a> {
    pub(super) share: f64,
    dynamics: Dynamics<'a>,
    /// For each block, level by level.
    beliefs: Vec<Vec<Belief>>,
}

impl<'a> Program<'a> {
    pub fn new((class, bursts): &'a (SizeClass<'a>, MatchedBursts<'a>)) -> Self {
        let dynamics = Dynamics::new(class, bursts);
        let beliefs = dynamics.levels.beliefs(class.plan, &dynamics.grid);
        Self { share: class.share, dynamics, beliefs }
    }

    /// What a frame costs from each clock (row) with a change to each other one just written, and its entries.
    pub(super) fn frame(&self, table: &Table, choices: Choices, next_frame: &[f64]) -> (Vec<f64>, Vec<Entry>) {
        let (dynamics, clocks) = (&self.dynamics, self.dynamics.clocks());
        let blocks = dynamics.problem.blocks.len();
        let mut costs_to_go: Vec<CostToGo> = vec![Vec::new(); blocks * clocks];
        let end = |clock, change| self.end(table, clock, change, next_frame, choices.price);
        costs_to_go.extend((0..clocks).map(|clock| end(clock, None)));
        costs_to_go.extend(dynamics.graphs.iter().flat_map(|graph| &graph.tails).map(
            |tail| match tail.written_at_end {
                true => Vec::new(),
                false => end(tail.idle, Some((tail.from, tail.settle_s))),
            },
        ));
        let mut starts = vec![0.0; clocks * clocks];
        let mut entries = vec![Entry::always(table.safe); blocks * clocks];
        for block in (0..blocks).rev() {
            for clock in 0..clocks {
                let node = block * clocks + clock;
                // Anew for every frame: kept for all nodes they are no faster, as they fall out of the cache.
                let transitions: Vec<_> =
                    (0..clocks).map(|choice| dynamics.transitions(block, clock, choice)).collect();
                let costs = self.expected(block, &transitions, &costs_to_go);
                let chosen =
                    if choices.free { entry::cheapest(&costs, clocks) } else { entry::falling(&costs, clocks) };
                entries[node] =
                    entry::entry(table, dynamics.problem.deadline_s, &chosen, |bin| dynamics.grid.elapsed(block, bin));
                costs_to_go[node] = self.follow(&transitions, &chosen, &costs_to_go);
                if block == 0 {
                    for (choice, transition) in transitions.iter().enumerate() {
                        starts[node * clocks + choice] = match choice == clock {
                            true => costs_to_go[node][dynamics.levels.count() * BINS],
                            false => self.begun(transition, &costs_to_go),
                        };
                    }
                }
            }
        }
        (starts, entries)
    }

    /// What a frame costs that starts as the table has it, of what it costs from clock to clock.
    pub(super) fn planned(&self, table: &Table, starts: &[f64]) -> f64 {
        let (idle, first) = (table.gap.idle.index(), table.gap.first.index());
        let lead_s = table.gap.wake_lead.as_secs_f64();
        let wakes = idle != first && lead_s > 0.0;
        let change = wakes.then(|| (idle, self.dynamics.problem.change(idle, first).settle_s - lead_s));
        self.started(first, change, starts)
    }

    /// What a frame costs at whose start a clock is in effect, or on its way from another one for so long: between a
    /// change that is done and one written at the start.
    fn started(&self, clock: usize, change: Option<(usize, f64)>, starts: &[f64]) -> f64 {
        let start = |from: usize| starts[from * self.dynamics.clocks() + clock];
        let Some((from, left_s)) = change else { return start(clock) };
        let part = (left_s / self.dynamics.problem.change(from, clock).settle_s.max(1e-12)).clamp(0.0, 1.0);
        start(clock) + part * (start(from) - start(clock))
    }

    /// Costs to go behind the frame's end, by bin, whatever the burst: the gap, and what the next frame costs more where
    /// it does not start as planned. `clock` is in effect once a change from another one is, which takes the given time.
    fn end(&self, table: &Table, clock: usize, change: Option<(usize, f64)>, starts: &[f64], price: f64) -> CostToGo {
        let problem = self.dynamics.problem;
        let (idle, first) = (table.gap.idle.index(), table.gap.first.index());
        let settle = if clock == idle { 0.0 } else { problem.change(clock, idle).settle_s };
        let wake_lead_s = table.gap.wake_lead.as_secs_f64();
        let planned = self.planned(table, starts);
        let cost = |bin| {
            let elapsed = self.dynamics.grid.elapsed(problem.blocks.len(), bin);
            let left = (problem.period_s - elapsed).max(0.0);
            // As the governor does it: the idle clock where there is time to.
            let worth = clock != idle && settle < left - wake_lead_s;
            let (idles, changes) = if worth { (idle, settle) } else { (clock, 0.0) };
            let mut cost = problem.idle_w[idles] * left + (problem.idle_w[clock] - problem.idle_w[idles]) * changes;
            if !worth {
                // The clock of the next frame, and what may still be on its way to it there.
                let woken = wake_lead_s > 0.0 && clock != first;
                let (next, on_its_way) = if woken {
                    (first, Some((clock, problem.change(clock, first).settle_s - left.min(wake_lead_s))))
                } else {
                    (clock, change.map(|(from, takes)| (from, takes - left)))
                };
                cost += self.started(next, on_its_way, starts) - planned;
            }
            if elapsed > problem.deadline_s {
                cost += price;
            }
            // A frame that outlasts its period delays the next one, at the price of what it draws meanwhile.
            cost + problem.idle_w[clock] * (elapsed - problem.period_s).max(0.0)
        };
        (0..BINS).map(cost).collect()
    }

    /// What each choice costs at a block's start, for each bin (row), times the likelihood of the bin.
    fn expected(&self, block: usize, transitions: &[[Transition; 2]], costs_to_go: &[CostToGo]) -> Vec<f64> {
        let mut costs = vec![f64::INFINITY; BINS * transitions.len()];
        for (choice, transition) in transitions.iter().enumerate() {
            let mut sums = [0.0; BINS];
            for transition in transition {
                for (level, belief) in self.beliefs[block].iter().enumerate() {
                    let landing = &transition.landings[level];
                    let next = transition.next(&costs_to_go[transition.to], level);
                    for bin in belief.bins.clone() {
                        let here = transition.slope * bin as f64;
                        let both = at(&next, here + landing.early) + at(&next, here + landing.late);
                        sums[bin] += belief.weights[bin] * (landing.energy_j + 0.5 * both);
                    }
                }
            }
            for (bin, sum) in sums.iter().enumerate() {
                costs[bin * transitions.len() + choice] = *sum;
            }
        }
        costs
    }

    /// What a frame comes to that starts with a choice.
    fn begun(&self, transitions: &[Transition; 2], costs_to_go: &[CostToGo]) -> f64 {
        let mut found = 0.0;
        for transition in transitions {
            for (level, share) in self.dynamics.levels.shares().enumerate() {
                let landing = &transition.landings[level];
                let next = transition.next(&costs_to_go[transition.to], level);
                found += 0.5 * share * (landing.energy_j + 0.5 * (at(&next, landing.early) + at(&next, landing.late)));
            }
        }
        found
    }

    /// The costs to go of a block's start at which these choices are made, one per bin.
    fn follow(&self, transitions: &[[Transition; 2]], chosen: &[usize], costs_to_go: &[CostToGo]) -> CostToGo {
        let mut found = Vec::with_capacity((self.dynamics.levels.count() + 1) * BINS);
        let mut mean = vec![0.0; BINS];
        for (level, share) in self.dynamics.levels.shares().enumerate() {
            let behind = |transition: &Transition| transition.next(&costs_to_go[transition.to], level);
            let next: Vec<_> = transitions
                .iter()
                .enumerate()
                .map(|(choice, of)| chosen.contains(&choice).then(|| of.each_ref().map(behind)))
                .collect();
            for (bin, choice) in chosen.iter().enumerate() {
                let mut cost = 0.0;
                for (transition, next) in transitions[*choice].iter().zip(next[*choice].iter().flatten()) {
                    let (landing, here) = (&transition.landings[level], transition.slope * bin as f64);
                    let both = at(next, here + landing.early) + at(next, here + landing.late);
                    cost += 0.5 * (landing.energy_j + 0.5 * both);
                }
                found.push(cost);
                mean[bin] += share * cost;
            }
        }
        found.extend(mean);
        found
    }
}
