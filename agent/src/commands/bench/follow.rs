//! The runtime within a process.

use std::hint::black_box;
use std::io;

use jetpace_tables::hw::GpuClock;
use jetpace_tables::table::Rung;
use jetpace_tables::units::Hertz;
use jetpace_tables::work::{BlockId, ClockIndex, Size};

use super::clock::{BLOCKS, FileClock, table};
use super::compare::BarePwrite;
use super::measure::{BATCH, BATCHES, FALLING_ASLEEP, Figures, SINGLES, Stopwatch};
use crate::runtime::control::Schedule;
use crate::runtime::follow::Follow;
use crate::runtime::sys;
use crate::runtime::writer::Writer;

/// The table's look-up alone: 16 clocks, all blocks, slacks from none to all.
pub fn lookup(watch: &Stopwatch) -> io::Result<Figures> {
    let clocks: Vec<Hertz> = (1..=16).map(|i| Hertz::from_khz(i * 100_000)).collect();
    let table = table(&clocks, ClockIndex(15))?;
    let deadline = table.deadline().get() as i64;
    Ok(watch.each(|i| {
        let block = BlockId(i as u16 % BLOCKS);
        let slack = deadline - i64::from(i) * 1_000_003;
        black_box(table.look_up(0, black_box(block), black_box(Rung(i as u8 & 15)), black_box(slack)));
    }))
}

/// A block's start at which the clock stays.
pub fn hold(watch: &Stopwatch, clock: FileClock) -> io::Result<Figures> {
    blocks(watch, clock, ClockIndex(0), || Ok(()))
}

/// A block's start at which the clock changes, written inline, and the write alone. A batch of the one and a batch of the
/// other in turn: whatever else the machine does meets both.
pub fn set(watch: &Stopwatch, clock: FileClock, bare: &BarePwrite) -> io::Result<(Figures, Figures)> {
    let mut writes = Vec::with_capacity(BATCHES);
    let set = blocks(watch, clock, ClockIndex(1), || bare.batch(watch).map(|time| writes.push(time)))?;
    Ok((set, Figures::of(writes, BATCH)))
}

fn blocks(
    watch: &Stopwatch,
    clock: FileClock,
    odd: ClockIndex,
    mut between: impl FnMut() -> io::Result<()>,
) -> io::Result<Figures> {
    let table = table(clock.clocks(), odd)?;
    let mut follow = Follow::start(table, clock, Writer::Inline, Schedule::default())?;
    // The first frame takes the clock, through the control thread.
    frame(watch, &mut follow);
    while !follow.desk().is_settled() || follow.desk().cap().is_none() {
        std::thread::yield_now();
    }
    frame(watch, &mut follow);
    let frames = BATCH / u32::from(BLOCKS);
    let mut samples = Vec::with_capacity(BATCHES);
    let mut batches = BATCHES;
    while samples.len() < batches {
        let time = (0..frames).map(|_| frame(watch, &mut follow)).sum::<f64>() / f64::from(BATCH);
        if samples.is_empty() && time > SLOW_NS {
            batches /= 10;
        }
        samples.push(time);
        between()?;
    }
    let figures = Figures::of(samples, BATCH);
    let faults: u64 = follow.governor().counters().faults.iter().sum();
    if faults > 0 {
        return Err(io::Error::other(format!("{faults} faults while measuring")));
    }
    Ok(figures)
}

/// A driver that takes longer is asked less often.
const SLOW_NS: f64 = 3_000.0;

/// The time of a frame's block starts alone.
fn frame(watch: &Stopwatch, follow: &mut Follow<FileClock>) -> f64 {
    follow.frame_start();
    let time = watch.time(|| (0..BLOCKS).for_each(|i| follow.block_start(BlockId(i), Size(1))));
    follow.frame_end();
    time
}

/// A block's start whose write is left to the control thread, which sleeps: the caller's part, and the time until the
/// write came back.
pub fn mailbox(watch: &Stopwatch, clock: FileClock) -> io::Result<(Figures, Figures)> {
    let table = table(clock.clocks(), ClockIndex(1))?;
    let mut follow = Follow::start(table, clock, Writer::Thread, Schedule::default())?;
    let (mut caller, mut written) = (Vec::new(), Vec::new());
    let mut warm = 0;
    while caller.len() < SINGLES {
        follow.frame_start();
        for i in 0..BLOCKS {
            while !follow.desk().is_settled() || !follow.desk().mailbox.is_asleep() {
                std::hint::spin_loop();
            }
            std::thread::sleep(FALLING_ASLEEP);
            let writes = follow.desk().written.writes();
            let start = sys::now();
            follow.block_start(BlockId(i), Size(1));
            let called = watch.since(start);
            let changes = i > 0;
            while changes && follow.desk().written.writes() == writes {
                std::hint::spin_loop();
            }
            warm += 1;
            if changes && warm > BLOCKS {
                caller.push(called);
                written.push(follow.desk().written.at().saturating_sub(start).get() as f64);
            }
        }
        follow.frame_end();
    }
    Ok((Figures::of(caller, 1), Figures::of(written, 1)))
}
