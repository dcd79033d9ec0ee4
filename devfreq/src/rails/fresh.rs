//! Whether a reading is of a new conversion or shows the last one again.

use jetpace_tables::units::Nanos;

use super::period::conversion_period;

/// So many readings are looked at to find the period, and no more are kept.
const READINGS: usize = 256;

/// The period is looked for again whenever so many more readings have come.
const LOOK_EVERY: usize = 32;

/// A longer pause than so many usual ones between two readings: what came before says nothing about the next ones.
const PAUSE: u64 = 8;

/// What is known of a rail's conversions.
#[derive(Debug, Default)]
pub(super) struct Fresh {
    /// What the driver says of the period, found from the readings once they tell.
    period: Option<Nanos>,
    found: bool,
    /// When the last conversion was first seen.
    seen: Option<Nanos>,
    readings: Vec<(Nanos, i64)>,
}

impl Fresh {
    /// With what the driver says of the period.
    pub fn new(stated: Option<Nanos>) -> Self {
        Self { period: stated, ..Self::default() }
    }

    /// The conversion period; `None` where neither driver nor readings tell.
    pub fn period(&self) -> Option<Nanos> {
        self.period
    }

    /// Whether a reading shows the last conversion again: the same value, before the next conversion is due. Where the
    /// period is not known no reading is taken for a repeat: it might be a steady rail.
    pub fn is_repeat(&mut self, at: Nanos, value: i64) -> bool {
        let same = self.readings.last().is_some_and(|(_, last)| *last == value);
        self.learn(at, value);
        // The next conversion has ended a period after the last one was seen, at the latest; a found period is not exact.
        let due = |seen: Nanos, period: Nanos| {
            let inexact = if self.found { period.get() / 50 } else { 0 };
            at.saturating_sub(seen).get() >= period.get() + inexact
        };
        let repeat = same && matches!((self.seen, self.period), (Some(seen), Some(period)) if !due(seen, period));
        if !repeat {
            self.seen = Some(at);
        }
        repeat
    }

    fn learn(&mut self, at: Nanos, value: i64) {
        if let [.., (before, _), (last, _)] = self.readings[..] {
            let (usual, now) = (last.saturating_sub(before).get(), at.saturating_sub(last).get());
            if now > PAUSE * usual {
                self.readings.clear();
            }
        }
        self.readings.push((at, value));
        if self.found {
            // The last one is enough, for comparing.
            self.readings.drain(..self.readings.len() - 1);
            return;
        }
        if self.readings.len().is_multiple_of(LOOK_EVERY)
            && let Some(period) = conversion_period(&self.readings)
        {
            (self.period, self.found) = (Some(period), true);
        }
        if self.readings.len() == READINGS {
            self.readings.drain(..READINGS - 1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    /// Readings every `step` of a chip that converts every `period`, and how many of them count.
    fn counted(fresh: &mut Fresh, period: u64, step: u64, count: u64) -> u64 {
        let value = |at: u64| (at / period * 7919 % 1013) as i64;
        (0..count).map(|n| n * step).filter(|at| !fresh.is_repeat(Nanos::new(*at), value(*at))).count() as u64
    }

    #[test]
    fn every_conversion_counts_once() {
        // A chip that averages 16 conversions, whose driver says the time of one.
        let mut fresh = Fresh::new(Some(Nanos::from_millis(7)));
        let conversions = |readings: u64| readings * 7 / 106;
        let before = counted(&mut fresh, 106 * MS, 7 * MS, 200);
        assert!(before > conversions(200), "not known yet: {before}");
        assert!(fresh.period().unwrap().as_secs_f64() > 0.1, "{:?}", fresh.period());
        let mut known = Fresh { period: fresh.period(), found: true, ..Fresh::default() };
        let after = counted(&mut known, 106 * MS, 7 * MS, 1000);
        assert!(after.abs_diff(conversions(1000)) <= 1, "{after} of {}", conversions(1000));
    }

    #[test]
    fn readings_slower_than_conversions_all_count() {
        let mut fresh = Fresh::new(Some(Nanos::from_millis(7)));
        assert_eq!(counted(&mut fresh, 6_600_000, 7 * MS, 1000), 1000);
        assert_eq!(fresh.period(), Some(Nanos::from_millis(7)), "nothing found, nothing forgotten");
    }

    #[test]
    fn a_steady_rail_counts_once_a_period_and_where_none_is_known_always() {
        let steady = |fresh: &mut Fresh| (0..100).filter(|n| !fresh.is_repeat(Nanos::from_millis(*n), 5)).count();
        assert_eq!(steady(&mut Fresh::new(Some(Nanos::from_millis(10)))), 10);
        assert_eq!(steady(&mut Fresh::new(None)), 100);
    }

    #[test]
    fn a_pause_does_not_pass_for_a_conversion() {
        let mut fresh = Fresh::new(None);
        for visit in 0..100u64 {
            let start = visit * 5_000 * MS;
            // 20 readings, 7 ms apart, of a chip that converts every 106 ms: too short to tell.
            for n in 0..20 {
                let _ = fresh.is_repeat(Nanos::new(start + n * 7 * MS), (visit + n / 15) as i64);
            }
        }
        assert_eq!(fresh.period(), None);
    }
}
