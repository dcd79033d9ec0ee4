//! How much of what switching gains comes from clocks lying apart, rather than from blocks that differ.

use std::vec::Vec;

use super::error::PlanError;
use super::fixed;
use super::problem::{BlockCost, Problem};
use super::schedule::{Plan, plan};

/// The same frame with blocks that do not differ: at every clock each block takes its share of the frame's time (the
/// one that it has at the top clock) and draws the frame's mean power. Every fixed clock takes as long, costs as much
/// and varies as much as before; what a plan gains on this frame it gains by running between two listed clocks.
fn blocks_alike(problem: &Problem) -> Problem {
    let frames: Vec<_> = (0..problem.clocks.len()).map(|clock| fixed::frame(problem, clock)).collect();
    let Some(top) = frames.last() else { return problem.clone() };
    let alike = |block: &BlockCost| {
        let share = block.time_s.last().map_or(0.0, |time_s| time_s / top.time_s);
        BlockCost {
            time_s: frames.iter().map(|frame| share * frame.time_s).collect(),
            power_w: frames.iter().map(|frame| frame.energy_j / frame.time_s).collect(),
            ..block.clone()
        }
    };
    Problem { blocks: problem.blocks.iter().map(alike).collect(), ..problem.clone() }
}

/// Of what the plan saves over the best fixed clock, the part that alternating between clocks saves by itself, as
/// fractions of the best fixed clock's energy: at most the plan's own gain. `None` where no fixed clock meets the
/// deadline, so that there is nothing to gain over.
pub fn granularity(problem: &Problem, planned: &Plan) -> Result<Option<f64>, PlanError> {
    let Some(gain) = planned.gain() else { return Ok(None) };
    if gain <= 0.0 {
        return Ok(Some(0.0));
    }
    let alike = plan(&blocks_alike(problem))?;
    Ok(alike.gain().map(|by_clocks| by_clocks.clamp(0.0, gain)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::tests::oracle::{Random, random_problem};
    use crate::plan::{ChangeCost, Noise};

    /// Two clocks, blocks of 20 ms at the low one, given by their times at the high one.
    fn problem(high_s: &[f64], deadline_s: f64) -> Problem {
        let mut problem = random_problem(&mut Random(1), high_s.len(), 2);
        problem.noise = Noise::Moments { correlation: 1.0 };
        problem.changes.fill(ChangeCost::default());
        problem.idle_w = std::vec![2.0, 2.0];
        (problem.deadline_s, problem.period_s) = (deadline_s, deadline_s);
        for (block, high_s) in problem.blocks.iter_mut().zip(high_s) {
            block.time_s = std::vec![0.020, *high_s];
            block.time_sd_s = std::vec![0.0, 0.0];
            block.power_w = std::vec![4.0, 10.0];
        }
        problem
    }

    #[test]
    fn with_blocks_that_are_alike_all_of_the_gain_is_granularity() {
        let problem = problem(&[0.010; 4], 0.060);
        let planned = plan(&problem).unwrap();
        let gain = planned.gain().unwrap();
        assert!(gain > 0.05, "{gain}");
        assert!((granularity(&problem, &planned).unwrap().unwrap() - gain).abs() < 1e-9);
    }

    #[test]
    fn where_one_block_alone_follows_the_clock_most_of_the_gain_is_its_own() {
        // The first block runs four times as fast at the high clock, the two behind it no faster.
        let problem = problem(&[0.005, 0.020, 0.020, 0.017], 0.066);
        let planned = plan(&problem).unwrap();
        let (gain, by_clocks) = (planned.gain().unwrap(), granularity(&problem, &planned).unwrap().unwrap());
        assert!(by_clocks < 0.7 * gain, "{by_clocks} of {gain}");
    }

    #[test]
    fn fixed_clocks_cost_the_same_with_blocks_alike() {
        let problem = random_problem(&mut Random(7), 6, 3);
        let alike = blocks_alike(&problem);
        for clock in 0..3 {
            let (a, b) = (fixed::frame(&problem, clock), fixed::frame(&alike, clock));
            assert!((a.energy_j / b.energy_j - 1.0).abs() < 1e-12 && (a.time_s / b.time_s - 1.0).abs() < 1e-12);
            assert_eq!(a.late_s, b.late_s);
        }
    }
}
