//! What else happens on the machine while it is measured.

use jetpace_devfreq::nodes::Nodes;
use jetpace_devfreq::surroundings::BoardSurroundings;
use jetpace_tables::units::{Hertz, MilliCelsius};

/// What may spoil a measurement.
pub trait Surroundings {
    /// The memory's clock, where the machine tells it.
    fn emc(&mut self) -> Option<Hertz>;

    /// The CPU's clock, where the machine tells it.
    fn cpu(&mut self) -> Option<Hertz>;

    /// The GPU's temperature, where the machine tells it.
    fn temperature(&mut self) -> Option<MilliCelsius>;

    /// Whether the machine holds the GPU down because of heat.
    fn throttled(&mut self) -> bool;
}

impl<N: Nodes> Surroundings for BoardSurroundings<N> {
    fn emc(&mut self) -> Option<Hertz> {
        BoardSurroundings::emc(self)
    }

    fn cpu(&mut self) -> Option<Hertz> {
        BoardSurroundings::cpu(self)
    }

    fn temperature(&mut self) -> Option<MilliCelsius> {
        BoardSurroundings::temperature(self)
    }

    fn throttled(&mut self) -> bool {
        BoardSurroundings::throttled(self)
    }
}
