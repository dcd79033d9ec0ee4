//! How late a frame may be, as a curve and as cuts below it.

use super::graph::Cost;
use crate::plan::problem::{Noise, Problem};

/// How the spread of a frame's time enters its bound, t + sqrt(A^2 + k^2 v): A is common to all blocks, v is
/// independent.
#[derive(Clone, Copy, Debug)]
pub(in crate::plan) struct Spread {
    /// A per sum of standard deviations.
    pub common: f64,
    /// k.
    pub independent: f64,
    /// The share of the blocks' variance that is independent.
    pub block_share: f64,
}

impl Spread {
    pub fn new(problem: &Problem) -> Self {
        match &problem.noise {
            Noise::Frames { .. } => Self { common: 1.0, independent: 1.0, block_share: 0.0 },
            Noise::Moments { correlation } => {
                let k = problem.cantelli();
                Self { common: k * correlation.sqrt(), independent: k, block_share: 1.0 - correlation }
            }
        }
    }

    /// The time that a frame exceeds with at most the accepted probability.
    pub fn bound_s(&self, cost: &Cost) -> f64 {
        let common_s = self.common * cost.sd_s;
        cost.time_s + (common_s * common_s + self.independent * self.independent * cost.var_s2).sqrt()
    }

    fn root(&self, var_s2: f64) -> f64 {
        self.independent * var_s2.max(0.0).sqrt()
    }
}

/// From one variance to another.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(in crate::plan) struct Range {
    pub low: f64,
    pub high: f64,
}

impl Range {
    /// By how much the chord lies below the root, at most: where the root is midway between the ends' roots.
    pub fn chord_error_s(&self, spread: &Spread) -> f64 {
        let (a, b) = (spread.root(self.low), spread.root(self.high));
        if b > 0.0 { (b - a) * (b - a) / (4.0 * (a + b)) } else { 0.0 }
    }

    pub fn holds(&self, var_s2: f64) -> bool {
        self.low < var_s2 && var_s2 < self.high
    }

    /// The variance at which the chord lies lowest.
    pub fn middle(&self) -> f64 {
        (0.5 * (self.low.sqrt() + self.high.sqrt())).powi(2)
    }
}

/// A limit to a sum over arcs that every plan keeps to.
///
/// That of the deadline is for plans whose variance lies in a range: sqrt(A^2 + w^2) >= cos A + sin w for every angle, and is that where tan = w / A; w = k sqrt(v) is concave, so that it
/// lies above its chord within the range, and below it outside: there the cut allows no path that the bound forbids.
#[derive(Clone, Copy, Debug)]
pub(in crate::plan) struct Cut {
    pub per_sd: f64,
    pub per_var: f64,
    /// Of the changes between frames.
    pub between: f64,
    /// What the sum may come to.
    pub limit_s: f64,
}

impl Cut {
    /// For paths with no variance, where all others have at least `least`: these it forbids.
    pub fn alone(spread: &Spread, least: f64, deadline_s: f64) -> Self {
        let per_var = 2.0 * deadline_s / least.max(1e-30);
        Self { per_sd: spread.common, per_var, between: 0.0, limit_s: deadline_s }
    }

    /// Close in the middle of the range where the common part is about this.
    pub fn deadline(spread: &Spread, range: Range, common_s: f64, deadline_s: f64) -> Self {
        let (a, b) = (spread.root(range.low), spread.root(range.high));
        let slope = match range {
            Range { low, high } if high > low => (b - a) / (high - low),
            Range { low, .. } if low > 0.0 => 0.5 * a / low,
            _ => 0.0,
        };
        let w = a + slope * (range.middle() - range.low);
        let norm = (common_s * common_s + w * w).sqrt();
        let (cos, sin) = if norm > 0.0 { (common_s / norm, w / norm) } else { (1.0, 0.0) };
        let offset_s = sin * (a - slope * range.low);
        Self { per_sd: cos * spread.common, per_var: sin * slope, between: 0.0, limit_s: deadline_s - offset_s }
    }

    /// The frame and the changes behind it and before the next one fit into the period.
    pub fn period(period_s: f64) -> Self {
        Self { per_sd: 0.0, per_var: 0.0, between: 1.0, limit_s: period_s }
    }

    /// The sum over a path, with the time of its changes between frames.
    pub fn of(&self, cost: &Cost, between_s: f64) -> f64 {
        cost.time_s + self.per_sd * cost.sd_s + self.per_var * cost.var_s2 + self.between * between_s
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cut_lies_below_the_bound_within_its_range_and_near_it() {
        let spread = Spread { common: 1.0, independent: 3.0, block_share: 0.0 };
        let range = Range { low: 1e-6, high: 2e-6 };
        let cut = Cut::deadline(&spread, range, 0.004, 1.0);
        let mut nearest = f64::INFINITY;
        for i in 0..=100 {
            for sd_s in [0.0, 0.003, 0.004, 0.005, 0.02] {
                let var_s2 = range.low + (range.high - range.low) * f64::from(i) / 100.0;
                let cost = Cost { energy_j: 0.0, time_s: 0.1, sd_s, var_s2 };
                let above = spread.bound_s(&cost) - cut.of(&cost, 0.5) - (1.0 - cut.limit_s);
                assert!(above >= -1e-15, "{above} at {cost:?}");
                nearest = nearest.min(above);
            }
        }
        assert!(nearest < range.chord_error_s(&spread), "{nearest}");
    }

    #[test]
    fn a_chord_is_furthest_from_the_root_in_the_middle() {
        let spread = Spread { common: 0.0, independent: 2.0, block_share: 0.0 };
        let range = Range { low: 1e-6, high: 9e-6 };
        let chord = |v: f64| 2.0 * (1e-3 + (v - 1e-6) * (3e-3 - 1e-3) / 8e-6);
        let error = |v: f64| 2.0 * v.sqrt() - chord(v);
        let worst = (0..=1000).map(|i| error(1e-6 + 8e-9 * f64::from(i))).fold(0.0, f64::max);
        assert!((worst / range.chord_error_s(&spread) - 1.0).abs() < 1e-4);
        assert!((error(range.middle()) / worst - 1.0).abs() < 1e-4);
    }
}
