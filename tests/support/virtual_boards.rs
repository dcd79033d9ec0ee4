//! Plans on virtual boards, judged by the simulator's truth.

use std::path::Path;

use clap::Parser;
use jetpace::args::Cli;
use jetpace::failure::Failure;
use jetpace::session::frames::Pace;
use jetpace::session::virtual_board::{self, VirtualRun};
use jetpace::session::{Drive, Summary};
use jetpace::signals::Stop;
use jetpace_devfreq::sim;
use jetpace_tables::stats::{mean_interval, sd};
use jetpace_tables::table::Table;
use jetpace_tables::table::image;
use jetpace_tables::units::{Hertz, Nanos};
use jetpace_tables::work::{BlockId, ClockIndex, Network, Size};

/// Every virtual board.
pub const BOARDS: [&str; 4] = ["tx2", "xavier-nx", "orin-nano", "orin-nano-super"];
/// The networks that plans are judged on.
pub const NETWORKS: [&str; 3] = ["resnet152", "vgg19", "robot-frame"];
/// Deadlines, as multiples of the frame's true time at the top clock.
pub const FACTORS: [f64; 4] = [1.1, 1.26, 1.5, 2.0];
/// The accepted share of missed frames.
pub const RISK: f64 = 0.01;
/// The most energy over the best fixed clock's, as a fraction.
pub const TOLERANCE: f64 = 0.005;

/// Where the stock governor comes to rest at the clock that the plan keeps, they differ by a run's first frames.
const SAME: f64 = 1e-4;

/// Where a fixed clock or the stock governor misses between a third of the accepted share and three times it, ten times
/// as many frames decide.
const OPEN: f64 = 3.0;
const LONGER: u64 = 10;

/// Seeds below this are calibration's.
pub(crate) const FIRST_SEED: u64 = virtual_board::FIRST_SEED;

/// Runs of one policy over all seeds.
#[derive(Debug, Default)]
pub struct Pool {
    /// Each seed's share of missed frames.
    rates: Vec<f64>,
    /// Each seed's energy per frame, in joules.
    energies: Vec<f64>,
    /// Each seed's changes of the clock per frame.
    switches: Vec<f64>,
}

impl Pool {
    pub(crate) fn add(&mut self, run: &Summary) {
        let frames = run.frames as f64;
        self.rates.push(run.miss_rate());
        self.energies.push(run.energy.map_or(f64::NAN, |e| e.as_joules_f64()) / frames);
        self.switches.push(run.switches as f64 / frames);
    }

    /// The share of missed frames over all seeds.
    pub fn miss_rate(&self) -> f64 {
        mean(&self.rates)
    }

    /// How many runs there are.
    pub(crate) fn seeds(&self) -> usize {
        self.rates.len()
    }

    /// The miss rate and its standard error, by seed.
    pub(crate) fn miss_error(&self) -> (f64, f64) {
        (self.miss_rate(), sd(&self.rates) / (self.rates.len() as f64).sqrt())
    }

    /// The one-sided 95 % lower bound of the miss rate. Misses cluster, so seeds are what is independent.
    pub fn miss_rate_at_least(&self) -> f64 {
        let n = self.rates.len() as f64;
        let spread = self.rates.iter().map(|r| (r - self.miss_rate()).powi(2)).sum::<f64>() / (n - 1.0).max(1.0);
        // Student's t at 95 %, 19 degrees of freedom; a little too small for fewer seeds, which is the strict side.
        (self.miss_rate() - 1.729 * (spread / n).sqrt()).max(0.0)
    }

    /// The miss rate in per cent, with its 95 % interval by seed where there are several.
    fn missed(&self) -> String {
        let rate = format!("{:.2} %", self.miss_rate() * 100.0);
        match mean_interval(&self.rates) {
            Some((low, high)) => format!("{rate} ({:.2} to {:.2})", low.max(0.0) * 100.0, high * 100.0),
            None => rate,
        }
    }

    /// Mean energy per frame, in joules.
    pub fn energy_j(&self) -> f64 {
        mean(&self.energies)
    }

    /// Changes of the clock per frame.
    pub fn switches(&self) -> f64 {
        mean(&self.switches)
    }
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

/// One plan and what it is held against.
#[derive(Debug)]
pub struct Judged {
    /// The board's name.
    pub board: String,
    /// The network's name.
    pub network: String,
    /// Deadline over the frame's true time at the top clock.
    pub factor: f64,
    /// The deadline.
    pub deadline: Nanos,
    /// The table's runs; `None` where `plan` said that no clock meets the deadline at the risk.
    pub ours: Option<Pool>,
    /// The stock governor's runs.
    pub stock: Pool,
    /// The best fixed clock and its runs, where one meets the risk.
    pub best: Option<(Hertz, Pool)>,
}

impl Judged {
    /// The table's heading, in Markdown.
    pub const HEADER: &str = "| board | network | deadline | table: missed | J/frame | switches | best fixed clock | missed \
                              | J/frame | table vs fixed | stock: missed | J/frame | table vs stock |\n\
                              |---|---|---|---|---|---|---|---|---|---|---|---|---|";

    /// Its line in the table.
    pub fn row(&self) -> String {
        let change = |other: f64| match &self.ours {
            Some(ours) => format!("{:+.2} %", (ours.energy_j() / other - 1.0) * 100.0),
            None => "-".to_owned(),
        };
        let ours = match &self.ours {
            Some(ours) => {
                format!("{} | {:.4} | {:.2}", ours.missed(), ours.energy_j(), ours.switches())
            }
            None => "refused: no clock meets the risk | - | -".to_owned(),
        };
        let best = match &self.best {
            Some((clock, pool)) => {
                format!("{clock} | {} | {:.4} | {}", pool.missed(), pool.energy_j(), change(pool.energy_j()))
            }
            None => "none meets the risk | - | - | -".to_owned(),
        };
        let faults = self.faults().join("; ");
        format!(
            "| {} | {} | {:.2}x = {:.2} ms | {ours} | {best} | {} | {:.4} | {} |{}",
            self.board,
            self.network,
            self.factor,
            self.deadline.as_secs_f64() * 1e3,
            self.stock.missed(),
            self.stock.energy_j(),
            change(self.stock.energy_j()),
            if faults.is_empty() { String::new() } else { format!(" **{faults}**") },
        )
    }

    /// What does not hold; empty for a good plan. A refusal is right where no fixed clock meets the risk.
    pub fn faults(&self) -> Vec<String> {
        let mut faults = Vec::new();
        let Some(ours) = &self.ours else {
            faults.extend(self.best.as_ref().map(|(clock, _)| format!("refused, but {clock} meets the risk")));
            return faults;
        };
        let least = ours.miss_rate_at_least();
        if least > RISK {
            faults.push(format!("misses at least {:.2} %", least * 100.0));
        }
        if let Some((_, best)) = &self.best
            && ours.energy_j() > (1.0 + TOLERANCE) * best.energy_j()
        {
            faults.push("more energy than the best fixed clock".to_owned());
        }
        if self.stock.miss_rate() <= RISK && ours.energy_j() > self.stock.energy_j() * (1.0 + SAME) {
            faults.push("more energy than the stock governor".to_owned());
        }
        faults
    }
}

/// Calibrates, fits and plans with the commands themselves, in `folder`, and runs what came of it.
///
/// # Panics
/// Where a command fails: this is a test's tool.
pub fn judge(folder: &Path, board: &str, network: &str, factors: &[f64], seeds: u64, frames: u64) -> Vec<Judged> {
    let (net, truth) = calibrated(folder, board, network);
    let clocks = truth.clocks();
    let frame_at = |clock: usize| frame_at(&truth, &net, clock);
    let judged = factors.iter().map(|&factor| {
        let deadline = Nanos::from_secs_f64(factor * frame_at(clocks.len() - 1));
        let table = planned(folder, deadline, &[]);
        let run = |drive: Drive<'_>, frames: u64| {
            let mut pool = Pool::default();
            for seed in FIRST_SEED..FIRST_SEED + seeds {
                pool.add(&run_on((board, seed), &net, deadline, frames, drive));
            }
            pool
        };
        // Misses come in bursts, so that few frames leave it open whether what others do meets the risk.
        let truth = |drive: Drive<'_>| {
            let pool = run(drive, frames);
            let open = (RISK / OPEN..RISK * OPEN).contains(&pool.miss_rate());
            if open { run(drive, LONGER * frames) } else { pool }
        };
        // A clock at which the mean frame is late misses half of them or more.
        let fixed = (0..clocks.len())
            .filter(|clock| frame_at(*clock) < deadline.as_secs_f64())
            .map(|clock| (clocks[clock], truth(Drive::Fixed(ClockIndex(clock as u8)))))
            .filter(|(_, pool)| pool.miss_rate() <= RISK);
        Judged {
            board: board.to_owned(),
            network: network.to_owned(),
            factor,
            deadline,
            best: fixed.min_by(|a, b| a.1.energy_j().total_cmp(&b.1.energy_j())),
            ours: table.map(|table| run(Drive::Table(&table), frames)),
            stock: truth(Drive::Stock),
        }
    });
    judged.collect()
}

/// A frame's true time at a clock, without noise.
pub(crate) fn frame_at(board: &sim::Board, network: &Network, clock: usize) -> f64 {
    let time = |block| board.true_time(network, BlockId(block), Size(1), ClockIndex(clock as u8)).as_secs_f64();
    (0..network.blocks.len() as u16).map(time).sum()
}

/// Leaves a network's model on a virtual board in `folder`, made by the commands themselves.
pub(crate) fn calibrated(folder: &Path, board: &str, network: &str) -> (Network, sim::Board) {
    let sweep = file(folder, "sweep.csv");
    command(&["calibrate", "--board", &format!("sim:{board}"), "--net", network, "-o", &sweep]).expect("calibrated");
    fitted_in(folder);
    let net = jetpace_kernels::net::network(network).expect("a built-in network");
    (net, sim::Board::new(board, 1).expect("a virtual board"))
}

/// The model of the sweep in `folder`.
pub(crate) fn fitted_in(folder: &Path) {
    command(&["fit", &file(folder, "sweep.csv"), "-o", &file(folder, "model.json")]).expect("fitted");
}

/// The table of the folder's model by `plan`; `None` where it says that no plan meets the deadline.
pub(crate) fn planned(folder: &Path, deadline: Nanos, more: &[&str]) -> Option<Table> {
    let (model, path) = (file(folder, "model.json"), file(folder, "table.jpt"));
    let asked = format!("{}ns", deadline.get());
    let words = ["plan", &model, "--deadline", &asked, "-o", &path];
    match command(&[&words[..], more].concat()) {
        Ok(()) => Some(image::decode(&std::fs::read(&path).expect("the table")).expect("a sound table")),
        Err(failure) if failure.to_string().contains("no plan meets the deadline") => None,
        Err(failure) => panic!("plan: {failure}"),
    }
}

/// Frames of a network on a fresh board, at a period as long as the deadline.
pub(crate) fn run_on(
    (board, seed): (&str, u64),
    network: &Network,
    deadline: Nanos,
    frames: u64,
    drive: Drive<'_>,
) -> Summary {
    let pace = Pace { deadline, period: deadline };
    let network = network.clone();
    let case = VirtualRun { board: board.to_owned(), seed, network, pace, frames, triggers: None, sizes: Vec::new() };
    case.run(drive, &Stop::never(), |_| Ok(())).expect("a virtual run")
}

fn file(folder: &Path, name: &str) -> String {
    folder.join(name).display().to_string()
}

fn command(words: &[&str]) -> Result<(), Failure> {
    let line = std::iter::once("jetpace").chain(words.iter().copied());
    Cli::try_parse_from(line).expect("a command line").command.run()
}
