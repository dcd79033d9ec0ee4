//! Calibration of the virtual boards against what they truly are, and going on where it was cut off.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use jetpace::calibrate::{Done, EmcAsk, Settings, Subject};
use jetpace::failure::Failure;
use jetpace::files::sweep;
use jetpace::signals::Stop;
use jetpace_devfreq::board;
use jetpace_devfreq::nodes::Nodes;
use jetpace_devfreq::rails::RailSource;
use jetpace_devfreq::sim::{Board, NAMES, Runner, VirtualNodes, VirtualTimer};
use jetpace_kernels::net::network;
use jetpace_tables::hw::{BlockRunner, Timer};
use jetpace_tables::sample::{Kind, RAILGATED, Row, Sweep};
use jetpace_tables::units::{Hertz, MilliCelsius, Nanos};
use jetpace_tables::work::{BlockId, ClockIndex, Size};

const NET: &str = "vgg19";

fn subject(board: &Board) -> Subject<VirtualNodes, Runner, Runner, VirtualTimer> {
    let nodes = board.nodes();
    Subject {
        board: board::Board::discover(&nodes).unwrap(),
        nodes,
        network: board.runner(network(NET).unwrap()),
        probe: board.runner(network("vgg19-32").unwrap()),
        timer: board.timer(),
        device: "virtual".to_owned(),
        model: NET.to_owned(),
        evidence: "virtual",
    }
}

fn calibrate(board: &Board, path: &Path, settings: &Settings) -> Result<Done, Failure> {
    subject(board).calibrate(path, settings, &Stop::never(), &mut |_| {})
}

/// Less than usual, so that a debug build is done soon.
fn short(board: &Board) -> Settings {
    Settings {
        frames: 200,
        late: 0,
        spacing: Nanos::from_millis(20),
        // One burst may be as long as two passes over the blocks at a clock.
        passes: 5,
        changes: 3,
        ..subject(board).settings()
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn near(got: f64, truth: f64, within: f64, what: &str) {
    assert!((got / truth - 1.0).abs() <= within, "{what}: {got}, truly {truth}");
}

fn kind(sweep: &Sweep, kind: Kind) -> impl Iterator<Item = &Row> {
    sweep.rows.iter().filter(move |row| row.kind == kind && row.rejected.is_empty())
}

/// The index of a clock in a board's list.
fn index(board: &Board, clock: Option<Hertz>) -> ClockIndex {
    ClockIndex(board.clocks().iter().position(|listed| Some(*listed) == clock).unwrap() as u8)
}

#[test]
fn every_board_is_recovered_from_its_sweep() {
    let dir = tempfile::tempdir().unwrap();
    for name in NAMES {
        let board = Board::new(name, 42).unwrap();
        let path = dir.path().join(format!("{name}.csv"));
        let done = calibrate(&board, &path, &short(&board)).unwrap();
        assert_eq!(done.rejected, 0, "{name}");
        let sweep = sweep::read(&path).unwrap();
        assert_eq!(sweep.rows.len(), done.measured);
        assert_eq!(sweep.clocks(), board.clocks());
        times(&board, &sweep, name);
        powers(&board, &sweep, name);
        changes(&board, &sweep, name);
    }
}

fn times(board: &Board, sweep: &Sweep, name: &str) {
    let net = network(NET).unwrap();
    let mut cells: BTreeMap<(&str, Hertz), Vec<f64>> = BTreeMap::new();
    for row in kind(sweep, Kind::Block).filter(|row| row.samples == Some(1)) {
        cells.entry((&row.block, row.gpu_freq.unwrap())).or_default().push(row.latency_s().unwrap());
    }
    assert_eq!(cells.len(), net.blocks.len() * board.clocks().len());
    for ((block, clock), times) in cells {
        let id = net.blocks.iter().position(|b| b.name == block).unwrap();
        let truth = board.true_time(&net, BlockId(id as u16), Size(1), index(board, Some(clock)));
        near(median(times), truth.as_secs_f64(), 0.02, &format!("{name}, {block} at {clock}"));
    }
}

fn powers(board: &Board, sweep: &Sweep, name: &str) {
    for row in kind(sweep, Kind::Idle) {
        let clock = index(board, row.gpu_freq);
        let awake = board.true_idle(clock).as_watts_f64();
        match row.block == RAILGATED {
            // Leakage goes with the temperature, so it is not the same to a percent.
            false => near(row.power_w().unwrap(), awake, 0.025, &format!("{name}, idle at {:?}", row.gpu_freq)),
            true => assert!(row.power_w().unwrap() < awake, "{name}: {row:?}"),
        }
    }
    // The power of a block, against the true energy of a second board that runs it at its lowest and highest clock.
    for clock in [0, board.clocks().len() - 1] {
        let hz = board.clocks()[clock];
        let second = Board::new(name, 7).unwrap();
        let nodes = second.nodes();
        let gpu = board::Board::discover(&nodes).unwrap().gpu;
        for file in ["max_freq", "min_freq"] {
            nodes.write(&gpu.node(file), &hz.get().to_string()).unwrap();
        }
        let mut timer = second.timer();
        timer.sleep_until(Nanos::from_millis(100));
        let mut runner = second.runner(network(NET).unwrap());
        let (start, before) = (timer.now(), second.energy());
        runner.run(BlockId(2), Size(1), &mut [Nanos::ZERO; 100], &mut |_| None).unwrap();
        let truth =
            second.energy().saturating_sub(before).as_joules_f64() / timer.now().saturating_sub(start).as_secs_f64();
        let rows = kind(sweep, Kind::Block).filter(|row| row.block == "stage3" && row.gpu_freq == Some(hz));
        let measured: Vec<f64> = rows.filter_map(Row::power_w).collect();
        assert!(!measured.is_empty());
        near(median(measured), truth, 0.025, &format!("{name}, power of stage3 at {hz}"));
    }
}

fn changes(board: &Board, sweep: &Sweep, name: &str) {
    let n = board.clocks().len();
    let settles: Vec<&Row> = kind(sweep, Kind::Settle).collect();
    assert_eq!(settles.len(), 3 * n * (n - 1));
    let ratio = |row: &&Row| {
        let truth = board.true_settle(index(board, row.from), index(board, row.to));
        row.latency_s().unwrap() / truth.as_secs_f64()
    };
    let all: Vec<f64> = settles.iter().map(ratio).collect();
    // One change in a few hundred is located wrongly, at several times its length: counted apart, as one of them moves the
    // mean of a board with few clocks by a tenth.
    let ratios: Vec<f64> = all.iter().copied().filter(|ratio| (0.4..2.5).contains(ratio)).collect();
    let astray = all.len() - ratios.len();
    assert!(astray * 50 <= all.len(), "{name}: {astray} of {} changes are located wrongly", all.len());
    let mean = ratios.iter().sum::<f64>() / ratios.len() as f64;
    near(mean, 1.0, 0.08, &format!("{name}, settle times over the true means"));
    let sd = (ratios.iter().map(|r| (r - mean).powi(2)).sum::<f64>() / ratios.len() as f64).sqrt();
    assert!((0.12..0.28).contains(&sd), "{name}: the spread is {sd}, truly 0.2");
    let stalls: Vec<f64> = kind(sweep, Kind::Stall).map(|row| row.latency_s().unwrap()).collect();
    near(median(stalls), board.true_stall().as_secs_f64(), 0.1, &format!("{name}, stall"));
    let writes: Vec<f64> = kind(sweep, Kind::Write).map(|row| row.latency_s().unwrap()).collect();
    assert!((20e-6..90e-6).contains(&median(writes)), "{name}");
}

#[test]
fn a_calibration_leaves_no_trace() {
    let dir = tempfile::tempdir().unwrap();
    let board = Board::new("xavier-nx", 1).unwrap();
    let nodes = board.nodes();
    let gpu = board::Board::discover(&nodes).unwrap().gpu;
    let state = || ["governor", "min_freq", "max_freq"].map(|file| nodes.read(&gpu.node(file)).unwrap());
    let before = state();
    let settings = Settings { frames: 30, passes: 1, changes: 1, ..short(&board) };
    calibrate(&board, &dir.path().join("s.csv"), &settings).unwrap();
    assert_eq!(state(), before);
}

#[test]
fn the_memory_is_locked_at_every_clock_and_rails_read_faster_and_both_are_put_back() {
    let dir = tempfile::tempdir().unwrap();
    let board = Board::new("orin-nano", 1).unwrap();
    let (nodes, found) = (board.nodes(), board::Board::discover(&board.nodes()).unwrap());
    let emc = found.emc.as_ref().unwrap();
    let chip = found.rails.iter().find_map(|rail| match &rail.source {
        RailSource::VoltsAmps { volts, .. } => volts.parent(),
        RailSource::Power(_) => None,
    });
    let paths = [emc.dir.join("mrq_rate_locked"), emc.dir.join("state"), chip.unwrap().join("update_interval")];
    let state = || paths.clone().map(|path| nodes.read(&path).unwrap());
    let before = state();
    let usual = Settings { frames: 12, passes: 1, changes: 1, ..short(&board) };
    let settings = Settings { emc: EmcAsk::All, fast_rails: true, ..usual.clone() };
    let path = dir.path().join("s.csv");
    let done = calibrate(&board, &path, &settings).unwrap();
    assert_eq!((done.rejected, state()), (0, before.clone()));
    let sweep = sweep::read(&path).unwrap();
    let clocks: BTreeSet<Option<Hertz>> = sweep.rows.iter().map(|row| row.emc_freq).collect();
    assert_eq!(clocks, emc.clocks.iter().copied().map(Some).collect());
    // A sixth of the memory's clock tells where the GPU's is high.
    let top = board.clocks().last().copied();
    let time = |emc: Hertz| {
        let rows = kind(&sweep, Kind::Block).filter(|row| row.block == "stage1" || row.block == "stage5");
        rows.filter(|row| (row.gpu_freq, row.emc_freq) == (top, Some(emc))).filter_map(Row::latency_s).sum::<f64>()
    };
    assert!(time(emc.clocks[0]) > 1.2 * time(*emc.clocks.last().unwrap()), "{}", time(emc.clocks[0]));
    assert_eq!(calibrate(&board, &path, &settings).unwrap().measured, 0, "nothing is left to measure");

    // At one that the board does not have, nothing is changed.
    let asked = Settings { emc: EmcAsk::One(Hertz::new(123_000_000)), ..usual };
    let message = calibrate(&board, &dir.path().join("t.csv"), &asked).unwrap_err().to_string();
    assert!(message.contains("not among its clocks"), "{message}");
    assert_eq!(state(), before);
}

#[test]
fn a_calibration_that_was_cut_off_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let new = || Board::new("orin-nano", 3).unwrap();
    let settings = Settings { frames: 60, passes: 2, changes: 2, ..short(&new()) };
    let whole = dir.path().join("whole.csv");
    calibrate(&new(), &whole, &settings).unwrap();
    let bytes = fs::read(&whole).unwrap();
    let keys = |path: &Path| {
        let mut keys: Vec<_> = sweep::read(path).unwrap().rows.iter().map(Row::key).collect();
        keys.sort();
        keys
    };
    let all = keys(&whole);
    for part in [0, 1, 5, 20, 45, 70, 90, 99, 100] {
        let path = dir.path().join(format!("cut-{part}.csv"));
        fs::write(&path, &bytes[..bytes.len() * part / 100]).unwrap();
        calibrate(&new(), &path, &settings).unwrap();
        // A frame that was cut in its middle is not taken up again: its other half would be another frame's.
        let lost = all.len() - keys(&path).len();
        assert!(lost < network(NET).unwrap().blocks.len(), "cut at {part} %: {lost} rows are lost");
        assert!(keys(&path).iter().all(|key| all.contains(key)));
        let again = calibrate(&new(), &path, &settings).unwrap();
        assert_eq!(again.measured, 0, "cut at {part} %: nothing is left to measure");
    }
    let other = Settings { frames: 61, ..settings };
    let message = calibrate(&new(), &whole, &other).unwrap_err().to_string();
    assert!(message.contains("measured in another way"), "{message}");
    assert_eq!(fs::read(&whole).unwrap(), bytes);
}

#[test]
fn the_end_of_a_throttle_is_waited_for() {
    let dir = tempfile::tempdir().unwrap();
    let board = Board::new("orin-nano-super", 1).unwrap();
    let settings = Settings { frames: 400, spacing: Nanos::ZERO, passes: 1, changes: 0, ..short(&board) };
    let subject = subject(&board);
    board.set_ambient(MilliCelsius::new(110_000));
    let mut timer = board.timer();
    timer.sleep_until(Nanos::from_millis(120_000));
    let throttled = |now| jetpace_devfreq::board::Board::discover(&board.nodes()).is_ok_and(|b| b.gpu.throttled == now);
    assert!(throttled(true), "the board is hot");
    // From here on it cools down, which takes a while.
    board.set_ambient(MilliCelsius::new(25_000));
    let path = dir.path().join("hot.csv");
    let before = timer.now();
    let done = subject.calibrate(&path, &settings, &Stop::never(), &mut |_| {}).unwrap();
    assert!(throttled(false) && timer.now() > before);
    assert!(done.measured > 0);
    let reasons: Vec<String> = sweep::read(&path).unwrap().rows.into_iter().map(|row| row.rejected).collect();
    let hot = reasons.iter().filter(|why| *why == "throttled" || why.starts_with("clock not held")).count();
    assert_eq!(hot, 0, "measured under heat: {:?}", reasons.iter().find(|why| !why.is_empty()));
}

#[test]
fn rows_that_heat_spoilt_say_so() {
    let dir = tempfile::tempdir().unwrap();
    let board = Board::new("orin-nano-super", 1).unwrap();
    let settings = Settings { frames: 400, spacing: Nanos::ZERO, passes: 1, changes: 0, ..short(&board) };
    let subject = subject(&board);
    board.set_ambient(MilliCelsius::new(92_000));
    // Half a minute of standing there is enough.
    let mut timer = board.timer();
    timer.sleep_until(Nanos::from_millis(120_000));
    let path = dir.path().join("hot.csv");
    // Whether it ends well depends on what the clock can still be pinned to; no row may pass a throttled clock as held.
    let _ = subject.calibrate(&path, &settings, &Stop::never(), &mut |_| {});
    let sweep = sweep::read(&path).unwrap();
    let frames = sweep.rows.iter().filter(|row| row.kind == Kind::Block && row.samples == Some(1));
    let rejected: Vec<&str> = frames.map(|row| row.rejected.as_str()).filter(|why| !why.is_empty()).collect();
    assert!(rejected.iter().any(|why| *why == "throttled" || why.starts_with("clock not held")), "{rejected:?}");
}

#[test]
fn a_look_takes_seconds_and_sees_what_frames_take() {
    for name in NAMES {
        let board = Board::new(name, 5).unwrap();
        let net = network(NET).unwrap();
        let clocks = board.clocks();
        let asked = [clocks[0], *clocks.last().unwrap(), Hertz::new(1)];
        let looked = subject(&board).look(&asked, &Stop::never()).unwrap();
        let took = board.timer().now();
        assert!(took < Nanos::from_millis(10_000), "{name}: {took}");
        assert_eq!(looked.iter().map(|at| at.clock).collect::<Vec<_>>(), asked[..2], "{name}: one is not listed");
        for at in looked {
            let seconds: f64 = at.times.iter().map(|time| time.as_secs_f64()).sum();
            let blocks = (0..net.blocks.len()).map(|block| BlockId(block as u16));
            let clock = index(&board, Some(at.clock));
            let truth = |block| board.true_time(&net, block, Size::default(), clock).as_secs_f64();
            near(seconds / at.times.len() as f64, blocks.map(truth).sum(), 0.03, &format!("{name}: {}", at.clock));
            assert!(at.power.is_some() && at.spoilt.is_empty(), "{name}: {at:?}");
        }
    }
}
