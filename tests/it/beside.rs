//! Commands beside nvpmodel, jetson_clocks and jtop at the worst moments: what the other one set is left to it and
//! reported, and everything else put back.

use std::cell::RefCell;
use std::fmt::Write as _;
use std::path::Path;
use std::sync::Once;

use jetpace::runtime::page::What;
use jetpace::runtime::remote::Remote;
use jetpace_devfreq::board::Board;
use jetpace_devfreq::guard;
use jetpace_devfreq::sim::tree::{Outside, Tree};
use jetpace_tables::units::Hertz;
use jetpace_tables::work::{BlockId, Size};

use crate::boards::{lines, tree};
use crate::commands::{Ran, calibrate, hold, hold_for, probe, run, serving, until};
use crate::rivals::{BOARDS, jetson_clocks, jtop, nvpmodel, read};

const RIVALS: [&str; 3] = ["nvpmodel", "jetson_clocks", "jtop"];

fn act(rival: &str, outside: &mut Outside<'_>, board: &Board, cap: Hertz) {
    match rival {
        "nvpmodel" => nvpmodel(outside, board, cap),
        "jetson_clocks" => jetson_clocks(outside, board),
        _ => jtop(outside, board),
    }
}

#[test]
fn another_program_in_the_middle_of_a_command_keeps_what_it_set() {
    for name in BOARDS {
        for (what, command) in
            [("run", run as fn(&Tree) -> Ran), ("probe", probe), ("hold", hold), ("calibrate", calibrate)]
        {
            let fresh = tree(name);
            let board = Board::discover(&fresh).unwrap();
            let (lowest, bound) = (board.gpu.clocks[0].get(), read(&fresh, &board.gpu.node("max_freq")));
            let cap = board.gpu.clocks[2];
            for rival in RIVALS {
                for moment in 0.. {
                    let (tree, there) = (fresh.copy(), board.clone());
                    tree.before_write(moment, move |outside| act(rival, outside, &there, cap));
                    // A way that was switched away while it was tried is an error, and everything is put back.
                    drop(command(&tree));
                    if tree.log().iter().all(|entry| entry.who == "jetpace") {
                        // The command has fewer writes.
                        assert!(moment > 5, "{what} on {name}");
                        break;
                    }
                    guard::restore(&tree).unwrap();
                    let context =
                        format!("{what} on {name} beside {rival} at {moment}\n{}", lines(&tree.log(), &board));
                    let wanted = if rival == "nvpmodel" { cap.get().to_string() } else { bound.clone() };
                    assert_eq!(read(&tree, &board.gpu.node("max_freq")), wanted, "{context}");
                    assert_eq!(read(&tree, &board.gpu.node("governor")), board.gpu.governor, "{context}");
                    if rival != "jetson_clocks" {
                        assert_eq!(read(&tree, &board.gpu.node("min_freq")), lowest.to_string(), "{context}");
                    }
                }
            }
        }
    }
}

thread_local! {
    static REPORTED: RefCell<String> = const { RefCell::new(String::new()) };
}

/// Keeps what each thread reports.
struct Reports;

impl log::Log for Reports {
    fn enabled(&self, metadata: &log::Metadata<'_>) -> bool {
        metadata.level() <= log::Level::Warn
    }

    fn log(&self, record: &log::Record<'_>) {
        if self.enabled(record.metadata()) {
            // A thread that is ending reports to nobody.
            let _ = REPORTED.try_with(|text| writeln!(text.borrow_mut(), "{}", record.args()));
        }
    }

    fn flush(&self) {}
}

/// What this thread has reported since it was asked before.
pub fn reported() -> String {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        log::set_logger(&Reports).unwrap();
        log::set_max_level(log::LevelFilter::Warn);
    });
    REPORTED.with(RefCell::take)
}

/// The nodes of the GPU as they are left.
fn left(tree: &Tree, board: &Board) -> String {
    let node = |name: &str| format!("{name} {}", read(tree, &board.gpu.node(name)));
    ["governor", "min_freq", "max_freq"].map(node).join(", ")
}

/// Every rival right before the write in the middle of a command, and right before its last, which puts back.
fn beside(command: impl Fn(&Tree) -> Ran) -> String {
    let mut text = String::new();
    for name in ["tx2-r32.7", "orin-nano-8gb-super-r36.4"] {
        let fresh = tree(name);
        let board = Board::discover(&fresh).unwrap();
        let alone = fresh.copy();
        command(&alone).unwrap();
        writeln!(text, "== {name}, alone: {}", left(&alone, &board)).unwrap();
        for rival in RIVALS {
            let writes = alone.log().len();
            for moment in [writes / 2, writes - 1] {
                let (tree, there, cap) = (fresh.copy(), board.clone(), board.gpu.clocks[2]);
                tree.before_write(moment, move |outside| act(rival, outside, &there, cap));
                reported();
                let ended = command(&tree);
                writeln!(text, "-- {rival} before write {moment} of {writes}").unwrap();
                text += &lines(&tree.log(), &board);
                if let Err(e) = ended {
                    writeln!(text, "ends with: {e}").unwrap();
                }
                writeln!(text, "left: {}", left(&tree, &board)).unwrap();
                text += &reported().lines().map(|line| format!("reported: {line}\n")).collect::<String>();
                assert!(tree.log().iter().any(|entry| entry.who == rival), "{rival} did not act");
                assert!(read(&tree, Path::new("/run/jetpace/state.json")).is_empty(), "a state file is left");
            }
        }
    }
    text
}

#[test]
fn hold_beside_others() {
    // Long enough that the loop looks around before the command ends.
    insta::assert_snapshot!(beside(|tree| hold_for(tree, &["sleep", "0.3"])));
}

#[test]
fn calibrate_beside_others() {
    insta::assert_snapshot!(beside(calibrate));
}

fn frame(client: &mut Remote) -> Ran {
    for what in [What::FrameStart, block(0), block(1), What::FrameEnd] {
        client.tell(what)?;
    }
    Ok(())
}

fn block(id: u16) -> What {
    What::BlockStart(BlockId(id), Size::default())
}

/// Its threads look around when they do, so not the writes are compared, but what comes of them: a rival acts between
/// two frames, and more frames run until the daemon has noticed.
#[test]
fn serve_beside_others() {
    let mut text = String::new();
    for name in ["tx2-r32.7", "orin-nano-8gb-super-r36.4"] {
        for rival in RIVALS {
            let tree = tree(name);
            let board = Board::discover(&tree).unwrap();
            let cap = board.gpu.clocks[2];
            writeln!(text, "== {rival} on {name}").unwrap();
            let said = &mut text;
            serving(&tree, |mut client, desk| {
                frame(&mut client)?;
                let top = client.table().clocks().last().map(|clock| clock.index);
                until(|| desk.written.clock() == top);
                let ours = read(&tree, &board.gpu.node("governor"));
                tree.outside(|outside| act(rival, outside, &board, cap));
                match rival {
                    "nvpmodel" => until(|| desk.cap().is_some_and(|cap| cap.index() == 2)),
                    // jtop leaves the stock governor behind: it is taken again.
                    "jtop" => until(|| read(&tree, &board.gpu.node("governor")) == ours),
                    _ => {}
                }
                frame(&mut client)?;
                let figures = client.figures();
                let cap = desk.cap().map(|cap| board.gpu.clocks[cap.index()]);
                let cap = cap.map_or("unknown".to_owned(), |cap| cap.to_string());
                writeln!(said, "cap {cap}, {} faults, state {}", figures.faults, figures.state)?;
                Ok(())
            })
            .unwrap();
            writeln!(text, "left: {}", left(&tree, &board)).unwrap();
        }
    }
    insta::assert_snapshot!(text);
}
