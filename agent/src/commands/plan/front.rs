//! `plan --pareto`: the front of time and energy.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use jetpace_tables::plan::{self, Plan, Problem};

use super::objective::deadlines;
use crate::failure::Failure;
use crate::files::kind::{FRONT, Kind};
use crate::files::output::write_file;

/// Deadlines that are planned for.
const STEPS: usize = 32;

/// A file for the front, of which the ending says the kind.
pub fn path(text: &str) -> Result<PathBuf, String> {
    let path = PathBuf::from(text);
    match ending(&path).as_str() {
        "svg" | "csv" => Ok(path),
        _ => Err("ends in neither .svg nor .csv".to_owned()),
    }
}

/// What is written into it.
pub fn kind(path: &Path) -> Kind {
    if ending(path) == "svg" { Kind::Picture } else { Kind::Front }
}

fn ending(path: &Path) -> String {
    path.extension().map(|e| e.to_string_lossy().to_ascii_lowercase()).unwrap_or_default()
}

/// Writes the front into each file: a picture where it ends in .svg, else CSV.
pub fn write(paths: &[PathBuf], problem: &Problem) -> Result<(), Failure> {
    let mut plans: Vec<Plan> = Vec::new();
    for (_, plan) in plan::dependable_at(problem, deadlines(problem, STEPS)) {
        // By a later deadline a dependable plan may take more, or be done earlier.
        if plans.last().is_none_or(|last| plan.outcome.energy_j < last.outcome.energy_j * (1.0 - 1e-9)) {
            let bound_s = problem.bound_s(&plan.outcome);
            plans.retain(|before| problem.bound_s(&before.outcome) < bound_s);
            plans.push(plan);
        }
    }
    for path in paths {
        let text = if kind(path) == Kind::Picture { svg(problem, &plans)? } else { csv(problem, &plans) };
        write_file(path, text.as_bytes())?;
    }
    Ok(())
}

/// Time at the risk, mean time and energy of each plan, the fastest first.
fn csv(problem: &Problem, plans: &[Plan]) -> String {
    let mut text = format!("{FRONT}\n");
    for plan in plans {
        let (outcome, switches) = (plan.outcome, plan.schedule.writes.len());
        let bound = problem.bound_s(&outcome);
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{bound},{},{},{switches}", outcome.time_s, outcome.energy_j);
    }
    text
}

fn svg(problem: &Problem, plans: &[Plan]) -> Result<String, Failure> {
    use crate::report::chart::{Chart, Mark, Series};

    let at = |outcome: &plan::Outcome| (problem.bound_s(outcome) * 1e3, outcome.energy_j);
    let front: Vec<(f64, f64)> = plans.iter().map(|plan| at(&plan.outcome)).collect();
    let fixed = (0..problem.clocks.len()).filter_map(|clock| Some(at(&plan::fixed(problem, clock)?.1)));
    let mut fixed: Vec<(f64, f64)> = fixed.filter(|(ms, _)| *ms <= problem.deadline_s * 1e3).collect();
    fixed.sort_by(|a, b| a.0.total_cmp(&b.0));
    let chart = Chart {
        title: "Time and energy of the best plans".to_owned(),
        x: format!("time of a frame at the risk of {} (ms)", problem.risk),
        y: format!("energy of a period of {:.3} ms (J)", problem.period_s * 1e3),
        series: vec![Series::new("plans", Mark::Steps, front), Series::new("fixed clocks", Mark::Dots, fixed)],
        marks_x: vec![(problem.deadline_s * 1e3, "deadline".to_owned())],
        ..Chart::default()
    };
    chart.svg()
}
