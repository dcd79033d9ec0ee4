//! What a program can't see of the library from outside, on a tree of files that stands for a board.

#![allow(unsafe_code)] // the entries are those of C
#![allow(clippy::unwrap_used, clippy::panic)] // a test may fail by panicking

use std::collections::BTreeSet;
use std::ffi::{CString, c_int};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use std::{fs, ptr, thread};

use jetpace_devfreq::board::Board;
use jetpace_devfreq::nodes::SysfsRoot;
use jetpace_tables::table::image;
use jetpace_tables::table::{Table, TableClock};
use jetpace_tables::units::Nanos;
use jetpace_tables::work::ClockIndex;

use crate::ffi::{
    enter, jetpace, jetpace_block_start, jetpace_close, jetpace_frame_end, jetpace_frame_start, jetpace_open,
    jetpace_options,
};

/// A board of files and a table for it. One at a time: the descriptors that a test counts are the process's.
struct Machine {
    folder: tempfile::TempDir,
    devfreq: PathBuf,
    /// Last, so that the folder is gone first.
    _alone: MutexGuard<'static, ()>,
}

impl Machine {
    fn new() -> Self {
        static ALONE: Mutex<()> = Mutex::new(());
        let alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("board");
        let found = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/boards/orin-nano-8gb-super-r36.4");
        assert!(Command::new("cp").arg("-r").args([&found, &root]).status().unwrap().success());
        let nodes = SysfsRoot::new(&root);
        let board = Board::discover(&nodes).unwrap();
        let devfreq = root.join(board.gpu.devfreq.strip_prefix("/").unwrap());
        // Its clock is its bound, as the kernel's `performance` governor makes it.
        fs::remove_file(devfreq.join("cur_freq")).unwrap();
        std::os::unix::fs::symlink("max_freq", devfreq.join("cur_freq")).unwrap();
        let clocks: Vec<_> = (0..4)
            .map(|i| TableClock { index: ClockIndex(i), clock: board.gpu.clocks[usize::from(i)], relative_time: 1 })
            .collect();
        let blocks = [("a", ClockIndex(1)), ("b", ClockIndex(2))];
        let pace = (Nanos::from_millis(60_000), Nanos::from_millis(60_000));
        let table = Table::plain(board.digest_bytes(), &clocks, &blocks, pace, Nanos::ZERO).unwrap();
        let mut bytes = vec![0; image::MAX_BYTES];
        let length = image::encode(&table, &mut bytes).unwrap();
        fs::write(folder.path().join("table.jpt"), &bytes[..length]).unwrap();
        Self { folder, devfreq, _alone: alone }
    }

    fn open(&self) -> *mut jetpace {
        let text = |path: &str| CString::new(self.folder.path().join(path).to_str().unwrap()).unwrap();
        let (table, board) = (text("table.jpt"), text("board"));
        let options = jetpace_options {
            size: size_of::<jetpace_options>(),
            board: board.as_ptr(),
            socket: c"".as_ptr(),
            way: c"performance".as_ptr(),
            writer: crate::ffi::JETPACE_WRITER_INLINE,
            fifo: 0,
            cpu_plus_one: 0,
            reserved: 0,
        };
        let mut handle = ptr::null_mut();
        // SAFETY: strings that outlive the call, options of their own size, and room for the handle.
        assert_eq!(unsafe { jetpace_open(table.as_ptr(), &raw const options, &raw mut handle) }, 0);
        handle
    }

    /// Opens, runs a frame, and waits for the library's thread to take the board, which it does with the first write. The
    /// handle, and the governor then.
    fn taken(&self) -> (*mut jetpace, String) {
        let [before, ..] = self.state();
        let handle = self.open();
        assert_eq!(frame(handle), 0);
        for _ in 0..1_000 {
            let [governor, ..] = self.state();
            if governor != before {
                return (handle, governor);
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        panic!("nothing was written: {:?}", self.state())
    }

    /// Governor and bounds.
    fn state(&self) -> [String; 3] {
        ["governor", "min_freq", "max_freq"]
            .map(|node| fs::read_to_string(self.devfreq.join(node)).unwrap().trim().to_owned())
    }
}

fn frame(handle: *mut jetpace) -> c_int {
    // SAFETY: open.
    unsafe {
        jetpace_frame_start(handle)
            | jetpace_block_start(handle, 0, 1)
            | jetpace_block_start(handle, 1, 1)
            | jetpace_frame_end(handle)
    }
}

fn open_files() -> BTreeSet<c_int> {
    let listed = fs::read_dir("/proc/self/fd").unwrap();
    listed.filter_map(|entry| entry.unwrap().file_name().to_str().unwrap().parse().ok()).collect()
}

#[test]
fn no_panic_passes_and_what_was_found_is_put_back_behind_one() {
    let machine = Machine::new();
    let before = machine.state();
    let (handle, _) = machine.taken();
    // SAFETY: open.
    let panicked = unsafe { enter(handle, |_| panic!("on purpose")) };
    assert_eq!(panicked, -libc::EIO);
    // SAFETY: open, and closed once.
    unsafe {
        assert_eq!(jetpace_frame_start(handle), -libc::ENOTRECOVERABLE);
        assert_eq!(jetpace_close(handle), 0);
    }
    assert_eq!(machine.state(), before);
}

#[test]
fn no_descriptor_is_left_to_programs_that_are_started() {
    let machine = Machine::new();
    let before = open_files();
    let (handle, _) = machine.taken();
    let ours: Vec<c_int> = open_files()
        .difference(&before)
        .copied()
        // The folder that was listed is closed again.
        .filter(|fd| fs::read_link(format!("/proc/self/fd/{fd}")).is_ok())
        .collect();
    assert!(!ours.is_empty());
    for fd in ours {
        // SAFETY: asks for a descriptor's flags.
        let flags = unsafe { libc::fcntl(fd, libc::F_GETFD) };
        assert_eq!(flags & libc::FD_CLOEXEC, libc::FD_CLOEXEC, "descriptor {fd}");
    }
    // SAFETY: open, and closed once.
    assert_eq!(unsafe { jetpace_close(handle) }, 0);
    // Those of the tests beside this one go with them; what was left open stays.
    let left = || open_files().difference(&before).any(|fd| fs::read_link(format!("/proc/self/fd/{fd}")).is_ok());
    let until = Instant::now() + Duration::from_secs(20);
    while left() && Instant::now() < until {
        thread::sleep(Duration::from_millis(10));
    }
    assert!(!left(), "descriptors were left open");
}

#[test]
fn another_table_in_the_file_s_place_is_followed_without_another_start() {
    let machine = Machine::new();
    let before = machine.state();
    let path = machine.folder.path().join("table.jpt");
    let (handle, _) = machine.taken();
    let max = |machine: &Machine| machine.state()[2].clone();
    let mut another = image::decode(&fs::read(&path).unwrap()).unwrap();
    let clocks = another.clocks().to_vec();
    let blocks = [("a", ClockIndex(3)), ("b", ClockIndex(0))];
    another =
        Table::plain(*another.board(), &clocks, &blocks, (another.deadline(), another.period()), Nanos::ZERO).unwrap();
    // First what cannot be followed: bytes of no table, then other blocks.
    let put = |bytes: &[u8]| {
        let new = machine.folder.path().join("new");
        fs::write(&new, bytes).unwrap();
        fs::rename(&new, &path).unwrap();
    };
    let encoded = |table: &Table| {
        let mut bytes = vec![0; image::MAX_BYTES];
        let length = image::encode(table, &mut bytes).unwrap();
        bytes.truncate(length);
        bytes
    };
    let frames_for_a_look = || {
        let until = Instant::now() + Duration::from_millis(2_500);
        while Instant::now() < until {
            assert_eq!(frame(handle), 0);
            thread::sleep(Duration::from_millis(5));
        }
    };
    frames_for_a_look();
    let second = max(&machine);
    put(b"JPT1 no more");
    frames_for_a_look();
    assert_eq!(max(&machine), second);
    let foreign = Table::plain(
        *another.board(),
        &clocks,
        &[("c", ClockIndex(3))],
        (another.deadline(), another.period()),
        Nanos::ZERO,
    );
    put(&encoded(&foreign.unwrap()));
    frames_for_a_look();
    assert_eq!(max(&machine), second);
    put(&encoded(&another));
    frames_for_a_look();
    assert_ne!(max(&machine), second, "the last block's clock by the new table");
    // SAFETY: open, and closed once.
    assert_eq!(unsafe { jetpace_close(handle) }, 0);
    assert_eq!(machine.state(), before);
}

#[test]
fn a_forked_child_puts_nothing_back() {
    let machine = Machine::new();
    let before = machine.state();
    let (handle, held) = machine.taken();
    // SAFETY: the child calls the two entries that are meant for it, and ends.
    match unsafe { libc::fork() } {
        0 => {
            // SAFETY: open; the process ends without a destructor.
            unsafe {
                let kept_out = jetpace_frame_start(handle) == -libc::ECHILD && jetpace_close(handle) == 0;
                libc::_exit(if kept_out { 7 } else { 8 });
            }
        }
        child => {
            let mut status = 0;
            // SAFETY: waits for this test's own child; `status` is live.
            assert_eq!(unsafe { libc::waitpid(child, &mut status, 0) }, child);
            assert_eq!((libc::WIFEXITED(status), libc::WEXITSTATUS(status)), (true, 7));
        }
    }
    assert_eq!(machine.state()[0], held);
    // SAFETY: open, and closed once.
    assert_eq!(unsafe { jetpace_close(handle) }, 0);
    assert_eq!(machine.state(), before);
}
