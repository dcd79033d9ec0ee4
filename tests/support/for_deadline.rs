//! Sweeps for one deadline against sweeps of every clock: what they take, and what the plans from both come to by the
//! simulator's truth.

use std::path::Path;

use jetpace::calibrate::deadline::{Enough, Telling};
use jetpace::calibrate::{Settings, Subject};
use jetpace::commands::calibrate::virtual_subject;
use jetpace::failure::Failure;
use jetpace::session::Drive;
use jetpace::signals::Stop;
use jetpace_devfreq::sim::{self, Runner, VirtualNodes, VirtualTimer};
use jetpace_kernels::net::network;
use jetpace_tables::hw::Timer;
use jetpace_tables::table::Table;
use jetpace_tables::units::Nanos;
use jetpace_tables::work::Network;

use crate::virtual_boards::{FIRST_SEED, Pool, RISK, fitted_in, frame_at, planned, run_on};

/// The seed that boards are calibrated with.
const SEED: u64 = 1;

type Virtual = Subject<VirtualNodes, Runner, Runner, VirtualTimer>;

/// A network on a board, with the sweep of every clock in `folder`.
#[derive(Debug)]
pub struct Case<'a> {
    folder: &'a Path,
    board: &'a str,
    network: Network,
    truth: sim::Board,
    /// How long calibrating every clock takes.
    pub whole: Nanos,
}

/// What came of one deadline.
#[derive(Debug)]
pub struct Judged {
    /// The deadline.
    pub deadline: Nanos,
    /// What was found; `None` where it was said that no clock meets the deadline.
    pub found: Option<Enough>,
    /// How long calibrating for it takes.
    pub took: Nanos,
    /// The table from that sweep; `None` where `plan` refuses.
    pub ours: Option<Pool>,
    /// The table from every clock's sweep.
    pub whole: Option<Pool>,
}

impl Judged {
    /// By how much the plan from the deadline's sweep takes more energy than the one from every clock's.
    pub fn regret(&self) -> Option<f64> {
        Some(self.ours.as_ref()?.energy_j() / self.whole.as_ref()?.energy_j() - 1.0)
    }
}

/// What a calibration for a deadline is told to measure at most.
///
/// # Panics
/// Where there is no such board or network: this is a test's tool.
pub fn subject(board: &str, net: &str) -> (Virtual, Settings) {
    let subject = virtual_subject(board, SEED, network(net).expect("a built-in network")).expect("a virtual board");
    let settings = subject.settings();
    (subject, settings)
}

/// Calibrates for a deadline; what was said on the way, and how long it took.
///
/// # Errors
/// As calibration says.
pub fn calibrate_for(
    (subject, settings): (Virtual, &Settings),
    deadline: Nanos,
    path: &Path,
) -> (Result<Enough, Failure>, Vec<String>, Nanos) {
    let goal = subject.goal(settings, (deadline, deadline), RISK);
    let timer = subject.timer.clone();
    let (began, mut said) = (timer.now(), Vec::new());
    let mut say = |next: &_| said.push(format!("{next}"));
    let mut telling = Telling { progress: &mut |_| {}, say: &mut say };
    let found = subject.calibrate_for(&goal, path, settings, &Stop::never(), &mut telling);
    (found.map(|(_, found)| found), said, timer.now().saturating_sub(began))
}

impl<'a> Case<'a> {
    /// Calibrates every clock.
    ///
    /// # Panics
    /// Where that fails.
    pub fn new(folder: &'a Path, board: &'a str, net: &str) -> Self {
        let (subject, settings) = subject(board, net);
        let timer = subject.timer.clone();
        let (whole, began) = (folder.join("whole"), timer.now());
        std::fs::create_dir_all(&whole).expect("a folder");
        subject.calibrate(&whole.join("sweep.csv"), &settings, &Stop::never(), &mut |_| {}).expect("calibrated");
        fitted_in(&whole);
        Self {
            folder,
            board,
            network: network(net).expect("a built-in network"),
            truth: sim::Board::new(board, SEED).expect("a virtual board"),
            whole: timer.now().saturating_sub(began),
        }
    }

    /// Calibrates, fits, plans and runs for a deadline, so many times the frame's true time at the top clock.
    ///
    /// # Panics
    /// Where a command fails.
    pub fn judge(&self, factor: f64, seeds: u64, frames: u64) -> Judged {
        let top = self.truth.clocks().len() - 1;
        let deadline = Nanos::from_secs_f64(factor * frame_at(&self.truth, &self.network, top));
        let folder = self.folder.join(format!("at-{factor}"));
        std::fs::create_dir_all(&folder).expect("a folder");
        let (subject, settings) = subject(self.board, &self.network.name);
        let (found, said, took) = calibrate_for((subject, &settings), deadline, &folder.join("sweep.csv"));
        let found = match found {
            Ok(found) => Some(found),
            Err(failure) if failure.to_string().contains("the deadline of") => None,
            Err(failure) => panic!("{} {} {factor}: {failure}, after {said:?}", self.board, self.network.name),
        };
        fitted_in(&folder);
        let run = |table: Table| {
            let mut pool = Pool::default();
            for seed in FIRST_SEED..FIRST_SEED + seeds {
                pool.add(&run_on((self.board, seed), &self.network, deadline, frames, Drive::Table(&table)));
            }
            pool
        };
        Judged {
            deadline,
            found,
            took,
            ours: planned(&folder, deadline, &[]).map(run),
            whole: planned(&self.folder.join("whole"), deadline, &[]).map(run),
        }
    }
}
