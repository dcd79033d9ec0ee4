//! What is hidden from the governor, and what the time elapsed tells of it: how likely each level of slowness is at each
//! block's start, worked out forward over the frame while the plan is followed.

use core::ops::Range;
use std::vec;
use std::vec::Vec;

use super::grid::{BINS, Grid, between};
use crate::math;
use crate::plan::rehearsal::bursts::MatchedBursts;
use crate::plan::schedule::Plan;

/// Relative spread of the time elapsed at a given deviation that is always allowed for.
const BLUR: f64 = 0.004;
/// A deviation that is this much less likely than the likeliest one does not count.
const NEGLIGIBLE: f64 = 1e-7;

/// The bursts' deviations in a few levels, finer towards late frames.
pub(super) struct Levels<'a> {
    pub bursts: &'a MatchedBursts<'a>,
    /// The deviation at each clock, and how likely the level is.
    of: Vec<(Vec<f64>, f64)>,
    /// Mean and standard deviation of the levels' deviations at each clock.
    moments: Vec<(f64, f64)>,
}

/// By how much a stretch of the frame deviates that starts in a burst of a level, in standard deviations.
pub(super) struct Stretch {
    pub mean: f64,
    /// What varies about it.
    pub varies: f64,
    /// How likely the burst outlasts it; the same for all levels.
    pub stays: f64,
}

/// How likely a level is at a block's start.
pub(super) struct Belief {
    /// The bins at which it counts.
    pub bins: Range<usize>,
    /// Together with the time elapsed, for each bin.
    pub weights: Vec<f64>,
}

impl<'a> Levels<'a> {
    pub fn new(bursts: &'a MatchedBursts<'a>) -> Self {
        const EDGES: [f64; 10] = [0.0, 0.25, 0.5, 0.75, 0.9, 0.96, 0.985, 0.995, 0.999, 1.0];
        let clocks = bursts.problem.clocks.len();
        let level = |edge: &[f64]| {
            const STEPS: usize = 8;
            let p = |i: usize| edge[0] + (edge[1] - edge[0]) * (i as f64 + 0.5) / STEPS as f64;
            let at = |clock| (0..STEPS).map(|i| bursts.deviation(clock, p(i))).sum::<f64>() / STEPS as f64;
            ((0..clocks).map(at).collect(), edge[1] - edge[0])
        };
        let of: Vec<(Vec<f64>, f64)> = EDGES.windows(2).map(level).collect();
        let moment = |clock: usize| {
            let sum = |power| of.iter().map(|(of, share)| share * of[clock].powi(power)).sum::<f64>();
            let mean = sum(1);
            (mean, (sum(2) - mean * mean).max(0.0).sqrt())
        };
        let moments = (0..clocks).map(moment).collect();
        Self { bursts, of, moments }
    }

    pub fn count(&self) -> usize {
        self.of.len()
    }

    /// How likely each level is.
    pub fn shares(&self) -> impl Iterator<Item = f64> {
        self.of.iter().map(|(_, share)| *share)
    }

    /// A stretch at a clock that starts in a burst of a level and takes this long.
    pub fn stretch(&self, clock: usize, level: usize, time_s: f64) -> Stretch {
        let x = (time_s / self.bursts.length_s).max(1e-9);
        let stays = math::exp(-x);
        // Of the stretch, the part that the first burst takes; the variance of the mean over all bursts in it.
        let first = (1.0 - stays) / x;
        let variance = 2.0 / x * (1.0 - first);
        let (mean, sd) = self.moments[clock];
        Stretch {
            mean: first * self.of[level].0[clock] + (1.0 - first) * mean,
            varies: (variance - first * first).max(0.0).sqrt() * sd,
            stays,
        }
    }

    /// At each block's start, level by level.
    pub fn beliefs(&self, plan: &Plan, grid: &Grid) -> Vec<Vec<Belief>> {
        self.forward(plan, grid).iter().map(|weights| counting(weights)).collect()
    }

    /// How likely each level is at each block's start together with each time elapsed.
    fn forward(&self, plan: &Plan, grid: &Grid) -> Vec<Vec<f64>> {
        let blocks = &self.bursts.problem.blocks;
        let prior = |weight: f64| self.shares().flat_map(move |share| vec![weight * share; BINS]);
        let mut found: Vec<Vec<f64>> = vec![prior(1.0).collect()];
        // Of the first block, all bins are its start.
        let mut here: Vec<f64> = prior(1.0 / BINS as f64).collect();
        for (i, block) in blocks.iter().enumerate().take(blocks.len() - 1) {
            let clock = plan.block_clocks[i];
            let (next_s, sd_s) = (grid.planned(i + 1), block.time_sd_s[clock]);
            let time_s = next_s - grid.planned(i);
            let mut next = vec![0.0; self.count() * BINS];
            let mut stays = 1.0;
            for level in 0..self.count() {
                let stretch = self.stretch(clock, level, time_s);
                stays = stretch.stays;
                let own = math::hypot(math::hypot(self.bursts.own, stretch.varies) * sd_s, BLUR * next_s);
                for bin in 0..BINS {
                    let weight = here[level * BINS + bin];
                    let mean_s = grid.elapsed(i, bin) + time_s + stretch.mean * sd_s;
                    for time_s in [mean_s - own, mean_s + own] {
                        let (low, part) = between(grid.place(i + 1, time_s));
                        next[level * BINS + low] += 0.5 * weight * (1.0 - part);
                        next[level * BINS + low + 1] += 0.5 * weight * part;
                    }
                }
            }
            for bin in 0..BINS {
                let all: f64 = (0..self.count()).map(|level| next[level * BINS + bin]).sum();
                for (level, share) in self.shares().enumerate() {
                    let at = &mut next[level * BINS + bin];
                    *at = stays * *at + (1.0 - stays) * share * all;
                }
            }
            // A time that the plan does not lead to says nothing of the burst.
            found.push(next.iter().zip(prior(1e-9)).map(|(weight, floor)| weight + floor).collect());
            here = next;
        }
        found
    }
}

fn counting(weights: &[f64]) -> Vec<Belief> {
    let weights: Vec<&[f64]> = weights.chunks(BINS).collect();
    let most: Vec<f64> = (0..BINS).map(|bin| weights.iter().map(|of| of[bin]).fold(0.0, f64::max)).collect();
    let of = |level: &&[f64]| {
        let counts = |bin: &usize| level[*bin] > NEGLIGIBLE * most[*bin];
        let first = (0..BINS).find(counts).unwrap_or(BINS);
        let behind = (first..BINS).rfind(counts).map_or(first, |bin| bin + 1);
        Belief { bins: first..behind, weights: level.to_vec() }
    };
    weights.iter().map(of).collect()
}
