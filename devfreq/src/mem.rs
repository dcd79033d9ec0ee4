//! The memory's (EMC) clock, locked where the board lets it be.
//!
//! On nvgpu every GPU clock brings an EMC clock about by itself; a sweep that does not lock it records it.

use std::path::PathBuf;

use jetpace_tables::hw::{MemClock, Timer};
use jetpace_tables::units::{Hertz, Nanos};

use crate::board::{Board, Emc, EmcLock};
use crate::error::Error;
use crate::guard::{Guard, Keep, Kind, Store};
use crate::nodes::Nodes;
use crate::text;

/// How long the EMC clock may take; 8 ms were measured on an Orin Nano.
const BUDGET: Nanos = Nanos::from_millis(100);

/// How often it is looked at.
const LOOK_EVERY: Nanos = Nanos::from_millis(1);

/// The memory's clock of one board.
pub struct MemNode<N: Nodes + Store + Clone, T> {
    nodes: N,
    timer: T,
    guard: Guard<N>,
    emc: Option<Emc>,
    written: Vec<PathBuf>,
}

impl<N: Nodes + Store + Clone, T: Timer> MemNode<N, T> {
    /// Writes nothing yet.
    pub fn new(nodes: N, timer: T, board: &Board, guard: &Guard<N>) -> Self {
        Self { nodes, timer, guard: guard.clone(), emc: board.emc.clone(), written: Vec::new() }
    }

    fn lockable(&self, clock: Hertz) -> Result<(Emc, EmcLock), Error> {
        let not = |why: &str| Error::EmcNotLockable { why: why.to_owned() };
        let emc = self.emc.clone().ok_or_else(|| not("no EMC clock was found"))?;
        let lock = emc.lock.clone().ok_or_else(|| not("the nodes for it are missing"))?;
        // The BPMP takes any number and ignores what it cannot do.
        if !emc.clocks.is_empty() && !emc.clocks.contains(&clock) {
            return Err(not(&format!("{clock} is not among its clocks")));
        }
        match emc.cap {
            Some(cap) if clock > cap => Err(not(&format!("{clock} is above its cap, {cap}"))),
            _ => Ok((emc, lock)),
        }
    }

    /// The writes that lock a clock, in order.
    fn writes(&self, emc: &Emc, lock: &EmcLock, clock: Hertz) -> Vec<(PathBuf, Kind, String)> {
        let text = clock.get().to_string();
        let plain = |node: &str, value: &str| (emc.dir.join(node), Kind::Plain, value.to_owned());
        match lock {
            EmcLock::Bpmp => vec![plain("mrq_rate_locked", "1"), plain("state", "1"), plain("rate", &text)],
            EmcLock::Override => vec![plain("clk_update_rate", &text), plain("clk_state", "1")],
            EmcLock::Devfreq => {
                let floor = (emc.dir.join("min_freq"), Kind::Min, text.clone());
                let bound = (emc.dir.join("max_freq"), Kind::Max, text);
                // The floor never above the bound.
                match text::hertz(&self.nodes, &bound.0) {
                    Ok(now) if clock > now => vec![bound, floor],
                    _ => vec![floor, bound],
                }
            }
        }
    }
}

impl<N: Nodes + Store + Clone, T: Timer> MemClock for MemNode<N, T> {
    type Error = Error;

    fn clocks(&self) -> &[Hertz] {
        self.emc.as_ref().map_or(&[], |emc| &emc.clocks)
    }

    fn pin(&mut self, clock: Hertz) -> Result<Hertz, Error> {
        let (emc, lock) = self.lockable(clock)?;
        let writes = self.writes(&emc, &lock, clock);
        let keeps: Vec<Keep> =
            writes.iter().map(|(path, kind, value)| Keep::new(path.clone(), *kind, vec![value.clone()])).collect();
        self.guard.keep(&keeps)?;
        for (path, _, value) in &writes {
            self.nodes.write(path, value).map_err(|e| Error::write(path, value, e))?;
            if !self.written.contains(path) {
                self.written.push(path.clone());
            }
        }
        let start = self.timer.now();
        loop {
            let runs = text::hertz(&self.nodes, &emc.rate)?;
            if runs == clock {
                return Ok(runs);
            }
            let now = self.timer.now();
            if now.saturating_sub(start) >= BUDGET {
                let why = String::new();
                return Err(Error::DoesNotFollow { path: emc.rate, wanted: clock, runs, budget: BUDGET, why });
            }
            self.timer.sleep_until(now.saturating_add(LOOK_EVERY));
        }
    }

    fn current(&mut self) -> Result<Option<Hertz>, Error> {
        self.emc.as_ref().map(|emc| text::hertz(&self.nodes, &emc.rate)).transpose()
    }

    fn release(&mut self) -> Result<(), Error> {
        let written = std::mem::take(&mut self.written);
        let report = self.guard.restore_where(|path| written.iter().any(|node| node == path))?;
        crate::guard::log_foreign(&report);
        Ok(())
    }
}
