//! The networks of jetpace, as layers grouped into blocks, and the CUDA kernels that run them.

pub mod abi;
pub mod cubin;
#[cfg(feature = "cuda")]
pub mod cuda;
mod error;
pub mod launch;
pub mod net;
pub mod pack;
pub mod packed;
pub mod reference;
pub mod weights;

pub use error::Error;
