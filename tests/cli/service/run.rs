//! `jetpace run`: frames by triggers, a line per frame, and a graceful stop.

use std::io::Write;
use std::os::unix::net::UnixDatagram;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, Output, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use super::{jetpace, printed, table, until};

fn run(options: &[&str]) -> Command {
    let mut command = jetpace(&["run", "--board", "sim:tx2", "--json", "--table"]);
    command.arg(table()).args(options).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn with_input(mut command: Command, input: &str) -> Output {
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    child.wait_with_output().unwrap()
}

fn document(output: &Output) -> Value {
    serde_json::from_str(&printed(output)).unwrap()
}

#[test]
fn every_line_is_a_frame_a_period_after_the_one_before() {
    let by_lines = document(&with_input(run(&["--trigger", "stdin"]), &"\n".repeat(40)));
    let by_timer = document(&run(&["--frames", "40"]).output().unwrap());
    assert_eq!(by_lines, by_timer, "lines without a time are the timer's frames");
    assert_eq!(by_lines["frames"], 40);
    assert!(by_lines["baselines"]["stock_governor"]["energy_j"].as_f64() > by_lines["energy_j"].as_f64());
}

#[test]
fn recorded_times_are_played_again_and_logged() {
    let folder = tempfile::tempdir().unwrap();
    let csv = folder.path().join("frames.csv");
    // The second comes while the first runs, the fourth long after the watch over silence has handed back.
    let input = "0ms\n1ms\n250ms\n2s\n2.1s";
    let options = ["--trigger", "stdin", "--csv", csv.to_str().unwrap()];
    let document = document(&with_input(run(&options), input));
    assert_eq!((document["frames"].as_u64(), document["missed"].as_u64()), (Some(5), Some(0)));
    let text = std::fs::read_to_string(&csv).unwrap();
    let mut lines = text.lines();
    assert_eq!(lines.next(), Some("frame,start_s,time_s,missed,switches"));
    let rows: Vec<Vec<f64>> = lines.map(|line| line.split(',').map(|field| field.parse().unwrap()).collect()).collect();
    let first = rows[0][1];
    let starts: Vec<f64> = rows.iter().map(|row| row[1] - first).collect();
    let near = |a: f64, b: f64| (a - b).abs() < 1e-8;
    assert!(near(starts[1], rows[0][2]), "the second waits for the end of the first: {starts:?}");
    assert!(near(starts[2], 0.25) && near(starts[3], 2.0) && near(starts[4], 2.1), "{starts:?}");
    assert!(rows.iter().enumerate().all(|(i, row)| row[0] == i as f64 && row[3] == 0.0));
    // Handed back between the third and the fourth, and taken again.
    assert!(rows[3][4] >= 1.0, "{rows:?}");
}

#[test]
fn triggers_that_are_none_are_named() {
    let output = with_input(run(&["--trigger", "stdin"]), "\n1ms\nsoon\n");
    assert_eq!(output.status.code(), Some(2));
    let message = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(message.contains("trigger 2: soon") && message.contains("40ms"), "{message}");
    let output = run(&["--trigger", "tcp:80"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("unix:PATH"));
}

fn spawn_on_socket(folder: &tempfile::TempDir, more: &[&str]) -> (Child, UnixDatagram) {
    let path = folder.path().join("triggers");
    let source = format!("unix:{}", path.display());
    let options = [&["--trigger", &source][..], more].concat();
    let child = run(&options).spawn().unwrap();
    let camera = UnixDatagram::unbound().unwrap();
    until("the socket", || camera.connect(&path).is_ok());
    (child, camera)
}

#[test]
fn packets_are_frames_up_to_the_number_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let (child, camera) = spawn_on_socket(&folder, &["--frames", "7"]);
    for _ in 0..7 {
        camera.send(b"").unwrap();
    }
    let document = document(&child.wait_with_output().unwrap());
    assert_eq!(document["frames"], 7);
    assert!(!folder.path().join("triggers").exists(), "the socket was left");
}

#[test]
fn told_to_stop_it_shows_the_frames_so_far_and_ends_by_the_signal() {
    let folder = tempfile::tempdir().unwrap();
    let csv = folder.path().join("frames.csv");
    let (child, camera) = spawn_on_socket(&folder, &["--csv", csv.to_str().unwrap()]);
    for _ in 0..3 {
        camera.send(b"\n").unwrap();
    }
    let lines = || std::fs::read_to_string(&csv).map_or(0, |text| text.lines().count() as u64);
    until("the frames", || lines() == 4);
    kill(Pid::from_raw(child.id() as i32), Signal::SIGTERM).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.signal(), Some(libc::SIGTERM));
    let document: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(document["frames"], 3);
    assert!(document["baselines"]["stock_governor"].is_null());
    assert_eq!(lines(), 4);
}
