//! The virtual boards, judged from outside.

use std::path::Path;

use jetpace_tables::hw::{BlockRunner, Timer};
use jetpace_tables::units::{Hertz, MilliCelsius, Nanos};
use jetpace_tables::work::{Block, BlockId, ClockIndex, Layer, Network, Size};

use super::{Board, NAMES, Runner, VirtualNodes};
use crate::nodes::{NodeHandle, Nodes};

const GPU: &str = "/sys/class/devfreq";

/// Some 4 ms of computing and 8 ms of memory traffic on an Orin Nano, in two blocks.
fn network() -> Network {
    let layer =
        |gflop: u64, mb: u64| Layer { flops: gflop * 1_000_000_000, weight_bytes: mb * 1_000_000, activation_bytes: 0 };
    let block = |name: &str, layer| Block { name: name.to_owned(), layers: vec![layer; 4] };
    Network { name: "test".to_owned(), blocks: vec![block("compute", layer(4, 1)), block("memory", layer(1, 80))] }
}

fn gpu(nodes: &VirtualNodes) -> std::path::PathBuf {
    Path::new(GPU).join(&nodes.list(Path::new(GPU)).unwrap()[0])
}

/// Holds a clock through the bounds, in the order that every kernel takes.
fn pin(board: &Board, clock: usize) {
    let (nodes, hz) = (board.nodes(), board.clocks()[clock].get().to_string());
    let top = board.clocks().last().unwrap().get().to_string();
    let lowest = board.clocks()[0].get().to_string();
    for (file, text) in [("min_freq", &lowest), ("max_freq", &top), ("max_freq", &hz), ("min_freq", &hz)] {
        nodes.write(&gpu(&nodes).join(file), text).unwrap();
    }
    let mut timer = board.timer();
    timer.sleep_until(timer.now().saturating_add(Nanos::from_millis(100)));
}

fn run(runner: &mut Runner, block: u16, repeats: usize) -> Vec<f64> {
    let mut times = vec![Nanos::ZERO; repeats];
    runner.run(BlockId(block), Size(1), &mut times, &mut |_| None).unwrap();
    times.into_iter().map(Nanos::as_secs_f64).collect()
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

/// Correlation of a series with itself `lag` steps later.
fn autocorrelation(values: &[f64], lag: usize) -> f64 {
    let mean = mean(values);
    let square: f64 = values.iter().map(|v| (v - mean).powi(2)).sum();
    values.iter().zip(&values[lag..]).map(|(a, b)| (a - mean) * (b - mean)).sum::<f64>() / square
}

#[test]
fn one_seed_is_one_history() {
    let history = |seed| {
        let board = Board::new("orin-nano", seed).unwrap();
        let mut runner = board.runner(network());
        let times = run(&mut runner, 0, 500);
        (times, board.energy(), board.timer().now())
    };
    assert_eq!(history(7), history(7));
    assert_ne!(history(7).0, history(8).0);
}

#[test]
fn every_board_runs_slower_and_with_less_power_at_lower_clocks() {
    for name in NAMES {
        let mut last = None;
        let clocks = Board::new(name, 1).unwrap().clocks().len();
        for clock in 0..clocks {
            let board = Board::new(name, 1).unwrap();
            board.silence();
            pin(&board, clock);
            assert_eq!(board.clock(), ClockIndex(clock as u8), "{name}");
            let mut runner = board.runner(network());
            let before = board.energy();
            let time = mean(&run(&mut runner, 0, 50));
            let power = (board.energy().as_joules_f64() - before.as_joules_f64()) / (time * 50.0);
            let truth = board.true_time(&network(), BlockId(0), Size(1), ClockIndex(clock as u8)).as_secs_f64();
            assert!((time / truth - 1.0).abs() < 1e-6, "{name}: {time} s, truly {truth}");
            if let Some((slower, weaker)) = last {
                assert!(time < slower && power > weaker, "{name} at clock {clock}: {time} s {power} W");
            }
            last = Some((time, power));
        }
    }
}

#[test]
fn settle_times_spread_about_five_milliseconds_and_grow_at_low_clocks() {
    let board = Board::new("xavier-nx", 3).unwrap();
    pin(&board, 14);
    let nodes = board.nodes();
    // A railgated GPU takes its clock at once, when it wakes.
    nodes.write(&gpu(&nodes).join("device/power/control"), "on").unwrap();
    nodes.write(&gpu(&nodes).join("governor"), "userspace").unwrap();
    let mut timer = board.timer();
    let mut settle = |from: usize, to: usize| {
        let set = |clock: usize| {
            let hz = board.clocks()[clock].get();
            for file in ["max_freq", "min_freq"] {
                let bound = if file == "max_freq" { board.clocks()[14] } else { board.clocks()[0] };
                nodes.write(&gpu(&nodes).join(file), &bound.get().to_string()).unwrap();
            }
            nodes.write(&gpu(&nodes).join("userspace/set_freq"), &hz.to_string()).unwrap();
        };
        set(from);
        timer.sleep_until(timer.now().saturating_add(Nanos::from_millis(100)));
        set(to);
        let written = timer.now();
        while board.clock().index() != to {
            timer.sleep_until(timer.now().saturating_add(Nanos::from_micros(20)));
        }
        timer.now().saturating_sub(written).as_secs_f64()
    };
    let high: Vec<f64> = (0..200).map(|_| settle(14, 10)).collect();
    let low: Vec<f64> = (0..200).map(|_| settle(14, 0)).collect();
    assert!((0.0045..0.0056).contains(&mean(&high)), "{}", mean(&high));
    assert!(mean(&low) > 1.5 * mean(&high), "{} against {}", mean(&low), mean(&high));
    let sd = (high.iter().map(|s| (s - mean(&high)).powi(2)).sum::<f64>() / 199.0).sqrt();
    assert!((0.15..0.25).contains(&(sd / mean(&high))), "{sd}");
}

#[test]
fn a_second_write_replaces_a_pending_change_and_the_gpu_stalls_once() {
    let board = Board::new("orin-nano-super", 5).unwrap();
    board.silence();
    pin(&board, 0);
    let nodes = board.nodes();
    let max = gpu(&nodes).join("max_freq");
    nodes.write(&gpu(&nodes).join("governor"), "performance").unwrap();
    let write = |clock: usize| nodes.write(&max, &board.clocks()[clock].get().to_string()).unwrap();
    let mut timer = board.timer();
    write(7);
    timer.sleep_until(timer.now().saturating_add(Nanos::from_millis(2)));
    write(3);
    timer.sleep_until(timer.now().saturating_add(Nanos::from_millis(3)));
    assert_eq!(board.clock(), ClockIndex(0), "the second write starts the settle time anew");
    timer.sleep_until(timer.now().saturating_add(Nanos::from_millis(50)));
    assert_eq!(board.clock(), ClockIndex(3));
    // A block that straddles one change: some of it at each clock, and the stall between.
    let mut runner = board.runner(network());
    let mut times = [Nanos::ZERO];
    let mut change = Some(7);
    runner
        .run(BlockId(0), Size(1), &mut times, &mut |now| {
            if let Some(clock) = change.take() {
                write(clock);
            }
            (board.clock() != ClockIndex(7)).then(|| now.saturating_add(Nanos::from_micros(50)))
        })
        .unwrap();
    let at = |clock| board.true_time(&network(), BlockId(0), Size(1), ClockIndex(clock)).as_secs_f64();
    let time = times[0].as_secs_f64();
    assert!(at(7) < time && time < at(3) + 150e-6, "{time} between {} and {}", at(7), at(3));
}

#[test]
fn writes_happen_within_a_block_at_their_time() {
    let board = Board::new("orin-nano", 1).unwrap();
    pin(&board, 2);
    let mut runner = board.runner(network());
    let mut called = Vec::new();
    let mut times = [Nanos::ZERO; 3];
    let start = board.timer().now();
    runner
        .run(BlockId(1), Size(1), &mut times, &mut |now| {
            called.push(now.saturating_sub(start));
            (called.len() < 4).then(|| now.saturating_add(Nanos::from_millis(1)))
        })
        .unwrap();
    let ms = |n| Nanos::from_millis(n);
    assert_eq!(called, [ms(0), ms(1), ms(2), ms(3)]);
}

#[test]
fn the_stock_governor_ramps_by_a_third_under_load_and_falls_to_the_minimum_when_gated() {
    let board = Board::new("orin-nano-super", 2).unwrap();
    let nodes = board.nodes();
    let mut runner = board.runner(network());
    let start = board.timer().now();
    let mut seen = vec![];
    while board.timer().now().saturating_sub(start) < Nanos::from_millis(400) {
        run(&mut runner, 0, 1);
        let clock: u64 = nodes.read(&gpu(&nodes).join("cur_freq")).unwrap().trim().parse().unwrap();
        if seen.last() != Some(&clock) {
            seen.push(clock);
        }
    }
    // 306 + 340 MHz is 646, so 714; 714 + 340 is above the top.
    assert_eq!(seen, [306_000_000, 714_000_000, 1_020_000_000]);
    let mut timer = board.timer();
    timer.sleep_until(timer.now().saturating_add(Nanos::from_millis(600)));
    let device = gpu(&nodes).join("device");
    assert_eq!(nodes.read(&device.join("is_railgated")).unwrap(), "yes\n");
    run(&mut runner, 0, 1);
    assert_eq!(board.clock(), ClockIndex(0), "it wakes at the lowest clock");
    assert_eq!(nodes.read(&device.join("is_railgated")).unwrap(), "no\n");
}

#[test]
fn idle_power_falls_with_the_clock_and_again_when_gated() {
    let board = Board::new("tx2", 1).unwrap();
    let mut timer = board.timer();
    let mut idle = |clock: usize, for_ms: u64| {
        pin(&board, clock);
        let (start, before) = (timer.now(), board.energy());
        timer.sleep_until(start.saturating_add(Nanos::from_millis(for_ms)));
        (board.energy().as_joules_f64() - before.as_joules_f64()) / (for_ms as f64 / 1e3)
    };
    idle(12, 0);
    let gated = idle(12, 10_000);
    board.nodes().write(&gpu(&board.nodes()).join("device/power/control"), "on").unwrap();
    let (high, low) = (idle(12, 300), idle(0, 300));
    assert!(gated + 0.1 < low && low + 0.2 < high, "{gated} < {low} < {high}");
    assert!((high - board.true_idle(ClockIndex(12)).as_watts_f64()).abs() < 0.1);
}

#[test]
fn late_blocks_come_in_clusters() {
    let board = Board::new("orin-nano", 11).unwrap();
    pin(&board, 4);
    let mut runner = board.runner(network());
    let times = run(&mut runner, 1, 6000);
    let mut sorted = times.clone();
    sorted.sort_by(f64::total_cmp);
    let (median, limit) = (sorted[3000], sorted[5880]);
    assert!(limit > 1.03 * median, "contention shows: {limit} against {median}");
    let late: Vec<f64> = times.iter().map(|&t| f64::from(u8::from(t > limit))).collect();
    let lag1 = autocorrelation(&late, 1);
    assert!(lag1 > 0.5, "{lag1}");
    // Without the bursts, the drift alone still lasts longer than a block.
    let middle: Vec<f64> = times.iter().map(|&t| t.min(1.015 * median)).collect();
    assert!(autocorrelation(&middle, 1) > 0.5);
    let common: Vec<f64> = times.iter().copied().filter(|&t| t < 1.02 * median).collect();
    let sd = (common.iter().map(|t| (t - mean(&common)).powi(2)).sum::<f64>() / common.len() as f64).sqrt();
    assert!((0.005..0.009).contains(&(sd / mean(&common))), "{}", sd / mean(&common));
}

#[test]
fn heat_lowers_the_highest_clock_and_the_nodes_show_it() {
    let board = Board::new("xavier-nx", 1).unwrap();
    let nodes = board.nodes();
    nodes.write(&gpu(&nodes).join("governor"), "performance").unwrap();
    let mut runner = board.runner(network());
    let state = || nodes.read(Path::new("/sys/class/thermal/cooling_device0/cur_state")).unwrap();
    run(&mut runner, 0, 200);
    assert_eq!(state(), "0\n");
    board.set_ambient(MilliCelsius::new(80_000));
    run(&mut runner, 0, 30_000);
    assert!(board.temperature().get() > 90_000, "{:?}", board.temperature());
    assert_ne!(state(), "0\n");
    let max: u64 = nodes.read(&gpu(&nodes).join("max_freq")).unwrap().trim().parse().unwrap();
    assert!(max < 1_109_250_000, "{max}");
    assert!(board.clocks()[board.clock().index()].get() <= max);
}

#[test]
fn a_hidden_cap_shows_in_nothing_but_the_time() {
    let board = Board::new("orin-nano-super", 1).unwrap();
    board.silence();
    pin(&board, 7);
    board.set_hidden_cap(Some(Hertz::new(700_000_000)));
    let mut timer = board.timer();
    timer.sleep_until(timer.now().saturating_add(Nanos::from_millis(50)));
    let nodes = board.nodes();
    assert_eq!(nodes.read(&gpu(&nodes).join("cur_freq")).unwrap(), "1020000000\n");
    assert_eq!(board.clock(), ClockIndex(3));
}

#[test]
fn the_emc_clock_can_be_locked_and_slows_memory_down() {
    let board = Board::new("tx2", 1).unwrap();
    board.silence();
    pin(&board, 12);
    let mut runner = board.runner(network());
    let fast = mean(&run(&mut runner, 1, 5));
    let nodes = board.nodes();
    let emc = Path::new("/sys/kernel/debug/bpmp/debug/clk/emc");
    for (node, text) in [("mrq_rate_locked", "1"), ("state", "1"), ("rate", "1062400000")] {
        nodes.write(&emc.join(node), text).unwrap();
    }
    assert_eq!(nodes.read(&emc.join("rate")).unwrap(), "1062400000\n");
    nodes.write(&emc.join("rate"), "1234").unwrap();
    assert_eq!(nodes.read(&emc.join("rate")).unwrap(), "1062400000\n", "an impossible rate is ignored in silence");
    let slow = mean(&run(&mut runner, 1, 5));
    assert!(slow / fast > 1.5, "{slow} against {fast}");
}

#[test]
fn nodes_answer_as_sysfs_does() {
    let board = Board::new("xavier-nx", 1).unwrap();
    let nodes = board.nodes();
    let devfreq = gpu(&nodes);
    let errno = |e: std::io::Error| e.raw_os_error();
    assert_eq!(errno(nodes.write(&devfreq.join("cur_freq"), "1").unwrap_err()), Some(libc::EACCES));
    assert_eq!(errno(nodes.read(&devfreq.join("nothing")).unwrap_err()), Some(libc::ENOENT));
    assert_eq!(errno(nodes.read(&devfreq).unwrap_err()), Some(libc::EISDIR));
    assert_eq!(nodes.canonical(&devfreq.join("device")).unwrap(), Path::new("/sys/devices/platform/17000000.gv11b"));
    assert_eq!(nodes.read(Path::new("/sys/devices/gpu.0/devfreq_dev/governor")).unwrap(), "nvhost_podgov\n");
    assert!(nodes.list(Path::new("/sys/devices/gpu.0")).unwrap().contains(&"user".to_owned()));
    // A handle on a governor's own node dies with it, and stays dead when the governor comes back.
    let mut user = nodes.open(Path::new("/sys/devices/gpu.0/user")).unwrap();
    user.write(b"0\n").unwrap();
    nodes.write(&devfreq.join("governor"), "userspace").unwrap();
    assert_eq!(errno(user.write(b"1").unwrap_err()), Some(libc::ENODEV));
    assert!(!nodes.list(Path::new("/sys/devices/gpu.0")).unwrap().contains(&"user".to_owned()));
    nodes.write(&devfreq.join("governor"), "nvhost_podgov").unwrap();
    assert_eq!(errno(user.write(b"1").unwrap_err()), Some(libc::ENODEV));
    let hwmon = Path::new("/sys/class/hwmon/hwmon1");
    assert_eq!(nodes.read(&hwmon.join("in1_label")).unwrap(), "VDD_IN\n");
    assert_eq!(nodes.mode(&hwmon.join("in1_input")).unwrap() & 0o777, 0o400);
}

#[test]
fn an_unknown_board_is_refused_with_the_list() {
    let message = Board::new("tx3", 1).unwrap_err().to_string();
    assert!(message.contains("tx3") && message.contains("orin-nano-super"), "{message}");
}
