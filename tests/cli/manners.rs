//! How the program behaves towards a person: nothing of theirs is written over, what is wrong is said where it can be
//! mended, and a signal ends it.

use std::fs;
use std::path::Path;
use std::process::{Command as Process, Stdio};
use std::time::{Duration, Instant};

use crate::bad_input::{CALIBRATION, USAGE, command, folder, plan, refused, succeeds};

/// Runs a command that has to succeed, and gives what it says and what it prints.
fn says(folder: &Path, args: &[&str]) -> (String, String) {
    let output = command(folder, args).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{args:?}: {said}");
    (said, String::from_utf8(output.stdout).unwrap())
}

#[test]
fn no_input_and_no_file_of_another_kind_is_written_over_without_force() {
    let folder = folder();
    let here = folder.path();
    succeeds(here, &plan("model.json", &["--deadline", "40ms", "-o", "good.jpt"]));
    fs::write(here.join("notes.csv"), "remember the milk\n").unwrap();
    let front = |file| [&plan("model.json", &["--deadline", "40ms", "--json"])[..], &["--pareto", file]].concat();
    let table = |file| plan("model.json", &["--deadline", "40ms", "-o", file]);
    let run =
        |file| ["run", "--board", "sim:tx2", "--net", "alexnet", "--frames", "3", "--deadline", "40ms", "--csv", file];
    let cases: [(&[&str], &str); 8] = [
        (&["fit", "good.csv", "-o", "good.csv"], "good.csv is what this command reads"),
        (&["fit", "good.csv", "-o", "good.jpt"], "good.jpt is a table, and a model would be written over it"),
        (&table("model.json"), "model.json is what this command reads"),
        (&table("good.csv"), "good.csv is a sweep, and a table would be"),
        (&table("notes.csv"), "notes.csv is none of jetpace's files"),
        (&front("good.csv"), "good.csv is a sweep, and a front of plans would be"),
        (&run("good.csv"), "good.csv is a sweep, and a log of frames would be"),
        (&["selftest", "--board", "sim:tx2", "-o", "model.json"], "model.json is a model"),
    ];
    for (args, said) in cases {
        refused(here, args, USAGE, &[said, "--force"]);
    }
    // What was made by the same command may be made again, and with --force anything.
    succeeds(here, &["fit", "good.csv", "-o", "model.json"]);
    succeeds(here, &table("good.jpt"));
    succeeds(here, &[&table("notes.csv")[..], &["--force"]].concat());
    assert!(fs::read(here.join("notes.csv")).unwrap().starts_with(b"JPT1"));
}

#[test]
fn what_is_printed_needs_no_file() {
    let folder = folder();
    let (said, _) = says(folder.path(), &["fit", "good.csv", "--train", "3"]);
    assert!(said.contains("no model is written: -o") && said.lines().count() <= 12, "{said}");
    let (said, _) = says(folder.path(), &plan("model.json", &["--deadline", "40ms"]));
    assert!(said.contains("no table is written: -o"), "{said}");
}

#[test]
fn a_front_is_svg_or_csv() {
    let folder = folder();
    let args = plan("model.json", &["--deadline", "40ms", "--json", "--pareto", "front.png"]);
    refused(folder.path(), &args, USAGE, &["front.png", "neither .svg nor .csv"]);
}

#[test]
fn a_sweep_that_names_no_board_is_said_at_plan_and_mended_by_board() {
    let folder = folder();
    let here = folder.path();
    let table =
        |more: &[&'static str]| [&plan("model.json", &["--deadline", "40ms", "-o", "t.jpt"])[..], more].concat();
    let (said, _) = says(here, &table(&[]));
    assert!(said.contains("names no board") && said.contains("--board"), "{said}");
    refused(
        here,
        &["run", "--board", "sim:tx2", "--table", "t.jpt"],
        CALIBRATION,
        &["t.jpt: ", "for no board", "--board"],
    );
    // The sweep's clocks are a TX2's, and no Orin's.
    refused(here, &table(&["--board", "sim:orin-nano"]), CALIBRATION, &["114.75 MHz", "sim:orin-nano does not list"]);
    let (said, _) = says(here, &table(&["--board", "sim:tx2"]));
    assert!(!said.contains("names no board"), "{said}");
    // Of this board, but of another network.
    refused(
        here,
        &["run", "--board", "sim:tx2", "--table", "t.jpt", "--net", "alexnet"],
        USAGE,
        &["not for those of alexnet"],
    );
}

#[test]
fn a_sweeps_faults_are_said_once_at_fit_and_the_summary_is_short() {
    let folder = folder();
    let here = folder.path();
    let sim = ["calibrate", "--board", "sim:orin-nano", "--net", "vgg19", "--frames", "60", "--passes", "1"];
    succeeds(here, &[&sim[..], &["--changes", "1", "-o", "own.csv"]].concat());
    let (said, _) = says(here, &["fit", "own.csv"]);
    assert!(!said.contains("own.csv: "), "{said}");
    assert!(said.lines().count() <= 11, "{said}");
    let (more, _) = says(here, &["fit", "own.csv", "-v"]);
    assert!(more.contains("vgg19 fc6") && more.lines().count() > said.lines().count(), "{more}");
    let whole = fs::read_to_string(here.join("own.csv")).unwrap();
    let lines: Vec<&str> = whole.lines().collect();
    fs::write(here.join("cut.csv"), lines[..lines.len() - 9].join("\n") + "\n").unwrap();
    let (said, _) = says(here, &["fit", "cut.csv"]);
    assert!(said.contains("cut.csv: interrupted: ") && said.contains("jetpace calibrate"), "{said}");

    let two = "device,model,block,gpu_freq_hz,latency_s,power_w,note\n\
               d,n,b,300000000,0.02,5,x\nd,n,b,600000000,0.01,6,y\n";
    fs::write(here.join("two.csv"), two).unwrap();
    let (said, _) = says(here, &["fit", "two.csv"]);
    assert_eq!(said.matches("does not know, and leaves aside: note").count(), 1, "{said}");
    assert!(said.contains("1 of 1 blocks were measured at two clocks only (300 MHz, 600 MHz)"), "{said}");
}

/// By SIGTERM, which is treated as Ctrl-C's SIGINT is, but which a shell's background jobs, and so these tests where they
/// are one, do not ignore.
#[test]
fn the_first_interrupt_ends_what_takes_long() {
    let folder = folder();
    let here = folder.path();
    for args in [
        &["demo", "--out", "demo"][..],
        &["compare", "--case", "local"],
        &["calibrate", "--board", "sim:orin-nano", "--net", "resnet152", "-o", "new.csv"],
    ] {
        // In the demo behind its first calibration, which waits for signals itself.
        let begun = |folder: &Path| args[0] != "demo" || folder.join("demo/robot-frame.model.json").exists();
        let mut process = Process::new(env!("CARGO_BIN_EXE_jetpace"));
        let mut process =
            process.current_dir(here).args(args).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let since = Instant::now();
        while !(begun(here) && since.elapsed() > Duration::from_secs(1)) {
            assert!(process.try_wait().unwrap().is_none(), "{args:?} is done before it could be interrupted");
            std::thread::sleep(Duration::from_millis(20));
        }
        let id = nix::unistd::Pid::from_raw(process.id().try_into().unwrap());
        nix::sys::signal::kill(id, nix::sys::signal::Signal::SIGTERM).unwrap();
        let since = Instant::now();
        let status = loop {
            if let Some(status) = process.try_wait().unwrap() {
                break status;
            }
            if since.elapsed() > Duration::from_secs(20) {
                let _ = process.kill();
                panic!("{args:?} goes on after SIGTERM");
            }
            std::thread::sleep(Duration::from_millis(20));
        };
        let signal = std::os::unix::process::ExitStatusExt::signal(&status);
        assert_eq!(signal, Some(15), "{args:?}: {status}");
    }
}

#[test]
fn a_selftest_speaks_plainly_and_fails_where_something_that_matters_differs() {
    let folder = tempfile::tempdir().unwrap();
    let (said, printed) = says(folder.path(), &["selftest", "--board", "sim:orin-nano", "--rounds", "4"]);
    for text in [&said, &printed] {
        assert!(!text.contains("Some(") && !text.contains("None") && !text.contains("Hertz("), "{text}");
    }
    let boards = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/boards/orin-nano-8gb-super-r36.4");
    let copy = folder.path().join("tree");
    copied(&boards, &copy);
    let tree = copy.to_str().unwrap();
    command(folder.path(), &["selftest", "--board", tree, "--rounds", "2"]).assert().success();
    // A bound that is none of the clocks is told, and no more: a Nano's 5 W mode has one. A floor above it is not so anywhere.
    let node = |name: &str| fs::canonicalize(copy.join("sys/class/devfreq/17000000.gpu").join(name)).unwrap();
    fs::write(node("max_freq"), "611000000\n").unwrap();
    command(folder.path(), &["selftest", "--board", tree, "--rounds", "2"]).assert().success();
    fs::write(node("min_freq"), "714000000\n").unwrap();
    let output = command(folder.path(), &["selftest", "--board", tree, "--rounds", "2"]).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("DIFFERS bound-listed") && said.contains("DIFFERS floor-below-bound"), "{said}");
    // The result is there all the same.
    assert!(String::from_utf8(output.stdout).unwrap().contains("\"checks\""));
}

fn copied(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        let (kind, place) = (entry.file_type().unwrap(), to.join(entry.file_name()));
        if kind.is_dir() {
            copied(&entry.path(), &place);
        } else if kind.is_symlink() {
            std::os::unix::fs::symlink(fs::read_link(entry.path()).unwrap(), place).unwrap();
        } else {
            fs::copy(entry.path(), place).unwrap();
        }
    }
}

#[test]
fn inspect_reads_a_sweep_and_a_trace_and_plan_names_the_tables_clocks() {
    let folder = folder();
    let here = folder.path();
    let (_, text) = says(here, &["inspect", "good.csv"]);
    assert!(text.contains("sweep of tx2") && text.contains("4 block") && text.contains("names no board"), "{text}");
    let (_, json) = says(here, &["inspect", "good.csv", "--json"]);
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!((&json["networks"][0]["network"], &json["networks"][0]["blocks"]), (&"net".into(), &1.into()));
    let trace = "{\"at_ns\":1000000000,\"event\":\"frame start\"}\n\
                 {\"at_ns\":1500000000,\"event\":\"frame end\",\"slack_us\":-20}\n\
                 {\"at_ns\":2000000000,\"event\":\"frame end\",\"slack_us\":900}\n";
    fs::write(here.join("trace.json"), trace).unwrap();
    let (_, text) = says(here, &["inspect", "trace.json"]);
    assert!(text.contains("trace of 1.000 s: 2 frames, 1 missed") && text.contains("-0.020 ms"), "{text}");
    fs::write(here.join("cut.json"), &trace[..trace.len() - 9]).unwrap();
    refused(here, &["inspect", "cut.json"], USAGE, &["cut.json: line 3: ", "cut off?"]);

    let table = plan("model.json", &["--deadline", "40ms", "-o", "t.jpt"]);
    let (said, _) = says(here, &table);
    let (_, table) = says(here, &["inspect", "t.jpt"]);
    let planned = said.lines().find_map(|line| line.strip_prefix("whole: ")).unwrap();
    let listed = table.lines().skip_while(|line| *line != "whole").nth(1).unwrap();
    assert!(listed.contains(&format!(": {planned}")) || said.contains("with feedback"), "{said}\n{table}");
}

#[test]
fn completions_offer_networks_and_boards() {
    let (_, script) = says(Path::new("."), &["completions", "bash"]);
    for offered in ["resnet152", "robot-frame", "sim:orin-nano", "sim:tx2"] {
        assert!(script.contains(offered), "{offered}");
    }
}
