//! Trees that no kernel makes: missing and garbage nodes, a huge file, loops, FIFOs, folders in the place of files,
//! links that lead out. Nothing panics, hangs or writes.

use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::time::Duration;

use jetpace_devfreq::board::Board;
use jetpace_devfreq::guard::{self, ASIDE, Entry, Guard, Leftover, STATE, State, Store};
use jetpace_devfreq::nodes::{Nodes, OpenNode, SysfsRoot};
use jetpace_devfreq::timer::Monotonic;
use jetpace_devfreq::{gpu, selftest};
use jetpace_tables::units::Hertz;
use jetpace_tables::work::ClockIndex;
use rand::rngs::SmallRng;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};

use crate::killed::copy;

/// Reads alone: opening a node to write it is a failure.
#[derive(Clone)]
struct NoWrites(SysfsRoot);

impl Nodes for NoWrites {
    type Handle = OpenNode;

    fn read(&self, path: &Path) -> io::Result<String> {
        self.0.read(path)
    }

    fn open(&self, path: &Path) -> io::Result<OpenNode> {
        panic!("{} was opened to be written", path.display());
    }

    fn open_to_read(&self, path: &Path) -> io::Result<OpenNode> {
        self.0.open_to_read(path)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        self.0.list(dir)
    }

    fn canonical(&self, path: &Path) -> io::Result<PathBuf> {
        self.0.canonical(path)
    }

    fn mode(&self, path: &Path) -> io::Result<u32> {
        self.0.mode(path)
    }
}

#[derive(Clone, Copy, Debug)]
enum Harm {
    Missing,
    Empty,
    Garbage,
    Binary,
    Overflow,
    Negative,
    Huge,
    Loop,
    Fifo,
    Folder,
    LeadsOut,
}

const HARMS: [Harm; 11] = [
    Harm::Missing,
    Harm::Empty,
    Harm::Garbage,
    Harm::Binary,
    Harm::Overflow,
    Harm::Negative,
    Harm::Huge,
    Harm::Loop,
    Harm::Fifo,
    Harm::Folder,
    Harm::LeadsOut,
];

/// Puts something else in the place of a node.
fn harm(place: &Path, harm: Harm, outside: &Path) {
    fs::remove_file(place).unwrap();
    match harm {
        Harm::Missing => {}
        Harm::Empty => fs::write(place, "").unwrap(),
        Harm::Garbage => fs::write(place, "fast; rm -rf / \u{1f600}\n\0\n0x12 1e9 \n").unwrap(),
        Harm::Binary => fs::write(place, [0xff, 0xfe, 0, 0x80, 7]).unwrap(),
        Harm::Overflow => fs::write(place, "99999999999999999999999999 18446744073709551616\n").unwrap(),
        Harm::Negative => fs::write(place, "-9223372036854775808\n").unwrap(),
        Harm::Huge => fs::File::create(place).unwrap().set_len(4 << 30).unwrap(),
        Harm::Loop => symlink(place.file_name().unwrap(), place).unwrap(),
        Harm::Fifo => {
            assert!(std::process::Command::new("mkfifo").arg(place).status().unwrap().success());
        }
        Harm::Folder => fs::create_dir(place).unwrap(),
        Harm::LeadsOut => symlink(outside, place).unwrap(),
    }
}

/// All regular files below a folder, links not followed.
fn files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        let kind = entry.file_type().unwrap();
        if kind.is_dir() {
            files(&entry.path(), found);
        } else if kind.is_file() {
            found.push(entry.path());
        }
    }
    found.sort();
}

/// Everything that only reads.
fn look(root: &Path) -> Result<(), jetpace_devfreq::Error> {
    let nodes = NoWrites(SysfsRoot::new(root));
    let board = Board::discover(&nodes)?;
    board.digest();
    for way in gpu::Way::ALL {
        way.lacks(&nodes, &board.gpu);
    }
    for zone in &board.zones {
        zone.read(&nodes);
    }
    selftest::run(&nodes, Monotonic::new(), 2);
    Ok(())
}

/// Runs in a thread of its own, so that hanging is seen.
fn without_hanging(what: String, work: impl FnOnce() + Send + 'static) {
    let (done, wait) = mpsc::channel();
    let thread = std::thread::spawn(move || {
        work();
        done.send(()).unwrap();
    });
    match wait.recv_timeout(Duration::from_secs(60)) {
        Err(mpsc::RecvTimeoutError::Timeout) => panic!("{what}: hangs"),
        _ => assert!(thread.join().is_ok(), "{what}: panicked"),
    }
}

fn board(name: &str) -> (tempfile::TempDir, PathBuf, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("board");
    fs::create_dir(&root).unwrap();
    copy(&jetpace_tests::root().join("tests/boards").join(name), &root);
    let outside = folder.path().join("outside");
    fs::write(&outside, "mine\n").unwrap();
    (folder, root, outside)
}

#[test]
fn each_node_harmed_in_every_way() {
    for name in ["nano-r32.7", "orin-nx-16gb-super-r36.5", "thor-r38.2"] {
        let (_folder, root, outside) = board(name);
        let mut places = Vec::new();
        files(&root, &mut places);
        for place in places.iter().filter(|place| !place.ends_with("README.md")) {
            let original = fs::read(place).unwrap();
            for kind in HARMS {
                harm(place, kind, &outside);
                let tree = root.clone();
                without_hanging(format!("{}: {kind:?}", place.display()), move || drop(look(&tree)));
                match fs::symlink_metadata(place).map(|meta| meta.is_dir()) {
                    Ok(true) => fs::remove_dir(place).unwrap(),
                    Ok(false) => fs::remove_file(place).unwrap(),
                    Err(_) => {}
                }
                fs::write(place, &original).unwrap();
            }
        }
        assert_eq!(fs::read_to_string(&outside).unwrap(), "mine\n");
    }
}

#[test]
fn several_nodes_harmed_at_once_and_then_written() {
    for seed in 0..60 {
        let mut random = SmallRng::seed_from_u64(seed);
        let (_folder, root, outside) = board("orin-nx-16gb-r35.3");
        let mut places = Vec::new();
        files(&root.join("sys"), &mut places);
        for _ in 0..random.random_range(1..12) {
            let place = places.remove(random.random_range(0..places.len()));
            harm(&place, *HARMS.choose(&mut random).unwrap(), &outside);
        }
        let tree = root.clone();
        without_hanging(format!("seed {seed}"), move || {
            let nodes = SysfsRoot::new(&tree);
            let Ok(board) = Board::discover(&nodes) else { return };
            // A copied tree follows nothing: no way works, whatever is harmed.
            let Ok((guard, _)) = Guard::take(nodes.clone()) else { return };
            drop(gpu::GpuNode::open(nodes, Monotonic::new(), &board, &guard, Some(gpu::Way::MinMax)));
        });
        assert_eq!(fs::read_to_string(&outside).unwrap(), "mine\n", "seed {seed}");
    }
}

/// What a state file says of one node of the board, where it is of this machine.
fn forged(root: &Path, path: &str, ours: &str) -> String {
    let nodes = SysfsRoot::new(root);
    let mut state = State::here(&nodes).unwrap();
    let (kind, original) = (guard::Kind::Plain, "/tmp/evil.sh".to_owned());
    state.nodes.push(Entry { path: path.into(), kind, original, ours: vec![ours.to_owned()], hot: Vec::new() });
    state.save(&nodes).unwrap();
    fs::read_to_string(nodes.on_disk(Path::new(STATE))).unwrap()
}

#[test]
fn a_bad_state_file_is_set_aside_and_the_bounds_are_nvpmodels() {
    const FORGED: &str = "/sys/kernel/uevent_helper";
    for what in ["garbage", "empty", "another layout", "outside of sys", "climbing", "another board", "stranger"] {
        let (_folder, root, _) = board("orin-nx-16gb-r35.3");
        let stranger = root.join(FORGED.trim_start_matches('/'));
        fs::create_dir_all(stranger.parent().unwrap()).unwrap();
        fs::write(&stranger, "/sbin/hotplug\n").unwrap();
        let text = match what {
            "garbage" => "{".to_owned(),
            "empty" => String::new(),
            "another layout" => r#"{"format":7}"#.to_owned(),
            "outside of sys" => forged(&root, "/etc/passwd", "x"),
            "climbing" => forged(&root, "/sys/../etc/passwd", "x"),
            "another board" => {
                let place = root.join("etc/nv_tegra_release");
                let text = forged(&root, "/sys/kernel/uevent_helper", "/sbin/hotplug");
                fs::write(place, "# R99 (release), REVISION: 1.0\n").unwrap();
                text
            }
            _ => forged(&root, FORGED, "/sbin/hotplug"),
        };
        let nodes = SysfsRoot::new(&root);
        let gpu = Board::discover(&nodes).unwrap().gpu;
        // As a killed instance would have left them, which the file does not tell.
        for node in ["min_freq", "max_freq"] {
            nodes.write(&gpu.node(node), &gpu.clocks[1].get().to_string()).unwrap();
        }
        let place = nodes.on_disk(Path::new(STATE));
        drop(nodes.lock(Path::new(guard::LOCK)).unwrap());
        fs::write(&place, &text).unwrap();
        let Leftover::SetAside { bounds, .. } = guard::restore(&nodes).unwrap() else { panic!("{what}") };
        assert!(!place.exists(), "{what}");
        assert_eq!(fs::read_to_string(nodes.on_disk(Path::new(ASIDE))).unwrap(), text, "{what}");
        assert_eq!(fs::read_to_string(&stranger).unwrap(), "/sbin/hotplug\n", "{what}: written");
        let after = Board::discover(&nodes).unwrap().gpu;
        assert!(bounds.is_some_and(|bounds| bounds.failed.is_empty()), "{what}");
        assert_eq!((after.min.at(), after.max.at()), (Some(gpu.clocks[0]), Some(Hertz::new(408_000_000))), "{what}");
        assert!(Guard::take(nodes).is_ok(), "{what}: locked out");
    }
    for kind in [Harm::Fifo, Harm::Folder, Harm::Loop, Harm::LeadsOut, Harm::Huge] {
        let (_folder, root, outside) = board("orin-nx-16gb-r35.3");
        let nodes = SysfsRoot::new(&root);
        let place = nodes.on_disk(Path::new(STATE));
        fs::create_dir_all(place.parent().unwrap()).unwrap();
        fs::write(&place, "").unwrap();
        harm(&place, kind, &outside);
        without_hanging(format!("{kind:?}"), move || {
            assert!(matches!(guard::restore(&nodes), Ok(Leftover::SetAside { .. })), "{kind:?}");
        });
        assert_eq!(fs::read_to_string(&outside).unwrap(), "mine\n");
    }
}

/// Whoever could write there before, whatever the umask: what lies in the agent's folder is the agent's.
#[test]
fn the_folder_of_the_state_is_private() {
    use std::os::unix::fs::{PermissionsExt, symlink};
    let mode = |place: &Path| fs::metadata(place).unwrap().permissions().mode() & 0o7777;
    let (_folder, root, outside) = board("orin-nx-16gb-r35.3");
    let nodes = SysfsRoot::new(&root);
    let folder = root.join("run/jetpace");
    fs::create_dir_all(&folder).unwrap();
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o777)).unwrap();
    let state = nodes.on_disk(Path::new(STATE));
    // Another one's file in a folder that anyone could write: others may change it still.
    fs::write(&state, forged(&root, "/sys/kernel/uevent_helper", "x")).unwrap();
    fs::set_permissions(&state, fs::Permissions::from_mode(0o666)).unwrap();
    assert!(matches!(guard::restore(&nodes), Ok(Leftover::SetAside { .. })));
    assert_eq!(mode(&folder), 0o700);
    let (guard, _) = Guard::take(nodes.clone()).unwrap();
    let gpu = Board::discover(&nodes).unwrap().gpu;
    guard.keep(&[guard::Keep::new(gpu.node("max_freq"), guard::Kind::Plain, vec!["1".to_owned()])]).unwrap();
    assert_eq!(mode(&state), 0o600);
    // A second instance cannot run because someone has removed the lock: the first one notices before it writes more.
    fs::remove_file(nodes.on_disk(Path::new(guard::LOCK))).unwrap();
    let more = guard::Keep::new(gpu.node("min_freq"), guard::Kind::Plain, vec!["1".to_owned()]);
    let error = guard.keep(&[more]).unwrap_err().to_string();
    assert!(error.contains("removed or replaced"), "{error}");
    drop(guard);
    // A link in the folder's place is not followed.
    fs::remove_dir_all(&folder).unwrap();
    let elsewhere = outside.with_file_name("elsewhere");
    fs::create_dir(&elsewhere).unwrap();
    symlink(&elsewhere, &folder).unwrap();
    assert!(Guard::take(nodes).is_err());
    assert_eq!(fs::read_dir(&elsewhere).unwrap().count(), 0);
}

/// The release's name changes under a killed instance, as in an upgrade in place: the boot is the same, so it is put back.
#[test]
fn an_upgrade_in_place_restores() {
    let (_folder, root, _) = board("orin-nx-16gb-r35.3");
    let nodes = SysfsRoot::new(&root);
    let boot = root.join("proc/sys/kernel/random/boot_id");
    fs::create_dir_all(boot.parent().unwrap()).unwrap();
    fs::write(boot, "6f1c\n").unwrap();
    let max = Board::discover(&nodes).unwrap().gpu.node("max_freq");
    let before = nodes.read(&max).unwrap();
    let mut state = State::here(&nodes).unwrap();
    let (kind, original) = (guard::Kind::Max, before.trim().to_owned());
    state.nodes.push(Entry { path: max.clone(), kind, original, ours: vec!["306000000".to_owned()], hot: Vec::new() });
    // As the release before wrote it.
    state.format = 1;
    state.save(&nodes).unwrap();
    nodes.write(&max, "306000000").unwrap();
    fs::write(root.join("etc/nv_tegra_release"), "# R35 (release), REVISION: 9.9\n").unwrap();
    assert!(matches!(guard::restore(&nodes), Ok(Leftover::Restored(_))));
    assert_eq!(nodes.read(&max).unwrap().trim(), before.trim());
}

/// A rival pins the clock after a kill, at a listed clock that was not the last one written: it stays.
#[test]
fn what_a_rival_set_after_a_kill_is_left() {
    let (_folder, root, _) = board("orin-nx-16gb-r35.3");
    let nodes = SysfsRoot::new(&root);
    let board = Board::discover(&nodes).unwrap();
    let (max, top) = (board.gpu.node("max_freq"), board.gpu.clocks.last().unwrap().get().to_string());
    let hot: Vec<String> = board.gpu.clocks.iter().map(|clock| clock.get().to_string()).collect();
    let (guard, _) = Guard::take(nodes.clone()).unwrap();
    let before = nodes.read(&max).unwrap();
    guard
        .keep(&[guard::Keep { hot: hot.clone(), ..guard::Keep::new(max.clone(), guard::Kind::Max, Vec::new()) }])
        .unwrap();
    let written = guard.written().unwrap();
    written.add(ClockIndex(2));
    nodes.write(&max, &hot[2]).unwrap();
    // As a kill leaves it: neither dropped nor unlocked by this process's own hand.
    let left = fs::read_to_string(nodes.on_disk(Path::new(STATE))).unwrap();
    let bits = fs::read(nodes.on_disk(Path::new(guard::WRITTEN))).unwrap();
    drop(guard);
    let as_killed = |value: &str| {
        fs::write(nodes.on_disk(Path::new(STATE)), &left).unwrap();
        fs::write(nodes.on_disk(Path::new(guard::WRITTEN)), &bits).unwrap();
        nodes.write(&max, value).unwrap();
        let Leftover::Restored(report) = guard::restore(&nodes).unwrap() else { panic!("{value}") };
        (report.foreign.len(), nodes.read(&max).unwrap().trim().to_owned())
    };
    assert_eq!(as_killed(&hot[2]), (0, before.trim().to_owned()));
    assert_ne!(top, hot[3]);
    assert_eq!(as_killed(&hot[3]), (1, hot[3].clone()), "the rival's is put back");
}
