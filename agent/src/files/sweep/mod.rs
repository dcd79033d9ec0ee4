//! Sweeps as CSV: read with every refusal a person needs, and written row by row while they are measured.

mod read;
mod readings;
mod remarks;
mod write;

pub use read::{parse, read};
pub use remarks::remarks;
pub use write::{SweepWriter, whole};

/// What the first line of a sweep that jetpace wrote begins with.
const MAGIC: &str = "# jetpace-sweep 1";
