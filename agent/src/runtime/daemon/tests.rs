use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use jetpace_devfreq::board::EmcRange;
use jetpace_tables::hw::{GpuClock, PowerOf};
use jetpace_tables::table::{Digest, Table, TableClock};
use jetpace_tables::units::{Hertz, Microjoules, Nanos};
use jetpace_tables::work::{BlockId, ClockIndex, Size};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socketpair};

use crate::files::table::encode;

use super::super::control::{Look, WatchedClock};
use super::super::page::{Event, State, What, Writer};
use super::super::remote::{Remote, document};
use super::super::writer::{Asked, Writer as Who};
use super::super::{map::Mapping, page::Page, wire};
use super::*;

/// Remembers what was written, and by which thread.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<Option<ClockIndex>>>>, Arc<Mutex<Vec<String>>>, Arc<AtomicBool>);

const CLOCKS: [Hertz; 4] = [Hertz::new(100), Hertz::new(200), Hertz::new(300), Hertz::new(400)];

impl GpuClock for Log {
    type Error = io::Error;
    fn clocks(&self) -> &[Hertz] {
        &CLOCKS
    }
    fn set(&mut self, clock: ClockIndex) -> io::Result<()> {
        while self.2.load(Ordering::Relaxed) {
            std::thread::sleep(Duration::from_millis(1));
        }
        self.0.lock().unwrap().push(Some(clock));
        self.1.lock().unwrap().push(std::thread::current().name().unwrap_or_default().to_owned());
        Ok(())
    }
    fn pin(&mut self, _: ClockIndex) -> io::Result<Hertz> {
        Err(io::ErrorKind::Unsupported.into())
    }
    fn current(&mut self) -> io::Result<Hertz> {
        Err(io::ErrorKind::Unsupported.into())
    }
    fn release(&mut self) -> io::Result<()> {
        self.0.lock().unwrap().push(None);
        Ok(())
    }
}

impl WatchedClock for Log {
    fn look(&mut self, _: bool) -> io::Result<Look> {
        Ok(Look { cap: ClockIndex(3), board: BOARD.into(), emc: EmcRange::Free })
    }
}

const BOARD: Digest = [7; 32];

/// Two blocks: the first at `first`, the second at `second`.
fn table(first: u8, second: u8, period: Nanos) -> Vec<u8> {
    encode(&plain(first, second, period)).unwrap()
}

fn plain(first: u8, second: u8, period: Nanos) -> Table {
    let clocks: Vec<_> = CLOCKS
        .iter()
        .enumerate()
        .map(|(i, clock)| TableClock { index: ClockIndex(i as u8), clock: *clock, relative_time: 1 })
        .collect();
    let wanted = [("a", ClockIndex(first)), ("b", ClockIndex(second))];
    Table::plain(BOARD, &clocks, &wanted, (period, period), Nanos::ZERO).unwrap()
}

struct Running {
    socket: PathBuf,
    stop: Option<OwnedFd>,
    thread: Option<JoinHandle<io::Result<()>>>,
    log: Log,
    _folder: tempfile::TempDir,
}

fn start() -> Running {
    start_with(Asked::default())
}

fn start_with(writer: Asked) -> Running {
    start_for(writer, Unmanaged)
}

fn start_for(writer: Asked, manager: impl Manager + Send + 'static) -> Running {
    start_on(writer, manager, None)
}

fn start_on(writer: Asked, mut manager: impl Manager + Send + 'static, rails: Option<Source>) -> Running {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("jetpace.sock");
    let log = Log::default();
    let options = Options {
        access: Access::new(None),
        table: None,
        events_per_s: 5_000,
        changes_per_s: CHANGES_PER_S,
        writer,
        schedule: Schedule::default(),
    };
    let listener = super::super::listen::Listener::open(&socket, None).unwrap();
    let mut daemon = Daemon::new(log.clone(), listener, options).unwrap();
    if let Some(rails) = rails {
        daemon = daemon.with_rails(rails);
    }
    let (stop, wait) = socketpair(AddressFamily::Unix, SockType::Stream, None, SockFlag::SOCK_CLOEXEC).unwrap();
    let thread = std::thread::spawn(move || daemon.run(wait.as_fd(), &mut manager));
    Running { socket, stop: Some(stop), thread: Some(thread), log, _folder: folder }
}

impl Running {
    fn writes(&self) -> Vec<Option<ClockIndex>> {
        self.log.0.lock().unwrap().clone()
    }

    fn wait_for(&self, what: &str, done: impl Fn(&[Option<ClockIndex>]) -> bool) {
        until(what, || done(&self.writes()));
    }

    fn stop(&mut self) {
        drop(self.stop.take());
        self.thread.take().unwrap().join().unwrap().unwrap();
    }
}

fn until(what: &str, mut done: impl FnMut() -> bool) {
    let started = Instant::now();
    while !done() {
        assert!(started.elapsed() < Duration::from_secs(60), "{what} did not come about");
        std::thread::sleep(Duration::from_millis(1));
    }
}

const LONG: Nanos = Nanos::from_millis(60_000);

fn block(n: u16) -> What {
    What::BlockStart(BlockId(n), Size(1))
}

fn set(clock: u8) -> Option<ClockIndex> {
    Some(ClockIndex(clock))
}

#[test]
fn a_frame_sets_its_clocks_and_the_end_hands_back() {
    let mut daemon = start();
    let mut client = Remote::open(&daemon.socket, &table(2, 1, LONG)).unwrap();
    for what in [What::FrameStart, block(0)] {
        client.tell(what).unwrap();
    }
    daemon.wait_for("the first block's clock", |writes| writes.last() == Some(&set(2)));
    client.tell(block(1)).unwrap();
    daemon.wait_for("the second block's clock", |writes| writes.last() == Some(&set(1)));
    client.tell(What::FrameEnd).unwrap();
    daemon.wait_for("the first clock of the next frame", |writes| writes == [set(2), set(1), set(2)]);
    assert_eq!(client.figures().frames, 1);
    let status: serde_json::Value =
        serde_json::from_slice(&document(&daemon.socket, &wire::Request::Status).unwrap()).unwrap();
    assert_eq!(status["clock_hz"], 300);
    assert_eq!(status["clients"][0]["frames"], 1);
    let trace = document(&daemon.socket, &wire::Request::Trace { client: 0, from: 0 }).unwrap();
    let trace: serde_json::Value = serde_json::from_slice(&trace).unwrap();
    assert_eq!(trace["events"][0]["event"], "frame start");
    assert_eq!(trace["next"].as_u64(), trace["events"].as_array().map(|events| events.len() as u64));
    drop(client);
    daemon.wait_for("the release", |writes| writes.last() == Some(&None));
    daemon.stop();
    assert!(!daemon.socket.exists());
}

#[test]
fn the_writer_is_the_cheaper_one_by_the_table_unless_one_is_asked_for() {
    let (short, long) = (Some(Nanos::from_micros(2)), Some(Nanos::from_micros(200)));
    for (asked, write_time, writes, name) in [
        (None, short, "jetpace-client0", Who::Inline),
        (None, long, "jetpace-control", Who::Thread),
        (None, None, "jetpace-client0", Who::Inline),
        (Some(Who::Inline), long, "jetpace-client0", Who::Inline),
        (Some(Who::Thread), short, "jetpace-control", Who::Thread),
    ] {
        let daemon = start_with(Asked(asked));
        let table = plain(2, 1, LONG).with_write_time(write_time.unwrap_or_default());
        let mut client = Remote::open(&daemon.socket, &encode(&table).unwrap()).unwrap();
        // The first one is the control thread's in any case: it has to begin to look after the board.
        for (what, clock) in [(What::FrameStart, 2), (block(0), 2), (block(1), 1), (What::FrameEnd, 2)] {
            client.tell(what).unwrap();
            daemon.wait_for("the clock", |writes| writes.last() == Some(&set(clock)));
        }
        let threads = daemon.log.1.lock().unwrap().clone();
        assert_eq!(threads[0], "jetpace-control");
        assert!(threads[1..].iter().all(|thread| thread == writes), "{asked:?}, {write_time:?}: {threads:?}");
        let status = document(&daemon.socket, &wire::Request::Status).unwrap();
        let status: serde_json::Value = serde_json::from_slice(&status).unwrap();
        assert_eq!(status["clients"][0]["writer"], name.text());
    }
}

#[test]
fn the_highest_clock_of_all_clients_wins_and_shared_frames_are_marked() {
    let daemon = start();
    let mut low = Remote::open(&daemon.socket, &table(1, 1, LONG)).unwrap();
    let mut high = Remote::open(&daemon.socket, &table(3, 3, LONG)).unwrap();
    low.tell(What::FrameStart).unwrap();
    daemon.wait_for("the low client's clock", |writes| writes == [set(1)]);
    high.tell(What::FrameStart).unwrap();
    daemon.wait_for("the high client's clock", |writes| writes == [set(1), set(3)]);
    for what in [block(0), block(1), What::FrameEnd] {
        low.tell(what).unwrap();
    }
    until("the shared frame", || low.figures().shared == 1);
    let trace = document(&daemon.socket, &wire::Request::Trace { client: 0, from: 0 }).unwrap();
    let trace: serde_json::Value = serde_json::from_slice(&trace).unwrap();
    let events: Vec<_> =
        trace["events"].as_array().unwrap().iter().map(|event| event["event"].as_str().unwrap()).collect();
    // The other one's frame began before the first block did.
    let marked = ["shared", "block", "shared", "block", "shared", "frame end"];
    let found: Vec<_> = events.iter().copied().filter(|event| marked.contains(event)).collect();
    assert_eq!(found, marked, "{events:?}");
    drop(high);
    daemon.wait_for("the low client's clock again", |writes| writes == [set(1), set(3), set(1)]);
    // A whole frame of another client within one block of this one.
    let mut brief = Remote::open(&daemon.socket, &table(1, 1, LONG)).unwrap();
    for what in [What::FrameStart, block(0)] {
        low.tell(what).unwrap();
    }
    until("the low client's block", || low.figures().taken == 6);
    for what in [What::FrameStart, block(0), block(1), What::FrameEnd] {
        brief.tell(what).unwrap();
    }
    until("the brief client's frame", || brief.figures().taken == 4);
    for what in [block(1), What::FrameEnd] {
        low.tell(what).unwrap();
    }
    until("the second shared frame", || low.figures().taken == 8);
    assert_eq!(low.figures().shared, 2);
    drop(brief);
    drop(low);
    daemon.wait_for("the release", |writes| writes.last() == Some(&None));
}

#[test]
fn tables_for_other_boards_and_garbage_are_refused() {
    let daemon = start();
    let mut other = table(1, 1, LONG);
    other[12] ^= 1;
    let refused = |image: &[u8]| Remote::open(&daemon.socket, image).unwrap_err().to_string();
    assert!(refused(&other).contains("checksum"), "{}", refused(&other));
    assert!(refused(b"garbage").contains("not a jetpace table"));
    assert!(refused(b"").contains("bring a table"));
    let mut clocks: Vec<_> = CLOCKS
        .iter()
        .enumerate()
        .map(|(i, clock)| TableClock { index: ClockIndex(i as u8), clock: *clock, relative_time: 1 })
        .collect();
    let wanted = [("a", ClockIndex(3))];
    let foreign = Table::plain([8; 32], &clocks, &wanted, (LONG, LONG), Nanos::ZERO).unwrap();
    assert!(refused(&encode(&foreign).unwrap()).contains("another board"));
    // The right digest does not make clocks that the board does not have.
    clocks[3] = TableClock { index: ClockIndex(3), clock: Hertz::new(999), relative_time: 1 };
    let lying = Table::plain(BOARD, &clocks, &wanted, (LONG, LONG), Nanos::ZERO).unwrap();
    assert!(refused(&encode(&lying).unwrap()).contains("another board"));
    assert_eq!(daemon.writes(), []);
}

#[test]
fn silence_between_frames_releases_and_within_a_frame_drops() {
    let daemon = start();
    let period = Nanos::from_millis(20);
    let mut client = Remote::open(&daemon.socket, &table(2, 2, period)).unwrap();
    for what in [What::FrameStart, block(0), block(1), What::FrameEnd] {
        client.tell(what).unwrap();
    }
    daemon.wait_for("the release after silence", |writes| writes == [set(2), None]);
    // It may come back.
    client.tell(What::FrameStart).unwrap();
    daemon.wait_for("the clock again", |writes| writes == [set(2), None, set(2)]);
    daemon.wait_for("the release of the client that hangs", |writes| writes.last() == Some(&None));
    until("the client to be told", || client.tell(block(0)).is_err());
}

/// What an attacker has: the page itself.
fn attack(daemon: &Running) -> (OwnedFd, OwnedFd, Mapping<Page>) {
    let socket = super::super::remote::dial(&daemon.socket).unwrap();
    wire::ask(&socket, &wire::Request::Open(table(3, 3, LONG))).unwrap();
    let memory = wire::reply(&socket).unwrap().page.unwrap();
    let page = Mapping::open(&memory).unwrap();
    (socket, memory, page)
}

fn is_dropped(page: &Page) -> bool {
    page.state() == State::Dropped
}

/// A client that is served all the while, at clock 1.
fn honest(daemon: &Running) -> Remote {
    let mut client = Remote::open(&daemon.socket, &table(1, 1, LONG)).unwrap();
    client.tell(What::FrameStart).unwrap();
    daemon.wait_for("the honest client's clock", |writes| writes.last() == Some(&set(1)));
    client
}

fn still_served(daemon: &Running, mut client: Remote) {
    daemon.wait_for("the attacker's clock to be released", |writes| writes.last() == Some(&set(1)));
    for what in [block(0), block(1), What::FrameEnd] {
        client.tell(what).unwrap();
    }
    until("the honest client's frame", || client.figures().frames == 1);
    assert_eq!(client.figures().faults, 0);
}

#[test]
fn a_flood_is_dropped_and_the_others_are_served_on() {
    let daemon = start();
    let client = honest(&daemon);
    let (_socket, _memory, page) = attack(&daemon);
    let mut writer = Writer::default();
    until("the flood to be dropped", || {
        for _ in 0..500 {
            writer.post(&page, Event { at: Nanos::ZERO, what: What::FrameStart });
        }
        is_dropped(&page)
    });
    still_served(&daemon, client);
}

#[test]
fn a_page_full_of_lies_is_dropped_and_the_others_are_served_on() {
    let daemon = start();
    let client = honest(&daemon);
    for (offset, lie) in [(0, u64::MAX), (0, 5_000), (0, 1)] {
        let (_socket, memory, page) = attack(&daemon);
        nix::sys::uio::pwrite(&memory, &lie.to_le_bytes(), offset).unwrap();
        page.wake();
        until("the liar to be dropped", || is_dropped(&page));
    }
    // Random bytes all over the page, bell and tail among them.
    let (_socket, memory, page) = attack(&daemon);
    let noise: Vec<u8> =
        (0..size_of::<Page>() as u64).map(|i| (i.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8).collect();
    nix::sys::uio::pwrite(&memory, &noise, 0).unwrap();
    page.wake();
    until("the noise to be dropped", || is_dropped(&page) || document(&daemon.socket, &wire::Request::Status).is_ok());
    still_served(&daemon, client);
}

#[test]
fn packets_that_are_none_end_the_connection() {
    let daemon = start();
    let client = honest(&daemon);
    for garbage in [&b"x"[..], &[0; 4096], b"JPQ1\x07\0\0\0"] {
        let socket = super::super::remote::dial(&daemon.socket).unwrap();
        nix::sys::socket::send(socket.as_raw_fd(), garbage, nix::sys::socket::MsgFlags::empty()).unwrap();
        assert!(wire::reply(&socket).is_err());
    }
    // Connections that say nothing do not keep others out.
    let silent: Vec<OwnedFd> = (0..40).filter_map(|_| super::super::remote::dial(&daemon.socket).ok()).collect();
    assert!(document(&daemon.socket, &wire::Request::Status).is_ok());
    drop(silent);
    still_served(&daemon, client);
}

/// Moves the daemon's thread from the page's bell to a word that nobody rings, as a client can.
#[allow(unsafe_code)]
fn move_sleeper(page: &Mapping<Page>) {
    let page = std::ptr::from_ref::<Page>(page).cast::<u8>();
    // The bell stands behind the head's two cache lines; the last word of the page is a slot's.
    let (bell, elsewhere) = (page.wrapping_add(128), page.wrapping_add(size_of::<Page>() - 8));
    // SAFETY: both addresses lie in the mapped page, and the kernel only uses them as names.
    unsafe { libc::syscall(libc::SYS_futex, bell, libc::FUTEX_REQUEUE, 0, 1000, elsewhere, 0) };
}

#[test]
fn clients_that_move_the_daemons_sleepers_and_hang_up_keep_nobody_out() {
    let mut daemon = start();
    let attackers: Vec<_> = (0..MAX_CLIENTS).map(|_| attack(&daemon)).collect();
    assert!(Remote::open(&daemon.socket, &table(1, 1, LONG)).is_err(), "all places are taken");
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let pages: Vec<&Mapping<Page>> = attackers.iter().map(|(_, _, page)| page).collect();
        scope.spawn(|| {
            let pages = pages;
            while !stop.load(Ordering::Relaxed) {
                pages.iter().for_each(|page| move_sleeper(page));
                std::thread::sleep(Duration::from_micros(200));
            }
        });
        std::thread::sleep(Duration::from_millis(50));
        for (socket, ..) in &attackers {
            nix::sys::socket::shutdown(socket.as_raw_fd(), nix::sys::socket::Shutdown::Both).unwrap();
        }
        // While every one of their threads sleeps where no wake finds it: on the first try, and not after a patience.
        let mut client = Remote::open(&daemon.socket, &table(2, 1, LONG)).unwrap();
        client.tell(What::FrameStart).unwrap();
        daemon.wait_for("an honest client's clock", |writes| writes.last() == Some(&set(2)));
        drop(client);
        // Told to stop it ends, whatever they do.
        drop(daemon.stop.take());
        let thread = daemon.thread.take().unwrap();
        until("the daemon's end", || thread.is_finished());
        thread.join().unwrap().unwrap();
        stop.store(true, Ordering::Relaxed);
    });
    assert_eq!(daemon.writes().last(), Some(&None), "the clock is the stock governor's");
}

/// The service manager, as it is told.
#[derive(Default)]
struct Pings(Arc<std::sync::atomic::AtomicU32>);

impl Manager for Pings {
    fn ready(&mut self) {}
    fn busy(&mut self, _: bool) {}
    fn ping(&mut self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
    fn ping_every(&self) -> Option<Duration> {
        Some(Duration::from_millis(10))
    }
}

#[test]
fn a_driver_that_hangs_is_seen_and_holds_up_one_thread_alone() {
    let pings = Arc::default();
    let mut daemon = start_for(Asked::default(), Pings(Arc::clone(&pings)));
    let mut hung = Remote::open(&daemon.socket, &table(1, 2, LONG)).unwrap();
    hung.tell(What::FrameStart).unwrap();
    hung.tell(block(0)).unwrap();
    daemon.wait_for("the clock", |writes| writes == [set(1)]);
    until("pings", || pings.load(Ordering::Relaxed) > 2);
    daemon.log.2.store(true, Ordering::Relaxed);
    hung.tell(block(1)).unwrap();
    let status = || -> serde_json::Value {
        serde_json::from_slice(&document(&daemon.socket, &wire::Request::Status).unwrap()).unwrap()
    };
    // It answers all the while, serves others, and says what is wrong; the service manager hears nothing.
    let mut other = Remote::open(&daemon.socket, &table(3, 3, LONG)).unwrap();
    other.tell(What::FrameStart).unwrap();
    until("the hang to be reported", || status()["hangs_s"].as_f64().is_some());
    until("the other one's frame", || other.figures().taken == 1);
    let before = pings.load(Ordering::Relaxed);
    for _ in 0..20 {
        assert_eq!(status()["clients"].as_array().map(Vec::len), Some(2));
    }
    assert_eq!(pings.load(Ordering::Relaxed), before, "a ping while nothing gets done");
    // Even so it ends when told, and says why the clock is not handed back.
    drop(daemon.stop.take());
    let thread = daemon.thread.take().unwrap();
    until("the daemon's end", || thread.is_finished());
    assert!(thread.join().unwrap().unwrap_err().to_string().contains("hangs"));
    daemon.log.2.store(false, Ordering::Relaxed);
}

#[test]
fn a_client_cannot_force_more_writes_than_its_user_may_have() {
    let daemon = start();
    // The first block at one clock, the second at another, and back.
    let mut client = Remote::open(&daemon.socket, &table(0, 3, LONG)).unwrap();
    let started = Instant::now();
    for _ in 0..1_500 {
        for what in [What::FrameStart, block(0), block(1), What::FrameEnd] {
            client.tell(what).unwrap();
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    let seconds = started.elapsed().as_secs() as u32 + 1;
    let most = (seconds + 1) * CHANGES_PER_S + 16;
    assert!(daemon.writes().len() as u32 <= most, "{} writes in {seconds} s", daemon.writes().len());
    // The last frame's clock comes all the same.
    daemon.wait_for("the low clock", |writes| writes.last() == Some(&set(0)));
}

/// A flood of connections and of requests: whoever comes is served before it has got a hundred more answers.
#[test]
fn an_honest_client_is_served_in_the_middle_of_a_flood() {
    let daemon = start();
    let (stop, answers) = (AtomicBool::new(false), std::sync::atomic::AtomicU64::new(0));
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let mut held = std::collections::VecDeque::new();
                while !stop.load(Ordering::Relaxed) {
                    held.extend(super::super::remote::dial(&daemon.socket));
                    held.truncate(32);
                }
            });
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    // It may be cut off by its own other connections.
                    let answered = document(&daemon.socket, &wire::Request::Status);
                    answers.fetch_add(u64::from(answered.is_ok()), Ordering::Relaxed);
                }
            });
        }
        until("the flood", || answers.load(Ordering::Relaxed) > 20);
        for round in 0..20 {
            let before = answers.load(Ordering::Relaxed);
            // Of the same user as the flood here, whose oldest silent connection may have to go: it is asked again.
            let client = (0..50).find_map(|_| Remote::open(&daemon.socket, &table(1, 1, LONG)).ok());
            assert!(client.is_some(), "round {round}");
            let later = answers.load(Ordering::Relaxed) - before;
            assert!(later < 100, "round {round}: {later} answers of the flood came first");
        }
        stop.store(true, Ordering::Relaxed);
    });
}

#[test]
fn energy_is_told_as_long_as_someone_is_there_who_asked() {
    let reads = Arc::<AtomicU64>::default();
    let counted = Arc::clone(&reads);
    let open = move || -> energy::Read {
        let counted = Arc::clone(&counted);
        Box::new(move || {
            let read = counted.fetch_add(1, Ordering::Relaxed) + 1;
            Some((Microjoules::from_joules_f64(read as f64), Nanos::from_millis(1000 * read)))
        })
    };
    let rails = Source { of: PowerOf::Gpu, open: Box::new(open) };
    let mut running = start_on(Asked::default(), Unmanaged, Some(rails));
    let asks = super::super::remote::dial(&running.socket).unwrap();
    let ask = |kind: &Request| {
        wire::ask(&asks, kind).unwrap();
        let reply = wire::reply(&asks).unwrap();
        assert_eq!(reply.errno, 0);
        serde_json::from_slice::<serde_json::Value>(&reply.payload).unwrap()
    };
    assert_eq!(ask(&Request::Energy)["of"], "gpu");
    until("a reading", || ask(&Request::Energy)["covered_s"].as_f64().unwrap() >= 2.0);
    let told = ask(&Request::Energy);
    assert_eq!(told["energy_j"], told["covered_s"]);
    // Whoever measures has a connection like any other.
    assert_eq!(ask(&Request::Status)["clients"].as_array().unwrap().len(), 0);
    drop(asks);
    until("an end of the readings", || {
        let before = reads.load(Ordering::Relaxed);
        std::thread::sleep(Duration::from_millis(50));
        reads.load(Ordering::Relaxed) == before
    });
    running.stop();
    let mut without = start();
    let refused = document(&without.socket, &Request::Energy).unwrap_err();
    assert_eq!(refused.kind(), io::ErrorKind::Unsupported);
    without.stop();
}
