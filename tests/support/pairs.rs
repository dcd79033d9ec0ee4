//! The governor that follows the feedback table against the one that follows the fixed list, on the same seeds.

use std::path::Path;

use jetpace::session::Drive;
use jetpace_tables::table::Table;
use jetpace_tables::units::Nanos;

use crate::virtual_boards::{FIRST_SEED, calibrated, frame_at, planned, run_on};

/// A difference, feedback less list, over pairs of runs.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Difference {
    /// Its mean.
    pub mean: f64,
    /// The list's mean.
    pub list: f64,
    /// Half of its 95 % interval.
    pub half: f64,
}

impl Difference {
    fn of(pairs: &[(f64, f64)]) -> Self {
        let n = pairs.len() as f64;
        let mean = pairs.iter().map(|(feedback, list)| feedback - list).sum::<f64>() / n;
        let variance = pairs.iter().map(|(feedback, list)| (feedback - list - mean).powi(2)).sum::<f64>() / (n - 1.0);
        // Student's t at 97.5 %, for 100 seeds; for fewer it is too small, which is the strict side.
        let list = pairs.iter().map(|(_, list)| list).sum::<f64>() / n;
        Self { mean, list, half: 1.984 * (variance / n).sqrt() }
    }

    /// In percent, with its interval.
    pub fn said(&self) -> String {
        format!("{:+.3} +- {:.3} %", self.mean * 100.0, self.half * 100.0)
    }

    /// Whether it is above zero beyond its interval.
    pub fn is_higher(&self) -> bool {
        self.mean - self.half > 0.0
    }
}

/// One board, network and deadline.
#[derive(Debug)]
pub struct Paired {
    /// "board network factor".
    pub name: String,
    /// Misses as a share of frames; `None` where both tables are the same.
    pub misses: Option<Difference>,
    /// Energy as a fraction of the list's.
    pub energy: Option<Difference>,
    /// Both differences for each seed.
    pub seeds: Vec<(f64, f64)>,
}

/// Over plans together: the difference in misses and in energy, the mean over the plans for each seed.
pub fn together(plans: &[Paired]) -> (Difference, Difference) {
    let seeds = plans.first().map_or(0, |plan| plan.seeds.len());
    let mean = |of: fn(&(f64, f64)) -> f64| {
        let of_seed = |seed: usize| plans.iter().map(|plan| of(&plan.seeds[seed])).sum::<f64>() / plans.len() as f64;
        Difference::of(&(0..seeds).map(|seed| (of_seed(seed), 0.0)).collect::<Vec<_>>())
    };
    (mean(|d| d.0), mean(|d| d.1))
}

impl Paired {
    /// What does not hold; empty where feedback is no worse.
    pub fn faults(&self) -> Vec<&'static str> {
        let higher = |difference: &Option<Difference>| difference.is_some_and(|d| d.is_higher());
        let faults = [("misses more", higher(&self.misses)), ("takes more energy", higher(&self.energy))];
        faults.into_iter().filter(|(_, is)| *is).map(|(what, _)| what).collect()
    }

    /// Its line.
    pub fn row(&self) -> String {
        match (&self.misses, &self.energy) {
            (Some(misses), Some(energy)) => {
                let (list, faults) = (misses.list * 100.0, self.faults().join(", "));
                format!("{}: misses {list:.3} % {}, energy {}  {faults}", self.name, misses.said(), energy.said())
            }
            _ => format!("{}: the same table", self.name),
        }
    }
}

/// Calibrates, fits and plans with the commands themselves, with feedback and without, and runs both tables on the same
/// seeds. Deadlines that no plan meets are left out.
///
/// # Panics
/// Where a command fails: this is a test's tool.
pub fn pairs(folder: &Path, board: &str, network: &str, factors: &[f64], seeds: u64, frames: u64) -> Vec<Paired> {
    let (net, truth) = calibrated(folder, board, network);
    let top = truth.clocks().len() - 1;
    let paired = factors.iter().filter_map(|&factor| {
        let deadline = Nanos::from_secs_f64(factor * frame_at(&truth, &net, top));
        let table = |more: &[&str]| planned(folder, deadline, more);
        let (feedback, list) = (table(&[])?, table(&["--list"])?);
        let name = format!("{board} {network} {factor:.2}x");
        if feedback == list {
            let seeds = vec![(0.0, 0.0); seeds as usize];
            return Some(Paired { name, misses: None, energy: None, seeds });
        }
        let run = |table: &Table, seed| {
            let run = run_on((board, seed), &net, deadline, frames, Drive::Table(table));
            (run.miss_rate(), run.energy.map_or(f64::NAN, |energy| energy.as_joules_f64()))
        };
        let (mut misses, mut energy) = (Vec::new(), Vec::new());
        for seed in FIRST_SEED..FIRST_SEED + seeds {
            let (ours, theirs) = (run(&feedback, seed), run(&list, seed));
            misses.push((ours.0, theirs.0));
            energy.push((ours.1 / theirs.1, 1.0));
        }
        let seeds = misses.iter().zip(&energy).map(|(m, e)| (m.0 - m.1, e.0 - e.1)).collect();
        Some(Paired { name, misses: Some(Difference::of(&misses)), energy: Some(Difference::of(&energy)), seeds })
    });
    paired.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_difference_by_hand() {
        let d = Difference::of(&[(1.0, 0.0), (3.0, 0.0), (2.0, 0.0), (2.0, 0.0)]);
        // Variance 2/3 over 4 pairs.
        assert!((d.mean - 2.0).abs() < 1e-12 && (d.half - 1.984 * (1.0_f64 / 6.0).sqrt()).abs() < 1e-12);
        assert!(d.is_higher() && !Difference { mean: 0.5, half: 0.6, ..d }.is_higher());
        let with = |misses, energy| Paired {
            name: String::new(),
            misses: Some(misses),
            energy: Some(energy),
            seeds: Vec::new(),
        };
        assert_eq!(with(d, Difference::default()).faults(), ["misses more"]);
    }
}
