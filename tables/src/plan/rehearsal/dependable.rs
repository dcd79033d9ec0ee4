//! Whether a plan can be relied on: the governor rehearses it, and none is given away that is late too often there.

use std::vec::Vec;

use super::bursts::MatchedBursts;
use super::{Expected, REHEARSAL, WORTH, rehearse};
use crate::plan::error::PlanError;
use crate::plan::evaluate::evaluate;
use crate::plan::fixed::{self, judged_j};
use crate::plan::problem::Problem;
use crate::plan::schedule::{self, Plan};
use crate::plan::sizes::SizeClass;
use crate::plan::table::{Holds, listed};
use crate::plan::writes::Schedule;
use crate::table::TableError;

/// How often a plan that is late is made again for an earlier deadline: the least that helps is found to a thirty-second.
const TIGHTER: usize = 5;
/// A plan that was made again has the rehearsal as its only witness, and was chosen by it: it may miss up to this share
/// of the accepted probability there, and has to save [`WORTH`].
const MARGIN: f64 = 0.5;
/// The least deadline that holds is looked for in steps that double from this share of it, and then between the last two
/// this often.
const LATER: f64 = 2e-3;
const DOUBLED: u32 = 13;
const BETWEEN: usize = 4;
/// Deadlines are said in whole microseconds.
const PRINTED_S: f64 = 1e-6;

/// The plan of least energy that holds in rehearsal: settle times and blocks vary, and a plan may hang on a change that
/// comes in time on average and now and then does not. One that misses more often than accepted is made again for an
/// earlier deadline, by bisection, and the best fixed clock that holds takes its place where that is the better of the
/// two.
///
/// # Errors
/// [`PlanError::Unreachable`] where no fixed clock holds either, with the least deadline at which one does.
pub fn dependable(problem: &Problem) -> Result<Plan, PlanError> {
    held(problem)?.ok_or_else(|| refused(problem))
}

/// The same, `None` where nothing holds: what does at another deadline takes a while to find.
///
/// # Errors
/// What makes the problem no problem.
pub fn held(problem: &Problem) -> Result<Option<Plan>, PlanError> {
    match schedule::plan(problem) {
        Ok(plan) => Ok(dependable_in(&MatchedBursts::new(problem), plan)),
        Err(PlanError::Unreachable { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

/// The same from a plan, where the problem's bursts are known; `None` where nothing holds. A plan for which no table can
/// be made, of too many blocks, is given as it is: there is nothing to follow.
fn dependable_in(bursts: &MatchedBursts<'_>, plan: Plan) -> Option<Plan> {
    let problem = bursts.problem;
    let Ok(steady) = steady(bursts) else { return Some(plan) };
    let plan = Plan { best_fixed: steady.as_ref().and_then(|(fixed, _)| fixed.best_fixed.clone()), ..plan };
    // A list of too many leads makes no table either, and is as good as late.
    let ours = rehearsed(bursts, &plan).ok().filter(|ours| ours.miss <= problem.risk);
    let Some((mut best, fixed)) = steady else { return ours.map(|_| plan) };
    let fixed_j = judged_j(fixed.energy_j, &best.schedule);
    if plan.schedule == best.schedule || ours.is_some_and(|ours| judged_j(ours.energy_j, &plan.schedule) <= fixed_j) {
        return Some(plan);
    }
    let rare = (MARGIN * problem.risk).max(fixed.miss);
    let mut best_j = fixed.energy_j * (1.0 - WORTH);
    let (mut late_s, mut early_s) = (problem.deadline_s, problem.bound_s(&best.outcome));
    let steps = if ours.is_none() { TIGHTER } else { 0 };
    for _ in 0..steps {
        let deadline_s = 0.5 * (late_s + early_s);
        let Ok(found) = schedule::plan(&Problem { deadline_s, ..problem.clone() }) else { break };
        let again = rehearsed(bursts, &found).ok().filter(|again| again.miss <= rare);
        let Some(again) = again else {
            late_s = deadline_s;
            continue;
        };
        early_s = deadline_s;
        if again.energy_j < best_j {
            best_j = again.energy_j;
            best = Plan { best_fixed: plan.best_fixed.clone(), ..found };
        }
    }
    // No plan at all takes less than the search found to be possible by the deadline that was asked for.
    best.gap_bound = 1.0 - (1.0 - plan.gap_bound) * plan.outcome.energy_j / best.outcome.energy_j;
    Some(best)
}

/// The fixed clock of least energy that meets the deadline at the risk, by the frames measured and in rehearsal.
fn steady(bursts: &MatchedBursts<'_>) -> Result<Option<(Plan, Expected)>, TableError> {
    let problem = bursts.problem;
    let meets = |plan: &Plan| problem.bound_s(&plan.outcome) <= problem.deadline_s;
    let plans = (0..problem.clocks.len()).flat_map(|clock| fixed::ways(problem, clock).map(move |way| (clock, way)));
    let mut plans: Vec<Plan> =
        plans.filter_map(|(clock, schedule)| fixed_plan(problem, clock, schedule)).filter(meets).collect();
    let order = |plan: &Plan| judged_j(plan.outcome.energy_j, &plan.schedule);
    plans.sort_by(|a, b| order(a).total_cmp(&order(b)));
    for plan in plans {
        let found = rehearsed(bursts, &plan)?;
        if found.miss <= problem.risk {
            return Ok(Some((plan, found)));
        }
    }
    Ok(None)
}

/// One clock for all blocks as a plan; `None` where a frame outlasts its period.
pub(super) fn fixed_plan(problem: &Problem, clock: usize, schedule: Schedule) -> Option<Plan> {
    let (outcome, course) = evaluate(problem, &schedule)?;
    Some(Plan {
        best_fixed: Some((clock, schedule.clone(), outcome)),
        schedule,
        outcome,
        block_clocks: std::vec![clock; problem.blocks.len()],
        block_starts_s: course.starts_s,
        gap_bound: 0.0,
    })
}

/// That no plan holds, with the least deadline at which one does.
fn refused(problem: &Problem) -> PlanError {
    PlanError::Unreachable { deadline_s: problem.deadline_s, risk: problem.risk, least_s: least_deadline(problem, 0.0) }
}

/// The least deadline, to a thousandth, at which a fixed clock holds in rehearsal, in whole microseconds: asked for, it
/// gives a plan. `away_s` is what a period lasts longer than the deadline at least.
pub fn least_deadline(problem: &Problem, away_s: f64) -> f64 {
    let printed = |s: f64| (s / PRINTED_S).ceil() * PRINTED_S + 1e-12;
    let holds = |deadline_s: f64| {
        let period_s = problem.period_s.max(deadline_s + away_s);
        let problem = Problem { deadline_s, period_s, ..problem.clone() };
        // Where no table can be made nothing is rehearsed either, and the bound says all.
        steady(&MatchedBursts::new(&problem)).map_or(true, |found| found.is_some())
    };
    let bound = (0..problem.clocks.len()).map(|clock| problem.bound_s(&fixed::frame(problem, clock)));
    let (mut late_s, mut least_s) = (0.0, printed(bound.fold(f64::INFINITY, f64::min)));
    for step in 0..DOUBLED {
        if holds(least_s) {
            break;
        }
        (late_s, least_s) = (least_s, printed(least_s * (1.0 + LATER * f64::from(1u32 << step))));
    }
    if late_s > 0.0 {
        for _ in 0..BETWEEN {
            let middle_s = printed(0.5 * (late_s + least_s));
            if least_s - late_s <= 1e-3 * least_s {
                break;
            }
            if holds(middle_s) { least_s = middle_s } else { late_s = middle_s }
        }
    }
    least_s
}

/// Dependable plans for other deadlines than the problem's own, each with the problem of its deadline, the earliest
/// first; none for a deadline that cannot be met. On all processors.
pub fn dependable_at(problem: &Problem, mut deadlines_s: Vec<f64>) -> Vec<(Problem, Plan)> {
    deadlines_s.sort_unstable_by(f64::total_cmp);
    let bursts = MatchedBursts::new(problem);
    let at = |deadline_s: f64| {
        let problem = Problem { deadline_s, ..problem.clone() };
        let bursts = bursts.of(&problem);
        let plan = dependable_in(&bursts, schedule::plan(&problem).ok()?)?;
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

/// What the plan's list of clocks comes to.
fn rehearsed(bursts: &MatchedBursts<'_>, plan: &Plan) -> Result<Expected, TableError> {
    let problem = bursts.problem;
    let holds = Holds { board: [0; 32], model: [0; 32], network: "", emc: None, board_clocks: &problem.clocks };
    let class = SizeClass::only(problem, plan);
    Ok(rehearse(&class.map(|class| (class, bursts.clone())), &listed(&class, 0, &holds)?, REHEARSAL))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::tests::oracle::{Random, random_problem};
    use crate::plan::{miss_probability, plan};

    /// A risk that the rehearsal's frames can tell.
    fn instance(seed: u64, blocks: usize) -> Problem {
        Problem { risk: 0.02, ..random_problem(&mut Random(seed), blocks, 4) }
    }

    #[test]
    fn what_is_given_away_holds_in_rehearsal_and_what_is_refused_holds_at_the_deadline_named() {
        let (mut kept, mut again, mut given_up, mut refused, mut late) = (0, 0, 0, 0, 0);
        for seed in 0..48 {
            let problem = instance(seed, 3 + seed as usize % 9);
            let bursts = MatchedBursts::new(&problem);
            let planned = plan(&problem).ok();
            late += u32::from(planned.as_ref().is_some_and(|p| rehearsed(&bursts, p).unwrap().miss > problem.risk));
            let made = match dependable(&problem) {
                Ok(made) => made,
                Err(PlanError::Unreachable { least_s, .. }) => {
                    refused += 1;
                    let asked = std::format!("{:.3}", least_s * 1e3).parse::<f64>().unwrap() * 1e-3;
                    let later = Problem { deadline_s: asked, period_s: problem.period_s.max(asked), ..problem.clone() };
                    assert!(dependable(&later).is_ok(), "seed {seed}: {asked} s was said to hold");
                    continue;
                }
                Err(error) => panic!("seed {seed}: {error}"),
            };
            let ours = rehearsed(&bursts, &made).unwrap();
            assert!(ours.miss <= problem.risk, "seed {seed}: {ours:?}");
            // What is printed: mean, bound, deadline, and the probability that belongs to them.
            let bound_s = problem.bound_s(&made.outcome);
            assert!(made.outcome.time_s <= bound_s && bound_s <= problem.deadline_s * (1.0 + 1e-9), "seed {seed}");
            assert!(miss_probability(&problem, &made.schedule) <= problem.risk, "seed {seed}");
            assert!((0.0..1.0).contains(&made.gap_bound), "seed {seed}: {}", made.gap_bound);
            let fixed = steady(&bursts).unwrap();
            if let Some((_, fixed)) = &fixed {
                assert!(ours.energy_j <= fixed.energy_j, "seed {seed}: {ours:?}, fixed {fixed:?}");
            }
            match planned {
                Some(planned) if made.schedule == planned.schedule => kept += 1,
                _ if fixed.is_some_and(|(fixed, _)| made.schedule == fixed.schedule) => given_up += 1,
                _ => again += 1,
            }
        }
        let all = std::format!("kept {kept}, again {again}, given up {given_up}, refused {refused}; {late} were late");
        std::println!("{all}");
        assert!(kept > 0 && again > 0 && given_up > 0 && refused > 0 && late > 5, "{all}");
    }
}
