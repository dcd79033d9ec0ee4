//! Work on a machine and a network, whatever kinds they are of: a Jetson or a virtual board.

use jetpace_devfreq::guard::Store;
use jetpace_devfreq::nodes::Nodes;
use jetpace_tables::hw::{BlockRunner, Timer};

#[cfg(feature = "cuda")]
use crate::calibrate::Observed;
use crate::calibrate::{Settings, Subject};
use crate::failure::Failure;

/// What is done on a machine with a network on it, whatever kinds they are of.
pub trait Work: Sized {
    /// What comes of it.
    type Done;

    /// Does it; `usual` is as much as is usually measured of this network on this machine.
    ///
    /// # Errors
    /// What the machine says.
    fn on<N, R, Q, T>(self, subject: Subject<N, R, Q, T>, usual: Settings) -> Result<Self::Done, Failure>
    where
        N: Nodes + Store + Clone,
        R: BlockRunner,
        Q: BlockRunner,
        T: Timer + Clone;

    /// The same on a GPU whose clock cannot be set.
    ///
    /// # Errors
    /// That this takes one whose clock can be.
    #[cfg(feature = "cuda")]
    fn left_alone<R: BlockRunner, T: Timer>(self, gpu: Observed<R, T>) -> Result<Self::Done, Failure> {
        let why = format_args!("{} has no clock that can be set", gpu.device);
        Err(Failure::new(crate::failure::Reason::Unsupported, why))
    }
}
