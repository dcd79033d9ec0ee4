//! The hardware boundary: everything jetpace asks of a machine, on one page.
//!
//! `devfreq` implements the clocks and rails on sysfs nodes (real, recorded or virtual), `kernels` the blocks on
//! CUDA, `devfreq::sim` the blocks and the timer of a virtual board. The traits are small and generic; nothing here
//! is `dyn`.

use crate::units::{Hertz, Milliamps, Millivolts, Milliwatts, Nanos};
use crate::work::{BlockId, ClockIndex, Size};

/// The GPU's clock.
pub trait GpuClock {
    /// What can go wrong; its message names the node, the value and the remedy.
    type Error: core::error::Error;

    /// The available clocks, ascending. A [`ClockIndex`] is a position in this list.
    fn clocks(&self) -> &[Hertz];

    /// Asks for a clock: one write, no read. The hot path.
    fn set(&mut self, clock: ClockIndex) -> Result<(), Self::Error>;

    /// Asks for a clock, waits until it runs and says which one really does. Cold.
    fn pin(&mut self, clock: ClockIndex) -> Result<Hertz, Self::Error>;

    /// The clock that is programmed now (not a measurement: a hidden cap may run a lower one).
    fn current(&mut self) -> Result<Hertz, Self::Error>;

    /// Hands the clock back to the stock governor, with the bounds found at start.
    fn release(&mut self) -> Result<(), Self::Error>;
}

/// The memory's (EMC) clock. Where the board does not let it be locked, `set` says so and `current` is all there is.
pub trait MemClock {
    /// What can go wrong.
    type Error: core::error::Error;

    /// The available clocks, ascending; empty where they are not listed.
    fn clocks(&self) -> &[Hertz];

    /// Locks a clock, waits until it runs and says which one does.
    fn pin(&mut self, clock: Hertz) -> Result<Hertz, Self::Error>;

    /// The clock now, or `None` where the board does not tell.
    fn current(&mut self) -> Result<Option<Hertz>, Self::Error>;

    /// Takes the lock away.
    fn release(&mut self) -> Result<(), Self::Error>;
}

/// What a rail's power stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RailRole {
    /// The module's input: what is minimised.
    Total,
    /// The GPU alone.
    Gpu,
    /// The GPU with the CPU or the SoC on one rail.
    GpuShared,
    /// A part of the total where no rail is the total: the total is the sum of `gpu`, `gpu-shared` and `part` rails.
    Part,
    /// Anything else.
    Other,
}

impl RailRole {
    /// Its word in files.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Total => "total",
            Self::Gpu => "gpu",
            Self::GpuShared => "gpu-shared",
            Self::Part => "part",
            Self::Other => "other",
        }
    }
}

/// Whose power a board's rails tell: what is measured, planned by and reported.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PowerOf {
    /// The whole module's.
    #[default]
    Module,
    /// The GPU's alone: the module's is not told.
    Gpu,
    /// That of the rail which the GPU shares with other parts: the module's is not told.
    GpuShared,
}

impl PowerOf {
    /// Whose power the rails of a board tell, and the roles of those that add up to it; `None` where they tell nothing.
    /// The one rule for everything that measures: GPU power is never booked as the module's.
    pub fn told_by(roles: impl IntoIterator<Item = RailRole>) -> Option<(Self, &'static [RailRole])> {
        use RailRole::{Gpu, GpuShared, Part, Total};
        const TOLD: [(RailRole, PowerOf, &[RailRole]); 4] = [
            (Total, PowerOf::Module, &[Total]),
            (Part, PowerOf::Module, &[Gpu, GpuShared, Part]),
            (Gpu, PowerOf::Gpu, &[Gpu]),
            (GpuShared, PowerOf::GpuShared, &[GpuShared]),
        ];
        let best = roles.into_iter().filter_map(|role| TOLD.iter().position(|(of, ..)| *of == role)).min()?;
        TOLD.get(best).map(|(_, of, roles)| (*of, *roles))
    }

    /// Its word in files.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Module => "module",
            Self::Gpu => "gpu",
            Self::GpuShared => "gpu-shared",
        }
    }

    /// The meaning of a word; `None` where there is none.
    pub fn from_word(word: &str) -> Option<Self> {
        [Self::Module, Self::Gpu, Self::GpuShared].into_iter().find(|of| of.word() == word)
    }

    /// Whether it is the whole module's.
    pub fn is_module(&self) -> bool {
        *self == Self::Module
    }
}

/// One reading of one rail.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RailSample {
    /// When it was read.
    pub at: Nanos,
    /// Bus voltage; zero where the driver gives power alone.
    pub voltage: Millivolts,
    /// Current; zero where the driver gives power alone.
    pub current: Milliamps,
    /// Power.
    pub power: Milliwatts,
    /// The rail has had no new value since the sample before: this one is not to be counted again.
    pub repeated: bool,
}

/// The power rails.
pub trait PowerRails {
    /// What can go wrong.
    type Error: core::error::Error;

    /// Name and role of every rail, in the order of the samples.
    fn rails(&self) -> impl Iterator<Item = (&str, RailRole)>;

    /// Reads every rail once into `out`, one slot per rail.
    fn sample(&mut self, out: &mut [RailSample]) -> Result<(), Self::Error>;
}

/// Runs a network's blocks on the GPU.
pub trait BlockRunner {
    /// What can go wrong.
    type Error: core::error::Error + 'static;

    /// How many blocks the network has.
    fn blocks(&self) -> usize;

    /// A block's name.
    fn name(&self, block: BlockId) -> &str;

    /// Runs a block `times.len()` times back to back and writes how long each repeat took.
    ///
    /// While the GPU works, `meanwhile(now)` is called at the start and then at the time that it last returned, for
    /// sampling rails or writing a clock on time; `None` ends the calls.
    fn run(
        &mut self,
        block: BlockId,
        size: Size,
        times: &mut [Nanos],
        meanwhile: &mut impl FnMut(Nanos) -> Option<Nanos>,
    ) -> Result<(), Self::Error>;

    /// From one run of a block to the next where it runs over and over: `once`, its own time, unless more has to run than
    /// the block.
    fn pace(&self, block: BlockId, once: Nanos) -> Nanos {
        let _ = block;
        once
    }

    /// The share of the time from the start of the last `run` to its end that the GPU was at work; 1 where repeats follow each
    /// other without a gap, below where somebody has to ask for each.
    fn busy(&self) -> f64 {
        1.0
    }
}

/// The clock on the wall, monotonic.
pub trait Timer {
    /// Now.
    fn now(&self) -> Nanos;

    /// Returns at `time` or just after; at once where it is past.
    fn sleep_until(&mut self, time: Nanos);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gpu_power_is_never_the_modules() {
        use RailRole::{Gpu, GpuShared, Other, Part, Total};
        for (roles, told) in [
            (&[Gpu, Total, Other][..], Some((PowerOf::Module, &[Total][..]))),
            (&[GpuShared, Part, Part, Other], Some((PowerOf::Module, &[Gpu, GpuShared, Part]))),
            (&[Gpu, Other], Some((PowerOf::Gpu, &[Gpu]))),
            (&[Other, GpuShared], Some((PowerOf::GpuShared, &[GpuShared]))),
            (&[Other], None),
            (&[], None),
        ] {
            assert_eq!(PowerOf::told_by(roles.iter().copied()), told, "{roles:?}");
        }
        for of in [PowerOf::Module, PowerOf::Gpu, PowerOf::GpuShared] {
            assert_eq!(PowerOf::from_word(of.word()), Some(of));
        }
        assert_eq!(PowerOf::from_word("board"), None);
    }
}
