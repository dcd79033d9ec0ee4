//! libjetpace: the runtime for programs in C, C++ and Python. `include/jetpace.h` is written from this crate.
//!
//! Every entry checks its pointers, keeps a second thread out, does nothing in a forked child, and lets no panic
//! through.

#![allow(non_camel_case_types)] // the names are the header's

mod backend;
pub mod ffi;
#[cfg(test)]
mod tests;
