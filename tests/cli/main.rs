//! The program itself, as its users run it: one module per theme.

#![allow(clippy::unwrap_used)] // a test may fail by panicking
#![cfg(feature = "report")]

mod bad_input;
mod compare;
mod documents;
mod emc;
mod for_deadline;
mod formats;
mod frozen;
mod hold;
mod live;
mod manners;
mod objectives;
mod on_disk;
mod readme;
mod recalibrate;
mod report;
mod service;
