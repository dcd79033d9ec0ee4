//! A Jetson's clocks and power rails through sysfs, restored on every way out; and the virtual Jetson.

pub mod board;
pub mod energy;
pub mod error;
pub mod gpu;
pub mod guard;
pub mod mem;
pub mod needs;
pub mod nodes;
pub mod rails;
pub mod selftest;
#[cfg(feature = "sim")]
pub mod sim;
pub mod surroundings;
pub mod text;
pub mod thermal;
pub mod timer;

pub use error::Error;
