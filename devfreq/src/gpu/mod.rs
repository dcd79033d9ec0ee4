//! The GPU's clock through devfreq.

mod hold;
mod probe;
mod watch;
mod way;

use jetpace_tables::hw::{GpuClock, Timer};
use jetpace_tables::units::{Hertz, Nanos};
use jetpace_tables::work::ClockIndex;

pub use probe::{Tried, try_ways};
pub use watch::{Changed, Heat};
pub use way::Way;

use crate::board::{Board, Bound, Gpu, nvpmodel};
use crate::error::Error;
use crate::guard::{Guard, Store};
use crate::nodes::Nodes;
use crate::text;
use crate::thermal::Cooling;
use hold::Hold;
use way::Digits;

/// How long a clock may take to be in effect. 5 ms were measured on an Orin Nano; the stock governor's tick, which
/// some drivers wait for, is 25 ms.
const BUDGET: Nanos = Nanos::from_millis(100);

/// When the write is repeated another way, as nvgpu up to R35 may have used a stale bound for it.
const REISSUE_AFTER: Nanos = Nanos::from_millis(30);

/// How often the clock is looked at.
const LOOK_EVERY: Nanos = Nanos::from_millis(1);

/// The GPU whose clock is set.
pub struct GpuNode<N: Nodes + Store + Clone, T> {
    nodes: N,
    timer: T,
    guard: Guard<N>,
    gpu: Gpu,
    cooling: Vec<Cooling>,
    way: Way,
    digits: Vec<Digits>,
    /// `None` while the stock governor has the clock.
    hold: Option<Hold<N::Handle>>,
    cap: ClockIndex,
    /// The user's bound, as last known.
    user: Bound,
    /// The highest listed clock within it; where it is not known, within what was last read.
    unthrottled: Hertz,
    /// What holds the clock down now by heat, and since when it was seen.
    heat: Option<Heat>,
    /// What nvpmodel says of itself, to see it act.
    mode: String,
    /// How often it did.
    mode_changes: u32,
}

impl<N: Nodes + Store + Clone, T: Timer> GpuNode<N, T> {
    /// Takes the clock by the cheapest way that works here, or by the one that is named.
    ///
    /// # Errors
    /// Where no way works; the nodes hold their original values again then.
    pub fn open(nodes: N, timer: T, board: &Board, guard: &Guard<N>, way: Option<Way>) -> Result<Self, Error> {
        let mut node = Self::stock(nodes, timer, board, guard, way.unwrap_or(Way::MinMax));
        probe::choose(&mut node, way)?;
        Ok(node)
    }

    /// With the stock governor still at work: the first `set` takes the clock.
    fn stock(nodes: N, timer: T, board: &Board, guard: &Guard<N>, way: Way) -> Self {
        let gpu = board.gpu.clone();
        let digits = gpu.clocks.iter().map(|clock| Digits::new(*clock)).collect();
        let mut node = Self {
            nodes,
            timer,
            guard: guard.clone(),
            cooling: board.cooling.clone(),
            way,
            digits,
            hold: None,
            cap: ClockIndex(0),
            user: gpu.user,
            unthrottled: gpu.cap,
            heat: None,
            mode: String::new(),
            mode_changes: 0,
            gpu,
        };
        node.mode = nvpmodel::status(&node.nodes);
        node.cap = node.index_below(node.unthrottled);
        node
    }

    /// The way that the clock is fixed.
    pub fn way(&self) -> Way {
        self.way
    }

    /// The highest clock that is written now.
    pub fn cap(&self) -> ClockIndex {
        self.cap
    }

    /// The clock that was last asked for, held to the cap; `None` while the stock governor has it.
    pub fn asked(&self) -> Option<ClockIndex> {
        self.hold.as_ref().and_then(|hold| hold.at)
    }

    /// The time that [`Heat::since`] is told in.
    pub fn now(&self) -> Nanos {
        self.timer.now()
    }

    /// What holds the clock down now by heat or over-current, as last looked at.
    pub fn heat(&self) -> Option<&Heat> {
        self.heat.as_ref()
    }

    /// How often nvpmodel was seen to set another mode.
    pub fn mode_changes(&self) -> u32 {
        self.mode_changes
    }

    /// What is known of the GPU.
    pub fn gpu(&self) -> &Gpu {
        &self.gpu
    }

    /// The part of the last moments in which the GPU was busy, 0 to 1; `None` where its driver does not tell. Drivers
    /// bring it up to date while the stock governor polls.
    pub fn load(&self) -> Option<f64> {
        let permille = text::integer(&self.nodes, &self.gpu.device.join("load")).ok()?;
        Some(permille.clamp(0, 1000) as f64 / 1000.0)
    }

    fn clock(&self, index: ClockIndex) -> Result<Hertz, Error> {
        let count = self.gpu.clocks.len();
        self.gpu.clocks.get(index.index()).copied().ok_or(Error::NotListed { index: index.index(), count })
    }

    fn index_below(&self, bound: Hertz) -> ClockIndex {
        let within = self.gpu.clocks.iter().rposition(|clock| *clock <= bound);
        // At most 255 clocks are listed.
        ClockIndex(within.unwrap_or(0) as u8)
    }
}

impl<N: Nodes + Store + Clone, T: Timer> GpuClock for GpuNode<N, T> {
    type Error = Error;

    fn clocks(&self) -> &[Hertz] {
        &self.gpu.clocks
    }

    fn set(&mut self, clock: ClockIndex) -> Result<(), Error> {
        let clock = clock.min(self.cap);
        match &mut self.hold {
            Some(hold) if hold.at == Some(clock) => Ok(()),
            Some(hold) => match hold.set(&self.digits, clock) {
                Ok(()) => Ok(()),
                Err(e) => self.set_again(clock, e),
            },
            None => {
                self.engage()?;
                self.set(clock)
            }
        }
    }

    fn pin(&mut self, clock: ClockIndex) -> Result<Hertz, Error> {
        self.clock(clock)?;
        if self.heat.is_some() {
            // It may have let go since.
            self.watch()?;
        }
        self.set(clock)?;
        let asked_at = self.timer.now();
        let mut reissued = false;
        loop {
            let wanted = self.clock(clock.min(self.cap))?;
            let runs = self.current()?;
            if runs == wanted {
                if let Some(hold) = &mut self.hold {
                    hold.look_what_is_left(&self.digits);
                }
                return Ok(runs);
            }
            let now = self.timer.now();
            let waited = now.saturating_sub(asked_at);
            if waited >= BUDGET {
                // A cap that came down meanwhile is no failure: it is obeyed, and told by what is returned.
                if self.watch()?.is_some() && self.clock(clock.min(self.cap))? < wanted {
                    return self.pin(self.cap);
                }
                if self.heat.is_some() && runs < wanted {
                    // Up to 4.9 heat's bound shows nowhere: what runs is what it allows.
                    return Ok(runs);
                }
                let why = if runs < wanted { ": something that no node shows holds it down" } else { "" }.to_owned();
                return Err(Error::DoesNotFollow {
                    path: self.gpu.node("cur_freq"),
                    wanted,
                    runs,
                    budget: BUDGET,
                    why,
                });
            }
            if waited >= REISSUE_AFTER && !reissued {
                reissued = true;
                self.reissue(clock.min(self.cap))?;
            }
            self.timer.sleep_until(now.saturating_add(LOOK_EVERY));
        }
    }

    fn current(&mut self) -> Result<Hertz, Error> {
        text::hertz(&self.nodes, &self.gpu.node("cur_freq"))
    }

    fn release(&mut self) -> Result<(), Error> {
        self.hold = None;
        let ours = self.way.nodes(&self.gpu);
        let report = self.guard.restore_where(|path| ours.iter().any(|node| node == path))?;
        crate::guard::log_foreign(&report);
        Ok(())
    }
}
