//! How far a fit can be trusted: errors, 95 % intervals, and what the data does not determine.

use std::collections::BTreeMap;
use std::string::String;
use std::vec::Vec;

use super::marquardt::inverse_diagonal;
use crate::math;
use crate::model::{Params, PowerModel, Quality, TimeModel};
use crate::stats::{NORMAL95, mean, student95};

/// What both kinds of model have in common here.
pub trait Fitted: Copy {
    /// Parameters by name.
    fn params(&mut self) -> Params<'_>;
    /// Whether the parameter was fitted, or is fixed by the form.
    fn is_free(&self, name: &str) -> bool;
}

impl Fitted for TimeModel {
    fn params(&mut self) -> Params<'_> {
        self.params()
    }

    fn is_free(&self, name: &str) -> bool {
        name != "q" || matches!(self, Self::SmoothRooflineQ { .. })
    }
}

impl Fitted for PowerModel {
    fn params(&mut self) -> Params<'_> {
        self.params()
    }

    fn is_free(&self, _: &str) -> bool {
        true
    }
}

/// Relative errors of predictions.
pub fn errors(pairs: impl Iterator<Item = (f64, f64)>) -> Vec<f64> {
    pairs.map(|(predicted, measured)| (predicted / measured - 1.0).abs()).collect()
}

/// The report of one fit. `predict(model, point)` over `measured` gives the fit's own errors; `lofo` and `held` are
/// relative errors that were found outside it, empty where there are none.
pub fn quality<M: Fitted, P>(
    model: M,
    points: &[(P, f64)],
    predict: impl Fn(&M, &P) -> f64,
    lofo: &[f64],
    held: &[f64],
) -> Quality {
    let fit = errors(points.iter().map(|(point, measured)| (predict(&model, point), *measured)));
    let some = |errors: &[f64]| (!errors.is_empty()).then(|| mean(errors));
    let mut quality = Quality {
        mape_fit: mean(&fit),
        mape_lofo: some(lofo),
        mape_heldout: some(held),
        worst_heldout: held.iter().copied().max_by(f64::total_cmp),
        ..Quality::default()
    };
    intervals(model, points, predict, &mut quality);
    quality
}

impl Quality {
    /// Makes these the errors of what plans, and keeps the form's own.
    pub fn correct(&mut self, fit: &[f64], lofo: &[f64], held: &[f64]) {
        let some = |errors: &[f64]| (!errors.is_empty()).then(|| mean(errors));
        self.mape_alone = self.mape_heldout.or(self.mape_lofo);
        self.mape_fit = mean(fit);
        self.mape_lofo = some(lofo);
        self.mape_heldout = some(held);
        self.worst_heldout = held.iter().copied().max_by(f64::total_cmp);
    }

    /// Counts how many points lie within their 95 % interval: (predicted, measured, relative standard deviation).
    pub fn cover(&mut self, points: impl Iterator<Item = (f64, f64, f64)>) {
        let inside: Vec<f64> = points
            .map(|(predicted, measured, sd)| f64::from(u8::from(math::ln(measured / predicted).abs() <= NORMAL95 * sd)))
            .collect();
        self.covered95 = (!inside.is_empty()).then(|| mean(&inside));
    }
}

/// Linearised intervals: s^2 (J^T J)^-1 at the solution, over the parameters that are not at their bound.
fn intervals<M: Fitted, P>(mut model: M, points: &[(P, f64)], predict: impl Fn(&M, &P) -> f64, quality: &mut Quality) {
    let named: Vec<(&'static str, f64)> = model.params().iter().map(|(name, value)| (*name, **value)).collect();
    let mut free = Vec::new();
    for (i, (name, value)) in named.into_iter().enumerate() {
        if !model.is_free(name) {
            continue;
        }
        if value <= 0.0 {
            quality.warnings.push(std::format!("{name} is 0: the measured clocks show nothing of it"));
        } else {
            free.push((i, name, value));
        }
    }
    if points.len() <= free.len() {
        quality.warnings.push(std::format!(
            "{} points for {} parameters: no interval can be given",
            points.len(),
            free.len()
        ));
        return;
    }
    let columns: Vec<Vec<f64>> = free
        .iter()
        .map(|&(i, _, value)| {
            let step = value * 1e-5;
            let (up, down) = (moved(model, i, value + step), moved(model, i, value - step));
            points.iter().map(|(p, t)| (predict(&up, p) - predict(&down, p)) / (2.0 * step) / t).collect()
        })
        .collect();
    let gram: Vec<Vec<f64>> =
        columns.iter().map(|a| columns.iter().map(|b| a.iter().zip(b).map(|(x, y)| x * y).sum()).collect()).collect();
    let Some(diagonal) = inverse_diagonal(&gram) else {
        let names: Vec<&str> = free.iter().map(|(_, name, _)| *name).collect();
        quality.warnings.push(std::format!("{} cannot be told apart at these clocks", names.join(" and ")));
        return;
    };
    let squares: f64 = points.iter().map(|(point, t)| (predict(&model, point) / t - 1.0).powi(2)).sum();
    let degrees = points.len() - free.len();
    let scale = student95(degrees) * (squares / degrees as f64).sqrt();
    let mut ci95: BTreeMap<String, [f64; 2]> = BTreeMap::new();
    for ((_, name, value), variance) in free.into_iter().zip(diagonal) {
        let half = scale * variance.sqrt();
        if half > value {
            quality.warnings.push(std::format!("{name} is not determined: its 95 % interval is wider than its value"));
        }
        ci95.insert(String::from(name), [(value - half).max(0.0), value + half]);
    }
    quality.ci95 = ci95;
}

/// The model with one parameter, by its position, set to a value.
pub fn moved<M: Fitted>(mut model: M, i: usize, to: f64) -> M {
    if let Some((_, slot)) = model.params().get_mut(i) {
        **slot = to;
    }
    model
}
