//! The networks of jetpace, as layers grouped into blocks, and the CUDA kernels that run them.

mod error;
pub mod net;
pub mod reference;
pub mod weights;

pub use error::Error;
