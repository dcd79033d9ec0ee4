//! `calibrate --cmd` and `--attach`: a program of one's own, measured by the blocks that it tells libjetpace.

use std::ops::Range;
use std::path::Path;
use std::thread;
use std::time::Duration;

use jetpace_devfreq::board::Board;
use jetpace_devfreq::gpu::GpuNode;
use jetpace_devfreq::guard::{self, Guard};
use jetpace_devfreq::timer::Monotonic;
use jetpace_tables::fit::spread;
use jetpace_tables::hw::{BlockRunner, GpuClock, Timer};
use jetpace_tables::sample::{Kind, Row};
use jetpace_tables::units::{Hertz, Nanos};
use jetpace_tables::work::{BlockId, ClockIndex, Size};

use super::program::Options;
use super::{Args, OWN_FRAMES, Work};
use crate::args::BoardArg;
use crate::calibrate::own::{self, Own, Program, Waits};
use crate::calibrate::{Settings, Subject, measured};
use crate::dry_run::ThisMachine;
use crate::failure::{Failure, Reason};
use crate::files::sweep;
use crate::runtime::wire;
use crate::signals::Stop;

/// Clocks that are measured where none are named.
const CLOCKS: usize = 6;
/// How often every clock is visited.
const PASSES: u32 = 2;
/// How often every change of the clock is made.
const CHANGES: u32 = 5;
/// Frames at the lowest and at the highest clock by which it is seen whether the program waits for its GPU: at least, at most,
/// and no more once they have run for so long. Twice at each clock: a machine is busy in spells.
const LOOKS: Range<usize> = 4..20;
const LOOK_FOR: Nanos = Nanos::from_millis(500);
const TIMES: usize = 2;
/// Until a clock runs.
const SETTLED: Duration = Duration::from_millis(60);
/// A program on this machine, or on a live board.
type OnMachine = Subject<ThisMachine, Program, Program, Monotonic>;

/// Does something with the program that the options name, at blocks' boundaries of its own.
///
/// # Errors
/// Where the program cannot be measured or the clock not be held, and what the work says.
pub fn with_subject<W: Work>(args: &Args, own: &Options, work: W) -> Result<W::Done, Failure> {
    let on = &args.board;
    let machine = on.on_disk()?;
    let nodes = machine.nodes();
    let board = Board::discover(&nodes)?;
    let sizes: Vec<Size> = args.sizes.iter().map(|size| Size(*size)).collect();
    crate::session::sizes::ascending(sizes.iter().copied())?;
    let clocks = chosen(&board, own, if args.deadline.is_wanted() { usize::MAX } else { CLOCKS })?;
    let constants = own.constants.as_deref().map(|from| constants(from, &board)).transpose()?;
    let stop = Stop::install()?;
    guard::restore_on_panic(nodes.clone());
    let timer = Monotonic::new();
    let socket = own.socket(on);
    let mut environment = on.environment();
    environment.push((wire::SOCKET_VARIABLE, socket.clone()));
    environment.push((wire::SWEEP_VARIABLE, "1".into()));
    let ranges = own.ranges()?;
    let nvtx = ranges.is_some();
    environment.extend(ranges.into_iter().flatten());
    let options = own::Options {
        socket,
        command: own.command().map(str::to_owned),
        environment,
        blocks: own.blocks(),
        nvtx,
        sizes: sizes.clone(),
        patience: own.patience,
        stop: stop.clone(),
    };
    let met = Own::meet(options, &timer);
    if met.is_err() {
        stop.die();
    }
    let met = met?;
    let usual = usual(args, &board, &met, (clocks, sizes, constants));
    let (network, probe) = met.runners();
    let mut subject = Subject {
        device: board.identity.model.clone().unwrap_or_else(|| "jetson".to_owned()),
        nodes,
        board,
        network,
        probe,
        timer,
        model: own.model.clone(),
        evidence: if *on == BoardArg::Auto { "jetson" } else { "virtual" },
    };
    let done = see_that_it_waits(&mut subject, &usual).and_then(|()| work.on(subject, usual));
    stop.die();
    done
}

/// The clocks that are asked for, else so many of those that are measured on the board.
fn chosen(board: &Board, own: &Options, usual: usize) -> Result<Vec<ClockIndex>, Failure> {
    let asked = own.listed(board)?;
    let all = measured(board);
    Ok(if asked.is_empty() { spread(&all, usual) } else { all.into_iter().filter(|at| asked.contains(at)).collect() })
}

/// As much as is measured of a program unless other is asked for.
fn usual(
    args: &Args,
    board: &Board,
    met: &Own,
    (clocks, sizes, constants): (Vec<ClockIndex>, Vec<Size>, Option<Vec<Row>>),
) -> Settings {
    let usual = Settings::usual(jetpace_devfreq::rails::PowerPace::of(&board.rails));
    let changes = if met.repeats() && constants.is_none() { CHANGES } else { 0 };
    if args.changes.unwrap_or(changes) == 0 && constants.is_none() {
        log::warn!(
            "how long a change of the clock takes is not measured{}: plan with --settle and --stall, or name a sweep of \
             this board that has it by --board-constants",
            if met.repeats() { "" } else { " by a program that does not repeat its blocks (jetpace_block_again)" }
        );
    }
    let own_size = (met.size() != Size::default()).then(|| met.size());
    Settings {
        frames: OWN_FRAMES * clocks.len() as u32,
        spacing: Nanos::ZERO,
        passes: PASSES,
        changes,
        sizes: if sizes.is_empty() { own_size.into_iter().collect() } else { sizes },
        clocks,
        constants: constants.unwrap_or_default(),
        ..usual
    }
}

/// What a program consists of, and how much of it is measured; for a deadline that shows on the way.
pub fn consists_of(program: &impl BlockRunner, settings: &Settings, for_deadline: bool) -> String {
    let names: Vec<&str> = (0..program.blocks()).map(|block| program.name(BlockId(block as u16))).collect();
    let blocks = if names.len() == 1 { "block" } else { "blocks" };
    let clocks = if for_deadline { String::new() } else { format!("; {} clocks", settings.clocks.len()) };
    format!("{} {blocks}: {}{clocks}", names.len(), names.join(", "))
}

/// Rows of an earlier sweep that are the board's, not the program's.
fn constants(path: &Path, board: &Board) -> Result<Vec<Row>, Failure> {
    let sweep = sweep::read(path)?;
    let calibration = |why: &str| Failure::new(Reason::Calibration, format_args!("{}: {why}", path.display()));
    if sweep.board.as_deref() != Some(&*board.digest()) {
        return Err(calibration("a sweep of another board, power mode or release, which tells nothing of this one"));
    }
    let kinds = [Kind::Settle, Kind::Stall, Kind::Write, Kind::Idle];
    let rows: Vec<Row> = sweep.rows.into_iter().filter(|row| kinds.contains(&row.kind)).collect();
    match rows.iter().any(|row| row.kind == Kind::Settle && row.rejected.is_empty()) {
        true => Ok(rows),
        false => Err(calibration("no change of the clock was measured in it: calibrate with --changes")),
    }
}

/// Runs some frames at the lowest and at the highest clock: a program that does not wait for its GPU shows there.
fn see_that_it_waits(subject: &mut OnMachine, usual: &Settings) -> Result<(), Failure> {
    let (Some(&low), Some(&high)) = (usual.clocks.first(), usual.clocks.last()) else { return Ok(()) };
    let (guard, _) = Guard::take(subject.nodes.clone())?;
    let mut gpu = GpuNode::open(subject.nodes.clone(), subject.timer, &subject.board, &guard, None)?;
    let size = usual.sizes.last().copied().unwrap_or_default();
    let blocks = subject.network.blocks();
    let mut at = |clock: ClockIndex, least: &mut [f64]| -> Result<Hertz, Failure> {
        let runs = gpu.pin(clock)?;
        thread::sleep(SETTLED);
        let until = subject.timer.now().saturating_add(LOOK_FOR);
        for look in 0..LOOKS.end {
            if look >= LOOKS.start && subject.timer.now() > until {
                break;
            }
            for (block, least) in least.iter_mut().enumerate() {
                let mut time = [Nanos::ZERO];
                subject.network.run(BlockId(block as u16), size, &mut time, &mut |_| None)?;
                *least = least.min(time[0].as_secs_f64());
            }
        }
        Ok(runs)
    };
    let mut slow = vec![f64::INFINITY; blocks];
    let mut fast = slow.clone();
    let mut seen: Result<_, Failure> = Ok((Hertz::default(), Hertz::default()));
    for _ in 0..TIMES {
        seen = seen.and_then(|_| Ok((at(low, &mut slow)?, at(high, &mut fast)?)));
    }
    gpu.release()?;
    drop(gpu);
    guard::log_foreign(&guard.restore()?);
    let (low, high) = seen?;
    if low >= high {
        return Ok(());
    }
    let judged = Waits { slow, fast };
    let named = |blocks: &[usize]| {
        let names: Vec<&str> = blocks.iter().map(|&block| subject.network.name(BlockId(block as u16))).collect();
        (names.join(", "), if names.len() == 1 { "is" } else { "are" })
    };
    let all: Vec<usize> = (0..judged.slow.len()).collect();
    if judged.never(high.get() as f64 / low.get() as f64) {
        let ((names, are), short) = (named(&all), Nanos::from_secs_f64(judged.slow.iter().sum()));
        return Err(waits_not(format_args!("{names} {are} over in {short} at {low}, and at {high} hardly earlier")));
    }
    if let Some(waits) = judged.waits_for_all() {
        let others: Vec<usize> = all.into_iter().filter(|block| *block != waits).collect();
        let ((names, are), (all, _)) = (named(&others), named(&[waits]));
        return Err(waits_not(format_args!(
            "{names} {are} as fast at {low} as at {high}, and all the time is in {all}"
        )));
    }
    let flat = judged.flat();
    if !flat.is_empty() {
        let (names, are) = named(&flat);
        eprintln!(
            "warning: {names} {are} as fast at {low} as at {high}: bound by memory, by the CPU, or not synchronised with \
             the GPU at the end (cudaStreamSynchronize, torch.cuda.synchronize)"
        );
    }
    Ok(())
}

fn waits_not(seen: std::fmt::Arguments<'_>) -> Failure {
    Failure::new(
        Reason::Calibration,
        format_args!(
            "{seen}: the program does not wait for its GPU between blocks. Synchronise before each block's start and before \
             the frame's end (cudaStreamSynchronize, torch.cuda.synchronize), or record CUDA events there and tell their \
             times at the frame's end (jetpace_block_took). A block that really is so short is better told as a part of its \
             neighbour"
        ),
    )
}
