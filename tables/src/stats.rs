//! Means, spreads and quantiles of small samples.

use std::vec::Vec;

use serde::{Deserialize, Serialize};

use crate::math;

/// Arithmetic mean; 0 of nothing.
pub fn mean(values: &[f64]) -> f64 {
    if values.is_empty() { 0.0 } else { values.iter().sum::<f64>() / values.len() as f64 }
}

/// Standard deviation with n - 1; 0 of fewer than two.
pub fn sd(values: &[f64]) -> f64 {
    if values.len() < 2 {
        return 0.0;
    }
    let middle = mean(values);
    let squares: f64 = values.iter().map(|value| (value - middle) * (value - middle)).sum();
    (squares / (values.len() - 1) as f64).sqrt()
}

/// Pearson's correlation; `None` of fewer than two pairs, or where one side does not vary.
pub fn correlation(a: &[f64], b: &[f64]) -> Option<f64> {
    let (mean_a, mean_b) = (mean(a), mean(b));
    let products: f64 = a.iter().zip(b).map(|(x, y)| (x - mean_a) * (y - mean_b)).sum();
    let scale = sd(a) * sd(b) * (a.len().min(b.len()).max(1) - 1) as f64;
    (scale > 0.0).then(|| (products / scale).clamp(-1.0, 1.0))
}

/// The p-quantile of ascending values: the smallest one with at least the share p of all at or below it. Never
/// interpolated, so a risk taken from it is not understated. 0 of nothing.
pub fn quantile(ascending: &[f64], p: f64) -> f64 {
    let rank = (p * ascending.len() as f64).ceil() as usize;
    ascending.get(rank.clamp(1, ascending.len().max(1)) - 1).copied().unwrap_or(0.0)
}

/// Ascending order; NaN last.
pub fn sorted(values: impl IntoIterator<Item = f64>) -> Vec<f64> {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    values
}

/// Median; 0 of nothing.
pub fn median(values: &[f64]) -> f64 {
    let ascending = sorted(values.iter().copied());
    match ascending.len() {
        0 => 0.0,
        n if n % 2 == 1 => ascending[n / 2],
        n => (ascending[n / 2 - 1] + ascending[n / 2]) / 2.0,
    }
}

/// The measured distribution of a time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Spread {
    /// How many were measured.
    pub count: usize,
    /// Mean.
    pub mean_s: f64,
    /// Standard deviation; 0 for a single one.
    pub sd_s: f64,
    /// Median.
    pub p50_s: f64,
    /// 90 % quantile.
    pub p90_s: f64,
    /// 99 % quantile.
    pub p99_s: f64,
    /// The longest.
    pub max_s: f64,
}

/// The distribution of some times.
pub fn spread(seconds: &[f64]) -> Spread {
    let ascending = sorted(seconds.iter().copied());
    Spread {
        count: ascending.len(),
        mean_s: mean(&ascending),
        sd_s: sd(&ascending),
        p50_s: quantile(&ascending, 0.5),
        p90_s: quantile(&ascending, 0.9),
        p99_s: quantile(&ascending, 0.99),
        max_s: ascending.last().copied().unwrap_or(0.0),
    }
}

/// The shares of all values whose quantiles are kept: evenly spaced, and close where frames are late.
pub const LEVELS: [f64; 32] = [
    0.01, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.45, 0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.92,
    0.94, 0.95, 0.96, 0.97, 0.975, 0.98, 0.985, 0.99, 0.9925, 0.995, 0.9975, 0.999,
];

/// The quantile at any share, of the quantiles at [`LEVELS`]: between two of them in proportion, beyond the ends the
/// end; 0 of none.
pub fn at_level(quantiles: &[f64], p: f64) -> f64 {
    let at = |i: usize| quantiles.get(i).copied().unwrap_or(0.0);
    match LEVELS.partition_point(|level| *level < p) {
        0 => at(0),
        i if i >= LEVELS.len() => at(LEVELS.len() - 1),
        i => at(i - 1) + (at(i) - at(i - 1)) * (p - LEVELS[i - 1]) / (LEVELS[i] - LEVELS[i - 1]),
    }
}

/// k of Cantelli's inequality P(T - mean >= k sd) <= 1 / (1 + k^2), for an accepted risk.
pub fn cantelli(risk: f64) -> f64 {
    ((1.0 - risk) / risk).sqrt()
}

/// The standard normal distribution's quantile: Abramowitz and Stegun 26.2.23, to 4.5e-4.
pub fn normal_quantile(p: f64) -> f64 {
    let tail = p.min(1.0 - p).max(1e-12);
    let t = (-2.0 * math::ln(tail)).sqrt();
    let z =
        t - (2.515_517 + t * (0.802_853 + t * 0.010_328)) / (1.0 + t * (1.432_788 + t * (0.189_269 + t * 0.001_308)));
    if p < 0.5 { -z } else { z }
}

/// The two-sided 95 % quantile of the normal distribution.
pub const NORMAL95: f64 = 1.959_964;

/// The two-sided 95 % quantile of Student's t. Exact table up to 10 degrees of freedom, then a series in 1/n that is
/// within 0.002 of the table (Abramowitz and Stegun 26.7.5, two terms).
pub fn student95(degrees: usize) -> f64 {
    const TABLE: [f64; 10] = [12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228];
    match degrees {
        0 => f64::INFINITY,
        1..=10 => TABLE[degrees - 1],
        n => {
            let (z, n) = (NORMAL95, n as f64);
            z + (z.powi(3) + z) / (4.0 * n) + (5.0 * z.powi(5) + 16.0 * z.powi(3) + 3.0 * z) / (96.0 * n * n)
        }
    }
}

/// The 95 % interval of the mean of independent values, by Student's t; `None` of fewer than two.
pub fn mean_interval(values: &[f64]) -> Option<(f64, f64)> {
    let degrees = values.len().checked_sub(1).filter(|degrees| *degrees > 0)?;
    let off = student95(degrees) * sd(values) / (values.len() as f64).sqrt();
    Some((mean(values) - off, mean(values) + off))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_samples_by_hand() {
        assert_eq!(mean(&[1.0, 2.0, 6.0]), 3.0);
        assert_eq!(sd(&[2.0, 4.0]), 2.0_f64.sqrt());
        assert_eq!(median(&[4.0, 1.0, 3.0, 2.0]), 2.5);
        assert_eq!(quantile(&[1.0, 2.0, 3.0, 4.0], 0.5), 2.0);
        assert_eq!(quantile(&[1.0, 2.0, 3.0, 4.0], 0.51), 3.0);
        assert_eq!(quantile(&[], 0.5), 0.0);
        assert_eq!(correlation(&[1.0, 2.0, 3.0], &[6.0, 4.0, 2.0]), Some(-1.0));
        assert_eq!(correlation(&[1.0, 1.0], &[6.0, 4.0]), None);
        assert_eq!(correlation(&[1.0], &[2.0]), None);
    }

    #[test]
    fn the_normal_quantile() {
        for (p, z) in [(0.5, 0.0), (0.975, 1.959_96), (0.01, -2.326_35)] {
            assert!((normal_quantile(p) - z).abs() < 1e-3, "{p}");
        }
    }

    #[test]
    fn quantiles_at_level() {
        let of = LEVELS.map(|p| 10.0 * p);
        for (p, wanted) in [(0.0, 0.1), (0.01, 0.1), (0.52, 5.2), (0.993, 9.93), (0.9999, 9.99)] {
            assert!((at_level(&of, p) - wanted).abs() < 1e-9, "{p}");
        }
    }

    #[test]
    fn an_interval_by_hand() {
        // Mean 2, standard deviation 1, t of 2 degrees 4.303.
        let (low, high) = mean_interval(&[1.0, 2.0, 3.0]).unwrap();
        let off = 4.303 / 3.0_f64.sqrt();
        assert!((low - (2.0 - off)).abs() < 1e-12 && (high - (2.0 + off)).abs() < 1e-12, "{low} {high}");
        assert_eq!(mean_interval(&[1.0]), None);
    }

    #[test]
    fn student_follows_the_printed_table() {
        for (degrees, value) in [(1, 12.706), (10, 2.228), (12, 2.179), (20, 2.086), (60, 2.000), (120, 1.980)] {
            assert!((student95(degrees) - value).abs() < 0.002, "{degrees}: {}", student95(degrees));
        }
    }
}
