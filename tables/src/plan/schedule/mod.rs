//! The search for the schedule of least energy: a resource-constrained shortest path (the resource is the time of a
//! late frame) through a graph of what may be written when; bounds by a Lagrangian dual (Handler and Zang, Networks 10, 1980),
//! labels kept by dominance (Desrochers and Soumis, INFOR 26, 1988) and taken up best first.

mod dual;
pub(super) mod graph;
mod labels;
mod search;

use std::vec::Vec;

use super::error::PlanError;
use super::evaluate::evaluate;
use super::fixed::{self, best_fixed};
use super::problem::Problem;
use super::writes::{Outcome, Schedule};

/// A plan, with what it was chosen over.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// What is written when.
    pub schedule: Schedule,
    /// What it comes to, by the evaluator.
    pub outcome: Outcome,
    /// The clock that each block was given: the one in effect at its end.
    pub block_clocks: Vec<usize>,
    /// When each block starts, in seconds from the frame's start.
    pub block_starts_s: Vec<f64>,
    /// By how much, as a fraction, a better plan could still be better; 0 where the search was exhaustive.
    pub gap_bound: f64,
    /// The best fixed clock, with the same choice of idle clocks; `None` where no fixed clock meets the deadline.
    pub best_fixed: Option<(usize, Schedule, Outcome)>,
}

impl Plan {
    /// One clock serves all blocks.
    pub fn one_clock_is_best(&self) -> bool {
        self.schedule.writes.is_empty()
    }

    /// Energy saved over the best fixed clock, as a fraction of it.
    pub fn gain(&self) -> Option<f64> {
        self.best_fixed.as_ref().map(|(_, _, fixed)| 1.0 - self.outcome.energy_j / fixed.energy_j)
    }
}

/// Finds the schedule of least energy that meets the deadline at the risk.
pub fn plan(problem: &Problem) -> Result<Plan, PlanError> {
    problem.check()?;
    let graph = graph::Graph::new(problem);
    let best_fixed = best_fixed(problem);
    let known_j = best_fixed.as_ref().map_or(f64::INFINITY, |(_, _, outcome)| outcome.energy_j);
    let (found, least_j) = search::least_energy(problem, &graph, known_j);
    let better = found.and_then(|schedule| Some((evaluate(problem, &schedule)?.0, schedule)));
    let schedule = match (better, &best_fixed) {
        (Some((outcome, schedule)), _) if outcome.energy_j < known_j => schedule,
        (_, Some((_, schedule, _))) => schedule.clone(),
        _ => return Err(unreachable(problem)),
    };
    let (outcome, course) = evaluate(problem, &schedule).ok_or_else(|| unreachable(problem))?;
    Ok(Plan {
        schedule,
        gap_bound: (1.0 - least_j / outcome.energy_j).max(0.0),
        outcome,
        block_clocks: course.clocks,
        block_starts_s: course.starts_s,
        best_fixed,
    })
}

/// The least deadline that a fixed clock reaches.
pub(super) fn unreachable(problem: &Problem) -> PlanError {
    let least_s = (0..problem.clocks.len())
        .map(|clock| problem.bound_s(&fixed::frame(problem, clock)))
        .fold(f64::INFINITY, f64::min);
    PlanError::Unreachable { deadline_s: problem.deadline_s, risk: problem.risk, least_s }
}
