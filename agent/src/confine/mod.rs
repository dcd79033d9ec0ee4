//! Least privilege: what a process that writes clocks as root gives up once everything is open.
//!
//! Capabilities (all but those named), new privileges by exec, writing anywhere but beneath the folders named (Landlock),
//! and every system call that it does not make (seccomp). For a process that starts nothing any more: all of it is handed
//! on to what it would start. Where a kernel lacks a part the rest is done, and said.

mod caps;
mod landlock;
mod seccomp;

use std::path::{Path, PathBuf};

use jetpace_devfreq::board::{Board, Gpu};
use jetpace_devfreq::guard::STATE;

pub use caps::Cap;

/// What is kept.
#[derive(Debug, Default)]
pub struct Needs {
    /// Folders beneath which nodes are written.
    pub nodes: Vec<PathBuf>,
    /// Folders in which files are made, written and removed.
    pub files: Vec<PathBuf>,
    /// Capabilities.
    pub caps: Vec<Cap>,
}

impl Needs {
    /// What holding and handing back this board's clock takes, in the tree below `root`.
    pub fn of_board(root: &Path, board: &Board) -> Self {
        Self::of_nodes(root, &board.writable())
    }

    /// The same of its GPU's alone.
    pub fn of_gpu(root: &Path, gpu: &Gpu) -> Self {
        Self::of_nodes(root, &gpu.writable())
    }

    fn of_nodes(root: &Path, nodes: &[PathBuf]) -> Self {
        let place = |path: &Path| root.join(path.strip_prefix("/").unwrap_or(path));
        let mut nodes: Vec<PathBuf> = nodes.iter().filter_map(|node| node.parent()).map(place).collect();
        // A governor's own folder comes and goes; the one above it stays.
        nodes.retain(|folder| folder.is_dir());
        nodes.sort();
        nodes.dedup();
        let files = Path::new(STATE).parent().map(place).into_iter().collect();
        // A tree that is not the machine's may belong to anyone.
        let caps = if root == Path::new("/") { Vec::new() } else { vec![Cap::DacOverride] };
        Self { nodes, files, caps }
    }
}

/// Gives up what is not needed. To be called before threads are started; those that are get the same.
pub fn apply(needs: &Needs) {
    let report = |what: &str, done: std::io::Result<()>| match done {
        Ok(()) => log::debug!("{what}: confined"),
        Err(e) if matches!(e.raw_os_error(), Some(libc::ENOSYS | libc::EOPNOTSUPP | libc::EINVAL)) => {
            log::info!("{what}: this kernel does not have it ({e})");
        }
        Err(e) => log::warn!("{what}: not confined: {e}"),
    };
    report("capabilities", caps::drop_all_but(&needs.caps));
    report("new privileges", nix::sys::prctl::set_no_new_privs().map_err(Into::into));
    report("Landlock", landlock::restrict(&needs.nodes, &needs.files));
    report("seccomp", seccomp::restrict());
}
