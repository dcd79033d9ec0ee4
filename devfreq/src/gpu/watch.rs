//! The cap and the governor, watched beside the hot path: nvpmodel, jetson_clocks, jtop and cooling devices change them.

use jetpace_tables::hw::{GpuClock, Timer};
use jetpace_tables::units::Hertz;
use jetpace_tables::work::ClockIndex;

use super::GpuNode;
use crate::board::{highest_below, nvpmodel};
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
        let bound = text::bound(&self.nodes, &path)?;
        let throttled = thermal::gpu_throttled(&self.nodes, &self.cooling);
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

    /// The cap of nvpmodel's mode, where the mode is another than when last looked at.
    fn new_mode(&mut self) -> Option<Hertz> {
        let mode = nvpmodel::status(&self.nodes);
        if mode.is_empty() || mode == self.mode {
            return None;
        }
        self.mode = mode;
        let conf = nvpmodel::Conf::read(&self.nodes)?;
        conf.mode.as_ref()?.name.as_ref()?;
        Some(highest_below(&self.gpu.clocks, conf.gpu_max))
    }

    fn adopt_cap(&mut self, cap: Hertz) -> Result<(), Error> {
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
