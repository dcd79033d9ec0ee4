//! Times and their percentiles.

use std::time::Duration;

use jetpace_tables::units::Nanos;
use serde::Serialize;

use crate::runtime::sys;

/// Operations timed together where one is too short to be timed.
pub const BATCH: u32 = 1_000;

/// Batches.
pub const BATCHES: usize = 400;

/// Operations timed one by one.
pub const SINGLES: usize = 4_000;

/// Within this a thread that has said that it sleeps does. Between the two lies a system call, and a wake that comes within
/// it costs next to nothing: not what a caller pays whose blocks take milliseconds.
pub const FALLING_ASLEEP: Duration = Duration::from_micros(200);

/// What an operation took.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Figures {
    /// Operations.
    pub count: u64,
    /// Median.
    pub p50_ns: f64,
    /// 99 of 100 took at most this.
    pub p99_ns: f64,
    /// 999 of 1,000 took at most this.
    pub p999_ns: f64,
}

impl Figures {
    /// Of samples that each stand for `each` operations.
    pub fn of(mut samples: Vec<f64>, each: u32) -> Self {
        samples.sort_unstable_by(f64::total_cmp);
        let at = |q: f64| {
            let rank = (q * samples.len() as f64).ceil().max(1.0) as usize - 1;
            (samples.get(rank).copied().unwrap_or(f64::NAN) * 10.0).round() / 10.0
        };
        let count = samples.len() as u64 * u64::from(each);
        Self { count, p50_ns: at(0.5), p99_ns: at(0.99), p999_ns: at(0.999) }
    }
}

/// The clock, and what reading it costs.
pub struct Stopwatch {
    overhead: Nanos,
}

impl Stopwatch {
    pub fn new() -> Self {
        let mut pairs: Vec<Nanos> = (0..10_001)
            .map(|_| {
                let start = sys::now();
                sys::now().saturating_sub(start)
            })
            .collect();
        pairs.sort_unstable();
        Self { overhead: pairs.get(pairs.len() / 2).copied().unwrap_or_default() }
    }

    pub fn overhead_ns(&self) -> f64 {
        self.overhead.get() as f64
    }

    /// How long something took, less the clock's own part.
    pub fn time(&self, run: impl FnOnce()) -> f64 {
        let start = sys::now();
        run();
        self.since(start)
    }

    /// The time since `start`, less the clock's own part.
    pub fn since(&self, start: Nanos) -> f64 {
        sys::now().saturating_sub(start).saturating_sub(self.overhead).get() as f64
    }

    /// Times an operation in batches where it takes less than 1 us, else one by one.
    pub fn each(&self, mut run: impl FnMut(u32)) -> Figures {
        let first = self.time(|| (0..BATCH).for_each(&mut run)) / f64::from(BATCH);
        if first < 1_000.0 {
            let batch = |_| self.time(|| (0..BATCH).for_each(&mut run)) / f64::from(BATCH);
            Figures::of((0..BATCHES).map(batch).collect(), BATCH)
        } else {
            Figures::of((0..SINGLES as u32).map(|i| self.time(|| run(i))).collect(), 1)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_samples_by_rank() {
        let figures = Figures::of((1..=1000).rev().map(f64::from).collect(), 2);
        assert_eq!((figures.count, figures.p50_ns, figures.p99_ns, figures.p999_ns), (2000, 500.0, 990.0, 999.0));
        assert_eq!(Figures::of(vec![7.0], 1).p999_ns, 7.0);
    }
}
