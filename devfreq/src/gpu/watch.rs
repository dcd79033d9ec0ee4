//! The cap and the governor, watched beside the hot path: nvpmodel, jetson_clocks, jtop and cooling devices change them.

use std::path::Path;

use jetpace_tables::hw::{GpuClock, Timer};
use jetpace_tables::units::{Hertz, Nanos};
use jetpace_tables::work::ClockIndex;

use super::GpuNode;
use crate::board::{Bound, highest_below, nvpmodel};
use crate::error::Error;
use crate::guard::Store;
use crate::nodes::Nodes;
use crate::{text, thermal};

/// What someone else changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Changed {
    /// The cap; the clock was lowered at once where it lay above.
    Cap {
        /// Before.
        from: Hertz,
        /// Now.
        to: Hertz,
    },
    /// The governor, which was taken again.
    Governor,
}

/// What holds the clock down by heat or over-current.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heat {
    /// The cooling devices at work, with their states.
    pub by: String,
    /// When that was first seen.
    pub since: Nanos,
}

/// A cooling device may have lowered the bound and not yet its state: the kernel does it in this order.
const HEAT_SETTLES: Nanos = Nanos::from_millis(5);

impl<N: Nodes + Store + Clone, T: Timer> GpuNode<N, T> {
    /// Looks whether the cap or the governor changed, and obeys. To be called every few tens of milliseconds, off the
    /// hot path.
    ///
    /// # Errors
    /// Where the nodes cannot be read, or the new cap cannot be written.
    pub fn watch(&mut self) -> Result<Option<Changed>, Error> {
        if self.hold.is_some() && self.adopt_governor()? {
            let at = self.asked();
            self.engage()?;
            if let Some(at) = at {
                self.set(at)?;
            }
            return Ok(Some(Changed::Governor));
        }
        self.watch_cap()
    }

    fn watch_cap(&mut self) -> Result<Option<Changed>, Error> {
        let from = self.clock(self.cap)?;
        let path = self.gpu.node("max_freq");
        // Looked at before and after: whatever the bound reads in between, heat is not taken for someone's bound.
        let before = self.is_hot();
        let bound = text::bound(&self.nodes, &path)?;
        let throttled = (self.is_hot() || before) && self.gpu.shows_heat;
        let ours = match self.asked() {
            Some(at) if self.way.writes_bound() => Some(self.clock(at)?),
            _ => None,
        };
        if ours.is_some_and(|ours| bound == Some(ours))
            && let Some(hold) = &mut self.hold
        {
            hold.look_what_is_left(&self.digits);
        }
        let top = self.gpu.clocks.last().copied().unwrap_or(from);
        let bound = bound.unwrap_or(top).min(top);
        if let Some(cap) = self.new_mode() {
            // nvpmodel has acted; a hot write may have gone over its bound before we looked.
            self.adopt_cap(cap)?;
        }
        let cap = if throttled {
            // What a cooling device takes off is obeyed for as long as it lasts; it is not the cap.
            let untouched = ours.is_some_and(|ours| bound >= ours);
            if untouched { from.min(self.unthrottled) } else { bound.min(self.unthrottled) }
        } else if self.is_foreign(bound, ours) {
            if !self.is_still(&path, bound)? {
                return Ok(None);
            }
            self.adopt_cap(bound)?;
            bound
        } else {
            if ours.is_some_and(|ours| ours != bound) {
                // An older value of ours: the last write was taken and did nothing.
                self.write_again()?;
            }
            self.unthrottled
        };
        let to = highest_below(&self.gpu.clocks, Some(cap));
        if to == from {
            return Ok(None);
        }
        self.cap = self.index_below(to);
        // A bound that someone else wrote is no longer ours: the clock is written again, below it.
        if self.way.writes_bound() || self.asked().is_some_and(|at| at > self.cap) {
            self.write_again()?;
        }
        Ok(Some(Changed::Cap { from, to }))
    }

    /// Whether a cooling device holds the clock down, which is noted.
    fn is_hot(&mut self) -> bool {
        let active = thermal::active(&self.nodes, &self.cooling);
        let by: Vec<String> = active.iter().filter(|active| active.of_gpu).map(ToString::to_string).collect();
        let since = self.heat.as_ref().map_or_else(|| self.timer.now(), |heat| heat.since);
        self.heat = (!by.is_empty()).then(|| Heat { by: by.join(", "), since });
        self.heat.is_some()
    }

    /// Whether a bound that seems to be someone's is still there a little later, and is no cooling device's.
    fn is_still(&mut self, path: &Path, bound: Hertz) -> Result<bool, Error> {
        if self.cooling.is_empty() || !self.gpu.shows_heat {
            return Ok(true);
        }
        self.timer.sleep_until(self.timer.now().saturating_add(HEAT_SETTLES));
        let top = self.gpu.clocks.last().copied().unwrap_or(bound);
        let now = text::bound(&self.nodes, path)?.unwrap_or(top).min(top);
        Ok(now == bound && !self.is_hot())
    }

    /// The cap of nvpmodel's mode, where the mode is another than when last looked at.
    fn new_mode(&mut self) -> Option<Hertz> {
        let mode = nvpmodel::status(&self.nodes);
        if mode.is_empty() || mode == self.mode {
            return None;
        }
        self.mode = mode;
        self.mode_changes += 1;
        let mode = nvpmodel::mode(&self.nodes, &mut Vec::new()).filter(|mode| mode.applied)?;
        (mode.gpu_max != Bound::Unknown).then(|| highest_below(&self.gpu.clocks, mode.gpu_max.at()))
    }

    fn adopt_cap(&mut self, cap: Hertz) -> Result<(), Error> {
        let top = self.gpu.clocks.last().copied();
        self.user = if Some(cap) == top { Bound::Open } else { Bound::At(cap) };
        self.unthrottled = cap;
        self.guard.adopt(&self.gpu.node("max_freq"), &cap.get().to_string())
    }

    /// Whether someone else has set the bound. Where we write it, too: to a value that we never wrote.
    fn is_foreign(&self, bound: Hertz, ours: Option<Hertz>) -> bool {
        match (ours, &self.hold) {
            (Some(ours), Some(hold)) => {
                let listed = self.gpu.clocks.iter().position(|clock| *clock == bound);
                // At most 255 clocks are listed.
                ours != bound && !listed.is_some_and(|at| hold.has_written(ClockIndex(at as u8)))
            }
            // The bound found at start may be lower than the cap: a cooling device's, whose end is no news.
            _ => {
                highest_below(&self.gpu.clocks, Some(bound)) != highest_below(&self.gpu.clocks, Some(self.unthrottled))
            }
        }
    }

    fn write_again(&mut self) -> Result<(), Error> {
        if let (Some(at), Some(hold)) = (self.asked(), &mut self.hold) {
            hold.at = None;
            self.set(at)?;
        }
        Ok(())
    }
}
