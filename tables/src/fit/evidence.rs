//! How much each form is believed, and what residuals are like: by predicting every clock from the others.
//!
//! With four clocks the left-out errors of a form are a coin (a lucky point made `cpu-dvfs` or `power` plan on boards where
//! they are three times worse), so no form is chosen: all are averaged, each with what it did on measured devices as its
//! prior and the left-out clocks, seen through the process, as its likelihood.

use std::vec::Vec;

use crate::math;
use crate::model::{Process, Seen};

/// One clock of a series left out. Residuals are ln(measured / predicted) per form, fitted without this clock; a form that
/// has too few points left has none.
#[derive(Clone, Debug)]
pub struct LeftOut {
    /// Log clocks of the rest, and of the clock itself.
    pub at: Vec<f64>,
    pub out_at: f64,
    /// Per form: the residuals of the rest and of the clock itself.
    pub forms: Vec<Option<(Vec<f64>, f64)>>,
}

/// Below this, in relative terms, errors at left-out clocks do not tell forms apart: run-to-run noise and luck.
const LUCK: f64 = 0.01;

/// Degrees of freedom of the left-out errors' distribution: heavy tails, so that no single point decides.
const DEGREES: f64 = 4.0;

impl LeftOut {
    /// What is still unexplained per form once the process has corrected it, and the standard deviation that the process
    /// gives a measurement there.
    fn errors(&self, process: Process) -> Option<(Vec<Option<f64>>, f64)> {
        let seen = Seen::new(process, self.at.clone())?;
        let error = |form: &Option<(Vec<f64>, f64)>| {
            form.as_ref().map(|(rest, out)| out - seen.mean(self.out_at, &seen.solve(rest)))
        };
        let sd = (seen.variance(self.out_at) + process.noise * process.noise).sqrt();
        Some((self.forms.iter().map(error).collect(), sd))
    }
}

/// Per form: the log likelihood of a series' left-out clocks; `None` for forms that could not be judged at each.
fn likelihoods(series: &[LeftOut], process: Process, luck: f64) -> Vec<Option<f64>> {
    let forms = series.first().map_or(0, |left| left.forms.len());
    let mut sums = std::vec![Some(0.0); forms];
    for left in series {
        let Some((errors, sd)) = left.errors(process) else { return std::vec![None; forms] };
        let sd = (sd * sd + luck * luck).sqrt();
        for (sum, error) in sums.iter_mut().zip(errors) {
            *sum = sum.zip(error).map(|(sum, error)| sum + student(error / sd) - math::ln(sd));
        }
    }
    sums
}

/// Log density of Student's t, up to a constant.
fn student(z: f64) -> f64 {
    -0.5 * (DEGREES + 1.0) * math::ln_1p(z * z / DEGREES)
}

/// The weight of each form in a group of series that share their weights: the prior times the likelihood, adding up to 1.
/// Where no form can be judged, `few` has it all.
pub fn weights(series: &[&[LeftOut]], prior: &[f64], few: usize, process: Process) -> Vec<f64> {
    let mut logs: Vec<Option<f64>> = prior.iter().map(|prior| Some(math::ln(*prior))).collect();
    for left in series.iter().filter(|left| !left.is_empty()) {
        let found = likelihoods(left, process, LUCK);
        logs.iter_mut().zip(found).for_each(|(log, found)| *log = log.zip(found).map(|(a, b)| a + b));
    }
    let judged = series.iter().any(|left| !left.is_empty());
    let best = logs.iter().flatten().copied().filter(|_| judged).max_by(f64::total_cmp);
    let Some(best) = best else {
        return (0..prior.len()).map(|i| if i == few { 1.0 } else { 0.0 }).collect();
    };
    // What has next to no weight is not worth its time.
    const LEAST: f64 = 1e-3;
    let raw: Vec<f64> = logs.iter().map(|log| log.map_or(0.0, |log| math::exp(log - best))).collect();
    let kept: Vec<f64> = raw.into_iter().map(|weight| if weight < LEAST { 0.0 } else { weight }).collect();
    let total: f64 = kept.iter().sum();
    kept.into_iter().map(|weight| weight / total).collect()
}

/// The device's process: of a grid, the one under which left-out clocks are likeliest, with `usual` as its prior, each
/// parameter to within a factor of 1.6 (one standard deviation).
pub fn process(series: &[Vec<LeftOut>], prior: &[f64], usual: Process) -> Process {
    const SPREAD: f64 = 0.5;
    let far = |a: f64, b: f64| -0.5 * (math::ln(a / b) / SPREAD).powi(2);
    let score = |p: Process| {
        let believed = far(p.sd, usual.sd) + far(p.length, usual.length) + far(p.noise, usual.noise);
        let of_series = |left: &Vec<LeftOut>| {
            let logs: Vec<f64> = likelihoods(left, p, 0.0)
                .into_iter()
                .zip(prior)
                .filter_map(|(found, prior)| Some(found? + math::ln(*prior)))
                .collect();
            let best = logs.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            if best.is_finite() { best + math::ln(logs.iter().map(|log| math::exp(log - best)).sum()) } else { 0.0 }
        };
        believed + series.iter().map(of_series).sum::<f64>()
    };
    let mut best = (usual, score(usual));
    for sd in [0.25, 0.5, 1.0, 2.0, 4.0] {
        for length in [0.5, 1.0, 2.0] {
            for noise in [0.125, 0.25, 0.5, 1.0, 2.0, 4.0] {
                let tried = Process { sd: usual.sd * sd, length: usual.length * length, noise: usual.noise * noise };
                let found = score(tried);
                if found > best.1 {
                    best = (tried, found);
                }
            }
        }
    }
    best.0
}

/// How many times the device's process a series' residuals are: its left-out errors in standard deviations, with the
/// device as so many errors of size 1 beside them (the mean of an inverse chi-squared distribution). One noisy series
/// neither widens the others nor is taken for as good as they are. Only clocks between others count: what is planned lies
/// between measured clocks, and how far a form is off beyond them says nothing of that.
pub fn scale(series: &[LeftOut], weights: &[f64], process: Process) -> f64 {
    let of_clock = |left: &LeftOut| {
        let (errors, sd) = left.errors(process)?;
        let error = together(&errors, weights)?;
        let kept = errors.iter().zip(weights).filter(|(_, weight)| **weight > 0.0);
        let apart: f64 = kept.map(|(other, weight)| weight * (other.unwrap_or(error) - error).powi(2)).sum();
        Some(error * error / (sd * sd + apart))
    };
    let between =
        |left: &&LeftOut| left.at.iter().any(|at| *at < left.out_at) && left.at.iter().any(|at| *at > left.out_at);
    let squares: Option<Vec<f64>> = series.iter().filter(between).map(of_clock).collect();
    squares.map_or(1.0, |squares| ((DEGREES + squares.iter().sum::<f64>()) / (DEGREES + squares.len() as f64)).sqrt())
}

/// The error of all forms by their weights; `None` where one of them could not be judged.
fn together(errors: &[Option<f64>], weights: &[f64]) -> Option<f64> {
    let kept = errors.iter().zip(weights).filter(|(_, weight)| **weight > 0.0);
    kept.map(|(error, weight)| Some(weight * (*error)?)).sum()
}

/// Relative errors at the left-out clocks, of all forms by their weights.
pub fn errors(series: &[LeftOut], weights: &[f64], process: Process) -> Vec<f64> {
    let of_clock = |left: &LeftOut| {
        let (errors, _) = left.errors(process)?;
        Some((math::exp(-together(&errors, weights)?) - 1.0).abs())
    };
    series.iter().map(of_clock).collect::<Option<_>>().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec;

    const USUAL: Process = Process { sd: 0.03, length: 0.6, noise: 0.005 };

    fn series(errors: [[f64; 4]; 2]) -> Vec<LeftOut> {
        let left = |i: usize| LeftOut {
            at: vec![10.0, 11.0],
            out_at: i as f64,
            forms: errors.iter().map(|form| Some((vec![0.0, 0.0], form[i]))).collect(),
        };
        (0..4).map(left).collect()
    }

    #[test]
    fn one_lucky_point_decides_nothing_and_a_series_does() {
        let lucky = series([[0.02, 0.01, 0.01, 0.0], [0.01, 0.01, 0.01, 0.01]]);
        let found = weights(&[&lucky], &[0.1, 0.9], 1, USUAL);
        assert!(found[1] > 0.85, "{found:?}");
        let clear = series([[0.0; 4], [0.3; 4]]);
        let found = weights(&[&clear], &[0.1, 0.9], 1, USUAL);
        assert!(found[0] > 0.99 && (found[0] + found[1] - 1.0).abs() < 1e-12, "{found:?}");
        assert_eq!(weights(&[], &[0.1, 0.9], 1, USUAL), [0.0, 1.0]);
    }

    #[test]
    fn a_noisy_series_is_told_from_its_device() {
        let scaled = |error: f64, out_at: f64| {
            let mut left = series([[error, -error, error, -error]; 2]);
            left.iter_mut().for_each(|left| left.out_at = out_at);
            scale(&left, &[0.5, 0.5], USUAL)
        };
        let (quiet, noisy) = (scaled(0.001, 10.5), scaled(0.3, 10.5));
        assert!(quiet > 0.7 && quiet < 0.72 && noisy > 5.0, "{quiet} {noisy}");
        // Beyond the others, and where there is nothing to judge by.
        assert_eq!((scaled(0.3, 12.0), scale(&[], &[1.0], USUAL)), (1.0, 1.0));
    }

    #[test]
    fn the_process_is_the_datas_where_there_is_enough() {
        let many: Vec<_> = (0..30).map(|_| series([[0.1, -0.1, 0.12, -0.09]; 2])).collect();
        assert_eq!(process(&many, &[0.5, 0.5], USUAL).sd, 0.12);
        assert_eq!(process(&[], &[0.5, 0.5], USUAL), USUAL);
    }
}
