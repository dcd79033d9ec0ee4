//! `jetpace plan`: from a model to a table.

#[cfg(feature = "report")]
mod board;
#[cfg(feature = "report")]
mod cut;
pub(super) mod document;
#[cfg(feature = "report")]
mod front;
#[cfg(feature = "report")]
mod objective;

#[cfg(feature = "report")]
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use jetpace_tables::model::{BlockModel, Model};
use jetpace_tables::plan::{self, Ask, Expected, Holds, Plan, PlanError, Problem, SizeClass};
use jetpace_tables::table::{Digest, Table};
use jetpace_tables::units::{Hertz, Nanos};
use jetpace_tables::work::Size;

#[cfg(feature = "report")]
use crate::args::BoardArg;
use crate::args::RISK;
#[cfg(feature = "report")]
use crate::commands::compare::uplink::Channel;
use crate::failure::{Failure, Reason};
use crate::files::kind::{self, Kind};
use crate::files::output::{print_json, while_working};
use crate::files::{model, table};
use crate::session::sizes::SizeShare;
use document::Document;

/// Options of `plan`. The static release has no room for what is done at a desk.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The model that `fit` made
    model: PathBuf,
    /// Latest end of a frame, from its start; by default the period, where that is given
    #[arg(long, value_name = "TIME", required_unless_present_any = ["period", "fps"])]
    deadline: Option<Nanos>,
    /// Time between frame starts; by default the deadline
    #[arg(long, value_name = "TIME")]
    period: Option<Nanos>,
    /// Frames a second: the period in other words
    #[arg(long, value_name = "RATE", conflicts_with = "period", value_parser = crate::args::period_of_rate)]
    fps: Option<Nanos>,
    /// What is to be least: energy under the deadline, time under an energy, or energy times time
    #[cfg(feature = "report")]
    #[arg(long, value_enum, default_value_t = Least::Energy)]
    objective: Least,
    /// With --objective time: the most energy of a period, in joules
    #[cfg(feature = "report")]
    #[arg(long, value_name = "J", conflicts_with_all = ["power", "cut"], value_parser = crate::args::above_zero)]
    energy: Option<f64>,
    /// With --objective time: the most power on average over a period, in watts
    #[cfg(feature = "report")]
    #[arg(long, value_name = "W", conflicts_with = "cut", value_parser = crate::args::above_zero)]
    power: Option<f64>,
    /// Accepted probability that a frame misses its deadline
    #[arg(long, value_name = "P", default_value_t = RISK)]
    risk: f64,
    /// The network, where the model has several
    #[arg(long, value_name = "NET")]
    net: Option<String>,
    /// The EMC clock, where the model has several; by default the one at which a frame takes the least energy (with --cut
    /// one has to be named)
    #[arg(long, value_name = "CLOCK")]
    emc: Option<Hertz>,
    /// Every block's amount of work
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    size: u32,
    /// Sizes of frames and how often each comes, as 64:0.5,256:0.3,1024:0.2: half of the frames are of size 64 or less,
    /// three in ten above that and of 256 or less, and so on. Each is planned at its upper end; four at most
    #[cfg(feature = "report")]
    #[arg(long, value_name = "SIZE:SHARE", value_delimiter = ',', conflicts_with_all = ["size", "cut", "pareto", "objective"])]
    sizes: Vec<SizeShare>,
    /// Idle power in watts, for a sweep that lacks it
    #[arg(long, value_name = "W", value_parser = crate::args::watts)]
    idle_w: Option<f64>,
    /// Settle time of every change of clock, for a sweep that lacks it
    #[arg(long, value_name = "TIME")]
    settle: Option<Nanos>,
    /// Stall of every change of clock, for a sweep that lacks it
    #[arg(long, value_name = "TIME")]
    stall: Option<Nanos>,
    /// The board that the table is for, where the sweep names none: auto (this machine), sim:NAME, or a tree's root
    #[cfg(feature = "report")]
    #[arg(long, value_name = "BOARD")]
    board: Option<BoardArg>,
    /// The CPU clock at which it will run
    #[arg(long, value_name = "CLOCK")]
    cpu_clock: Option<Hertz>,
    /// Follow the list of clocks whatever the slack, without feedback
    #[arg(long)]
    list: bool,
    /// Plan also which blocks run here, the others on a server: CSV of block, output_bytes, server_s, first row `input`;
    /// without a file a server that is built in for AlexNet, VGG19 and ResNet152. The table is of the blocks here, for a
    /// program that follows it by libjetpace and sends the rest
    #[cfg(feature = "report")]
    #[arg(long, value_name = "SERVER", num_args = 0..=1, conflicts_with_all = ["pareto", "objective", "size"])]
    cut: Option<Option<PathBuf>>,
    /// With --cut: rate of the uplink in Mbit/s
    #[cfg(feature = "report")]
    #[arg(long, value_name = "RATE", requires = "cut", value_parser = crate::args::above_zero)]
    rate_mbps: Option<f64>,
    /// With --cut: the uplink as a channel instead: bandwidth in Hz, gain, noise in W/Hz (thermal noise is 4e-21)
    #[cfg(feature = "report")]
    #[arg(long, value_name = "B:H:N0", requires = "cut", conflicts_with = "rate_mbps")]
    channel: Option<Channel>,
    /// With --cut: power of the transmitter in watts
    #[cfg(feature = "report")]
    #[arg(long, value_name = "W", requires = "cut", default_value_t = 1.0, value_parser = crate::args::above_zero)]
    transmit_w: f64,
    /// Write the front of time and energy up to the deadline here, as CSV or SVG by the file's ending; may be repeated
    #[cfg(feature = "report")]
    #[arg(long, value_name = "FILE", value_parser = front::path)]
    pareto: Vec<PathBuf>,
    /// Write the table here
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Write over files that would be left alone: an input, or a file of another kind
    #[arg(long)]
    force: bool,
    /// Print the plan as JSON on stdout
    #[arg(long)]
    json: bool,
}

/// `--objective`.
#[cfg(feature = "report")]
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Least {
    /// Energy, under the deadline.
    Energy,
    /// Time, under an energy.
    Time,
    /// Energy times time, under the deadline.
    Edp,
}

/// What following the table comes to in rehearsal.
#[derive(Clone, Debug, serde::Serialize)]
pub(super) struct Follows {
    feedback: bool,
    energy_j: f64,
    miss_probability: f64,
    /// What it is beside, for people.
    #[serde(skip)]
    beside: String,
}

/// A plan that was made, with all it was made from.
pub(super) struct Made {
    pub problem: Problem,
    pub plan: Plan,
    network: String,
    pub emc: Option<Hertz>,
    /// What the objective is at, to compare EMC clocks by.
    least: f64,
    /// The size of `problem` and `plan`: the largest.
    size: Size,
    /// Frames of smaller sizes, ascending.
    smaller: Vec<Smaller>,
}

/// Frames up to a size below the largest, with their plan.
struct Smaller {
    size: SizeShare,
    problem: Problem,
    plan: Plan,
}

/// Its options for frames that another command knows, as words.
#[cfg(feature = "report")]
pub(super) fn words(network: &str, deadline: Nanos, period: Nanos, risk: f64) -> Vec<OsString> {
    let time = |time: Nanos| OsString::from(format!("{}ns", time.get()));
    let mut words: Vec<OsString> = vec!["--net".into(), network.into(), "--risk".into(), risk.to_string().into()];
    words.extend(["--deadline".into(), time(deadline), "--period".into(), time(period)]);
    words
}

impl Args {
    /// Plans, reports, writes.
    pub fn run(self) -> Result<(), Failure> {
        self.may_write()?;
        let (mut model, digest) = model::read(&self.model)?;
        #[cfg(feature = "report")]
        if let Some(board) = &self.board {
            board::set(&mut model, board, &self.model)?;
        }
        // Where it was measured at no such clock, a warning says so below.
        if let Some(clock) = self.cpu_clock {
            model.keep_cpu_clock(clock);
        }
        if model.board.is_none() && self.output.is_some() {
            eprintln!(
                "warning: {}: its sweep names no board, so no board will follow the table; name one with --board, or \
                 calibrate there",
                self.model.display()
            );
        }
        #[cfg(feature = "report")]
        {
            if self.cut.is_some() {
                return cut::run(&self, &model, digest);
            }
            crate::session::sizes::check(&self.sizes)?;
        }
        let (made, table) = while_working("plans, and tables in rehearsal ...", || self.made(&model, digest))?;
        for warning in self.unmeasured(&model, &made) {
            eprintln!("warning: {warning}");
        }
        let document = Document::new(&model, &made, table.as_ref().map(|(_, follows)| follows.clone()))?;
        // Before anything is printed: whoever reads may have gone.
        if let Some((path, (made, _))) = self.output.as_ref().zip(table.as_ref()) {
            table::write(path, made)?;
        }
        eprint!("{}", document.summary(&made));
        if let Some((_, follows)) = &table {
            eprint!("{}", follows.beside);
        }
        if self.output.is_none() && !self.json {
            eprintln!("no table is written: -o TABLE does that");
        }
        #[cfg(feature = "report")]
        if !self.pareto.is_empty() {
            while_working("the front ...", || front::write(&self.pareto, &self.asked(&made.problem)))?;
        }
        if self.json { print_json(&document) } else { Ok(()) }
    }

    /// The table that the options ask for, without a word and without a file. They have to name its file.
    ///
    /// # Errors
    /// Where the model cannot be read, or no plan holds.
    #[cfg(feature = "report")]
    pub fn table_alone(&self) -> Result<Table, Failure> {
        let (model, digest) = model::read(&self.model)?;
        let (_, table) = self.made(&model, digest)?;
        table.map(|(table, _)| table).ok_or_else(|| Failure::usage("no table is asked for: -o TABLE does that"))
    }

    /// The plan that the options ask for of a model that was read, and what the command prints of it: whoever shows a
    /// plan has these numbers.
    ///
    /// # Errors
    /// Where no plan holds, or the model lacks what planning needs.
    #[cfg(feature = "report")]
    pub(super) fn shown(&self, model: &Model) -> Result<(Made, Document), Failure> {
        let made = self.plan(model, least_energy)?;
        let document = Document::new(model, &made, None)?;
        Ok((made, document))
    }

    /// Leaves what must not be written over alone, before the work.
    fn may_write(&self) -> Result<(), Failure> {
        #[cfg(feature = "report")]
        let cut = self.cut.iter().flatten().map(PathBuf::as_path);
        #[cfg(not(feature = "report"))]
        let cut = std::iter::empty();
        let inputs: Vec<&Path> = std::iter::once(self.model.as_path()).chain(cut).collect();
        if let Some(path) = &self.output {
            kind::may_write(path, Kind::Table, &inputs, self.force)?;
        }
        #[cfg(feature = "report")]
        for path in &self.pareto {
            if self.output.as_ref() == Some(path) {
                return Err(Failure::usage(format_args!(
                    "{}: the table and the front need a file each",
                    path.display()
                )));
            }
            kind::may_write(path, front::kind(path), &inputs, self.force)?;
        }
        Ok(())
    }

    /// What the plan rests on that was not measured: sizes and clocks beyond those of the sweep, another CPU clock.
    fn unmeasured(&self, model: &Model, made: &Made) -> Vec<String> {
        let blocks = model.blocks(&made.network, made.emc);
        let sized = |block: &&BlockModel<'_>| {
            let sizes = block.sizes();
            let (low, high) = (self.sizes().first().map_or(self.size, |s| s.size.0), self.largest().0);
            sizes.first().is_some_and(|least| low < least.0) || sizes.last().is_some_and(|most| high > most.0)
        };
        let clocked = |block: &&BlockModel<'_>| !made.problem.clocks.iter().all(|clock| block.covers(*clock));
        let warning = |what: String, among: Vec<&BlockModel<'_>>| {
            let first = among.first()?.name();
            let count = among.len();
            Some(format!(
                "{what} was not measured but extrapolated, for {count} of {} blocks: {first} ..",
                blocks.len()
            ))
        };
        let size = warning(format!("size {}", self.largest().0), blocks.iter().filter(sized).collect());
        let clock = warning("the outermost clocks' time".to_owned(), blocks.iter().filter(clocked).collect());
        let cpu = self.cpu_clock.and_then(|now| model::other_cpu_clock(&blocks, now));
        size.into_iter().chain(clock).chain(cpu).collect()
    }

    /// Sizes and how often they come; none where all frames are of one.
    fn sizes(&self) -> &[SizeShare] {
        #[cfg(feature = "report")]
        let sizes = self.sizes.as_slice();
        #[cfg(not(feature = "report"))]
        let sizes = &[];
        sizes
    }

    /// A plan and, where one is to be written, its table.
    fn made(&self, model: &Model, digest: Digest) -> Result<(Made, Option<(Table, Follows)>), Failure> {
        #[cfg(feature = "report")]
        if self.objective != Least::Energy || self.energy.is_some() || self.power.is_some() {
            return objective::made(self, model, digest);
        }
        let mut made = self.plan(model, least_energy)?;
        if let [smaller @ .., _] = self.sizes()
            && !smaller.is_empty()
        {
            self.plan_sizes(model, &mut made, smaller).map_err(|error| self.refused(error))?;
        }
        let table = self.output.is_some().then(|| self.table(model, digest, &made, f64::INFINITY)).transpose()?;
        Ok((made, table))
    }

    /// Plans the smaller sizes beside the largest, so that all together hold.
    fn plan_sizes(&self, model: &Model, made: &mut Made, smaller: &[SizeShare]) -> Result<(), PlanError> {
        let all: f64 = smaller.iter().map(|size| size.share).sum();
        let problem = |size: &SizeShare| {
            let ask = Ask { size: size.size, ..self.ask(&made.network, made.emc) };
            Ok((size.size, size.share, Problem::from_model(model, &ask)?))
        };
        let mut classes: Vec<_> = smaller.iter().map(problem).collect::<Result<_, PlanError>>()?;
        classes.push((made.size, 1.0 - all, made.problem.clone()));
        let mut plans = plan::dependable_classes(&classes)?;
        made.plan = plans.pop().unwrap_or(made.plan.clone());
        let smaller = smaller.iter().zip(classes).zip(plans);
        made.smaller = smaller.map(|((size, (.., problem)), plan)| Smaller { size: *size, problem, plan }).collect();
        Ok(())
    }

    /// Plans at each EMC clock that may be chosen and takes the one of least energy.
    fn plan(
        &self,
        model: &Model,
        planned: impl Fn(Problem) -> Result<(Problem, Plan, f64), PlanError>,
    ) -> Result<Made, Failure> {
        let network = model::network_name(model, self.net.as_deref())?;
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
        let mut best: Option<Made> = None;
        let mut refused: Option<PlanError> = None;
        for emc in emcs {
            let ask = self.ask(network, emc);
            match Problem::from_model(model, &ask).and_then(&planned) {
                Ok((problem, plan, least)) => {
                    if best.as_ref().is_none_or(|b| least < b.least) {
                        let (network, size) = (network.to_owned(), self.largest());
                        best = Some(Made { problem, plan, network, emc, least, size, smaller: Vec::new() });
                    }
                }
                Err(error) => refused = Some(most_reachable(refused, error)),
            }
        }
        best.ok_or_else(|| refused.map_or_else(|| Failure::failed("no EMC clock to plan at"), |e| self.refused(e)))
    }

    fn refused(&self, error: PlanError) -> Failure {
        match error {
            PlanError::NotMeasured { .. } => {
                Failure::new(Reason::Calibration, format_args!("{}: {error}", self.model.display()))
            }
            PlanError::Unreachable { .. } | PlanError::TooLittleEnergy { .. } => Failure::failed(error),
            error => Failure::usage(error),
        }
    }

    /// The size that everything is planned at, or the largest.
    fn largest(&self) -> Size {
        self.sizes().last().map_or(Size(self.size), |largest| largest.size)
    }

    fn period(&self) -> Option<Nanos> {
        self.period.or(self.fps)
    }

    fn deadline(&self) -> Nanos {
        // One of them is required.
        self.deadline.or(self.period()).unwrap_or_default()
    }

    /// The problem with the deadline that was asked for, which `made` has replaced by the one that it reaches.
    #[cfg(feature = "report")]
    fn asked(&self, made: &Problem) -> Problem {
        Problem { deadline_s: self.deadline().as_secs_f64(), ..made.clone() }
    }

    fn ask<'a>(&self, network: &'a str, emc: Option<Hertz>) -> Ask<'a> {
        Ask {
            network,
            emc,
            size: self.largest(),
            leads: self.sizes().is_empty(),
            deadline: self.deadline(),
            period: self.period().unwrap_or(self.deadline()),
            risk: self.risk,
            idle_w: self.idle_w,
            settle: self.settle,
            stall: self.stall,
        }
    }

    /// The table, and what following it comes to: with feedback unless that takes more than `most_j` a period.
    fn table(&self, model: &Model, digest: Digest, made: &Made, most_j: f64) -> Result<(Table, Follows), Failure> {
        let board = match &model.board {
            Some(board) => model::digest_from_hex(&board.digest).ok_or_else(|| {
                Failure::usage(format_args!("{}: `{}` is no digest", self.model.display(), board.digest))
            })?,
            // A published sweep names no board; no board will follow its table.
            None => Digest::default(),
        };
        let holds =
            Holds { board, model: digest, network: &made.network, emc: made.emc, board_clocks: &model.clocks_hz };
        let write_time = Nanos::from_secs_f64(model.write.map_or(0.0, |write| write.p50_s));
        let classes = made.classes();
        let list = plan::list_table(&classes, &holds).map_err(Failure::usage)?;
        let list = list.with_write_time(write_time).with_power_of(model.power_of);
        let follows = |feedback, Expected { energy_j, miss }, beside| Follows {
            feedback,
            energy_j,
            miss_probability: miss,
            beside,
        };
        if self.list {
            let expected = plan::expected(&classes, &list);
            return Ok((list, follows(false, expected, String::new())));
        }
        let found = plan::feedback(&classes, &list).map_err(Failure::usage)?;
        if found.table == list {
            let beside = format!(
                "the list alone: {:.4} J and misses {:.4}; feedback would gain too little\n",
                found.list.energy_j, found.list.miss
            );
            return Ok((list, follows(false, found.list, beside)));
        }
        let mut beside = format!(
            "with feedback: {:.4} J and misses {:.4}; the list alone: {:.4} J and {:.4}; thresholds cost {:.3} % of energy\n",
            found.expected.energy_j,
            found.expected.miss,
            found.list.energy_j,
            found.list.miss,
            found.form_cost * 1e2
        );
        if found.expected.energy_j > most_j && found.list.energy_j < found.expected.energy_j {
            beside += &format!("without feedback, as that takes more than {most_j:.4} J\n");
            return Ok((list, follows(false, found.list, beside)));
        }
        Ok((found.table, follows(true, found.expected, beside)))
    }
}

impl Made {
    /// All size classes; what is not of the smaller ones is of the largest size.
    pub fn classes(&self) -> Vec<SizeClass<'_>> {
        let all: f64 = self.smaller.iter().map(|smaller| smaller.size.share).sum();
        let [largest] = SizeClass::only(&self.problem, &self.plan);
        let smaller = self.smaller.iter().map(|Smaller { size, problem, plan }| SizeClass {
            largest: size.size,
            share: size.share,
            problem,
            plan,
        });
        smaller.chain([SizeClass { largest: self.size, share: 1.0 - all, ..largest }]).collect()
    }
}

/// Plans for the least energy; and that energy.
fn least_energy(problem: Problem) -> Result<(Problem, Plan, f64), PlanError> {
    let plan = plan::dependable(&problem)?;
    let energy_j = plan.outcome.energy_j;
    Ok((problem, plan, energy_j))
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
