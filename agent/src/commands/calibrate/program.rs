//! `calibrate --cmd --frames-from unix:PATH`: whole frames of a program that has no libjetpace, at every clock, and their
//! power. The program tells its frames by datagrams, as under `hold --deadline`; it is started and stopped here, at each
//! clock anew.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::thread;

use jetpace_devfreq::board::Board;
use jetpace_devfreq::gpu::GpuNode;
use jetpace_devfreq::guard::{self, Guard};
use jetpace_devfreq::rails::Rails;
use jetpace_devfreq::timer::Monotonic;
use jetpace_tables::fit::spread;
use jetpace_tables::hw::GpuClock;
use jetpace_tables::sample::{Kind, Row};
use jetpace_tables::stats;
use jetpace_tables::units::{Hertz, Microjoules, Milliwatts, Nanos};
use jetpace_tables::work::ClockIndex;

use crate::args::BoardArg;
use crate::calibrate::Mean;
use crate::calibrate::own::process::Process;
use crate::commands::hold::deadline::source::{Frame, FramesFrom, Source};
use crate::commands::hold::listed;
use crate::dry_run::ThisMachine;
use crate::failure::{Failure, Reason};
use crate::files::sweep::{Program, SweepWriter};
use crate::nvtx::{self, ranges::Pattern};
use crate::runtime::{sys, wire};
use crate::signals::Stop;

/// Frames that are left out at first: caches and the clock settle.
const FIRST: usize = 5;
/// How long idle power is read.
const IDLE: Nanos = Nanos::from_millis(2_000);
/// A program that tells no frame for so long is waited for no more.
const SILENCE: Nanos = Nanos::from_millis(30_000);
/// Clocks that are measured where none are named.
const CLOCKS: usize = 6;
/// A conversion of the power monitor lies before its reading.
const CONVERSION: Nanos = Nanos::from_millis(7);
/// So few readings within frames are no power of them.
const LEAST_READINGS: usize = 5;
/// Options of `calibrate --cmd` and `--attach`.
#[derive(Debug, clap::Args)]
pub struct Options {
    /// Measure a program of your own instead of a network, by the frames and blocks that it tells libjetpace. The shell
    /// starts it, again where it ends
    #[arg(long, value_name = "COMMAND", group = "own", conflicts_with_all = ["dry_run", "weights"])]
    cmd: Option<String>,
    /// The same with a program that already runs: one that has opened libjetpace comes by itself, within a second
    #[arg(long, group = "own", conflicts_with_all = ["dry_run", "weights", "cmd"])]
    attach: bool,
    /// The program's blocks in the order of their numbers; by default those that it asks for by name
    #[arg(long, value_name = "NAMES", requires = "own", value_delimiter = ',', value_parser = block)]
    blocks: Vec<String>,
    /// An earlier sweep of this board: what changes of the clock take, and idle power, are taken from it
    #[arg(long = "board-constants", value_name = "FILE", requires = "own")]
    pub(super) constants: Option<PathBuf>,
    /// How long the program may be silent
    #[arg(long, value_name = "TIME", requires = "own", default_value = "30s")]
    pub(super) patience: Nanos,
    /// With --cmd: what tells frames: lib, or unix:PATH for datagrams, each a whole frame's busy time (78.2ms)
    #[arg(long, value_name = "SOURCE", requires = "cmd", conflicts_with = "nvtx", default_value = "lib", value_parser = timed)]
    frames_from: FramesFrom,
    /// Frames are the NVTX ranges of this name (NAME, DOMAIN//NAME, PREFIX*) that the program marks
    #[arg(long, value_name = "RANGE", requires = "cmd", conflicts_with = "blocks")]
    nvtx: Option<Pattern>,
    /// With --nvtx: the ranges within it that are blocks, as RANGE=BLOCK, or RANGE for a block of the same name
    #[arg(long, value_name = "RANGES", requires = "nvtx", value_delimiter = ',')]
    nvtx_blocks: Vec<nvtx::ranges::Block>,
    /// With --nvtx: whole payloads of the frame, or of blocks, are its size (batch, tokens)
    #[arg(long, requires = "nvtx")]
    nvtx_sizes: bool,
    /// The clocks for a program of your own; by default six from the lowest to the cap
    #[arg(long, value_name = "CLOCKS", requires = "own", value_delimiter = ',')]
    clocks: Vec<Hertz>,
    /// The program's name in the sweep
    #[arg(long, value_name = "NAME", requires = "own", default_value = "program")]
    pub(super) model: String,
    /// Where programs with libjetpace look for the daemon; by default the daemon's own place
    #[arg(long, value_name = "PATH", requires = "own")]
    socket: Option<PathBuf>,
}

fn block(text: &str) -> Result<String, String> {
    match wire::is_name(text) {
        true => Ok(text.to_owned()),
        false => Err(format!("not plain text of 1 to {} bytes", wire::LONGEST_NAME)),
    }
}

fn timed(text: &str) -> Result<FramesFrom, String> {
    match text.parse()? {
        FramesFrom::Stdout(_) => Err("lines tell no frame's time; lib and unix:PATH do".to_owned()),
        told => Ok(told),
    }
}

/// What is used at every clock.
struct Bench<'a> {
    program: Program,
    gpu: GpuNode<ThisMachine, Monotonic>,
    rails: Rails<ThisMachine, Monotonic>,
    source: Source,
    environment: Vec<(&'static str, PathBuf)>,
    stop: &'a Stop,
}

impl Options {
    /// Whether a program of one's own is to be measured.
    pub fn is_wanted(&self) -> bool {
        self.cmd.is_some() || self.attach
    }

    /// The command, where one is to be started.
    pub fn command(&self) -> Option<&str> {
        self.cmd.as_deref()
    }

    /// The command and what tells its frames, where that is not libjetpace.
    pub fn datagrams(&self) -> Option<(&str, &FramesFrom)> {
        self.cmd.as_deref().map(|command| (command, &self.frames_from)).filter(|(_, from)| **from != FramesFrom::Lib)
    }

    /// Where programs look for the daemon of a machine.
    pub fn socket(&self, on: &BoardArg) -> PathBuf {
        self.socket.clone().or_else(|| on.socket()).unwrap_or_else(|| PathBuf::from(wire::SOCKET))
    }

    /// The blocks by their numbers; without names those that the program asks for.
    pub fn blocks(&self) -> Vec<String> {
        match &self.nvtx {
            None => self.blocks.clone(),
            Some(_) => self.nvtx_blocks.iter().map(|block| block.name.clone()).collect(),
        }
    }

    /// What the program needs for its ranges to be heard, where it marks some.
    ///
    /// # Errors
    /// As [`nvtx::telling`].
    pub fn ranges(&self) -> Result<Option<Vec<(&'static str, PathBuf)>>, Failure> {
        self.nvtx.as_ref().map(|frame| nvtx::telling(frame, &self.nvtx_blocks, self.nvtx_sizes)).transpose()
    }

    /// The clocks that are asked for, by their places in the board's list.
    pub fn listed(&self, board: &Board) -> Result<BTreeSet<ClockIndex>, Failure> {
        self.clocks.iter().map(|clock| listed(board, *clock)).collect()
    }

    /// Measures so many frames at each clock.
    ///
    /// # Errors
    /// Where the clock cannot be held, or the program tells no frames; what was measured stays in the file.
    pub fn measure(
        &self,
        (command, source): (&str, &FramesFrom),
        on: &BoardArg,
        path: &Path,
        frames: usize,
    ) -> Result<(), Failure> {
        let machine = on.on_disk()?;
        let nodes = machine.nodes();
        let board = Board::discover(&nodes)?;
        let clocks = self.clocks(&board)?;
        let program = Program::new(&board, &self.model);
        let evidence = if *on == BoardArg::Auto { "jetson" } else { "virtual" };
        let head = program.head(evidence, &[("boundaries", "none")]);
        let (mut sweep, there) = SweepWriter::open(path, &head, &[])?;
        let done: BTreeSet<Hertz> =
            there.rows.iter().filter(|row| row.kind == Kind::Block).filter_map(|row| row.gpu_freq).collect();
        let environment = on.environment();
        let stop = Stop::install()?;
        guard::restore_on_panic(nodes.clone());
        let (guard, _) = Guard::take(nodes.clone())?;
        let gpu = GpuNode::open(nodes.clone(), Monotonic::new(), &board, &guard, None)?;
        let mut bench = Bench {
            program,
            gpu,
            rails: Rails::new(nodes, Monotonic::new(), board.rails.clone()),
            source: Source::open(Some(source.clone()))?,
            environment,
            stop: &stop,
        };
        let mut medians = Vec::new();
        let measured = clocks.iter().filter(|(_, clock)| !done.contains(clock)).try_for_each(|(at, clock)| {
            let rows = at_clock(&mut bench, command, *at, *clock, frames)?;
            medians
                .extend(rows.iter().find(|row| row.kind == Kind::Block).and_then(|row| Some((*clock, row.latency?))));
            rows.iter().try_for_each(|row| sweep.append(row))
        });
        // Put back whatever came of it; what could not be weighs more.
        bench.gpu.release()?;
        drop(bench);
        guard::log_foreign(&guard.restore()?);
        stop.die();
        measured?;
        not_synchronised(&medians);
        sweep.finish()
    }

    fn clocks(&self, board: &Board) -> Result<Vec<(ClockIndex, Hertz)>, Failure> {
        let clocks = &board.gpu.clocks;
        let asked = self.listed(board)?;
        // At most 255 clocks are listed.
        let all = clocks.iter().enumerate().map(|(at, clock)| (ClockIndex(at as u8), *clock));
        let all: Vec<_> = all.filter(|(_, clock)| *clock <= board.gpu.cap).collect();
        if asked.is_empty() {
            return Ok(spread(&all, CLOCKS));
        }
        Ok(all.into_iter().filter(|(at, _)| asked.contains(at)).collect())
    }
}

/// One clock's rows: idle power, single frames, and what they come to.
fn at_clock(
    bench: &mut Bench<'_>,
    command: &str,
    at: ClockIndex,
    clock: Hertz,
    wanted: usize,
) -> Result<Vec<Row>, Failure> {
    let runs = bench.gpu.pin(at)?;
    if runs != clock {
        return Err(Failure::failed(format_args!("{clock} cannot be held: {runs} runs")));
    }
    let idle = bench.idle()?;
    let (frames, power) = bench.frames(command, clock, wanted)?;
    let times: Vec<Nanos> = frames.iter().map(|frame| frame.busy).collect();
    let program = &bench.program;
    let block = program.block(clock, &times);
    let mean = block.latency_s().unwrap_or(0.0);
    let energy = power.map(|power| Microjoules::from_joules_f64(power.as_watts_f64() * mean));
    eprintln!("{clock}: {:.3} ms a frame, {} frames", mean * 1e3, times.len());
    // Without a rail that tells there is no row of idle power.
    let idle = idle.map(|power| Row { power: Some(power), ..program.row(Kind::Idle, clock) });
    Ok(idle.into_iter().chain(program.frames(clock, &times)).chain([Row { power, energy, ..block }]).collect())
}

impl Bench<'_> {
    /// Power with nothing to do.
    fn idle(&mut self) -> Result<Option<Milliwatts>, Failure> {
        let mut mean = Mean::new(&self.rails);
        let until = sys::now().saturating_add(IDLE);
        while sys::now() < until {
            self.go_on()?;
            mean.read(&mut self.rails)?;
            thread::sleep(super::LOOK_EVERY);
        }
        Ok(mean.total(&self.rails))
    }

    fn go_on(&self) -> Result<(), Failure> {
        match self.stop.signal() {
            Some(_) => Err(Failure::failed("stopped; the same command goes on from there")),
            None => Ok(()),
        }
    }

    /// Runs the program until it has told so many frames; where it ends before, again. Their power is the mean of the
    /// readings within them.
    fn frames(
        &mut self,
        command: &str,
        clock: Hertz,
        wanted: usize,
    ) -> Result<(Vec<Frame>, Option<Milliwatts>), Failure> {
        let (mut frames, mut readings) = (Vec::new(), Vec::new());
        // What a program told at the clock before.
        drop(self.source.hear(0, None));
        while frames.len() < FIRST + wanted {
            let before = frames.len();
            let mut process = Process::start(command, &self.environment)?;
            let mut heard_at = sys::now();
            let status = loop {
                self.go_on()?;
                let ended = process.ended()?;
                let heard = self.source.hear(0, None).frames;
                if !heard.is_empty() {
                    heard_at = sys::now();
                }
                frames.extend(heard);
                if frames.len() >= FIRST + wanted {
                    break None;
                }
                if ended.is_some() {
                    break ended;
                }
                if sys::now().saturating_sub(heard_at) > SILENCE {
                    return Err(wrong(format_args!("no frame for {SILENCE} at {clock}: does it send datagrams?")));
                }
                let mut now = Mean::new(&self.rails);
                now.read(&mut self.rails)?;
                readings.extend(now.total(&self.rails).map(|power| (sys::now(), power)));
                thread::sleep(super::LOOK_EVERY);
            };
            match status {
                Some(status) if !status.success() => {
                    return Err(Failure::failed(format_args!("the program ended with {status} at {clock}")));
                }
                Some(_) if frames.len() == before => {
                    return Err(wrong(format_args!("the program ended at {clock} and told no frame")));
                }
                _ => {}
            }
        }
        let within = |at: Nanos| {
            let began = |frame: &Frame| frame.start.saturating_add(CONVERSION) <= at;
            frames.iter().any(|frame| began(frame) && at <= frame.start.saturating_add(frame.busy))
        };
        let inside: Vec<f64> =
            readings.iter().filter(|(at, _)| within(*at)).map(|(_, power)| power.as_watts_f64()).collect();
        let power = match inside.len() {
            0..LEAST_READINGS if readings.is_empty() => None,
            0..LEAST_READINGS => {
                log::warn!(
                    "{clock}: frames are shorter than the power monitor's readings: gaps between them are in the power"
                );
                Some(stats::mean(&readings.iter().map(|(_, power)| power.as_watts_f64()).collect::<Vec<_>>()))
            }
            _ => Some(stats::mean(&inside)),
        };
        Ok((frames.split_off(FIRST), power.map(Milliwatts::from_watts_f64)))
    }
}

fn wrong(why: std::fmt::Arguments<'_>) -> Failure {
    Failure::new(Reason::Calibration, why)
}

/// A program that does not wait for its GPU tells times that no clock changes.
fn not_synchronised(medians: &[(Hertz, Nanos)]) {
    if let (Some((low, slow)), Some((high, fast))) = (medians.first(), medians.last())
        && low < high
        && slow.as_secs_f64() < fast.as_secs_f64() * 1.03
    {
        eprintln!(
            "warning: a frame is as fast at {low} as at {high}: end it behind a synchronisation with the GPU \
             (cudaStreamSynchronize, torch.cuda.synchronize), or it is bound by something else than the GPU"
        );
    }
}
