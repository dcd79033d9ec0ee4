//! The commands, one file each: its options, and `run`.

pub mod bench;
#[cfg(any(feature = "cuda", feature = "sim"))]
pub mod calibrate;
#[cfg(feature = "report")]
pub mod check_config;
#[cfg(feature = "report")]
pub mod compare;
#[cfg(feature = "report")]
pub mod completions;
#[cfg(all(feature = "report", feature = "sim"))]
pub mod demo;
#[cfg(feature = "report")]
pub mod fit;
pub mod hold;
#[cfg(feature = "report")]
pub mod import;
pub mod inspect;
#[cfg(feature = "report")]
pub mod man;
#[cfg(feature = "report")]
pub mod metrics;
#[cfg(feature = "report")]
pub mod nvtx;
pub mod plan;
#[cfg(feature = "report")]
pub mod predict;
pub mod probe;
#[cfg(feature = "report")]
pub mod recalibrate;
#[cfg(feature = "report")]
pub mod report;
pub mod restore;
pub mod selftest;
// The static release has neither CUDA nor virtual boards: nothing to run a network on.
#[cfg(any(feature = "cuda", feature = "sim"))]
pub mod run;
pub mod serve;
pub mod status;
pub mod trace;
