//! What can go wrong with a machine's nodes. Every message names the path and, where one was written, the value.

use std::io;
use std::path::{Path, PathBuf};

use jetpace_tables::units::{Hertz, Nanos};

/// What to do where a node is not this user's to write: the one remedy that every command names.
pub const LEASE: &str = "run it as root, or lease the clock from `jetpace serve`, which runs as root (`jetpace probe --fix` \
                         prints the lines that set that up)";

/// The same where nobody may write, root neither.
pub const READ_ONLY: &str = "it is mounted read-only, which root cannot change from inside: mount /sys writable (docker: \
                             --privileged or -v /sys:/sys; systemd: no ProtectKernelTunables), or lease the clock from \
                             `jetpace serve` outside (mount /run/jetpace-clients)";

/// An error of this crate.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A node could not be read.
    #[error("{}: cannot be read: {source}", path.display())]
    Read {
        /// The node.
        path: PathBuf,
        /// What the kernel answered.
        source: io::Error,
    },
    /// A node could not be written.
    #[error("{}: writing {value:?}: {source}", path.display())]
    Write {
        /// The node.
        path: PathBuf,
        /// What was written.
        value: String,
        /// What the kernel answered.
        source: io::Error,
    },
    /// A node holds something else than it should.
    #[error("{}: holds {text:?}, not {expected}", path.display())]
    Content {
        /// The node.
        path: PathBuf,
        /// Its content, cut short.
        text: String,
        /// What was expected.
        expected: &'static str,
    },
    /// The write was taken, but the node holds another value.
    #[error("{}: {wrote:?} was written, but it reads {reads:?}", path.display())]
    NotTaken {
        /// The node.
        path: PathBuf,
        /// What was written.
        wrote: String,
        /// What it reads now.
        reads: String,
    },
    /// No GPU with a clock was found.
    #[error(
        "no GPU found below /sys/class/devfreq (there: {present}); on a Jetson it appears once its driver is loaded"
    )]
    NoGpu {
        /// The devfreq devices that there are.
        present: String,
    },
    /// The GPU that was found is not a Jetson's.
    #[error("{name}: not a Jetson's GPU: {why}; jetpace sets no other clock")]
    ForeignGpu {
        /// The devfreq device.
        name: String,
        /// What speaks against it.
        why: String,
    },
    /// The user's bound is hidden, and only ways that write a bound would fix the clock.
    #[error(
        "the user's bound on the GPU's clock cannot be known {why}, and a bound that is not known cannot be put back: {tried}; \
         wait until it can (until the GPU is cooler), or let nvpmodel set a mode"
    )]
    BoundUnknown {
        /// What hides it.
        why: &'static str,
        /// Each way that leaves the bound alone and why it does not work.
        tried: String,
    },
    /// Only listed clocks are written: others are rounded up by the driver, above the cap even.
    #[error("clock number {index} is not one of the {count} available clocks")]
    NotListed {
        /// The clock asked for.
        index: usize,
        /// How many there are.
        count: usize,
    },
    /// The clock does not follow.
    #[error("{}: {wanted} was asked for, {runs} runs after {budget}{why}", path.display())]
    DoesNotFollow {
        /// Where the running clock is read.
        path: PathBuf,
        /// What was asked for.
        wanted: Hertz,
        /// What runs.
        runs: Hertz,
        /// How long it was waited for.
        budget: Nanos,
        /// A known reason, or nothing.
        why: String,
    },
    /// None of the ways of fixing the GPU's clock works here.
    #[error("no way of fixing the GPU's clock works here: {tried}")]
    NoWay {
        /// Each way and why it does not work.
        tried: String,
    },
    /// The EMC clock cannot be locked on this board.
    #[error("the EMC clock cannot be locked here: {why}")]
    EmcNotLockable {
        /// What is missing.
        why: String,
    },
    /// Another instance holds the lock.
    #[error("{}: another jetpace (process {holder}) holds the clocks of this machine; stop it first", path.display())]
    Busy {
        /// The lock file.
        path: PathBuf,
        /// Who holds it; 0 where that is not known.
        holder: u32,
    },
    /// The file with the original values could not be written, read or removed.
    #[error("{}: {what}: {source}", path.display())]
    State {
        /// The state file.
        path: PathBuf,
        /// What was tried.
        what: &'static str,
        /// What the system answered.
        source: io::Error,
    },
    /// Some original values could not be put back.
    #[error("not put back: {nodes}; the original values are kept in {}: run `jetpace restore`", path.display())]
    NotRestored {
        /// Each node, its original value and what went wrong.
        nodes: String,
        /// The state file.
        path: PathBuf,
    },
    /// A virtual or recorded board is wrong.
    #[error("board {board}: {what}")]
    Board {
        /// Its name or folder.
        board: String,
        /// What is wrong.
        what: String,
    },
}

impl Error {
    pub(crate) fn read(path: &Path, source: io::Error) -> Self {
        Self::Read { path: path.to_owned(), source }
    }

    pub(crate) fn write(path: &Path, value: &str, source: io::Error) -> Self {
        Self::Write { path: path.to_owned(), value: value.to_owned(), source }
    }

    pub(crate) fn content(path: &Path, text: &str, expected: &'static str) -> Self {
        let mut text: String = text.trim_end().chars().take(60).collect();
        text.retain(|c| c != '\0');
        Self::Content { path: path.to_owned(), text, expected }
    }

    /// Whether the user lacks a permission (or /sys is mounted read-only).
    pub fn is_permission(&self) -> bool {
        match self {
            Self::Read { source, .. } | Self::Write { source, .. } | Self::State { source, .. } => {
                matches!(source.kind(), io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem)
            }
            _ => false,
        }
    }

    /// What to do where the user lacks a permission: the one remedy that every command names.
    pub fn remedy(&self) -> Option<&'static str> {
        match self {
            Self::Read { source, .. } | Self::Write { source, .. } | Self::State { source, .. } => remedy(source),
            _ => None,
        }
    }

    /// Whether this machine has not what is needed.
    pub fn is_unsupported(&self) -> bool {
        matches!(self, Self::NoGpu { .. } | Self::ForeignGpu { .. } | Self::NoWay { .. } | Self::EmcNotLockable { .. })
    }
}

/// What to do about a refusal: nodes are written by root alone, and an ordinary user's commands lease the clock from the
/// daemon.
fn remedy(error: &io::Error) -> Option<&'static str> {
    match error.kind() {
        io::ErrorKind::PermissionDenied => Some(LEASE),
        io::ErrorKind::ReadOnlyFilesystem => Some(READ_ONLY),
        _ => None,
    }
}
