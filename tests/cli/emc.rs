//! The memory's (EMC) clock: chosen per network where the sweep has several, and looked after while the table runs.

use std::fs;
use std::path::Path;

use assert_cmd::Command;
use jetpace::args::network;
use jetpace::calibrate::Subject;
use jetpace::failure::Reason;
use jetpace::session::Drive;
use jetpace::session::frames::{Course, Pace, Starts};
use jetpace::session::virtual_board::machine;
use jetpace::signals::Stop;
use jetpace_devfreq::board::Board;
use jetpace_devfreq::nodes::Nodes;
use jetpace_devfreq::sim;
use jetpace_tables::governor::trace::Fault;
use jetpace_tables::table::Table;
use jetpace_tables::table::image;
use jetpace_tables::units::Hertz;
use serde_json::Value;

const LOW: Hertz = Hertz::from_khz(665_600);
const HIGH: Hertz = Hertz::from_khz(2_133_000);

fn jetpace(folder: &Path, args: &[&str]) -> (Option<i32>, Value, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_jetpace")).current_dir(folder).args(args).output().unwrap();
    let document = serde_json::from_slice(&output.stdout).unwrap_or(Value::Null);
    (output.status.code(), document, String::from_utf8_lossy(&output.stderr).into_owned())
}

fn planned_emc(folder: &Path, more: &[&str]) -> u64 {
    let (code, document, said) = jetpace(folder, &[&["plan", "model.json", "--json"], more].concat());
    assert_eq!(code, Some(0), "{said}");
    document["emc_freq_hz"].as_u64().unwrap()
}

/// A sweep of two networks at two EMC clocks: the lower one makes both slower, draws 2 W less, and hardly slows
/// `compute`.
fn two_networks(folder: &Path) {
    let header = "kind,device,model,block,gpu_freq_hz,emc_freq_hz,latency_s,power_w,from_hz,to_hz";
    let mut text = format!("{header}\n");
    for (emc, base) in [(LOW, 3.0), (HIGH, 5.0)] {
        let memory = HIGH.as_f64() / emc.as_f64();
        for step in 3..=10 {
            let (hz, x) = (step * 100_000_000, f64::from(step) / 10.0);
            for (net, w, m) in [("compute", 0.020_f64, 0.002_f64), ("memory", 0.004, 0.010)] {
                let time = ((w / x).powi(4) + (m * memory).powi(4)).powf(0.25);
                let power = base + 6.0 * x * (1.0 + (x - 0.59).max(0.0)).powi(2);
                text += &format!("block,made,{net},whole,{hz},{},{time:.9},{power:.6},,\n", emc.get());
            }
            text += &format!("idle,made,,,{hz},{},,{:.3},,\n", emc.get(), base - 0.5);
        }
    }
    fs::write(folder.join("sweep.csv"), text).unwrap();
}

#[test]
fn the_emc_clock_is_chosen_per_network_and_the_table_holds_for_it() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    two_networks(folder);
    assert_eq!(jetpace(folder, &["fit", "sweep.csv", "-o", "model.json"]).0, Some(0));
    let changes = ["--settle", "5ms", "--stall", "100us", "-o", "table.jpt"];
    let chosen = |net: &str, deadline: &str| {
        planned_emc(folder, &[&["--net", net, "--deadline", deadline], &changes[..]].concat())
    };
    // What computes needs no fast memory; what waits for it needs it where time is short.
    assert_eq!(chosen("compute", "40ms"), LOW.get());
    assert_eq!(chosen("memory", "16ms"), HIGH.get());
    let table = image::decode(&fs::read(folder.join("table.jpt")).unwrap()).unwrap();
    assert_eq!(table.emc(), Some(HIGH));
    assert_eq!(chosen("memory", "60ms"), LOW.get());
    let table = image::decode(&fs::read(folder.join("table.jpt")).unwrap()).unwrap();
    assert_eq!(table.emc(), Some(LOW));
    // The choice is the better one of the two.
    let energy = |emc: &str| {
        let args = ["plan", "model.json", "--json", "--net", "memory", "--deadline", "60ms", "--emc", emc];
        jetpace(folder, &[&args[..], &changes].concat()).1["energy_j"].as_f64().unwrap()
    };
    assert!(energy("665.6MHz") < energy("2133MHz"));
}

/// Locks the memory of a virtual board as a person does, or lets it go.
fn lock(nodes: &impl Nodes, clock: Option<Hertz>) {
    let dir = Path::new("/sys/kernel/debug/bpmp/debug/clk/emc");
    let write = |node: &str, text: &str| nodes.write(&dir.join(node), text).unwrap();
    if let Some(clock) = clock {
        write("rate", &clock.get().to_string());
        write("state", "1");
    }
    write("mrq_rate_locked", if clock.is_some() { "1" } else { "0" });
}

/// A table for VGG19 on a virtual Orin Nano whose memory is locked at the lower clock.
fn table_for_low(folder: &Path) -> Table {
    let board = sim::Board::new("orin-nano", 1).unwrap();
    let nodes = board.nodes();
    lock(&nodes, Some(LOW));
    let subject = Subject {
        board: Board::discover(&nodes).unwrap(),
        nodes,
        timer: board.timer(),
        device: "sim:orin-nano".to_owned(),
        model: "vgg19".to_owned(),
        evidence: "virtual",
        network: board.runner(network("vgg19").unwrap()),
        probe: board.runner(network("vgg19-32").unwrap()),
    };
    let settings = subject.settings();
    subject.calibrate(&folder.join("sweep.csv"), &settings, &Stop::never(), &mut |_| {}).unwrap();
    assert_eq!(jetpace(folder, &["fit", "sweep.csv", "-o", "model.json"]).0, Some(0));
    assert_eq!(planned_emc(folder, &["--deadline", "60ms", "-o", "table.jpt"]), LOW.get());
    image::decode(&fs::read(folder.join("table.jpt")).unwrap()).unwrap()
}

#[test]
fn a_table_for_another_emc_clock_is_refused_and_one_that_moves_away_hands_the_clock_back() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let table = table_for_low(folder);

    // A board fresh from boot has its memory at the top.
    for args in [
        &["run", "--board", "sim:orin-nano", "--table", "table.jpt", "--frames", "10", "--json"][..],
        &["serve", "--board", "sim:orin-nano", "--table", "table.jpt", "--socket", "jetpace.sock"],
    ] {
        let (code, document, said) = jetpace(folder, args);
        assert_eq!((code, document), (Some(4), Value::Null), "{args:?}: {said}");
        assert!(said.contains("holds for an EMC clock of 665.6 MHz, and it is 2133 MHz now"), "{args:?}: {said}");
    }

    let pace = Pace { deadline: table.deadline(), period: table.period() };
    let run = |locked: Option<Hertz>, moves: Option<Option<Hertz>>| {
        let mut machine = machine("orin-nano", 7, network("vgg19").unwrap()).unwrap();
        lock(&machine.nodes, locked);
        let nodes = machine.nodes.clone();
        let stop = Stop::never();
        let course = Course { frames: 200, pace, starts: Starts::Timer, sizes: &[], stop: &stop };
        let mut governors = Vec::new();
        let summary = machine.run(Drive::Table(&table), course, |frame| {
            if frame.index == 50
                && let Some(moves) = moves
            {
                lock(&nodes, moves);
            }
            let path = Path::new("/sys/class/devfreq/17000000.gpu/governor");
            governors.push(nodes.read(path).unwrap().trim().to_owned());
            Ok(())
        });
        summary.map(|summary| (summary, governors))
    };
    let (still, governors) = run(Some(LOW), None).unwrap();
    assert_eq!((still.handed_back, still.frames), (None, 200));
    let ours = governors[199].clone();
    for moved in [None, Some(HIGH)] {
        let (summary, governors) = run(Some(LOW), Some(moved)).unwrap();
        assert_eq!((summary.handed_back, summary.frames), (Some(Fault::TableStale), 200), "{moved:?}");
        assert_eq!(governors[40], ours);
        // A look each second, and 60 ms a frame.
        assert_ne!(governors[80], ours, "{moved:?}");
        assert_eq!(governors[199], governors[80]);
    }
    let refused = run(Some(HIGH), None).unwrap_err();
    assert_eq!(refused.reason(), Reason::Calibration, "{refused}");
}

#[test]
fn a_lock_is_seen_and_its_end_too() {
    let board = sim::Board::new("xavier-nx", 1).unwrap();
    let nodes = board.nodes();
    let found = Board::discover(&nodes).unwrap().emc.unwrap();
    assert_eq!(found.locked(&nodes), None);
    lock(&nodes, Some(Hertz::from_khz(800_000)));
    assert_eq!(found.locked(&nodes), Some(Hertz::from_khz(800_000)));
    lock(&nodes, None);
    assert_eq!(found.locked(&nodes), None);
}
