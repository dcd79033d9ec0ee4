//! Bad input at the command line, with the real binary: every refusal names the file and what to do about it, has the
//! exit code of its kind, and leaves the folder as it was.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use assert_cmd::Command;
use tempfile::TempDir;

/// Exit codes, as the README lists them.
const FAILED: i32 = 1;
pub const USAGE: i32 = 2;
const UNSUPPORTED: i32 = 3;
pub const CALIBRATION: i32 = 4;
const PERMISSION: i32 = 5;

/// Ends a command that hangs; far above what any takes.
const HANGS: Duration = Duration::from_secs(300);

const HEADER: &str = "device,model,block,gpu_freq_hz,emc_freq_hz,latency_s,power_w,energy_j";

pub fn command(folder: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_jetpace"));
    command.current_dir(folder).args(args).timeout(HANGS);
    command
}

/// What lies in a folder, with the contents.
fn files(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.filter(|path| path.is_file()).map(|path| (path.clone(), fs::read(path).unwrap())).collect()
}

/// Runs a command that has to fail with `code` and a message that says all of `said`.
pub fn refused(folder: &Path, args: &[&str], code: i32, said: &[&str]) {
    let before = files(folder);
    let output = command(folder, args).output().unwrap();
    let message = String::from_utf8(output.stderr).expect("the message is no text");
    assert_eq!(output.status.code(), Some(code), "{args:?}: {message}");
    for part in said {
        assert!(message.contains(part), "{args:?} does not say `{part}`: {message}");
    }
    // clap says `error:`, the commands `jetpace:`; a warning may come before.
    let last = message.lines().rfind(|line| line.starts_with("jetpace: ") || line.starts_with("error: "));
    assert!(last.is_some() && !message.contains("panicked"), "{args:?}: {message}");
    assert!(output.stdout.is_empty(), "{args:?} prints {}", String::from_utf8_lossy(&output.stdout));
    assert_eq!(files(folder), before, "{args:?} leaves other files");
}

pub fn succeeds(folder: &Path, args: &[&str]) {
    command(folder, args).assert().success();
}

/// A published sweep: one block at four clocks, t = 4 ms + 10 ms at the top clock, and power that rises with it.
fn sweep_rows() -> Vec<String> {
    [114_750_000.0, 420_750_000.0, 726_750_000.0, 1_300_500_000.0]
        .map(|hz: f64| {
            let (time, power) = (0.004 + 0.010 * 1.3005e9 / hz, 3.0 + 4.0 * hz / 1.3005e9);
            format!("tx2,net,whole,{hz},1866000000,{time:.6},{power:.3},{:.6}", time * power)
        })
        .to_vec()
}

fn sweep() -> String {
    format!("{HEADER}\n{}\n", sweep_rows().join("\n"))
}

/// A folder with a good sweep and its model.
pub fn folder() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("good.csv"), sweep()).unwrap();
    succeeds(folder.path(), &["fit", "good.csv", "-o", "model.json"]);
    fs::create_dir(folder.path().join("dir")).unwrap();
    folder
}

/// The options that a published sweep's model needs to be planned with.
const LACKING: [&str; 6] = ["--idle-w", "1.5", "--settle", "5ms", "--stall", "100us"];

pub fn plan<'a>(model: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    [&["plan", model], more, &LACKING].concat()
}

#[test]
fn a_bad_sweep_is_refused_by_line_and_value() {
    let folder = folder();
    let rows = sweep_rows();
    let with = |row: &str| format!("{}{row}\n", sweep());
    let cases: &[(&str, String, &[&str])] = &[
        ("empty.csv", String::new(), &["empty.csv: empty", "jetpace calibrate"]),
        ("blank.csv", "\n \n".to_owned(), &["blank.csv: empty"]),
        ("header.csv", format!("{HEADER}\n"), &["header.csv: no rows", "jetpace calibrate"]),
        ("truncated.csv", sweep()[..sweep().len() - 20].to_owned(), &["truncated.csv: line 5: 6 fields", "cut off?"]),
        (
            "truncated-own.csv",
            format!("# jetpace-sweep 1 board=00\n{}", sweep().trim_end()),
            &["truncated-own.csv: line 6: cut off", "goes on from here"],
        ),
        (
            "nan.csv",
            with("tx2,net,b,114750000,1866000000,NaN,5.5,"),
            &["nan.csv: line 6: latency_s `NaN` is not a finite number"],
        ),
        (
            "infinite.csv",
            with("tx2,net,b,114750000,1866000000,0.5,inf,"),
            &["infinite.csv: line 6: power_w `inf` is not a finite number"],
        ),
        (
            "negative.csv",
            with("tx2,net,b,114750000,1866000000,-0.5,5.5,"),
            &["negative.csv: line 6: latency_s `-0.5` is outside 1 us..100 s"],
        ),
        ("duplicated.csv", with(&rows[0]), &["duplicated.csv: line 6: the same measurement as line 2", "`repeat`"]),
        (
            "milliseconds.csv",
            with("tx2,net,b,114750000,1866000000,500,5.5,"),
            &["milliseconds.csv: line 6: latency_s `500` is outside 1 us..100 s: is it in seconds?"],
        ),
        (
            "megahertz.csv",
            with("tx2,net,b,114.75,1866000000,0.5,5.5,"),
            &["megahertz.csv: line 6: gpu_freq_hz `114.75` is outside 1e7..1e10 Hz: is it in hertz?"],
        ),
        (
            "milliwatts.csv",
            with("tx2,net,b,114750000,1866000000,0.5,5500,"),
            &["milliwatts.csv: line 6: power_w `5500` is outside 0..1000 W: is it in watts?"],
        ),
        (
            "millijoules.csv",
            with("tx2,net,b,114750000,1866000000,0.5,5.5,2750"),
            &["millijoules.csv: line 6: energy_j 2750 is not power_w x latency_s", "another unit?"],
        ),
        (
            "one-clock.csv",
            format!("{HEADER}\n{}\n", rows[0]),
            &["one-clock.csv: ", "net whole", "one clock only, 114.75 MHz: measure it at two or more"],
        ),
        (
            "two-devices.csv",
            with("xavier,net,whole,114750000,1866000000,0.5,5.5,"),
            &["two-devices.csv: rows of two devices, `tx2` and `xavier`"],
        ),
        ("model.csv", "{\"format\": 1}".to_owned(), &["model.csv: line 1: no column `device`"]),
    ];
    for (name, text, said) in cases {
        fs::write(folder.path().join(name), text).unwrap();
        refused(folder.path(), &["fit", name, "-o", "new.json"], USAGE, said);
        refused(folder.path(), &["compare", name, "--idle-w", "1"], USAGE, said);
    }
    fs::write(folder.path().join("binary.csv"), b"\x7fELF\xff\xfe").unwrap();
    for (name, code, said) in [
        ("binary.csv", USAGE, "binary.csv: line 1: not UTF-8 text: is this a sweep?"),
        ("dir", USAGE, "dir is a directory; name a file in it"),
        ("gone.csv", FAILED, "gone.csv: No such file"),
    ] {
        refused(folder.path(), &["fit", name, "-o", "new.json"], code, &[said]);
        refused(folder.path(), &["compare", name, "--idle-w", "1"], code, &[said]);
    }
}

#[test]
fn options_that_a_sweep_cannot_serve_are_refused() {
    let folder = folder();
    for (args, code, said) in [
        (&["fit", "good.csv", "-o", "n.json", "--train", "1"][..], USAGE, &["good.csv: ", "1 clock(s)", "two"][..]),
        (&["fit", "good.csv", "-o", "n.json", "--min-clock", "2GHz"], USAGE, &["good.csv: ", "--min-clock"]),
        (&["fit", "good.csv", "-o", "n.json", "--min-clock", "1300"], USAGE, &["not a clock such as 612MHz"]),
        (&["fit", "good.csv", "-o", "n.json", "--min-clock", "fast"], USAGE, &["not a clock such as 612MHz"]),
        (&["compare", "good.csv"], CALIBRATION, &["good.csv: no rows of kind `idle`", "--idle-w"]),
        (&["compare", "good.csv", "--idle-w", "nan"], USAGE, &["outside 0..1000 W"]),
        (&["compare", "good.csv", "--idle-w", "1", "--deadlines", "0.5"], USAGE, &["not a factor of 1 or more"]),
        (&["compare", "good.csv", "--idle-w", "1", "--train", "0"], USAGE, &["good.csv: ", "0 clock(s)"]),
    ] {
        refused(folder.path(), args, code, said);
    }
}

#[test]
fn a_bad_model_is_refused_by_name() {
    let folder = folder();
    let good = fs::read_to_string(folder.path().join("model.json")).unwrap();
    let cases = [
        ("empty.json", String::new(), "empty.json"),
        ("cut.json", good[..good.len() / 2].to_owned(), "cut.json is not a model"),
        ("other.json", "{\"format\": 1}".to_owned(), "other.json is not a model"),
        ("later.json", good.replacen("\"format\": 2", "\"format\": 3", 1), "later.json"),
        ("negative.json", good.replacen("\"w_s\": ", "\"w_s\": -", 1), "negative.json"),
        ("huge.json", good.replacen("\"w_s\": ", "\"w_s\": 1e400, \"x\": ", 1), "huge.json"),
        ("clocks.json", good.replacen("114750000", "0", 1), "clocks.json"),
        ("sweep.json", sweep(), "sweep.json"),
    ];
    for (name, text, said) in &cases {
        assert_ne!(text, &good, "{name}");
        fs::write(folder.path().join(name), text).unwrap();
        refused(folder.path(), &plan(name, &["--deadline", "40ms", "-o", "new.jpt"]), USAGE, &[said]);
        refused(folder.path(), &["predict", name], USAGE, &[said]);
        // A sweep by another name is one that `inspect` reads.
        if *name != "sweep.json" {
            refused(folder.path(), &["inspect", name], USAGE, &[said]);
        }
    }
    for (name, code, said) in
        [("dir", USAGE, "dir is a directory; name a file in it"), ("gone.json", FAILED, "gone.json: No such file")]
    {
        refused(folder.path(), &plan(name, &["--deadline", "40ms", "-o", "new.jpt"]), code, &[said]);
        refused(folder.path(), &["predict", name], code, &[said]);
        refused(folder.path(), &["inspect", name], code, &[said]);
    }
}

#[test]
fn what_cannot_be_planned_or_predicted_says_why() {
    let folder = folder();
    let out = ["-o", "new.jpt"];
    for (more, code, said) in [
        (
            &["--deadline", "1ms"][..],
            FAILED,
            &["deadline of 1.000 ms", "least reachable one is", "ask for that or more"][..],
        ),
        (&["--deadline", "0ms"], USAGE, &["deadline"]),
        (&["--deadline", "40"], USAGE, &["a time with its unit, such as 40ms"]),
        (&["--deadline=-40ms"], USAGE, &["a time with its unit, such as 40ms"]),
        (&["--deadline", "40ms", "--period", "30ms"], USAGE, &["deadline 0.04 s and period 0.03 s"]),
        (&["--deadline", "40ms", "--risk", "0"], USAGE, &["risk 0: a probability above 0 and below 1"]),
        (&["--deadline", "40ms", "--risk", "1.5"], USAGE, &["risk 1.5: a probability"]),
        (&["--deadline", "40ms", "--risk", "nan"], USAGE, &["risk NaN: a probability"]),
        (&["--deadline", "40ms", "--net", "lenet"], USAGE, &["no network `lenet`; it has net"]),
        (&["--deadline", "40ms", "--emc", "1MHz"], USAGE, &["EMC clock of 1 MHz"]),
        (&["--deadline", "40ms", "--size", "0"], USAGE, &["0 is not in 1.."]),
    ] {
        refused(folder.path(), &plan("model.json", &[more, &out].concat()), code, said);
    }
    let bare = |more: &[&'static str]| [&["plan", "model.json", "--deadline", "40ms", "-o", "new.jpt"], more].concat();
    refused(folder.path(), &bare(&[]), CALIBRATION, &["model.json: the model has no", "--"]);
    for watts in ["-1", "nan", "1e9"] {
        let idle = format!("--idle-w={watts}");
        let args = [&bare(&["--settle", "5ms", "--stall", "1us"])[..], &[idle.as_str()]].concat();
        refused(folder.path(), &args, USAGE, &["--idle-w", "outside 0..1000 W"]);
    }
    refused(folder.path(), &["predict", "model.json", "--clock", "0"], USAGE, &["not a clock such as 612MHz"]);
    refused(folder.path(), &["predict", "model.json", "--size", "0"], USAGE, &["0 is not in 1.."]);
    refused(folder.path(), &["predict", "model.json", "--net", "lenet"], USAGE, &["no network `lenet`; it has net"]);
    refused(folder.path(), &["predict", "model.json", "--emc", "1MHz"], USAGE, &["EMC clock 1 MHz, but at"]);
}

/// A table for `sim:tx2`, by the commands that a user would give.
fn table(folder: &Path) {
    let sim = ["--board", "sim:tx2", "--net", "alexnet", "--frames", "60", "--passes", "1", "--changes", "1"];
    succeeds(folder, &[&["calibrate", "-o", "sweep.csv"], &sim[..]].concat());
    succeeds(folder, &["fit", "sweep.csv", "-o", "model.json"]);
    succeeds(folder, &["plan", "model.json", "--deadline", "1s", "-o", "good.jpt"]);
}

const RUN: [&str; 5] = ["run", "--board", "sim:tx2", "--frames", "3"];

#[test]
fn a_bad_table_is_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    table(folder.path());
    fs::create_dir(folder.path().join("dir")).unwrap();
    let good = fs::read(folder.path().join("good.jpt")).unwrap();
    let mut cases: Vec<(String, Vec<u8>)> = vec![
        ("empty.jpt".to_owned(), Vec::new()),
        ("cut.jpt".to_owned(), good[..good.len() - 1].to_owned()),
        ("long.jpt".to_owned(), [&good[..], b"\n"].concat()),
        ("text.jpt".to_owned(), b"device,model\n".to_vec()),
    ];
    // Every bit is tried where the image is decoded; here some in every part, one bit of each.
    for (i, byte) in (0..good.len()).step_by(good.len() / 24).enumerate() {
        let mut flipped = good.clone();
        flipped[byte] ^= 1 << (i % 8);
        cases.push((format!("bit{byte}.jpt"), flipped));
    }
    for (name, bytes) in &cases {
        fs::write(folder.path().join(name), bytes).unwrap();
        let said = [name.as_str(), "plan"];
        refused(folder.path(), &[&RUN[..], &["--table", name]].concat(), USAGE, &said);
        refused(folder.path(), &["inspect", name], USAGE, &said);
    }
    for (name, code, said) in [
        ("dir", USAGE, "dir is a directory; name a file in it"),
        ("gone.jpt", FAILED, "gone.jpt: No such file"),
        ("model.json", USAGE, "model.json"),
    ] {
        refused(folder.path(), &[&RUN[..], &["--table", name]].concat(), code, &[said]);
    }
    let elsewhere = ["run", "--board", "sim:orin-nano", "--table", "good.jpt"];
    let said = ["good.jpt: the table is for another board", "calibrate and plan again", "planned for "];
    refused(folder.path(), &elsewhere, CALIBRATION, &said);
    let other = [&RUN[..], &["--table", "good.jpt", "--net", "vgg19"]].concat();
    refused(folder.path(), &other, USAGE, &["blocks of alexnet", "plan vgg19 first"]);
    for (more, said) in [
        (["--net", "lenet"], "no network is called 'lenet'; there are alexnet"),
        (["--net", "alexnet"], "--deadline is needed"),
        (["--board", "sim:pi"], "pi"),
        (["--frames", "0"], "0 is not in 1.."),
    ] {
        let rest = if more[0] == "--net" { vec![] } else { vec!["--net", "alexnet", "--deadline", "40ms"] };
        let board = if more[0] == "--board" { vec![] } else { vec!["--board", "sim:tx2"] };
        refused(folder.path(), &[&["run"], &board[..], &more, &rest].concat(), USAGE, &[said]);
    }
    for (more, said) in [
        (&["--deadline", "0ms"][..], "deadline 0 ns, period 0 ns: the deadline must be above zero"),
        (&["--deadline", "40ms", "--period", "10ms"], "deadline 40.00 ms, period 10.00 ms: the deadline must be"),
        (&["--deadline", "40ms", "--risk", "2"], "--risk 2: a share from 0 to 1 is meant"),
    ] {
        refused(folder.path(), &[&RUN[..], &["--net", "alexnet"], more].concat(), USAGE, &[said]);
    }
}

#[test]
fn a_calibration_goes_on_with_nothing_but_its_own_sweep() {
    let folder = folder();
    let sim = ["--net", "alexnet", "--frames", "60", "--passes", "1", "--changes", "0"];
    let calibrate = |board, file| [&["calibrate", "--board", board, "-o", file], &sim[..]].concat();
    succeeds(folder.path(), &calibrate("sim:tx2", "sweep.csv"));
    let again = "remove it or name another file";
    refused(
        folder.path(),
        &calibrate("sim:orin-nano", "sweep.csv"),
        CALIBRATION,
        &["sweep.csv is a sweep of another board", again],
    );
    refused(
        folder.path(),
        &calibrate("sim:tx2", "good.csv"),
        CALIBRATION,
        &["good.csv is not a sweep that calibrate wrote", again],
    );
    refused(folder.path(), &calibrate("sim:tx2", "model.json"), CALIBRATION, &["model.json is not a sweep", again]);
    refused(folder.path(), &calibrate("sim:tx2", "dir"), USAGE, &["dir is a directory"]);
    refused(folder.path(), &calibrate("sim:pi", "new.csv"), USAGE, &["pi"]);
    // A spoilt row in the middle is not passed over.
    let whole = fs::read_to_string(folder.path().join("sweep.csv")).unwrap();
    let spoilt: Vec<String> = whole
        .lines()
        .enumerate()
        .map(|(i, line)| if i == 9 { line.replacen(",1,", ",x,", 1) } else { line.to_owned() })
        .collect();
    fs::write(folder.path().join("spoilt.csv"), spoilt.join("\n") + "\n").unwrap();
    refused(folder.path(), &calibrate("sim:tx2", "spoilt.csv"), USAGE, &["spoilt.csv: line 10: "]);
    // This binary runs no CUDA, or this machine has none; with one, `tests/gpu` measures there.
    let here = ["calibrate", "--board", "auto", "--net", "alexnet", "-o", "new.csv"];
    if !cfg!(feature = "cuda") {
        refused(folder.path(), &here, UNSUPPORTED, &["jetpace-cuda"]);
    } else if !std::path::Path::new("/dev/nvidiactl").exists() {
        refused(folder.path(), &here, UNSUPPORTED, &["no CUDA driver here"]);
    }
}

/// Every command that writes a file, with the output's place last.
fn writers() -> Vec<Vec<&'static str>> {
    let plan = plan("model.json", &["--deadline", "40ms"]);
    vec![
        vec!["fit", "good.csv", "-o"],
        [&plan[..], &["-o"]].concat(),
        [&plan[..], &["--json", "--pareto"]].concat(),
        vec!["run", "--board", "sim:tx2", "--net", "alexnet", "--frames", "3", "--deadline", "40ms", "--csv"],
        vec![
            "calibrate",
            "--board",
            "sim:tx2",
            "--net",
            "alexnet",
            "--frames",
            "60",
            "--passes",
            "1",
            "--changes",
            "0",
            "-o",
        ],
    ]
}

#[test]
fn what_cannot_be_written_is_said_and_nothing_is_left() {
    let folder = folder();
    fs::create_dir(folder.path().join("dir.csv")).unwrap();
    // By a link, so that no fault of the agent's replaces the device itself.
    std::os::unix::fs::symlink("/dev/full", folder.path().join("full.csv")).unwrap();
    for writer in writers() {
        // It goes on with what is there, which a device has not.
        let full = match writer[0] {
            "calibrate" => (USAGE, &["full.csv is no file that a calibration could go on with"][..]),
            _ => (FAILED, &["full.csv: No space left on device"][..]),
        };
        for (place, code, said) in [
            ("dir.csv", USAGE, &["dir.csv is a directory; name a file in it"][..]),
            ("gone/new.csv", FAILED, &["gone/new.csv: No such file or directory", "make its folder first"]),
            ("good.csv/new.csv", FAILED, &["good.csv/new.csv: Not a directory"]),
            // A file system in which nobody makes a file, root neither.
            ("/sys/jetpace-new.csv", PERMISSION, &["/sys/jetpace-new.csv: Permission denied"]),
            ("full.csv", full.0, full.1),
        ] {
            refused(folder.path(), &[&writer[..], &[place]].concat(), code, said);
        }
    }
    assert!(!fs::metadata(folder.path().join("full.csv")).unwrap().is_file(), "the device was replaced by a file");
    for printer in
        [&["inspect", "model.json", "--json"][..], &["predict", "model.json"], &["fit", "good.csv", "--json"]]
    {
        let full = fs::File::create("/dev/full").unwrap();
        let mut printing = std::process::Command::new(env!("CARGO_BIN_EXE_jetpace"));
        let output = printing.current_dir(folder.path()).args(printer).stdout(full).output().unwrap();
        let message = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(FAILED), "{printer:?}: {message}");
        assert!(message.contains("stdout: No space left on device"), "{printer:?}: {message}");
    }
}
