//! What else may be least than energy under a deadline: time under an energy, energy times time, and all that lies
//! between. Each is a search over deadlines, as the least energy falls as the deadline grows.

use std::vec::Vec;

use super::{Objective, Plan, PlanError, Problem, fixed, plan};

/// Deadlines are told apart to this fraction.
const CLOSE: f64 = 1e-6;
/// Deadlines between the fastest and the most frugal plan that are looked at for energy times time.
const STEPS: usize = 48;

/// Plans for an objective. `Time` and `EnergyDelay` look at deadlines up to the problem's own; the plan's time is then
/// [`Problem::bound_s`] of its outcome.
pub fn plan_for(problem: &Problem, objective: Objective) -> Result<Plan, PlanError> {
    match objective {
        Objective::Energy => plan(problem),
        Objective::Time { energy_j } => least_time(problem, energy_j),
        Objective::EnergyDelay => {
            let product = |plan: &Plan| plan.outcome.energy_j * problem.bound_s(&plan.outcome);
            let plans = front(problem, STEPS)?;
            let best = plans.into_iter().min_by(|a, b| product(a).total_cmp(&product(b)));
            best.map_or_else(|| plan(problem), Ok)
        }
    }
}

/// Plans of falling energy and growing time, from the fastest to the most frugal one, at most `steps` of them.
pub fn front(problem: &Problem, steps: usize) -> Result<Vec<Plan>, PlanError> {
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
    use super::super::oracle::{Random, random_problem};
    use super::*;

    fn problem() -> Problem {
        let mut problem = random_problem(&mut Random(5), 4, 3);
        problem.deadline_s = 1.0;
        problem.period_s = 1.0;
        problem
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
    fn energy_times_time_is_least_among_the_front() {
        let problem = problem();
        let product = |plan: &Plan| plan.outcome.energy_j * problem.bound_s(&plan.outcome);
        let found = plan_for(&problem, Objective::EnergyDelay).unwrap();
        assert!(product(&found) <= product(&plan(&problem).unwrap()));
    }
}
