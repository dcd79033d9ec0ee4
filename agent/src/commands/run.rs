//! `jetpace run`: frames of a network at planned clocks, or under the stock governor, and what they cost.

use jetpace_tables::image;
use jetpace_tables::table::Table;
use jetpace_tables::units::{Microjoules, Nanos};
use jetpace_tables::work::Network;
use serde::Serialize;
use std::path::PathBuf;

use crate::args::{BoardArg, network};
use crate::failure::{Failure, Reason};
use crate::frames::{Frame, Pace};
use crate::output::{print_json, print_text};
use crate::session::{Drive, Summary};
use crate::signals::Stop;

/// Options of `run`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Where: `auto` (this machine) or `sim:NAME` (a virtual board)
    #[arg(long, default_value = "auto", value_name = "BOARD")]
    board: BoardArg,
    /// Follow this table
    #[arg(long, value_name = "FILE")]
    table: Option<PathBuf>,
    /// The network; by default the one that the table was planned for. Without a table the stock governor decides
    #[arg(long, required_unless_present = "table", value_name = "NET")]
    net: Option<String>,
    /// How many frames; by default 1000, with --dry-run 3
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..))]
    frames: Option<u64>,
    /// Latest end of a frame, from its start; by default the table's
    #[arg(long, value_name = "TIME")]
    deadline: Option<Nanos>,
    /// Time between frame starts; by default the table's, or the deadline
    #[arg(long, value_name = "TIME")]
    period: Option<Nanos>,
    /// Accepted share of missed frames, for choosing the best fixed clock; by default the table's, or 0.01
    #[arg(long)]
    risk: Option<f64>,
    /// Seed of a virtual board, or of random weights
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Weights as a safetensors file with torchvision's names, for a real GPU; random ones by default
    #[arg(long, value_name = "FILE")]
    weights: Option<PathBuf>,
    /// Write a line per frame into this file
    #[arg(long, value_name = "FILE")]
    csv: Option<PathBuf>,
    /// Print the writes that would be made, in order, and make none; blocks take the time that they take without them
    #[arg(long, conflicts_with_all = ["csv", "json"])]
    dry_run: bool,
    /// Print one JSON document
    #[arg(long)]
    json: bool,
}

impl Args {
    /// Runs the frames and prints what came of them.
    pub fn run(self) -> Result<(), Failure> {
        match &self.board {
            BoardArg::Tree(root) => Err(Failure::usage(format_args!(
                "{}: a tree of files runs no network; use --board auto on a Jetson, or sim:NAME",
                root.display()
            ))),
            BoardArg::Auto => self.run_here(),
            #[cfg(feature = "sim")]
            BoardArg::Sim(name) => self.run_virtual(name),
            #[cfg(not(feature = "sim"))]
            BoardArg::Sim(_) => Err(crate::args::no_sim()),
        }
    }

    #[cfg(not(feature = "cuda"))]
    fn run_here(&self) -> Result<(), Failure> {
        Err(Failure::new(
            Reason::Unsupported,
            "this binary has no CUDA, so it runs networks on virtual boards only (--board sim:NAME); on a Jetson use \
             jetpace-cuda",
        ))
    }

    /// On this machine's GPU. Where its clock cannot be set, the stock way is all that there is.
    #[cfg(feature = "cuda")]
    fn run_here(&self) -> Result<(), Failure> {
        use jetpace_devfreq::Error;
        use jetpace_devfreq::board::Board;
        use jetpace_devfreq::nodes::SysfsRoot;
        use jetpace_devfreq::rails::Rails;
        use jetpace_devfreq::timer::Monotonic;

        use crate::rail_meter::RailMeter;
        use crate::session::Machine;

        jetpace_kernels::cuda::probe()?;
        let (nodes, timer) = (SysfsRoot::new("/"), Monotonic::new());
        let board = match Board::discover(&nodes) {
            Ok(board) => Some(board),
            Err(Error::NoGpu { .. }) => None,
            Err(error) => return Err(error.into()),
        };
        let digest = board.as_ref().map(Board::digest).unwrap_or_default();
        let table = self.read_table(&digest)?;
        let (network, pace, risk) = self.work(table.as_ref())?;
        let runner = crate::cuda::runner(&network.name, self.weights.as_deref(), self.seed, timer)?;
        let rails = board.as_ref().map(|board| board.rails.clone()).unwrap_or_default();
        let meter = RailMeter::new(Rails::new(nodes.clone(), timer, rails));
        let evidence = if board.is_some() { "jetson" } else { "gpu" };

        let stop = Stop::install()?;
        jetpace_devfreq::guard::restore_on_panic(nodes.clone());
        let mut machine = Machine { nodes, board, runner, timer, meter };
        let drive = table.as_ref().map_or(Drive::Stock, Drive::Table);
        let mut log = FrameLog::new(self.csv.is_some());
        if self.dry_run {
            return print_text(&machine.dry_run(drive, pace, self.frames(), &stop)?);
        }
        let ours = machine.run(drive, pace, self.frames(), &stop, |frame| {
            log.add(frame);
            Ok(())
        });
        stop.die();
        let ours = ours?;
        self.write_log(log)?;
        // The baselines would run the network for minutes more; `--net` without a table measures the stock governor.
        let baselines = Baselines { stock_governor: None, best_fixed: None };
        self.print(Document::new(evidence, &self.board, &network, drive, (pace, risk), &ours, baselines))
    }

    #[cfg(feature = "sim")]
    fn run_virtual(&self, name: &str) -> Result<(), Failure> {
        use jetpace_devfreq::board::Board;
        use jetpace_devfreq::sim;

        use crate::virtual_board::{Case, best_fixed, machine};

        // The board is looked at first: a table tells nothing of use on a machine that is not there.
        let nodes = sim::Board::new(name, self.seed).map_err(Failure::usage)?.nodes();
        let table = self.read_table(&Board::discover(&nodes)?.digest())?;
        let (network, pace, risk) = self.work(table.as_ref())?;
        let case = Case { board: name.to_owned(), seed: self.seed, network, pace, frames: self.frames() };
        let stop = Stop::install()?;
        let drive = table.as_ref().map_or(Drive::Stock, Drive::Table);
        if self.dry_run {
            let machine = machine(name, self.seed, case.network)?;
            return print_text(&machine.dry_run(drive, pace, case.frames, &stop)?);
        }

        let mut log = FrameLog::new(self.csv.is_some());
        let ours = case.run(drive, &stop, |frame| {
            log.add(frame);
            Ok(())
        })?;
        self.write_log(log)?;
        let stock = match drive {
            Drive::Stock => ours.clone(),
            _ => case.run(Drive::Stock, &stop, |_| Ok(()))?,
        };
        let fixed = case.run_fixed(&stop)?;
        // Nothing of this machine is to be put back.
        stop.die();
        let best = best_fixed(&fixed, risk);
        let baselines = Baselines {
            stock_governor: Some(Baseline::of(None, &stock)),
            best_fixed: best.map(|(clock, run)| Baseline::of(Some(clock.get()), run)),
        };
        self.print(Document::new("virtual", &self.board, &case.network, drive, (pace, risk), &ours, baselines))
    }

    fn frames(&self) -> u64 {
        self.frames.unwrap_or(if self.dry_run { 3 } else { 1000 })
    }

    fn write_log(&self, log: FrameLog) -> Result<(), Failure> {
        self.csv.as_ref().map_or(Ok(()), |path| log.write(path))
    }

    fn print(&self, document: Document) -> Result<(), Failure> {
        if self.json { print_json(&document) } else { print_text(&document.text()) }
    }

    /// Reads the table and refuses one for another board.
    fn read_table(&self, board: &str) -> Result<Option<Table>, Failure> {
        let Some(path) = &self.table else { return Ok(None) };
        let bytes = std::fs::read(path).map_err(|e| Failure::file(path, &e))?;
        let table = image::decode(&bytes).map_err(|e| Failure::usage(format_args!("{}: {e}", path.display())))?;
        let planned_for: String = table.board().iter().map(|byte| format!("{byte:02x}")).collect();
        if planned_for != board {
            return Err(Failure::new(
                Reason::Calibration,
                format_args!(
                    "{}: planned for board {:.12}, this one ({}) is {board:.12}: another board, power mode, release or \
                     clock list; calibrate and plan again",
                    path.display(),
                    planned_for,
                    self.board,
                ),
            ));
        }
        Ok(Some(table))
    }

    /// What runs, at which pace and risk: as asked for, else as the table says.
    fn work(&self, table: Option<&Table>) -> Result<(Network, Pace, f64), Failure> {
        let name = self.net.as_deref().or(table.map(Table::network)).unwrap_or_default();
        let network = network(name)?;
        if let Some(table) = table
            && !table.names().eq(network.blocks.iter().map(|b| b.name.as_str()))
        {
            return Err(Failure::usage(format_args!(
                "the table is for the blocks of {}, not for those of {name}; plan {name} first",
                table.network()
            )));
        }
        // Not left to the command line: that a machine has no GPU is said first.
        let deadline = self
            .deadline
            .or(table.map(Table::deadline))
            .ok_or_else(|| Failure::usage("without a table --deadline is needed, such as --deadline 40ms"))?;
        let period = self.period.or(table.filter(|_| self.deadline.is_none()).map(Table::period)).unwrap_or(deadline);
        if deadline == Nanos::ZERO || period < deadline {
            return Err(Failure::usage(format_args!(
                "deadline {deadline}, period {period}: the deadline must be above zero and at most the period"
            )));
        }
        let risk = self.risk.or(table.map(|t| f64::from(t.risk_ppm()) / 1e6)).unwrap_or(0.01);
        if !(0.0..=1.0).contains(&risk) {
            return Err(Failure::usage(format_args!("--risk {risk}: a share from 0 to 1 is meant")));
        }
        Ok((network, Pace { deadline, period }, risk))
    }
}

/// A line per frame, if asked for.
struct FrameLog(Option<String>);

impl FrameLog {
    fn new(wanted: bool) -> Self {
        Self(wanted.then(|| String::from("frame,start_s,time_s,missed,switches\n")))
    }

    fn add(&mut self, frame: &Frame) {
        if let Some(text) = &mut self.0 {
            let (start, time) = (frame.start.as_secs_f64(), frame.time.as_secs_f64());
            let missed = u8::from(frame.missed);
            text.push_str(&format!("{},{start:.9},{time:.9},{missed},{}\n", frame.index, frame.switches));
        }
    }

    fn write(self, path: &std::path::Path) -> Result<(), Failure> {
        self.0.map_or(Ok(()), |text| crate::output::write_file(path, text.as_bytes()))
    }
}

fn joules(energy: Option<Microjoules>) -> Option<f64> {
    energy.map(Microjoules::as_joules_f64)
}

/// `run --json`.
#[derive(Debug, Serialize)]
struct Document {
    format: u32,
    evidence: &'static str,
    board: String,
    network: String,
    policy: &'static str,
    deadline_s: f64,
    period_s: f64,
    risk: f64,
    frames: u64,
    missed: u64,
    energy_j: Option<f64>,
    switches: u64,
    time_s: Times,
    baselines: Baselines,
}

#[derive(Debug, Serialize)]
struct Times {
    p50: f64,
    p99: f64,
    max: f64,
}

impl Times {
    fn of(run: &Summary) -> Self {
        let at = |share| run.quantile(share).as_secs_f64();
        Self { p50: at(0.5), p99: at(0.99), max: at(1.0) }
    }
}

#[derive(Debug, Serialize)]
struct Baselines {
    stock_governor: Option<Baseline>,
    best_fixed: Option<Baseline>,
}

#[derive(Debug, Serialize)]
struct Baseline {
    #[serde(skip_serializing_if = "Option::is_none")]
    clock_hz: Option<u64>,
    missed: u64,
    energy_j: Option<f64>,
}

#[cfg(feature = "sim")]
impl Baseline {
    fn of(clock_hz: Option<u64>, run: &Summary) -> Self {
        Self { clock_hz, missed: run.missed, energy_j: joules(run.energy) }
    }
}

impl Document {
    fn new(
        evidence: &'static str,
        board: &BoardArg,
        network: &Network,
        drive: Drive<'_>,
        (pace, risk): (Pace, f64),
        ours: &Summary,
        baselines: Baselines,
    ) -> Self {
        Self {
            format: 1,
            evidence,
            board: board.to_string(),
            network: network.name.clone(),
            policy: if matches!(drive, Drive::Stock) { "stock_governor" } else { "table" },
            deadline_s: pace.deadline.as_secs_f64(),
            period_s: pace.period.as_secs_f64(),
            risk,
            frames: ours.frames,
            missed: ours.missed,
            energy_j: joules(ours.energy),
            switches: ours.switches,
            time_s: Times::of(ours),
            baselines,
        }
    }

    /// The same for people.
    fn text(&self) -> String {
        let frames = self.frames.max(1) as f64;
        let line = |name: &str, missed: u64, energy: Option<f64>| {
            let energy = energy.map_or("no rail tells".to_owned(), |j| format!("{:.4} J a frame", j / frames));
            format!("  {name:<28}{missed:>6} missed ({:>5.2} %)   {energy}", missed as f64 / frames * 100.0)
        };
        let ms = |s: f64| s * 1e3;
        let mut text = format!(
            "{} on {}, evidence: {}\n{} frames, deadline {:.3} ms, period {:.3} ms, risk {}\n",
            self.network,
            self.board,
            self.evidence,
            self.frames,
            ms(self.deadline_s),
            ms(self.period_s),
            self.risk
        );
        let t = &self.time_s;
        let name = if self.policy == "table" { "this table" } else { "stock governor" };
        text += &line(name, self.missed, self.energy_j);
        text += &format!("   {:.2} switches a frame\n", self.switches as f64 / frames);
        if let (true, Some(stock)) = (self.policy == "table", &self.baselines.stock_governor) {
            text += &(line("stock governor", stock.missed, stock.energy_j) + "\n");
        }
        text += &match &self.baselines.best_fixed {
            Some(b) => {
                let name = format!("best fixed clock, {:.2} MHz", b.clock_hz.unwrap_or_default() as f64 / 1e6);
                line(&name, b.missed, b.energy_j) + "\n"
            }
            None if self.evidence == "virtual" => "  no fixed clock meets the deadline at this risk\n".to_owned(),
            None => String::new(),
        };
        text += &format!(
            "  time of a frame: median {:.3} ms, 99 % {:.3} ms, longest {:.3} ms\n",
            ms(t.p50),
            ms(t.p99),
            ms(t.max)
        );
        text
    }
}
