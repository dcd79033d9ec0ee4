//! What else may be least than energy under a deadline: time under an energy, energy times time, and all that lies
//! between. Each is a search over deadlines, as the least energy falls as the deadline grows.

use super::error::PlanError;
use super::fixed;
use super::problem::Problem;
use super::schedule::{Plan, plan};

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

/// Deadlines are told apart to this fraction.
const CLOSE: f64 = 1e-6;
/// Energy times time is least to this fraction, besides what each plan may be from its optimum.
const NEAR: f64 = 1e-3;

/// Plans for an objective. `Time` and `EnergyDelay` look at deadlines up to the problem's own; the plan's time is then
/// [`Problem::bound_s`] of its outcome.
pub fn plan_for(problem: &Problem, objective: Objective) -> Result<Plan, PlanError> {
    match objective {
        Objective::Energy => plan(problem),
        Objective::Time { energy_j } => least_time(problem, energy_j),
        Objective::EnergyDelay => least_product(problem),
    }
}

/// Energy times time, least over all deadlines by branch and bound: the least energy falls as the deadline grows, so
/// among the plans that take between two times none has a product below the shorter time with the energy at the longer.
fn least_product(problem: &Problem) -> Result<Plan, PlanError> {
    let bound_s = |plan: &Plan| problem.bound_s(&plan.outcome);
    let product = |plan: &Plan| plan.outcome.energy_j * bound_s(plan);
    let mut best = plan(problem)?;
    // Times from the first up to the plan's own; all in between take its energy or more.
    let mut spans = std::vec![(shortest(problem), best.clone())];
    let floor = |(from_s, plan): &(f64, Plan)| from_s * plan.outcome.energy_j;
    while let Some(next) = (0..spans.len()).min_by(|a, b| floor(&spans[*a]).total_cmp(&floor(&spans[*b]))) {
        let span = spans.swap_remove(next);
        if floor(&span) >= product(&best) * (1.0 - NEAR) {
            break;
        }
        let (from_s, slower) = span;
        let middle_s = 0.5 * (from_s + bound_s(&slower));
        match plan(&at(problem, middle_s)) {
            Ok(found) => {
                if product(&found) < product(&best) {
                    best = found.clone();
                }
                spans.push((from_s, found));
            }
            // No plan is as fast as that.
            Err(PlanError::Unreachable { .. }) => {}
            Err(error) => return Err(error),
        }
        spans.push((middle_s, slower));
    }
    Ok(best)
}

fn least_time(problem: &Problem, energy_j: f64) -> Result<Plan, PlanError> {
    let mut best = plan(problem)?;
    if best.outcome.energy_j > energy_j {
        return Err(PlanError::TooLittleEnergy { asked_j: energy_j, least_j: best.outcome.energy_j });
    }
    let (mut low, mut high) = (shortest(problem) * (1.0 - CLOSE), problem.bound_s(&best.outcome));
    while high - low > CLOSE * high {
        let middle = 0.5 * (low + high);
        match plan(&at(problem, middle)) {
            Ok(found) if found.outcome.energy_j <= energy_j => {
                high = problem.bound_s(&found.outcome).min(middle);
                best = found;
            }
            Ok(_) | Err(PlanError::Unreachable { .. }) => low = middle,
            Err(error) => return Err(error),
        }
    }
    Ok(best)
}

/// The least deadline that a fixed clock meets, and at most the problem's own.
fn shortest(problem: &Problem) -> f64 {
    (0..problem.clocks.len())
        .map(|clock| problem.bound_s(&fixed::frame(problem, clock)) * (1.0 + 1e-12))
        .fold(problem.deadline_s, f64::min)
}

fn at(problem: &Problem, deadline_s: f64) -> Problem {
    Problem { deadline_s, ..problem.clone() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::tests::oracle::{Random, random_problem};
    use std::vec::Vec;

    fn problem() -> Problem {
        let mut problem = random_problem(&mut Random(5), 4, 3);
        problem.deadline_s = 1.0;
        problem.period_s = 1.0;
        problem
    }

    /// Plans of falling energy and growing time, from the fastest to the most frugal one, at most `steps` of them.
    fn front(problem: &Problem, steps: usize) -> Result<Vec<Plan>, PlanError> {
        problem.check()?;
        let shortest = shortest(problem);
        let mut plans: Vec<Plan> = Vec::new();
        for step in 0..steps.max(2) {
            let share = step as f64 / (steps.max(2) - 1) as f64;
            let found = plan(&at(problem, shortest + (problem.deadline_s - shortest) * share))?;
            let better = plans.last().is_none_or(|last| found.outcome.energy_j < last.outcome.energy_j * (1.0 - 1e-9));
            if better {
                plans.push(found);
            }
        }
        Ok(plans)
    }

    #[test]
    fn along_the_front_energy_falls_as_time_grows() {
        let problem = problem();
        let plans = front(&problem, 20).unwrap();
        assert!(plans.len() > 1);
        for pair in plans.windows(2) {
            assert!(pair[1].outcome.energy_j < pair[0].outcome.energy_j);
            assert!(problem.bound_s(&pair[1].outcome) > problem.bound_s(&pair[0].outcome));
        }
    }

    #[test]
    fn the_least_time_keeps_its_energy_and_no_shorter_one_does() {
        let problem = problem();
        let plans = front(&problem, 20).unwrap();
        let budget = plans[plans.len() / 2].outcome.energy_j;
        let found = plan_for(&problem, Objective::Time { energy_j: budget }).unwrap();
        assert!(found.outcome.energy_j <= budget);
        let shorter = at(&problem, problem.bound_s(&found.outcome) * (1.0 - 1e-4));
        assert!(plan(&shorter).is_ok_and(|p| p.outcome.energy_j > budget));
        assert!(matches!(
            plan_for(&problem, Objective::Time { energy_j: 1e-6 }),
            Err(PlanError::TooLittleEnergy { .. })
        ));
    }

    #[test]
    fn energy_times_time_is_least() {
        for seed in 0..6 {
            let mut problem = random_problem(&mut Random(seed), 4, 3);
            (problem.deadline_s, problem.period_s) = (1.0, 1.0);
            let product = |plan: &Plan| plan.outcome.energy_j * problem.bound_s(&plan.outcome);
            let found = product(&plan_for(&problem, Objective::EnergyDelay).unwrap());
            let among = front(&problem, 400).unwrap().iter().map(product).fold(f64::INFINITY, f64::min);
            assert!(found <= among * (1.0 + NEAR), "seed {seed}: {found} {among}");
        }
    }
}
