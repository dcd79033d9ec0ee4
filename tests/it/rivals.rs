//! Beside other programs: nvpmodel, jetson_clocks and jtop at every moment, cooling devices, drivers that go away, a
//! second instance.

use std::path::{Path, PathBuf};

use jetpace_devfreq::Error;
use jetpace_devfreq::board::Board;
use jetpace_devfreq::gpu::{Changed, GpuNode, Way};
use jetpace_devfreq::guard::{self, Guard};
use jetpace_devfreq::mem::MemNode;
use jetpace_devfreq::nodes::Nodes;
use jetpace_devfreq::rails;
use jetpace_devfreq::sim::tree::{Outside, Tree, TreeTimer};
use jetpace_tables::hw::{GpuClock, MemClock};
use jetpace_tables::units::Hertz;
use jetpace_tables::work::ClockIndex;

use crate::boards::{lines, tree};

const ORIN: &str = "orin-nano-8gb-super-r36.4";
pub const BOARDS: [&str; 5] = ["nano-r32.7", "tx2-r32.7", "xavier-nx-r35.5", ORIN, "thor-r38.2"];

fn open(tree: &Tree, way: Option<Way>) -> Result<(Guard<Tree>, GpuNode<Tree, TreeTimer>), Error> {
    let board = Board::discover(tree)?;
    let (guard, _) = Guard::take(tree.clone())?;
    let gpu = GpuNode::open(tree.clone(), tree.timer(), &board, &guard, way)?;
    Ok((guard, gpu))
}

pub fn read(tree: &Tree, path: &Path) -> String {
    tree.outside(|outside| outside.read(path)).unwrap_or_default().trim().to_owned()
}

/// nvpmodel sets a lower cap: floor, bound, and its status.
pub fn nvpmodel(outside: &mut Outside<'_>, board: &Board, cap: Hertz) {
    let who = "nvpmodel";
    // It writes what its configuration says and takes refusals as they come.
    let lowest = board.gpu.clocks[0].get().to_string();
    drop(outside.write(who, &board.gpu.node("min_freq"), &lowest));
    drop(outside.write(who, &board.gpu.node("max_freq"), &cap.get().to_string()));
    let conf = format!("< POWER_MODEL ID=9 NAME=LOW >\nGPU MAX_FREQ {}\n", cap.get());
    outside.put("/etc/nvpmodel.conf", &conf);
    outside.put("/var/lib/nvpmodel/status", "pmode:0009\n");
}

/// jetson_clocks locks the clock at its bound.
pub fn jetson_clocks(outside: &mut Outside<'_>, board: &Board) {
    let bound = outside.read(&board.gpu.node("max_freq")).unwrap();
    drop(outside.write("jetson_clocks", &board.gpu.node("min_freq"), &bound));
}

/// jtop switches 3D scaling off and on again, by the governor.
pub fn jtop(outside: &mut Outside<'_>, board: &Board) {
    for governor in ["performance", "nvhost_podgov"] {
        drop(outside.write("jtop", &board.gpu.node("governor"), governor));
    }
}

/// Goes through some clocks, watching after each, and ends well or is killed. How many writes that took.
fn life(tree: &Tree, way: Way, killed: bool) -> Tree {
    let lived = open(tree, Some(way)).and_then(|(guard, mut gpu)| {
        for clock in [0, 255, 1, 255, 2] {
            let top = gpu.gpu().clocks.len() as u8 - 1;
            gpu.set(ClockIndex(clock.min(top)))?;
            gpu.watch()?;
        }
        if !killed {
            gpu.release()?;
            guard.restore()?;
        } else {
            // As a kill does: nothing is dropped.
            std::mem::forget((guard, gpu));
        }
        Ok(())
    });
    // A way that is not here, or was switched away while it was tried, has put everything back.
    drop(lived);
    let next = tree.kill();
    guard::restore(&next).unwrap();
    next
}

#[test]
fn a_lower_cap_of_nvpmodel_survives_us_at_every_moment() {
    for name in BOARDS {
        for way in Way::ALL {
            for killed in [false, true] {
                let fresh = tree(name);
                let board = Board::discover(&fresh).unwrap();
                let cap = board.gpu.clocks[2];
                for moment in 0..40 {
                    let tree = fresh.copy();
                    let there = board.clone();
                    tree.before_write(moment, move |outside| nvpmodel(outside, &there, cap));
                    let next = life(&tree, way, killed);
                    if tree.log().iter().all(|entry| entry.who == "jetpace") {
                        break;
                    }
                    let context =
                        format!("{name} {way} killed {killed} moment {moment}\n{}", lines(&tree.log(), &board));
                    assert_eq!(read(&next, &board.gpu.node("governor")), "nvhost_podgov", "{context}");
                    assert_eq!(read(&next, &board.gpu.node("max_freq")), cap.get().to_string(), "{context}");
                    assert_eq!(
                        read(&next, &board.gpu.node("min_freq")),
                        board.gpu.clocks[0].get().to_string(),
                        "{context}"
                    );
                }
            }
        }
    }
}

#[test]
fn jetson_clocks_and_jtop_leave_no_clock_pinned_by_us() {
    for name in BOARDS {
        for way in Way::ALL {
            for rival in [jetson_clocks, jtop] {
                let fresh = tree(name);
                let board = Board::discover(&fresh).unwrap();
                let before = read(&fresh, &board.gpu.node("max_freq"));
                for moment in 0..40 {
                    let tree = fresh.copy();
                    let there = board.clone();
                    tree.before_write(moment, move |outside| rival(outside, &there));
                    let next = life(&tree, way, false);
                    if tree.log().iter().all(|entry| entry.who == "jetpace") {
                        break;
                    }
                    let context = format!("{name} {way} moment {moment}\n{}", lines(&tree.log(), &board));
                    assert_eq!(read(&next, &board.gpu.node("governor")), "nvhost_podgov", "{context}");
                    assert_eq!(read(&next, &board.gpu.node("max_freq")), before, "{context}");
                    // What jetson_clocks wrote is its own to take away, where we have not written over it.
                    let log = tree.log();
                    let theirs = log.iter().find(|e| e.who == "jetson_clocks").map(|e| e.text.trim().to_owned());
                    let floor = read(&next, &board.gpu.node("min_freq"));
                    let found = board.gpu.min.at().map(|min| min.get().to_string());
                    assert!(Some(&floor) == found.as_ref() || Some(&floor) == theirs.as_ref(), "{floor} {context}");
                }
            }
        }
    }
}

#[test]
fn the_writes_beside_nvpmodel() {
    let mut text = String::new();
    for (name, way) in
        [("tx2-r32.7", Way::MinMax), (ORIN, Way::MinMax), (ORIN, Way::Userspace), (ORIN, Way::Performance)]
    {
        let tree = tree(name);
        let board = Board::discover(&tree).unwrap();
        let there = board.clone();
        tree.before_write(12, move |outside| nvpmodel(outside, &there, there.gpu.clocks[2]));
        life(&tree, way, false);
        text += &format!("== {name} {way}\n{}", lines(&tree.log(), &board));
    }
    insta::assert_snapshot!(text);
}

#[test]
fn a_lower_cap_is_obeyed_at_once_and_told() {
    for name in BOARDS {
        for way in Way::ALL {
            let tree = tree(name);
            let Ok((_guard, mut gpu)) = open(&tree, Some(way)) else { continue };
            let board = Board::discover(&tree.copy()).unwrap();
            let from = gpu.gpu().clocks[gpu.cap().index()];
            gpu.set(gpu.cap()).unwrap();
            let cap = gpu.gpu().clocks[1];
            tree.outside(|outside| nvpmodel(outside, &board, cap));
            assert_eq!(gpu.watch().unwrap(), Some(Changed::Cap { from, to: cap }), "{name} {way}");
            assert_eq!(gpu.current().unwrap(), cap, "{name} {way}");
            gpu.set(ClockIndex(200)).unwrap();
            assert_eq!(gpu.pin(ClockIndex(3)).unwrap(), cap, "{name} {way}: pin says what runs");
        }
    }
}

#[test]
fn a_throttled_bound_is_neither_the_cap_nor_written_back() {
    for way in [Way::Userspace, Way::Performance, Way::MinMax] {
        let tree = tree(ORIN);
        let before = tree.settings();
        let low = Hertz::new(510_000_000);
        tree.outside(|outside| outside.throttle(Some(low)));
        let board = Board::discover(&tree).unwrap();
        assert_eq!((board.gpu.max.at(), board.gpu.cap), (Some(low), Hertz::new(918_000_000)), "nvpmodel's 25W");
        let (guard, _) = Guard::take(tree.clone()).unwrap();
        // While it lasts no way can raise the clock to the cap.
        let opened = GpuNode::open(tree.clone(), tree.timer(), &board, &guard, Some(way));
        tree.outside(|outside| outside.throttle(None));
        drop(opened);
        guard.restore().unwrap();
        assert_eq!(tree.settings(), before, "{way}");
    }
}

#[test]
fn throttling_is_obeyed_while_it_lasts_and_forgotten_after() {
    for way in [Way::Userspace, Way::Performance, Way::MinMax] {
        let tree = tree(ORIN);
        let before = tree.settings();
        let (guard, mut gpu) = open(&tree, Some(way)).unwrap();
        let cap = gpu.cap();
        gpu.set(cap).unwrap();
        tree.outside(|outside| outside.throttle(Some(Hertz::new(510_000_000))));
        assert!(
            matches!(gpu.watch().unwrap(), Some(Changed::Cap { to, .. }) if to == Hertz::new(510_000_000)),
            "{way}"
        );
        tree.outside(|outside| outside.throttle(None));
        assert!(matches!(gpu.watch().unwrap(), Some(Changed::Cap { .. })), "{way}");
        assert_eq!(gpu.cap(), cap, "{way}");
        gpu.release().unwrap();
        guard.restore().unwrap();
        assert_eq!(tree.settings(), before, "{way}");
    }
}

#[test]
fn a_sleeping_gpu_is_kept_awake_while_ways_are_tried() {
    for name in BOARDS {
        let tree = tree(name);
        tree.outside(|outside| outside.let_sleep());
        let (_guard, gpu) = open(&tree, None).unwrap();
        let control = gpu.gpu().device.join("power/control");
        assert!(matches!(read(&tree, &control).as_str(), "auto" | ""), "{name}");
    }
}

#[test]
fn a_governor_switched_under_us_is_taken_again() {
    let tree = tree(ORIN);
    let before = tree.settings();
    let (guard, mut gpu) = open(&tree, Some(Way::Userspace)).unwrap();
    let board = Board::discover(&tree.copy()).unwrap();
    tree.outside(|outside| jtop(outside, &board));
    gpu.set(ClockIndex(4)).unwrap();
    assert_eq!(gpu.current().unwrap(), board.gpu.clocks[4]);
    tree.outside(|outside| jtop(outside, &board));
    assert_eq!(gpu.watch().unwrap(), Some(Changed::Governor));
    assert_eq!(gpu.current().unwrap(), board.gpu.clocks[4]);
    gpu.release().unwrap();
    guard.restore().unwrap();
    assert_eq!(tree.settings(), before);
}

#[test]
fn a_driver_that_goes_away_is_an_error_and_leaves_nothing_to_do() {
    for way in Way::ALL {
        let tree = tree(ORIN);
        let Ok((guard, mut gpu)) = open(&tree, Some(way)) else { continue };
        tree.outside(|outside| outside.unbind());
        assert!(gpu.set(ClockIndex(3)).is_err(), "{way}");
        guard.restore().unwrap();
        assert!(matches!(guard::restore(&tree.kill()), Ok(guard::Leftover::None)), "{way}");
    }
}

#[test]
fn a_second_instance_is_refused() {
    let tree = tree(ORIN);
    let (guard, gpu) = open(&tree, None).unwrap();
    assert!(matches!(Guard::take(tree.clone()), Err(Error::Busy { .. })));
    assert!(matches!(guard::restore(&tree), Err(Error::Busy { .. })));
    drop((guard, gpu));
    assert!(Guard::take(tree).is_ok());
}

#[test]
fn the_memory_clock_is_locked_and_let_go() {
    for (name, clock) in [("nano-r32.7", 1_600_000_000), (ORIN, 665_600_000), ("thor-r38.2", 2_750_000_000)] {
        let tree = tree(name);
        let before = tree.settings();
        let board = Board::discover(&tree).unwrap();
        let (guard, _) = Guard::take(tree.clone()).unwrap();
        let mut mem = MemNode::new(tree.clone(), tree.timer(), &board, &guard);
        // A recorded Thor does not follow: its bwmgr has no rules, so that only the writes are seen.
        let pinned = mem.pin(Hertz::new(clock));
        assert_eq!(pinned.is_ok(), name != "thor-r38.2", "{name}: {pinned:?}");
        assert_ne!(tree.settings(), before, "{name}");
        mem.release().unwrap();
        assert_eq!(tree.settings(), before, "{name}");
        assert!(matches!(mem.pin(Hertz::new(9_000_000_000)), Err(Error::EmcNotLockable { .. })), "{name}");
    }
}

#[test]
fn rails_convert_faster_and_are_put_back() {
    // One of Thor's two chips has no node for it.
    for (name, all) in [("nano-r32.7", true), ("agx-xavier-r32.7", true), (ORIN, true), ("thor-r38.2", false)] {
        let tree = tree(name);
        let before = tree.settings();
        let board = Board::discover(&tree).unwrap();
        let (guard, _) = Guard::take(tree.clone()).unwrap();
        assert_eq!(rails::sample_faster(&tree, &guard, &board.rails).unwrap(), all, "{name}");
        assert_ne!(tree.settings(), before, "{name}");
        drop(guard);
        assert_eq!(tree.settings(), before, "{name}");
    }
}

#[test]
fn only_digits_are_ever_written_as_a_clock() {
    for name in BOARDS {
        for way in Way::ALL {
            let tree = tree(name);
            life(&tree, way, false);
            for entry in tree.log() {
                let clock =
                    ["set_freq", "min_freq", "max_freq", "freq_request"].iter().any(|n| entry.path.ends_with(n));
                let digits = entry.text.bytes().all(|b| b.is_ascii_digit()) && !entry.text.starts_with('0');
                assert!(!clock || digits, "{name} {way}: {entry:?}");
                assert_eq!(entry.error, None, "{name} {way}: {entry:?}");
            }
        }
    }
}

#[test]
fn a_node_that_is_not_there_is_not_made() {
    let tree = tree(ORIN);
    let path = PathBuf::from("/sys/devices/platform/gpu.0/nothing");
    assert!(tree.write(&path, "1").is_err());
}
