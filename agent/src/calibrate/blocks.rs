//! Times and power of blocks at a clock.

use jetpace_tables::hw::{BlockRunner, PowerRails, Timer};
use jetpace_tables::sample::{Kind, Row};
use jetpace_tables::units::{Microjoules, Milliwatts, Nanos};
use jetpace_tables::work::{BlockId, ClockIndex, Size};

use super::power::Mean;
use super::{Bench, Book, Calibration, Settings, Surroundings};
use crate::failure::Failure;

/// Frames before measuring: caches, page tables and the GPU's own governors are cold.
const WARM_UP_FRAMES: usize = 2;
/// Behind the last reading the block still runs for so long, so that no reading sees its end.
const TAIL: Nanos = Nanos::from_millis(12);
/// Fewer executions are no mean.
const FEWEST: u64 = 3;

/// Power of a GPU at work, from the mean over a time in which it had nothing to do for a while. Where its idle power is not
/// known, the mean.
fn at_work(mean: Milliwatts, idle: Option<Milliwatts>, busy: f64) -> Milliwatts {
    let Some(idle) = idle.filter(|_| busy > 0.0 && busy < 1.0) else { return mean };
    Milliwatts::from_watts_f64((mean.as_watts_f64() - (1.0 - busy) * idle.as_watts_f64()) / busy)
}

impl<B: Bench> Calibration<B> {
    /// Frames of one visit: a row per block, rows of one frame share their `repeat`.
    pub(super) fn frames(
        &mut self,
        settings: &Settings,
        pass: u32,
        clock: ClockIndex,
        clocks: usize,
        book: &mut Book<'_>,
    ) -> Result<(), Failure> {
        let visits = settings.passes.max(1) * clocks.max(1) as u32;
        let count = settings.frames.div_ceil(visits);
        let missing: Vec<u32> = (pass * count..(pass + 1) * count)
            .filter(|&repeat| !book.has(&self.block_row(book, BlockId(0), settings.size(), clock, repeat)))
            .collect();
        if missing.is_empty() {
            return Ok(());
        }
        self.warm_up(clock, settings.size(), book)?;
        for repeat in missing {
            self.go_on()?;
            let start = self.timer.now();
            let times = self.frame(settings.size())?;
            let rejected = self.spoilt(clock, book)?;
            let temp = self.surroundings.temperature();
            for (block, time) in times.into_iter().enumerate() {
                let row = self.block_row(book, BlockId(block as u16), settings.size(), clock, repeat);
                let rejected = rejected.clone();
                book.add(&Row { latency: Some(time), samples: Some(1), temp, rejected, ..row })?;
            }
            self.timer.sleep_until(start.saturating_add(settings.spacing));
        }
        Ok(())
    }

    /// Whole frames of one visit, a row each. A visit that was begun is not begun again: which of its frames are there
    /// makes no difference to a quantile.
    pub(super) fn late(
        &mut self,
        settings: &Settings,
        pass: u32,
        clock: ClockIndex,
        clocks: usize,
        book: &mut Book<'_>,
    ) -> Result<(), Failure> {
        let count = settings.late.div_ceil(settings.passes.max(1) * clocks.max(1) as u32);
        let size = settings.size();
        let row = |book: &Book<'_>, repeat, hz| Row { repeat, size, gpu_freq: Some(hz), ..book.row(Kind::Frame) };
        let (first, hz) = (pass * count, self.hz(clock));
        if book.has(&row(book, first, hz)) {
            return Ok(());
        }
        self.warm_up(clock, settings.size(), book)?;
        // Without a spacing the frames come as they do.
        let longest = match settings.spacing {
            Nanos::ZERO => Nanos::MAX,
            spacing => Nanos::new(2 * u64::from(count) * spacing.get()),
        };
        let until = self.timer.now().saturating_add(longest);
        for repeat in first..first + count {
            self.go_on()?;
            let start = self.timer.now();
            if start > until {
                break;
            }
            let time = self.frame(settings.size())?.into_iter().fold(Nanos::ZERO, Nanos::saturating_add);
            let rejected = self.spoilt(clock, book)?;
            let temp = self.surroundings.temperature();
            book.add(&Row { latency: Some(time), samples: Some(1), temp, rejected, ..row(book, repeat, hz) })?;
            self.timer.sleep_until(start.saturating_add(settings.spacing));
        }
        Ok(())
    }

    /// Every block over and over: one row each with its mean time and power.
    pub(super) fn power(
        &mut self,
        settings: &Settings,
        pass: u32,
        clock: ClockIndex,
        book: &mut Book<'_>,
    ) -> Result<(), Failure> {
        // Behind the frames' repeats, so that no two rows of a block have one key.
        let repeat = settings.frames + settings.passes + pass;
        let blocks = (0..self.network.blocks()).map(|block| BlockId(block as u16));
        // The size of the frames first, so that its rows come first in the sweep.
        let all = blocks.flat_map(|block| settings.sizes().rev().map(move |size| (block, size)));
        let missing: Vec<(BlockId, Size)> =
            all.filter(|&(block, size)| !book.has(&self.block_row(book, block, size, clock, repeat))).collect();
        if missing.is_empty() || self.rails.rails().next().is_none() {
            return Ok(());
        }
        self.hold(clock)?;
        book.set_cpu(self.surroundings.cpu());
        for (block, size) in missing {
            self.go_on()?;
            let row = self.block_row(book, block, size, clock, repeat);
            let row = self.dwell(settings, block, row, book.idle(self.hz(clock)))?;
            book.expect_no_emc();
            let rejected = self.spoilt(clock, book)?;
            book.add(&Row { rejected, temp: self.surroundings.temperature(), ..row })?;
        }
        Ok(())
    }

    fn dwell(&mut self, settings: &Settings, block: BlockId, row: Row, idle: Option<&Row>) -> Result<Row, Failure> {
        let mut once = [Nanos::ZERO];
        self.network.run(block, row.size, &mut once, &mut |_| None).map_err(Failure::of)?;
        let pace = settings.power;
        let span = pace.settle.saturating_add(pace.window).saturating_add(TAIL);
        let apart = self.network.pace(block, once[0]).get().max(1);
        let count = span.get().div_ceil(apart).max(FEWEST);
        let mut times = vec![Nanos::ZERO; count as usize];

        let mut mean = Mean::new(&self.rails);
        let mut failed = Ok(());
        // Long blocks run longer than the window: they are read to their end.
        let length = Nanos::new(count.saturating_mul(apart)).saturating_sub(TAIL);
        let mut started = None;
        let rails = &mut self.rails;
        let mut read = |now: Nanos| {
            let start = *started.get_or_insert(now);
            let (from, last) = (start.saturating_add(pace.settle), start.saturating_add(length));
            if now < from {
                return Some(from);
            }
            if now > last || failed.is_err() {
                return None;
            }
            failed = mean.read(rails);
            Some(now.saturating_add(pace.every))
        };
        self.network.run(block, row.size, &mut times, &mut read).map_err(Failure::of)?;
        failed?;

        let seconds: Vec<f64> = times.iter().map(|time| time.as_secs_f64()).collect();
        let latency_s = seconds.iter().sum::<f64>() / seconds.len() as f64;
        let variance = seconds.iter().map(|s| (s - latency_s).powi(2)).sum::<f64>() / (seconds.len() - 1) as f64;
        let busy = self.network.busy();
        let idle_rail = |name: &str| {
            let rails = idle.iter().flat_map(|row| &row.rails);
            rails.filter(|(of, _)| of == name).map(|(_, power)| *power).next()
        };
        let power = mean.total(&self.rails).map(|power| at_work(power, idle.and_then(|row| row.power), busy));
        let mut rails = mean.rails(&self.rails);
        for (name, power) in &mut rails {
            *power = at_work(*power, idle_rail(name), busy);
        }
        Ok(Row {
            latency: Some(Nanos::from_secs_f64(latency_s)),
            latency_sd: Some(Nanos::from_secs_f64(variance.sqrt())),
            power,
            energy: power.map(|power| Microjoules::from_joules_f64(power.as_watts_f64() * latency_s)),
            samples: Some(seconds.len() as u32),
            rails,
            ..row
        })
    }

    /// Holds a clock and runs the first, cold frames at it.
    pub(super) fn warm_up(&mut self, clock: ClockIndex, size: Size, book: &mut Book<'_>) -> Result<(), Failure> {
        self.hold(clock)?;
        book.set_cpu(self.surroundings.cpu());
        for _ in 0..WARM_UP_FRAMES {
            self.frame(size)?;
        }
        book.expect_no_emc();
        Ok(())
    }

    /// One pass through all blocks.
    fn frame(&mut self, size: Size) -> Result<Vec<Nanos>, Failure> {
        let mut times = Vec::with_capacity(self.network.blocks());
        for block in 0..self.network.blocks() {
            let mut time = [Nanos::ZERO];
            let block = BlockId(block as u16);
            self.network.run(block, size, &mut time, &mut |_| None).map_err(Failure::of)?;
            times.extend(time);
        }
        Ok(times)
    }

    fn block_row(&self, book: &Book<'_>, block: BlockId, size: Size, clock: ClockIndex, repeat: u32) -> Row {
        let name = self.network.name(block).to_owned();
        Row { block: name, size, repeat, gpu_freq: Some(self.hz(clock)), ..book.row(Kind::Block) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_gpu_draws_between_repeats_is_not_the_blocks() {
        let [work, idle] = [17_000, 5_000].map(Milliwatts::new);
        let mean = Milliwatts::new(17_000 * 8 / 10 + 5_000 * 2 / 10);
        assert_eq!(at_work(mean, Some(idle), 0.8), work);
        assert_eq!(at_work(mean, Some(idle), 1.0), mean, "no gap");
        assert_eq!(at_work(mean, None, 0.8), mean, "unknown");
    }
}
