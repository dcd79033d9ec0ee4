//! What `plan` prints.

use std::fmt::Write as _;

use jetpace_tables::hw::PowerOf;
use jetpace_tables::model::{BlockModel, Model, PowerForm, TimeForm};
#[cfg(feature = "report")]
use jetpace_tables::plan::SizeClass;
use jetpace_tables::plan::{self, BlockCost, Outcome, Plan, Problem, Schedule};
use jetpace_tables::units::{Hertz, Nanos};
#[cfg(feature = "report")]
use jetpace_tables::work::Size;
use serde::Serialize;

use super::{Follows, Made};
use crate::failure::Failure;

/// `plan --json` of FORMATS, and what it leaves open: the gain and the network.
#[derive(Serialize)]
pub struct Document {
    format: u32,
    network: String,
    emc_freq_hz: Option<Hertz>,
    deadline_s: f64,
    period_s: f64,
    pub risk: f64,
    blocks: Vec<BlockRow>,
    idle_clock_hz: Hertz,
    pub time_s: f64,
    pub bound_s: f64,
    pub energy_j: f64,
    /// How well the model knows that, relative; `null` where its forms are taken as they are.
    pub energy_sd: Option<f64>,
    /// Whose energy it is.
    pub power_of: PowerOf,
    pub miss_probability: f64,
    gap_bound: f64,
    pub baselines: Baselines,
    one_clock_is_best: bool,
    pub gain_over_best_fixed: Option<f64>,
    /// The part of it that alternating between clocks gains with blocks that do not differ.
    gain_by_granularity: Option<f64>,
    writes: Vec<WriteRow>,
    /// With --sizes: each size, the largest last; what stands above is the largest's.
    #[cfg(feature = "report")]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    sizes: Vec<SizeRow>,
    /// The table that was written, as it does in rehearsal.
    table: Option<Follows>,
}

/// A write within the frame.
#[derive(Serialize)]
struct WriteRow {
    at_s: f64,
    clock_hz: Hertz,
}

#[derive(Serialize)]
struct BlockRow {
    block: String,
    /// In effect at its end.
    clock_hz: Hertz,
    /// Asked for at its start, as the table has it.
    #[serde(skip)]
    asked_hz: Hertz,
    /// From the frame's start; `null` where nothing is written for this block.
    write_at_s: Option<f64>,
}

/// The plan of one size.
#[cfg(feature = "report")]
#[derive(Serialize)]
struct SizeRow {
    size: Size,
    share: f64,
    blocks: Vec<BlockRow>,
    time_s: f64,
    energy_j: f64,
    miss_probability: f64,
}

/// Plans of one clock.
#[derive(Serialize)]
pub struct Baselines {
    pub max_clock: Baseline,
    pub best_fixed: Option<Baseline>,
    pub cpu_dvfs: Option<Baseline>,
}

#[derive(Serialize)]
pub struct Baseline {
    pub clock_hz: Hertz,
    pub energy_j: f64,
    pub time_s: f64,
    pub miss_probability: f64,
}

/// Relative standard deviation of a plan's energy: what is not known of blocks' times and powers, which err together as
/// they are of one board. Idle power is measured at every clock.
fn energy_sd(model: &Model, made: &Made) -> Option<f64> {
    let of_block = |(block, &clock): (BlockModel<'_>, &usize)| {
        let clock = made.problem.clocks[clock];
        let energy_j = block.time_s(clock, made.size) * block.power_w(clock, made.size)?;
        Some(energy_j * block.unknown(clock).hypot(block.power_unknown(clock)?))
    };
    let blocks = model.blocks(&made.network, made.emc);
    let known = blocks.iter().all(|block| block.fresh(made.problem.clocks[0]).is_some());
    let sd_j: Option<f64> = blocks.into_iter().zip(&made.plan.block_clocks).map(of_block).sum();
    sd_j.filter(|_| known).map(|sd_j| sd_j / made.plan.outcome.energy_j)
}

impl Document {
    pub fn new(model: &Model, made: &Made, table: Option<Follows>) -> Result<Self, Failure> {
        let (problem, plan) = (&made.problem, &made.plan);
        let last = plan.schedule.writes.last().map_or(plan.schedule.start, |write| write.to);
        let top = problem.clocks.len() - 1;
        let max = plan::fixed(problem, top).unwrap_or_default();
        let writes = plan.schedule.writes.iter().map(|write| WriteRow {
            at_s: plan.block_starts_s[write.block] + write.delay_s,
            clock_hz: problem.clocks[write.to],
        });
        Ok(Self {
            format: 1,
            network: made.network.clone(),
            emc_freq_hz: made.emc,
            deadline_s: problem.deadline_s,
            period_s: problem.period_s,
            risk: problem.risk,
            blocks: blocks(problem, plan),
            idle_clock_hz: problem.clocks[plan.schedule.idle.unwrap_or(last)],
            time_s: plan.outcome.time_s,
            bound_s: problem.bound_s(&plan.outcome),
            energy_j: plan.outcome.energy_j,
            energy_sd: energy_sd(model, made),
            power_of: model.power_of,
            miss_probability: plan::miss_probability(problem, &plan.schedule),
            gap_bound: plan.gap_bound,
            baselines: Baselines {
                max_clock: Baseline::new(problem, top, &max.0, &max.1),
                best_fixed: plan.best_fixed.as_ref().map(|(clock, s, o)| Baseline::new(problem, *clock, s, o)),
                cpu_dvfs: cpu_dvfs(model, made),
            },
            one_clock_is_best: plan.one_clock_is_best(),
            gain_over_best_fixed: plan.gain(),
            gain_by_granularity: plan::granularity(problem, plan).map_err(Failure::failed)?,
            writes: writes.collect(),
            #[cfg(feature = "report")]
            sizes: sizes(made),
            table,
        })
    }

    /// The same for people.
    pub fn summary(&self, made: &Made) -> String {
        let mut text = String::new();
        // Writing to a String cannot fail.
        #[cfg(feature = "report")]
        for size in &self.sizes {
            let (upto, share) = (size.size.0, size.share * 1e2);
            let (ms, j, miss) = (size.time_s * 1e3, size.energy_j, size.miss_probability);
            let _ = writeln!(
                text,
                "size up to {upto}, {share:.0} % of frames: {ms:.3} ms, {j:.4} J, miss probability {miss:.4}"
            );
            let _ = segments(&mut text, &size.blocks);
        }
        if made.smaller.is_empty() {
            let _ = segments(&mut text, &self.blocks);
        }
        let _ = match made.plan.schedule.wake {
            Some((first, lead_s)) => writeln!(
                text,
                "idle: {}; {} is written {} before the next frame",
                self.idle_clock_hz,
                made.problem.clocks[first],
                Nanos::from_secs_f64(lead_s)
            ),
            None => writeln!(text, "idle: {}", self.idle_clock_hz),
        };
        let _ = writeln!(
            text,
            "{}: {:.3} ms of {:.3} ms ({:.3} ms at the risk of {}), {:.4} J{} a period of {:.3} ms, miss probability \
             {:.4}, at most {:.3} % above the least possible by the model",
            self.network,
            self.time_s * 1e3,
            self.deadline_s * 1e3,
            self.bound_s * 1e3,
            self.risk,
            self.energy_j,
            self.energy_sd.map_or(String::new(), |sd| format!(" (known to {:.1} %)", sd * 1e2)),
            self.period_s * 1e3,
            self.miss_probability,
            self.gap_bound * 1e2
        );
        let lines = [
            ("max clock", Some(&self.baselines.max_clock)),
            ("best fixed", self.baselines.best_fixed.as_ref()),
            ("cpu-dvfs", self.baselines.cpu_dvfs.as_ref()),
        ];
        for (name, baseline) in lines {
            let Some(b) = baseline else { continue };
            let late = if b.time_s > made.problem.deadline_s { ", late" } else { "" };
            let _ = writeln!(text, "{name}: {}, {:.3} ms, {:.4} J{late}", b.clock_hz, b.time_s * 1e3, b.energy_j);
        }
        match (self.one_clock_is_best, self.gain_over_best_fixed) {
            (true, _) => {
                let _ = writeln!(text, "one clock is best");
            }
            (false, Some(gain)) => {
                let by_clocks = self.gain_by_granularity.unwrap_or(0.0);
                let _ = writeln!(
                    text,
                    "switching saves {:.2} % over the best fixed clock: {:.2} % by running between two clocks, {:.2} % \
                     as blocks differ",
                    gain * 1e2,
                    by_clocks * 1e2,
                    (gain - by_clocks) * 1e2
                );
            }
            (false, None) => {
                let _ = writeln!(text, "no fixed clock meets the deadline at the risk");
            }
        }
        text
    }
}

/// None where all frames are of one size.
#[cfg(feature = "report")]
fn sizes(made: &Made) -> Vec<SizeRow> {
    let row = |class: SizeClass<'_>| SizeRow {
        size: class.largest,
        share: class.share,
        blocks: blocks(class.problem, class.plan),
        time_s: class.plan.outcome.time_s,
        energy_j: class.plan.outcome.energy_j,
        miss_probability: plan::miss_probability(class.problem, &class.plan.schedule),
    };
    if made.smaller.is_empty() { Vec::new() } else { made.classes().into_iter().map(row).collect() }
}

fn blocks(problem: &Problem, plan: &Plan) -> Vec<BlockRow> {
    let row = |(i, block): (usize, &BlockCost)| BlockRow {
        block: block.name.clone(),
        clock_hz: problem.clocks[plan.block_clocks[i]],
        asked_hz: problem.clocks[plan.schedule.asked(i)],
        write_at_s: plan
            .schedule
            .writes
            .iter()
            .find(|write| write.block == i)
            .map(|write| plan.block_starts_s[i] + write.delay_s),
    };
    problem.blocks.iter().enumerate().map(row).collect()
}

/// A line for each run of blocks at one clock.
fn segments(text: &mut String, rows: &[BlockRow]) -> std::fmt::Result {
    for run in rows.chunk_by(|a, b| a.asked_hz == b.asked_hz) {
        let [first, ..] = run else { continue };
        match run {
            [_, .., last] => writeln!(text, "{} .. {}: {}", first.block, last.block, first.asked_hz)?,
            _ => writeln!(text, "{}: {}", first.block, first.asked_hz)?,
        }
    }
    Ok(())
}

impl Baseline {
    fn new(problem: &Problem, clock: usize, schedule: &Schedule, outcome: &Outcome) -> Self {
        Self {
            clock_hz: problem.clocks[clock],
            energy_j: outcome.energy_j,
            time_s: outcome.time_s,
            miss_probability: plan::miss_probability(problem, schedule),
        }
    }
}

/// The fixed clock that the CPU's model (`cpu-dvfs` time, `cubic` power) picks, judged by the model planned with.
fn cpu_dvfs(model: &Model, made: &Made) -> Option<Baseline> {
    let blocks: Vec<_> = model
        .blocks(&made.network, made.emc)
        .into_iter()
        .map(|block| block.with_forms(TimeForm::CpuDvfs, PowerForm::Cubic))
        .collect::<Option<_>>()?;
    let mut believed = made.problem.clone();
    for (cost, block) in believed.blocks.iter_mut().zip(&blocks) {
        let size = block.series.size;
        cost.time_s = made.problem.clocks.iter().map(|clock| block.time_s(*clock, size)).collect();
        cost.power_w = made.problem.clocks.iter().map(|clock| block.power_w(*clock, size)).collect::<Option<_>>()?;
    }
    let (clock, ..) = plan::best_fixed(&believed)?;
    let (schedule, outcome) = plan::fixed(&made.problem, clock)?;
    Some(Baseline::new(&made.problem, clock, &schedule, &outcome))
}
