//! Whatever goes wrong, and whenever the agent dies: the original values come back.

use std::path::Path;

use jetpace_devfreq::Error;
use jetpace_devfreq::board::Board;
use jetpace_devfreq::gpu::{GpuNode, Way};
use jetpace_devfreq::guard::{self, Guard, STATE, Store};
use jetpace_devfreq::sim::tree::{Faults, Tree};
use jetpace_tables::hw::GpuClock;
use jetpace_tables::units::Nanos;
use jetpace_tables::work::ClockIndex;
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

use crate::boards::{recorded, tree};

/// How many runs; `./ci.sh faults` asks for 10,000.
pub fn runs(name: &str, ordinary: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(ordinary)
}

/// How a life of the agent ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// An orderly exit.
    Restore,
    /// An error or an unwinding panic.
    Drop,
    /// kill -9 before some operation.
    Killed,
}

/// Takes the clock, sets it about, and ends.
fn live(tree: &Tree, random: &mut SmallRng, end: End) -> Result<(), Error> {
    let board = Board::discover(tree)?;
    let (guard, _) = Guard::take(tree.clone())?;
    let way = if random.random_bool(0.5) { None } else { Way::ALL.get(random.random_range(0..4)).copied() };
    let worked = work(tree, &board, &guard, way, random);
    if end == End::Restore {
        guard.restore()?;
    }
    worked
}

fn work(tree: &Tree, board: &Board, guard: &Guard<Tree>, way: Option<Way>, random: &mut SmallRng) -> Result<(), Error> {
    let mut gpu = GpuNode::open(tree.clone(), tree.timer(), board, guard, way)?;
    for _ in 0..random.random_range(0..20) {
        let clock = ClockIndex(random.random_range(0..board.gpu.clocks.len()) as u8);
        match random.random_range(0..10) {
            0 => gpu.pin(clock).map(|_| ())?,
            1 => gpu.watch().map(|_| ())?,
            2 => gpu.release()?,
            _ => gpu.set(clock)?,
        }
    }
    Ok(())
}

/// One run; `Err` says what is not as it should be.
fn run(boards: &[(String, Tree)], seed: u64) -> Result<(), String> {
    let mut random = SmallRng::seed_from_u64(seed);
    let (name, board) = &boards[random.random_range(0..boards.len())];
    let tree = board.copy();
    let before = tree.settings();
    let end = [End::Restore, End::Drop, End::Killed][random.random_range(0..3)];
    let (reads, writes) = (random.random_range(0.0..0.02), random.random_range(0.0..0.15));
    tree.set_faults(Some(Faults::new(seed, reads, writes)));
    if end == End::Killed {
        tree.die_at(random.random_range(0..1500));
    }
    let ended = live(&tree, &mut random, end);
    let next = tree.kill();
    next.set_faults(None);
    let after = next.settings();
    let changed: Vec<&Path> =
        before.iter().filter(|node| !after.contains(node)).map(|(path, _)| path.as_path()).collect();
    let context = |what: &str| format!("seed {seed}, {name}, {end:?}: {what}; changed {changed:?}; ended {ended:?}");
    if !changed.is_empty() || after.len() != before.len() {
        if next.load(Path::new(STATE)).is_err() {
            return Err(context("changed, and no state file"));
        }
        // The very end may be hidden behind an error that came before; where restoring was the last word it names all.
        if let (End::Restore, Err(Error::NotRestored { nodes, .. })) = (end, &ended) {
            let unnamed = changed.iter().find(|path| !nodes.contains(&*path.to_string_lossy()));
            // Nodes of the stock governor are away with it; it is what has to be named then.
            let of_governor =
                |path: &Path| ["user", "freq_request", "enable_3d_scaling"].iter().any(|n| path.ends_with(n));
            if let Some(path) = unnamed.filter(|path| !of_governor(path)) {
                return Err(context(&format!("{} is not named", path.display())));
            }
        }
        if end == End::Restore && ended.is_ok() {
            return Err(context("an orderly end that says all is well"));
        }
    }
    guard::restore(&next).map_err(|e| context(&format!("restore without faults: {e}")))?;
    if next.settings() != before {
        return Err(context(&format!("not restored: {:?}", next.settings())));
    }
    match next.load(Path::new(STATE)) {
        Ok(_) => Err(context("the state file is still there")),
        Err(_) => Ok(()),
    }
}

#[test]
fn originals_come_back_whatever_fails() {
    let boards: Vec<(String, Tree)> = recorded().into_iter().map(|(name, _)| (name.clone(), tree(&name))).collect();
    let runs = runs("JETPACE_FAULT_RUNS", 600);
    let failed = std::thread::scope(|scope| {
        let halves: Vec<_> = (0..2)
            .map(|half| {
                let boards: Vec<(String, Tree)> =
                    boards.iter().map(|(name, tree)| (name.clone(), tree.copy())).collect();
                scope.spawn(move || (0..runs).filter(|seed| seed % 2 == half).find_map(|seed| run(&boards, seed).err()))
            })
            .collect();
        halves.into_iter().find_map(|half| half.join().unwrap())
    });
    assert_eq!(failed, None);
    eprintln!("{runs} runs with faults");
}

/// The time in which this board lives goes by only when someone sleeps.
#[test]
fn a_board_that_never_follows_costs_a_bounded_time() {
    let tree = tree("orin-nano-8gb-super-r36.4");
    let board = Board::discover(&tree).unwrap();
    tree.outside(|outside| outside.gpu(|rules| rules.set_failing(Some(libc::EIO))));
    let (guard, _) = Guard::take(tree.clone()).unwrap();
    let opened = GpuNode::open(tree.clone(), tree.timer(), &board, &guard, None);
    assert!(opened.is_err());
    use jetpace_tables::hw::Timer;
    assert!(tree.timer().now() < Nanos::from_millis(2_000));
}
