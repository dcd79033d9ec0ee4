//! Integration tests, one module per theme.

#![allow(clippy::unwrap_used)] // a test may fail by panicking

mod bad_trees;
mod beside;
mod boards;
mod calibrate;
mod cases;
mod commands;
mod drift;
mod dry_run;
mod faults;
mod feedback;
mod for_deadline;
mod frozen;
mod hold_deadline;
mod kernel_cases;
mod killed;
mod layering;
mod measured;
mod profiles;
mod rivals;
mod sim_boards;
mod sim_tx2;
mod sizes;
