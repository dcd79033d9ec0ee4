//! `plan --objective`: what else may be least than energy.

use jetpace_tables::model::Model;
use jetpace_tables::plan::{self, Objective, Plan, PlanError, Problem};
use jetpace_tables::table::{Digest, Table};

use super::{Args, Follows, Least, Made};
use crate::failure::Failure;

/// How often a table's energy is planned for before it is given up.
const BUDGETS: usize = 5;

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
    let found = plan::plan_for(&problem, objective)?;
    let frugal = plan::dependable(&problem, plan::plan(&problem)?);
    // A plan that is not dependable gives way to a fixed clock, and then another time may be better: that of a fixed
    // clock, or the deadline itself.
    let mut candidates = Vec::from_iter(by_its_own_time(&problem, found));
    for (_, outcome) in (0..problem.clocks.len()).filter_map(|clock| plan::fixed(&problem, clock)) {
        let deadline_s = problem.bound_s(&outcome) * (1.0 + 1e-9);
        if deadline_s <= problem.deadline_s {
            let plan = plan::plan(&Problem { deadline_s, ..problem.clone() })?;
            candidates.extend(by_its_own_time(&problem, plan));
        }
    }
    candidates.extend(frugal.iter().map(|plan| (problem.clone(), plan.clone())));
    let least = |(problem, plan): &(Problem, Plan)| {
        let (energy_j, bound_s) = (plan.outcome.energy_j, problem.bound_s(&plan.outcome));
        match objective {
            Objective::Energy => energy_j,
            Objective::Time { energy_j: most_j } if energy_j > most_j => f64::INFINITY,
            Objective::Time { .. } => bound_s,
            Objective::EnergyDelay => energy_j * bound_s,
        }
    };
    let judged = candidates.into_iter().map(|candidate| (least(&candidate), candidate));
    let best = judged.filter(|(least, _)| least.is_finite()).min_by(|a, b| a.0.total_cmp(&b.0));
    match (best, objective) {
        (Some((least, (problem, plan))), _) => Ok((problem, plan, least)),
        (None, Objective::Time { energy_j }) => {
            Err(PlanError::TooLittleEnergy { asked_j: energy_j, least_j: frugal?.outcome.energy_j })
        }
        (None, _) => Err(frugal.err().unwrap_or(PlanError::Invalid("no plan for this objective".to_owned()))),
    }
}

/// Where time counts, the plan's own time becomes the deadline: a governor that had until the one asked for would use it
/// up. `None` where nothing is dependable at that.
fn by_its_own_time(problem: &Problem, found: Plan) -> Option<(Problem, Plan)> {
    let deadline_s = problem.deadline_s.min(problem.bound_s(&found.outcome) * (1.0 + 1e-9));
    let problem = Problem { deadline_s, ..problem.clone() };
    let plan = plan::dependable(&problem, found).ok()?;
    Some((problem, plan))
}
