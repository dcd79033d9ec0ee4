//! A million blocks (JETPACE_BLOCKS says otherwise) through the runtime on a virtual board, with everything going wrong
//! that can: nothing is allocated, no page faults, and every frame is accounted for.

#![allow(unsafe_code)] // a counting allocator is one by its trait; a child that may make no system call is forked
#![allow(clippy::unwrap_used)] // a test may fail by panicking

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::fs;
use std::io;
use std::io::Read as _;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use jetpace::runtime::access::Access;
use jetpace::runtime::control::{Look, Schedule, WatchedClock};
use jetpace::runtime::daemon::{Daemon, Options, Unmanaged};
use jetpace::runtime::follow::Follow;
use jetpace::runtime::listen::Listener;
use jetpace::runtime::open;
use jetpace::runtime::page::What;
use jetpace::runtime::remote::Remote;
use jetpace::runtime::sys;
use jetpace::runtime::tend::BoardClock;
use jetpace::runtime::writer::{Asked, Writer};
use jetpace_devfreq::board::EmcRange;
use jetpace_devfreq::nodes::{NodeHandle, Nodes, OpenNode, SysfsRoot};
use jetpace_devfreq::sim::{Board, VirtualNodes, VirtualTimer};
use jetpace_tables::governor::trace::Fault;
use jetpace_tables::hw::GpuClock;
use jetpace_tables::table::{Digest, MAX_CLOCKS, Table, TableClock};
use jetpace_tables::units::{Hertz, Nanos};
use jetpace_tables::work::{BlockId, ClockIndex, Size};

/// Counts what each thread allocates.
struct Counting;

thread_local! {
    static ALLOCATED: Cell<u64> = const { Cell::new(0) };
}

// SAFETY: everything is the system allocator's; counting touches a thread-local without a destructor.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // A thread that is ending has no counter any more.
        let _ = ALLOCATED.try_with(|count| count.set(count.get() + 1));
        // SAFETY: the caller's promise is the system allocator's.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(at, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn allocated() -> u64 {
    ALLOCATED.with(Cell::get)
}

/// One test at a time: memory and page faults are the process's, and a child's fork makes every page fault anew.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

const BLOCKS: u16 = 20;

/// After this many blocks the writer catches up: on a busy machine it may not have run since the last time. Odd, so that
/// it is another clock each time.
const SETTLE_EVERY: u64 = 1_001;

fn blocks_to_run() -> u64 {
    std::env::var("JETPACE_BLOCKS").ok().and_then(|n| n.parse().ok()).unwrap_or(1_000_000)
}

/// Neighbouring blocks want different clocks.
fn table(board: Digest, clocks: &[Hertz]) -> Box<Table> {
    spread(board, clocks, 1)
}

/// They want clocks that lie this far apart.
fn spread(board: Digest, clocks: &[Hertz], apart: u8) -> Box<Table> {
    let listed: Vec<_> = clocks
        .iter()
        .enumerate()
        .take(MAX_CLOCKS)
        .map(|(i, clock)| TableClock { index: ClockIndex(i as u8), clock: *clock, relative_time: 1 })
        .collect();
    let names: Vec<String> = (0..BLOCKS).map(|i| format!("b{i}")).collect();
    let wanted: Vec<_> =
        names.iter().enumerate().map(|(i, n)| (n.as_str(), ClockIndex((i % 2) as u8 * apart + 1))).collect();
    let pace = (Nanos::from_millis(600_000), Nanos::from_millis(600_000));
    Box::new(Table::plain(board, &listed, &wanted, pace, Nanos::ZERO).unwrap())
}

/// A board on which writes are refused now and then, and caps come and go.
struct Failing {
    clock: BoardClock<VirtualNodes, VirtualTimer>,
    sets: u64,
    looks: u64,
}

impl GpuClock for Failing {
    type Error = io::Error;
    fn clocks(&self) -> &[Hertz] {
        self.clock.clocks()
    }
    fn set(&mut self, clock: ClockIndex) -> io::Result<()> {
        self.sets += 1;
        if self.sets.is_multiple_of(97) {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        self.clock.set(clock).map_err(io::Error::other)
    }
    fn pin(&mut self, clock: ClockIndex) -> io::Result<Hertz> {
        self.clock.pin(clock).map_err(io::Error::other)
    }
    fn current(&mut self) -> io::Result<Hertz> {
        self.clock.current().map_err(io::Error::other)
    }
    fn release(&mut self) -> io::Result<()> {
        self.clock.release().map_err(io::Error::other)
    }
}

impl WatchedClock for Failing {
    fn look(&mut self, whole: bool) -> io::Result<Look> {
        self.looks += 1;
        let look = self.clock.look(whole).map_err(io::Error::other)?;
        let cap = if self.looks.is_multiple_of(2) { ClockIndex(1) } else { look.cap };
        Ok(Look { cap, ..look })
    }
}

/// What of a process must not grow.
fn resident_kb() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_ascii_whitespace().nth(1).unwrap().parse().unwrap()
}

/// Page faults of this thread.
fn page_faults() -> (u64, u64) {
    // On the stack: memory for it from the heap would be a page fault of its own now and then.
    let mut text = [0; 1024];
    let length = fs::File::open("/proc/thread-self/stat").unwrap().read(&mut text).unwrap();
    let stat = std::str::from_utf8(&text[..length]).unwrap();
    let mut fields = stat.rsplit(')').next().unwrap().split_ascii_whitespace();
    // Counted behind the name: state is field 3, minflt 10, majflt 12.
    let minor = fields.nth(7).unwrap().parse().unwrap();
    (minor, fields.nth(1).unwrap().parse().unwrap())
}

/// What was done wrong on purpose.
#[derive(Debug, Default, PartialEq, Eq)]
struct Wrongs {
    frames: u64,
    blocks: u64,
    out_of_order: u64,
    unknown: u64,
    cut: u64,
}

fn settle<C: WatchedClock + Send + 'static>(follow: &Follow<C>) {
    while !follow.desk().is_settled() {
        thread::yield_now();
    }
}

fn run<C: WatchedClock + Send + 'static>(follow: &mut Follow<C>, blocks: u64, mistakes: bool) -> Wrongs {
    let mut done = Wrongs::default();
    while done.blocks < blocks {
        done.frames += 1;
        follow.frame_start();
        let wrong = if mistakes { done.frames % 100 } else { 0 };
        for i in 0..BLOCKS {
            let id = match (wrong, i) {
                // The last of all, instead of the first but one; then the second is out of order, too.
                (10, 1) => BLOCKS - 1,
                (20, 19) => 999,
                _ => i,
            };
            follow.block_start(BlockId(id), Size(1));
            done.blocks += 1;
            if done.blocks.is_multiple_of(SETTLE_EVERY) {
                settle(follow);
            }
        }
        match wrong {
            // Block 19 in place of 1, then 2 behind 19.
            10 => done.out_of_order += 2,
            // Its end then comes behind a block that is not the last.
            20 => (done.unknown, done.cut) = (done.unknown + 1, done.cut + 1),
            // Never ended: the next start cuts it.
            30 => {
                done.cut += 1;
                continue;
            }
            _ => {}
        }
        follow.frame_end();
    }
    done
}

#[test]
fn faults_are_counted_and_nothing_is_allocated() {
    let _alone = alone();
    let board = Board::new("tx2", 1).unwrap();
    let (clock, digests) = open::take(board.nodes(), board.timer(), None).unwrap();
    let table = table(*digests.now(), &board.clocks());
    let failing = Failing { clock, sets: 0, looks: 0 };
    let mut follow = Follow::start(table, failing, Writer::Thread, Schedule::default()).unwrap();
    follow.lock_in_memory();
    let first = run(&mut follow, 20_000, true);

    let resident = resident_kb();
    // Asked before counting begins: an environment variable is a string.
    let blocks = blocks_to_run();
    let faults = page_faults();
    let before = allocated();
    let rest = run(&mut follow, blocks, true);
    assert_eq!(allocated() - before, 0, "the hot path allocated");
    assert_eq!(page_faults(), faults, "the hot path met page faults");
    let grown = resident_kb().saturating_sub(resident);
    assert!(grown < 4096, "{grown} KiB more than before");

    let counters = *follow.governor().counters();
    eprintln!("{counters:?}");
    assert_eq!(counters.frames, first.frames + rest.frames);
    assert_eq!(counters.blocks, first.blocks + rest.blocks);
    assert_eq!(counters.fault(Fault::BlockOutOfOrder), first.out_of_order + rest.out_of_order);
    assert_eq!(counters.fault(Fault::UnknownBlock), first.unknown + rest.unknown);
    assert_eq!(counters.fault(Fault::FrameCut), first.cut + rest.cut);
    assert_eq!(counters.missed, 0);
    assert!(counters.fault(Fault::WriteFailed) > 0, "no write was refused");
    follow.stop().unwrap();
    // Back with the stock governor, as found.
    let governor = board.nodes().read("/sys/class/devfreq/17000000.gp10b/governor".as_ref());
    assert_ne!(governor.unwrap_or_default().trim(), "userspace");
}

/// A node that is a file in memory.
struct FileClock {
    node: OpenNode,
    texts: Vec<Vec<u8>>,
    clocks: Vec<Hertz>,
}

/// The clocks of a file.
fn clocks() -> Vec<Hertz> {
    (1..=3).map(|i| Hertz::from_khz(i * 100_000)).collect()
}

impl FileClock {
    fn new(path: &Path) -> Self {
        fs::write(path, "0").unwrap();
        let clocks = clocks();
        let texts = clocks.iter().map(|clock| clock.get().to_string().into_bytes()).collect();
        Self { node: SysfsRoot::new("/").open(path).unwrap(), texts, clocks }
    }
}

impl GpuClock for FileClock {
    type Error = io::Error;
    fn clocks(&self) -> &[Hertz] {
        &self.clocks
    }
    fn set(&mut self, clock: ClockIndex) -> io::Result<()> {
        self.node.write(&self.texts[clock.index()])
    }
    fn pin(&mut self, _: ClockIndex) -> io::Result<Hertz> {
        Err(io::ErrorKind::Unsupported.into())
    }
    fn current(&mut self) -> io::Result<Hertz> {
        Err(io::ErrorKind::Unsupported.into())
    }
    fn release(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl WatchedClock for FileClock {
    fn look(&mut self, _: bool) -> io::Result<Look> {
        Ok(Look { cap: ClockIndex(2), board: [0; 32].into(), emc: EmcRange::Free })
    }
}

#[test]
fn inline_writes_allocate_nothing_either() {
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("set_freq");
    let clocks = clocks();
    let clock = FileClock::new(&path);
    let mut follow = Follow::start(table([0; 32], &clocks), clock, Writer::Inline, Schedule::default()).unwrap();
    follow.lock_in_memory();
    run(&mut follow, 1_000, false);
    let blocks = blocks_to_run() / 10;
    let faults = page_faults();
    let before = allocated();
    let done = run(&mut follow, blocks, false);
    assert_eq!(allocated() - before, 0, "the hot path allocated");
    assert_eq!(page_faults(), faults, "the hot path met page faults");
    let counters = follow.governor().counters();
    assert_eq!(counters.faults.iter().sum::<u64>(), 0);
    assert!(follow.desk().written.writes() > done.blocks / 2, "not written at every boundary");
    assert_eq!(fs::read_to_string(&path).unwrap().len(), clocks[0].get().to_string().len());
}

/// Whether `work` comes to its end where the only system call is to end: in a child, which the kernel kills at any other.
/// A filter, as the kernel's strict mode also takes x86's clock away.
fn without_system_calls(work: impl FnOnce()) -> bool {
    let line = |code: u32, k: u32, otherwise: u8| libc::sock_filter { code: code as u16, jt: 0, jf: otherwise, k };
    let mut filter = [
        // The number is the first field of what a filter is shown.
        line(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0),
        line(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, libc::SYS_exit as u32, 1),
        line(libc::BPF_RET | libc::BPF_K, libc::SECCOMP_RET_ALLOW, 0),
        line(libc::BPF_RET | libc::BPF_K, libc::SECCOMP_RET_KILL_PROCESS, 0),
    ];
    let program = libc::sock_fprog { len: filter.len() as u16, filter: filter.as_mut_ptr() };
    // SAFETY: between fork and end the child allocates nothing and takes no lock, whatever the other threads held.
    match unsafe { libc::fork() } {
        0 => {
            // SAFETY: numbers, and a program that the kernel copies before the call returns.
            unsafe {
                let allowed = libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0
                    && libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const program) == 0;
                if !allowed {
                    libc::_exit(2);
                }
            }
            work();
            // SAFETY: ends the child's only thread, and takes a number. `_exit` is another system call and not allowed.
            unsafe { libc::syscall(libc::SYS_exit, 0) };
            unreachable!()
        }
        child => {
            let mut status = 0;
            // SAFETY: waits for this test's own child; `status` is live.
            assert_eq!(unsafe { libc::waitpid(child, &mut status, 0) }, child);
            assert!(!libc::WIFEXITED(status) || libc::WEXITSTATUS(status) == 0, "no seccomp here");
            libc::WIFEXITED(status)
        }
    }
}

#[test]
fn blocks_at_which_the_clock_stays_make_no_system_call() {
    let _alone = alone();
    if !without_system_calls(|| _ = std::hint::black_box(sys::now())) {
        println!("skipped: this machine's clock is no vDSO's, so reading it is a system call");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("set_freq");
    let clocks = clocks();
    let clock = FileClock::new(&path);
    // All blocks want one clock, so that it stays; and then every other one wants another.
    let mut follow = Follow::start(spread([0; 32], &clocks, 0), clock, Writer::Inline, Schedule::default()).unwrap();
    run(&mut follow, 1_000, false);
    settle(&follow);
    assert!(without_system_calls(|| _ = run(&mut follow, 100_000, false)), "a system call where the clock stays");
    follow.stop().unwrap();

    let clock = FileClock::new(&path);
    let mut follow = Follow::start(table([0; 32], &clocks), clock, Writer::Inline, Schedule::default()).unwrap();
    run(&mut follow, 1_000, false);
    settle(&follow);
    assert!(!without_system_calls(|| _ = run(&mut follow, 1_000, false)), "a write is a system call");
    follow.stop().unwrap();
}

/// The client's part: its page is mapped, populated and, where that is allowed, locked.
#[test]
fn telling_a_daemon_allocates_nothing_either() {
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("set_freq");
    let clocks = clocks();
    let clock = FileClock::new(&path);
    let socket = folder.path().join("jetpace.sock");
    let options = Options {
        access: Access::new(None),
        table: Some(table([0; 32], &clocks)),
        events_per_s: u32::MAX,
        changes_per_s: u32::MAX,
        writer: Asked::default(),
        schedule: Schedule::default(),
    };
    let daemon = Daemon::new(clock, Listener::open(&socket, None).unwrap(), options).unwrap();
    let (stop, stopped) = UnixStream::pair().unwrap();
    let thread = thread::spawn(move || daemon.run(stopped.as_fd(), &mut Unmanaged));
    let mut client = Remote::open(&socket, &[]).unwrap();
    let mut told = 0;
    let mut frames = |count: u64| {
        for _ in 0..count {
            client.tell(What::FrameStart).unwrap();
            for block in 0..BLOCKS {
                client.tell(What::BlockStart(BlockId(block), Size(1))).unwrap();
            }
            client.tell(What::FrameEnd).unwrap();
            // As a network's own time would: the daemon keeps up.
            while !client.page().is_drained() {
                std::hint::spin_loop();
            }
        }
        let until = Instant::now() + Duration::from_secs(10);
        // What was told: a start, the blocks and an end of each frame, and of those before.
        told += count * (u64::from(BLOCKS) + 2);
        while client.figures().taken != told {
            assert!(Instant::now() < until, "{:?} of {told} events", client.figures());
        }
        (client.lost(), client.figures())
    };
    frames(100);
    let count = blocks_to_run() / 10 / u64::from(BLOCKS);
    let (faults, before) = (page_faults(), allocated());
    let (lost, figures) = frames(count);
    assert_eq!(allocated() - before, 0, "telling allocated");
    assert_eq!(page_faults(), faults, "telling met page faults");
    assert_eq!((lost, figures.frames, figures.faults), (0, 100 + count, 0));
    drop((client, stop));
    thread.join().unwrap().unwrap();
}
