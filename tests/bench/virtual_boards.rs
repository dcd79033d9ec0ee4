//! The README's table: networks at planned clocks on every virtual board, judged by the simulator's truth.
//!
//! For each board, network and deadline (a factor times the frame at the top clock): calibrate, fit and plan with the
//! commands themselves, then run the table, the stock governor and every fixed clock on the same seeds. A plan holds
//! where the 95 % lower bound of its miss rate is at most the risk, its mean energy is at most 0.5 % above that of the
//! best fixed clock (the one of least true energy among those that meet the risk), and below the stock governor's
//! wherever that meets the risk.
//!
//! `virtual-boards [SEEDS] [FRAMES]`; 20 seeds of 1000 frames by default. Exits 1 where a plan does not hold.

#![allow(clippy::unwrap_used)] // ends with a message that names the call

use std::path::Path;
use std::sync::Mutex;

use jetpace_tests::virtual_boards::{BOARDS, FACTORS, Judged, NETWORKS, judge};

fn main() {
    let mut numbers = std::env::args().skip(1).map(|n| n.parse::<u64>().expect("SEEDS and FRAMES are numbers"));
    let seeds = numbers.next().unwrap_or(20);
    let frames = numbers.next().unwrap_or(1000);
    let cases: Vec<(&str, &str)> = BOARDS.iter().flat_map(|b| NETWORKS.iter().map(move |n| (*b, *n))).collect();
    let queue = Mutex::new(cases.iter().enumerate().rev().collect::<Vec<_>>());
    let results = Mutex::new(Vec::new());
    let folder = tempfile::tempdir().unwrap();
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                loop {
                    let Some((at, (board, network))) = queue.lock().unwrap().pop() else { break };
                    let judged = one(folder.path(), board, network, seeds, frames);
                    eprintln!("{board} {network}: done");
                    results.lock().unwrap().push((at, judged));
                }
            });
        }
    });
    let mut results = results.into_inner().unwrap();
    results.sort_by_key(|(at, _)| *at);
    let judged: Vec<Judged> = results.into_iter().flat_map(|(_, judged)| judged).collect();
    println!("{}", Judged::HEADER);
    judged.iter().for_each(|j| println!("{}", j.row()));
    let failed = judged.iter().filter(|j| !j.faults().is_empty()).count();
    println!(
        "\n{} plans hold, {failed} do not ({seeds} seeds x {frames} frames each; evidence: virtual)",
        judged.len() - failed
    );
    std::process::exit(i32::from(failed > 0));
}

fn one(folder: &Path, board: &str, network: &str, seeds: u64, frames: u64) -> Vec<Judged> {
    let folder = folder.join(format!("{board}-{network}"));
    std::fs::create_dir(&folder).unwrap();
    judge(&folder, board, network, &FACTORS, seeds, frames)
}
