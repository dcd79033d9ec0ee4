//! `jetpace hold`: the GPU at one clock, or at the lowest that keeps a frame rate, while a command runs.

mod pace;

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use jetpace_devfreq::board::Board;
use jetpace_devfreq::gpu::{Change, GpuNode, Way};
use jetpace_devfreq::guard::{self, Guard, Leftover, Store};
use jetpace_devfreq::nodes::{Nodes, SysfsRoot};
use jetpace_devfreq::timer::Monotonic;
use jetpace_tables::hw::{GpuClock, Timer};
use jetpace_tables::units::{Hertz, Nanos};
use jetpace_tables::work::ClockIndex;

use crate::args::BoardArg;
use crate::dry_run::{DryRun, DryTimer};
use crate::failure::Failure;
use crate::output::print_text;
use crate::signals::Stop;
use pace::Pace;

/// How often the command, the cap and the signals are looked at.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// How long a frame rate is counted before it is judged.
const WINDOW: Nanos = Nanos::from_millis(2_000);

/// How long a command that was told to stop may take before the clocks are put back without it.
const GRACE: Nanos = Nanos::from_millis(5_000);

/// Options of `hold`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The machine: auto, or the root of a sysfs tree
    #[arg(long, default_value = "auto")]
    board: BoardArg,
    /// The clock to hold, one of the available ones
    #[arg(long, required_unless_present = "fps", conflicts_with = "fps")]
    clock: Option<Hertz>,
    /// Hold the lowest clock that keeps so many frames a second; a frame is a line on the command's stdout
    #[arg(long)]
    fps: Option<f64>,
    /// Take this way of fixing the clock instead of the cheapest that works
    #[arg(long)]
    way: Option<Way>,
    /// Print the writes that would be made, in order, and make none; the command does not run
    #[arg(long)]
    dry_run: bool,
    /// The command and its arguments
    #[arg(last = true, required_unless_present = "dry_run")]
    command: Vec<String>,
}

impl Args {
    /// Holds the clock until the command ends.
    pub fn run(self) -> Result<(), Failure> {
        if self.fps.is_some_and(|fps| !fps.is_finite() || fps <= 0.0) {
            return Err(Failure::usage("--fps takes a number above 0"));
        }
        let root = match &self.board {
            BoardArg::Auto => SysfsRoot::new("/"),
            BoardArg::Tree(root) => SysfsRoot::new(root),
            BoardArg::Sim(_) => return Err(Failure::usage("a virtual board has no GPU that a command could run on")),
        };
        if self.dry_run {
            return self.print_writes(root);
        }
        let stop = Stop::install()?;
        guard::restore_on_panic(root.clone());
        let held = self.hold(root, &stop);
        stop.die();
        held
    }

    fn print_writes(&self, nodes: SysfsRoot) -> Result<(), Failure> {
        let board = Board::discover(&nodes)?;
        let clock = self.clock.map(|clock| listed(&board, clock)).transpose()?;
        let dry = DryRun::new(nodes, &board.gpu.devfreq);
        let (guard, _) = Guard::take(dry.clone())?;
        dry.comment("which way of fixing the clock works");
        let mut gpu = GpuNode::open(dry.clone(), DryTimer::default(), &board, &guard, self.way)?;
        dry.comment(if clock.is_some() { "the clock" } else { "the first clock; with --fps it is lowered from there" });
        gpu.set(clock.unwrap_or(gpu.cap()))?;
        dry.comment("everything put back");
        gpu.release()?;
        drop(gpu);
        guard.restore()?;
        print_text(&dry.text())
    }

    fn hold(&self, nodes: SysfsRoot, stop: &Stop) -> Result<(), Failure> {
        let board = Board::discover(&nodes)?;
        let clock = self.clock.map(|clock| listed(&board, clock)).transpose()?;
        let (guard, leftover) = Guard::take(nodes.clone())?;
        if let Leftover::Restored(report) = leftover {
            log::warn!("a killed instance left clocks changed; they were put back first");
            guard::log_foreign(&report);
        }
        let mut gpu = GpuNode::open(nodes, Monotonic::new(), &board, &guard, self.way)?;
        let start = clock.unwrap_or(gpu.cap());
        let runs = gpu.pin(start)?;
        if clock.is_some_and(|clock| clock > gpu.cap()) {
            log::warn!("the cap is {}: held there", board.gpu.cap);
        }
        eprintln!("GPU at {runs} by way {}", gpu.way());
        let ended = self.watch_command(&mut gpu, start, stop);
        // Also where the command could not be started; the failure to put back weighs more than its end.
        gpu.release()?;
        guard::log_foreign(&guard.restore()?);
        ended
    }

    fn watch_command<N, T>(&self, gpu: &mut GpuNode<N, T>, start: ClockIndex, stop: &Stop) -> Result<(), Failure>
    where
        N: Nodes + Store + Clone,
        T: Timer,
    {
        let mut command = Running::start(&self.command, self.fps.is_some())?;
        let timer = Monotonic::new();
        let mut pace = self.fps.map(|fps| Pace::new(fps, start));
        let (mut window, mut counted) = (timer.now(), 0);
        let mut told = None;
        let mut wanted = start;
        loop {
            if let Some(status) = command.child.try_wait().map_err(|e| command.failure(&e))? {
                return command.judge(status, stop);
            }
            let now = timer.now();
            match (stop.signal(), told) {
                (Some(signal), None) => {
                    command.tell(signal);
                    told = Some(now);
                }
                (_, Some(at)) if now.saturating_sub(at) > GRACE => return Ok(()),
                _ => {}
            }
            match gpu.watch() {
                Ok(Some(Change::Cap { from, to })) => {
                    log::warn!("the cap went from {from} to {to}");
                    gpu.set(wanted)?;
                }
                Ok(_) => {}
                Err(e) => log::warn!("{e}"),
            }
            if let Some(pace) = pace.as_mut().filter(|_| now.saturating_sub(window) >= WINDOW) {
                let frames = command.frames.load(Ordering::Relaxed);
                let rate = (frames - counted) as f64 / now.saturating_sub(window).as_secs_f64();
                wanted = pace.judge(rate, gpu.cap());
                log::info!("{rate:.1} frames a second: clock {}", gpu.pin(wanted)?);
                (window, counted) = (now, frames);
            }
            thread::sleep(LOOK_EVERY);
        }
    }
}

/// Only listed clocks are held; the nearest ones are named.
fn listed(board: &Board, clock: Hertz) -> Result<ClockIndex, Failure> {
    let clocks = &board.gpu.clocks;
    match clocks.iter().position(|listed| *listed == clock) {
        // At most 255 clocks are listed.
        Some(at) => Ok(ClockIndex(at as u8)),
        None => {
            let list: Vec<String> = clocks.iter().map(|clock| format!("{}", clock.get() as f64 / 1e6)).collect();
            Err(Failure::usage(format_args!("{clock} is not available; the clocks are {} MHz", list.join(" "))))
        }
    }
}

/// The command at work.
struct Running {
    name: String,
    child: Child,
    frames: Arc<AtomicU64>,
}

impl Running {
    fn start(command: &[String], count: bool) -> Result<Self, Failure> {
        let [name, arguments @ ..] = command else {
            return Err(Failure::usage("no command to run"));
        };
        let mut start = Command::new(name);
        start.args(arguments);
        if count {
            start.stdout(Stdio::piped());
        }
        let mut child = start.spawn().map_err(|e| Failure::usage(format_args!("{name}: {e}")))?;
        let frames = Arc::new(AtomicU64::new(0));
        if let Some(lines) = child.stdout.take() {
            let frames = Arc::clone(&frames);
            thread::spawn(move || count_lines(BufReader::new(lines), &frames));
        }
        Ok(Self { name: name.clone(), child, frames })
    }

    fn failure(&self, error: &std::io::Error) -> Failure {
        Failure::failed(format_args!("{}: {error}", self.name))
    }

    /// Hands a signal on. One from the terminal has reached the command already; twice does no harm.
    fn tell(&self, signal: i32) {
        let (Ok(pid), Ok(signal)) = (i32::try_from(self.child.id()), nix::sys::signal::Signal::try_from(signal)) else {
            return;
        };
        // A command that has just ended is told nothing.
        let _ = nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), signal);
    }

    fn judge(&self, status: std::process::ExitStatus, stop: &Stop) -> Result<(), Failure> {
        if status.success() || stop.signal().is_some() {
            return Ok(());
        }
        Err(Failure::failed(format_args!("{} ended with {status}", self.name)))
    }
}

impl Drop for Running {
    /// Where holding failed the command does not run on at whatever clock comes.
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            self.tell(signal_hook::consts::SIGTERM);
        }
    }
}

/// Passes the command's lines on and counts them. Ends with the command's stdout.
fn count_lines(mut lines: impl BufRead, frames: &AtomicU64) {
    let mut line = Vec::new();
    while lines.read_until(b'\n', &mut line).is_ok_and(|length| length > 0) {
        frames.fetch_add(1, Ordering::Relaxed);
        // A closed stdout of ours is no reason to stop counting.
        let _ = std::io::stdout().write_all(&line);
        line.clear();
    }
}
