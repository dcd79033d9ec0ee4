//! The feedback table against the fixed list, paired over seeds, on every virtual board, network and deadline of the
//! README's table: the 95 % interval of the difference in misses and in energy.
//!
//! `feedback-pairs [SEEDS] [FRAMES] [WORD]`; 100 seeds of 200 frames by default, and only boards and networks whose names
//! together ("tx2 vgg19") contain the word. Exits 1 where feedback, over all plans together, misses more or takes more
//! energy beyond the interval; single plans for which that holds are named.

#![allow(clippy::unwrap_used)] // ends with a message that names the call

use std::sync::Mutex;

use jetpace_tests::pairs::{pairs, together};
use jetpace_tests::virtual_boards::{BOARDS, FACTORS, NETWORKS};

fn main() {
    let mut arguments = std::env::args().skip(1);
    let mut number = |default| arguments.next().map_or(default, |n| n.parse().expect("SEEDS and FRAMES are numbers"));
    let (seeds, frames): (u64, u64) = (number(100), number(200));
    let word = arguments.next().unwrap_or_default();
    let all = BOARDS.iter().flat_map(|b| NETWORKS.iter().map(move |n| (*b, *n)));
    let queue = Mutex::new(all.filter(|(b, n)| format!("{b} {n}").contains(&word)).collect::<Vec<_>>());
    let (found, folder) = (Mutex::new(Vec::new()), tempfile::tempdir().unwrap());
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                loop {
                    let Some((board, network)) = queue.lock().unwrap().pop() else { break };
                    let folder = folder.path().join(format!("{board}-{network}"));
                    std::fs::create_dir(&folder).unwrap();
                    let paired = pairs(&folder, board, network, &FACTORS, seeds, frames);
                    paired.iter().for_each(|paired| println!("{}", paired.row()));
                    found.lock().unwrap().extend(paired);
                }
            });
        }
    });
    let found = found.into_inner().unwrap();
    let differ = found.iter().filter(|paired| paired.misses.is_some()).count();
    let failed = found.iter().filter(|paired| !paired.faults().is_empty()).count();
    println!(
        "\n{} plans, {differ} of them with a table that differs from the list; {failed} where feedback alone is worse \
         ({seeds} seeds x {frames} frames, evidence: virtual)",
        found.len()
    );
    let (misses, energy) = together(&found);
    println!("all plans together: misses {}, energy {}", misses.said(), energy.said());
    std::process::exit(i32::from(misses.is_higher() || energy.is_higher()));
}
