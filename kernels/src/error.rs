//! What can go wrong between a network's name and its blocks running on a GPU.

use std::fmt;
use std::path::{Path, PathBuf};

use crate::cubin::Capability;

/// An error of this crate; its message names the file, tensor or device, and the remedy where there is one.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The weights file cannot be read.
    #[error("{}: {source}", path.display())]
    File {
        /// The weights file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// The weights file is there, but is not what it should be.
    #[error("{}: {why}", path.display())]
    Weights {
        /// The weights file.
        path: PathBuf,
        /// What is wrong in it.
        why: String,
    },
    /// A launch plan that cannot be read, or must not be launched.
    #[error("{}: no launch plan that can be run: {why}", path.display())]
    Plan {
        /// The plan's file.
        path: PathBuf,
        /// What is wrong in it.
        why: String,
    },
    /// A layer, or a batch, that no kernel is compiled for.
    #[error("no kernel for {what}: {why}")]
    NoKernel {
        /// The block.
        what: String,
        /// Which layer, and what of it.
        why: String,
    },
    /// An image of another size than the network's.
    #[error("an image of {got} values; the network takes {wanted}")]
    Image {
        /// Values given.
        got: usize,
        /// Values that the network takes.
        wanted: usize,
    },
    /// A weight that fp16 cannot hold.
    #[error("a weight of {weight} is beyond the range of fp16, in which the kernels hold weights")]
    TooLarge {
        /// The weight.
        weight: f32,
    },
    /// There is no CUDA driver.
    #[error("no CUDA driver here: libcuda.so.1 cannot be loaded; it comes with JetPack or NVIDIA's driver")]
    NoLibrary,
    /// The library that was loaded is the toolkit's, to link with.
    #[error(
        "{path} is none to run with: it is a stub of CUDA's toolkit; take its folder out of LD_LIBRARY_PATH, so that the \
         driver's libcuda.so.1 is found"
    )]
    StubLibrary {
        /// Where it lies.
        path: String,
    },
    /// The CUDA driver is too old.
    #[error("the CUDA driver is older than 11.4 (JetPack 5.1), the oldest that can be used: it has no {symbols}")]
    OldDriver {
        /// The functions it lacks.
        symbols: String,
    },
    /// The driver finds no GPU.
    #[error("the CUDA driver finds no GPU ({code})")]
    NoDevice {
        /// The driver's error.
        code: String,
    },
    /// The user may not use the GPU.
    #[error("{} may not be opened by this user, so CUDA finds no GPU ({code}); add the user to its group", path.display())]
    Permission {
        /// The device node.
        path: PathBuf,
        /// The driver's error.
        code: String,
    },
    /// The GPU is of a kind for which no kernels are compiled.
    #[error("{gpu} has compute capability {found}; kernels are compiled for {supported} only")]
    Capability {
        /// The GPU's name.
        gpu: String,
        /// What it is.
        found: Capability,
        /// What is compiled.
        supported: String,
    },
    /// The GPU's memory is used up.
    #[error("the GPU is out of memory: {what}")]
    OutOfMemory {
        /// What it was for, how much was asked for and how much is free.
        what: String,
    },
    /// Any other error of the CUDA driver.
    #[error("CUDA: {doing}: {code}")]
    Driver {
        /// What was being done.
        doing: String,
        /// The driver's error.
        code: String,
    },
}

impl Error {
    pub(crate) fn file(path: &Path, source: std::io::Error) -> Self {
        Self::File { path: path.to_owned(), source }
    }

    pub(crate) fn weights(path: &Path, why: impl fmt::Display) -> Self {
        Self::Weights { path: path.to_owned(), why: why.to_string() }
    }

    pub(crate) fn plan(path: &Path, why: impl fmt::Display) -> Self {
        Self::Plan { path: path.to_owned(), why: why.to_string() }
    }

    pub(crate) fn no_kernel(what: &str, why: impl fmt::Display) -> Self {
        Self::NoKernel { what: what.to_owned(), why: why.to_string() }
    }
}
