//! Fuzz targets: everything that reads bytes which someone else wrote. Each takes any bytes, and fails by panicking.
//! `./ci.sh fuzz` drives them; an ordinary test replays the seeds, among them whatever once crashed.

mod model;
mod nodes;
mod sweep;
mod table;

use std::path::{Path, PathBuf};

pub use model::model;
pub use nodes::nodes;
pub use sweep::sweep;
pub use table::table;

/// Runs a target on the files and folders that are named on the command line.
pub fn replay(target: fn(&[u8])) -> std::io::Result<()> {
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

    fn replay(name: &str, target: fn(&[u8]), at_least: usize) {
        let files = files(&root().join("tests/fuzz/seeds").join(name)).unwrap();
        assert!(files.len() >= at_least, "{} seeds in {name}", files.len());
        for file in files {
            target(&std::fs::read(&file).unwrap());
        }
    }

    #[test]
    fn seeds_and_former_crashes_pass() {
        replay("model", model, 1);
        replay("nodes", nodes, 2);
        replay("sweep", sweep, 3);
        replay("table", table, 2);
    }
}
