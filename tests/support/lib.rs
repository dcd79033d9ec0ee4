//! What several integration tests of jetpace share.

pub mod edited;
pub mod for_deadline;
pub mod harsh_world;
pub mod pairs;
pub mod virtual_boards;

use std::path::{Path, PathBuf};

/// The repository's root.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().map(Path::to_path_buf).unwrap_or_default()
}

/// A file of the measured data folder beside the checkout, or `None` (said on stderr) where the folder is absent:
/// those measurements carry no licence, so the project reads them in place and never copies them.
pub fn measured(file: &str) -> Option<PathBuf> {
    let path = root().parent()?.join("shared/data").join(file);
    if path.exists() {
        Some(path)
    } else {
        eprintln!("skipped: the measured data folder has no {file}");
        None
    }
}
