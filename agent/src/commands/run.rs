//! `jetpace run`: frames of a network at planned clocks, or under the stock governor, and what they cost.

pub(super) mod document;
pub(super) mod frame_log;

use jetpace_devfreq::board::Digests;
use jetpace_tables::governor::trace::Fault;
use jetpace_tables::table::Table;
use jetpace_tables::units::Nanos;
use jetpace_tables::work::Network;
use std::path::{Path, PathBuf};

use crate::args::{BoardArg, network};
use crate::failure::{Failure, Reason};
use crate::files::kind::{Kind, may_write};
#[cfg(feature = "sim")]
use crate::files::output::while_working;
use crate::files::output::{print_json, print_text};
use crate::files::table;
use crate::runtime::writer::Asked;
use crate::session::frames::{Course, Pace, Starts};
use crate::session::sizes::{self, SizeShare};
use crate::session::triggers::{Source, Triggers};
#[cfg(feature = "sim")]
use crate::session::virtual_board::{VirtualRun, best_fixed};
use crate::session::{Drive, Summary};
use crate::signals::Stop;
#[cfg(feature = "sim")]
use document::Baseline;
use document::{Baselines, Document};
use frame_log::FrameLog;
#[cfg(feature = "sim")]
use jetpace_tables::units::Hertz;

/// Frames by the timer.
const FRAMES: u64 = 1000;

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
    #[cfg_attr(feature = "cuda", arg(long, required_unless_present_any = ["table", "plan"], value_name = "NET", value_parser = crate::args::networks()))]
    #[cfg_attr(not(feature = "cuda"), arg(long, required_unless_present = "table", value_name = "NET", value_parser = crate::args::networks()))]
    net: Option<String>,
    #[cfg(feature = "cuda")]
    #[command(flatten)]
    precompiled: crate::cuda::Precompiled,
    /// How many frames; by default 1000, with --dry-run 3, and with triggers all that come
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..))]
    frames: Option<u64>,
    /// Start each frame by a trigger instead of the timer: a line on `stdin`, or a packet on the unix datagram socket of
    /// `unix:PATH`. On a virtual board a trigger may hold its time, such as 41.2ms, counted from the first
    #[arg(long, value_name = "SOURCE", conflicts_with = "dry_run")]
    trigger: Option<Source>,
    /// Latest end of a frame, from its start; by default the table's
    #[arg(long, value_name = "TIME")]
    deadline: Option<Nanos>,
    /// Time between frame starts; by default the table's, or the deadline
    #[arg(long, value_name = "TIME")]
    period: Option<Nanos>,
    /// Accepted share of missed frames, for choosing the best fixed clock; by default the table's, or 0.01
    #[arg(long)]
    risk: Option<f64>,
    /// Who writes the clock on this machine: the thread that launches the blocks (inline), the control thread (thread), or
    /// the one that is cheaper by the write time in the table (auto). A virtual board knows inline only
    #[arg(long, default_value = "auto", value_name = "auto|inline|thread")]
    writer: Asked,
    /// Run the control thread under SCHED_FIFO at this priority
    #[arg(long, value_name = "PRIORITY", value_parser = clap::value_parser!(u8).range(1..=99))]
    fifo: Option<u8>,
    /// Run the control thread on this CPU
    #[arg(long, value_name = "CPU")]
    cpu: Option<usize>,
    /// While a table is followed on this machine, answer `jetpace status` and `jetpace trace` here
    #[cfg(feature = "cuda")]
    #[arg(long, default_value = crate::runtime::wire::SOCKET, value_name = "PATH")]
    socket: PathBuf,
    /// Sizes of frames and how often each comes, as 64:0.5,256:0.3,1024:0.2; by default all are of size 1
    #[arg(long, value_name = "SIZE:SHARE", value_delimiter = ',')]
    sizes: Vec<SizeShare>,
    /// Seed of a virtual board, or of random weights
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Weights as a safetensors file with torchvision's names, for a real GPU; random ones by default
    #[arg(long, value_name = "FILE")]
    weights: Option<PathBuf>,
    /// Write a line per frame into this file
    #[arg(long, value_name = "FILE")]
    csv: Option<PathBuf>,
    /// Write over files that would be left alone: an input, or a file of another kind
    #[arg(long)]
    force: bool,
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
        sizes::check(&self.sizes)?;
        if let Some(path) = &self.csv {
            let inputs: Vec<&Path> = self.table.iter().chain(&self.weights).map(PathBuf::as_path).collect();
            may_write(path, Kind::FrameLog, &inputs, self.force)?;
        }
        match &self.board {
            board @ (BoardArg::Tree(_) | BoardArg::Live(_)) => Err(Failure::usage(format_args!(
                "{board}: a tree of files runs no network; use --board auto on a Jetson, or sim:NAME"
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

        use crate::files::table::Kept;
        use crate::runtime::control::Schedule;
        use crate::session::Machine;
        use crate::session::meter::RailMeter;

        jetpace_kernels::cuda::probe()?;
        let (nodes, timer) = (SysfsRoot::new("/"), Monotonic::new());
        let board = match Board::discover(&nodes) {
            Ok(board) => Some(board),
            Err(Error::NoGpu { .. }) => None,
            Err(error) => return Err(error.into()),
        };
        let digests = board.as_ref().map_or([0; 32].into(), Board::digests);
        // First: what takes its place while it is read is found at the first look.
        let kept = self.table.as_deref().and_then(|path| Kept::open(path).ok()).map(|(kept, _)| kept);
        let table = self.read_table(&digests)?;
        let (network, pace, risk) = self.work(table.as_deref())?;
        let runner = self.precompiled.runner(&network.name, self.weights.as_deref(), self.seed, timer)?;
        let rails = board.as_ref().map(|board| board.rails.clone()).unwrap_or_default();
        let meter = RailMeter::new(Rails::new(nodes.clone(), timer, rails));
        let evidence = if board.is_some() { "jetson" } else { "gpu" };

        let stop = Stop::install()?;
        jetpace_devfreq::guard::restore_on_panic(nodes.clone());
        let mut machine = Machine { nodes, board, runner, timer, meter };
        let drive = table.as_deref().map_or(Drive::Stock, Drive::Table);
        if self.dry_run {
            return print_text(&machine.dry_run(
                drive,
                Course { frames: self.frames(), pace, starts: Starts::Timer, sizes: &self.sizes, stop: &stop },
            )?);
        }
        let mut log = FrameLog::create(self.csv.as_deref())?;
        let mut triggers = self.trigger.as_ref().map(Triggers::open).transpose()?;
        let starts = triggers.as_mut().map_or(Starts::Timer, Starts::Triggers);
        let course = Course { frames: self.frames(), pace, starts, sizes: &self.sizes, stop: &stop };
        let ours = match &table {
            Some(table) => {
                let schedule = Schedule { fifo: self.fifo, cpu: self.cpu };
                let (ours, writer) =
                    machine
                        .follow((table, kept), (self.writer, schedule), &self.socket, course, |frame| log.add(frame))?;
                log::info!("who writes: {}", writer.text());
                ours
            }
            None => machine.run(drive, course, |frame| log.add(frame))?,
        };
        log.end()?;
        // The baselines would run the network for minutes more; `--net` without a table measures the stock governor.
        let baselines = Baselines::default();
        self.print(Document::new(evidence, &self.board, &network, drive, (pace, risk), &ours, baselines))?;
        stop.die();
        followed(&ours)
    }

    #[cfg(feature = "sim")]
    fn run_virtual(&self, name: &str) -> Result<(), Failure> {
        use crate::runtime::writer::Writer;
        use jetpace_devfreq::board::Board;
        use jetpace_devfreq::sim;

        use crate::session::virtual_board::machine;

        if self.writer == Asked(Some(Writer::Thread)) || self.fifo.is_some() || self.cpu.is_some() {
            return Err(Failure::usage(
                "--writer thread, --fifo and --cpu: a virtual board has no thread that writes, its time stands still \
                 meanwhile; leave them away, or run on a Jetson",
            ));
        }
        // The board is looked at first: a table tells nothing of use on a machine that is not there.
        let nodes = sim::Board::new(name, self.seed).map_err(Failure::usage)?.nodes();
        let table = self.read_table(&Board::discover(&nodes)?.digests())?;
        let (network, pace, risk) = self.work(table.as_deref())?;
        let frames = self.frames();
        let mut case = VirtualRun {
            board: name.to_owned(),
            seed: self.seed,
            network,
            pace,
            frames,
            triggers: None,
            sizes: self.sizes.clone(),
        };
        let stop = Stop::install()?;
        let drive = table.as_deref().map_or(Drive::Stock, Drive::Table);
        if self.dry_run {
            let machine = machine(name, self.seed, case.network)?;
            let course = Course { frames: case.frames, pace, starts: Starts::Timer, sizes: &case.sizes, stop: &stop };
            return print_text(&machine.dry_run(drive, course)?);
        }

        let mut log = FrameLog::create(self.csv.as_deref())?;
        let mut triggers = self.trigger.as_ref().map(Triggers::open).transpose()?;
        if let Some(triggers) = &mut triggers {
            triggers.keep();
        }
        let frames = || case.run_by(triggers.as_mut(), drive, &stop, |frame| log.add(frame));
        let ours = while_working("frames ...", frames)?;
        log.end()?;
        case.triggers = triggers.map(|triggers| triggers.taken().to_vec());
        let beside = while_working("the same frames otherwise ...", || Beside::run(&case, drive, &ours, &stop))?;
        let baselines = match stop.signal() {
            // Told to stop, the frames so far are all that is shown.
            Some(_) => Baselines::default(),
            None => beside.baselines(risk),
        };
        self.print(Document::new("virtual", &self.board, &case.network, drive, (pace, risk), &ours, baselines))?;
        // By the signal that came, if one did.
        stop.die();
        followed(&ours)
    }

    fn frames(&self) -> u64 {
        let by_default = match (self.dry_run, &self.trigger) {
            (true, _) => 3,
            (false, Some(_)) => u64::MAX,
            (false, None) => FRAMES,
        };
        self.frames.unwrap_or(by_default)
    }

    fn print(&self, document: Document) -> Result<(), Failure> {
        if self.json { print_json(&document) } else { print_text(&document.text()) }
    }

    /// Reads the table and refuses one for another board.
    fn read_table(&self, board: &Digests) -> Result<Option<Box<Table>>, Failure> {
        self.table.as_deref().map(|path| table::read_for(path, board)).transpose()
    }

    fn network(&self, table: Option<&Table>) -> Result<Network, Failure> {
        #[cfg(feature = "cuda")]
        if let Some(network) = self.precompiled.network()? {
            return Ok(network);
        }
        network(self.net.as_deref().or(table.map(Table::network)).unwrap_or_default())
    }

    /// What runs, at which pace and risk: as asked for, else as the table says.
    fn work(&self, table: Option<&Table>) -> Result<(Network, Pace, f64), Failure> {
        let network = self.network(table)?;
        let name = network.name.as_str();
        if let Some(table) = table
            && !table.names().eq(network.blocks.iter().map(|b| b.name.as_str()))
        {
            let (some, all) = (table.blocks(), network.blocks.len());
            return Err(Failure::usage(match table.network() == name && some < all {
                true => format!(
                    "the table is for {some} of the {all} blocks of {name}, as `plan --cut` writes it: follow it from your \
                     own program, which sends the rest to the server"
                ),
                false => format!(
                    "the table is for the blocks of {}, not for those of {name}; plan {name} first",
                    table.network()
                ),
            }));
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
        let risk = self.risk.or(table.map(Table::risk)).unwrap_or(crate::args::RISK);
        if !(0.0..=1.0).contains(&risk) {
            return Err(Failure::usage(format_args!("--risk {risk}: a share from 0 to 1 is meant")));
        }
        Ok((network, Pace { deadline, period }, risk))
    }
}

/// What a run on a virtual board is held against: the same frames otherwise.
#[cfg(feature = "sim")]
pub(super) struct Beside {
    pub stock: Summary,
    pub fixed: Vec<(Hertz, Summary)>,
}

#[cfg(feature = "sim")]
impl Beside {
    pub fn run(case: &VirtualRun, drive: Drive<'_>, ours: &Summary, stop: &Stop) -> Result<Self, Failure> {
        let stock = match drive {
            Drive::Stock => ours.clone(),
            _ => case.run(Drive::Stock, stop, |_| Ok(()))?,
        };
        Ok(Self { stock, fixed: case.run_fixed(stop)? })
    }

    pub fn baselines(&self, risk: f64) -> Baselines {
        let best = best_fixed(&self.fixed, risk);
        Baselines {
            stock_governor: Some(Baseline::of(None, &self.stock)),
            best_fixed: best.map(|(clock, run)| Baseline::of(Some(clock.get()), run)),
        }
    }
}

/// # Errors
/// Exit code 4 where the table held no longer, 1 where the clock was handed back for another reason.
fn followed(ours: &Summary) -> Result<(), Failure> {
    let Some(why) = ours.handed_back else { return Ok(()) };
    let reason = if why == Fault::TableStale { Reason::Calibration } else { Reason::Failed };
    Err(Failure::new(reason, format_args!("the table was not followed to the end: {}", why.text())))
}
