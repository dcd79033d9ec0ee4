//! `jetpace plan`: from a model to a table.

#[cfg(feature = "report")]
mod cut;
mod document;
#[cfg(feature = "report")]
mod front;

use std::path::PathBuf;

use jetpace_tables::image::{self, MAX_BYTES};
use jetpace_tables::model::Model;
use jetpace_tables::plan::{self, Ask, Holds, Objective, Plan, PlanError, Problem};
use jetpace_tables::table::{Digest, Table};
use jetpace_tables::units::{Hertz, Nanos};
use jetpace_tables::work::Size;

use crate::failure::{Failure, Reason};
use crate::model_file;
use crate::output::{print_json, write_file};
use document::Document;

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
    #[arg(long, value_name = "W", value_parser = crate::args::watts)]
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
        let write_time = Nanos::from_secs_f64(model.write.map_or(0.0, |write| write.p50_s));
        let list = plan::list_table(&made.problem, &made.plan, &holds).map_err(Failure::usage)?;
        let list = list.with_write_time(write_time);
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
