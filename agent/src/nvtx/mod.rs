//! NVTX ranges of an unmodified program: which of them are frames and blocks, how the library that hears them is found and
//! told so, and what it lists.

#[cfg(feature = "report")]
mod library;
pub mod list;
pub mod ranges;

#[cfg(feature = "report")]
pub use library::{environment, telling};

/// Where NVTX finds the library that is to hear a program's ranges.
pub const INJECTION_VARIABLE: &str = "NVTX_INJECTION64_PATH";

/// The range that is a frame.
pub const FRAME_VARIABLE: &str = "JETPACE_NVTX_FRAME";

/// The ranges that are blocks, with commas between them.
pub const BLOCKS_VARIABLE: &str = "JETPACE_NVTX_BLOCKS";

/// `1` where whole payloads are sizes.
pub const SIZES_VARIABLE: &str = "JETPACE_NVTX_SIZES";

/// A folder into which every process lists its ranges, instead of telling frames.
pub const LIST_VARIABLE: &str = "JETPACE_NVTX_LIST";
