//! What the rails show: roles, signs, cost of a read, conversion period.

use jetpace_tables::hw::{PowerOf, PowerRails, RailRole, RailSample, Timer};
use jetpace_tables::units::Nanos;

use super::{Check, check};
use crate::board::Board;
use crate::nodes::Nodes;
use crate::rails::{Rails, conversion_period};

pub(super) fn checks<N: Nodes + Clone>(nodes: &N, timer: impl Timer, board: &Board, rounds: usize) -> Vec<Check> {
    let names: Vec<String> = board.rails.iter().map(|rail| format!("{} ({})", rail.name, rail.role.word())).collect();
    let told = PowerOf::told_by(board.rails.iter().map(|rail| rail.role));
    let mut checks = vec![check("rails-found", !board.rails.is_empty(), names.join(", "))];
    if board.rails.is_empty() {
        return checks;
    }
    let module = told.is_some_and(|(of, _)| of.is_module());
    checks.push(check("rails-total", module, board.total.to_string()));
    let mut rails = Rails::new(nodes.clone(), timer, board.rails.clone());
    let mut rows: Vec<Vec<RailSample>> = Vec::new();
    for _ in 0..rounds {
        let mut row = vec![RailSample::default(); board.rails.len()];
        if let Err(e) = rails.sample(&mut row) {
            checks.push(check("rails-read", false, e.to_string()));
            return checks;
        }
        rows.push(row);
    }
    checks.push(check("rails-read", true, format!("{rounds} rounds")));
    checks.push(signs(board, &rows));
    checks.push(total_is_most(board, &rows));
    for (at, rail) in board.rails.iter().enumerate() {
        let course: Vec<(Nanos, i64)> =
            rows.iter().filter_map(|row| row.get(at)).map(|sample| (sample.at, sample.power.get())).collect();
        let period = conversion_period(&course).map_or_else(|| "not told by the data".to_owned(), |p| p.to_string());
        let cost = match (course.first(), course.last(), u64::try_from(rounds)) {
            (Some((first, _)), Some((last, _)), Ok(rounds @ 2..)) => {
                Nanos::new(last.saturating_sub(*first).get() / (rounds - 1))
            }
            _ => Nanos::ZERO,
        };
        checks.push(check("rail-period", None, format!("{}: period {period}, a round takes {cost}", rail.name)));
    }
    checks
}

/// A shunt's offset makes an idle rail read below zero by a step or two, not by more.
fn signs(board: &Board, rows: &[Vec<RailSample>]) -> Check {
    let lowest = rows.iter().flatten().map(|sample| sample.power.get()).min().unwrap_or(0);
    let what = match lowest {
        0.. => String::new(),
        -499.. => "; an offset of the shunt, averaged in as it is: it is the same at every clock".to_owned(),
        _ => "; more than an offset: the rail's shunt or its wiring is not what the device tree says".to_owned(),
    };
    let seen = format!("lowest reading {lowest} mW on {} rails{what}", board.rails.len());
    check("rails-not-negative", lowest > -500, seen)
}

/// The module's input carries at least what its parts do.
fn total_is_most(board: &Board, rows: &[Vec<RailSample>]) -> Check {
    let mean = |role: RailRole| -> Option<f64> {
        let at = board.rails.iter().position(|rail| rail.role == role)?;
        let sum: i64 = rows.iter().filter_map(|row| row.get(at)).map(|sample| sample.power.get()).sum();
        Some(sum as f64 / rows.len() as f64)
    };
    let gpu = mean(RailRole::Gpu).or_else(|| mean(RailRole::GpuShared));
    match (mean(RailRole::Total), gpu) {
        (Some(total), Some(gpu)) => check("rails-total-above-gpu", total >= gpu, format!("{total} mW, GPU {gpu} mW")),
        _ => check("rails-total-above-gpu", None, format!("no rail of the total to compare with: {}", board.total)),
    }
}
