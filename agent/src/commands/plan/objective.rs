//! `plan --objective`: what else may be least than energy.

use jetpace_tables::model::Model;
use jetpace_tables::plan::{self, Objective, Plan, PlanError, Problem};
use jetpace_tables::table::{Digest, Table};

use super::{Args, Follows, Least, Made};
use crate::failure::Failure;

/// How often a table's energy is planned for before it is given up.
const BUDGETS: usize = 5;

/// Deadlines that are looked at, and on each side of the best of them.
const DEADLINES: usize = 12;
const NEARER: usize = 3;

/// A plan and, where one is to be written, its table.
///
/// A table of which an energy was asked for keeps it in rehearsal, where frames and changes of the clock vary: one
/// that does not is planned anew with as much less.
pub fn made(args: &Args, model: &Model, digest: Digest) -> Result<(Made, Option<(Table, Follows)>), Failure> {
    let mut objective = asked(args)?;
    let mut least_j = f64::INFINITY;
    let asked_j = match objective {
        Objective::Time { energy_j } => energy_j,
        Objective::Energy | Objective::EnergyDelay => f64::INFINITY,
    };
    for _ in 0..BUDGETS {
        let made = match args.plan(model, |problem| planned(problem, objective)) {
            // Planned once within the energy, it is the table that cannot keep it: the most frugal one may.
            Err(_) if least_j.is_finite() => break,
            made => made?,
        };
        if args.output.is_none() {
            return Ok((made, None));
        }
        let (table, follows) = args.table(model, digest, &made, asked_j)?;
        if follows.energy_j <= asked_j {
            return Ok((made, Some((table, follows))));
        }
        least_j = least_j.min(follows.energy_j);
        if let Objective::Time { energy_j } = &mut objective {
            *energy_j *= asked_j / follows.energy_j * (1.0 - 1e-4);
        }
    }
    let made = args.plan(model, super::least_energy)?;
    let (table, follows) = args.table(model, digest, &made, asked_j)?;
    if follows.energy_j <= asked_j {
        return Ok((made, Some((table, follows))));
    }
    Err(Failure::failed(format_args!(
        "no table stays within {asked_j:.6} J a period as frames vary: the most frugal one found takes {:.6} J; ask for \
         that or more",
        least_j.min(follows.energy_j)
    )))
}

fn asked(args: &Args) -> Result<Objective, Failure> {
    let period_s = args.period.unwrap_or(args.deadline()).as_secs_f64();
    let budget = args.energy.or(args.power.map(|watts| watts * period_s));
    match (args.objective, budget) {
        (Least::Energy, None) => Ok(Objective::Energy),
        (Least::Edp, None) => Ok(Objective::EnergyDelay),
        (Least::Time, Some(energy_j)) => Ok(Objective::Time { energy_j }),
        (Least::Time, None) => Err(Failure::usage("--objective time needs --energy J or --power W")),
        (_, Some(_)) => Err(Failure::usage("--energy and --power go with --objective time")),
    }
}

/// Plans, and what the objective comes to.
fn planned(problem: Problem, objective: Objective) -> Result<(Problem, Plan, f64), PlanError> {
    if objective == Objective::Energy {
        return super::least_energy(problem);
    }
    let found = match plan::plan_for(&problem, objective) {
        // Refused, as the plan of least energy is.
        Err(PlanError::Unreachable { .. }) => return super::least_energy(problem),
        found => found?,
    };
    // Where time counts, the plan's own time becomes the deadline: a governor that had until the one asked for would use
    // it up. And a plan that is not dependable gives way to another, and then another time may be better.
    let mut deadlines_s = deadlines(&problem, DEADLINES);
    deadlines_s.push(problem.deadline_s.min(problem.bound_s(&found.outcome) * (1.0 + 1e-9)));
    let mut candidates = plan::dependable_at(&problem, deadlines_s);
    let least = |(problem, plan): &(Problem, Plan)| {
        let (energy_j, bound_s) = (plan.outcome.energy_j, problem.bound_s(&plan.outcome));
        match objective {
            Objective::Energy => energy_j,
            Objective::Time { energy_j: most_j } if energy_j > most_j => f64::INFINITY,
            Objective::Time { .. } => bound_s,
            Objective::EnergyDelay => energy_j * bound_s,
        }
    };
    let best_of = |candidates: &[(Problem, Plan)]| {
        let judged = candidates.iter().map(|candidate| (least(candidate), candidate));
        let best = judged.filter(|(least, _)| least.is_finite()).min_by(|a, b| a.0.total_cmp(&b.0))?;
        Some((best.0, best.1.clone()))
    };
    if let Some((_, (near, _))) = best_of(&candidates) {
        let step_s = (problem.deadline_s - shortest(&problem)) / (DEADLINES - 1) as f64;
        let around = (1..=NEARER).flat_map(|i| [-1.0, 1.0].map(|sign| sign * step_s * i as f64 / (NEARER + 1) as f64));
        let around = around.map(|by_s| near.deadline_s + by_s).filter(|at_s| *at_s <= problem.deadline_s);
        candidates.extend(plan::dependable_at(&problem, around.collect()));
    }
    match (best_of(&candidates), objective) {
        (Some((least, (problem, plan))), _) => Ok((problem, plan, least)),
        (None, Objective::Time { energy_j }) if !candidates.is_empty() => {
            let energies = candidates.iter().map(|(_, plan)| plan.outcome.energy_j);
            Err(PlanError::TooLittleEnergy { asked_j: energy_j, least_j: energies.fold(f64::INFINITY, f64::min) })
        }
        // Refused, as the plan of least energy is.
        (None, _) => plan::dependable(&problem).map(|plan| (problem, plan, f64::INFINITY)),
    }
}

/// Deadlines up to the problem's own: this many evenly spaced ones, and those that a fixed clock just meets.
pub fn deadlines(problem: &Problem, steps: usize) -> Vec<f64> {
    let (from_s, to_s) = (shortest(problem), problem.deadline_s);
    let even = (0..steps).map(|step| from_s + (to_s - from_s) * step as f64 / (steps - 1) as f64);
    even.chain(fixed_s(problem)).collect()
}

fn shortest(problem: &Problem) -> f64 {
    fixed_s(problem).fold(problem.deadline_s, f64::min)
}

/// Deadlines that a fixed clock just meets, up to the problem's own.
fn fixed_s(problem: &Problem) -> impl Iterator<Item = f64> {
    let fixed = (0..problem.clocks.len()).filter_map(|clock| plan::fixed(problem, clock));
    fixed.map(|(_, outcome)| problem.bound_s(&outcome) * (1.0 + 1e-9)).filter(|at_s| *at_s <= problem.deadline_s)
}
