//! The virtual Jetson: boards that exist in memory only, with the node layout, the kernel's rules and the physics of
//! real ones. One seeded generator, one virtual clock; nothing sleeps.
//!
//! A [`Board`] gives [`Board::nodes`] for clocks, rails and guard, [`Board::runner`] for a network's blocks and
//! [`Board::timer`] for the time that all of them share. What it draws and runs in truth can be asked of it, for
//! judging.
//!
//! The physics is written apart from the models that it judges: nothing in here calls `jetpace_tables::model` or the
//! fits.

mod boards;
pub mod disk;
mod ina;
mod layout;
mod measured;
mod meter;
mod nodes;
mod noise;
mod physics;
mod podgov;
pub mod rules;
mod runner;
mod settle;
mod store;
#[cfg(test)]
mod tests;
mod thermal;
pub mod tree;
mod world;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jetpace_tables::hw::Timer;
use jetpace_tables::units::{Hertz, Microjoules, MilliCelsius, Milliwatts, Nanos};
use jetpace_tables::work::{BlockId, ClockIndex, Network, Size};

pub use boards::NAMES;
pub use measured::UnknownBoard;
pub use nodes::{VirtualHandle, VirtualNodes};
pub use runner::{NoSuchBlock, Runner};
pub use store::VirtualLock;

use boards::Spec;
use world::World;

/// The world of one board, shared by everything that works on it.
#[derive(Clone, Debug)]
struct Shared(Arc<Mutex<World>>);

impl Shared {
    /// A panic elsewhere leaves the world as it was between two steps: still a world.
    fn lock(&self) -> MutexGuard<'_, World> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A virtual board, fresh from boot: all clocks allowed, the stock governor at the lowest, time zero. Clones share it.
#[derive(Clone, Debug)]
pub struct Board {
    world: Shared,
    nodes: VirtualNodes,
}

impl Board {
    /// A board by its name (see [`NAMES`]), or one made of measurements (`from=SWEEP` and what [`UnknownBoard`] says). Two boards of one name and seed do the same, to the nanosecond, when the
    /// same is done to them.
    ///
    /// # Errors
    /// [`UnknownBoard`] where there is none.
    pub fn new(name: &str, seed: u64) -> Result<Self, UnknownBoard> {
        let world = match Spec::find(name) {
            Some(spec) => World::new(spec, seed),
            None if name.contains('=') => World::measured(measured::find(name)?, seed),
            None => {
                return Err(UnknownBoard { name: name.to_owned(), why: "no virtual board is called that".to_owned() });
            }
        };
        let spec = world.spec;
        let world = Shared(Arc::new(Mutex::new(world)));
        Ok(Self { nodes: VirtualNodes::new(spec, world.clone()), world })
    }

    /// Its tree of nodes.
    pub fn nodes(&self) -> VirtualNodes {
        self.nodes.clone()
    }

    /// Its GPU with a network on it.
    pub fn runner(&self, network: Network) -> Runner {
        Runner::new(self.world.clone(), network)
    }

    /// Its time.
    pub fn timer(&self) -> VirtualTimer {
        VirtualTimer(self.world.clone())
    }

    /// Its clocks, ascending.
    pub fn clocks(&self) -> Vec<Hertz> {
        self.world.lock().spec.clocks()
    }

    /// True energy of the whole module since boot.
    pub fn energy(&self) -> Microjoules {
        Microjoules::from_joules_f64(self.world.lock().meter.joules().iter().sum())
    }

    /// True energy of the GPU's clock tree and operations since boot.
    pub fn gpu_energy(&self) -> Microjoules {
        let [_, clock, operations, _] = *self.world.lock().meter.joules();
        Microjoules::from_joules_f64(clock + operations)
    }

    /// The clock truly in effect, whatever is programmed.
    pub fn clock(&self) -> ClockIndex {
        ClockIndex(self.world.lock().running() as u8)
    }

    /// True temperature of the chip.
    pub fn temperature(&self) -> MilliCelsius {
        MilliCelsius::new((self.world.lock().heat.chip_c() * 1000.0) as i64)
    }

    /// True time of a block at a clock and the EMC clock of now, without noise.
    pub fn true_time(&self, network: &Network, block: BlockId, size: Size, clock: ClockIndex) -> Nanos {
        let costs = self.world.lock().costs(network, size);
        Nanos::from_secs_f64(costs.at(block.index(), clock.index()).time_s)
    }

    /// True idle power at a clock and 45 degrees, not railgated.
    pub fn true_idle(&self, clock: ClockIndex) -> Milliwatts {
        let world = self.world.lock();
        let energy = &world.spec.energy;
        let tree = energy.clock_w(world.fraction(clock.index())) * energy.idle_clock_share;
        Milliwatts::from_watts_f64(energy.idle_base_w + tree)
    }

    /// True mean settle time of a change.
    pub fn true_settle(&self, from: ClockIndex, to: ClockIndex) -> Nanos {
        let world = self.world.lock();
        let mean_s = settle::mean_s(world.fraction(from.index()), world.fraction(to.index()));
        Nanos::from_secs_f64(mean_s * world.settle_scale(to.index()))
    }

    /// True mean stall of a change.
    pub fn true_stall(&self) -> Nanos {
        Nanos::from_secs_f64(settle::stall_s())
    }

    /// Puts the board into another room, at 25 degrees before: hot enough, and its cooling device lowers the clock.
    pub fn set_ambient(&self, ambient: MilliCelsius) {
        self.world.lock().heat.set_ambient(ambient.get() as f64 / 1000.0);
    }

    /// A power limit that no node but `cur_freq`'s truth shows: above it the GPU runs the highest clock that it allows.
    pub fn set_hidden_cap(&self, cap: Option<Hertz>) {
        let mut world = self.world.lock();
        world.devfreq.set_hidden_cap(cap);
        world.after_write();
    }

    /// Switches drift, spikes and contention off, for judging what is left.
    pub fn silence(&self) {
        self.world.lock().noise.silence();
    }
}

/// A board's virtual time.
#[derive(Clone, Debug)]
pub struct VirtualTimer(Shared);

impl Timer for VirtualTimer {
    fn now(&self) -> Nanos {
        Nanos::new(self.0.lock().now())
    }

    fn sleep_until(&mut self, time: Nanos) {
        self.0.lock().advance(time.get());
    }
}
