//! The commands, one file each: its options, and `run`.

pub mod completions;
pub mod man;
