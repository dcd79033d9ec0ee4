//! kill -9 at random points of a process that holds the clock of a tree on disk; then everything is put back.

use std::io;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use jetpace_devfreq::board::Board;
use jetpace_devfreq::gpu::{GpuNode, Way};
use jetpace_devfreq::guard::{self, FileLock, Guard, Leftover, STATE, Store, Written};
use jetpace_devfreq::nodes::{NodeHandle, Nodes, OpenNode, SysfsRoot};
use jetpace_devfreq::timer::Monotonic;
use jetpace_tables::hw::GpuClock;
use jetpace_tables::work::ClockIndex;
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

use crate::faults::runs;

/// A tree on disk whose clock follows what is written, as far as the agent looks at it.
#[derive(Clone)]
struct Following {
    nodes: SysfsRoot,
    devfreq: PathBuf,
}

struct Handle {
    node: OpenNode,
    path: PathBuf,
    tree: Following,
}

impl Following {
    fn new(root: &Path) -> Self {
        let nodes = SysfsRoot::new(root);
        let devfreq = Board::discover(&nodes).unwrap().gpu.devfreq;
        Self { nodes, devfreq }
    }

    /// What the kernel would do after a write.
    fn follow(&self, path: &Path, text: &str) -> io::Result<()> {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let place = |node: &str| self.nodes.on_disk(&self.devfreq.join(node));
        match name {
            "set_freq" | "max_freq" | "freq_request" => {
                std::fs::write(place("cur_freq.new"), text)?;
                std::fs::rename(place("cur_freq.new"), place("cur_freq"))
            }
            "governor" if text.trim() == "userspace" => {
                std::fs::create_dir_all(place("userspace"))?;
                std::fs::write(place("userspace/set_freq"), "undefined\n")
            }
            "governor" => match std::fs::remove_dir_all(place("userspace")) {
                Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
                _ => Ok(()),
            },
            _ => Ok(()),
        }
    }
}

impl Nodes for Following {
    type Handle = Handle;

    fn read(&self, path: &Path) -> io::Result<String> {
        self.nodes.read(path)
    }

    fn open(&self, path: &Path) -> io::Result<Handle> {
        Ok(Handle { node: self.nodes.open(path)?, path: path.to_owned(), tree: self.clone() })
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        self.nodes.list(dir)
    }

    fn canonical(&self, path: &Path) -> io::Result<PathBuf> {
        self.nodes.canonical(path)
    }

    fn mode(&self, path: &Path) -> io::Result<u32> {
        self.nodes.mode(path)
    }
}

impl NodeHandle for Handle {
    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.node.write(bytes)?;
        self.tree.follow(&self.path, &String::from_utf8_lossy(bytes))
    }

    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.node.read(buffer)
    }
}

impl Store for Following {
    type Lock = FileLock;

    fn load(&self, path: &Path) -> io::Result<String> {
        self.nodes.load(path)
    }

    fn save(&self, path: &Path, text: &str) -> io::Result<()> {
        self.nodes.save(path, text)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.nodes.remove(path)
    }

    fn set_aside(&self, path: &Path, to: &Path) -> io::Result<()> {
        self.nodes.set_aside(path, to)
    }

    fn written(&self, path: &Path) -> io::Result<Written> {
        self.nodes.written(path)
    }

    fn written_before(&self, path: &Path) -> Option<Written> {
        self.nodes.written_before(path)
    }

    fn lock(&self, path: &Path) -> io::Result<Result<FileLock, u32>> {
        self.nodes.lock(path)
    }
}

/// Copies a recorded board, links as links.
pub fn copy(from: &Path, to: &Path) {
    let status = Command::new("cp").arg("-a").arg(from.join(".")).arg(to).status().unwrap();
    assert!(status.success());
}

const VICTIM: &str = "JETPACE_VICTIM";

/// Not a test of its own: the process that is killed. It takes the clock, sets it about, gives it back, again and
/// again, until the kill comes.
#[test]
fn victim() {
    let Some(root) = std::env::var_os(VICTIM) else { return };
    let tree = Following::new(Path::new(&root));
    let board = Board::discover(&tree).unwrap();
    let mut random = SmallRng::seed_from_u64(u64::from(std::process::id()));
    loop {
        let (guard, _) = Guard::take(tree.clone()).unwrap();
        let way = Way::ALL[random.random_range(0..4)];
        let Ok(mut gpu) = GpuNode::open(tree.clone(), Monotonic::new(), &board, &guard, Some(way)) else { continue };
        for _ in 0..random.random_range(0..50) {
            gpu.set(ClockIndex(random.random_range(0..board.gpu.clocks.len()) as u8)).unwrap();
        }
        match random.random_range(0..3) {
            0 => gpu.release().unwrap(),
            1 => drop(guard.restore().unwrap()),
            _ => {}
        }
    }
}

/// Every node that the agent may write, but for what belongs to a governor that comes and goes.
fn settings(root: &Path, board: &Board) -> Vec<(PathBuf, String)> {
    let nodes = SysfsRoot::new(root);
    let of_devfreq = ["governor", "min_freq", "max_freq"].map(|node| board.gpu.node(node));
    let of_device = ["user", "freq_request", "power/control"].map(|node| board.gpu.device.join(node));
    let paths = of_devfreq.into_iter().chain(of_device);
    paths.filter_map(|path| nodes.read(&path).ok().map(|text| (path, text.trim().to_owned()))).collect()
}

#[test]
fn killed_at_any_point_nothing_is_left_changed() {
    let kills = runs("JETPACE_KILLS", 40);
    let shm = Path::new("/dev/shm");
    let folder = if shm.is_dir() { tempfile::tempdir_in(shm) } else { tempfile::tempdir() }.unwrap();
    let me = std::env::current_exe().unwrap();
    let (mut held, mut quiet) = (0, 0);
    for name in ["nano-r32.7", "orin-nx-16gb-r35.3"] {
        let root = folder.path().join(name);
        std::fs::create_dir(&root).unwrap();
        copy(&jetpace_tests::root().join("tests/boards").join(name), &root);
        let board = Board::discover(&SysfsRoot::new(&root)).unwrap();
        let before = settings(&root, &board);
        let mut random = SmallRng::seed_from_u64(950);
        for kill in 0..kills.div_ceil(2) {
            let mut victim = Command::new(&me)
                .args(["--exact", "killed::victim", "--nocapture"])
                .env(VICTIM, &root)
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .unwrap();
            std::thread::sleep(Duration::from_micros(random.random_range(0..30_000)));
            victim.kill().unwrap();
            assert_eq!(victim.wait().unwrap().signal(), Some(9), "{name}: the victim ended by itself");
            match guard::restore(&Following::new(&root)).unwrap() {
                Leftover::Restored(report) => {
                    assert_eq!(report.foreign, [], "{name}, kill {kill}");
                    held += 1;
                }
                _ => quiet += 1,
            }
            assert_eq!(settings(&root, &board), before, "{name}, kill {kill}");
            assert!(!SysfsRoot::new(&root).on_disk(Path::new(STATE)).exists());
        }
    }
    eprintln!("{kills} kills: {held} while nodes were changed, {quiet} before or between");
    assert!(held > kills / 10, "most kills came too early to show anything");
}

/// A child that was forked while the clock was held, as a program with libjetpace may do, ends without a trace.
#[test]
#[allow(unsafe_code)]
fn a_forked_child_never_restores() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    copy(&jetpace_tests::root().join("tests/boards/orin-nx-16gb-r35.3"), root);
    let nodes = Following::new(root);
    let board = Board::discover(&nodes).unwrap();
    let (guard, _) = Guard::take(nodes.clone()).unwrap();
    let gpu = GpuNode::open(nodes.clone(), Monotonic::new(), &board, &guard, Some(Way::MinMax)).unwrap();
    let held = settings(root, &board);
    // SAFETY: the child drops what it has and leaves by _exit; it takes no lock that another thread could hold but the
    // allocator's, which glibc makes safe across fork.
    let child = unsafe { libc::fork() };
    if child == 0 {
        let restored = guard.restore();
        drop((gpu, guard));
        // SAFETY: ends this process at once, without the test harness's own way out.
        unsafe { libc::_exit(i32::from(restored.is_err())) };
    }
    let mut status = 0;
    // SAFETY: waits for the child that was just made, into an int that outlives the call.
    assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child);
    assert_eq!(status, 0);
    assert_eq!(settings(root, &board), held, "the child has put something back");
    // The lock is still this process's alone: the child did not take it with it.
    drop((gpu, guard));
    assert_ne!(settings(root, &board), held);
}

fn held(root: &Path) -> (Following, Guard<Following>, GpuNode<Following, Monotonic>) {
    copy(&jetpace_tests::root().join("tests/boards/orin-nx-16gb-r35.3"), root);
    let nodes = Following::new(root);
    let board = Board::discover(&nodes).unwrap();
    let (guard, _) = Guard::take(nodes.clone()).unwrap();
    let mut gpu = GpuNode::open(nodes.clone(), Monotonic::new(), &board, &guard, Some(Way::MinMax)).unwrap();
    gpu.pin(ClockIndex(1)).unwrap();
    (nodes, guard, gpu)
}

#[test]
fn a_panic_that_unwinds_puts_everything_back() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().to_owned();
    let unwound = std::thread::spawn(move || {
        let _held = held(&root);
        panic!("on purpose");
    });
    assert!(unwound.join().is_err());
    let board = Board::discover(&SysfsRoot::new(folder.path())).unwrap();
    assert_eq!((board.gpu.min.at().unwrap(), board.gpu.max.at().unwrap()), (board.gpu.clocks[0], board.gpu.clocks[1]));
    assert!(!SysfsRoot::new(folder.path()).on_disk(Path::new(STATE)).exists());
}

/// What the panic hook does where a panic aborts: the guard is still alive, and its lock held.
#[test]
fn the_panic_hooks_restore_needs_neither_drop_nor_lock() {
    let folder = tempfile::tempdir().unwrap();
    let (nodes, guard, gpu) = held(folder.path());
    let board = Board::discover(&nodes).unwrap();
    assert_eq!(board.gpu.min.at(), Some(board.gpu.clocks[1]));
    assert!(matches!(guard::restore(&nodes), Err(jetpace_devfreq::Error::Busy { .. })), "the ordinary one is refused");
    assert!(matches!(guard::restore_own(&nodes).unwrap(), Leftover::Restored(_)));
    let board = Board::discover(&nodes).unwrap();
    assert_eq!(board.gpu.min.at(), Some(board.gpu.clocks[0]));
    // What follows an abort is nothing at all.
    std::mem::forget((guard, gpu));
}
