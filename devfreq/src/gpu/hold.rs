//! Taking the clock from the stock governor, and writing it: the hot path, and what to do when a write is refused.

use std::io;

use jetpace_tables::hw::Timer;
use jetpace_tables::work::ClockIndex;

use super::{Digits, GpuNode, Way};
use crate::board::Bound;
use crate::error::Error;
use crate::guard::{Store, Written};
use crate::nodes::{NodeHandle, Nodes};
use crate::{text, thermal};

/// The nodes that are kept open while the clock is ours.
pub(super) struct Hold<H> {
    /// The node of [`Way::node`].
    node: H,
    /// `min_freq`, where the clock takes two writes.
    floor: Option<H>,
    /// What was last asked for; `None` before the first time.
    pub at: Option<ClockIndex>,
    /// A bit for every clock that was written since.
    written: [u64; 4],
    /// The same for whoever puts things back, less what is known to be gone from the nodes.
    left: Written,
}

impl<H: NodeHandle> Hold<H> {
    /// Writes a clock: one write, or two whose order never puts the floor above the bound.
    pub fn set(&mut self, digits: &[Digits], clock: ClockIndex) -> io::Result<()> {
        let Some(text) = digits.get(clock.index()).map(Digits::bytes) else {
            return Err(io::ErrorKind::InvalidInput.into());
        };
        let before = self.at.replace(clock);
        self.left.add(clock);
        self.written[clock.index() / 64] |= 1 << (clock.index() % 64);
        let written = match &mut self.floor {
            None => self.node.write(text),
            Some(floor) if before.is_some_and(|before| clock < before) => {
                floor.write(text).and_then(|()| self.node.write(text))
            }
            Some(floor) => self.node.write(text).and_then(|()| floor.write(text)),
        };
        if written.is_err() {
            self.at = None;
        }
        written
    }

    /// Looks whether the node that is written for a clock holds what was asked for last; then nothing of ours is left in it
    /// but that. Off the hot path. Where a floor is written beside the bound nothing can be told: from 5.10 on a floor reads
    /// as the effective one, so that one equal to the bound may hide a higher one of ours.
    pub fn look_what_is_left(&mut self, digits: &[Digits]) {
        let Some((at, text)) = self.at.and_then(|at| Some((at, digits.get(at.index())?.bytes()))) else { return };
        if self.floor.is_some() {
            return;
        }
        let mut buffer = [0; 32];
        let read = self.node.read(&mut buffer);
        if read.is_ok_and(|length| buffer[..length.min(32)].trim_ascii_end() == text) {
            self.left.set(at);
        }
    }

    /// Whether a clock was ever written.
    pub fn has_written(&self, clock: ClockIndex) -> bool {
        self.written[clock.index() / 64] & 1 << (clock.index() % 64) != 0
    }
}

impl<N: Nodes + Store + Clone, T: Timer> GpuNode<N, T> {
    /// Takes the clock: originals are recorded, the governor is set, the floor is taken away. Cold.
    pub(super) fn engage(&mut self) -> Result<(), Error> {
        self.guard.keep(&self.way.keeps(&self.nodes, &self.gpu))?;
        self.keep_true_cap()?;
        if let Some(name) = self.way.governor() {
            self.write("governor", name)?;
            let path = self.gpu.node("governor");
            let reads = text::word(&self.nodes, &path)?;
            if reads != name {
                return Err(Error::NotTaken { path, wrote: name.to_owned(), reads });
            }
        }
        self.lower_floor()?;
        if self.way == Way::Podgov {
            let path = self.gpu.device.join("user");
            self.nodes.write(&path, "1").map_err(|e| Error::write(&path, "1", e))?;
        }
        let open = |path: std::path::PathBuf| self.nodes.open(&path).map_err(|e| Error::write(&path, "", e));
        // There as soon as a node was kept that hot writes write; userspace's, which comes and goes with it, is not.
        let left = self.guard.written().unwrap_or_else(Written::memory);
        let node = open(self.way.node(&self.gpu))?;
        let floor = if self.way == Way::MinMax { Some(open(self.gpu.node("min_freq"))?) } else { None };
        self.hold = Some(Hold { node, floor, at: None, written: [0; 4], left });
        Ok(())
    }

    /// A bound that a cooling device held down when it was recorded must not be written back later: the user's is. Where
    /// that is not known no bound is written at all.
    fn keep_true_cap(&self) -> Result<(), Error> {
        if !self.way.writes_bound() || !self.gpu.shows_heat {
            return Ok(());
        }
        if self.user == Bound::Unknown {
            let why = self.gpu.why_unknown();
            return Err(Error::BoundUnknown { why, tried: format!("{} would write one", self.way) });
        }
        let max = self.gpu.node("max_freq");
        let recorded = self.guard.original(&max).and_then(|text| text::parse_hertz(&text));
        let hot = self.gpu.throttled || thermal::gpu_throttled(&self.nodes, &self.cooling);
        if hot && recorded.is_some_and(|recorded| recorded < self.unthrottled) {
            self.guard.adopt(&max, &self.unthrottled.get().to_string())?;
        }
        Ok(())
    }

    /// The floor to the lowest clock, from which every bound is above it.
    fn lower_floor(&self) -> Result<(), Error> {
        let Some(lowest) = self.digits.first() else { return Ok(()) };
        let path = self.gpu.node("min_freq");
        if text::word(&self.nodes, &path)? == lowest.text() {
            return Ok(());
        }
        self.write("min_freq", lowest.text())
    }

    fn write(&self, node: &str, value: &str) -> Result<(), Error> {
        let path = self.gpu.node(node);
        self.nodes.write(&path, value).map_err(|e| Error::write(&path, value, e))
    }

    /// A write was refused. `ENODEV`: the governor was switched under us, or the device was bound anew; everything
    /// is opened again. `EINVAL` (4.9): someone moved a bound in between; from the lowest floor every order is good.
    #[cold]
    pub(super) fn set_again(&mut self, clock: ClockIndex, error: io::Error) -> Result<(), Error> {
        match error.raw_os_error() {
            Some(libc::ENODEV) => {
                self.hold = None;
                self.adopt_governor()?;
                self.engage()?;
            }
            Some(libc::EINVAL) if self.way == Way::MinMax => self.lower_floor()?,
            _ => return Err(self.refused(clock, error)),
        }
        match &mut self.hold {
            Some(hold) => hold.set(&self.digits, clock).map_err(|e| self.refused(clock, e)),
            None => Ok(()),
        }
    }

    /// Someone else's governor is what is handed back later.
    pub(super) fn adopt_governor(&mut self) -> Result<bool, Error> {
        let Some(ours) = self.way.governor() else { return Ok(false) };
        let path = self.gpu.node("governor");
        let now = text::word(&self.nodes, &path)?;
        if now == ours {
            return Ok(false);
        }
        log::warn!("{}: someone else has set {now}; taken again", path.display());
        self.guard.adopt(&path, &now)?;
        Ok(true)
    }

    /// Brings a clock about that was written without effect: the bounds are only looked at when they change.
    #[cold]
    pub(super) fn reissue(&mut self, clock: ClockIndex) -> Result<(), Error> {
        if self.way == Way::MinMax {
            self.lower_floor()?;
        }
        let Some(hold) = &mut self.hold else { return Ok(()) };
        hold.at = None;
        let lowest = ClockIndex(0);
        let through_lowest = self.way == Way::Performance && clock != lowest;
        let first = if through_lowest { hold.set(&self.digits, lowest) } else { Ok(()) };
        first.and_then(|()| hold.set(&self.digits, clock)).map_err(|e| self.refused(clock, e))
    }

    fn refused(&self, clock: ClockIndex, error: io::Error) -> Error {
        let value = self.digits.get(clock.index()).map(Digits::text).unwrap_or_default();
        Error::write(&self.way.node(&self.gpu), value, error)
    }
}
