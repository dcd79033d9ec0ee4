//! What can go wrong between a network's name and its blocks running on a GPU.

use std::fmt;
use std::path::{Path, PathBuf};

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
    /// A layer, or a batch, that no kernel is compiled for.
    #[error("no kernel for {what}: {why}")]
    NoKernel {
        /// The block.
        what: String,
        /// Which layer, and what of it.
        why: String,
    },
}

impl Error {
    pub(crate) fn file(path: &Path, source: std::io::Error) -> Self {
        Self::File { path: path.to_owned(), source }
    }

    pub(crate) fn weights(path: &Path, why: impl fmt::Display) -> Self {
        Self::Weights { path: path.to_owned(), why: why.to_string() }
    }

    pub(crate) fn no_kernel(what: &str, why: impl fmt::Display) -> Self {
        Self::NoKernel { what: what.to_owned(), why: why.to_string() }
    }
}
