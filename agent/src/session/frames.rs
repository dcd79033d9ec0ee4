//! Frames: a network's blocks run at the pace of a camera or a control loop, at the clocks that a policy chooses.

use jetpace_tables::governor::{Action, AtOnce, Governor, Scheduled};
use jetpace_tables::hw::{BlockRunner, GpuClock, Timer};
use jetpace_tables::table::Table;
use jetpace_tables::units::Nanos;
use jetpace_tables::work::{BlockId, ClockIndex};

use crate::failure::Failure;
use crate::runtime::control::WatchedClock;
use crate::runtime::follow::Follow;
use crate::runtime::page::What;
use crate::session::sizes::{self, SizeShare};
use crate::session::triggers::{Next, Triggers};
use crate::signals::Stop;

/// When a frame starts and when it must be done.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// Latest end of a frame, counted from its start.
    pub deadline: Nanos,
    /// Time between frame starts.
    pub period: Nanos,
}

/// Who decides on the clock.
pub enum Policy<'a, 't> {
    /// The governor follows a table, on the timer of these frames.
    Table(&'a mut Governor<&'t Table>),
    /// The runtime follows one, with its own threads: on a machine whose time is everybody's.
    Runtime(&'a mut dyn Boundaries),
    /// Nobody here: the stock governor, or a clock pinned before.
    Held,
}

/// The runtime as frames see it.
pub trait Boundaries {
    /// Something happens now.
    fn tell(&mut self, what: What);
    /// Changes of the clock asked for so far.
    fn switches(&self) -> u64;
}

impl<C: WatchedClock + Send + 'static> Boundaries for Follow<C> {
    fn tell(&mut self, what: What) {
        Self::tell(self, what);
    }

    fn switches(&self) -> u64 {
        self.governor().counters().writes
    }
}

impl<'t> Policy<'_, 't> {
    fn ask(&mut self, event: impl FnOnce(&mut Governor<&'t Table>) -> Action) -> Action {
        match self {
            Self::Table(governor) => event(governor),
            Self::Runtime(_) | Self::Held => Action::Hold,
        }
    }
}

/// One frame that ran.
#[derive(Clone, Copy, Debug)]
pub struct Frame {
    /// Its number, from 0.
    pub index: u64,
    /// When it started.
    pub start: Nanos,
    /// From its start to the end of its last block.
    pub time: Nanos,
    /// Whether that was after the deadline.
    pub missed: bool,
    /// Changes of the clock written during it and the gap behind the frame before.
    pub switches: u32,
}

/// What starts a frame.
#[derive(Debug)]
pub enum Starts<'a> {
    /// The timer: a period after the frame before, or at once where that one took longer.
    Timer,
    /// A trigger, when it comes.
    Triggers(&'a mut Triggers),
    /// A trigger on a virtual board, whose time stands still until it comes: at the time that it says, else a period
    /// after the frame before.
    Replay(&'a mut Triggers),
}

/// Which frames run.
#[derive(Debug)]
pub struct Course<'a> {
    /// How many at most.
    pub frames: u64,
    /// When they must be done.
    pub pace: Pace,
    /// What starts them.
    pub starts: Starts<'a>,
    /// How large they are, and how often; of size 1 where there is none.
    pub sizes: &'a [SizeShare],
    /// Ends the course early, after a whole frame.
    pub stop: &'a Stop,
}

/// Runs frames and gives each to `done`.
///
/// `meanwhile` is called at the times that it asks for, to sample rails; `holds` behind every frame, to say whether the
/// table still holds: where it does not, the governor hands the clock back.
pub fn run<G, R, T>(
    (gpu, runner, timer): (&mut G, &mut R, &mut T),
    course: Course<'_>,
    policy: &mut Policy<'_, '_>,
    meanwhile: impl FnMut(Nanos) -> Option<Nanos>,
    mut holds: impl FnMut(Nanos) -> bool,
    mut done: impl FnMut(&Frame) -> Result<(), Failure>,
) -> Result<(), Failure>
where
    G: GpuClock,
    R: BlockRunner,
    T: Timer,
{
    let Course { frames, pace, mut starts, sizes, stop } = course;
    let origin = timer.now();
    let mut writes = Writes { gpu, policy, scheduled: Scheduled::default(), count: 0, counted: 0 };
    writes.take_count();
    let mut shell = Shell { writes, meanwhile, sample_at: Some(origin), silent_at: None, pace };
    shell.act(origin)?;
    let mut earliest_start = origin;
    for index in 0..frames {
        let start = match &mut starts {
            Starts::Timer => (stop.signal().is_none()).then_some(earliest_start),
            Starts::Triggers(triggers) => shell.await_trigger(triggers, timer, stop)?,
            Starts::Replay(triggers) => match triggers.next(None, stop)? {
                Next::Trigger(None) => Some(earliest_start),
                // A frame does not start before the one before has ended.
                Next::Trigger(Some(at)) => Some(origin.saturating_add(at).max(timer.now())),
                Next::Nothing | Next::End => {
                    shell.pass(timer, earliest_start)?;
                    None
                }
            },
        };
        let Some(start) = start else { break };
        shell.pass(timer, start)?;
        shell.tell(start, What::FrameStart)?;
        let size = sizes::of_frame(sizes, index);
        for block in 0..runner.blocks() {
            let block = BlockId(block as u16);
            let now = timer.now();
            shell.tell(now, What::BlockStart(block, size))?;
            let mut failed = Ok(());
            let ran = runner.run(block, size, &mut [Nanos::ZERO], &mut |now| {
                if let Err(error) = shell.act(now) {
                    failed = Err(error);
                }
                shell.due_at()
            });
            ran.map_err(Failure::failed)?;
            failed?;
        }
        let end = timer.now();
        shell.tell(end, What::FrameEnd)?;
        if !holds(end) {
            shell.writes.tell(end, |governor| governor.stale(end))?;
        }
        let time = end.saturating_sub(start);
        let switches = shell.writes.take_count();
        done(&Frame { index, start, time, missed: time > pace.deadline, switches })?;
        earliest_start = start.saturating_add(pace.period).max(end);
        // The gap behind a frame is a part of it, also of the last.
        if matches!(starts, Starts::Timer) || index + 1 == frames {
            shell.pass(timer, earliest_start)?;
        }
    }
    Ok(())
}

/// What goes on beside the blocks: writes that are due, samples, and the watch over silence.
struct Shell<'a, 'p, 't, G: GpuClock, M> {
    writes: Writes<'a, 'p, 't, G>,
    meanwhile: M,
    sample_at: Option<Nanos>,
    silent_at: Option<Nanos>,
    pace: Pace,
}

impl<'t, G: GpuClock, M: FnMut(Nanos) -> Option<Nanos>> Shell<'_, '_, 't, G, M> {
    /// Tells the policy what happens.
    fn tell(&mut self, now: Nanos, what: What) -> Result<(), Failure> {
        // After three periods without an event the governor hands the GPU back.
        self.silent_at = Some(now.saturating_add(Nanos::new(self.pace.period.get().saturating_mul(3))));
        if let Policy::Runtime(runtime) = self.writes.policy {
            runtime.tell(what);
            return Ok(());
        }
        self.writes.tell(now, |governor| match what {
            What::FrameStart => governor.frame_start(now),
            What::BlockStart(block, size) => governor.block_start(block, size, now),
            What::FrameEnd => governor.frame_end(now),
            What::BlockAgain(_) | What::Took(..) => Action::Hold,
        })
    }

    /// When [`Self::act`] is to be called next.
    fn due_at(&self) -> Option<Nanos> {
        earliest(earliest(self.writes.due_at(), self.sample_at), self.silent_at)
    }

    /// Does what is due.
    fn act(&mut self, now: Nanos) -> Result<(), Failure> {
        self.writes.write_due(now)?;
        if self.sample_at.is_some_and(|at| at <= now) {
            self.sample_at = (self.meanwhile)(now);
        }
        match self.silent_at.take_if(|at| *at <= now) {
            Some(_) => self.writes.tell(now, |governor| governor.tick(now)),
            None => Ok(()),
        }
    }

    /// Lets time pass.
    fn pass(&mut self, timer: &mut impl Timer, until: Nanos) -> Result<(), Failure> {
        while let Some(at) = self.due_at().filter(|at| *at < until) {
            timer.sleep_until(at);
            self.act(timer.now())?;
        }
        timer.sleep_until(until);
        Ok(())
    }

    /// Waits for a trigger; when it came, or `None` where none will come any more.
    fn await_trigger(
        &mut self,
        triggers: &mut Triggers,
        timer: &impl Timer,
        stop: &Stop,
    ) -> Result<Option<Nanos>, Failure> {
        loop {
            let now = timer.now();
            self.act(now)?;
            match triggers.next(self.due_at().map(|at| at.saturating_sub(now)), stop)? {
                Next::Trigger(None) => return Ok(Some(timer.now())),
                Next::Trigger(Some(at)) => {
                    return Err(Failure::usage(format_args!(
                        "a trigger says {at}: times are for virtual boards; here it comes when it comes"
                    )));
                }
                Next::Nothing if stop.signal().is_none() => {}
                Next::Nothing | Next::End => return Ok(None),
            }
        }
    }
}

fn earliest(a: Option<Nanos>, b: Option<Nanos>) -> Option<Nanos> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (one, other) => one.or(other),
    }
}

/// Carries out what the policy decides: writes at once, or when they are due.
struct Writes<'a, 'p, 't, G: GpuClock> {
    gpu: &'a mut G,
    policy: &'a mut Policy<'p, 't>,
    scheduled: Scheduled,
    count: u32,
    /// What the runtime had counted when last asked.
    counted: u64,
}

impl<'t, G: GpuClock> Writes<'_, '_, 't, G> {
    fn tell(&mut self, now: Nanos, event: impl FnOnce(&mut Governor<&'t Table>) -> Action) -> Result<(), Failure> {
        let action = self.policy.ask(event);
        self.carry_out(action, now)
    }

    fn carry_out(&mut self, action: Action, now: Nanos) -> Result<(), Failure> {
        match self.scheduled.take(action) {
            AtOnce::Nothing => Ok(()),
            AtOnce::Set(clock) => self.write(clock, now),
            AtOnce::Release => {
                // The guard puts back at the end what could not be now, or says so.
                if let Err(error) = self.gpu.release() {
                    log::warn!("{error}");
                }
                Ok(())
            }
            // These frames' board is not watched, so no table becomes stale on it.
            AtOnce::Look => Ok(()),
        }
    }

    /// Changes since last asked.
    fn take_count(&mut self) -> u32 {
        if let Policy::Runtime(runtime) = self.policy {
            let before = std::mem::replace(&mut self.counted, runtime.switches());
            return (self.counted - before) as u32;
        }
        std::mem::take(&mut self.count)
    }

    fn due_at(&self) -> Option<Nanos> {
        self.scheduled.at()
    }

    fn write_due(&mut self, now: Nanos) -> Result<(), Failure> {
        match self.scheduled.take_due(now) {
            Some(clock) => self.write(clock, now),
            None => Ok(()),
        }
    }

    /// One write; what the governor answers to a refused one is carried out, too.
    fn write(&mut self, clock: ClockIndex, now: Nanos) -> Result<(), Failure> {
        self.count += 1;
        match self.gpu.set(clock) {
            Ok(()) => {
                if let Policy::Table(governor) = self.policy {
                    governor.write_done();
                }
                Ok(())
            }
            Err(error) => {
                log::warn!("{error}");
                let action = self.policy.ask(|governor| governor.write_failed(now));
                // Ends after a few rounds: the governor hands the GPU back when writes keep being refused.
                self.carry_out(action, now)
            }
        }
    }
}
