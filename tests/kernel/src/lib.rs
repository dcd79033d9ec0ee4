//! The cases of `cases.txt`: what is done to a devfreq device, and what the kernel answers. The same cases drive a real
//! kernel (under QEMU, `./ci.sh kernel`) and the fake in `jetpace_devfreq::sim`, which may not differ.

mod parse;
mod run;

pub use parse::{Case, ParseError, Point, Step, parse};
pub use run::{Machine, Outcome, run};

/// The cases, as they stand in the repository.
pub const CASES: &str = include_str!("../cases.txt");
