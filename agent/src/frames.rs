//! Frames: a network's blocks run at the pace of a camera or a control loop, at the clocks that a policy chooses.

use jetpace_tables::governor::{Action, Governor};
use jetpace_tables::hw::{BlockRunner, GpuClock, Timer};
use jetpace_tables::table::Table;
use jetpace_tables::units::Nanos;
use jetpace_tables::work::{BlockId, ClockIndex, Size};

use crate::failure::Failure;
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
#[derive(Debug)]
pub enum Policy<'a, 't> {
    /// The governor follows a table.
    Table(&'a mut Governor<&'t Table>),
    /// Nobody here: the stock governor, or a clock pinned before.
    Held,
}

impl<'t> Policy<'_, 't> {
    fn ask(&mut self, event: impl FnOnce(&mut Governor<&'t Table>) -> Action) -> Action {
        match self {
            Self::Table(governor) => event(governor),
            Self::Held => Action::Hold,
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

/// Runs up to `frames` frames and gives each to `done`; ends early, after a whole frame, where `stop` is set.
///
/// `meanwhile` is called at the times that it asks for, to sample rails.
pub fn run<G, R, T>(
    (gpu, runner, timer): (&mut G, &mut R, &mut T),
    pace: Pace,
    frames: u64,
    policy: &mut Policy<'_, '_>,
    mut meanwhile: impl FnMut(Nanos) -> Option<Nanos>,
    stop: &Stop,
    mut done: impl FnMut(&Frame) -> Result<(), Failure>,
) -> Result<(), Failure>
where
    G: GpuClock,
    R: BlockRunner,
    T: Timer,
{
    let mut clock = Writes { gpu, policy, due: None, count: 0 };
    let mut start = timer.now();
    let mut sample_at = meanwhile(start);
    for index in 0..frames {
        if stop.signal().is_some() {
            break;
        }
        clock.tell(start, |governor| governor.frame_start(start))?;
        for block in 0..runner.blocks() {
            let block = BlockId(block as u16);
            let now = timer.now();
            clock.tell(now, |governor| governor.block_start(block, Size::default(), now))?;
            let mut failed = Ok(());
            let ran = runner.run(block, Size::default(), &mut [Nanos::ZERO], &mut |now| {
                if let Err(error) = clock.write_due(now) {
                    failed = Err(error);
                }
                if sample_at.is_some_and(|at| at <= now) {
                    sample_at = meanwhile(now);
                }
                earliest(clock.due_at(), sample_at)
            });
            ran.map_err(Failure::failed)?;
            failed?;
        }
        let end = timer.now();
        clock.tell(end, |governor| governor.frame_end(end))?;
        let time = end.saturating_sub(start);
        let switches = std::mem::take(&mut clock.count);
        done(&Frame { index, start, time, missed: time > pace.deadline, switches })?;

        // The next frame starts a period after this one, or at once where this one took longer.
        let next = start.saturating_add(pace.period).max(end);
        while let Some(at) = earliest(clock.due_at(), sample_at).filter(|at| *at < next) {
            timer.sleep_until(at);
            let now = timer.now();
            clock.write_due(now)?;
            if sample_at.is_some_and(|at| at <= now) {
                sample_at = meanwhile(now);
            }
        }
        timer.sleep_until(next);
        start = next;
    }
    Ok(())
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
    due: Option<(ClockIndex, Nanos)>,
    count: u32,
}

impl<'t, G: GpuClock> Writes<'_, '_, 't, G> {
    fn tell(&mut self, now: Nanos, event: impl FnOnce(&mut Governor<&'t Table>) -> Action) -> Result<(), Failure> {
        let action = self.policy.ask(event);
        self.carry_out(action, now)
    }

    fn carry_out(&mut self, action: Action, now: Nanos) -> Result<(), Failure> {
        if action != Action::Hold {
            self.due = None;
        }
        match action {
            Action::Hold => Ok(()),
            Action::Set(clock) => self.write(clock, now),
            Action::SetAt(clock, at) => {
                self.due = Some((clock, at));
                Ok(())
            }
            Action::SetThenAt(clock, then, at) => {
                self.write(clock, now)?;
                self.due = Some((then, at));
                Ok(())
            }
            Action::Release => self.gpu.release().map_err(Failure::failed),
        }
    }

    fn due_at(&self) -> Option<Nanos> {
        self.due.map(|(_, at)| at)
    }

    fn write_due(&mut self, now: Nanos) -> Result<(), Failure> {
        match self.due.take_if(|(_, at)| *at <= now) {
            Some((clock, _)) => self.write(clock, now),
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
