//! A session: frames on one board under one policy, and what came of it.

pub mod frames;
pub mod meter;
pub mod sizes;
pub mod triggers;
#[cfg(feature = "sim")]
pub mod virtual_board;

use std::ops::Deref;
use std::path::Path;

use jetpace_devfreq::board::Board;
use jetpace_devfreq::gpu::GpuNode;
use jetpace_devfreq::guard::{Guard, Store};
use jetpace_devfreq::nodes::Nodes;
use jetpace_tables::governor::trace::Fault;
use jetpace_tables::governor::{Governor, State};
use jetpace_tables::hw::{BlockRunner, GpuClock, PowerOf, Timer};
use jetpace_tables::table::Table;
use jetpace_tables::units::{Hertz, Microjoules, Nanos};
use jetpace_tables::work::ClockIndex;

use crate::dry_run::DryRun;
use crate::emc;
use crate::failure::{Failure, Reason};
use crate::files::table::Kept;
use crate::runtime::control::Schedule;
use crate::runtime::follow::Follow;
use crate::runtime::open;
use crate::runtime::writer::{Asked, Writer};
use crate::session::frames::{Course, Frame, Policy, Starts};

/// Who has the clock during a session.
#[derive(Clone, Copy, Debug)]
pub enum Drive<'a> {
    /// The governor follows a table.
    Table(&'a Table),
    /// One clock for everything.
    Fixed(ClockIndex),
    /// The stock governor.
    Stock,
}

/// What a session measures its energy with.
pub trait Meter {
    /// Called while the GPU works; when it wants to be called next.
    fn sample(&mut self, now: Nanos) -> Option<Nanos>;

    /// Energy since the session's counted part began; `None` where no rail tells.
    fn energy(&mut self) -> Option<Microjoules>;

    /// Whose energy that is.
    fn power_of(&self) -> PowerOf {
        PowerOf::Module
    }

    /// The counted part begins.
    fn restart(&mut self);
}

/// What came of a session.
#[derive(Clone, Debug)]
pub struct Summary {
    /// Counted frames.
    pub frames: u64,
    /// Those that ended behind the deadline.
    pub missed: u64,
    /// Energy over all counted frames and the gaps behind them.
    pub energy: Option<Microjoules>,
    /// Whose energy that is.
    pub power_of: PowerOf,
    /// Changes of the clock written.
    pub switches: u64,
    /// Every counted frame's time, ascending.
    pub times: Vec<Nanos>,
    /// Why the governor handed the clock to the stock governor, where it did for good.
    pub handed_back: Option<Fault>,
    /// By what share frames took longer than the table says at the end, for long; negative: shorter; zero: as it says.
    pub drift: f64,
}

impl Summary {
    /// With how the governor ended.
    fn governed<T: Deref<Target = Table>>(self, governor: &Governor<T>) -> Self {
        let handed_back = match governor.state() {
            State::HandedBack(why) => Some(why),
            _ => None,
        };
        Self { handed_back, drift: governor.drift().share(), ..self }
    }

    /// The share of frames that missed.
    pub fn miss_rate(&self) -> f64 {
        self.missed as f64 / self.frames.max(1) as f64
    }

    /// The time that a share of the frames did not exceed.
    pub fn quantile(&self, share: f64) -> Nanos {
        let rank = (share * self.times.len() as f64).ceil() as usize;
        self.times.get(rank.saturating_sub(1)).copied().unwrap_or(Nanos::ZERO)
    }
}

/// Frames that run before counting begins, at least: a governor that starts cold is not what a session is about.
const WARM_UP_FRAMES: u64 = 5;
/// And for at least this long.
const WARM_UP: Nanos = Nanos::from_millis(500);

/// Between two looks at whether the table still holds.
const LOOK: Nanos = Nanos::from_millis(1000);

/// A board with everything that a session needs.
#[derive(Debug)]
pub struct Machine<N, R, T, M> {
    /// Its nodes.
    pub nodes: N,
    /// What was found on it; `None` on a machine whose GPU has no clock to set: there blocks are timed and no more.
    pub board: Option<Board>,
    /// Runs the network's blocks.
    pub runner: R,
    /// Its clock on the wall.
    pub timer: T,
    /// Its energy meter.
    pub meter: M,
}

impl<N, R, T, M> Machine<N, R, T, M>
where
    N: Nodes + Store + Clone,
    R: BlockRunner,
    T: Timer + Clone,
    M: Meter,
{
    /// Runs a course's frames behind a warm-up, which the timer paces, and gives each to `done`. The clocks are restored
    /// when it returns, however it does.
    pub fn run(
        &mut self,
        drive: Drive<'_>,
        course: Course<'_>,
        done: impl FnMut(&Frame) -> Result<(), Failure>,
    ) -> Result<Summary, Failure> {
        let clock = match drive {
            Drive::Stock => return self.count(&mut Untouched, &mut Policy::Held, course, |_| true, done),
            Drive::Fixed(clock) => Some(clock),
            Drive::Table(_) => None,
        };
        let board = self.board.clone().ok_or_else(|| {
            Failure::new(Reason::Unsupported, "this machine's GPU has no devfreq node, so its clock cannot be set")
        })?;
        let mut governor = match drive {
            Drive::Table(table) => {
                emc::check(&self.nodes, &board, table)?;
                Some(Governor::new(table))
            }
            Drive::Fixed(_) | Drive::Stock => None,
        };
        let (guard, _) = Guard::take(self.nodes.clone())?;
        let mut held = GpuNode::open(self.nodes.clone(), self.timer.clone(), &board, &guard, None)?;
        if let Some(clock) = clock {
            held.pin(clock)?;
        }
        let (nodes, mut next) = (self.nodes.clone(), Nanos::ZERO);
        let holds = |now: Nanos| {
            let Drive::Table(table) = drive else { return true };
            if now < next {
                return true;
            }
            next = now.saturating_add(LOOK);
            let found = emc::check(&nodes, &board, table);
            if let Err(failure) = &found {
                log::warn!("{failure}; the stock governor has the clock from here on");
            }
            found.is_ok()
        };
        let mut policy = governor.as_mut().map_or(Policy::Held, Policy::Table);
        let summary = self.count(&mut held, &mut policy, course, holds, done);
        drop(held);
        guard.restore()?;
        let summary = summary?;
        Ok(governor.iter().fold(summary, Summary::governed))
    }

    /// Runs a course as [`Self::run`] does, at the clocks of a table (and of those that take its file's place) that the
    /// runtime follows with its own threads, and that `jetpace status` and `trace` find at `socket`. For a machine whose time is everybody's, which a virtual
    /// board's is not.
    ///
    /// # Errors
    /// As [`Self::run`], and where the threads' schedule is not allowed.
    pub fn follow(
        &mut self,
        (table, kept): (&Table, Option<Kept>),
        (asked, schedule): (Asked, Schedule),
        socket: &Path,
        course: Course<'_>,
        done: impl FnMut(&Frame) -> Result<(), Failure>,
    ) -> Result<(Summary, Writer), Failure>
    where
        N: Send + Sync + 'static,
        N::Handle: Send,
        N::Lock: Send + Sync,
        T: Send + 'static,
    {
        if let Some(board) = &self.board {
            emc::check(&self.nodes, board, table)?;
        }
        let (mut clock, board) = open::take(self.nodes.clone(), self.timer.clone(), None)?;
        crate::files::table::check(table, &board)?;
        let writer = match Writer::choose(asked, table) {
            Some(writer) => writer,
            None => Writer::by_cost(clock.write_cost()?),
        };
        let (table, clocks) = (Box::new(table.clone()), clock.clocks().to_vec());
        let follow = Follow::start(table, clock, writer, schedule).map_err(|e| refused(schedule, &e))?;
        let mut follow = follow.keeping_to(kept);
        // Not all of the process's memory, as CUDA's is part of it.
        follow.lock_in_memory();
        let watch = follow.watched_at(socket, clocks);
        if let Err(e) = &watch {
            log::warn!("{}: {e}; `jetpace status` cannot look at this run", socket.display());
        }
        let summary = self.count(&mut Untouched, &mut Policy::Runtime(&mut follow), course, |_| true, done);
        let summary = summary.map(|summary| summary.governed(follow.governor()));
        // First, as with the clock the next daemon gets the socket's place.
        drop(watch);
        follow.stop()?;
        summary.map(|summary| (summary, writer))
    }

    /// What [`Self::run`] would write, in order; writes nothing. The blocks take the time that they take at the clock
    /// which the stock governor gives them meanwhile.
    ///
    /// # Errors
    /// As [`Self::run`].
    pub fn dry_run(self, drive: Drive<'_>, course: Course<'_>) -> Result<String, Failure> {
        let devfreq = self.board.as_ref().map(|board| board.gpu.devfreq.clone()).unwrap_or_default();
        let nodes = DryRun::new(self.nodes, &devfreq);
        let Self { board, runner, timer, meter, .. } = self;
        if matches!(drive, Drive::Stock) {
            nodes.comment("the stock governor decides: nothing is written");
            return Ok(nodes.text());
        }
        nodes.comment("which way of fixing the clock works, then frames to warm up");
        let mut machine = Machine { nodes: nodes.clone(), board, runner, timer, meter };
        machine.run(drive, course, |frame| {
            nodes.comment(&format!("frame {} has ended", frame.index + 1));
            Ok(())
        })?;
        Ok(nodes.text())
    }

    fn count<G: GpuClock>(
        &mut self,
        gpu: &mut G,
        policy: &mut Policy<'_, '_>,
        course: Course<'_>,
        mut holds: impl FnMut(Nanos) -> bool,
        mut done: impl FnMut(&Frame) -> Result<(), Failure>,
    ) -> Result<Summary, Failure> {
        let Course { pace, sizes, stop, .. } = course;
        let frames = WARM_UP_FRAMES.max(WARM_UP.get().div_ceil(pace.period.get().max(1)));
        let warm_up = Course { frames, pace, starts: Starts::Timer, sizes, stop };
        let on = (&mut *gpu, &mut self.runner, &mut self.timer);
        frames::run(on, warm_up, policy, |_| None, &mut holds, |_| Ok(()))?;

        self.meter.restart();
        let mut summary = Summary {
            frames: 0,
            missed: 0,
            energy: None,
            power_of: self.meter.power_of(),
            switches: 0,
            times: Vec::new(),
            handed_back: None,
            drift: 0.0,
        };
        let on = (gpu, &mut self.runner, &mut self.timer);
        let meter = &mut self.meter;
        frames::run(
            on,
            course,
            policy,
            |now| meter.sample(now),
            holds,
            |frame| {
                summary.frames += 1;
                summary.missed += u64::from(frame.missed);
                summary.switches += u64::from(frame.switches);
                summary.times.push(frame.time);
                done(frame)
            },
        )?;
        summary.energy = self.meter.energy();
        summary.times.sort_unstable();
        Ok(summary)
    }
}

/// The control thread does not start.
fn refused(schedule: Schedule, error: &std::io::Error) -> Failure {
    let reason = match error.kind() {
        std::io::ErrorKind::PermissionDenied => Reason::Permission,
        _ => Reason::Usage,
    };
    let asked = |name: &str, value: Option<usize>| value.map(|value| format!(" {name} {value}")).unwrap_or_default();
    let asked = asked("--fifo", schedule.fifo.map(usize::from)) + &asked("--cpu", schedule.cpu);
    let remedy = "SCHED_FIFO needs root or CAP_SYS_NICE, and the CPU must be one of this machine's";
    Failure::new(reason, format_args!("the control thread cannot run with{asked}: {error}; {remedy}"))
}

/// The clock of a session under the stock governor: nobody sets it.
#[derive(Debug)]
pub(crate) struct Untouched;

impl GpuClock for Untouched {
    type Error = std::convert::Infallible;

    fn clocks(&self) -> &[Hertz] {
        &[]
    }

    fn set(&mut self, _: ClockIndex) -> Result<(), Self::Error> {
        Ok(())
    }

    fn pin(&mut self, _: ClockIndex) -> Result<Hertz, Self::Error> {
        Ok(Hertz::ZERO)
    }

    fn current(&mut self) -> Result<Hertz, Self::Error> {
        Ok(Hertz::ZERO)
    }

    fn release(&mut self) -> Result<(), Self::Error> {
        Ok(())
    }
}

#[cfg(all(test, feature = "sim"))]
mod tests {
    use std::os::unix::net::UnixDatagram;

    use jetpace_devfreq::sim::tree::Tree;
    use jetpace_devfreq::timer::Monotonic;
    use jetpace_tables::table::TableClock;
    use jetpace_tables::work::{BlockId, Size};

    use super::*;
    use crate::runtime::remote;
    use crate::runtime::wire::Request;
    use crate::session::frames::Pace;
    use crate::session::triggers::{Source, Triggers};
    use crate::signals::Stop;

    /// Two blocks that take as good as no time.
    struct Blocks;

    impl BlockRunner for Blocks {
        type Error = std::convert::Infallible;

        fn blocks(&self) -> usize {
            2
        }

        fn name(&self, _: BlockId) -> &str {
            "a block"
        }

        fn run(
            &mut self,
            _: BlockId,
            _: Size,
            times: &mut [Nanos],
            meanwhile: &mut impl FnMut(Nanos) -> Option<Nanos>,
        ) -> Result<(), Self::Error> {
            meanwhile(Nanos::ZERO);
            times.fill(Nanos::new(1));
            Ok(())
        }
    }

    struct Unmetered;

    impl Meter for Unmetered {
        fn sample(&mut self, _: Nanos) -> Option<Nanos> {
            None
        }

        fn energy(&mut self) -> Option<Microjoules> {
            None
        }

        fn restart(&mut self) {}
    }

    #[test]
    fn the_runtime_follows_with_either_writer_and_leaves_no_trace() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/boards/orin-nano-8gb-super-r36.4");
        let pace = Pace { deadline: Nanos::from_millis(50), period: Nanos::from_millis(50) };
        let stop = Stop::install().unwrap();
        let short = Nanos::from_micros(2);
        for (asked, write_time, expected) in [
            (None, short, Writer::Inline),
            (None, Nanos::from_millis(1), Writer::Thread),
            (Some(Writer::Thread), short, Writer::Thread),
            (Some(Writer::Inline), Nanos::from_millis(1), Writer::Inline),
        ] {
            let nodes = Tree::load(&folder).unwrap();
            let before = nodes.settings();
            let board = Board::discover(&nodes).unwrap();
            let clock =
                |i: usize| TableClock { index: ClockIndex(i as u8), clock: board.gpu.clocks[i], relative_time: 1 };
            let wanted = [("a", ClockIndex(2)), ("b", ClockIndex(3))];
            let clocks: Vec<_> = (0..4).map(clock).collect();
            let pair = (pace.deadline, pace.period);
            let table = Table::plain(board.digest_bytes(), &clocks, &wanted, pair, Nanos::ZERO).unwrap();
            let table = table.with_write_time(write_time);
            let mut machine = Machine {
                nodes: nodes.clone(),
                board: Some(board),
                runner: Blocks,
                timer: Monotonic::new(),
                meter: Unmetered,
            };
            let here = tempfile::tempdir().unwrap();
            let socket = here.path().join("jetpace.sock");
            // By the timer and by triggers; those that have come are frames one behind the other.
            let camera = here.path().join("camera");
            let mut triggers = asked.map(|_| Triggers::open(&Source::Socket(camera.clone())).unwrap());
            if triggers.is_some() {
                let sender = UnixDatagram::unbound().unwrap();
                (0..5).for_each(|_| _ = sender.send_to(b"", &camera).unwrap());
            }
            let starts = triggers.as_mut().map_or(Starts::Timer, Starts::Triggers);
            let course = Course { frames: 5, pace, starts, sizes: &[], stop: &stop };
            let look = |request: &Request| -> serde_json::Value {
                serde_json::from_slice(&remote::document(&socket, request).unwrap()).unwrap()
            };
            let (mut switches, mut looks) = (0, Vec::new());
            let (ours, writer) = machine
                .follow((&table, None), (Asked(asked), Schedule::default()), &socket, course, |frame| {
                    switches += frame.switches;
                    looks.push([Request::Status, Request::Trace { client: 0, from: 0 }].map(|request| look(&request)));
                    Ok(())
                })
                .unwrap();
            // Seen from outside while it ran, and gone with it.
            let [status, trace] = looks.last().unwrap();
            let (client, events) = (&status["clients"][0], trace["events"].as_array().unwrap());
            assert!(client["frames"].as_u64() > looks[0][0]["clients"][0]["frames"].as_u64(), "{looks:?}");
            assert_eq!((&client["writer"], &client["state"]), (&writer.text().into(), &"following".into()), "{status}");
            assert!([510_000_000u64, 612_000_000].map(Into::into).contains(&status["clock_hz"]), "{status}");
            assert_eq!(events.len() as u64, client["events"].as_u64().unwrap().min(256), "{status}");
            assert!(events.iter().any(|event| event["event"] == "block" && event["clock"] == 3), "{trace}");
            assert_eq!(remote::dial(&socket).unwrap_err().kind(), std::io::ErrorKind::NotFound);
            assert_eq!(writer, expected, "{asked:?}, {write_time}");
            // To the first block's clock behind every frame, and to the second's in it.
            assert_eq!((ours.frames, switches), (5, 10));
            let log = nodes.log();
            let of_table = log.iter().filter(|write| ["510000000", "612000000"].contains(&&*write.text)).count();
            // The control thread may take the next wish before it has written the last, and an inline write is left to it
            // while it looks at the board.
            assert!(of_table >= 1, "{log:?}");
            assert_eq!(nodes.settings(), before);
        }
    }

    #[test]
    fn a_schedule_that_is_refused_says_so() {
        let schedule = Schedule { fifo: Some(50), cpu: Some(7) };
        let failure = refused(schedule, &std::io::Error::from_raw_os_error(libc::EPERM));
        assert_eq!(failure.reason(), Reason::Permission);
        assert!(failure.to_string().contains("--fifo 50 --cpu 7: Operation not permitted"), "{failure}");
    }
}
