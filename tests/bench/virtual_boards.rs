//! The README's table: networks at planned clocks on every virtual board, judged by the simulator's truth.
//!
//! For each board, network and deadline (a factor times the frame at the top clock): calibrate, fit and plan with the
//! commands themselves, then run the table, the stock governor and every fixed clock on the same seeds. A plan holds
//! where the 95 % lower bound of its miss rate is at most the risk, its mean energy is at most 0.5 % above that of the
//! best fixed clock (the one of least true energy among those that meet the risk), and not above the stock
//! governor's wherever that meets the risk (within 0.01 %: both may rest at one clock).
//!
//! `virtual-boards [SEEDS] [FRAMES] [WORD]`; 20 seeds of 1000 frames by default, and only boards and networks whose names
//! together ("tx2 vgg19") contain the word. Exits 1 where a plan does not hold.

#![allow(clippy::unwrap_used)] // ends with a message that names the call

use std::path::Path;
use std::sync::Mutex;

use jetpace_tests::virtual_boards::{BOARDS, FACTORS, Judged, NETWORKS, judge};

fn main() {
    let mut arguments = std::env::args().skip(1);
    let mut number = |default| arguments.next().map_or(default, |n| n.parse().expect("SEEDS and FRAMES are numbers"));
    let (seeds, frames): (u64, u64) = (number(20), number(1000));
    let word = arguments.next().unwrap_or_default();
    let all = BOARDS.iter().flat_map(|b| NETWORKS.iter().map(move |n| (*b, *n)));
    let cases: Vec<(&str, &str)> = all.filter(|(b, n)| format!("{b} {n}").contains(&word)).collect();
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
