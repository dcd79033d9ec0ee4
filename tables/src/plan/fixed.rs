//! One clock for all blocks: what every plan is measured against.

use super::evaluate::evaluate;
use super::problem::Problem;
use super::writes::{Outcome, Schedule};

/// What writes, be it only the idle clock and the one to wake with, has to save this share of a period's energy over a
/// clock that is never written: every write wakes a CPU, one that comes late is a frame at the idle clock, and of smaller
/// differences the model knows nothing.
const WRITING: f64 = 5e-3;

/// Energy as plans are judged by it: one that writes pays for that.
pub(super) fn judged_j(energy_j: f64, schedule: &Schedule) -> f64 {
    if schedule.writes_per_frame() == 0 { energy_j } else { energy_j / (1.0 - WRITING) }
}

/// A frame at one clock; its energy is that of the blocks alone.
pub(super) fn frame(problem: &Problem, clock: usize) -> Outcome {
    let mut outcome = Outcome::default();
    for block in &problem.blocks {
        outcome.time_s += block.time_s[clock];
        outcome.energy_j += block.time_s[clock] * block.power_w[clock];
        outcome.block_var_s2 += block.time_sd_s[clock].powi(2);
    }
    outcome.common_sd_s = problem.blocks.iter().map(|block| problem.spread_s(block, clock)).sum();
    outcome
}

/// A clock for all blocks that is never written, and with another one between frames: a change behind the frame and one
/// before the next, where they fit into the period.
pub(super) fn ways(problem: &Problem, clock: usize) -> impl Iterator<Item = Schedule> {
    let time = frame(problem, clock).time_s;
    let others = (0..problem.clocks.len()).filter(move |idle| *idle != clock).filter_map(move |idle| {
        let down = problem.change(clock, idle);
        let lead = problem.wake_lead_s(idle, clock);
        let fits = time + down.settle_s + down.stall_s + lead <= problem.period_s;
        fits.then_some(Schedule { idle: Some(idle), wake: Some((clock, lead)), ..Schedule::fixed(clock) })
    });
    core::iter::once(Schedule::fixed(clock)).chain(others)
}

/// A clock for all blocks, with the idle clock that costs least, writes paid for. `None` where a frame outlasts its period.
pub fn fixed(problem: &Problem, clock: usize) -> Option<(Schedule, Outcome)> {
    ways(problem, clock)
        .filter_map(|schedule| Some((evaluate(problem, &schedule)?.0, schedule)))
        .min_by(|a, b| judged_j(a.0.energy_j, &a.1).total_cmp(&judged_j(b.0.energy_j, &b.1)))
        .map(|(outcome, schedule)| (schedule, outcome))
}

/// The fixed clock of least energy among those that meet the deadline at the risk.
pub fn best_fixed(problem: &Problem) -> Option<(usize, Schedule, Outcome)> {
    (0..problem.clocks.len())
        .filter_map(|clock| {
            let (schedule, outcome) = fixed(problem, clock)?;
            (problem.bound_s(&outcome) <= problem.deadline_s).then_some((clock, schedule, outcome))
        })
        .min_by(|a, b| judged_j(a.2.energy_j, &a.1).total_cmp(&judged_j(b.2.energy_j, &b.1)))
}
