//! `jetpace hold`: the GPU at one clock, or at the lowest that keeps a frame rate, while a command runs.

mod events;
mod holder;
mod lease;
mod pace;

use std::ffi::OsString;
use std::io::{Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use jetpace_devfreq::board::Board;
use jetpace_devfreq::gpu::{GpuNode, Way};
use jetpace_devfreq::guard::{self, Guard, Leftover, Store};
use jetpace_devfreq::nodes::Nodes;
use jetpace_devfreq::timer::Monotonic;
use jetpace_tables::hw::{GpuClock, Timer};
use jetpace_tables::units::{Hertz, Nanos};
use jetpace_tables::work::ClockIndex;

use crate::args::BoardArg;
use crate::confine::{self, Cap, Needs};
use crate::dry_run::DryRun;
use crate::failure::{Failure, Reason};
use crate::files::output::{print_text, say};
use crate::runtime::wire;
use crate::signals::Stop;
use events::Events;
use holder::Holder;
use lease::Lease;
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
    #[arg(long, required_unless_present = "fps", conflicts_with = "fps")]
    clock: Option<Hertz>,
    /// Hold the lowest clock that keeps so many frames a second; a frame is one that the command tells libjetpace, or
    /// where it tells none a line on its stdout
    #[arg(long)]
    fps: Option<f64>,
    /// With --fps: where programs with libjetpace look for the daemon; by default the daemon's own place
    #[arg(long, value_name = "PATH", requires = "fps")]
    socket: Option<PathBuf>,
    /// With --fps: how long frames are counted before the rate is judged; by default for 100 frames and at least 2 s
    #[arg(long, value_name = "TIME", requires = "fps")]
    window: Option<Nanos>,
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
    command: Vec<OsString>,
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
            return print_text(&self.writes(&root, Monotonic::new())?);
        }
        let stop = Stop::install()?;
        guard::restore_on_panic(root.clone());
        self.confined = true;
        let held = self.hold(root, Monotonic::new(), &stop);
        stop.die();
        held
    }

    /// The run without its writes and without the command, by the same code: the writes that it would make.
    ///
    /// # Errors
    /// What the run is refused for.
    pub fn writes<N, T>(&self, nodes: &DryRun<N>, timer: T) -> Result<String, Failure>
    where
        N: Nodes + Store + Clone,
        T: Timer,
    {
        let board = Board::discover(nodes)?;
        if let Some(socket) = self.lease()? {
            let start = self.start(&board)?;
            self.warn(nodes, &board);
            let lease = Lease::open(&socket, &board)?;
            let clock = lease.clocks().get(start.unwrap_or(lease.cap()).index()).copied().unwrap_or_default();
            self.warn_of_cap(start, &lease);
            let socket = socket.display();
            return Ok(format!("# the daemon at {socket} is asked for {clock}; no node is written here\n"));
        }
        let dry = nodes.dry(&board.gpu.devfreq).under_heat(&board.gpu);
        self.hold_on(dry.clone(), &board, timer, None, &|what| dry.comment(what))?;
        Ok(dry.text())
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
        match self.lease()? {
            Some(socket) => self.hold_leased(&nodes, &board, &socket, stop),
            None => self.hold_on(nodes, &board, timer, Some(stop), &|_| {}),
        }
    }

    /// The socket of a daemon that has the clock; `None` where this process takes it itself.
    fn lease(&self) -> Result<Option<PathBuf>, Failure> {
        let Some(socket) = self.board.daemon() else { return Ok(None) };
        Ok(lease::is_offered(&socket)?.then_some(socket))
    }

    fn hold_leased<N: Nodes>(&self, nodes: &N, board: &Board, socket: &Path, stop: &Stop) -> Result<(), Failure> {
        let clock = self.start(board)?;
        self.warn(nodes, board);
        if self.way.is_some() {
            log::warn!("--way: the daemon has the clock, by a way of its own");
        }
        let mut lease = Lease::open(socket, board)?;
        let start = clock.unwrap_or(lease.cap());
        let runs = lease.hold(start)?;
        self.warn_of_cap(clock, &lease);
        say(format_args!("GPU at {runs}, leased from the daemon at {}", socket.display()));
        let events = if self.socket.is_some() { self.listen()? } else { None };
        self.watch_command(&mut lease, start, events, stop, (board.gpu.throttled, |_: &Lease| {}))
    }

    fn start(&self, board: &Board) -> Result<Option<ClockIndex>, Failure> {
        self.clock.map(|clock| listed(board, clock)).transpose()
    }

    /// Says what holds the clock down, or has locked it.
    fn warn<N: Nodes>(&self, nodes: &N, board: &Board) {
        for said in board.bounds_in_words(nodes) {
            log::warn!("{said}");
        }
    }

    fn warn_of_cap(&self, clock: Option<ClockIndex>, held: &impl Holder) {
        if clock.is_some_and(|clock| clock > held.cap()) {
            let cap = held.clocks().get(held.cap().index()).copied().unwrap_or_default();
            log::warn!("the cap is {cap}: held there");
        }
    }

    /// Without `stop` no command runs.
    fn hold_on<N, T>(
        &self,
        nodes: N,
        board: &Board,
        timer: T,
        stop: Option<&Stop>,
        comment: &dyn Fn(&str),
    ) -> Result<(), Failure>
    where
        N: Nodes + Store + Clone,
        T: Timer,
    {
        let clock = self.start(board)?;
        self.warn(&nodes, board);
        let (guard, leftover) = Guard::take(nodes.clone())?;
        if let Leftover::Restored(_) = leftover {
            comment("that was what a killed instance left; from here on the clock is taken");
        }
        comment("which way of fixing the clock works");
        let mut gpu = GpuNode::open(nodes, timer, board, &guard, self.way)?;
        comment(if clock.is_some() { "the clock" } else { "the first clock; with --fps it is lowered from there" });
        let start = clock.unwrap_or(gpu.cap());
        let runs = gpu.pin(start)?;
        self.warn_of_cap(clock, &gpu);
        let ended = match stop {
            Some(stop) => {
                say(format_args!("GPU at {runs} by way {}", gpu.way()));
                // Listened before the command starts, so that it finds the socket at once; the lock is ours, so no
                // daemon does.
                let confine = |gpu: &GpuNode<N, T>| self.confine(gpu);
                self.listen().and_then(|events| {
                    self.watch_command(&mut gpu, start, events, stop, (board.gpu.throttled, confine))
                })
            }
            None => Ok(()),
        };
        comment("everything put back");
        // Also where the command could not be started; the failure to put back weighs more than its end.
        gpu.release()?;
        drop(gpu);
        guard::log_foreign(&guard.restore()?);
        ended
    }

    fn window(&self) -> Nanos {
        let frames = Nanos::from_secs_f64(FRAMES_A_WINDOW / self.fps.unwrap_or(FRAMES_A_WINDOW));
        self.window.unwrap_or(frames.max(SHORTEST_WINDOW))
    }

    /// What the command finds: the board's own, and where libjetpace is to look.
    fn environment(&self) -> Vec<(&'static str, PathBuf)> {
        let socket = self.socket.clone().or_else(|| self.board.socket()).filter(|_| self.fps.is_some());
        self.board.environment().into_iter().chain(socket.map(|path| (wire::SOCKET_VARIABLE, path))).collect()
    }

    /// Where programs with libjetpace tell their frames; `None` where only lines count.
    fn listen(&self) -> Result<Option<Events>, Failure> {
        let (path, named) = match (&self.socket, self.board.socket()) {
            (Some(path), _) => (path.clone(), true),
            (None, Some(path)) if self.fps.is_some() => (path, false),
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

    fn watch_command<H: Holder>(
        &self,
        held: &mut H,
        start: ClockIndex,
        mut events: Option<Events>,
        stop: &Stop,
        (mut warned, confine): (bool, impl FnOnce(&H)),
    ) -> Result<(), Failure> {
        let mut command = Running::start(&self.command, &self.environment(), self.fps.is_some(), || confine(held))?;
        let timer = Monotonic::new();
        let mut pace = self.fps.map(|fps| Pace::new(fps, start));
        let window = self.window();
        let (mut since, mut counted) = (timer.now(), Counted::Lines(0));
        let mut told = None;
        let mut wanted = start;
        let mut lost = Lost::default();
        let mut hot: Option<(String, Nanos)> = None;
        loop {
            if let Some(status) = command.child.try_wait().map_err(|e| command.failure(&e))? {
                command.drain();
                return command.judge(status, stop).and_then(|()| lost.judge());
            }
            for signal in stop.to_pass_on() {
                command.tell(signal);
            }
            let now = timer.now();
            match (stop.signal(), told) {
                (Some(signal), None) => {
                    command.tell(signal);
                    told = Some(now);
                }
                (_, Some(at)) if now.saturating_sub(at) > GRACE => return lost.judge(),
                _ => {}
            }
            match held.look() {
                Ok(Some((from, to))) => {
                    log::warn!("the cap went from {from} to {to}");
                    held.hold(wanted)?;
                }
                Ok(None) => {}
                Err(e) => lost.count(&e),
            }
            let now_hot = held.held_down();
            match (&now_hot, &hot) {
                // Told before the clock was taken.
                (Some(_), None) if std::mem::take(&mut warned) => {}
                (Some((by, time)), before) if before.as_ref().is_none_or(|(before, _)| before != by) => {
                    log::warn!("held down now by {by}, for {}", seconds(*time));
                }
                (None, Some((by, time))) => log::warn!("no longer held down by {by}, after {}", seconds(*time)),
                _ => {}
            }
            hot = now_hot;
            if let Some(events) = &mut events {
                events.look(held.clocks().get(wanted.min(held.cap()).index()).copied().unwrap_or_default());
            }
            if let Some(pace) = pace.as_mut().filter(|_| now.saturating_sub(since) >= window) {
                let frames = Counted::now(command.lines.load(Ordering::Relaxed), events.as_ref());
                if let Some(frames) = frames.since(counted) {
                    let rate = frames as f64 / now.saturating_sub(since).as_secs_f64();
                    wanted = pace.judge(rate, held.cap());
                    let runs = held.hold(wanted)?;
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
        confine::apply(&needs);
    }
}

/// A list of clocks that is longer is not printed whole.
const LONGEST_LIST: usize = 20;

/// Only listed clocks are held; the others are named, or of many the nearest.
fn listed(board: &Board, clock: Hertz) -> Result<ClockIndex, Failure> {
    let clocks = &board.gpu.clocks;
    match clocks.iter().position(|listed| *listed == clock) {
        // At most 255 clocks are listed.
        Some(at) => Ok(ClockIndex(at as u8)),
        None => {
            let megahertz = |clocks: &[Hertz]| {
                clocks.iter().map(|clock| format!("{}", clock.get() as f64 / 1e6)).collect::<Vec<_>>().join(" ")
            };
            let above = clocks.partition_point(|listed| *listed < clock);
            let nearest = clocks.get(above.saturating_sub(1)..clocks.len().min(above + 1)).unwrap_or_default();
            let said = match clocks.len() {
                ..=LONGEST_LIST => format!("the clocks are {} MHz", megahertz(clocks)),
                many => {
                    format!("the nearest of {many} clocks are {} MHz (`jetpace probe` lists all)", megahertz(nearest))
                }
            };
            Err(Failure::usage(format_args!("{clock} is not available; {said}")))
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

/// How long something has lasted, to the second.
fn seconds(time: Nanos) -> String {
    format!("{} s", time.get() / 1_000_000_000)
}

/// Looks at the nodes that failed: told once, counted, and no success at the end.
#[derive(Debug, Default)]
struct Lost {
    first: Option<String>,
    looks: u64,
}

impl Lost {
    fn count(&mut self, error: &Failure) {
        self.looks += 1;
        if self.first.is_none() {
            log::warn!("{error}; from here on the clock is not known to be held");
            self.first = Some(error.to_string());
        }
    }

    fn judge(&self) -> Result<(), Failure> {
        match &self.first {
            None => Ok(()),
            Some(first) => {
                Err(Failure::failed(format_args!("the clock was not held to the end: {first} ({} looks)", self.looks)))
            }
        }
    }
}

/// The command at work.
struct Running {
    name: OsString,
    child: Child,
    lines: Arc<AtomicU64>,
    /// Passes its output on; `None` where that goes out by itself.
    reader: Option<JoinHandle<()>>,
    passed: Arc<AtomicU64>,
}

/// A command that cannot be started ends as a shell says it: not found, or not executable.
const NOT_FOUND: u8 = 127;
const NOT_EXECUTABLE: u8 = 126;

/// Output that a command has left in its pipe is passed on until none has come for so many looks: a child of its own may
/// hold the pipe open.
const QUIET_LOOKS: u32 = 10;

impl Running {
    /// Starts the command, and calls `started` before anything else is.
    fn start(
        command: &[OsString],
        environment: &[(&str, PathBuf)],
        count: bool,
        started: impl FnOnce(),
    ) -> Result<Self, Failure> {
        let [name, arguments @ ..] = command else {
            return Err(Failure::usage("no command to run"));
        };
        let mut start = Command::new(name);
        start.args(arguments).envs(environment.iter().map(|(name, value)| (name, value)));
        if count {
            start.stdout(Stdio::piped());
        }
        let mut child = start.spawn().map_err(|e| {
            let code = if e.kind() == std::io::ErrorKind::NotFound { NOT_FOUND } else { NOT_EXECUTABLE };
            Failure::new(Reason::Command(code), format_args!("{}: {e}", name.display()))
        })?;
        let (lines, passed) = (Arc::<AtomicU64>::default(), Arc::<AtomicU64>::default());
        let reader = child.stdout.take().map(|stdout| {
            let (lines, passed) = (Arc::clone(&lines), Arc::clone(&passed));
            thread::spawn(move || pass_on(stdout, &lines, &passed))
        });
        started();
        Ok(Self { name: name.clone(), child, lines, reader, passed })
    }

    fn failure(&self, error: &std::io::Error) -> Failure {
        Failure::failed(format_args!("{}: {error}", self.name.display()))
    }

    /// Hands a signal on. One from the terminal has reached the command already; twice does no harm.
    fn tell(&self, signal: i32) {
        let (Ok(pid), Ok(signal)) = (i32::try_from(self.child.id()), nix::sys::signal::Signal::try_from(signal)) else {
            return;
        };
        // A command that has just ended is told nothing.
        let _ = nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), signal);
    }

    /// Waits for the rest of the output of a command that has ended.
    fn drain(&mut self) {
        let Some(reader) = self.reader.take() else { return };
        let (mut seen, mut quiet) = (0, 0);
        while !reader.is_finished() && quiet < QUIET_LOOKS {
            let now = self.passed.load(Ordering::Relaxed);
            quiet = if now == seen { quiet + 1 } else { 0 };
            seen = now;
            thread::sleep(LOOK_EVERY);
        }
    }

    /// The command's own status, or that of its signal as a shell says it.
    fn judge(&self, status: std::process::ExitStatus, stop: &Stop) -> Result<(), Failure> {
        if status.success() || stop.signal().is_some() {
            return Ok(());
        }
        let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal)).unwrap_or(1);
        let message = format_args!("{} ended with {status}", self.name.display());
        Err(Failure::new(Reason::Command(u8::try_from(code).unwrap_or(1)), message))
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

/// Passes the command's output on and counts its lines, however long they are. Ends with the command's stdout.
fn pass_on(mut stdout: impl Read, lines: &AtomicU64, passed: &AtomicU64) {
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let read = match stdout.read(&mut buffer) {
            Ok(0) => return,
            Ok(length) => buffer.get(..length).unwrap_or_default(),
            Err(e) if e.kind() == std::io::ErrorKind::Interrupted => continue,
            Err(_) => return,
        };
        lines.fetch_add(read.iter().filter(|byte| **byte == b'\n').count() as u64, Ordering::Relaxed);
        // A closed stdout of ours is no reason to stop counting.
        let mut out = std::io::stdout();
        let _ = out.write_all(read).and_then(|()| out.flush());
        passed.fetch_add(read.len() as u64, Ordering::Relaxed);
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
