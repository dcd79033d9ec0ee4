//! Models of time and power: the forms by name and, with `std`, the [`Model`] that fitting makes of a sweep.
//!
//! Mean error of each time form on measured boards, in sample and with each clock left out in turn (per cent; sources
//! and method in the project's facts on models): `cpu-dvfs` 8.5 / 9.2, `additive` 2.7 / 3.3, `power` 1.4 / 2.3,
//! `smooth-roofline` 0.43 / 0.54 on a Jetson TX2; 4.0 / 4.7, 2.9 / 4.3, 0.6 / 1.3, 2.3 / 3.3 on a V100.

#[cfg(feature = "std")]
mod check;
#[cfg(feature = "std")]
mod corrected;
#[cfg(feature = "std")]
mod document;
mod form;
#[cfg(feature = "std")]
mod lookup;
#[cfg(feature = "std")]
mod process;

#[cfg(feature = "std")]
pub use check::BadModel;
#[cfg(feature = "std")]
pub use corrected::Corrected;
#[cfg(feature = "std")]
pub use document::{
    BoardId, Bursts, ChangeTime, ClockLate, DeviceConstants, EmcBase, FORMAT, FrameNoise, Idle, Left, Model, Point,
    PowerFit, Quality, Series, SizedBlock, SizedPower, SizedTime, TimeFit,
};
pub use form::{Params, PowerForm, PowerModel, TimeForm, TimeModel, UnknownForm, Voltage};
#[cfg(feature = "std")]
pub use lookup::BlockModel;
#[cfg(feature = "std")]
pub use process::{Measured, Process, Seen};
