//! What slows and speeds blocks up while a frame runs: in bursts of exponential length, whatever the frames do. A late
//! burst begins within a frame as often as before it, and a governor sees only what has begun.

use std::vec::Vec;

use crate::math;
use crate::plan::fixed;
use crate::plan::problem::{Noise, Problem};
use crate::stats::{LEVELS, at_level};

/// How long a burst lasts where it was not measured.
const LENGTH_S: f64 = 0.1;
/// Frames by which bursts are matched with the frames measured, and how often they are.
const FRAMES: usize = 10_000;
const ROUNDS: usize = 4;

/// Numbers that are the same every time (splitmix64, Marsaglia's polar method).
pub(in crate::plan) struct Random(pub u64);

impl Random {
    /// From 0 to 1.
    pub fn unit(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ mixed >> 31) >> 11) as f64 / (1u64 << 53) as f64
    }

    pub fn normal(&mut self) -> f64 {
        loop {
            let (u, v) = (2.0 * self.unit() - 1.0, 2.0 * self.unit() - 1.0);
            let square = u * u + v * v;
            if square > 0.0 && square < 1.0 {
                return u * (-2.0 * math::ln(square) / square).sqrt();
            }
        }
    }
}

/// The bursts of a problem.
pub(in crate::plan) struct MatchedBursts<'a> {
    pub problem: &'a Problem,
    /// Their mean length.
    pub length_s: f64,
    /// Share of a block's standard deviation that is its own.
    pub own: f64,
    /// For each clock their deviations, in standard deviations of a block: the quantiles at [`LEVELS`].
    quantiles: Vec<[f64; LEVELS.len()]>,
}

/// One of them.
#[derive(Clone, Copy)]
pub(in crate::plan) struct Burst {
    /// The share of all bursts that slow no more.
    pub rank: f64,
    /// When it ends.
    pub ends: f64,
}

impl<'a> MatchedBursts<'a> {
    pub fn new(problem: &'a Problem) -> Self {
        let (length_s, share) = match &problem.noise {
            Noise::Frames { bursts: Some(bursts), .. } => (bursts.length_s, bursts.share),
            Noise::Moments { correlation } | Noise::Frames { correlation, .. } => (LENGTH_S, *correlation),
        };
        let own = (1.0 - share).max(0.0).sqrt();
        let mut bursts = Self { problem, length_s, own, quantiles: Vec::new() };
        bursts.quantiles = (0..problem.clocks.len()).map(|clock| bursts.matched(clock)).collect();
        bursts
    }

    /// By how many of their standard deviations blocks at a clock deviate in a burst of this rank.
    pub fn deviation(&self, clock: usize, rank: f64) -> f64 {
        at_level(&self.quantiles[clock], rank)
    }

    /// The burst at a time that never goes back.
    pub fn at(&self, burst: &mut Burst, now: f64, random: &mut Random) {
        while burst.ends <= now {
            burst.ends -= self.length_s * math::ln(random.unit().max(1e-300));
            burst.rank = random.unit();
        }
    }

    /// Deviations in bursts such that frames at a clock deviate as those that were measured: what blocks deviated by,
    /// moved at every level by what the frames that come of it lack. A frame has part of several bursts, so its
    /// deviation is nearer to the mean than theirs.
    fn matched(&self, clock: usize) -> [f64; LEVELS.len()] {
        let measured = LEVELS.map(|p| self.problem.deviation(clock, p));
        let mut quantiles = match &self.problem.noise {
            Noise::Frames { bursts: Some(bursts), .. } => LEVELS.map(|p| at_level(&bursts.quantiles, p)),
            _ => measured,
        };
        for _ in 0..ROUNDS {
            let frames = self.frames(clock, &quantiles);
            let mut highest = f64::NEG_INFINITY;
            for ((quantile, p), measured) in quantiles.iter_mut().zip(LEVELS).zip(measured) {
                let found = frames[((p * FRAMES as f64) as usize).min(FRAMES - 1)];
                highest = highest.max(*quantile + measured - found);
                *quantile = highest;
            }
        }
        quantiles
    }

    /// Deviations of frames at a clock in such bursts, ascending, in units of the blocks' standard deviations.
    fn frames(&self, clock: usize, quantiles: &[f64]) -> Vec<f64> {
        let problem = self.problem;
        let time_s = fixed::frame(problem, clock).time_s;
        let sd: f64 = problem.blocks.iter().map(|b| b.time_sd_s[clock]).sum();
        let squares: f64 = problem.blocks.iter().map(|b| b.time_sd_s[clock].powi(2)).sum();
        let own = self.own * squares.sqrt() / sd.max(1e-12);
        let (mut random, mut burst, mut now) = (Random(3), Burst { rank: 0.5, ends: 0.0 }, 0.0);
        let mut late: Vec<f64> = (0..FRAMES)
            .map(|_| {
                let (mut at, end, mut sum) = (now, now + time_s, own * random.normal());
                while at < end {
                    self.at(&mut burst, at, &mut random);
                    let next = burst.ends.min(end);
                    sum += at_level(quantiles, burst.rank) * (next - at) / time_s;
                    at = next;
                }
                now += problem.period_s.max(time_s);
                sum
            })
            .collect();
        late.sort_unstable_by(f64::total_cmp);
        late
    }
}
