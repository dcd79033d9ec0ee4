//! Planning: a clock for every block and for the idle gap, such that a frame in the steady state costs the least
//! energy and misses its deadline with at most the accepted probability.
//!
//! A [`Problem`] says what everything costs, a [`Schedule`] what is written when. [`evaluate`] judges schedules
//! and shares no code with the search.

pub mod cooperative;
mod evaluate;
mod fixed;
mod from_model;
mod granularity;
mod objective;
mod policy;
mod problem;
mod rehearsal;
mod schedule;
mod sizes;
mod table;
#[cfg(test)]
mod tests;

pub use evaluate::{Course, evaluate};
pub use fixed::{best_fixed, fixed};
pub use from_model::Ask;
pub use granularity::granularity;
pub use objective::plan_for;
pub use policy::feedback::{Expected, Feedback, expected, feedback};
pub use problem::{BlockCost, Bursts, ChangeCost, LEVELS, Noise, Problem, at_level};
pub use rehearsal::dependable::{dependable, dependable_at, rehearsed_plan};
pub use sizes::SizeClass;
pub use table::{Holds, list_table};

use std::string::String;
use std::vec::Vec;

use schedule::{cut, graph, search};

/// A write at a time within a frame.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Write {
    /// The block in which it is issued.
    pub block: usize,
    /// From the block's start; 0 is at the boundary.
    pub delay_s: f64,
    /// The clock written.
    pub to: usize,
}

/// What is written when. Clocks are positions in [`Problem::clocks`].
///
/// Writes are issued at the starts of blocks, or a lead before a boundary, so that the change takes effect there; the
/// idle clock at a frame's end; the first clock before the next frame, so that it is in effect at that frame's start or
/// at a later boundary of it. No write is issued while a change is on its way, and no lead behind one until it is in
/// effect even when it is late ([`Problem::blind_s`]).
///
/// Nothing is lost by the last. Say that write B is issued while write A's change is on its way. By the settle law B
/// takes A's place: what runs, stalls and draws power between the two is what would have run without A, and behind B
/// only B counts (its settle time starts anew, from the clock in effect, which A has not moved). So the schedule without
/// A has the same course. If B writes the clock in effect it calls A off, and both can go.
///
/// Between frames one thing is left out on purpose: a change that is written before the frame's last block has ended (or
/// then) and that takes effect in the next frame. When that is hangs on how long this frame took, and so the risk
/// counted for the next one would be wrong. What the gap writes is timed from the next frame's start.
#[derive(Clone, Debug, PartialEq)]
pub struct Schedule {
    /// The clock in effect when a frame starts.
    pub start: usize,
    /// In order.
    pub writes: Vec<Write>,
    /// Written at the frame's end; `None` leaves the clock alone.
    pub idle: Option<usize>,
    /// Written before the next frame's start, so that it is in effect there or at a later boundary: clock and lead.
    pub wake: Option<(usize, f64)>,
}

impl Schedule {
    /// One clock for everything.
    pub fn fixed(clock: usize) -> Self {
        Self { start: clock, writes: Vec::new(), idle: None, wake: None }
    }

    /// The clock in effect when a frame starts, or on its way there.
    pub fn first(&self) -> usize {
        self.wake.map_or(self.start, |wake| wake.0)
    }

    /// How many writes a frame has.
    pub fn writes_per_frame(&self) -> usize {
        self.writes.len() + usize::from(self.idle.is_some()) + usize::from(self.wake.is_some())
    }
}

/// What a schedule comes to, per frame in the steady state.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Outcome {
    /// Expected energy of a period.
    pub energy_j: f64,
    /// Expected time of a frame.
    pub time_s: f64,
    /// The part of its spread that is common to all blocks: the sum of their [`Problem::spread_s`].
    pub common_sd_s: f64,
    /// What settle times add: the sum of squares of [`Problem::settle_spread_s`] times its effect on the frame.
    pub settle_var_s2: f64,
    /// The sum of the blocks' variances.
    pub block_var_s2: f64,
}

/// What is to be least.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Objective {
    /// Energy, under the deadline.
    Energy,
    /// Time (with its margin), under an energy per period.
    Time {
        /// The most energy a period may take.
        energy_j: f64,
    },
    /// Energy times time (with its margin), under the deadline.
    EnergyDelay,
}

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
    let spread = cut::Spread::new(problem);
    let graph = graph::Graph::new(problem, spread.block_share);
    let best_fixed = best_fixed(problem);
    let known_j = best_fixed.as_ref().map_or(f64::INFINITY, |(_, _, outcome)| outcome.energy_j);
    let (found, least_j) = search::least_energy(problem, &graph, spread, known_j);
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
fn unreachable(problem: &Problem) -> PlanError {
    let least_s = (0..problem.clocks.len())
        .map(|clock| problem.bound_s(&fixed::frame(problem, clock)))
        .fold(f64::INFINITY, f64::min);
    PlanError::Unreachable { deadline_s: problem.deadline_s, risk: problem.risk, least_s }
}

/// Why there is no plan.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum PlanError {
    /// The problem contradicts itself.
    #[error("{0}")]
    Invalid(String),
    /// The model has no such network.
    #[error("the model has no such network")]
    NoNetwork,
    /// The sweep lacks what planning needs.
    #[error("the model has no {what}: {remedy}")]
    NotMeasured {
        /// What is missing.
        what: &'static str,
        /// Where to get it.
        remedy: &'static str,
    },
    /// No clock is fast enough.
    #[error(
        "no plan meets the deadline of {deadline_ms:.3} ms at the risk of {risk}: the least reachable one is \
         {least_ms:.3} ms; ask for that or more, accept more risk, or raise the power mode",
        deadline_ms = .deadline_s * 1e3, least_ms = .least_s * 1e3
    )]
    Unreachable {
        /// Asked for.
        deadline_s: f64,
        /// The accepted probability of a miss.
        risk: f64,
        /// The least deadline that can be met.
        least_s: f64,
    },
    /// Nothing is frugal enough.
    #[error("no plan stays within {asked_j:.6} J a period: the least possible is {least_j:.6} J")]
    TooLittleEnergy {
        /// Asked for.
        asked_j: f64,
        /// The least energy of any plan that fits into the period.
        least_j: f64,
    },
}
