//! Everything that may go wrong on a recorded board, in a user's process and through the daemon: each leads to a state of
//! the governor's diagram, is counted, and is seen by whoever asks.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use jetpace::runtime::access::Access;
use jetpace::runtime::control::Schedule;
use jetpace::runtime::daemon::{Daemon, Options, Unmanaged};
use jetpace::runtime::follow::Follow;
use jetpace::runtime::listen::Listener;
use jetpace::runtime::map::Mapping;
use jetpace::runtime::open;
use jetpace::runtime::page::{Event, Page, State as PageState, What, Writer as PageWriter};
use jetpace::runtime::remote::{Remote, dial, document};
use jetpace::runtime::tend::BoardClock;
use jetpace::runtime::writer::{Asked, Writer};
use jetpace::runtime::{sys, wire};
use jetpace_devfreq::board::Board;
use jetpace_devfreq::sim::tree::{Tree, TreeTimer};
use jetpace_tables::governor::State;
use jetpace_tables::governor::trace::Fault;
use jetpace_tables::table::image;
use jetpace_tables::table::{Digest, Table, TableClock};
use jetpace_tables::units::{Hertz, Nanos};
use jetpace_tables::work::{BlockId, ClockIndex, Size};

use super::until;

const BOARD: &str = "orin-nano-8gb-super-r36.4";
/// Long enough that silence has no part in a test.
const LONG: Nanos = Nanos::from_millis(60_000);
const SHORT: Nanos = Nanos::from_millis(20);

fn tree() -> Tree {
    Tree::load(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/boards").join(BOARD)).unwrap()
}

fn clock_of(tree: &Tree) -> (BoardClock<Tree, TreeTimer>, Digest) {
    let (clock, digests) = open::take(tree.clone(), tree.timer(), None).unwrap();
    (clock, *digests.now())
}

/// Up to the cap, as a plan's are.
fn clocks(tree: &Tree) -> Vec<Hertz> {
    let gpu = Board::discover(tree).unwrap().gpu;
    gpu.clocks.into_iter().filter(|clock| *clock <= gpu.cap).collect()
}

/// Two blocks, at the third clock and the fourth.
fn table(tree: &Tree, board: Digest, period: Nanos) -> Box<Table> {
    let listed: Vec<TableClock> = clocks(tree)
        .into_iter()
        .enumerate()
        .map(|(i, clock)| TableClock { index: ClockIndex(i as u8), clock, relative_time: 1 })
        .collect();
    let wanted = [("a", ClockIndex(2)), ("b", ClockIndex(3))];
    let plain = Table::plain(board, &listed, &wanted, (period, period), Nanos::ZERO).unwrap();
    Box::new(plain.with_emc(Hertz::from_khz(665_600)))
}

fn node(tree: &Tree, name: &str) -> String {
    let path = Board::discover(tree).unwrap().gpu.node(name);
    tree.outside(|outside| outside.read(&path)).unwrap_or_default().trim().to_owned()
}

/// What whoever asks is told.
#[derive(Debug, Default)]
struct Seen {
    state: String,
    why: Option<String>,
    faults: BTreeMap<String, u64>,
    tries: u64,
}

impl Seen {
    fn is(&self, state: &str, why: Option<Fault>) -> bool {
        self.state == state && self.why.as_deref() == why.map(Fault::text)
    }

    fn count(&self, fault: Fault) -> u64 {
        self.faults.get(fault.text()).copied().unwrap_or(0)
    }

    fn total(&self) -> u64 {
        self.faults.values().sum()
    }
}

/// One of the two ways to be governed.
trait Subject {
    fn tell(&mut self, what: What);
    fn seen(&self) -> Seen;

    fn frame(&mut self) {
        for what in [What::FrameStart, block(0), block(1), What::FrameEnd] {
            self.tell(what);
        }
    }
}

fn block(id: u16) -> What {
    What::BlockStart(BlockId(id), Size(1))
}

struct InProcess(Follow<BoardClock<Tree, TreeTimer>>);

impl Subject for InProcess {
    fn tell(&mut self, what: What) {
        match what {
            What::FrameStart => self.0.frame_start(),
            What::BlockStart(block, size) => self.0.block_start(block, size),
            What::FrameEnd => self.0.frame_end(),
            What::BlockAgain(_) | What::Took(..) => {}
        }
    }

    fn seen(&self) -> Seen {
        let governor = self.0.governor();
        let (state, why) = match governor.state() {
            State::Following => ("following", None),
            State::Safe(why) => ("safe", Some(why)),
            State::HandedBack(why) => ("handed back", Some(why)),
        };
        let counted = |fault: &Fault| (fault.text().to_owned(), governor.counters().fault(*fault));
        let why = why.map(|why| why.text().to_owned());
        Seen {
            state: state.to_owned(),
            why,
            faults: Fault::ALL.iter().map(counted).collect(),
            tries: governor.counters().tries,
        }
    }
}

/// A daemon in a thread of this program.
struct Served {
    socket: PathBuf,
    stop: Option<UnixStream>,
    thread: Option<JoinHandle<std::io::Result<()>>>,
    _folder: tempfile::TempDir,
}

impl Served {
    fn start(tree: &Tree) -> Self {
        let (clock, _) = clock_of(tree);
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("jetpace.sock");
        let options = Options {
            access: Access::new(None),
            table: None,
            events_per_s: 50_000,
            changes_per_s: u32::MAX,
            writer: Asked::default(),
            schedule: Schedule::default(),
        };
        let daemon = Daemon::new(clock, Listener::open(&socket, None).unwrap(), options).unwrap();
        let (stop, wait) = UnixStream::pair().unwrap();
        let thread = std::thread::spawn(move || daemon.run(wait.as_fd(), &mut Unmanaged));
        Self { socket, stop: Some(stop), thread: Some(thread), _folder: folder }
    }

    fn status(&self) -> serde_json::Value {
        serde_json::from_slice(&document(&self.socket, &wire::Request::Status).unwrap()).unwrap()
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.stop = None;
        if let Some(thread) = self.thread.take() {
            // On a board whose nodes are gone nothing can be put back, which is its error.
            let _ = thread.join();
        }
    }
}

struct ByDaemon {
    client: Remote,
    served: Served,
}

impl ByDaemon {
    fn new(tree: &Tree, period: Nanos) -> Self {
        let served = Served::start(tree);
        let board = open_digest(tree);
        let client = Remote::open(&served.socket, &bytes(&table(tree, board, period))).unwrap();
        Self { client, served }
    }
}

impl Subject for ByDaemon {
    fn tell(&mut self, what: What) {
        self.client.tell(what).unwrap();
    }

    fn seen(&self) -> Seen {
        // Not before it has taken what was told.
        let _ = self.client.figures();
        let client = self.served.status()["clients"][0].clone();
        let faults = client["faults"].as_object().unwrap();
        Seen {
            state: client["state"].as_str().unwrap().to_owned(),
            why: client["why"].as_str().map(str::to_owned),
            faults: faults.iter().map(|(fault, count)| (fault.clone(), count.as_u64().unwrap())).collect(),
            tries: client["tries"].as_u64().unwrap(),
        }
    }
}

fn bytes(table: &Table) -> Vec<u8> {
    let mut bytes = vec![0; image::MAX_BYTES];
    let length = image::encode(table, &mut bytes).unwrap();
    bytes.truncate(length);
    bytes
}

/// The board's digest as a table holds it.
fn open_digest(tree: &Tree) -> Digest {
    let hex = Board::discover(tree).unwrap().digest();
    std::array::from_fn(|i| u8::from_str_radix(&hex[2 * i..2 * i + 2], 16).unwrap())
}

/// Runs a story on both, each on a board of its own that has run a frame.
fn both(period: Nanos, story: impl Fn(&Tree, &mut dyn Subject) + Sync) {
    std::thread::scope(|scope| {
        for writer in [Writer::Inline, Writer::Thread] {
            let story = &story;
            scope.spawn(move || {
                let tree = tree();
                let (clock, board) = clock_of(&tree);
                let table = table(&tree, board, period);
                story(&tree, &mut InProcess(Follow::start(table, clock, writer, Schedule::default()).unwrap()));
            });
        }
        let tree = tree();
        story(&tree, &mut ByDaemon::new(&tree, period));
    });
}

/// Frames until what is told is as expected.
fn frames_until(subject: &mut dyn Subject, what: &str, is: impl Fn(&Seen) -> bool) -> Seen {
    let mut last = Seen::default();
    let started = Instant::now();
    while !is(&last) {
        assert!(started.elapsed() < Duration::from_secs(60), "{what} did not come about: {last:?}");
        subject.frame();
        std::thread::sleep(Duration::from_millis(1));
        last = subject.seen();
    }
    last
}

fn is_well(seen: &Seen) -> bool {
    seen.is("following", None) && seen.total() == 0
}

/// Follows, and a clock of the table runs.
fn begin(tree: &Tree, subject: &mut dyn Subject) {
    frames_until(subject, "the first frame", |seen| is_well(seen) && node(tree, "cur_freq") == "510000000");
}

/// Well again by itself: the table is followed, and its clock runs.
fn comes_back(tree: &Tree, subject: &mut dyn Subject) {
    let well = |seen: &Seen| seen.is("following", None) && node(tree, "cur_freq") == "510000000";
    let seen = frames_until(subject, "the way back", well);
    assert!(seen.tries > 0, "{seen:?}");
    let faults = seen.total();
    (0..20).for_each(|_| subject.frame());
    let seen = subject.seen();
    assert!(seen.is("following", None) && seen.total() == faults, "a fault more: {seen:?}");
}

/// What says who has the GPU.
fn held(tree: &Tree) -> [String; 3] {
    ["governor", "min_freq", "max_freq"].map(|name| node(tree, name))
}

#[test]
fn until_something_starts_the_gpu_is_the_stock_governors() {
    both(LONG, |board, _| assert_eq!(held(board), held(&tree())));
}

#[test]
fn a_block_without_its_frame_holds_no_clock_for_longer_than_three_periods() {
    both(SHORT, |board, subject| {
        board.clear_log();
        subject.tell(block(0));
        // By what was written: this thread may sleep for longer than the three periods.
        until("the safe clock", || !board.log().is_empty());
        until("the stock governor", || held(board) == held(&tree()));
    });
}

#[test]
fn a_node_that_vanishes_ends_with_the_stock_governor_until_it_is_there_again() {
    both(LONG, |tree, subject| {
        begin(tree, subject);
        tree.outside(|outside| outside.unbind());
        let handed_back = |seen: &Seen| seen.is("handed back", Some(Fault::WriteFailed));
        let seen = frames_until(subject, "the hand-back", handed_back);
        assert!(seen.count(Fault::WriteFailed) >= 3, "{seen:?}");
        // Every try is in vain.
        frames_until(subject, "a second try", |seen| seen.tries == 2 && handed_back(seen));
        tree.outside(|outside| outside.bind());
        comes_back(tree, subject);
    });
}

#[test]
fn refused_writes_are_held_safe_and_then_handed_back_until_one_goes_through() {
    both(LONG, |tree, subject| {
        begin(tree, subject);
        tree.outside(|outside| outside.gpu(|rules| rules.set_failing(Some(libc::EIO))));
        frames_until(subject, "the hand-back", |seen| seen.is("handed back", Some(Fault::WriteFailed)));
        tree.outside(|outside| outside.gpu(|rules| rules.set_failing(None)));
        comes_back(tree, subject);
    });
}

#[test]
fn a_lowered_cap_is_obeyed_and_counted() {
    both(LONG, |tree, subject| {
        begin(tree, subject);
        let cap = clocks(tree)[1];
        tree.outside(|outside| outside.throttle(Some(cap)));
        let seen = frames_until(subject, "the cap", |seen| seen.count(Fault::CapLowered) == 1);
        assert!(seen.is("following", None), "{seen:?}");
        subject.frame();
        assert!(node(tree, "cur_freq").parse::<u64>().unwrap() <= cap.get());
        tree.outside(|outside| outside.throttle(None));
        // Back at the table's clocks, without a fault more.
        let seen = frames_until(subject, "the cap to be gone", |_| node(tree, "cur_freq") == "510000000");
        assert_eq!(seen.total(), 1, "{seen:?}");
    });
}

/// Somebody locks the memory's clock.
const EMC_LOCK: (&str, &str, &str) = ("EMC lock", "/sys/kernel/debug/bpmp/debug/clk/emc/mrq_rate_locked", "1\n");

/// Somebody caps it below the table's. Not in the digest, as root alone may read it on some releases.
const EMC_CAP: (&str, &str, &str) = ("EMC cap", "/sys/kernel/nvpmodel_clk_cap/emc", "408000000\n");

/// What makes a table stale while it is followed, and is refused from the start.
const CHANGES: [(&str, &str, &str); 2] = [
    ("power mode", "/var/lib/nvpmodel/status", "pmode:0000\n"),
    (
        "L4T release",
        "/etc/nv_tegra_release",
        "# R36 (release), REVISION: 5.0, GCID: 0, BOARD: generic, EABI: aarch64\n",
    ),
];

#[test]
fn a_table_that_becomes_stale_is_followed_no_more_until_it_holds_again() {
    std::thread::scope(|scope| {
        for (what, file, text) in CHANGES.into_iter().chain([EMC_LOCK, EMC_CAP]) {
            scope.spawn(move || {
                both(LONG, |tree, subject| {
                    begin(tree, subject);
                    let found = tree.outside(|outside| outside.read(Path::new(file))).unwrap();
                    tree.outside(|outside| outside.put(file, text));
                    let handed_back = |seen: &Seen| seen.is("handed back", Some(Fault::TableStale));
                    let seen = frames_until(subject, what, handed_back);
                    assert_eq!(seen.count(Fault::TableStale), 1, "{what}: {seen:?}");
                    until("the stock governor", || node(tree, "governor") != "userspace");
                    frames_until(subject, "a look in vain", |seen| seen.tries == 1 && handed_back(seen));
                    tree.outside(|outside| outside.put(file, &found));
                    comes_back(tree, subject);
                });
            });
        }
    });
}

#[test]
fn a_daemon_that_nobody_used_serves_tables_for_the_board_of_now() {
    let (what, file, text) = CHANGES[0];
    let tree = tree();
    let before = table(&tree, open_digest(&tree), LONG);
    let served = Served::start(&tree);
    tree.outside(|outside| outside.put(file, text));
    let after = table(&tree, open_digest(&tree), LONG);
    assert_ne!(before.board(), after.board(), "{what} is not in the digest");
    let mut client = Remote::open(&served.socket, &bytes(&after)).unwrap();
    client.tell(What::FrameStart).unwrap();
    until("its frame", || client.figures().frames == 1);
    let refusal = Remote::open(&served.socket, &bytes(&before)).unwrap_err().to_string();
    assert!(refusal.contains("another board"), "{refusal}");
}

#[test]
fn a_table_for_another_board_mode_or_release_is_refused_at_once() {
    let made_on = tree();
    let old = open_digest(&made_on);
    let part =
        ("board", "/proc/device-tree/compatible", "nvidia,p3768-0000+p3767-0003\0nvidia,p3767-0003\0nvidia,tegra234\0");
    for (what, file, text) in CHANGES.into_iter().chain([part]) {
        let tree = tree();
        tree.outside(|outside| outside.put(file, text));
        assert_ne!(open_digest(&tree), old, "{what} is not in the digest");
        let table = table(&tree, old, LONG);
        let refusal = jetpace::files::table::check(&table, &open_digest(&tree).into()).unwrap_err();
        assert_eq!(refusal.reason(), jetpace::failure::Reason::Calibration, "{what}");
        let served = Served::start(&tree);
        let refusal = Remote::open(&served.socket, &bytes(&table)).unwrap_err().to_string();
        assert!(refusal.contains("another board"), "{what}: {refusal}");
    }
}

#[test]
fn a_table_for_a_clock_that_the_memory_cannot_run_at_is_refused_at_once() {
    let capped = tree();
    let (_, file, text) = EMC_CAP;
    capped.outside(|outside| outside.put(file, text));
    let served = Served::start(&capped);
    let planned = table(&capped, open_digest(&capped), LONG);
    let refusal = Remote::open(&served.socket, &bytes(&planned)).unwrap_err().to_string();
    assert!(refusal.contains("EMC clock"), "{refusal}");

    let tree = tree();
    let (_, file, text) = EMC_LOCK;
    tree.outside(|outside| outside.put(file, text));
    let served = Served::start(&tree);
    let table = table(&tree, open_digest(&tree), LONG);
    let refusal = Remote::open(&served.socket, &bytes(&table)).unwrap_err().to_string();
    assert!(refusal.contains("EMC clock"), "{refusal}");
    let found = Board::discover(&tree).unwrap().emc.unwrap().held(&tree).unwrap();
    assert!(Remote::open(&served.socket, &bytes(&table.with_emc(found))).is_ok());
}

#[test]
fn blocks_out_of_order_and_unknown_are_held_safe_to_the_end_of_the_frame() {
    for (id, fault) in [(1, Fault::BlockOutOfOrder), (77, Fault::UnknownBlock)] {
        both(LONG, |tree, subject| {
            begin(tree, subject);
            subject.tell(What::FrameStart);
            subject.tell(block(id));
            let seen = subject.seen();
            assert!(seen.is("safe", Some(fault)) && seen.count(fault) == 1, "{seen:?}");
            let table = table(tree, open_digest(tree), LONG);
            let safe = table.clocks()[table.safe().index()].clock.get().to_string();
            until("the safe clock", || node(tree, "cur_freq") == safe);
            subject.tell(What::FrameEnd);
            subject.frame();
            assert!(subject.seen().is("following", None));
        });
    }
}

#[test]
fn a_frame_cut_short_is_counted() {
    both(LONG, |tree, subject| {
        begin(tree, subject);
        subject.tell(What::FrameStart);
        subject.tell(block(0));
        subject.frame();
        let seen = subject.seen();
        assert!(seen.is("following", None) && seen.count(Fault::FrameCut) == 1, "{seen:?}");
    });
}

/// The page as the daemon lends it.
fn lent(socket: &Path, table: &Table) -> (OwnedFd, Mapping<Page>) {
    let connection = dial(socket).unwrap();
    wire::ask(&connection, &wire::Request::Open(bytes(table))).unwrap();
    let memory = wire::reply(&connection).unwrap().page.unwrap();
    (connection, Mapping::open(&memory).unwrap())
}

#[test]
fn a_clients_clock_that_goes_backwards_is_held_safe() {
    let tree = tree();
    let served = Served::start(&tree);
    let (_connection, page) = lent(&served.socket, &table(&tree, open_digest(&tree), LONG));
    let mut writer = PageWriter::default();
    let now = sys::now();
    let before = now.saturating_sub(Nanos::from_millis(100));
    for (at, what) in [(now, What::FrameStart), (now, block(0)), (before, block(1))] {
        assert!(writer.post(&page, Event { at, what }));
    }
    let client = || served.status()["clients"][0].clone();
    until("the safe clock", || client()["state"] == "safe");
    assert_eq!(client()["why"], Fault::TimeBackwards.text());
    assert_eq!(client()["faults"][Fault::TimeBackwards.text()], 1);
    for what in [What::FrameEnd, What::FrameStart] {
        writer.post(&page, Event { at: sys::now(), what });
    }
    until("the next frame", || client()["state"] == "following");
}

#[test]
fn a_frame_that_never_ends_hands_back_and_the_client_that_hangs_is_dropped() {
    let tree = tree();
    let found = node(&tree, "governor");
    let served = Served::start(&tree);
    let (_connection, page) = lent(&served.socket, &table(&tree, open_digest(&tree), SHORT));
    PageWriter::default().post(&page, Event { at: sys::now(), what: What::FrameStart });
    until("the client to be dropped", || page.state() == PageState::Dropped);
    until("the stock governor", || node(&tree, "governor") == found);
    until("the client to be gone", || served.status()["clients"].as_array().unwrap().is_empty());
    assert!(served.status()["clock_hz"].is_null());

    for writer in [Writer::Inline, Writer::Thread] {
        let tree = self::tree();
        let (clock, board) = clock_of(&tree);
        let follow = Follow::start(table(&tree, board, SHORT), clock, writer, Schedule::default()).unwrap();
        let mut subject = InProcess(follow);
        subject.tell(What::FrameStart);
        until("the stock governor", || node(&tree, "governor") == found && subject.0.desk().silenced() == 1);
        // The next frame takes the clock again.
        subject.frame();
        let seen = subject.seen();
        assert!(seen.is("following", None) && seen.count(Fault::Silence) == 1, "{seen:?}");
        until("the clock again", || node(&tree, "governor") != found);
    }
}
