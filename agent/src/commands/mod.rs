//! The commands, one file each: its options, and `run`.

pub mod calibrate;
pub mod completions;
pub mod fit;
pub mod hold;
pub mod inspect;
pub mod man;
pub mod plan;
pub mod probe;
pub mod restore;
pub mod run;
