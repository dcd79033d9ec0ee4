//! Integration tests, one module per theme.

#![allow(clippy::unwrap_used)] // a test may fail by panicking

mod boards;
mod calibrate;
mod faults;
mod kernel_cases;
mod layering;
mod measured;
mod sim_boards;
mod sim_tx2;
