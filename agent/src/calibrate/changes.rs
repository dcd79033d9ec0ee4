//! What a change of the clock takes, seen in the times of a short block around the write.

use jetpace_tables::hw::{BlockRunner, GpuClock, Timer};
use jetpace_tables::sample::{Kind, Row};
use jetpace_tables::units::Nanos;
use jetpace_tables::work::{BlockId, ClockIndex, Size};

use super::locate::{Seen, Trial, locate};
use super::{Bench, Book, Calibration};
use crate::failure::{Failure, Reason};

/// The write comes after so many executions, and so long after the first at least.
const BEFORE: u64 = 10;
const BEFORE_TIME: Nanos = Nanos::from_millis(1);
/// A change is waited for so long at first; where it does not come, twice as long, up to the last.
const WAIT: Nanos = Nanos::from_millis(25);
const LONGEST_WAIT: Nanos = Nanos::from_millis(200);
/// Executions behind the change.
const AFTER: u64 = 12;
/// A disturbed change is made again so often.
const TRIES: usize = 4;

impl<B: Bench> Calibration<B> {
    /// The shortest block of the probe network that shows a change between the lowest and the highest clock.
    pub(super) fn find_probe(&mut self, clocks: &[ClockIndex]) -> Result<BlockId, Failure> {
        let (Some(&low), Some(&high)) = (clocks.first(), clocks.last()) else {
            return Err(Failure::failed("there are no clocks"));
        };
        self.hold(high)?;
        let mut blocks = Vec::new();
        for block in (0..self.probe.blocks()).map(|block| BlockId(block as u16)) {
            blocks.push((self.probe_time(block)?, block));
        }
        blocks.sort();
        for (_, block) in blocks {
            if self.try_change(block, low, high)?.1.is_some() && self.try_change(block, high, low)?.1.is_some() {
                return Ok(block);
            }
        }
        Err(Failure::new(
            Reason::Unsupported,
            "no block's time shows a change of the clock, so that settle times cannot be measured: is the clock really held? \
             --board-constants takes them from an earlier sweep of the board, `plan` from --settle and --stall",
        ))
    }

    /// One change: rows of kind settle, stall and write.
    pub(super) fn change(
        &mut self,
        probe: BlockId,
        repeat: u32,
        from: ClockIndex,
        to: ClockIndex,
        book: &mut Book<'_>,
    ) -> Result<(), Failure> {
        self.go_on()?;
        let (mut wrote, mut found) = (Nanos::ZERO, None);
        for _ in 0..TRIES {
            (wrote, found) = self.try_change(probe, from, to)?;
            if found.is_some() {
                break;
            }
        }
        book.expect_no_emc();
        let mut rejected = self.spoilt(to, book)?;
        if found.is_none() && rejected.is_empty() {
            rejected = "no change seen in block times".to_owned();
        }
        let row = |kind| {
            let (from, to) = (Some(self.hz(from)), Some(self.hz(to)));
            Row { repeat, from, to, rejected: rejected.clone(), ..book.row(kind) }
        };
        // A sweep holds no time below a microsecond.
        let time = |seconds: f64| Nanos::from_secs_f64(seconds.max(1e-6));
        // The settle row comes last: by it a sweep that was cut off knows that all three are there.
        let rows = [
            Row { latency: Some(wrote.max(Nanos::from_micros(1))), ..row(Kind::Write) },
            Row { latency: found.map(|trial| time(trial.stall_s)), ..row(Kind::Stall) },
            Row { latency: found.map(|trial| time(trial.settle_s)), ..row(Kind::Settle) },
        ];
        for row in rows {
            if !book.has(&row) {
                book.add(&row)?;
            }
        }
        Ok(())
    }

    /// How long the write took its caller, and what it brought about where that could be seen.
    fn try_change(
        &mut self,
        probe: BlockId,
        from: ClockIndex,
        to: ClockIndex,
    ) -> Result<(Nanos, Option<Trial>), Failure> {
        let mut wait = WAIT;
        loop {
            self.hold(from)?;
            let old = self.probe_time(probe)?.get().max(1);
            let (wrote, seen) = self.record(probe, to, old, wait)?;
            let found = locate(&seen);
            wait = Nanos::new(2 * wait.get());
            if found.is_some() || wait > LONGEST_WAIT {
                return Ok((wrote, found));
            }
        }
    }

    /// Runs the block at the clock that is held, writes another one meanwhile, and runs on.
    fn record(&mut self, probe: BlockId, to: ClockIndex, old: u64, wait: Nanos) -> Result<(Nanos, Seen), Failure> {
        let before = BEFORE.max(BEFORE_TIME.get() / old);
        let count = before + wait.get() / old + AFTER;
        let mut times = vec![Nanos::ZERO; count as usize];
        let (gpu, timer) = (&mut self.gpu, &self.timer);
        let mut started = None;
        let mut written = (Nanos::ZERO, Nanos::ZERO);
        let mut done = None;
        let mut write = |now: Nanos| {
            let write_at = started.get_or_insert(now).saturating_add(Nanos::new(before * old));
            if now < write_at {
                return Some(write_at);
            }
            done = Some(gpu.set(to));
            written = (now, timer.now());
            None
        };
        self.probe.run(probe, Size::default(), &mut times, &mut write).map_err(Failure::of)?;
        done.unwrap_or(Ok(())).map_err(Failure::failed)?;
        let start = started.unwrap_or(written.0);
        let seen = Seen {
            start_s: 0.0,
            written_s: written.0.saturating_sub(start).as_secs_f64(),
            durations_s: times.into_iter().map(Nanos::as_secs_f64).collect(),
        };
        Ok((written.1.saturating_sub(written.0), seen))
    }

    /// The block's time at the clock that runs: the median of a few.
    fn probe_time(&mut self, block: BlockId) -> Result<Nanos, Failure> {
        let mut times = [Nanos::ZERO; 7];
        self.probe.run(block, Size::default(), &mut times, &mut |_| None).map_err(Failure::of)?;
        times.sort();
        Ok(times[3])
    }
}
