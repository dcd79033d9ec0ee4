//! The jetpace agent: its commands, one file each, and what they share.

pub mod args;
#[cfg(any(feature = "cuda", feature = "sim"))]
pub mod calibrate;
pub mod commands;
pub mod confine;
#[cfg(feature = "cuda")]
pub mod cuda;
pub mod dry_run;
pub mod emc;
pub mod failure;
pub mod files;
pub mod machine;
pub mod nvtx;
pub mod program;
#[cfg(feature = "report")]
pub mod report;
pub mod runtime;
pub mod session;
pub mod signals;
#[cfg(feature = "sim")]
pub mod workers;
