//! Programs of one's own on a board that lives on disk: another process, its work on the stand-in GPU, `hold` around it.

use std::env;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Command;

use jetpace::machine::GPU_VARIABLE;
use jetpace::runtime::page::What;
use jetpace::runtime::remote::Remote;
use jetpace::runtime::wire::SOCKET_VARIABLE;
use jetpace_tables::work::{BlockId, Size};

use super::formats::agree;

const FRAMES: usize = 60;

/// Not a test by itself: the user's program. Runs frames of a fixed work as fast as it can, tells them where there is
/// someone to tell, and prints the middling frame's time on the GPU.
#[test]
fn program() {
    let Some(gpu) = env::var_os(GPU_VARIABLE) else { return };
    let mut say = UnixStream::connect(Path::new(&gpu)).unwrap();
    let mut answers = BufReader::new(say.try_clone().unwrap());
    let mut remote = env::var_os(SOCKET_VARIABLE).map(|socket| Remote::open(Path::new(&socket), &[]).unwrap());
    let mut times: Vec<u64> = (0..FRAMES)
        .map(|_| {
            let mut tell = |what| remote.iter_mut().for_each(|remote| remote.tell(what).unwrap());
            tell(What::FrameStart);
            tell(What::BlockStart(BlockId(0), Size(1)));
            say.write_all(b"event\nrun 40000000000 1000000\nevent\nwait\n").unwrap();
            let mut answer = String::new();
            answers.read_line(&mut answer).unwrap();
            tell(What::FrameEnd);
            let times: Vec<u64> = answer.split_whitespace().map(|time| time.parse().unwrap()).collect();
            times[1] - times[0]
        })
        .collect();
    times.sort_unstable();
    println!("program: {} ns, {} frames told", times[FRAMES / 2], remote.map_or(0, |remote| remote.figures().frames));
}

fn jetpace(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_jetpace"));
    command.args(arguments).env("TMPDIR", folder);
    command
}

/// What the program printed when it was held: nanoseconds, and frames told.
fn held(arguments: &[&str]) -> (f64, u64) {
    let folder = tempfile::tempdir().unwrap();
    let this = env::current_exe().unwrap();
    let program = ["--", this.to_str().unwrap(), "--exact", "live::program", "--nocapture"];
    let all = [&["hold", "--board", "live:orin-nano-super"][..], arguments, &program].concat();
    let output = jetpace(folder.path(), &all).output().unwrap();
    let (text, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{text}{errors}");
    let said = text.lines().find_map(|line| line.split_once("program: ")).unwrap_or_else(|| panic!("{text}{errors}")).1;
    let numbers: Vec<f64> = said.split_whitespace().filter_map(|word| word.parse().ok()).collect();
    let left: Vec<_> = std::fs::read_dir(folder.path().join(format!("jetpace-live-{}", nix::unistd::geteuid())))
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert_eq!(left, ["orin-nano-super.lock"], "the board went with its process");
    (numbers[0], numbers[1] as u64)
}

#[test]
fn hold_runs_a_program_at_a_clock_of_the_live_board() {
    let (slow, told) = held(&["--clock", "306MHz"]);
    let (fast, _) = held(&["--clock", "918MHz"]);
    assert_eq!(told, 0);
    // 40 GFLOP and hardly a byte go with the clock; drift is 0.7 %, and a spike may hit some of the frames.
    assert!((2.9..3.1).contains(&(slow / fast)), "{slow} and {fast} ns");
}

#[test]
fn hold_counts_the_frames_that_a_program_tells_the_library() {
    let (_, told) = held(&["--fps", "5"]);
    assert_eq!(told, FRAMES as u64);
}

#[test]
fn hold_finds_the_clock_that_a_deadline_calls_for() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("held.json");
    // 6 ms at the highest clock, and 20 at the lowest: a deadline that this machine's noise does not reach.
    let line = ["--deadline", "5s", "--frames-from", "lib", "--before", "100ms", "--json", file.to_str().unwrap()];
    let (_, told) = held(&line);
    let document: serde_json::Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    agree("`hold --deadline --json`", std::slice::from_ref(&document));
    assert_eq!((told, document["held"]["late"].as_u64()), (FRAMES as u64, Some(0)));
    let frames = |stretch: &str| document[stretch]["frames"].as_u64().unwrap();
    assert_eq!(frames("held") + frames("before"), FRAMES as u64, "{document}");
    let clocks = document["clocks"].as_array().unwrap();
    assert!(clocks.iter().any(|ran| ran["clock_hz"] == 306_000_000), "{document}");
}

#[test]
fn the_live_board_is_probed_and_an_unknown_one_named() {
    let folder = tempfile::tempdir().unwrap();
    let output = jetpace(folder.path(), &["probe", "--board", "live:tx2", "--test-write", "--json"]).output().unwrap();
    let document: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(output.status.success());
    assert!(document.to_string().contains("VDD_SYS_GPU"), "{document}");
    let output = jetpace(folder.path(), &["probe", "--board", "live:tx3"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("orin-nano-super"), "which there are is said");
    let output = jetpace(folder.path(), &["hold", "--board", "sim:tx2", "--clock", "1GHz", "--", "true"]).output();
    assert!(String::from_utf8_lossy(&output.unwrap().stderr).contains("live:tx2"));
}
