//! How whole frames vary about the fitted model.
//!
//! What makes frames late mostly takes memory bandwidth, so it shows where memory bounds them: at high GPU clocks (a
//! frame that is 11 % late in one case of a hundred at the highest clock is 2 % late at the lowest, on the virtual
//! boards). One clock has too few frames for a rare quantile and all together tell no clock's. So each quantile is a
//! straight line in the share of the frame's time that does not follow the clock, by quantile regression over all
//! frames (Koenker and Bassett 1978).

use std::collections::BTreeMap;
use std::vec::Vec;

use super::bursts::bursts;
use crate::math;
use crate::model::{BlockModel, ClockLate, FrameNoise, Model};
use crate::sample::{Kind, Sweep};
use crate::stats::{LEVELS, correlation, mean, sd};
use crate::units::Hertz;
use crate::work::Size;

/// How whole frames vary about the fitted model. Only from sweeps that say `repeats=frames`: there, rows with the same
/// clocks and `repeat` are one pass through the network.
pub fn frames(sweep: &Sweep, model: &Model) -> Vec<FrameNoise> {
    if sweep.field("repeats") != Some("frames") {
        return Vec::new();
    }
    let networks = model.networks().into_iter();
    networks
        .flat_map(|network| {
            model.emc_clocks(network).into_iter().filter_map(move |emc| frame(sweep, model, network, emc))
        })
        .collect()
}

/// Per block, the measured and the predicted time of one pass through the network.
type Pass = Vec<Option<(f64, f64)>>;

fn frame(sweep: &Sweep, model: &Model, network: &str, emc: Option<Hertz>) -> Option<FrameNoise> {
    let blocks = model.blocks(network, emc);
    let mut passes: BTreeMap<(Hertz, u32), Pass> = BTreeMap::new();
    for row in &sweep.rows {
        let (Kind::Block, true, Some(clock), Some(time)) =
            (row.kind, row.rejected.is_empty(), row.gpu_freq, row.latency_s())
        else {
            continue;
        };
        let here = |series: &crate::model::Series| {
            series.block == row.block && series.size == row.size && (emc.is_none() || row.emc_freq == emc)
        };
        if row.model != network || row.samples.is_some_and(|samples| samples > 1) {
            continue;
        }
        if let Some(i) = blocks.iter().position(|block| here(block.series)) {
            let pass = passes.entry((clock, row.repeat)).or_insert_with(|| std::vec![None; blocks.len()]);
            pass[i] = Some((time, blocks[i].time_s(clock, row.size)));
        }
    }
    let whole: Vec<(Hertz, Vec<(f64, f64)>)> = passes
        .into_iter()
        .filter_map(|((clock, _), pass)| Some((clock, pass.into_iter().collect::<Option<Vec<_>>>()?)))
        .collect();
    if whole.len() < 2 {
        return None;
    }
    let mut late: Vec<(Hertz, f64)> = whole
        .iter()
        .map(|(clock, pass)| {
            let sum = |of: fn(&(f64, f64)) -> f64| pass.iter().map(of).sum::<f64>();
            (*clock, sum(|p| p.0) / sum(|p| p.1) - 1.0)
        })
        .collect();
    let mut predicted: BTreeMap<(Hertz, Size), f64> = BTreeMap::new();
    late.extend(sweep.rows.iter().filter_map(|row| {
        let of_these = row.kind == Kind::Frame && row.rejected.is_empty() && row.model == network;
        if !of_these || (emc.is_some() && row.emc_freq != emc) {
            return None;
        }
        let (clock, time) = (row.gpu_freq?, row.latency_s()?);
        let frame = || blocks.iter().map(|block| block.time_s(clock, row.size)).sum();
        Some((clock, time / *predicted.entry((clock, row.size)).or_insert_with(frame) - 1.0))
    }));
    let of_block = |i: usize| whole.iter().map(|(_, pass)| pass[i].0 / pass[i].1).collect();
    let by_block: Vec<Vec<f64>> = (0..blocks.len()).map(of_block).collect();
    let pairs = (0..blocks.len()).flat_map(|i| (0..i).map(move |j| (i, j)));
    let correlations: Vec<f64> = pairs.filter_map(|(i, j)| correlation(&by_block[i], &by_block[j])).collect();
    let bursts = bursts(&whole.into_iter().map(|(_, pass)| pass).collect::<Vec<_>>());
    let (burst_s, burst_share, burst_quantiles) =
        bursts.map_or((None, 0.0, Vec::new()), |bursts| (Some(bursts.length_s), bursts.share, bursts.quantiles));
    Some(FrameNoise {
        model: network.into(),
        emc_freq_hz: emc,
        count: late.len(),
        correlation: (!correlations.is_empty()).then(|| mean(&correlations)),
        sd: sd(&late.iter().map(|(_, late)| *late).collect::<Vec<_>>()),
        late: quantiles(&late, |clock| unmoved(&blocks, clock)),
        burst_s,
        burst_share,
        burst_quantiles,
    })
}

/// The share of a frame's time that does not follow the clock: 1 where all of it waits for memory, 0 where it goes
/// with 1 / clock.
fn unmoved(blocks: &[BlockModel<'_>], clock: Hertz) -> f64 {
    const STEP: f64 = 1.02;
    let frame = |hz: f64| blocks.iter().map(|b| b.time_s(Hertz::new(hz as u64), b.series.size)).sum::<f64>();
    let (slower, faster) = (frame(clock.as_f64() / STEP), frame(clock.as_f64() * STEP));
    1.0 - math::ln(slower / faster) / (2.0 * math::ln(STEP))
}

/// The quantiles of lateness at every clock of `late`.
fn quantiles(late: &[(Hertz, f64)], share: impl Fn(Hertz) -> f64) -> Vec<ClockLate> {
    let mut clocks: Vec<(Hertz, f64)> = late.iter().map(|(clock, _)| (*clock, 0.0)).collect();
    clocks.sort_unstable_by_key(|(clock, _)| *clock);
    clocks.dedup_by_key(|(clock, _)| *clock);
    clocks.iter_mut().for_each(|(clock, x)| *x = share(*clock));
    let x = |clock: Hertz| clocks.iter().find(|(c, _)| *c == clock).map_or(0.0, |(_, x)| *x);
    let points: Vec<(f64, f64)> = late.iter().map(|(clock, late)| (x(*clock), *late)).collect();
    let lines = LEVELS.map(|p| line(&points, p));
    let at = |(clock, x): (Hertz, f64)| {
        let mut highest = f64::NEG_INFINITY;
        let ascending = lines.iter().map(|(level, slope)| {
            highest = highest.max(level + slope * x);
            highest
        });
        ClockLate { gpu_freq_hz: clock, quantiles: ascending.collect() }
    };
    clocks.into_iter().map(at).collect()
}

/// Level and slope of the line below which the share `p` of points (x, y) lies: the least sum of p above and 1 - p
/// below, which is convex in the slope, with the level the quantile of what is left.
fn line(points: &[(f64, f64)], p: f64) -> (f64, f64) {
    const STEPS: usize = 40;
    let range = |of: fn(&(f64, f64)) -> f64| {
        let (low, high) =
            points.iter().map(of).fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), v| (l.min(v), h.max(v)));
        high - low
    };
    let mut rest = std::vec![0.0; points.len()];
    let mut level = |slope: f64| {
        rest.iter_mut().zip(points).for_each(|(rest, (x, y))| *rest = y - slope * x);
        let rank = ((p * rest.len() as f64).ceil() as usize).clamp(1, rest.len()) - 1;
        let level = *rest.select_nth_unstable_by(rank, f64::total_cmp).1;
        let loss = rest.iter().map(|r| if *r > level { p * (r - level) } else { (1.0 - p) * (level - r) });
        (loss.sum::<f64>(), level)
    };
    let width = range(|point| point.0);
    if width < 1e-6 {
        return (level(0.0).1, 0.0);
    }
    let steepest = range(|point| point.1) / width;
    let (mut low, mut high) = (-steepest, steepest);
    for _ in 0..STEPS {
        let (a, b) = (low + (high - low) / 3.0, high - (high - low) / 3.0);
        if level(a).0 <= level(b).0 { high = b } else { low = a }
    }
    let slope = 0.5 * (low + high);
    (level(slope).1, slope)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_through_a_quantile() {
        // Deviations evenly from 0 to 1 on a line of slope 2, whose spread grows with x.
        let mut points = Vec::new();
        for step in 0..=10 {
            let x = f64::from(step) / 10.0;
            points.extend((0..1000).map(|i| (x, 1.0 + 2.0 * x + 0.001 * f64::from(i) * (1.0 + x))));
        }
        for (p, wanted) in [(0.5, (1.5, 2.5)), (0.9, (1.9, 2.9)), (0.99, (1.99, 2.99))] {
            let (level, slope) = line(&points, p);
            assert!((level - wanted.0).abs() < 2e-3 && (slope - wanted.1).abs() < 4e-3, "{p}: {level} {slope}");
        }
    }

    #[test]
    fn quantiles_of_one_clock_are_its_own() {
        let clock = Hertz::from_khz(500_000);
        let late: Vec<(Hertz, f64)> = (0..1000).map(|i| (clock, f64::from(i))).collect();
        let found = quantiles(&late, |_| 0.5);
        let [at] = found.as_slice() else { panic!("{found:?}") };
        let level = LEVELS.iter().position(|p| *p == 0.99).unwrap();
        assert_eq!(at.quantiles[level], 989.0);
    }
}
