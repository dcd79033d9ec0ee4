//! `jetpace hold`: the GPU at one clock, or at the lowest that keeps a frame rate, while a command runs.

pub mod deadline;
mod events;
pub mod pace;

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use jetpace_devfreq::board::Board;
use jetpace_devfreq::gpu::{Changed, GpuNode, Way};
use jetpace_devfreq::guard::{self, Guard, Leftover, Store};
use jetpace_devfreq::nodes::Nodes;
use jetpace_devfreq::rails::Rails;
use jetpace_devfreq::timer::Monotonic;
use jetpace_tables::hw::{GpuClock, Timer};
use jetpace_tables::units::{Hertz, Nanos};
use jetpace_tables::work::ClockIndex;

use crate::args::BoardArg;
use crate::confine::{self, Cap, Needs};
use crate::dry_run::ThisMachine;
use crate::failure::Failure;
use crate::files::output::{print_text, say};
use crate::runtime::wire;
use crate::signals::Stop;
use deadline::Holder;
use events::Events;
use pace::Pace;

/// How often the command, the cap and the signals are looked at.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// How long a frame rate is counted before it is judged, at least.
const SHORTEST_WINDOW: Nanos = Nanos::from_millis(2_000);

/// How many frames it is counted over, at least: one more or less must be within what the pace tolerates.
const FRAMES_A_WINDOW: f64 = 100.0;

/// How long a command that was told to stop may take before the clocks are put back without it.
const GRACE: Nanos = Nanos::from_millis(5_000);

/// Options of `hold`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The machine: auto, live:NAME, or the root of a sysfs tree
    #[arg(long, default_value = "auto")]
    board: BoardArg,
    /// The clock to hold, one of the available ones
    #[arg(long, required_unless_present_any = ["fps", "deadline"], conflicts_with = "fps")]
    clock: Option<Hertz>,
    /// Hold the lowest clock that keeps so many frames a second; a frame is one that the command tells libjetpace, or
    /// where it tells none a line on its stdout
    #[arg(long)]
    fps: Option<f64>,
    /// With --fps and --deadline: where programs with libjetpace look for the daemon; by default the daemon's own place
    #[arg(long, value_name = "PATH", conflicts_with = "clock")]
    socket: Option<PathBuf>,
    /// With --fps: how long frames are counted before the rate is judged; by default for 100 frames and at least 2 s
    #[arg(long, value_name = "TIME", requires = "fps")]
    window: Option<Nanos>,
    #[command(flatten)]
    whole: deadline::Options,
    /// Take this way of fixing the clock instead of the cheapest that works
    #[arg(long)]
    way: Option<Way>,
    /// Print the writes that would be made, in order, and make none; the command does not run
    #[arg(long)]
    dry_run: bool,
    /// Whether everything that holding does not take is given up once the command runs
    #[arg(skip)]
    confined: bool,
    /// The command and its arguments
    #[arg(last = true, required_unless_present = "dry_run")]
    command: Vec<String>,
}

impl Args {
    /// Holds the clock until the command ends.
    pub fn run(mut self) -> Result<(), Failure> {
        if self.fps.is_some_and(|fps| !fps.is_finite() || fps <= 0.0) {
            return Err(Failure::usage("--fps takes a number above 0"));
        }
        let machine = self.board.on_disk()?;
        let root = machine.nodes();
        if self.dry_run {
            return self.print_writes(&root);
        }
        let stop = Stop::install()?;
        guard::restore_on_panic(root.clone());
        self.confined = true;
        let held = self.hold(root, Monotonic::new(), &stop);
        stop.die();
        held
    }

    fn print_writes(&self, nodes: &ThisMachine) -> Result<(), Failure> {
        let board = Board::discover(nodes)?;
        let clock = self.clock.map(|clock| listed(&board, clock)).transpose()?;
        let dry = nodes.dry(&board.gpu.devfreq);
        let (guard, leftover) = Guard::take(dry.clone())?;
        if let Leftover::Restored(_) = leftover {
            dry.comment("that was what a killed instance left; from here on the clock is taken");
        }
        dry.comment("which way of fixing the clock works");
        let mut gpu = GpuNode::open(dry.clone(), Monotonic::new(), &board, &guard, self.way)?;
        dry.comment(if clock.is_some() { "the clock" } else { "the first clock; with --fps it is lowered from there" });
        gpu.set(clock.unwrap_or(gpu.cap()))?;
        dry.comment("everything put back");
        gpu.release()?;
        drop(gpu);
        guard.restore()?;
        print_text(&dry.text())
    }

    /// Holds the clock of a machine until the command has ended.
    ///
    /// # Errors
    /// Where the clock cannot be held or put back, and where the command fails.
    pub fn hold<N, T>(&self, nodes: N, timer: T, stop: &Stop) -> Result<(), Failure>
    where
        N: Nodes + Store + Clone,
        T: Timer,
    {
        let board = Board::discover(&nodes)?;
        let clock = self.clock.map(|clock| listed(&board, clock)).transpose()?;
        let (guard, _) = Guard::take(nodes.clone())?;
        let rails = Rails::new(nodes.clone(), Monotonic::new(), board.rails.clone());
        let way = self.way.or(self.whole.way());
        let mut gpu = GpuNode::open(nodes, timer, &board, &guard, way)?;
        let start = clock.unwrap_or(gpu.cap());
        let runs = gpu.pin(start)?;
        if clock.is_some_and(|clock| clock > gpu.cap()) {
            log::warn!("the cap is {}: held there", board.gpu.cap);
        }
        say(format_args!("GPU at {runs} by way {}", gpu.way()));
        // Listened before the command starts, so that it finds the socket at once; the lock is ours, so no daemon does.
        let ended = self.listen().and_then(|events| self.watch_command(&mut gpu, rails, start, events, stop));
        // Also where the command could not be started; the failure to put back weighs more than its end.
        gpu.release()?;
        guard::log_foreign(&guard.restore()?);
        ended
    }

    fn window(&self) -> Nanos {
        let frames = Nanos::from_secs_f64(FRAMES_A_WINDOW / self.fps.unwrap_or(FRAMES_A_WINDOW));
        self.window.unwrap_or(frames.max(SHORTEST_WINDOW))
    }

    /// Whether frames are counted.
    fn counts(&self) -> bool {
        self.fps.is_some() || self.whole.is_wanted()
    }

    /// What the command finds: the board's own, and where libjetpace is to look.
    fn environment(&self) -> Vec<(&'static str, PathBuf)> {
        let socket = self.socket.clone().or_else(|| self.board.socket()).filter(|_| self.counts());
        self.board.environment().into_iter().chain(socket.map(|path| (wire::SOCKET_VARIABLE, path))).collect()
    }

    /// Where programs with libjetpace tell their frames; `None` where only lines count.
    fn listen(&self) -> Result<Option<Events>, Failure> {
        let (path, named) = match (&self.socket, self.board.socket()) {
            (Some(path), _) => (path.clone(), true),
            (None, Some(path)) if self.counts() => (path, false),
            _ => return Ok(None),
        };
        match Events::listen(&path) {
            Ok(events) => Ok(Some(events)),
            Err(e) if named => Err(Failure::file(&path, &e)),
            Err(e) => {
                log::warn!("{}: {e}; only lines on the command's stdout count as frames", path.display());
                Ok(None)
            }
        }
    }

    fn watch_command<N, T>(
        &self,
        gpu: &mut GpuNode<N, T>,
        rails: Rails<N, Monotonic>,
        start: ClockIndex,
        mut events: Option<Events>,
        stop: &Stop,
    ) -> Result<(), Failure>
    where
        N: Nodes + Store + Clone,
        T: Timer,
    {
        let mut deadline = self.whole.start(gpu, self.fps, rails)?;
        let lines = self.whole.lines().or(self.fps.map(|_| ""));
        let mut command = Running::start(&self.command, &self.environment(), lines, || self.confine(gpu))?;
        let timer = Monotonic::new();
        let mut pace = self.fps.filter(|_| deadline.is_none()).map(|fps| Pace::new(fps, start));
        let window = self.window();
        let (mut since, mut counted) = (timer.now(), Counted::Lines(0));
        let mut told = None;
        let mut wanted = start;
        loop {
            if let Some(status) = command.child.try_wait().map_err(|e| command.failure(&e))? {
                let judged = command.judge(status, stop);
                return deadline.map_or(Ok(()), Holder::end).and(judged);
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
                Ok(Some(Changed::Cap { from, to })) => {
                    log::warn!("the cap went from {from} to {to}");
                    gpu.set(wanted)?;
                }
                Ok(_) => {}
                Err(e) => log::warn!("{e}"),
            }
            if let Some(events) = &mut events {
                events.look(gpu.gpu().clocks.get(wanted.min(gpu.cap()).index()).copied().unwrap_or_default());
            }
            if let Some(deadline) = &mut deadline {
                deadline.look(gpu, command.lines.load(Ordering::Relaxed), events.as_mut())?;
                wanted = deadline.wanted();
            }
            if let Some(pace) = pace.as_mut().filter(|_| now.saturating_sub(since) >= window) {
                let frames = Counted::now(command.lines.load(Ordering::Relaxed), events.as_ref());
                if let Some(frames) = frames.since(counted) {
                    let rate = frames as f64 / now.saturating_sub(since).as_secs_f64();
                    wanted = pace.judge(rate, gpu.cap());
                    let runs = gpu.pin(wanted)?;
                    log::info!("{rate:.1} frames a second: clock {runs}");
                }
                (since, counted) = (now, frames);
            }
            thread::sleep(LOOK_EVERY);
        }
    }
}

impl Args {
    /// Gives up what holding does not take. The command runs by now, with everything that whoever called has.
    fn confine<N: Nodes + Store + Clone, T: Timer>(&self, gpu: &GpuNode<N, T>) {
        let root = match (&self.board, self.confined) {
            (BoardArg::Auto, true) => Path::new("/"),
            (BoardArg::Tree(root), true) => root,
            _ => return,
        };
        let mut needs = Needs::of_gpu(root, gpu.gpu());
        needs.caps.push(Cap::Kill);
        let socket = self.socket.as_deref().unwrap_or(Path::new(wire::SOCKET));
        needs.files.extend(socket.parent().map(Path::to_owned));
        needs.files.extend(self.whole.folders());
        confine::apply(&needs);
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

/// Frames so far, and what told them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Counted {
    /// The command's lines.
    Lines(u64),
    /// Programs with libjetpace. Once one has ended a frame lines are no frames any more: a program may print some.
    Events(u64),
}

impl Counted {
    fn now(lines: u64, events: Option<&Events>) -> Self {
        match events.map_or(0, Events::frames) {
            0 => Self::Lines(lines),
            frames => Self::Events(frames),
        }
    }

    /// Frames since `before`; `None` in the window in which events took the place of lines.
    fn since(self, before: Self) -> Option<u64> {
        match (self, before) {
            (Self::Lines(now), Self::Lines(before)) | (Self::Events(now), Self::Events(before)) => Some(now - before),
            _ => None,
        }
    }
}

/// The command at work.
struct Running {
    name: String,
    child: Child,
    lines: Arc<AtomicU64>,
}

impl Running {
    /// Starts the command, and calls `started` before anything else is.
    fn start(
        command: &[String],
        environment: &[(&str, PathBuf)],
        counted: Option<&str>,
        started: impl FnOnce(),
    ) -> Result<Self, Failure> {
        let [name, arguments @ ..] = command else {
            return Err(Failure::usage("no command to run"));
        };
        let mut start = Command::new(name);
        start.args(arguments).envs(environment.iter().map(|(name, value)| (name, value)));
        if counted.is_some() {
            start.stdout(Stdio::piped());
        }
        let mut child = start.spawn().map_err(|e| Failure::usage(format_args!("{name}: {e}")))?;
        started();
        let lines = Arc::new(AtomicU64::new(0));
        if let Some(stdout) = child.stdout.take() {
            let (lines, part) = (Arc::clone(&lines), counted.unwrap_or_default().to_owned());
            thread::spawn(move || pass_on(BufReader::new(stdout), part.as_bytes(), &lines));
        }
        Ok(Self { name: name.clone(), child, lines })
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

/// Passes the command's lines on and counts those that contain `part`. Ends with the command's stdout.
fn pass_on(mut stdout: impl BufRead, part: &[u8], lines: &AtomicU64) {
    let mut line = Vec::new();
    while stdout.read_until(b'\n', &mut line).is_ok_and(|length| length > 0) {
        if part.is_empty() || line.windows(part.len()).any(|window| window == part) {
            lines.fetch_add(1, Ordering::Relaxed);
        }
        // A closed stdout of ours is no reason to stop counting.
        let _ = std::io::stdout().write_all(&line);
        line.clear();
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn a_program_that_tells_frames_and_prints_lines_is_counted_once() {
        let (lines, more_lines) = (Counted::Lines(10), Counted::Lines(40));
        let (events, more_events) = (Counted::Events(7), Counted::Events(67));
        assert_eq!(more_lines.since(lines), Some(30));
        assert_eq!(events.since(more_lines), None, "the window of the change says nothing");
        assert_eq!(more_events.since(events), Some(60));
    }

    /// A board, a command that does nothing for a while, and `program` beside it with the socket's path.
    #[cfg(feature = "sim")]
    fn hold_beside(fps: &str, program: impl FnOnce(&Path) + Send) -> (Board, Vec<u64>) {
        use clap::Parser;
        use jetpace_devfreq::sim::tree::Tree;

        let boards = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/boards");
        let tree = Tree::load(&boards.join("orin-nano-8gb-super-r36.4")).unwrap();
        let before = tree.settings();
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("jetpace.sock");
        let line = ["jetpace", "hold", "--fps", fps, "--window", "100ms", "--way", "min-max", "--socket"];
        let rest = [socket.to_str().unwrap(), "--", "sleep", "2"];
        let cli = crate::args::Cli::try_parse_from(line.into_iter().chain(rest)).unwrap();
        let crate::args::Command::Hold(args) = cli.command else { panic!("{cli:?}") };
        thread::scope(|scope| {
            scope.spawn(|| program(&socket));
            args.hold(tree.clone(), tree.timer(), &Stop::never()).unwrap();
        });
        assert_eq!(tree.settings(), before);
        let bounds = tree.log().into_iter().filter(|entry| entry.path.ends_with("max_freq"));
        (Board::discover(&tree).unwrap(), bounds.filter_map(|entry| entry.text.parse().ok()).collect())
    }

    /// Tells frames, as many as it can, until the socket goes away.
    #[cfg(feature = "sim")]
    fn tell_frames(socket: &Path) {
        use crate::runtime::page::What;
        use crate::runtime::remote::Remote;

        let mut remote = loop {
            match Remote::open(socket, &[]) {
                Ok(remote) => break remote,
                Err(_) => thread::sleep(Duration::from_millis(1)),
            }
        };
        while remote.tell(What::FrameEnd).is_ok() {
            thread::sleep(Duration::from_millis(1));
        }
    }

    #[test]
    #[cfg(feature = "sim")]
    fn told_frames_bring_the_clock_down_and_none_keep_it_up() {
        // Trying the way writes the lowest clock and the cap; only a kept rate leads to those between.
        let between = |board: &Board, bounds: &[u64]| {
            let listed = board.gpu.clocks.iter().map(|clock| clock.get());
            let listed = listed.filter(|clock| *clock > board.gpu.clocks[0].get() && *clock < board.gpu.cap.get());
            listed.filter(|clock| bounds.contains(clock)).count()
        };
        let (board, bounds) = hold_beside("1", tell_frames);
        assert!(between(&board, &bounds) >= 3, "more frames than asked for: {bounds:?}");
        let (board, bounds) = hold_beside("1000000", tell_frames);
        assert_eq!(between(&board, &bounds), 0, "fewer frames than asked for: {bounds:?}");
    }
}
