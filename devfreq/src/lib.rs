//! A Jetson's clocks and power rails through sysfs, restored on every way out; and the virtual Jetson.

pub mod nodes;
#[cfg(feature = "sim")]
pub mod sim;
