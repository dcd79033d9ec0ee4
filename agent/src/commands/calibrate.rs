//! `jetpace calibrate`: what a network's blocks take and draw at every clock, into a sweep.

#[cfg(feature = "report")]
mod deadline;
#[cfg(feature = "report")]
mod own;
#[cfg(feature = "report")]
mod program;
mod work;

use std::path::{Path, PathBuf};

use indicatif::{ProgressBar, ProgressStyle};
use jetpace_devfreq::gpu::GpuNode;
use jetpace_devfreq::guard::{Guard, Store};
use jetpace_devfreq::mem::MemNode;
use jetpace_devfreq::nodes::Nodes;
use jetpace_devfreq::rails::sample_faster;
use jetpace_tables::hw::{BlockRunner, GpuClock, MemClock, Timer};
use jetpace_tables::units::Nanos;
use jetpace_tables::work::{Network, Size};

use crate::args::{BoardArg, network};
#[cfg(feature = "cuda")]
use crate::calibrate::Observed;
use crate::calibrate::{Done, EmcAsk, LATE_PER_FRAME, Progress, Settings, Step, Subject, steps};
#[cfg(feature = "report")]
use crate::commands::hold::deadline::source::FramesFrom;
use crate::dry_run::DryRun;
use crate::failure::Failure;
use crate::files::output::print_text;
use crate::signals::Stop;
pub use work::Work;

/// The network in whose times changes of the clock are seen: its last block is very short.
const PROBE: &str = "vgg19-32";

/// How often a program of one's own is looked at.
#[cfg(feature = "report")]
const LOOK_EVERY: std::time::Duration = std::time::Duration::from_millis(20);

/// Whole frames of it at each clock, where no other number is asked for.
#[cfg(feature = "report")]
const OWN_FRAMES: u32 = 100;

/// Options of `calibrate`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Where: `auto` (this machine), `sim:NAME` (a virtual board), or for a program of your own `live:NAME` (the same on disk)
    #[arg(long, default_value = "auto", value_name = "BOARD")]
    board: BoardArg,
    /// The network
    #[cfg_attr(all(feature = "cuda", feature = "report"), arg(long, required_unless_present_any = ["plan", "cmd", "attach"], value_name = "NET", value_parser = crate::args::networks()))]
    #[cfg_attr(all(feature = "cuda", not(feature = "report")), arg(long, required_unless_present = "plan", value_name = "NET", value_parser = crate::args::networks()))]
    #[cfg_attr(all(not(feature = "cuda"), feature = "report"), arg(long, required_unless_present_any = ["cmd", "attach"], conflicts_with_all = ["cmd", "attach"], value_name = "NET", value_parser = crate::args::networks()))]
    #[cfg_attr(not(any(feature = "cuda", feature = "report")), arg(long, required = true, value_name = "NET", value_parser = crate::args::networks()))]
    net: Option<String>,
    #[cfg(feature = "report")]
    #[command(flatten)]
    own: program::Options,
    #[cfg(feature = "report")]
    #[command(flatten)]
    deadline: deadline::ForDeadline,
    #[cfg(feature = "cuda")]
    #[command(flatten)]
    precompiled: crate::cuda::Precompiled,
    /// The sweep; where it is there already, calibration goes on with it
    #[arg(short, long, value_name = "FILE", required_unless_present = "dry_run")]
    output: Option<PathBuf>,
    /// Whole frames to measure, over all clocks together; of a program of your own at each clock
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    frames: Option<u32>,
    /// Frames to time as a whole besides, for how late one in a hundred is; by default 25 times as many
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(0..=1_000_000))]
    late: Option<u32>,
    /// Time between frame starts, at least
    #[arg(long, value_name = "TIME")]
    spacing: Option<Nanos>,
    /// How often every clock is visited
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..=100))]
    passes: Option<u32>,
    /// How often every change from one clock to another is made; 0 leaves settle times out
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(0..=1000))]
    changes: Option<u32>,
    /// Lock the memory's clock at this one, or at each of `all` in turn, where the board lets it be locked; everything is
    /// measured at each. By default it is left free, and every row says what it was
    #[arg(long, value_name = "CLOCK|all")]
    emc: Option<EmcAsk>,
    /// Let the power monitors convert as fast as they can meanwhile, where this user may say so; their usual pace is put
    /// back afterwards
    #[arg(long)]
    fast_rails: bool,
    /// Weights as a safetensors file with torchvision's names, for a real GPU; random ones by default
    #[arg(long, value_name = "FILE")]
    weights: Option<PathBuf>,
    /// Seed of a virtual board, or of random weights
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Sizes of blocks to measure (batches, tokens), as 64,256,1024: frames are timed at the largest, time and power of
    /// every block at all of them
    #[arg(long, value_name = "N", value_delimiter = ',', value_parser = clap::value_parser!(u32).range(1..))]
    sizes: Vec<u32>,
    /// Print the writes that would be made, in order, and make none
    #[arg(long)]
    dry_run: bool,
}

/// The sweep that the options ask for.
struct Sweeping<'a>(&'a Args);

impl Work for Sweeping<'_> {
    type Done = ();

    fn on<N, R, Q, T>(self, subject: Subject<N, R, Q, T>, usual: Settings) -> Result<(), Failure>
    where
        N: Nodes + Store + Clone,
        R: BlockRunner,
        Q: BlockRunner,
        T: Timer + Clone,
    {
        self.0.measure(subject, usual)
    }

    #[cfg(feature = "cuda")]
    fn left_alone<R: BlockRunner, T: Timer>(self, gpu: Observed<R, T>) -> Result<(), Failure> {
        self.0.observe(gpu)
    }
}

impl Args {
    /// Measures.
    pub fn run(self) -> Result<(), Failure> {
        #[cfg(feature = "report")]
        if let (Some(told), Some(path)) = (self.own.datagrams(), &self.output) {
            return self.measure_whole_frames(told, path);
        }
        self.with_subject(Sweeping(&self))
    }

    /// Does something on the machine and with the network that the options name.
    ///
    /// # Errors
    /// Where there is no such machine or network, and what the work says.
    pub fn with_subject<W: Work>(&self, work: W) -> Result<W::Done, Failure> {
        #[cfg(feature = "report")]
        if self.own.is_wanted() {
            return own::with_subject(self, &self.own, work);
        }
        let network = self.network()?;
        match &self.board {
            board @ (BoardArg::Tree(_) | BoardArg::Live(_)) => Err(Failure::usage(format_args!(
                "{board}: a tree of files runs no network; use --board auto on a Jetson, or sim:NAME"
            ))),
            #[cfg(feature = "cuda")]
            BoardArg::Auto => self.here(network, work),
            #[cfg(not(feature = "cuda"))]
            BoardArg::Auto => Err(Failure::new(
                crate::failure::Reason::Unsupported,
                "this binary has no CUDA, so it measures on virtual boards only (--board sim:NAME); on a Jetson use \
                 jetpace-cuda",
            )),
            #[cfg(feature = "sim")]
            BoardArg::Sim(name) => as_usual(work, virtual_subject(name, self.seed, network)?),
            #[cfg(not(feature = "sim"))]
            BoardArg::Sim(_) => Err(crate::args::no_sim()),
        }
    }

    /// A program of one's own that sends its frames' times.
    #[cfg(feature = "report")]
    fn measure_whole_frames(&self, told: (&str, &FramesFrom), path: &Path) -> Result<(), Failure> {
        let by_blocks = [
            ("--for-deadline", self.deadline.is_wanted()),
            ("--sizes", !self.sizes.is_empty()),
            ("--late", self.late.is_some()),
            ("--spacing", self.spacing.is_some()),
            ("--passes", self.passes.is_some()),
            ("--changes", self.changes.is_some()),
            ("--emc", self.emc.is_some()),
            ("--fast-rails", self.fast_rails),
        ];
        if let Some((option, _)) = by_blocks.iter().find(|(_, given)| *given) {
            return Err(Failure::usage(format_args!("{option}: only where the program tells libjetpace its frames")));
        }
        let frames = self.frames.unwrap_or(OWN_FRAMES) as usize;
        self.own.measure(told, &self.board, path, frames)
    }

    fn network(&self) -> Result<Network, Failure> {
        #[cfg(feature = "cuda")]
        if let Some(network) = self.precompiled.network()? {
            return Ok(network);
        }
        network(self.net.as_deref().unwrap_or_default())
    }

    /// On this machine's GPU. Where its clock cannot be held, blocks are timed at whatever clock it runs.
    #[cfg(feature = "cuda")]
    fn here<W: Work>(&self, network: Network, work: W) -> Result<W::Done, Failure> {
        use jetpace_devfreq::Error;
        use jetpace_devfreq::board::Board;
        use jetpace_devfreq::nodes::SysfsRoot;
        use jetpace_devfreq::timer::Monotonic;

        use crate::cuda::runner;

        jetpace_kernels::cuda::probe()?;
        let (nodes, timer) = (SysfsRoot::new("/"), Monotonic::new());
        let board = match Board::discover(&nodes) {
            Err(Error::NoGpu { .. }) => None,
            found => Some(found?),
        };
        let blocks = self.precompiled.runner(&network.name, self.weights.as_deref(), self.seed, timer)?;
        let (gpu, peak) = (blocks.gpu_name().to_owned(), blocks.peak_clock());
        jetpace_devfreq::guard::restore_on_panic(nodes.clone());
        match board {
            Some(board) => {
                let subject = Subject {
                    device: board.identity.model.clone().unwrap_or(gpu),
                    nodes,
                    board,
                    network: blocks,
                    probe: runner(PROBE, None, self.seed, timer)?,
                    timer,
                    model: network.name,
                    evidence: "jetson",
                };
                as_usual(work, subject)
            }
            None => work.left_alone(Observed { network: blocks, timer, device: gpu, model: network.name, peak }),
        }
    }

    /// Times blocks with the clock left alone.
    #[cfg(feature = "cuda")]
    fn observe<R: BlockRunner, T: Timer>(&self, gpu: Observed<R, T>) -> Result<(), Failure> {
        #[cfg(feature = "report")]
        if self.deadline.is_wanted() {
            let why = format_args!("--for-deadline: {} has no clock that can be set", gpu.device);
            return Err(Failure::new(crate::failure::Reason::Unsupported, why));
        }
        let Some(path) = self.output.as_deref().filter(|_| !self.dry_run) else {
            return print_text("# no clock of this GPU can be set; its blocks would be timed as it runs them\n");
        };
        log::warn!("{} has no clock that can be set: its blocks are timed as it runs them", gpu.device);
        let usual = Settings::usual(jetpace_devfreq::rails::PowerPace::of(&[]));
        let (frames, spacing) = (self.frames.unwrap_or(usual.frames), self.spacing.unwrap_or(usual.spacing));
        let stop = Stop::install()?;
        let measured = gpu.calibrate(path, frames, spacing, &stop);
        stop.die();
        report(path, &measured?);
        Ok(())
    }

    /// How much the options ask for, of what is usual. Where clocks are named, the options' frames are those at each.
    ///
    /// # Errors
    /// Where sizes are out of order.
    pub fn settings(&self, usual: Settings) -> Result<Settings, Failure> {
        let sizes: Vec<Size> = self.sizes.iter().map(|size| Size(*size)).collect();
        crate::session::sizes::ascending(sizes.iter().copied())?;
        let (clocks, late_each) = match usual.clocks.len() as u32 {
            0 => (1, LATE_PER_FRAME),
            named => (named, 1),
        };
        let frames = self.frames.map_or(usual.frames, |each| each.saturating_mul(clocks));
        Ok(Settings {
            frames,
            late: self.late.map_or(late_each.saturating_mul(frames), |each| each.saturating_mul(clocks)),
            spacing: self.spacing.unwrap_or(usual.spacing),
            passes: self.passes.unwrap_or(usual.passes),
            changes: self.changes.unwrap_or(usual.changes),
            sizes: if sizes.is_empty() { usual.sizes.clone() } else { sizes },
            emc: self.emc.unwrap_or_default(),
            fast_rails: self.fast_rails,
            ..usual
        })
    }

    /// Measures on any machine.
    fn measure<N, R, Q, T>(&self, subject: Subject<N, R, Q, T>, usual: Settings) -> Result<(), Failure>
    where
        N: Nodes + Store + Clone,
        R: BlockRunner,
        Q: BlockRunner,
        T: Timer + Clone,
    {
        let settings = self.settings(usual)?;
        let Some(path) = self.output.as_deref().filter(|_| !self.dry_run) else {
            return print_text(&self.dry_run(&subject, &settings)?);
        };
        #[cfg(feature = "report")]
        if self.own.is_wanted() {
            eprintln!("{}", own::consists_of(&subject.network, &settings, self.deadline.is_wanted()));
        }
        #[cfg(feature = "report")]
        if self.deadline.is_wanted() {
            return self.deadline.measure(subject, &settings, path);
        }
        if subject.evidence == "jetson" && settings.spacing > Nanos::ZERO {
            let frames = u64::from(settings.frames.saturating_add(settings.late));
            let minutes = (frames * settings.spacing.get()).div_ceil(60_000_000_000);
            eprintln!("this takes {minutes} minutes or more; interrupted, the same command goes on from there");
        }
        let stop = Stop::install()?;
        let bar = bar();
        let measured = subject.calibrate(path, &settings, &stop, &mut |progress| show(&bar, progress));
        bar.finish_and_clear();
        stop.die();
        report(path, &measured?);
        Ok(())
    }

    /// What a calibration would write, in order.
    fn dry_run<N, R, Q, T>(&self, subject: &Subject<N, R, Q, T>, settings: &Settings) -> Result<String, Failure>
    where
        N: Nodes + Store + Clone,
        R: BlockRunner,
        Q: BlockRunner,
        T: Timer + Clone,
    {
        let (mut all, mut remarks) = (steps(settings, &subject.clocks(settings)), Vec::new());
        #[cfg(feature = "report")]
        if let Some(first) = self.deadline.first(subject, settings, self.output.as_deref())? {
            (all, remarks) = (first.steps, first.remarks);
        }
        let gpu = &subject.board.gpu;
        let dry = DryRun::new(subject.nodes.clone(), &gpu.devfreq).under_heat(gpu);
        let (guard, _) = Guard::take(dry.clone())?;
        if settings.fast_rails {
            dry.comment("power monitors convert as fast as they can");
            sample_faster(&dry, &guard, &subject.board.rails)?;
        }
        dry.comment("which way of fixing the clock works");
        let mut gpu = GpuNode::open(dry.clone(), subject.timer.clone(), &subject.board, &guard, None)?;
        let mut mem = MemNode::new(dry.clone(), subject.timer.clone(), &subject.board, &guard);
        for emc in subject.emc_clocks(settings.emc)? {
            if let Some(emc) = emc {
                dry.comment(&format!("EMC clock {emc}"));
                match mem.pin(emc) {
                    // Some boards tell the clock that runs elsewhere, which no write here brings about.
                    Err(jetpace_devfreq::Error::DoesNotFollow { .. }) => {}
                    pinned => drop(pinned?),
                }
            }
            if let Some(first) = remarks.first() {
                dry.comment(first);
            }
            for &step in &all {
                dry.comment(&what(step));
                for clock in step.writes() {
                    gpu.set(clock)?;
                }
            }
        }
        for remark in remarks.iter().skip(1) {
            dry.comment(remark);
        }
        dry.comment("everything put back");
        gpu.release()?;
        drop(gpu);
        guard.restore()?;
        Ok(dry.text())
    }
}

/// Does something with as much as is usual on the subject's board.
fn as_usual<W, N, R, Q, T>(work: W, subject: Subject<N, R, Q, T>) -> Result<W::Done, Failure>
where
    W: Work,
    N: Nodes + Store + Clone,
    R: BlockRunner,
    Q: BlockRunner,
    T: Timer + Clone,
{
    let usual = subject.settings();
    work.on(subject, usual)
}

fn report(path: &Path, done: &Done) {
    let Done { measured, rejected, there } = done;
    eprintln!("{}: {measured} rows measured, {rejected} of them rejected; {there} were there", path.display());
}

/// A virtual board, fresh from boot, with a network on it.
#[cfg(feature = "sim")]
pub fn virtual_subject(
    name: &str,
    seed: u64,
    net: Network,
) -> Result<
    Subject<
        jetpace_devfreq::sim::VirtualNodes,
        jetpace_devfreq::sim::Runner,
        jetpace_devfreq::sim::Runner,
        jetpace_devfreq::sim::VirtualTimer,
    >,
    Failure,
> {
    let board = jetpace_devfreq::sim::Board::new(name, seed).map_err(Failure::usage)?;
    let nodes = board.nodes();
    Ok(Subject {
        board: jetpace_devfreq::board::Board::discover(&nodes)?,
        nodes,
        timer: board.timer(),
        device: format!("sim:{name}"),
        model: net.name.clone(),
        evidence: "virtual",
        network: board.runner(net),
        probe: board.runner(network(PROBE)?),
    })
}

fn what(step: Step) -> String {
    match step {
        Step::Frames { pass, .. } => format!("frames, pass {}", pass + 1),
        Step::Late { pass, .. } => format!("late frames, pass {}", pass + 1),
        Step::Power { pass, .. } => format!("power of blocks, pass {}", pass + 1),
        Step::Idle { pass, .. } => format!("idle power, pass {}", pass + 1),
        Step::Change { repeat, .. } => format!("change, repeat {}", repeat + 1),
    }
}

fn bar() -> ProgressBar {
    let bar = ProgressBar::new(0);
    if let Ok(style) = ProgressStyle::with_template("{bar:32} {pos}/{len} {msg} (left: {eta})") {
        bar.set_style(style);
    }
    bar
}

fn show(bar: &ProgressBar, progress: Progress) {
    bar.set_length(progress.total as u64);
    bar.set_position(progress.done as u64);
    if let Some(step) = progress.next {
        bar.set_message(what(step));
    }
}
