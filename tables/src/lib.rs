//! What jetpace knows about time, power and clocks, apart from any machine.
//!
//! The layers, from the bottom: [`units`] and [`work`] name things, [`hw`] is the hardware boundary, and the rest
//! goes the one way through the house: samples are fitted to a model, a model is planned into a table, and the
//! governor follows the table. What runs per block is `no_std` and does not allocate; fitting and planning need
//! the feature `std`.

#![no_std]

#[cfg(feature = "std")]
extern crate std;

#[cfg(feature = "std")]
pub mod fit;
pub mod governor;
pub mod hw;
#[cfg(feature = "std")]
mod linear;
mod math;
pub mod model;
pub mod names;
#[cfg(feature = "std")]
pub mod plan;
#[cfg(feature = "std")]
pub mod sample;
#[cfg(feature = "std")]
pub mod stats;
pub mod table;
pub mod units;
pub mod work;
