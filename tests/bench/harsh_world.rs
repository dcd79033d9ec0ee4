//! Plans in a harsh world: instances by class, each calibrated, fitted, planned and run on a virtual board made of measured
//! curves (see `jetpace_tests::harsh_world`). A plan holds where it is not significantly later than the risk, takes at
//! most 1 % more than the best fixed clock, and was made within ten seconds.
//!
//! `harsh-world [INSTANCES] [SEEDS] [FRAMES] [WORD]`; 7 instances of each class, 5 seeds of 1000 frames by default, and
//! only classes whose name contains the word. `ORACLE=1` compares with lists that hold in hindsight too, which takes
//! twice as long. Exits 1 where a plan does not hold.

#![allow(clippy::unwrap_used)] // ends with a message that names the call

use jetpace_tests::harsh_world::{CLASSES, Judged, judge};

fn main() {
    let mut arguments = std::env::args().skip(1);
    let mut number =
        |default| arguments.next().map_or(default, |n| n.parse().expect("INSTANCES, SEEDS and FRAMES are numbers"));
    let (instances, seeds, frames): (u64, u64, u64) = (number(7), number(5), number(1000));
    let word = arguments.next().unwrap_or_default();
    let oracle = std::env::var_os("ORACLE").is_some();
    println!("{}", Judged::HEADER);
    let mut found: Vec<Judged> = Vec::new();
    for class in CLASSES.iter().filter(|class| class.name.contains(&word)) {
        for n in 0..instances {
            let folder = tempfile::tempdir().unwrap();
            let Some(judged) = judge(folder.path(), class, n, seeds, frames, oracle) else { return };
            println!("{}", judged.row());
            found.push(judged);
        }
    }
    let mean = |of: fn(&Judged) -> Option<f64>| {
        let values: Vec<f64> = found.iter().filter_map(of).collect();
        let worst = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        format!(
            "{:+.2} % on average, {:+.2} % at worst",
            values.iter().sum::<f64>() / values.len() as f64 * 100.0,
            worst * 100.0
        )
    };
    let count = |fault: &str| found.iter().filter(|judged| judged.faults().contains(&fault)).count();
    println!(
        "\n{} instances ({seeds} seeds x {frames} frames; evidence: virtual, curves: measured data): misses {}; energy over \
         the best fixed clock {}{}; {} late, {} above the best fixed clock, {} refused for nothing, {} slow",
        found.len(),
        mean(|judged| judged.missed.map(|missed| missed.0)),
        mean(|judged| judged.over_fixed),
        if oracle { format!(", over the oracle {}", mean(|judged| judged.over_oracle)) } else { String::new() },
        count("late"),
        count("above the best fixed clock"),
        count("refused for nothing"),
        count("slow"),
    );
    std::process::exit(i32::from(found.iter().any(|judged| !judged.faults().is_empty())));
}
