//! A session: frames on one board under one policy, and what came of it.

use jetpace_devfreq::board::Board;
use jetpace_devfreq::gpu::GpuNode;
use jetpace_devfreq::guard::{Guard, Leftover, Store};
use jetpace_devfreq::nodes::Nodes;
use jetpace_tables::governor::{Governor, State};
use jetpace_tables::hw::{BlockRunner, GpuClock, Timer};
use jetpace_tables::table::Table;
use jetpace_tables::trace::Fault;
use jetpace_tables::units::{Hertz, Microjoules, Nanos};
use jetpace_tables::work::ClockIndex;

use crate::dry_run::DryRun;
use crate::emc;
use crate::failure::{Failure, Reason};
use crate::frames::{self, Course, Frame, Policy, Starts};

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

    /// Energy of the module since the session's counted part began; `None` where no rail tells.
    fn energy(&mut self) -> Option<Microjoules>;

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
    /// Energy of the module over all counted frames and the gaps behind them.
    pub energy: Option<Microjoules>,
    /// Changes of the clock written.
    pub switches: u64,
    /// Every counted frame's time, ascending.
    pub times: Vec<Nanos>,
    /// Why the governor handed the clock to the stock governor, where it did for good.
    pub handed_back: Option<Fault>,
}

impl Summary {
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
        let (guard, leftover) = Guard::take(self.nodes.clone())?;
        if let Leftover::Restored(_) = leftover {
            log::warn!("an earlier instance was killed; its clocks were put back first");
        }
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
        let handed_back = match governor.map(|governor| governor.state()) {
            Some(State::HandedBack(why)) => Some(why),
            _ => None,
        };
        summary.map(|summary| Summary { handed_back, ..summary })
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
        let Course { pace, stop, .. } = course;
        let frames = WARM_UP_FRAMES.max(WARM_UP.get().div_ceil(pace.period.get().max(1)));
        let warm_up = Course { frames, pace, starts: Starts::Timer, stop };
        let on = (&mut *gpu, &mut self.runner, &mut self.timer);
        frames::run(on, warm_up, policy, |_| None, &mut holds, |_| Ok(()))?;

        self.meter.restart();
        let mut summary =
            Summary { frames: 0, missed: 0, energy: None, switches: 0, times: Vec::new(), handed_back: None };
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
