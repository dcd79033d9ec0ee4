//! Power forms by relative least squares: coefficients of each block inside a search over V(f), which all blocks and GPU
//! rails of the device share.

use std::vec::Vec;

use super::least::{Linear, non_negative};
use super::marquardt::descend;
use crate::model::{PowerForm, PowerModel, Voltage};
use crate::stats::student95;

/// One point: the clock relative to the reference, the modelled seconds there, and the measured watts.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Obs {
    pub x: f64,
    pub t: f64,
    pub p: f64,
}

/// Noise of one power reading, run to run: what the prior is weighed against (TX2, module input).
const NOISE: f64 = 0.011;

/// How far knee and slope may reasonably lie from [`Voltage::PRIOR`]: one standard deviation. Wide, as boards differ.
const PRIOR_SD: Voltage = Voltage { knee: 0.1, slope: 0.5 };

/// Bounds of the search.
const KNEE: (f64, f64) = (0.2, 0.95);
const SLOPE: (f64, f64) = (0.0, 4.0);

/// Fits one form with V(f) given; the points are at least one.
pub fn fit(form: PowerForm, points: &[Obs], voltage: &Voltage) -> PowerModel {
    let [a, b, c, _] = linear(form, points, voltage).coefficients;
    match form {
        PowerForm::Cubic => PowerModel::Cubic { k_w: a },
        PowerForm::StaticCubic => PowerModel::StaticCubic { p0_w: a, k_w: b },
        PowerForm::VoltageFloor => PowerModel::VoltageFloor { p0_w: a, k_w: b },
        PowerForm::Activity => PowerModel::Activity { p0_w: a, e_j: b },
        PowerForm::VoltageActivity => PowerModel::VoltageActivity { p0_w: a, k_w: b, e_j: c },
    }
}

fn linear(form: PowerForm, points: &[Obs], voltage: &Voltage) -> Linear {
    let cube = |o: &Obs| o.x * o.x * o.x / o.p;
    match form {
        PowerForm::Cubic => non_negative(points.iter().map(|o| [cube(o)])),
        PowerForm::StaticCubic => non_negative(points.iter().map(|o| [1.0 / o.p, cube(o)])),
        PowerForm::VoltageFloor => non_negative(points.iter().map(|o| {
            let v = voltage.at(o.x);
            [1.0 / o.p, o.x * v * v / o.p]
        })),
        PowerForm::Activity => non_negative(points.iter().map(|o| {
            let v = voltage.at(o.x);
            [1.0 / o.p, v * v / o.t / o.p]
        })),
        PowerForm::VoltageActivity => non_negative(points.iter().map(|o| {
            let v = voltage.at(o.x);
            [1.0 / o.p, o.x * v * v / o.p, 1.0 / o.t / o.p]
        })),
    }
}

/// V(f) of the device from every series of power under one form: least squares with the prior as two more residuals,
/// so that it decides where clocks are few and is outweighed where they are many. The blocks' own coefficients are
/// solved exactly at every step; `starts` is where the search begins.
pub fn voltage(form: PowerForm, series: &[Vec<Obs>], starts: &[Voltage]) -> Voltage {
    let mut best = (Voltage::PRIOR, f64::INFINITY);
    for start in starts {
        let ([knee, slope], squares) = descend([start.knee, start.slope], &[KNEE, SLOPE], |&[knee, slope], out| {
            residuals(form, series, &Voltage { knee, slope }, out);
        });
        if squares < best.1 {
            best = (Voltage { knee, slope }, squares);
        }
    }
    best.0
}

/// How far the prior and the points are from a V(f), each in its standard deviation. Every series takes the parameters
/// that suit it best.
fn residuals(form: PowerForm, series: &[Vec<Obs>], voltage: &Voltage, out: &mut Vec<f64>) {
    out.push((voltage.knee - Voltage::PRIOR.knee) / PRIOR_SD.knee);
    out.push((voltage.slope - Voltage::PRIOR.slope) / PRIOR_SD.slope);
    for points in series {
        let model = fit(form, points, voltage);
        out.extend(points.iter().map(|o| (model.power_w(o.x, o.t, voltage) / o.p - 1.0) / NOISE));
    }
}

/// 95 % intervals of knee and slope by profile: where the squares, least over all else, have grown by as much as noise
/// makes them grow once in twenty times. The curvature at the fit will not do, as a series' coefficients end at 0. `None`
/// where no points are left over.
pub fn voltage_ci95(form: PowerForm, series: &[Vec<Obs>], fitted: &Voltage) -> Option<[[f64; 2]; 2]> {
    let mut found = Vec::new();
    residuals(form, series, fitted, &mut found);
    let least: f64 = found.iter().map(|r| r * r).sum();
    // Knee and slope have two residuals of their own: the prior's.
    let used: usize = series.iter().map(|points| points.len().min(form.parameters())).sum();
    let degrees = found.len().checked_sub(2 + used).filter(|degrees| *degrees > 0)?;
    let most = least * (1.0 + student95(degrees).powi(2) / degrees as f64);
    let with_knee = |knee: f64| {
        descend([fitted.slope], &[SLOPE], |&[slope], out| residuals(form, series, &Voltage { knee, slope }, out)).1
    };
    let with_slope = |slope: f64| {
        descend([fitted.knee], &[KNEE], |&[knee], out| residuals(form, series, &Voltage { knee, slope }, out)).1
    };
    let ends = |value: f64, (low, high): (f64, f64), squares: &dyn Fn(f64) -> f64| {
        [low, high].map(|end| {
            if squares(end) <= most {
                return end;
            }
            // To a thousandth of the range.
            let (mut inside, mut outside) = (value, end);
            for _ in 0..10 {
                let middle = 0.5 * (inside + outside);
                if squares(middle) <= most { inside = middle } else { outside = middle }
            }
            inside
        })
    };
    Some([ends(fitted.knee, KNEE, &with_knee), ends(fitted.slope, SLOPE, &with_slope)])
}

/// Where the search for V(f) begins when nothing is known: knees across the range.
pub const STARTS: [Voltage; 4] = [
    Voltage::PRIOR,
    Voltage { knee: 0.4, slope: 0.6 },
    Voltage { knee: 0.7, slope: 0.8 },
    Voltage { knee: 0.8, slope: 2.0 },
];
