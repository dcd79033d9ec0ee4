//! Frames of several sizes under one table: each size's plan holds alone, and all of them do as they follow each other.

use std::vec::Vec;

use super::dependable::{dependable, fixed_plan, least_deadline};
use super::gap::list_table;
use super::{REHEARSAL, rehearse, with_bursts};
use crate::plan::error::PlanError;
use crate::plan::problem::Problem;
use crate::plan::schedule::Plan;
use crate::plan::sizes::SizeClass;
use crate::plan::table::Holds;
use crate::plan::writes::Schedule;
use crate::work::Size;

/// By how many hundredths of the deadline all are planned earlier from try to try, and how often.
const EARLIER: u32 = 3;
const TRIES: u32 = 7;

/// A plan for each size: its largest size, its share of all frames, and its problem, ascending in size. Where frames of
/// all sizes together are late in rehearsal (a frame starts at the clock that another size's left), all are planned for
/// an earlier deadline, and last all run at the clock that the largest takes when it is never changed.
///
/// # Errors
/// [`PlanError::Unreachable`] where that is late too.
pub fn dependable_classes(classes: &[(Size, f64, Problem)]) -> Result<Vec<Plan>, PlanError> {
    let Some((_, _, largest)) = classes.last() else { return Ok(Vec::new()) };
    let holds = |plans: &[Plan]| {
        let classes: Vec<SizeClass<'_>> = classes
            .iter()
            .zip(plans)
            .map(|((largest, share, problem), plan)| SizeClass { largest: *largest, share: *share, problem, plan })
            .collect();
        let board = Holds { board: [0; 32], model: [0; 32], network: "", emc: None, board_clocks: &largest.clocks };
        // Plans that make no table are refused where the table is made.
        list_table(&classes, &board).map_or(true, |list| {
            classes.len() == 1 || rehearse(&with_bursts(&classes), &list, REHEARSAL).miss <= largest.risk
        })
    };
    for step in 0..TRIES {
        let share = 1.0 - 0.01 * f64::from(EARLIER * step);
        let earlier = |problem: &Problem| Problem { deadline_s: problem.deadline_s * share, ..problem.clone() };
        let plans: Result<Vec<Plan>, PlanError> =
            classes.iter().map(|(_, _, problem)| dependable(&earlier(problem))).collect();
        match plans {
            Ok(plans) if holds(&plans) => return Ok(plans),
            Err(error) if step == 0 => return Err(error),
            Ok(_) => {}
            Err(_) => break,
        }
    }
    for clock in 0..largest.clocks.len() {
        let fixed = |(_, _, problem): &(Size, f64, Problem)| {
            let plan = fixed_plan(problem, clock, Schedule::fixed(clock))?;
            (problem.bound_s(&plan.outcome) <= problem.deadline_s).then_some(plan)
        };
        if let Some(plans) = classes.iter().map(fixed).collect::<Option<Vec<_>>>().filter(|plans| holds(plans)) {
            return Ok(plans);
        }
    }
    let (deadline_s, risk) = (largest.deadline_s, largest.risk);
    Err(PlanError::Unreachable { deadline_s, risk, least_s: least_deadline(largest, 0.0) })
}
