//! How often a rail really has a new value, found from the values themselves: a driver's word leaves averaging out,
//! and R32's gives none.

use jetpace_tables::units::Nanos;

/// Fewer changes than this tell nothing.
const FEWEST_CHANGES: usize = 8;

/// The conversion period of a rail from readings (time, value), taken several times per period: values change at
/// multiples of it, seen late by up to a reading. `None` where there are too few changes, where the readings are too
/// sparse to see single conversions, or where the changes fit no common period.
pub fn conversion_period(readings: &[(Nanos, i64)]) -> Option<Nanos> {
    let seconds = |time: Nanos| time.as_secs_f64();
    let pairs = || readings.iter().zip(readings.get(1..).unwrap_or_default());
    let changes: Vec<f64> = pairs().filter(|(a, b)| a.1 != b.1).map(|(_, b)| seconds(b.0)).collect();
    let gaps: Vec<f64> = changes.iter().zip(changes.get(1..)?).map(|(a, b)| b - a).collect();
    if gaps.len() < FEWEST_CHANGES {
        return None;
    }
    let steps: Vec<f64> = pairs().map(|(a, b)| seconds(b.0) - seconds(a.0)).collect();
    let step = steps.iter().sum::<f64>() / steps.len() as f64;
    let shortest = gaps.iter().copied().fold(f64::INFINITY, f64::min);
    // Every reading a change: the values change at least as fast as they were read.
    if !(shortest.is_finite() && step > 0.0) || shortest < 1.5 * step {
        return None;
    }
    let near: Vec<f64> = gaps.iter().copied().filter(|gap| *gap < 1.5 * shortest).collect();
    let mut period = near.iter().sum::<f64>() / near.len() as f64;
    for _ in 0..4 {
        let turns: f64 = gaps.iter().map(|gap| (gap / period).round().max(1.0)).sum();
        period = gaps.iter().sum::<f64>() / turns;
    }
    let off: Vec<f64> = gaps.iter().map(|gap| (gap - (gap / period).round() * period).abs()).collect();
    let fits = off.iter().all(|off| *off <= 1.5 * step + 0.1 * period);
    // Conversions are seen a third of a reading late or early in the mean; changes without a period would be a quarter
    // of any period off, which can be told apart from three readings a period on.
    let mean_off = off.iter().sum::<f64>() / off.len() as f64;
    let told = period >= 2.5 * step && mean_off <= 0.5 * step + 0.02 * period;
    (fits && told).then(|| Nanos::from_secs_f64(period))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A chip that converts every `period`, read every `step`, whose value changes with each conversion but every
    /// seventh.
    fn readings(period: f64, step: f64, count: usize) -> Vec<(Nanos, i64)> {
        let value = |time: f64| {
            let conversion = (time / period) as i64;
            if conversion % 7 == 3 { conversion - 1 } else { conversion }
        };
        (0..count).map(|n| n as f64 * step).map(|time| (Nanos::from_secs_f64(time), value(time))).collect()
    }

    #[test]
    fn the_period_is_found_from_the_changes() {
        for (period, step) in [(6.6e-3, 1e-3), (0.84e-3, 0.3e-3), (0.43, 0.02)] {
            let found = conversion_period(&readings(period, step, 600)).unwrap().as_secs_f64();
            assert!((found / period - 1.0).abs() < 0.02, "{period}: {found}");
        }
    }

    #[test]
    fn nothing_is_claimed_where_the_data_do_not_tell() {
        assert_eq!(conversion_period(&[]), None);
        assert_eq!(conversion_period(&readings(1e-3, 5e-3, 600)), None, "read more slowly than converted");
        assert_eq!(conversion_period(&readings(6.6e-3, 1e-3, 20)), None, "too few changes");
        let still: Vec<(Nanos, i64)> = (0..600).map(|n| (Nanos::from_millis(n), 5)).collect();
        assert_eq!(conversion_period(&still), None, "nothing changes");
        // Changes at random, three to nine readings apart.
        let mut state = 1u64;
        let mut random = move || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            3 + (state >> 40) % 7
        };
        let (mut next, mut value) = (random(), 0);
        let steady: Vec<(Nanos, i64)> = (0..600)
            .map(|n| {
                if n == next {
                    (next, value) = (n + random(), value + 1);
                }
                (Nanos::from_millis(10 * n), value)
            })
            .collect();
        assert_eq!(conversion_period(&steady), None, "no period");
    }
}
