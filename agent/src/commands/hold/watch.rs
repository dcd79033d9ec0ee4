//! What `hold` does while the command runs.

use std::thread;

use jetpace_devfreq::Error;
use jetpace_devfreq::timer::Monotonic;
use jetpace_tables::hw::Timer;
use jetpace_tables::units::Nanos;
use jetpace_tables::work::ClockIndex;

use super::LOOK_EVERY;
use super::events::Events;
use super::fps::Keeper;
use super::holder::Holder;
use super::lost::Lost;
use super::running::Running;
use crate::failure::Failure;
use crate::signals::Stop;

/// How long a command that was told to stop may take before the clocks are put back without it.
const GRACE: Nanos = Nanos::from_millis(5_000);

/// Says which clock is to be held, and sets it, by what the command has told: its lines and events.
type Choose<'a, H> = &'a mut dyn FnMut(&mut H, u64, Option<&mut Events>) -> Result<ClockIndex, Error>;

/// A command at work and the clock that is held for it.
pub struct Watch<'a, H> {
    pub held: &'a mut H,
    pub command: Running,
    /// The clock that is held, at first the one to start with.
    pub wanted: ClockIndex,
    pub events: Option<Events>,
    pub stop: &'a Stop,
    /// Where a frame rate is to be kept.
    pub keeper: Option<Keeper>,
    /// Whether it was told already that heat holds the clock down.
    pub warned: bool,
}

impl<H: Holder> Watch<'_, H> {
    /// Holds the clock until the command has ended; `choose` says which, where it is neither the one to start with nor the
    /// rate's.
    ///
    /// # Errors
    /// Where the clock was not held to the end, and where the command failed.
    pub fn until_it_ends(mut self, mut choose: Option<Choose<'_, H>>) -> Result<(), Failure> {
        let timer = Monotonic::new();
        let mut told = None;
        let mut lost = Lost::default();
        let mut hot: Option<(String, Nanos)> = None;
        loop {
            let ended = self.command.ended()?;
            if let Some(events) = &mut self.events {
                events.look(self.held.within_cap(self.wanted));
            }
            if let Some(status) = ended {
                self.command.drain();
                // What it told last.
                if let Some(choose) = &mut choose
                    && let Err(e) = choose(self.held, self.command.lines(), self.events.as_mut())
                {
                    lost.count(&e);
                }
                return self.command.judge(status, self.stop).and_then(|()| lost.judge());
            }
            for signal in self.stop.to_pass_on() {
                self.command.tell(signal);
            }
            let now = timer.now();
            match (self.stop.signal(), told) {
                (Some(signal), None) => {
                    self.command.tell(signal);
                    told = Some(now);
                }
                (_, Some(at)) if now.saturating_sub(at) > GRACE => return lost.judge(),
                _ => {}
            }
            match self.held.look() {
                Ok(Some((from, to))) => {
                    log::warn!("the cap went from {from} to {to}");
                    self.held.hold(self.wanted)?;
                }
                Ok(None) => {}
                Err(e) => lost.count(&e),
            }
            let now_hot = self.held.held_down();
            match (&now_hot, &hot) {
                // Told before the clock was taken.
                (Some(_), None) if std::mem::take(&mut self.warned) => {}
                (Some((by, time)), before) if before.as_ref().is_none_or(|(before, _)| before != by) => {
                    log::warn!("held down now by {by}, for {}", seconds(*time));
                }
                (None, Some((by, time))) => log::warn!("no longer held down by {by}, after {}", seconds(*time)),
                _ => {}
            }
            hot = now_hot;
            let lines = self.command.lines();
            if let Some(choose) = &mut choose {
                match choose(self.held, lines, self.events.as_mut()) {
                    Ok(clock) => self.wanted = clock,
                    Err(e) => lost.count(&e),
                }
            }
            if let Some(keeper) = &mut self.keeper
                && let Some(clock) = keeper.look(now, self.held, lines, self.events.as_ref())?
            {
                self.wanted = clock;
            }
            thread::sleep(LOOK_EVERY);
        }
    }
}

/// How long something has lasted, to the second.
fn seconds(time: Nanos) -> String {
    format!("{} s", time.get() / 1_000_000_000)
}
