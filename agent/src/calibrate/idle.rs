//! Power of a GPU that has nothing to do: awake, as between the frames of a plan, and railgated.

use jetpace_tables::hw::{BlockRunner, PowerRails, Timer};
use jetpace_tables::sample::{Kind, RAILGATED, Row};
use jetpace_tables::units::Nanos;
use jetpace_tables::work::{BlockId, ClockIndex, Size};

use super::power::Mean;
use super::{Bench, Book, Calibration, Settings, Surroundings};
use crate::failure::Failure;

/// The GPU is railgated after 500 ms without work; a short block before that keeps it awake.
const NUDGE_EVERY: Nanos = Nanos::from_millis(400);
/// By then it is railgated, if it ever is.
const GATED_AFTER: Nanos = Nanos::from_millis(700);

impl<B: Bench> Calibration<B> {
    /// Two rows: awake, and railgated.
    pub(super) fn idle(
        &mut self,
        settings: &Settings,
        pass: u32,
        clock: ClockIndex,
        book: &mut Book<'_>,
    ) -> Result<(), Failure> {
        let gpu_freq = Some(self.hz(clock));
        let awake = Row { repeat: pass, gpu_freq, ..book.row(Kind::Idle) };
        let gated = Row { block: RAILGATED.to_owned(), ..awake.clone() };
        if self.rails.rails().next().is_none() || (book.has(&awake) && book.has(&gated)) {
            return Ok(());
        }
        self.go_on()?;
        self.hold(clock)?;
        let pace = settings.power;
        if !book.has(&awake) {
            self.nudge()?;
            let mean = self.read_idle(settings, true)?;
            let row = self.idle_row(awake, &mean);
            book.expect_no_emc();
            let rejected = self.spoilt(clock, book)?;
            book.add(&Row { rejected, ..row })?;
        }
        if !book.has(&gated) {
            self.wait(GATED_AFTER.saturating_add(pace.settle));
            let mean = self.read_idle(settings, false)?;
            book.add(&self.idle_row(gated, &mean))?;
        }
        Ok(())
    }

    /// Reads the rails over the window, behind the time that they remember.
    fn read_idle(&mut self, settings: &Settings, awake: bool) -> Result<Mean, Failure> {
        let pace = settings.power;
        let mut mean = Mean::new(&self.rails);
        let from = self.timer.now().saturating_add(pace.settle);
        let until = from.saturating_add(pace.window);
        let mut nudged = self.timer.now();
        loop {
            let now = self.timer.now();
            if now >= until {
                return Ok(mean);
            }
            if now >= from {
                mean.read(&mut self.rails)?;
            }
            if awake && now.saturating_sub(nudged) >= NUDGE_EVERY {
                nudged = now;
                self.nudge()?;
            }
            self.wait(pace.every);
        }
    }

    /// A little work: the last block of the probe network, as an image network's is small.
    pub(super) fn nudge(&mut self) -> Result<(), Failure> {
        let last = BlockId(self.probe.blocks().saturating_sub(1) as u16);
        self.probe.run(last, Size::default(), &mut [Nanos::ZERO], &mut |_| None).map_err(Failure::of)
    }

    fn idle_row(&mut self, row: Row, mean: &Mean) -> Row {
        let temp = self.surroundings.temperature();
        Row { power: mean.total(&self.rails), rails: mean.rails(&self.rails), temp, ..row }
    }
}
