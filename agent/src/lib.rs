//! The jetpace agent: its commands, one file each, and what they share.

pub mod args;
pub mod commands;
pub mod failure;
pub mod frames;
pub mod output;
#[cfg(feature = "report")]
pub mod report;
pub mod runtime;
pub mod signals;
pub mod session;
pub mod sweep;
