//! How long what slows a frame lasts, and how strong it is while it lasts: from the times of blocks within frames.

use std::vec::Vec;

use crate::math;
use crate::model::Bursts;
use crate::stats::{LEVELS, mean, quantile, sd, sorted};

/// Lags are told apart by this many steps in each doubling.
const STEPS: f64 = 4.0;

/// Of passes through a network: each block's measured and predicted time, in seconds.
///
/// The correlation of two blocks' deviations falls with the time between the blocks; share x exp(-lag / length) is laid
/// through it by least squares. On frames shorter than what slows them it tells the shorter of the disturbances, which
/// are those that begin and end within a frame. `None` where blocks do not vary together at all.
pub fn bursts(passes: &[Vec<(f64, f64)>]) -> Option<Bursts> {
    let blocks = passes.first()?.len();
    let scores: Vec<Vec<f64>> = (0..blocks)
        .map(|i| {
            let late: Vec<f64> = passes.iter().map(|pass| pass[i].0 / pass[i].1 - 1.0).collect();
            let (middle, spread) = (mean(&late), sd(&late).max(1e-9));
            late.into_iter().map(|late| (late - middle) / spread).collect()
        })
        .collect();
    // By lag, from a nanosecond on: the sum of lags, the sum of products, and how many.
    let mut by_lag: Vec<(f64, f64, f64)> = Vec::new();
    for (pass, times) in passes.iter().enumerate() {
        let mut start = 0.0;
        let middles: Vec<f64> = times
            .iter()
            .map(|(_, predicted)| {
                start += predicted;
                start - 0.5 * predicted
            })
            .collect();
        for i in 0..blocks {
            for j in 0..i {
                let lag = middles[i] - middles[j];
                let bin = (STEPS * math::ln(lag * 1e9) / core::f64::consts::LN_2) as usize;
                by_lag.resize(by_lag.len().max(bin + 1), (0.0, 0.0, 0.0));
                let at = &mut by_lag[bin];
                (at.0, at.1, at.2) = (at.0 + lag, at.1 + scores[i][pass] * scores[j][pass], at.2 + 1.0);
            }
        }
    }
    by_lag.retain(|(_, _, n)| *n > 0.0);
    let points: Vec<(f64, f64, f64)> = by_lag.into_iter().map(|(lags, sum, n)| (lags / n, sum / n, n)).collect();
    let longest = points.last()?.0;
    // Between a hundredth of the longest lag and ten times as long.
    let lengths = (0..=60).map(|step| longest * math::pow(10.0, f64::from(step) / 20.0 - 2.0));
    let fits = lengths.map(|length_s| {
        let shape = |lag: f64| math::exp(-lag / length_s);
        let (dot, norm) = points.iter().fold((0.0, 1e-300), |(dot, norm), (lag, y, n)| {
            (dot + n * y * shape(*lag), norm + n * shape(*lag) * shape(*lag))
        });
        let share = (dot / norm).clamp(0.0, 1.0);
        let error: f64 = points.iter().map(|(lag, y, n)| n * (y - share * shape(*lag)).powi(2)).sum();
        (error, length_s, share)
    });
    let (_, length_s, share) = fits.min_by(|a, b| a.0.total_cmp(&b.0))?;
    let all = sorted(scores.into_iter().flatten());
    (share > 0.0).then(|| Bursts { length_s, share, quantiles: LEVELS.map(|p| quantile(&all, p)).to_vec() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::at_level;

    #[test]
    fn the_length_of_bursts_is_found() {
        // Twenty blocks of 5 ms; 30 ms bursts every 300 ms on average, which take 20 % longer.
        let mut random = 1u64;
        let mut wait = |mean: f64| {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            -mean * (((random >> 11) as f64 + 1.0) / (1u64 << 53) as f64).ln()
        };
        let (mut burst, mut turns) = (false, wait(0.3));
        let mut now = 0.0;
        let mut pass = |_| {
            let block = |_| {
                let (mut at, mut late, end) = (now, 0.0, now + 0.005);
                while at < end {
                    if turns <= at {
                        burst = !burst;
                        turns = at + wait(if burst { 0.03 } else { 0.3 });
                    }
                    let next = turns.min(end);
                    late += if burst { 0.2 * (next - at) } else { 0.0 };
                    at = next;
                }
                now = end;
                (0.005 + late, 0.005)
            };
            (0..20).map(block).collect()
        };
        let passes: Vec<Vec<(f64, f64)>> = (0..2000).map(&mut pass).collect();
        let found = bursts(&passes).unwrap();
        // The correlation of on and off falls at the rate of both turns together: 1 / (1 / 30 + 1 / 300) ms.
        assert!((found.length_s / 0.0273 - 1.0).abs() < 0.2, "{}", found.length_s);
        assert!(found.share > 0.85, "{}", found.share);
        // A burst is there for one part in eleven: (1 - 1/11) / sqrt(1/11 x 10/11) standard deviations.
        assert!((at_level(&found.quantiles, 0.98) - 3.2).abs() < 0.4, "{:?}", found.quantiles);
    }
}
