//! Who holds the clock while the command runs: this process, or the daemon for it.

use jetpace_devfreq::gpu::{Changed, GpuNode};
use jetpace_devfreq::guard::Store;
use jetpace_devfreq::nodes::Nodes;
use jetpace_tables::hw::{GpuClock, Timer};
use jetpace_tables::units::{Hertz, Nanos};
use jetpace_tables::work::ClockIndex;

use crate::failure::Failure;

/// A clock that is held.
pub trait Holder {
    /// Holds a clock, or the cap where that is lower, and waits until it runs; which one does.
    ///
    /// # Errors
    /// Where it does not come about.
    fn hold(&mut self, clock: ClockIndex) -> Result<Hertz, Failure>;

    /// Looks whether it is still held, and obeys what someone else has changed: the cap, before and now.
    ///
    /// # Errors
    /// Where that cannot be told, or is not so.
    fn look(&mut self) -> Result<Option<(Hertz, Hertz)>, Failure>;

    /// The highest clock that is held now.
    fn cap(&self) -> ClockIndex;

    /// The clocks that there are.
    fn clocks(&self) -> &[Hertz];

    /// What holds the clock down now by heat or over-current, and for how long it was seen to.
    fn held_down(&self) -> Option<(String, Nanos)>;

    /// What runs where a clock is asked for: that one, or the cap.
    fn within_cap(&self, clock: ClockIndex) -> Hertz {
        self.clocks().get(clock.min(self.cap()).index()).copied().unwrap_or_default()
    }
}

impl<N: Nodes + Store + Clone, T: Timer> Holder for GpuNode<N, T> {
    fn hold(&mut self, clock: ClockIndex) -> Result<Hertz, Failure> {
        Ok(self.pin(clock)?)
    }

    fn look(&mut self) -> Result<Option<(Hertz, Hertz)>, Failure> {
        match self.watch()? {
            Some(Changed::Cap { from, to }) => Ok(Some((from, to))),
            Some(Changed::Governor) | None => Ok(None),
        }
    }

    fn cap(&self) -> ClockIndex {
        GpuNode::cap(self)
    }

    fn clocks(&self) -> &[Hertz] {
        GpuClock::clocks(self)
    }

    fn held_down(&self) -> Option<(String, Nanos)> {
        self.heat().map(|heat| (heat.by.clone(), self.now().saturating_sub(heat.since)))
    }
}
