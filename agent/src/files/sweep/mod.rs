//! Sweeps as CSV: read with every refusal a person needs, and written row by row while they are measured.

#[cfg(feature = "report")]
mod program;
mod read;
mod readings;
mod remarks;
mod write;

#[cfg(feature = "report")]
pub use program::Program;
pub use read::{parse, read};
pub use remarks::remarks;
pub use write::{SweepWriter, whole};

/// What the first line of a sweep that jetpace wrote begins with.
const MAGIC: &str = "# jetpace-sweep 1";
