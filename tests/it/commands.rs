//! Every write of every command that writes, on every recorded board, in order, restore included; and what is left
//! where another program acts in the middle of one.

use std::convert::Infallible;
use std::fmt::Write as _;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use clap::Parser;
use jetpace::args::{Cli, Command};
use jetpace::calibrate::{EmcAsk, Settings, Subject};
use jetpace::commands::restore;
use jetpace::dry_run::DryRun;
use jetpace::runtime::access::Access;
use jetpace::runtime::control::{Desk, Schedule};
use jetpace::runtime::daemon::{Daemon, EVENTS_PER_S, Options, Unmanaged};
use jetpace::runtime::listen::Listener;
use jetpace::runtime::open;
use jetpace::runtime::page::What;
use jetpace::runtime::remote::Remote;
use jetpace::runtime::writer::Asked;
use jetpace::session::frames::{Course, Pace, Starts};
use jetpace::session::meter::RailMeter;
use jetpace::session::{Drive, Machine};
use jetpace::signals::Stop;
use jetpace_devfreq::board::Board;
use jetpace_devfreq::gpu::{GpuNode, Way};
use jetpace_devfreq::guard::Guard;
use jetpace_devfreq::rails::Rails;
use jetpace_devfreq::sim::tree::{Tree, TreeTimer};
use jetpace_tables::hw::{BlockRunner, GpuClock, Timer};
use jetpace_tables::table::{Table, TableClock};
use jetpace_tables::units::Nanos;
use jetpace_tables::work::{BlockId, ClockIndex, Size};

use crate::boards::{lines, recorded, tree};

/// Two blocks of 10 ms each, on a board whose files stand still but for the kernel's rules.
struct Blocks(TreeTimer);

const BLOCKS: [&str; 2] = ["long", "short"];
const BLOCK: Nanos = Nanos::from_millis(10);

impl BlockRunner for Blocks {
    type Error = Infallible;

    fn blocks(&self) -> usize {
        BLOCKS.len()
    }

    fn name(&self, block: BlockId) -> &str {
        BLOCKS[block.index()]
    }

    fn run(
        &mut self,
        _: BlockId,
        _: Size,
        times: &mut [Nanos],
        meanwhile: &mut impl FnMut(Nanos) -> Option<Nanos>,
    ) -> Result<(), Infallible> {
        let mut due = meanwhile(self.0.now());
        for time in times {
            let end = self.0.now().saturating_add(BLOCK);
            while let Some(at) = due.filter(|at| *at < end) {
                self.0.sleep_until(at);
                due = meanwhile(self.0.now());
            }
            self.0.sleep_until(end);
            *time = BLOCK;
        }
        Ok(())
    }
}

/// A table that runs the first block at the cap and the second one at the lowest clock.
pub fn table(tree: &Tree) -> Table {
    table_at(tree, Nanos::from_millis(100))
}

fn table_at(tree: &Tree, period: Nanos) -> Table {
    let board = Board::discover(tree).unwrap();
    let top = board.gpu.clocks.iter().rposition(|clock| *clock <= board.gpu.cap).unwrap();
    let clock =
        |index: usize| TableClock { index: ClockIndex(index as u8), clock: board.gpu.clocks[index], relative_time: 1 };
    let digest = board.digest();
    let byte = |at: usize| u8::from_str_radix(&digest[2 * at..2 * at + 2], 16).unwrap();
    let wanted = [(BLOCKS[0], ClockIndex(top as u8)), (BLOCKS[1], ClockIndex(0))];
    Table::plain(std::array::from_fn(byte), &[clock(0), clock(top)], &wanted, (period, period), Nanos::ZERO).unwrap()
}

fn command(line: &[&str]) -> Command {
    Cli::try_parse_from(["jetpace"].iter().chain(line)).unwrap().command
}

pub type Ran = Result<(), Box<dyn std::error::Error>>;

pub fn probe(tree: &Tree) -> Ran {
    let Command::Probe(args) = command(&["probe", "--test-write"]) else { panic!() };
    args.look(tree, tree.timer())?;
    Ok(())
}

pub fn hold(tree: &Tree) -> Ran {
    hold_for(tree, &["true"])
}

pub fn hold_for(tree: &Tree, what: &[&str]) -> Ran {
    let clock = Board::discover(tree)?.gpu.clocks[1].to_string().replace(' ', "");
    let line = [&["hold", "--clock", &clock, "--"], what].concat();
    let Command::Hold(args) = command(&line) else { panic!() };
    Ok(args.hold(tree.clone(), tree.timer(), &Stop::never())?)
}

pub fn calibrate(tree: &Tree) -> Ran {
    calibrate_at(tree, EmcAsk::Free, false)
}

/// At every EMC clock that the board lists, or at its highest.
fn calibrate_with_emc(tree: &Tree) -> Ran {
    let emc = Board::discover(tree)?.emc.ok_or("no EMC clock")?;
    let asked = match emc.clocks.is_empty() {
        true => EmcAsk::One(emc.cap.ok_or("no EMC cap")?),
        false => EmcAsk::All,
    };
    calibrate_at(tree, asked, true)
}

fn calibrate_at(tree: &Tree, emc: EmcAsk, fast_rails: bool) -> Ran {
    let folder = tempfile::tempdir()?;
    let subject = Subject {
        nodes: tree.clone(),
        board: Board::discover(tree)?,
        network: Blocks(tree.timer()),
        probe: Blocks(tree.timer()),
        timer: tree.timer(),
        device: "recorded".to_owned(),
        model: "blocks".to_owned(),
        evidence: "virtual",
    };
    let usual = Settings { emc, fast_rails, ..subject.settings() };
    let settings = Settings { frames: 1, passes: 1, changes: 0, spacing: Nanos::ZERO, ..usual };
    subject.calibrate(&folder.path().join("sweep.csv"), &settings, &Stop::never(), &mut |_| {})?;
    Ok(())
}

fn machine(tree: &Tree) -> Machine<Tree, Blocks, TreeTimer, RailMeter<Rails<Tree, TreeTimer>>> {
    let board = Board::discover(tree).unwrap();
    let meter = RailMeter::new(Rails::new(tree.clone(), tree.timer(), board.rails.clone()));
    let (nodes, runner, timer) = (tree.clone(), Blocks(tree.timer()), tree.timer());
    Machine { nodes, board: Some(board), runner, timer, meter }
}

/// Two frames at the table's pace.
fn course<'a>(table: &Table, stop: &'a Stop) -> Course<'a> {
    let pace = Pace { deadline: table.deadline(), period: table.period() };
    Course { frames: 2, pace, starts: Starts::Timer, sizes: &[], stop }
}

pub fn run(tree: &Tree) -> Ran {
    let table = table(tree);
    machine(tree).run(Drive::Table(&table), course(&table, &Stop::never()), |_| Ok(()))?;
    Ok(())
}

/// One frame of one client, which waits for every write: a later wish may take an earlier one's place.
fn serve(tree: &Tree) -> Ran {
    serving(tree, |mut client, desk| {
        let wait = |wanted: Option<ClockIndex>| until(|| desk.written.clock() == wanted);
        let clocks = client.table().clocks().to_vec();
        let (low, top) = (Some(clocks[0].index), clocks.last().map(|clock| clock.index));
        client.tell(What::FrameStart)?;
        client.tell(What::BlockStart(BlockId(0), Size::default()))?;
        wait(top);
        client.tell(What::BlockStart(BlockId(1), Size::default()))?;
        wait(low);
        client.tell(What::FrameEnd)?;
        wait(top);
        Ok(())
    })
}

pub fn until(done: impl Fn() -> bool) {
    let patience = Instant::now() + Duration::from_secs(60);
    while !done() {
        assert!(Instant::now() < patience, "it did not come about");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// A daemon on the board while a client of its has something to do; when that has gone, so does the daemon.
pub fn serving(tree: &Tree, client: impl FnOnce(Remote, &Desk) -> Ran) -> Ran {
    // On a busy machine no thread of the test may seem to hang, which takes three periods.
    let (folder, table) = (tempfile::tempdir()?, table_at(tree, Nanos::from_millis(10_000)));
    let (clock, _) = open::take(tree.clone(), tree.timer(), None)?;
    let options = Options {
        access: Access::new(None),
        table: Some(Box::new(table)),
        events_per_s: EVENTS_PER_S,
        changes_per_s: u32::MAX,
        writer: Asked::default(),
        schedule: Schedule::default(),
    };
    let socket = folder.path().join("jetpace.sock");
    let daemon = Daemon::new(clock, Listener::open(&socket, None)?, options)?;
    let desk = daemon.desk();
    let (stop, told) = UnixStream::pair()?;
    let thread = std::thread::spawn(move || daemon.run(told.as_fd(), &mut Unmanaged));
    client(Remote::open(&socket, &[])?, &desk)?;
    until(|| desk.written.clock().is_none());
    drop(stop);
    thread.join().map_err(|_| "the daemon panicked")??;
    Ok(())
}

/// Holds a clock and is killed.
fn killed(tree: &Tree) -> Tree {
    let board = Board::discover(tree).unwrap();
    let (guard, _) = Guard::take(tree.clone()).unwrap();
    let mut gpu = GpuNode::open(tree.clone(), tree.timer(), &board, &guard, None).unwrap();
    gpu.set(ClockIndex(1)).unwrap();
    let next = tree.kill();
    drop((gpu, guard));
    next.clear_log();
    next
}

/// The writes of a command on every board; it leaves none changed.
fn writes(command: impl Fn(&Tree) -> Ran) -> String {
    let mut text = String::new();
    for (name, _) in recorded() {
        let tree = tree(&name);
        let (before, board) = (tree.settings(), Board::discover(&tree).unwrap());
        writeln!(text, "== {name}").unwrap();
        if let Err(e) = command(&tree) {
            writeln!(text, "{e}").unwrap();
        }
        text += &lines(&tree.log(), &board);
        assert_eq!(tree.settings(), before, "{name}: not as before");
    }
    text
}

#[test]
fn probe_writes() {
    insta::assert_snapshot!(writes(probe));
}

#[test]
fn hold_writes() {
    insta::assert_snapshot!(writes(hold));
}

#[test]
fn calibrate_writes() {
    insta::assert_snapshot!(writes(calibrate));
}

#[test]
fn calibrate_writes_with_the_memory_locked_and_rails_made_faster() {
    insta::assert_snapshot!(writes(calibrate_with_emc));
}

#[test]
fn run_writes() {
    insta::assert_snapshot!(writes(run));
}

#[test]
fn serve_writes() {
    insta::assert_snapshot!(writes(serve));
}

#[test]
fn restore_writes() {
    insta::assert_snapshot!(writes(|tree| Ok(restore::restore(&killed(tree))?)));
}

#[test]
fn a_dry_run_of_restore_says_what_restore_writes() {
    for (name, _) in recorded() {
        let next = killed(&tree(&name));
        let before = next.settings();
        let said = restore::dry_run(&DryRun::real(next.clone())).unwrap();
        assert_eq!((next.log(), next.settings()), (Vec::new(), before), "{name}: it wrote");
        restore::restore(&next).unwrap();
        let log = next.log();
        let wrote: Vec<String> =
            log.iter().map(|entry| format!("{} <- {}", entry.path.display(), entry.text)).collect();
        let said: Vec<&str> = said.lines().filter(|line| !line.starts_with('#')).collect();
        assert!(!wrote.is_empty(), "{name}");
        assert_eq!(canonical(&next, &said), wrote, "{name}");
        assert_eq!(restore::dry_run(&DryRun::real(next)).unwrap(), "# nothing to put back\n", "{name}");
    }
}

/// The log names nodes behind all links.
fn canonical(tree: &Tree, said: &[&str]) -> Vec<String> {
    use jetpace_devfreq::nodes::Nodes;
    let line = |line: &&str| {
        let (path, value) = line.split_once(" <- ").unwrap();
        format!("{} <- {value}", tree.canonical(Path::new(path)).unwrap().display())
    };
    said.iter().map(line).collect()
}

#[test]
fn a_dry_run_of_run_says_what_run_writes() {
    for (name, _) in recorded() {
        let (dry, real) = (tree(&name), tree(&name));
        let (table, before) = (table(&dry), dry.settings());
        let said = machine(&dry).dry_run(Drive::Table(&table), course(&table, &Stop::never())).unwrap();
        assert_eq!((dry.log(), dry.settings()), (Vec::new(), before), "{name}: it wrote");
        run(&real).unwrap();
        // A dry run takes every way to work, so it may settle on a cheaper one: from there on both do the same.
        let frames = said.lines().filter(|line| *line == "# frame 2 has ended").count();
        assert_eq!(frames, 1, "{name}: {said}");
        let way = GpuNode::open(
            real.clone(),
            real.timer(),
            &Board::discover(&real).unwrap(),
            &Guard::take(real.clone()).unwrap().0,
            None,
        )
        .unwrap()
        .way();
        if way == Way::Userspace {
            let said: Vec<&str> = said.lines().filter(|line| !line.starts_with('#')).collect();
            let log = real.log();
            let wrote: Vec<&str> = log.iter().take(said.len()).map(|entry| entry.text.as_str()).collect();
            let values: Vec<&str> = said.iter().map(|line| line.split_once(" <- ").unwrap().1).collect();
            assert_eq!(values, wrote, "{name}");
        }
        assert!(
            machine(&dry).dry_run(Drive::Stock, course(&table, &Stop::never())).unwrap().starts_with("# the stock")
        );
    }
}
