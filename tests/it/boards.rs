//! What is found on every recorded board, and every write that is made there, in order, restore included.

use std::fmt::Write as _;
use std::path::PathBuf;

use jetpace_devfreq::board::Board;
use jetpace_devfreq::gpu::{self, GpuNode, Way};
use jetpace_devfreq::guard::Guard;
use jetpace_devfreq::rails::RailSource;
use jetpace_devfreq::sim::tree::{Logged, Tree};
use jetpace_tables::hw::{GpuClock, RailRole};
use jetpace_tables::work::ClockIndex;

/// The folders of the recorded boards, by name.
pub fn recorded() -> Vec<(String, PathBuf)> {
    let folder = jetpace_tests::root().join("tests/boards");
    let mut boards: Vec<(String, PathBuf)> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap())
        .filter(|entry| entry.path().is_dir())
        .map(|entry| (entry.file_name().into_string().unwrap(), entry.path()))
        .collect();
    boards.sort();
    boards
}

pub fn tree(name: &str) -> Tree {
    Tree::load(&jetpace_tests::root().join("tests/boards").join(name)).unwrap()
}

/// The log, one line a write, the folders of the GPU left out.
pub fn lines(log: &[Logged], board: &Board) -> String {
    let mut text = String::new();
    for entry in log {
        let short = [&board.gpu.devfreq, &board.gpu.device].iter().find_map(|dir| entry.path.strip_prefix(dir).ok());
        let error = entry.error.map_or_else(String::new, |code| format!("  errno {code}"));
        let who = if entry.who == "jetpace" { String::new() } else { format!("{}: ", entry.who) };
        writeln!(text, "{who}{} = {}{error}", short.unwrap_or(&entry.path).display(), entry.text).unwrap();
    }
    text
}

#[test]
fn every_board_is_understood() {
    let boards = recorded();
    assert!(boards.len() >= 14, "{} boards", boards.len());
    let mut text = String::new();
    for (name, _) in boards {
        let board = Board::discover(&tree(&name)).unwrap();
        describe(&mut text, &name, &board);
    }
    insta::assert_snapshot!(text);
}

fn describe(text: &mut String, name: &str, board: &Board) {
    let id = &board.identity;
    let or = |value: &Option<String>| value.clone().unwrap_or_else(|| "-".to_owned());
    writeln!(text, "== {name}: {}", or(&id.model)).unwrap();
    writeln!(text, "{} {} {} {}", or(&id.part), or(&id.soc), or(&id.l4t), board.power_mode.as_ref().unwrap()).unwrap();
    let gpu = &board.gpu;
    writeln!(text, "gpu {} cap {} tpc {}", gpu.devfreq.display(), gpu.cap, or(&gpu.tpc_mask)).unwrap();
    let mhz: Vec<String> = gpu.clocks.iter().map(|clock| format!("{}", clock.get() as f64 / 1e6)).collect();
    writeln!(text, "clocks {}", mhz.join(" ")).unwrap();
    for other in &board.other_gpus {
        writeln!(text, "not set: {}", other.display()).unwrap();
    }
    let emc = board.emc.as_ref().unwrap();
    writeln!(text, "emc {} {:?} lock {:?}", emc.rate.display(), emc.current, emc.lock).unwrap();
    for rail in &board.rails {
        let path = match &rail.source {
            RailSource::VoltsAmps { volts, .. } => volts,
            RailSource::Power(power) => power,
        };
        writeln!(text, "rail {} {:?} {}", rail.name, rail.role, path.display()).unwrap();
    }
    let zones: Vec<&str> = board.zones.iter().map(|zone| zone.name.as_str()).collect();
    let list = |names: Vec<&str>| names.join(" ");
    writeln!(text, "zones {}", list(zones)).unwrap();
    writeln!(text, "cooling {}", list(board.cooling.iter().map(|c| c.name.as_str()).collect())).unwrap();
    writeln!(text, "over-current {}", list(board.over_current.iter().map(|c| c.name.as_str()).collect())).unwrap();
    writeln!(text, "cpu policies {}", board.cpus.len()).unwrap();
    for missing in &board.missing {
        writeln!(text, "missing {missing}").unwrap();
    }
}

#[test]
fn every_board_has_a_total_to_minimise() {
    for (name, _) in recorded() {
        let board = Board::discover(&tree(&name)).unwrap();
        let count = |role| board.rails.iter().filter(|rail| rail.role == role).count();
        let gpu = count(RailRole::Gpu) + count(RailRole::GpuShared);
        assert_eq!(gpu, 1, "{name}: one rail carries the GPU");
        match count(RailRole::Total) {
            1 => assert_eq!(count(RailRole::Part), 0, "{name}"),
            0 => assert!(count(RailRole::Part) >= 2, "{name}"),
            n => panic!("{name}: {n} totals"),
        }
    }
}

/// Sets a few clocks by one way and puts everything back.
fn drive(tree: &Tree, board: &Board, way: Way) -> Result<(), jetpace_devfreq::Error> {
    let (guard, _) = Guard::take(tree.clone())?;
    let mut gpu = GpuNode::open(tree.clone(), tree.timer(), board, &guard, Some(way))?;
    let top = gpu.cap();
    for clock in [top, ClockIndex(0), ClockIndex(top.0 / 2), ClockIndex(top.0 / 2), top] {
        gpu.set(clock)?;
    }
    gpu.release()?;
    guard.restore()?;
    Ok(())
}

#[test]
fn every_write_of_every_way_on_every_board() {
    let mut text = String::new();
    for (name, _) in recorded() {
        for way in Way::ALL {
            let tree = tree(&name);
            let board = Board::discover(&tree).unwrap();
            assert_eq!(tree.log(), [], "{name}: discovery writes");
            let before = tree.settings();
            let done = drive(&tree, &board, way);
            writeln!(text, "== {name} {way}").unwrap();
            text += &lines(&tree.log(), &board);
            if let Err(e) = done {
                writeln!(text, "{e}").unwrap();
            }
            assert_eq!(tree.settings(), before, "{name} {way}: not as before");
        }
    }
    insta::assert_snapshot!(text);
}

#[test]
fn the_probe_tries_all_ways_and_leaves_no_trace() {
    let mut text = String::new();
    for (name, _) in recorded() {
        let tree = tree(&name);
        let board = Board::discover(&tree).unwrap();
        let before = tree.settings();
        let (guard, _) = Guard::take(tree.clone()).unwrap();
        writeln!(text, "== {name}").unwrap();
        for tried in gpu::try_ways(&tree, tree.timer(), &board, &guard).unwrap() {
            writeln!(text, "{}: {:?} ({})", tried.way, tried.works, tried.why).unwrap();
        }
        drop(guard);
        assert_eq!(tree.settings(), before, "{name}");
    }
    insta::assert_snapshot!(text);
}

#[test]
fn the_cheapest_way_that_works_is_taken() {
    let mut text = String::new();
    for (name, _) in recorded() {
        let tree = tree(&name);
        let board = Board::discover(&tree).unwrap();
        let (guard, _) = Guard::take(tree.clone()).unwrap();
        let gpu = GpuNode::open(tree.clone(), tree.timer(), &board, &guard, None).unwrap();
        writeln!(text, "{name}: {}", gpu.way()).unwrap();
    }
    insta::assert_snapshot!(text);
}
