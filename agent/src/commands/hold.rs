//! `jetpace hold`: the GPU at one clock, or at the lowest that keeps a frame rate or a deadline, while a command runs.

pub mod deadline;
pub mod events;
mod fps;
mod holder;
mod lease;
mod lines;
mod lost;
pub mod pace;
pub mod running;
mod watch;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use jetpace_devfreq::board::Board;
use jetpace_devfreq::gpu::{GpuNode, Way};
use jetpace_devfreq::guard::{self, Guard, Leftover, Store};
use jetpace_devfreq::nodes::Nodes;
use jetpace_devfreq::rails::Rails;
use jetpace_devfreq::timer::Monotonic;
use jetpace_tables::hw::{GpuClock, Timer};
use jetpace_tables::units::{Hertz, Nanos};
use jetpace_tables::work::ClockIndex;

use crate::args::BoardArg;
use crate::confine::{self, Cap, Needs};
use crate::dry_run::DryRun;
use crate::failure::{Failure, Reason};
use crate::files::output::{print_text, say};
#[cfg(feature = "report")]
use crate::nvtx::{self, ranges::Pattern};
use crate::runtime::wire;
use crate::signals::Stop;
use events::Events;
use fps::Keeper;
use holder::Holder;
use lease::Lease;
use lines::Counter;
use running::Running;
use watch::Watch;

/// How often the command, the cap and the signals are looked at.
pub const LOOK_EVERY: Duration = Duration::from_millis(20);

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
    #[arg(long, value_name = "TIME", requires = "fps", conflicts_with = "deadline")]
    window: Option<Nanos>,
    /// With --fps and --deadline: frames are the NVTX ranges of this name (NAME, DOMAIN//NAME, PREFIX*) that the command marks
    #[cfg(feature = "report")]
    #[arg(long, value_name = "RANGE", conflicts_with_all = ["clock", "frames_from"])]
    nvtx: Option<Pattern>,
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
    command: Vec<OsString>,
}

impl Args {
    /// Holds the clock until the command ends.
    pub fn run(mut self) -> Result<(), Failure> {
        if self.fps.is_some_and(|fps| !fps.is_finite() || fps <= 0.0) {
            return Err(Failure::usage("--fps takes a number above 0"));
        }
        self.whole.check()?;
        self.see_ranges()?;
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

    /// Finds out, before any work, whether ranges can be heard.
    #[cfg(feature = "report")]
    fn see_ranges(&mut self) -> Result<(), Failure> {
        if self.nvtx.is_some() && !self.dry_run {
            self.whole.hear_library();
            self.ranges()?;
        }
        Ok(())
    }

    #[cfg(not(feature = "report"))]
    fn see_ranges(&mut self) -> Result<(), Failure> {
        Ok(())
    }

    /// What the command needs for its ranges to be heard.
    #[cfg(feature = "report")]
    fn ranges(&self) -> Result<Vec<(&'static str, PathBuf)>, Failure> {
        match &self.nvtx {
            Some(frame) => nvtx::telling(frame, &[], false),
            None => Ok(Vec::new()),
        }
    }

    /// The static release has no room for it.
    #[cfg(not(feature = "report"))]
    fn ranges(&self) -> Result<Vec<(&'static str, PathBuf)>, Failure> {
        Ok(Vec::new())
    }

    /// Whether nothing but the library tells frames.
    fn library_only(&self) -> bool {
        #[cfg(feature = "report")]
        return self.nvtx.is_some();
        #[cfg(not(feature = "report"))]
        false
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
            self.deadline_is_not_leased(&socket)?;
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

    /// A deadline is held by whoever has the clock, as it is lowered and raised many times a second.
    fn deadline_is_not_leased(&self, socket: &Path) -> Result<(), Failure> {
        if !self.whole.is_wanted() {
            return Ok(());
        }
        let why = format!(
            "--deadline takes the clock itself, and the daemon at {} has it: as root, stop the daemon and run hold, or let \
             the program follow a table through the daemon",
            socket.display()
        );
        Err(Failure::new(Reason::Permission, why))
    }

    fn hold_leased<N: Nodes>(&self, nodes: &N, board: &Board, socket: &Path, stop: &Stop) -> Result<(), Failure> {
        self.deadline_is_not_leased(socket)?;
        if self.library_only() && self.socket.is_none() {
            let why = "--nvtx: the daemon has its own socket; name another by --socket, at which frames are told";
            return Err(Failure::usage(why));
        }
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
        let command = Running::start(&self.command, &self.environment()?, self.counter(), || {})?;
        self.watch(&mut lease, command, start, events, stop, board).until_it_ends(None)
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
            log::warn!("the cap is {}: held there", held.within_cap(held.cap()));
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
        let rails = Rails::new(nodes.clone(), Monotonic::new(), board.rails.clone());
        let mut gpu = GpuNode::open(nodes, timer, board, &guard, self.way.or(self.whole.way()))?;
        comment(if clock.is_some() { "the clock" } else { "the first clock; it is lowered from there" });
        let start = clock.unwrap_or(gpu.cap());
        let runs = gpu.pin(start)?;
        self.warn_of_cap(clock, &gpu);
        let ended = match stop {
            Some(stop) => {
                say(format_args!("GPU at {runs} by way {}", gpu.way()));
                // Listened before the command starts, so that it finds the socket at once; the lock is ours, so no
                // daemon does.
                self.listen().and_then(|events| {
                    let program = self.command.first().map(Path::new).and_then(Path::file_name).unwrap_or_default();
                    let mut deadline =
                        self.whole.start(&mut gpu, self.fps, rails, board, &program.to_string_lossy())?;
                    let (environment, counter) = (self.environment()?, self.counter());
                    let command = Running::start(&self.command, &environment, counter, || self.confine(&gpu))?;
                    let ended = match &mut deadline {
                        None => self.watch(&mut gpu, command, start, events, stop, board).until_it_ends(None),
                        Some(deadline) => {
                            let start = deadline.wanted();
                            let mut choose = |gpu: &mut GpuNode<N, T>, lines, events: Option<&mut Events>| {
                                deadline.look(gpu, lines, events).map(|()| deadline.wanted())
                            };
                            self.watch(&mut gpu, command, start, events, stop, board).until_it_ends(Some(&mut choose))
                        }
                    };
                    let told = deadline.map_or(Ok(()), deadline::Held::end);
                    ended.and(told)
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

    /// Whether frames are counted.
    fn counts(&self) -> bool {
        self.fps.is_some() || self.whole.is_wanted()
    }

    /// The rate to keep; beside a deadline it is the period in other words.
    fn rate(&self) -> Option<f64> {
        self.fps.filter(|_| !self.whole.is_wanted())
    }

    /// What counts the command's lines, where they may be frames.
    fn counter(&self) -> Option<Counter> {
        self.whole.counter().or(self.rate().filter(|_| !self.library_only()).map(|_| Counter::default()))
    }

    fn watch<'a, H: Holder>(
        &self,
        held: &'a mut H,
        command: Running,
        wanted: ClockIndex,
        events: Option<Events>,
        stop: &'a Stop,
        board: &Board,
    ) -> Watch<'a, H> {
        let keeper = self.rate().map(|fps| Keeper::new(fps, self.window, wanted, Monotonic::new().now()));
        Watch { held, command, wanted, events, stop, keeper, warned: board.gpu.throttled }
    }

    /// What the command finds: the board's own, and where libjetpace is to look.
    fn environment(&self) -> Result<Vec<(&'static str, PathBuf)>, Failure> {
        let socket = self.socket.clone().or_else(|| self.board.socket()).filter(|_| self.counts());
        let socket = socket.map(|path| (wire::SOCKET_VARIABLE, path));
        Ok(self.board.environment().into_iter().chain(socket).chain(self.ranges()?).collect())
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
            Err(e) if named || self.library_only() => Err(Failure::file(&path, &e)),
            Err(e) => {
                log::warn!("{}: {e}; only lines on the command's stdout count as frames", path.display());
                Ok(None)
            }
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
        let before = needs.files.len();
        needs.files.extend(self.whole.folders());
        if needs.files.len() > before {
            // What is asked for may be a user's folder, where root by itself is anybody.
            needs.caps.push(Cap::DacOverride);
        }
        confine::apply(&needs);
    }
}

/// A list of clocks that is longer is not printed whole.
const LONGEST_LIST: usize = 20;

/// Only listed clocks are held; the others are named, or of many the nearest.
pub fn listed(board: &Board, clock: Hertz) -> Result<ClockIndex, Failure> {
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

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::thread;

    use super::*;

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
