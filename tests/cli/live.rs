//! Programs of one's own on a board that lives on disk: another process, its work on the stand-in GPU, `hold` around it.

use std::env;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Command;

use jetpace::machine::GPU_VARIABLE;
use jetpace::runtime::page::What;
use jetpace::runtime::swept::Peer;
use jetpace::runtime::wire::SOCKET_VARIABLE;
use jetpace_tables::sample::{Kind, Row};
use jetpace_tables::units::Hertz;
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
    let mut peer = env::var_os(SOCKET_VARIABLE).map(|socket| Peer::open(Path::new(&socket), &[]).unwrap());
    if let Some(Peer::Measures(swept)) = &peer {
        assert_eq!(swept.name("all").unwrap(), BlockId(0));
    }
    let mut times: Vec<u64> = (0..FRAMES)
        .map(|_| {
            let mut tell = |what| match &mut peer {
                Some(Peer::Daemon(remote)) => remote.tell(what).unwrap(),
                // Whoever measures may have had enough.
                Some(Peer::Measures(swept)) => swept.tell(what).unwrap_or_else(|_| std::process::exit(0)),
                None => {}
            };
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
    let told = match peer {
        Some(Peer::Daemon(remote)) => remote.figures().frames,
        _ => 0,
    };
    println!("program: {} ns, {told} frames told", times[FRAMES / 2]);
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
fn calibrate_measures_a_program_of_ones_own_to_a_plan() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str| folder.path().join(name).display().to_string();
    let run = |arguments: &[&str]| {
        let output = jetpace(folder.path(), arguments).output().unwrap();
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    // It ends after every 60 frames, and is started again.
    let command = format!("'{}' --exact live::program --nocapture >&2", env::current_exe().unwrap().display());
    let calibrate = |command: &str, clocks: &str| {
        let line = ["calibrate", "--board", "live:orin-nano-super", "--cmd", command, "--clocks", clocks];
        run(&[&line[..], &["--frames", "80", "--passes", "1", "-o", &file("sweep.csv")]].concat())
    };
    let (code, said) = calibrate(&command, "306MHz,1020MHz");
    assert_eq!(code, Some(0), "{said}");
    let sweep = jetpace::files::sweep::read(Path::new(&file("sweep.csv"))).unwrap();
    let rows = |kind: Kind| sweep.rows.iter().filter(move |row| row.kind == kind);
    assert_eq!(rows(Kind::Frame).count(), 160, "{said}");
    // Awake and railgated.
    assert_eq!(rows(Kind::Idle).count(), 4, "{said}");
    // Single frames, and one row of each clock with power.
    assert_eq!(rows(Kind::Block).count(), 162, "{said}");
    let mean = |hz| {
        let at = |row: &&Row| row.gpu_freq == Some(Hertz::new(hz)) && row.power.is_some();
        rows(Kind::Block).find(at).unwrap_or_else(|| panic!("{said}"))
    };
    let (slow, fast) = (mean(306_000_000), mean(1_020_000_000));
    // 3.3 times as long by the clocks; this machine's noise is in both.
    assert!(slow.latency_s() > fast.latency_s().map(|time| 1.3 * time), "{slow:?} {fast:?}");
    assert!(slow.power < fast.power && slow.power > rows(Kind::Idle).next().unwrap().power, "{slow:?} {fast:?}");
    let before = std::fs::read(file("sweep.csv")).unwrap();
    for (command, code, said) in [("false", 1, "ended with exit status: 1"), ("true", 4, "told no frame")] {
        let (ended, words) = calibrate(command, "306MHz,612MHz");
        assert!(ended == Some(code) && words.contains(said), "{ended:?} {words}");
        assert_eq!(std::fs::read(file("sweep.csv")).unwrap(), before, "what was measured is kept");
    }
    assert_eq!(calibrate(&command, "306MHz,510MHz,1020MHz").0, Some(0), "it goes on where it was");
    let (code, said) = run(&["fit", &file("sweep.csv"), "-o", &file("model.json")]);
    assert_eq!(code, Some(0), "{said}");
    let plan = ["plan", &file("model.json"), "--deadline", "5s", "--settle", "8ms", "--stall", "0.1ms"];
    let (code, said) = run(&[&plan[..], &["-o", &file("table.jpt")]].concat());
    assert_eq!(code, Some(0), "{said}");
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
