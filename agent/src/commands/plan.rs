//! `jetpace plan`: from a model to a table.

#[cfg(feature = "report")]
mod cut;
#[cfg(feature = "report")]
mod front;

use std::fmt::Write as _;
use std::path::PathBuf;

use jetpace_tables::image::{self, MAX_BYTES};
use jetpace_tables::model::{Model, PowerForm, TimeForm};
use jetpace_tables::plan::{self, Ask, Holds, Objective, Outcome, Plan, PlanError, Problem};
use jetpace_tables::table::{Digest, Table};
use jetpace_tables::units::{Hertz, Nanos};
use jetpace_tables::work::Size;
use serde::Serialize;

use crate::failure::{Failure, Reason};
use crate::model_file;
use crate::output::{print_json, write_file};

/// Options of `plan`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The model that `fit` made
    model: PathBuf,
    /// Latest end of a frame, from its start; by default the period, where that is given
    #[arg(long, value_name = "TIME", required_unless_present = "period")]
    deadline: Option<Nanos>,
    /// Time between frame starts; by default the deadline
    #[arg(long, value_name = "TIME")]
    period: Option<Nanos>,
    /// What is to be least: energy under the deadline, time under an energy, or energy times time
    #[arg(long, value_enum, default_value_t = Least::Energy)]
    objective: Least,
    /// With --objective time: the most energy of a period, in joules
    #[arg(long, value_name = "J", conflicts_with_all = ["power", "cut"], value_parser = above_zero)]
    energy: Option<f64>,
    /// With --objective time: the most power on average over a period, in watts
    #[arg(long, value_name = "W", conflicts_with = "cut", value_parser = above_zero)]
    power: Option<f64>,
    /// Accepted probability that a frame misses its deadline
    #[arg(long, value_name = "P", default_value_t = 0.01)]
    risk: f64,
    /// The network, where the model has several
    #[arg(long, value_name = "NET")]
    net: Option<String>,
    /// The EMC clock, where the model has several; by default the one at which a frame takes the least energy
    #[arg(long, value_name = "CLOCK")]
    emc: Option<Hertz>,
    /// Every block's amount of work
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    size: u32,
    /// Idle power in watts, for a sweep that lacks it
    #[arg(long, value_name = "W", value_parser = crate::commands::compare::watts)]
    idle_w: Option<f64>,
    /// Settle time of every change of clock, for a sweep that lacks it
    #[arg(long, value_name = "TIME")]
    settle: Option<Nanos>,
    /// Stall of every change of clock, for a sweep that lacks it
    #[arg(long, value_name = "TIME")]
    stall: Option<Nanos>,
    /// Follow the list of clocks whatever the slack, without feedback
    #[arg(long)]
    list: bool,
    /// Plan which blocks to run on a server instead: CSV of block, output_bytes, server_s, first row `input`
    #[arg(long, value_name = "SERVER")]
    cut: Option<PathBuf>,
    /// With --cut: rate of the uplink in Mbit/s
    #[arg(long, value_name = "RATE", requires = "cut", value_parser = above_zero)]
    rate_mbps: Option<f64>,
    /// With --cut: power of the transmitter in watts
    #[arg(long, value_name = "W", requires = "cut", default_value_t = 1.0, value_parser = above_zero)]
    transmit_w: f64,
    /// Write the front of time and energy up to the deadline here, as CSV or SVG by the file's ending; may be repeated
    #[arg(long, value_name = "FILE")]
    pareto: Vec<PathBuf>,
    /// Write the table here
    #[arg(short, long, value_name = "FILE", required_unless_present_any = ["json", "cut"])]
    output: Option<PathBuf>,
    /// Print the plan as JSON on stdout
    #[arg(long)]
    json: bool,
}

/// `--objective`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Least {
    /// Energy, under the deadline.
    Energy,
    /// Time, under an energy.
    Time,
    /// Energy times time, under the deadline.
    Edp,
}

fn above_zero(text: &str) -> Result<f64, String> {
    let value: f64 = text.parse().map_err(|_| "not a number")?;
    if value.is_finite() && value > 0.0 { Ok(value) } else { Err("not above zero".to_owned()) }
}

/// A plan that was made, with all it was made from.
struct Made {
    problem: Problem,
    plan: Plan,
    network: String,
    emc: Option<Hertz>,
    /// What the objective is at, to compare EMC clocks by.
    least: f64,
}

impl Args {
    /// Plans, reports, writes.
    pub fn run(self) -> Result<(), Failure> {
        let (model, digest) = model_file::read(&self.model)?;
        if self.cut.is_some() {
            return self.cut(&model);
        }
        let made = self.plan(&model)?;
        let document = Document::new(&model, &made)?;
        eprint!("{}", document.summary(&made));
        if let Some(path) = &self.output {
            let table = self.table(&model, digest, &made)?;
            let mut bytes = vec![0; MAX_BYTES];
            let length = image::encode(&table, &mut bytes).map_err(Failure::failed)?;
            write_file(path, &bytes[..length])?;
        }
        if !self.pareto.is_empty() {
            self.front(&made.problem)?;
        }
        if self.json { print_json(&document) } else { Ok(()) }
    }

    #[cfg(feature = "report")]
    fn cut(&self, model: &Model) -> Result<(), Failure> {
        cut::run(self, model)
    }

    #[cfg(feature = "report")]
    fn front(&self, problem: &Problem) -> Result<(), Failure> {
        front::write(&self.pareto, &self.asked(problem))
    }

    // The static release has no room for what is done at a desk.
    #[cfg(not(feature = "report"))]
    fn cut(&self, _: &Model) -> Result<(), Failure> {
        Err(Failure::usage("this binary is without --cut: use the full build of jetpace"))
    }

    #[cfg(not(feature = "report"))]
    fn front(&self, _: &Problem) -> Result<(), Failure> {
        Err(Failure::usage("this binary is without --pareto: use the full build of jetpace"))
    }

    fn network<'a>(&'a self, model: &'a Model) -> Result<&'a str, Failure> {
        let networks = model.networks();
        match (&self.net, networks.as_slice()) {
            (Some(name), _) => Ok(name),
            (None, [only]) => Ok(only),
            (None, []) => Err(Failure::usage(format_args!("{} has no network", self.model.display()))),
            (None, several) => {
                Err(Failure::usage(format_args!("the model has {}; name one with --net", several.join(", "))))
            }
        }
    }

    /// Plans at each EMC clock that may be chosen and takes the one of least energy.
    fn plan(&self, model: &Model) -> Result<Made, Failure> {
        let network = self.network(model)?;
        let mut emcs = model.emc_clocks(network);
        if let Some(asked) = self.emc {
            emcs.retain(|emc| *emc == Some(asked));
            if emcs.is_empty() {
                return Err(Failure::usage(format_args!("{network} was not measured at an EMC clock of {asked}")));
            }
        }
        if emcs.is_empty() {
            emcs.push(None);
        }
        let objective = self.objective()?;
        let mut best: Option<Made> = None;
        let mut refused: Option<PlanError> = None;
        for emc in emcs {
            let ask = self.ask(network, emc);
            match Problem::from_model(model, &ask).and_then(|problem| planned(problem, objective)) {
                Ok((problem, plan, least)) => {
                    if best.as_ref().is_none_or(|b| least < b.least) {
                        best = Some(Made { problem, plan, network: network.to_owned(), emc, least });
                    }
                }
                Err(error) => refused = Some(most_reachable(refused, error)),
            }
        }
        best.ok_or_else(|| match refused {
            Some(error @ PlanError::NotMeasured { .. }) => {
                Failure::new(Reason::Calibration, format_args!("{}: {error}", self.model.display()))
            }
            Some(error @ (PlanError::Unreachable { .. } | PlanError::TooLittleEnergy { .. })) => Failure::failed(error),
            Some(error) => Failure::usage(error),
            None => Failure::failed("no EMC clock to plan at"),
        })
    }

    fn deadline(&self) -> Nanos {
        // One of the two is required.
        self.deadline.or(self.period).unwrap_or_default()
    }

    /// The problem with the deadline that was asked for, which `made` has replaced by the one that it reaches.
    #[cfg(feature = "report")]
    fn asked(&self, made: &Problem) -> Problem {
        Problem { deadline_s: self.deadline().as_secs_f64(), ..made.clone() }
    }

    fn objective(&self) -> Result<Objective, Failure> {
        let period_s = self.period.unwrap_or(self.deadline()).as_secs_f64();
        let budget = self.energy.or(self.power.map(|watts| watts * period_s));
        match (self.objective, budget) {
            (Least::Energy, None) => Ok(Objective::Energy),
            (Least::Edp, None) => Ok(Objective::EnergyDelay),
            (Least::Time, Some(energy_j)) => Ok(Objective::Time { energy_j }),
            (Least::Time, None) => Err(Failure::usage("--objective time needs --energy J or --power W")),
            (_, Some(_)) => Err(Failure::usage("--energy and --power go with --objective time")),
        }
    }

    fn ask<'a>(&self, network: &'a str, emc: Option<Hertz>) -> Ask<'a> {
        Ask {
            network,
            emc,
            size: Size(self.size),
            deadline: self.deadline(),
            period: self.period.unwrap_or(self.deadline()),
            risk: self.risk,
            idle_w: self.idle_w,
            settle: self.settle,
            stall: self.stall,
        }
    }

    fn table(&self, model: &Model, digest: Digest, made: &Made) -> Result<Table, Failure> {
        let board = match &model.board {
            Some(board) => model_file::digest_from_hex(&board.digest).ok_or_else(|| {
                Failure::usage(format_args!("{}: `{}` is no digest", self.model.display(), board.digest))
            })?,
            // A published sweep names no board; no board will follow its table.
            None => Digest::default(),
        };
        let holds =
            Holds { board, model: digest, network: &made.network, emc: made.emc, board_clocks: &model.clocks_hz };
        let list = plan::list_table(&made.problem, &made.plan, &holds).map_err(Failure::usage)?;
        if self.list {
            return Ok(list);
        }
        let made = plan::feedback(&made.problem, &made.plan, &list).map_err(Failure::usage)?;
        eprintln!(
            "with feedback: {:.4} J and misses {:.4}; the list alone: {:.4} J and {:.4}; thresholds cost {:.3} % of energy",
            made.expected.energy_j,
            made.expected.miss,
            made.list.energy_j,
            made.list.miss,
            made.form_cost * 1e2
        );
        Ok(made.table)
    }
}

/// Plans, and what the objective comes to. Where time counts, the plan's own time becomes the deadline: a governor that
/// had until the one asked for would use it up.
fn planned(problem: Problem, objective: Objective) -> Result<(Problem, Plan, f64), PlanError> {
    let found = plan::plan_for(&problem, objective)?;
    let bound_s = problem.bound_s(&found.outcome);
    let problem = match objective {
        Objective::Energy => problem,
        Objective::Time { .. } | Objective::EnergyDelay => {
            Problem { deadline_s: problem.deadline_s.min(bound_s * (1.0 + 1e-9)), ..problem }
        }
    };
    let plan = plan::dependable(&problem, found);
    let (energy_j, bound_s) = (plan.outcome.energy_j, problem.bound_s(&plan.outcome));
    let least = match objective {
        Objective::Energy => energy_j,
        Objective::Time { .. } => bound_s,
        Objective::EnergyDelay => energy_j * bound_s,
    };
    Ok((problem, plan, least))
}

/// Of two reasons the one that is nearer to a plan.
fn most_reachable(before: Option<PlanError>, error: PlanError) -> PlanError {
    match (before, error) {
        (Some(PlanError::Unreachable { least_s: a, .. }), PlanError::Unreachable { deadline_s, risk, least_s: b }) => {
            PlanError::Unreachable { deadline_s, risk, least_s: a.min(b) }
        }
        (Some(before), _) => before,
        (None, error) => error,
    }
}

/// `plan --json` of FORMATS, and what it leaves open: the gain and the network.
#[derive(Serialize)]
struct Document {
    format: u32,
    network: String,
    emc_freq_hz: Option<Hertz>,
    deadline_s: f64,
    period_s: f64,
    risk: f64,
    blocks: Vec<BlockRow>,
    idle_clock_hz: Hertz,
    time_s: f64,
    bound_s: f64,
    energy_j: f64,
    miss_probability: f64,
    gap_bound: f64,
    baselines: Baselines,
    one_clock_is_best: bool,
    gain_over_best_fixed: Option<f64>,
    /// The part of it that alternating between clocks gains with blocks that do not differ.
    gain_by_granularity: Option<f64>,
    writes: Vec<WriteRow>,
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
    clock_hz: Hertz,
    /// From the frame's start; `null` where nothing is written for this block.
    write_at_s: Option<f64>,
}

#[derive(Serialize)]
struct Baselines {
    max_clock: Baseline,
    best_fixed: Option<Baseline>,
    cpu_dvfs: Option<Baseline>,
}

#[derive(Serialize)]
struct Baseline {
    clock_hz: Hertz,
    energy_j: f64,
    time_s: f64,
    miss_probability: f64,
}

impl Document {
    fn new(model: &Model, made: &Made) -> Result<Self, Failure> {
        let (problem, plan) = (&made.problem, &made.plan);
        let blocks = problem.blocks.iter().enumerate().map(|(i, block)| BlockRow {
            block: block.name.clone(),
            clock_hz: problem.clocks[plan.block_clocks[i]],
            write_at_s: plan
                .schedule
                .writes
                .iter()
                .find(|write| write.block == i)
                .map(|write| plan.block_starts_s[i] + write.delay_s),
        });
        let last = plan.schedule.writes.last().map_or(plan.schedule.start, |write| write.to);
        let top = problem.clocks.len() - 1;
        let max = plan::fixed(problem, top).map(|(_, outcome)| outcome).unwrap_or_default();
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
            blocks: blocks.collect(),
            idle_clock_hz: problem.clocks[plan.schedule.idle.unwrap_or(last)],
            time_s: plan.outcome.time_s,
            bound_s: problem.bound_s(&plan.outcome),
            energy_j: plan.outcome.energy_j,
            miss_probability: problem.miss_probability(&plan.outcome),
            gap_bound: plan.gap_bound,
            baselines: Baselines {
                max_clock: Baseline::new(problem, top, &max),
                best_fixed: plan.best_fixed.as_ref().map(|(clock, _, o)| Baseline::new(problem, *clock, o)),
                cpu_dvfs: cpu_dvfs(model, made),
            },
            one_clock_is_best: plan.one_clock_is_best(),
            gain_over_best_fixed: plan.gain(),
            gain_by_granularity: plan::granularity(problem, plan).map_err(Failure::failed)?,
            writes: writes.collect(),
        })
    }

    fn summary(&self, made: &Made) -> String {
        let mut text = String::new();
        let mut segment: Option<(&BlockRow, &BlockRow)> = None;
        // Writing to a String cannot fail.
        let mut say = |first: &BlockRow, last: &BlockRow| {
            let run = if first.block == last.block {
                first.block.clone()
            } else {
                format!("{} .. {}", first.block, last.block)
            };
            let _ = writeln!(text, "{run}: {}", first.clock_hz);
        };
        for row in &self.blocks {
            segment = match segment {
                Some((first, _)) if first.clock_hz == row.clock_hz => Some((first, row)),
                Some((first, last)) => {
                    say(first, last);
                    Some((row, row))
                }
                None => Some((row, row)),
            };
        }
        if let Some((first, last)) = segment {
            say(first, last);
        }
        let _ = writeln!(text, "idle: {}", self.idle_clock_hz);
        let _ = writeln!(
            text,
            "{}: {:.3} ms of {:.3} ms ({:.3} ms at the risk of {}), {:.4} J a period of {:.3} ms, miss probability \
             {:.4}, at most {:.3} % from the optimum",
            self.network,
            self.time_s * 1e3,
            self.deadline_s * 1e3,
            self.bound_s * 1e3,
            self.risk,
            self.energy_j,
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

impl Baseline {
    fn new(problem: &Problem, clock: usize, outcome: &Outcome) -> Self {
        Self {
            clock_hz: problem.clocks[clock],
            energy_j: outcome.energy_j,
            time_s: outcome.time_s,
            miss_probability: problem.miss_probability(outcome),
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
    let (_, outcome) = plan::fixed(&made.problem, clock)?;
    Some(Baseline::new(&made.problem, clock, &outcome))
}
