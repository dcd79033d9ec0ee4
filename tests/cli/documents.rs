//! Documents and code say the same: every command with `--json` runs on virtual and recorded boards, and what it prints is
//! what docs/FORMATS.md names; so are the columns of files and the exit codes.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::{Command, Output};
use std::sync::OnceLock;

use clap::CommandFactory;
use jetpace::args::Cli;
use jetpace::runtime::page::What;
use jetpace::runtime::remote::Remote;
use jetpace_tables::work::{BlockId, Size};
use serde_json::Value;

use super::formats::{agree, mentions, section};
use super::service::daemon::Daemon;
use super::service::until;

/// A sweep of a board whose rails tell the GPU's power only.
const GPU_RAIL: &str = "# jetpace-sweep 1 power_of=gpu\ndevice,model,block,gpu_freq_hz,latency_s,power_w,rejected\n\
                        x,net,b,300000000,0.02,3,\nx,net,b,600000000,0.01,4,\nx,net,b,900000000,0.01,4,clock not held\n";

/// Everything below is made once, in this folder.
fn folder() -> &'static Path {
    static FOLDER: OnceLock<tempfile::TempDir> = OnceLock::new();
    let folder = FOLDER.get_or_init(|| {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("gpu.csv"), GPU_RAIL).unwrap();
        fs::write(folder.path().join("trace.json"), "{\"at_ns\":5,\"event\":\"frame end\",\"slack_us\":7}\n").unwrap();
        let lead = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tables/src/table/frozen/table-2.jpt");
        fs::copy(lead, folder.path().join("lead.jpt")).unwrap();
        for line in [
            "calibrate --board sim:orin-nano --net vgg19 -o vgg19.csv",
            "fit vgg19.csv -o vgg19.json",
            "calibrate --board sim:orin-nano --net alexnet --emc all --late 0 --changes 1 -o emc.csv",
            "calibrate --board sim:orin-nano --net language-model --sizes 64,256 --late 0 --changes 1 -o sizes.csv",
            "fit sizes.csv -o sizes.json",
        ] {
            let output = run(folder.path(), line);
            assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
        }
        folder
    });
    folder.path()
}

fn jetpace(folder: &Path, line: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_jetpace"));
    command.current_dir(folder).args(line.split(' '));
    command
}

fn run(folder: &Path, line: &str) -> Output {
    jetpace(folder, line).output().unwrap()
}

/// The document of a command line, from the folder of all.
fn document(line: &str) -> Value {
    let output = run(folder(), line);
    serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|e| panic!("{line}: {e}: {}", String::from_utf8_lossy(&output.stderr)))
}

/// Which section of FORMATS says what a command line prints.
const DOCUMENTS: &[(&str, &[&str])] = &[
    (
        "Model",
        &[
            "fit vgg19.csv --train 4 --suggest 1 --json",
            "fit emc.csv --emc-joint --json",
            "inspect sizes.json --json",
            "fit gpu.csv --json",
        ],
    ),
    (
        "`plan --json`",
        &[
            "plan vgg19.json --deadline 24ms -o table.jpt --json",
            "plan sizes.json --deadline 900ms --sizes 64:0.5,256:0.5 --json",
        ],
    ),
    ("`plan --cut --json`", &["plan vgg19.json --deadline 40ms --cut --rate-mbps 1 -o cut.jpt --json"]),
    ("Table", &["inspect table.jpt --json", "inspect lead.jpt --json"]),
    ("`predict --json`", &["predict vgg19.json --json"]),
    (
        "`compare --case cooperative --json`",
        &["compare --case cooperative vgg19.csv --deadlines 1.5 --rates-mbps 100 --json"],
    ),
    ("`run --json`", &["run --board sim:orin-nano --table table.jpt --frames 20 --csv frames.csv --json"]),
    ("`bench switch --json`", &["bench switch --json"]),
    ("`selftest`", &["selftest --board sim:orin-nano"]),
    ("`inspect --json` of a sweep", &["inspect vgg19.csv --json"]),
    ("`inspect --json` of a trace", &["inspect trace.json --json"]),
];

/// Documents that other tests hold against FORMATS: those that need a daemon or a recorded board, and what takes long.
const ELSEWHERE: [&str; 6] = ["probe", "status", "trace", "compare", "hold", "nvtx"];

#[test]
fn every_field_that_is_printed_is_named_and_none_besides() {
    for (heading, lines) in DOCUMENTS {
        agree(heading, &lines.iter().map(|line| document(line)).collect::<Vec<_>>());
    }
}

#[test]
fn every_command_with_json_is_held_against_formats() {
    fn with_json(command: &clap::Command, name: String, found: &mut Vec<String>) {
        if command.get_arguments().any(|argument| argument.get_long() == Some("json")) {
            found.push(name.clone());
        }
        for below in command.get_subcommands() {
            with_json(below, format!("{name} {}", below.get_name()).trim().to_owned(), found);
        }
    }
    let mut found = Vec::new();
    with_json(&Cli::command(), String::new(), &mut found);
    assert!(found.len() >= 10, "{found:?}");
    let lines = DOCUMENTS.iter().flat_map(|(_, lines)| *lines).copied().chain(ELSEWHERE);
    let lines: Vec<String> = lines.map(|line| format!("{line} ")).collect();
    for command in found {
        let runs = lines.iter().any(|line| line.starts_with(&format!("{command} ")));
        assert!(runs, "`jetpace {command} --json`: no test holds what it prints against docs/FORMATS.md: add it here");
    }
}

#[test]
fn what_probe_prints_of_every_board_is_named() {
    let boards = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/boards");
    let recorded = fs::read_dir(boards).unwrap().map(|entry| entry.unwrap().path()).filter(|path| path.is_dir());
    let recorded = recorded.map(|path| format!("probe --json --board {}", path.display()));
    // One on which the caller may not do everything, root neither.
    let copy = tempfile::tempdir().unwrap();
    let refused = crate::on_disk::board(copy.path());
    let state = refused.join("run/jetpace");
    fs::create_dir(&state).unwrap();
    match nix::unistd::geteuid().is_root() {
        true => std::os::unix::fs::chown(&state, Some(1), Some(1)).unwrap(),
        false => fs::set_permissions(&state, std::os::unix::fs::PermissionsExt::from_mode(0o500)).unwrap(),
    }
    let recorded = recorded.chain([format!("probe --json --board {}", refused.display())]);
    let lines = recorded.chain(["tx2", "orin-nano"].map(|name| format!("probe --json --board sim:{name}")));
    agree("`probe --json`", &lines.map(|line| document(&line)).collect::<Vec<_>>());
}

#[test]
fn what_the_daemon_says_is_named() {
    let daemon = Daemon::start(&[], &[]);
    let mut client = Remote::open(&daemon.socket, &[]).unwrap();
    // The second frame starts with a block that is not its first: a fault has a reason.
    for blocks in [[0, 1], [3, 4]] {
        client.tell(What::FrameStart).unwrap();
        for block in blocks {
            client.tell(What::BlockStart(BlockId(block), Size(1))).unwrap();
        }
        client.tell(What::FrameEnd).unwrap();
    }
    until("all events", || client.figures().taken == 8);
    agree("`status --json`", &[daemon.status()]);
    let mut command = jetpace(folder(), "trace --json --socket");
    let events = String::from_utf8(command.arg(&daemon.socket).output().unwrap().stdout).unwrap();
    let events: Vec<Value> = events.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let words = events.iter().map(|event| event["event"].as_str().unwrap());
    mentions("`trace --json`", words);
    agree("`trace --json`", &events);
}

/// Nothing here loads the library: what it would list lies there, and a shell puts it into the folder.
#[test]
fn what_is_listed_of_ranges_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let tally = |name: &str, within: &str| {
        format!(
            "{{\"domain\":\"app\",\"name\":\"{name}\",\"kind\":\"push\",\"count\":4,\"total_ns\":80,\"ended\":4,\
             \"samples_ns\":[10,20,20,30],\"threads\":1,\"depth\":0,\"within\":{within},\"payloads\":[4,8]}}"
        )
    };
    fs::write(folder.path().join("list"), format!("[{},{}]", tally("infer", "null"), tally("stem", "0"))).unwrap();
    let mut command = jetpace(folder.path(), "nvtx --json ranges.json -- sh -c");
    command
        .arg("cp list $JETPACE_NVTX_LIST/1.json")
        .env("JETPACE_NVTX_LIB", "list")
        .env_remove("NVTX_INJECTION64_PATH");
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let document: Value = serde_json::from_slice(&fs::read(folder.path().join("ranges.json")).unwrap()).unwrap();
    assert_eq!((document["frame"].as_str(), document["blocks"][0].as_str()), (Some("app//infer"), Some("app//stem")));
    agree("`nvtx --json`", &[document]);
}

#[test]
fn columns_and_first_lines_are_named() {
    let text = |name: &str| fs::read_to_string(folder().join(name)).unwrap();
    for name in ["vgg19.csv", "emc.csv", "sizes.csv", "gpu.csv"] {
        let text = text(name);
        let mut lines = text.lines();
        let (head, columns) = (lines.next().unwrap(), lines.next().unwrap());
        mentions("Sweep", head.split(' ').skip(3).map(|field| field.split_once('=').unwrap().0));
        let columns = columns.split(',').map(|name| if name.starts_with("rail_") { "rail_<name>_w" } else { name });
        mentions("Sweep", columns);
        if head.contains("board=") {
            mentions("Sweep", lines.map(|row| row.split_once(',').unwrap().0).collect::<BTreeSet<_>>());
        }
    }
    let first = |line: &str, name: &str| {
        let output = run(folder(), line);
        assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
        text(name).lines().next().unwrap().to_owned()
    };
    let frames = first("run --board sim:orin-nano --net vgg19 --deadline 24ms --frames 3 --csv three.csv", "three.csv");
    mentions("`run --json`", frames.split(','));
    let front = first("plan vgg19.json --deadline 24ms --pareto front.csv --json", "front.csv");
    mentions("`plan --json`", front.split(','));
}

#[test]
fn every_exit_code_is_in_the_table() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("sweep.csv"), GPU_RAIL).unwrap();
    fs::create_dir(folder.path().join("empty")).unwrap();
    fs::create_dir_all(folder.path().join("kept/etc")).unwrap();
    let kept = format!("network = \"vgg19\"\ndeadline = \"40ms\"\nfolder = \"{}/kept/t\"\n", folder.path().display());
    fs::write(folder.path().join("kept/etc/t.toml"), kept).unwrap();
    let other = fs::File::create(folder.path().join("kept/.recalibrate.lock")).unwrap();
    let _other = nix::fcntl::Flock::lock(other, nix::fcntl::FlockArg::LockExclusive).unwrap();
    for (code, line) in [
        (0, "--version"),
        (1, "status --socket nowhere.sock"),
        (2, "fit"),
        (3, "probe --board empty"),
        (0, "fit sweep.csv -o model.json"),
        (4, "plan model.json --deadline 50ms --json"),
        (5, "plan model.json --deadline 50ms --idle-w 1 --settle 1ms --stall 0ms -o /sys/jetpace-new"),
        (6, "recalibrate --config kept/etc"),
    ] {
        let output = run(folder.path(), line);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(code), "{line}: {said}");
        assert!(section("Exit codes").contains(&format!("\n| {code} | ")), "FORMATS does not list exit code {code}");
    }
    let listed = section("Exit codes").lines().filter(|line| line.starts_with("| ") && !line.contains("code")).count();
    assert_eq!(listed, 7, "FORMATS lists an exit code that nothing here gives");
}
