//! Who writes: chosen by what the table says a write takes, or by the flag.

use std::process::Stdio;

use super::client;
use super::daemon::Daemon;
use super::{jetpace, table};

/// A client stays connected as long as the status is asked.
fn writer_of_a_client(options: &[&str]) -> String {
    let daemon = Daemon::start(options, &[]);
    let mut command = std::process::Command::new(std::env::current_exe().unwrap());
    let mut child = client::waiting(&mut command, &daemon.socket).stdin(Stdio::piped()).spawn().unwrap();
    super::until("the client", || daemon.status()["clients"][0]["frames"] == client::FRAMES);
    let writer = daemon.status()["clients"][0]["writer"].as_str().unwrap().to_owned();
    drop(child.stdin.take());
    assert!(child.wait().unwrap().success());
    daemon.stop();
    writer
}

#[test]
fn serve_takes_the_writer_that_is_asked_for_and_else_the_tables() {
    assert_eq!(writer_of_a_client(&["--writer", "inline"]), "inline");
    assert_eq!(writer_of_a_client(&["--writer", "thread"]), "thread");
    let image = std::fs::read(table()).unwrap();
    let write_time = jetpace_tables::table::image::decode(&image).unwrap().write_time().unwrap();
    let by_table = jetpace::runtime::writer::Writer::by_cost(write_time).text();
    assert_eq!(writer_of_a_client(&[]), by_table, "a write takes {write_time}");
    assert_eq!(writer_of_a_client(&["--writer", "auto"]), by_table);
}

#[test]
fn a_virtual_board_has_no_thread_that_writes() {
    let table = table().to_str().unwrap();
    for options in [&["--writer", "thread"][..], &["--fifo", "10"], &["--cpu", "0"], &["--writer", "both"]] {
        let output = jetpace(&["run", "--board", "sim:tx2", "--table", table]).args(options).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{options:?}");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(said.contains("virtual board") || said.contains("auto, inline or thread"), "{said}");
    }
}
