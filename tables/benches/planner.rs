//! What planning and fitting cost on one core: CPU time as it grows with blocks and clocks, and the peak of memory, as
//! JSON for `judge.py`. CPU time, so that what else runs on the machine counts little.

#![allow(clippy::unwrap_used)] // ends with a message that names the call

use std::fs::read_to_string;

use jetpace_tables::fit::{Options, fit};
use jetpace_tables::plan::{BlockCost, ChangeCost, Noise, Problem, plan};
use jetpace_tables::sample::{Row, Sweep};
use jetpace_tables::stats::LEVELS;
use jetpace_tables::units::{Hertz, Milliwatts, Nanos};

/// Blocks and clocks of the plans.
const PLANS: [(usize, usize); 7] = [(8, 16), (16, 16), (32, 16), (64, 16), (64, 4), (64, 8), (64, 12)];
/// Deadlines, as factors of the time at the top clock.
const DEADLINES: [f64; 4] = [1.1, 1.26, 1.5, 2.0];

/// Nanoseconds on a CPU so far.
fn cpu_ns() -> u64 {
    let text = read_to_string("/proc/self/schedstat").expect("/proc/self/schedstat, Linux only");
    text.split_whitespace().next().unwrap().parse().unwrap()
}

/// The most memory that this process ever had, in bytes.
fn peak_bytes() -> u64 {
    let text = read_to_string("/proc/self/status").unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
}

/// Best of three.
fn cpu_ms(mut work: impl FnMut()) -> f64 {
    let mut once = || {
        let before = cpu_ns();
        work();
        (cpu_ns() - before) as f64 / 1e6
    };
    (0..3).map(|_| once()).fold(f64::INFINITY, f64::min)
}

fn clocks(count: usize) -> Vec<f64> {
    (1..=count).map(|i| 0.1 + 0.9 * i as f64 / count as f64).collect()
}

/// A block's time and power at a fraction of the top clock: computing and memory time that differ from block to block.
fn block(i: usize, f: f64) -> (f64, f64) {
    let wave = |step: f64| 0.5 + 0.5 * (i as f64 * step).sin();
    let (w, m) = (0.4e-3 + 3e-3 * wave(1.7), 0.2e-3 + 2.4e-3 * wave(2.9));
    let time_s = ((w / f).powi(4) + m.powi(4)).powf(0.25) + 2e-5;
    (time_s, 4.0 + (2.0 + 6.0 * wave(0.9)) * f * (1.0 + (f - 0.58).max(0.0)).powi(2))
}

/// Settle times of 2 to 6 ms, frames within 2 % of their mean by the measured quantile, as calibration finds them.
fn problem(blocks: usize, count: usize, factor: f64) -> Problem {
    let f = clocks(count);
    let blocks: Vec<BlockCost> = (0..blocks)
        .map(|i| {
            let (time_s, power_w): (Vec<f64>, Vec<f64>) = f.iter().map(|f| block(i, *f)).unzip();
            let time_sd_s = time_s.iter().map(|t| 0.01 * t).collect();
            BlockCost { name: format!("b{i}"), time_s, time_sd_s, power_w }
        })
        .collect();
    let deadline_s = factor * blocks.iter().map(|b| b.time_s[count - 1]).sum::<f64>();
    // A frame in a hundred is 2 % late at the lowest clock and 8 % at the highest.
    let sd =
        |i: usize| blocks.iter().map(|b| b.time_sd_s[i]).sum::<f64>() / blocks.iter().map(|b| b.time_s[i]).sum::<f64>();
    let late = |i: usize| LEVELS.map(|p| (p - 0.5) * 2.0 * (0.02 + 0.06 * i as f64 / count as f64) / sd(i));
    let deviations = (0..count).map(late).collect();
    let change = |from: usize, to: usize| {
        let settle_s = 2e-3 + 3e-3 * (1.0 - f[from]) + if to > from { 1e-3 } else { 0.0 };
        ChangeCost { settle_s, settle_sd_s: 0.2 * settle_s, settle_late_s: 1.6 * settle_s, stall_s: 8e-5 }
    };
    Problem {
        clocks: f.iter().map(|f| Hertz::new((f * 1e9) as u64)).collect(),
        idle_w: f.iter().map(|f| 2.0 + 0.8 * f).collect(),
        changes: (0..count * count).map(|i| change(i / count, i % count)).collect(),
        deadline_s,
        period_s: deadline_s,
        risk: 0.01,
        noise: Noise::Frames { deviations, correlation: 0.5, bursts: None },
        leads: true,
        blocks,
    }
}

/// The worst of the deadlines: its time and the largest gap.
fn plans(blocks: usize, clocks: usize) -> (f64, f64) {
    let (mut worst_ms, mut worst_gap) = (0.0f64, 0.0f64);
    for factor in DEADLINES {
        let problem = problem(blocks, clocks, factor);
        let mut gap = f64::INFINITY;
        worst_ms = worst_ms.max(cpu_ms(|| gap = plan(&problem).map_or(f64::INFINITY, |plan| plan.gap_bound)));
        worst_gap = worst_gap.max(gap);
    }
    (worst_ms, worst_gap)
}

fn sweep(blocks: usize, count: usize) -> Sweep {
    let row = |i: usize, f: f64| {
        let (time_s, power_w) = block(i, f);
        // Some noise, the same every time.
        let noise = 1.0 + 2e-3 * ((i * 31) as f64 * f).sin();
        Row {
            device: "bench".to_owned(),
            model: "net".to_owned(),
            block: format!("b{i}"),
            gpu_freq: Some(Hertz::new((f * 1e9) as u64)),
            latency: Some(Nanos::from_secs_f64(time_s * noise)),
            power: Some(Milliwatts::from_watts_f64(power_w * noise)),
            ..Row::default()
        }
    };
    let rows = (0..blocks).flat_map(|i| clocks(count).into_iter().map(move |f| row(i, f))).collect();
    Sweep { rows, ..Sweep::default() }
}

fn main() {
    let rows: Vec<String> = PLANS
        .iter()
        .map(|(blocks, clocks)| {
            let (ms, gap) = plans(*blocks, *clocks);
            format!(r#"{{"blocks":{blocks},"clocks":{clocks},"cpu_ms":{ms:.3},"gap":{gap:.6}}}"#)
        })
        .collect();
    let peak = peak_bytes();
    let big = sweep(160, 16);
    let fit_ms = cpu_ms(|| assert_eq!(fit(&big, &Options::default()).unwrap().series.len(), 160));
    println!(r#"{{"format":1,"plan":[{}],"plan_peak_bytes":{peak},"fit_160x16_ms":{fit_ms:.1}}}"#, rows.join(","));
}
