//! The networks of jetpace, as layers grouped into blocks, and the CUDA kernels that run them.

pub mod net;
