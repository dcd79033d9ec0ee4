//! Trees that no kernel makes: missing and garbage nodes, a huge file, loops, FIFOs, folders in the place of files,
//! links that lead out. Nothing panics, hangs or writes.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::time::Duration;

use jetpace_devfreq::board::Board;
use jetpace_devfreq::guard::{self, Guard, STATE};
use jetpace_devfreq::nodes::{Nodes, OpenNode, SysfsRoot};
use jetpace_devfreq::timer::Monotonic;
use jetpace_devfreq::{gpu, selftest};
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

#[test]
fn a_bad_state_file_is_refused_and_kept() {
    let forged = |path: &str| {
        format!(
            r#"{{"format":1,"boot_id":"","machine":"{}","power_mode":"","pid":1,"nodes":[
                {{"path":"{path}","kind":"plain","original":"0","ours":["1"]}}]}}"#,
            "00"
        )
    };
    let texts = BTreeMap::from([
        ("garbage", "{".to_owned()),
        ("empty", String::new()),
        ("another layout", r#"{"format":7}"#.to_owned()),
        ("outside of sys", forged("/etc/passwd")),
        ("climbing", forged("/sys/../etc/passwd")),
        ("another board", forged("/sys/class/devfreq/17000000.ga10b/max_freq")),
    ]);
    for (what, text) in texts {
        let (_folder, root, _) = board("orin-nx-16gb-r35.3");
        let nodes = SysfsRoot::new(&root);
        let place = nodes.on_disk(Path::new(STATE));
        fs::create_dir_all(place.parent().unwrap()).unwrap();
        fs::write(&place, &text).unwrap();
        assert!(guard::restore(&nodes).is_err(), "{what}");
        assert!(Guard::take(nodes).is_err(), "{what}");
        assert_eq!(fs::read_to_string(&place).unwrap(), text, "{what}");
    }
    for kind in [Harm::Fifo, Harm::Folder, Harm::Loop, Harm::LeadsOut, Harm::Huge] {
        let (_folder, root, outside) = board("orin-nx-16gb-r35.3");
        let nodes = SysfsRoot::new(&root);
        let place = nodes.on_disk(Path::new(STATE));
        fs::create_dir_all(place.parent().unwrap()).unwrap();
        fs::write(&place, "").unwrap();
        harm(&place, kind, &outside);
        without_hanging(format!("{kind:?}"), move || assert!(Guard::take(nodes).is_err(), "{kind:?}"));
        assert_eq!(fs::read_to_string(&outside).unwrap(), "mine\n");
    }
}
