//! Planning: a clock for every block and for the idle gap, such that a frame in the steady state costs the least
//! energy and misses its deadline with at most the accepted probability.
//!
//! A [`Problem`] says what everything costs, a [`Schedule`] what is written when. [`evaluate`] judges schedules
//! and shares no code with the search. `tests/it/layering.rs` holds the order of these modules.

pub mod cooperative;
mod error;
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
mod writes;

pub use error::PlanError;
pub use evaluate::{Course, evaluate, miss_probability};
pub use fixed::{best_fixed, fixed};
pub use from_model::Ask;
pub use granularity::granularity;
pub use objective::{Objective, plan_for};
pub use policy::feedback::{Feedback, expected, feedback};
pub use problem::{BlockCost, ChangeCost, Noise, Problem};
pub use rehearsal::Expected;
pub use rehearsal::classes::dependable_classes;
pub use rehearsal::dependable::{dependable, dependable_at, held, least_deadline};
pub use rehearsal::gap::list_table;
pub use schedule::{Plan, plan};
pub use sizes::SizeClass;
pub use table::Holds;
pub use writes::{Outcome, Schedule, Write};
