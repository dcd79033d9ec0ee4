//! The table of RESULTS.md on calibration for one deadline: how many clocks that measures, how long it takes on the board,
//! and what its plans cost beside those from a sweep of every clock, by the simulator's truth.
//!
//! `for-deadline [SEEDS] [FRAMES] [WORD]`; 4 seeds of 1000 frames by default, and only the boards and networks whose names
//! together contain the word. Boards of measured curves need the measured data folder.

#![allow(clippy::unwrap_used)] // ends with a message that names the call

use std::time::Duration;

use jetpace_tests::for_deadline::Case;
use jetpace_tests::measured;
use jetpace_tests::virtual_boards::RISK;

const NETWORKS: [&str; 3] = ["resnet152", "vgg19", "robot-frame"];
const FACTORS: [f64; 5] = [1.05, 1.1, 1.26, 1.5, 2.0];

fn main() {
    let mut arguments = std::env::args().skip(1);
    let mut number = |default| arguments.next().map_or(default, |n| n.parse().expect("SEEDS and FRAMES are numbers"));
    let (seeds, frames): (u64, u64) = (number(4), number(1000));
    let word = arguments.next().unwrap_or_default();
    let curves = |file: &str, more: &str| measured(file).map(|path| format!("from={}{more}", path.display()));
    let boards = [
        ("orin-nano", Some("orin-nano".to_owned())),
        ("tx2", Some("tx2".to_owned())),
        ("curves of a Nano", curves("sweeps/jetson-nano.csv", "")),
        ("curves of an AGX Orin", curves("sweeps/agx-orin-cpu-gpu.csv", "")),
        ("the same, 170 clocks as Thor has", curves("sweeps/agx-orin-cpu-gpu.csv", ",clocks=170")),
    ];
    println!(
        "| board, network | clocks measured | time of every clock's sweep | of the deadline's | regret: mean, worst | missed, worst | refused: ours, every clock's |"
    );
    println!("|---|---|---|---|---|---|---|");
    for (name, board) in boards.iter().filter_map(|(name, board)| Some((name, board.as_ref()?))) {
        for network in NETWORKS.iter().filter(|network| format!("{name} {network}").contains(&word)) {
            let folder = tempfile::tempdir().unwrap();
            let case = Case::new(folder.path(), board, network);
            let judged: Vec<_> = FACTORS.iter().map(|factor| case.judge(*factor, seeds, frames)).collect();
            let counts =
                || judged.iter().filter_map(|j| j.found.as_ref().map(|found| (found.measured.len(), found.of)));
            let (least, most) = (counts().min().unwrap_or_default(), counts().max().unwrap_or_default());
            let regrets: Vec<f64> = judged.iter().filter_map(|j| j.regret()).collect();
            let mean = regrets.iter().sum::<f64>() / regrets.len() as f64;
            let minutes = |time: Duration| time.as_secs_f64() / 60.0;
            let took = judged.iter().filter(|j| j.found.is_some()).map(|j| minutes(Duration::from_nanos(j.took.get())));
            let late = judged.iter().filter_map(|j| j.ours.as_ref()).map(|pool| pool.miss_rate()).fold(0.0, f64::max);
            let over = judged.iter().filter_map(|j| j.ours.as_ref()).any(|pool| pool.miss_rate_at_least() > RISK);
            println!(
                "| {name}, {network} | {} to {} of {} | {:.0} min | {:.0} min | {:+.2} %, {:+.2} % | {:.2} %{} | {}, {} |",
                least.0,
                most.0,
                most.1,
                minutes(Duration::from_nanos(case.whole.get())),
                took.fold(0.0, f64::max),
                mean * 1e2,
                regrets.iter().copied().fold(f64::NEG_INFINITY, f64::max) * 1e2,
                late * 1e2,
                if over { " **above the risk**" } else { "" },
                judged.iter().filter(|j| j.ours.is_none()).count(),
                judged.iter().filter(|j| j.whole.is_none()).count(),
            );
        }
    }
    println!(
        "\n{seeds} seeds x {frames} frames, deadlines {FACTORS:?} times the frame at the top clock; evidence: virtual"
    );
}
