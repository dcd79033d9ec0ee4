//! Where a choice at a block's start leads.

use std::vec::Vec;

use super::belief::Levels;
use super::grid::{BINS, Grid};
use crate::math;
use crate::plan::problem::Problem;
use crate::plan::rehearsal::bursts::MatchedBursts;
use crate::plan::schedule::Plan;
use crate::plan::schedule::graph::{Cost, Graph};
use crate::plan::sizes::SizeClass;

/// Where in the bins of the next block's start one comes out at one level, early and late by what does not depend on the
/// frame; a bin further on here is `slope` bins there.
#[derive(Clone, Copy, Debug)]
pub(super) struct Landing {
    pub energy_j: f64,
    pub early: f64,
    pub late: f64,
}

/// A choice at a block's start: the node that it leads to, and its landings, one per level.
#[derive(Clone, Debug)]
pub(super) struct Transition {
    pub to: usize,
    pub slope: f64,
    /// How likely the burst still lasts there.
    pub stays: f64,
    pub landings: Vec<Landing>,
}

impl Transition {
    /// What follows behind it from a level, by bin: of that level's costs to go, or of their mean where the burst has
    /// ended. Behind the frame's end it is the same for all.
    pub fn next(&self, costs_to_go: &[f64], level: usize) -> Vec<f64> {
        if costs_to_go.len() == BINS {
            return costs_to_go.to_vec();
        }
        let (of, mean) = (&costs_to_go[level * BINS..(level + 1) * BINS], &costs_to_go[costs_to_go.len() - BINS..]);
        of.iter().zip(mean).map(|(of, mean)| self.stays * of + (1.0 - self.stays) * mean).collect()
    }
}

/// The frames of one size class: all that may follow what is chosen.
pub(super) struct Dynamics<'a> {
    pub problem: &'a Problem,
    plan: &'a Plan,
    pub levels: Levels<'a>,
    pub grid: Grid,
    /// Of changes that take the mean settle time, a short one and a long one: a standard deviation to either side.
    pub graphs: [Graph; 3],
    /// The blocks' standard deviations per lateness in the graphs' costs, at each clock.
    sd_per_late: Vec<f64>,
}

impl<'a> Dynamics<'a> {
    pub fn new(class: &SizeClass<'a>, bursts: &'a MatchedBursts<'a>) -> Self {
        let problem = class.problem;
        let graphs = [0.0, -1.0, 1.0].map(|sign| {
            let mut problem = problem.clone();
            for change in &mut problem.changes {
                change.settle_s = (change.settle_s + sign * change.settle_sd_s).max(0.1 * change.settle_s);
                // What is late are blocks alone.
                (change.settle_sd_s, change.settle_late_s) = (0.0, change.settle_s);
            }
            Graph::new(&problem)
        });
        Self {
            problem,
            plan: class.plan,
            levels: Levels::new(bursts),
            grid: Grid::new(class.plan),
            graphs,
            sd_per_late: (0..problem.clocks.len()).map(|clock| 1.0 / problem.lateness(clock).max(1e-6)).collect(),
        }
    }

    pub fn clocks(&self) -> usize {
        self.problem.clocks.len()
    }

    /// Where a choice leads, with equal likelihood.
    pub fn transitions(&self, block: usize, clock: usize, choice: usize) -> [Transition; 2] {
        self.arcs(block, clock, choice).map(|arc| self.transition(block, clock, arc))
    }

    /// What follows a choice: two arcs that are equally likely, each with the node or the tail behind it. A change
    /// takes a short time or a long one, and may land in another block for it.
    fn arcs(&self, block: usize, clock: usize, choice: usize) -> [(Cost, usize); 2] {
        let lead = self.plan.schedule.writes.iter().find(|w| w.block == block && w.delay_s > 0.0);
        // As the governor does it: only from the clock that the plan has there.
        let lead = lead.filter(|_| self.planned_clock(block) == choice);
        let find = |of: usize| {
            let (graph, before) = (&self.graphs[of], &self.graphs[..of]);
            let plain = graph.choose(block, clock, choice);
            let arc = lead.map_or(*plain, |lead| graph.then(plain, lead));
            // The tails of the graphs stand one behind the other.
            let tails: usize = before.iter().map(|graph| graph.tails.len()).sum();
            let to = arc.node as usize;
            (arc.cost, if to < graph.nodes() { to } else { to + tails })
        };
        if choice == clock { [find(0); 2] } else { [find(1), find(2)] }
    }

    /// The clock that the plan has in effect or on its way at a block's start.
    fn planned_clock(&self, block: usize) -> usize {
        let schedule = &self.plan.schedule;
        let before = schedule.writes.iter().rfind(|w| w.block < block || (w.block == block && w.delay_s == 0.0));
        before.map_or(schedule.first(), |w| w.to)
    }

    fn transition(&self, block: usize, clock: usize, (cost, to): (Cost, usize)) -> Transition {
        let next = (to / self.clocks()).min(self.problem.blocks.len());
        let sd_s = cost.late_s * self.sd_per_late[clock];
        let mut stays = 1.0;
        let landing = |level| {
            let stretch = self.levels.stretch(clock, level, cost.time_s);
            stays = stretch.stays;
            // A block's own part, and bursts that begin in it.
            let own = math::hypot(self.levels.bursts.own, stretch.varies) * sd_s;
            let mean_s = (cost.time_s + stretch.mean * sd_s).max(0.0);
            let energy_j = cost.energy_j * mean_s / cost.time_s;
            let at = |time_s: f64| self.grid.place(next, self.grid.elapsed(block, 0) + time_s);
            Landing { energy_j, early: at(mean_s - own), late: at(mean_s + own) }
        };
        let landings = (0..self.levels.count()).map(landing).collect();
        let slope = self.grid.planned(block) / self.grid.planned(next).max(1e-12);
        Transition { to, slope, stays, landings }
    }
}
