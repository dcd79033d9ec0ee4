//! The cap and the governor, watched beside the hot path: nvpmodel, jetson_clocks, jtop and cooling devices change them.

use jetpace_tables::hw::{GpuClock, Timer};
use jetpace_tables::units::Hertz;

use super::GpuNode;
use crate::board::highest_below;
use crate::error::Error;
use crate::guard::Store;
use crate::nodes::Nodes;
use crate::{text, thermal};

/// What someone else changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
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
    pub fn watch(&mut self) -> Result<Option<Change>, Error> {
        if self.hold.is_some() && self.adopt_governor()? {
            let at = self.asked();
            self.engage()?;
            if let Some(at) = at {
                self.set(at)?;
            }
            return Ok(Some(Change::Governor));
        }
        self.watch_cap()
    }

    fn watch_cap(&mut self) -> Result<Option<Change>, Error> {
        let from = self.clock(self.cap)?;
        let path = self.gpu.node("max_freq");
        let bound = text::bound(&self.nodes, &path)?;
        let throttled = thermal::gpu_throttled(&self.nodes, &self.cooling);
        let ours = match self.asked() {
            Some(at) if self.way.writes_bound() => Some(self.clock(at)?),
            _ => None,
        };
        let top = self.gpu.clocks.last().copied().unwrap_or(from);
        let bound = bound.unwrap_or(top).min(top);
        let cap = if throttled {
            // What a cooling device takes off is obeyed for as long as it lasts; it is not the cap.
            if ours.is_some_and(|ours| bound >= ours) {
                from.min(self.unthrottled)
            } else {
                bound.min(self.unthrottled)
            }
        } else {
            if ours != Some(bound) && self.bound_is_news(bound, ours) {
                self.unthrottled = bound;
                self.guard.adopt(&path, &bound.get().to_string())?;
            }
            self.unthrottled
        };
        let to = highest_below(&self.gpu.clocks, Some(cap));
        if to == from {
            return Ok(None);
        }
        self.cap = self.index_below(to);
        // A bound that someone else wrote is no longer ours: the clock is written again, below it.
        if let (Some(at), Some(hold)) = (self.asked(), &mut self.hold)
            && (self.way.writes_bound() || at > self.cap)
        {
            hold.at = None;
            self.set(at.min(self.cap))?;
        }
        Ok(Some(Change::Cap { from, to }))
    }

    /// Whether a bound was set by someone else. Before we write it ourselves the one found at start is no news, and it
    /// is nvpmodel's where a cooling device was at work then.
    fn bound_is_news(&self, bound: Hertz, ours: Option<Hertz>) -> bool {
        ours.is_some()
            || highest_below(&self.gpu.clocks, Some(bound)) != highest_below(&self.gpu.clocks, Some(self.unthrottled))
    }
}
