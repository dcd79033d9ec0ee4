//! Whether a plan can be relied on: the governor rehearses it, and one that is late too often is made again.

use std::vec::Vec;

use super::{Expected, REHEARSAL, WORTH, rehearse, with_bursts};
use crate::plan::error::PlanError;
use crate::plan::evaluate::evaluate;
use crate::plan::fixed::best_fixed;
use crate::plan::problem::Problem;
use crate::plan::schedule::{self, Plan, unreachable};
use crate::plan::sizes::SizeClass;
use crate::plan::table::{Holds, listed};
use crate::table::TableError;

/// How often a plan that is late is made again for an earlier deadline: the least that helps is found to a thirty-second.
const TIGHTER: usize = 5;
/// A plan that was made again has the rehearsal as its only witness, and was chosen by it: it may miss up to this share
/// of the accepted probability there, and has to save [`WORTH`].
const MARGIN: f64 = 0.5;
/// How many hundredths of the deadline earlier a plan may have to be, so that it is not late in rehearsal.
const EARLIER: u32 = 20;

/// The plan, once the governor has rehearsed it: settle times and blocks vary, and a plan may hang on a change that comes
/// in time on average and now and then does not. One that misses more often than accepted is made again for an earlier
/// deadline, by bisection, and the best fixed clock takes its place where that is the better of the two.
///
/// # Errors
/// [`PlanError::Unreachable`] where it misses more often than accepted, and no fixed clock meets the deadline.
pub fn dependable(problem: &Problem, plan: Plan) -> Result<Plan, PlanError> {
    // The plan may have been made for a later deadline.
    let plan = Plan { best_fixed: best_fixed(problem), ..plan };
    let Some(mut best) = fixed_plan(problem, &plan) else {
        let late = rehearsed(problem, &plan).is_ok_and(|ours| ours.miss > problem.risk);
        return if late { Err(unreachable(problem)) } else { Ok(plan) };
    };
    if plan.schedule == best.schedule {
        return Ok(plan);
    }
    // A plan that makes no table is judged where the table is made.
    let (Ok(ours), Ok(fixed)) = (rehearsed(problem, &plan), rehearsed(problem, &best)) else { return Ok(plan) };
    let most = problem.risk.max(fixed.miss);
    if ours.miss <= most && ours.energy_j <= fixed.energy_j {
        return Ok(plan);
    }
    let rare = (MARGIN * problem.risk).max(fixed.miss);
    let mut best_j = fixed.energy_j * (1.0 - WORTH);
    let (mut late_s, mut early_s) = (problem.deadline_s, problem.bound_s(&best.outcome));
    let steps = if ours.miss > most { TIGHTER } else { 0 };
    for _ in 0..steps {
        let deadline_s = 0.5 * (late_s + early_s);
        let Ok(found) = schedule::plan(&Problem { deadline_s, ..problem.clone() }) else { break };
        let Ok(again) = rehearsed(problem, &found) else { break };
        if again.miss > rare {
            late_s = deadline_s;
            continue;
        }
        early_s = deadline_s;
        if again.energy_j < best_j {
            best_j = again.energy_j;
            best = found;
        }
    }
    // No plan at all takes less than the search found to be possible by the deadline that was asked for.
    best.gap_bound = 1.0 - (1.0 - plan.gap_bound) * plan.outcome.energy_j / best.outcome.energy_j;
    Ok(best)
}

/// The plan that [`dependable`] finds or, where that is late in rehearsal, one for a deadline that is a few hundredths
/// earlier: a fixed clock is not taken at its word either. For problems whose own frames were not measured
/// ([`Problem::first_blocks`]).
///
/// # Errors
/// [`PlanError::Unreachable`] where no such plan is found.
pub fn rehearsed_plan(problem: &Problem, plan: Plan) -> Result<Plan, PlanError> {
    let mut plan = dependable(problem, plan)?;
    for step in 1..=EARLIER {
        // A plan that makes no table is judged where the table is made.
        if rehearsed(problem, &plan).map_or(true, |ours| ours.miss <= problem.risk) {
            return Ok(plan);
        }
        let deadline_s = problem.deadline_s * (1.0 - 0.01 * f64::from(step));
        let found = schedule::plan(&Problem { deadline_s, ..problem.clone() }).map_err(|_| unreachable(problem))?;
        plan = Plan { best_fixed: plan.best_fixed, ..found };
    }
    Err(unreachable(problem))
}

/// Dependable plans for other deadlines than the problem's own, each with the problem of its deadline, the earliest
/// first; none for a deadline that cannot be met. On all processors.
pub fn dependable_at(problem: &Problem, mut deadlines_s: Vec<f64>) -> Vec<(Problem, Plan)> {
    deadlines_s.sort_unstable_by(f64::total_cmp);
    let at = |deadline_s: f64| {
        let problem = Problem { deadline_s, ..problem.clone() };
        let plan = dependable(&problem, schedule::plan(&problem).ok()?).ok()?;
        Some((problem, plan))
    };
    let threads = std::thread::available_parallelism().map_or(1, |n| n.get()).min(deadlines_s.len());
    let mut found: Vec<(Problem, Plan)> = Vec::new();
    std::thread::scope(|scope| {
        let every = |first: usize| {
            let mine: Vec<f64> = deadlines_s.iter().copied().skip(first).step_by(threads).collect();
            scope.spawn(move || mine.into_iter().filter_map(at).collect::<Vec<_>>())
        };
        let running: Vec<_> = (0..threads).map(every).collect();
        for thread in running {
            found.extend(thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        }
    });
    found.sort_by(|a, b| a.0.deadline_s.total_cmp(&b.0.deadline_s));
    found
}

/// The best fixed clock as a plan.
fn fixed_plan(problem: &Problem, plan: &Plan) -> Option<Plan> {
    let (clock, schedule, outcome) = plan.best_fixed.clone()?;
    let (_, course) = evaluate(problem, &schedule)?;
    Some(Plan {
        schedule,
        outcome,
        block_clocks: std::vec![clock; problem.blocks.len()],
        block_starts_s: course.starts_s,
        gap_bound: 0.0,
        best_fixed: plan.best_fixed.clone(),
    })
}

/// What the plan's list of clocks comes to.
fn rehearsed(problem: &Problem, plan: &Plan) -> Result<Expected, TableError> {
    let holds = Holds { board: [0; 32], model: [0; 32], network: "", emc: None, board_clocks: &problem.clocks };
    let class = SizeClass::only(problem, plan);
    Ok(rehearse(&with_bursts(&class), &listed(&class, 0, &holds)?, REHEARSAL))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::plan;
    use crate::plan::tests::oracle::{Random, random_problem};

    #[test]
    fn a_plan_that_is_late_is_made_again_before_a_fixed_clock_takes_its_place() {
        let (mut kept, mut again, mut given_up) = (0, 0, 0);
        for seed in 0..24 {
            let mut problem = random_problem(&mut Random(seed), 8, 4);
            problem.risk = 0.02;
            let Ok(planned) = plan(&problem) else { continue };
            let Some((clock, _, _)) = planned.best_fixed.clone() else { continue };
            let made = dependable(&problem, planned.clone()).unwrap();
            let fixed = fixed_plan(&problem, &planned).unwrap();
            let [ours, theirs] = [&made, &fixed].map(|plan| rehearsed(&problem, plan).unwrap());
            assert!(ours.miss <= problem.risk.max(theirs.miss), "seed {seed}: {ours:?}, at clock {clock} {theirs:?}");
            assert!(ours.energy_j <= theirs.energy_j, "seed {seed}: {ours:?}, at clock {clock} {theirs:?}");
            assert!(made.gap_bound >= planned.gap_bound && made.gap_bound < 1.0, "seed {seed}: {}", made.gap_bound);
            match &made.schedule {
                schedule if *schedule == planned.schedule => kept += 1,
                schedule if *schedule == fixed.schedule => given_up += 1,
                _ => again += 1,
            }
        }
        std::println!("kept {kept}, made again {again}, given up {given_up}");
        assert!(kept > 0 && again > 0, "kept {kept}, made again {again}, given up {given_up}");
    }
}
