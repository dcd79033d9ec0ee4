//! The jetpace agent: its commands, one file each, and what they share.

pub mod args;
pub mod commands;
pub mod failure;
pub mod frames;
pub mod output;
#[cfg(feature = "report")]
pub mod report;
pub mod runtime;
pub mod session;
pub mod signals;
pub mod sweep;
#[cfg(feature = "sim")]
pub mod virtual_board;
