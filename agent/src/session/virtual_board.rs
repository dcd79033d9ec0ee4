//! Sessions on virtual boards: the same code as on a Jetson, with virtual time and the simulator's true energy.

use jetpace_devfreq::board::Board;
use jetpace_devfreq::sim::{self, Runner, VirtualNodes, VirtualTimer};
use jetpace_tables::units::{Hertz, Microjoules, Nanos};
use jetpace_tables::work::{ClockIndex, Network};

use crate::failure::Failure;
use crate::session::frames::{Course, Frame, Pace, Starts};
use crate::session::sizes::SizeShare;
use crate::session::triggers::Triggers;
use crate::session::{Drive, Machine, Meter, Summary};
use crate::signals::Stop;
use crate::workers;

/// The simulator's true energy of the module.
#[derive(Debug)]
pub struct TrueEnergy {
    board: sim::Board,
    start: Microjoules,
}

impl Meter for TrueEnergy {
    fn sample(&mut self, _: Nanos) -> Option<Nanos> {
        None
    }

    fn energy(&mut self) -> Option<Microjoules> {
        Some(self.board.energy().saturating_sub(self.start))
    }

    fn restart(&mut self) {
        self.start = self.board.energy();
    }
}

/// A virtual machine with a network on it.
pub type VirtualMachine = Machine<VirtualNodes, Runner, VirtualTimer, TrueEnergy>;

/// A virtual board, fresh from boot. The same name and seed give the same board, to the nanosecond.
pub fn machine(name: &str, seed: u64, network: Network) -> Result<VirtualMachine, Failure> {
    let board = sim::Board::new(name, seed).map_err(Failure::usage)?;
    let nodes = board.nodes();
    let found = Board::discover(&nodes)?;
    let (runner, timer) = (board.runner(network), board.timer());
    Ok(Machine { nodes, board: Some(found), runner, timer, meter: TrueEnergy { board, start: Microjoules::ZERO } })
}

/// The first of the seeds that plans are judged with, so that all judge by the same frames; those below are calibration's.
pub const FIRST_SEED: u64 = 100;

/// What a session on a virtual board is about.
#[derive(Clone, Debug)]
pub struct VirtualRun {
    /// The board's name.
    pub board: String,
    /// Whose physics and noise.
    pub seed: u64,
    /// What runs.
    pub network: Network,
    /// At which pace.
    pub pace: Pace,
    /// How many counted frames.
    pub frames: u64,
    /// The triggers that start them instead of the timer.
    pub triggers: Option<Vec<Option<Nanos>>>,
    /// How large they are, and how often; of size 1 where there is none.
    pub sizes: Vec<SizeShare>,
}

impl VirtualRun {
    /// Runs it on a fresh board.
    pub fn run(
        &self,
        drive: Drive<'_>,
        stop: &Stop,
        done: impl FnMut(&Frame) -> Result<(), Failure>,
    ) -> Result<Summary, Failure> {
        let mut again = self.triggers.as_deref().map(Triggers::again);
        self.run_by(again.as_mut(), drive, stop, done)
    }

    /// The same, by triggers that are yet to come.
    pub fn run_by(
        &self,
        triggers: Option<&mut Triggers>,
        drive: Drive<'_>,
        stop: &Stop,
        done: impl FnMut(&Frame) -> Result<(), Failure>,
    ) -> Result<Summary, Failure> {
        let starts = triggers.map_or(Starts::Timer, Starts::Replay);
        let course = Course { frames: self.frames, pace: self.pace, starts, sizes: &self.sizes, stop };
        machine(&self.board, self.seed, self.network.clone())?.run(drive, course, done)
    }

    /// Runs it once per clock up to the cap, each on a fresh board, on all processors.
    pub fn run_fixed(&self, stop: &Stop) -> Result<Vec<(Hertz, Summary)>, Failure> {
        let board = sim::Board::new(&self.board, self.seed).map_err(Failure::usage)?;
        let gpu = Board::discover(&board.nodes())?.gpu;
        let clocks: Vec<_> = gpu.clocks.iter().enumerate().filter(|(_, clock)| **clock <= gpu.cap).collect();
        let run = |(i, clock): &(usize, &Hertz)| {
            Ok((**clock, self.run(Drive::Fixed(ClockIndex(*i as u8)), stop, |_| Ok(()))?))
        };
        workers::map(&clocks, run).into_iter().collect()
    }
}

/// The fixed clock with the least energy among those that meet the risk.
pub fn best_fixed(runs: &[(Hertz, Summary)], risk: f64) -> Option<&(Hertz, Summary)> {
    runs.iter().filter(|(_, run)| run.miss_rate() <= risk).min_by_key(|(_, run)| run.energy)
}
