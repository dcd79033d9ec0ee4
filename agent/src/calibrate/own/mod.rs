//! Programs of one's own, measured block by block: they tell libjetpace where their frames and blocks begin, and it makes
//! them wait for their turn, repeat blocks, and offers them a size.
//!
//! From the bottom: [`process`] starts and stops a program, `door` lets one in and believes nothing that it says, `told`
//! makes frames of what is told, `runner` plays the frames for the steps that measure our own networks as well, `waits`
//! finds programs that only queue their blocks.

mod door;
mod outline;
pub mod process;
mod runner;
mod told;
mod waits;

pub use outline::Outline;
pub use runner::{Options, Own, Program};
pub use told::{Frame, Ran, Told};
pub use waits::Waits;
