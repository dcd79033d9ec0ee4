//! The program itself: frames by triggers, and the daemon as a service manager, other users and containers meet it.

pub mod client;
mod confined;
mod container;
pub mod daemon;
mod faults;
mod idle;
mod lease;
mod metrics;
mod notify;
mod run;
mod trace;
mod users;
mod writer;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

const JETPACE: &str = env!("CARGO_BIN_EXE_jetpace");

pub fn jetpace(arguments: &[&str]) -> Command {
    let mut command = Command::new(JETPACE);
    command.args(arguments);
    command
}

/// What a command printed, where it succeeded.
fn printed(output: &Output) -> String {
    assert!(output.status.success(), "{}: {}", output.status, String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// A table for alexnet on sim:tx2, made once.
fn table() -> &'static Path {
    static TABLE: OnceLock<(tempfile::TempDir, PathBuf)> = OnceLock::new();
    let (_, path) = TABLE.get_or_init(|| {
        let folder = tempfile::tempdir().unwrap();
        let place = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
        let (sweep, model, table) = (place("sweep.csv"), place("model.json"), place("table.jpt"));
        for arguments in [
            &["calibrate", "--board", "sim:tx2", "--net", "alexnet", "-o", &sweep][..],
            &["fit", &sweep, "-o", &model],
            &["plan", &model, "--deadline", "100ms", "-o", &table],
        ] {
            printed(&jetpace(arguments).output().unwrap());
        }
        let path = PathBuf::from(table);
        (folder, path)
    });
    path
}

/// Waits for something that must come about.
pub fn until(what: &str, mut done: impl FnMut() -> bool) {
    let started = Instant::now();
    while !done() {
        assert!(started.elapsed() < Duration::from_secs(60), "{what} did not come about");
        std::thread::sleep(Duration::from_millis(2));
    }
}
