//! Fuzz targets: everything that reads bytes which someone else wrote. Each takes any bytes, and fails by panicking.
//! `./ci.sh fuzz` drives them; an ordinary test replays the seeds, among them whatever once crashed.

mod import;
mod launch;
mod model;
mod nodes;
mod page;
mod state;
mod sweep;
mod table;
mod weights;
mod wire;

use std::path::{Path, PathBuf};

pub use import::import;
pub use launch::launch;
pub use model::model;
pub use nodes::nodes;
pub use page::page;
pub use state::state;
pub use sweep::sweep;
pub use table::table;
pub use weights::weights;
pub use wire::wire;

/// Runs a target on the files and folders that are named on the command line.
pub fn replay(target: fn(&[u8]) -> bool) -> std::io::Result<()> {
    for path in std::env::args_os().skip(1).map(PathBuf::from) {
        for file in files(&path)? {
            target(&std::fs::read(&file)?);
        }
    }
    Ok(())
}

/// The file itself, or all files in the folder.
fn files(path: &Path) -> std::io::Result<Vec<PathBuf>> {
    if path.is_file() {
        return Ok(vec![path.to_owned()]);
    }
    std::fs::read_dir(path)?.map(|entry| Ok(entry?.path())).collect()
}

fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every seed gets past the reader that it is for, or is named as one that does not: a target that turns its seeds away
    /// at the first byte looks for nothing.
    fn replay(name: &str, target: fn(&[u8]) -> bool, at_least: usize) {
        let files = files(&root().join("tests/fuzz/seeds").join(name)).unwrap();
        let mut read = 0;
        for file in files {
            let reads = target(&std::fs::read(&file).unwrap());
            let is_bad = file.file_name().and_then(|name| name.to_str()).is_some_and(|name| name.starts_with("wrong"));
            assert_eq!(reads, !is_bad, "{}", file.display());
            read += usize::from(reads);
        }
        assert!(read >= at_least, "{read} seeds of {name} read");
    }

    #[test]
    fn seeds_and_former_crashes_pass() {
        replay("import", import, 5);
        replay("launch", launch, 1);
        replay("model", model, 1);
        replay("nodes", nodes, 2);
        replay("page", page, 2);
        replay("state", state, 1);
        replay("sweep", sweep, 2);
        replay("table", table, 2);
        replay("weights", weights, 1);
        replay("wire", wire, 4);
    }
}
