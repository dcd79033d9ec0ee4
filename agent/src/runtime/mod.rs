//! Clocks switched at block boundaries: the shell around the governor, inside a user's process or beside it.
//!
//! From the bottom: [`sys`] holds the system calls, [`doorbell`] lets one side sleep until the other has posted,
//! [`mailbox`] and [`page`] carry requests between threads and between processes, [`control`] is the thread that
//! writes, [`follow`] the shell around the governor. Nothing here allocates, waits for a lock or formats text once it has started.

pub mod access;
pub mod control;
pub mod daemon;
pub mod doorbell;
pub mod follow;
pub mod fork;
pub mod link;
pub mod listen;
pub mod mailbox;
pub mod map;
pub mod open;
pub mod page;
pub mod published;
pub mod remote;
pub mod status;
pub mod swept;
mod sync;
pub mod sys;
pub mod tend;
pub mod watch;
pub mod wire;
pub mod writer;
