//! Time forms by relative least squares. Every form is linear in its coefficients once one or two shape parameters are
//! chosen, so the coefficients are solved exactly inside a search over the shapes (variable projection).

use std::vec::Vec;

use super::least::{minimum, non_negative};
use super::marquardt::descend;
use crate::math;
use crate::model::{TimeForm, TimeModel};

/// One point: clocks relative to their references, and the measured seconds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Obs {
    pub x: f64,
    pub e: f64,
    pub t: f64,
}

/// Bounds of the exponent of `power`. Below 1 the clock helps less than in proportion; a board that lowers other
/// clocks along with this one can show more than 1.
const EXPONENT: (f64, f64) = (0.05, 4.0);

/// Bounds of a free q: 1 is the sum of both sides, 16 their maximum within 5 %.
const Q: (f64, f64) = (1.0, 16.0);

/// The exponent of `smooth-roofline`: between measured TX2 and RTX kernels' best ones.
pub const Q_FIXED: f64 = 4.0;

/// The exponent with a memory clock.
const Q_EMC: f64 = 3.0;

/// Cells of a shape's grid before it is refined.
const CELLS: usize = 32;

/// How finely a shape is found, as a fraction of a grid cell.
const FINE: f64 = 1e-6;

/// Fits one form; the points are at least one.
pub fn fit(form: TimeForm, points: &[Obs]) -> TimeModel {
    match form {
        TimeForm::CpuDvfs => {
            let [w_s, ..] = non_negative(points.iter().map(|o| [1.0 / o.x / o.t])).coefficients;
            TimeModel::CpuDvfs { w_s }
        }
        TimeForm::Additive => {
            let [w_s, c_s, ..] = non_negative(points.iter().map(|o| [1.0 / o.x / o.t, 1.0 / o.t])).coefficients;
            TimeModel::Additive { w_s, c_s }
        }
        TimeForm::AdditiveEmc => {
            let rows = points.iter().map(|o| [1.0 / o.x / o.t, 1.0 / o.e / o.t, 1.0 / o.t]);
            let [w_s, m_s, c_s, _] = non_negative(rows).coefficients;
            TimeModel::AdditiveEmc { w_s, m_s, c_s }
        }
        TimeForm::Power => {
            let linear = |p: f64| non_negative(points.iter().map(|o| [math::exp(-p * math::ln(o.x)) / o.t, 1.0 / o.t]));
            let p = minimum(EXPONENT.0, EXPONENT.1, CELLS, FINE, |p| linear(p).squares);
            let [w_s, c_s, ..] = linear(p).coefficients;
            TimeModel::Power { w_s, p, c_s }
        }
        TimeForm::SmoothRoofline => {
            let unit = Unit::of(points);
            let linear = |share: f64| {
                let (a, b) = unit.sides(share);
                non_negative(points.iter().map(|o| [maximum4(a / o.x, b) / o.t, 1.0 / o.t]))
            };
            let share = minimum(0.0, 1.0, CELLS, FINE, |share| linear(share).squares);
            let ([scale, c_s, ..], (a, b)) = (linear(share).coefficients, unit.sides(share));
            TimeModel::SmoothRoofline { w_s: scale * a, m_s: scale * b, c_s, q: Q_FIXED }
        }
        TimeForm::SmoothRooflineQ => free_q(points),
        TimeForm::SmoothRooflineEmc => {
            let unit = Unit::of(points);
            let linear = |share: f64| {
                let (a, b) = unit.sides(share);
                non_negative(points.iter().map(|o| [maximum3(a / o.x, b / o.e) / o.t, 1.0 / o.x / o.t, 1.0 / o.t]))
            };
            let share = minimum(0.0, 1.0, CELLS, FINE, |share| linear(share).squares);
            let ([scale, w1_s, c_s, _], (a, b)) = (linear(share).coefficients, unit.sides(share));
            TimeModel::SmoothRooflineEmc { w_s: scale * a, m_s: scale * b, w1_s, c_s, q: Q_EMC }
        }
    }
}

/// Levenberg-Marquardt in the logarithms of w, m and q, as what matters is by which factor they change; from the best
/// split at each of three q.
fn free_q(points: &[Obs]) -> TimeModel {
    let unit = Unit::of(points);
    let logs: Vec<f64> = points.iter().map(|o| math::ln(o.x)).collect();
    let mut best = ([0.0; 3], f64::INFINITY);
    for q in [1.5_f64, 3.0, 8.0] {
        let linear = |share: f64| {
            let (a, b) = unit.sides(share);
            non_negative(points.iter().map(|o| [smooth(a / o.x, b, q) / o.t]))
        };
        let share = minimum(0.0, 1.0, 8, 0.1, |share| linear(share).squares);
        let ([scale, ..], (a, b)) = (linear(share).coefficients, unit.sides(share));
        let start = [math::ln((scale * a).max(1e-12)), math::ln((scale * b).max(1e-12)), math::ln(q)];
        let bounds = [(-30.0, 10.0), (-30.0, 10.0), (math::ln(Q.0), math::ln(Q.1))];
        let found = descend(start, &bounds, |&[ln_w, ln_m, ln_q], out| {
            let q = math::exp(ln_q);
            out.extend(points.iter().zip(&logs).map(|(o, ln_x)| {
                // ln(t) = max + ln(1 + exp(-q |difference|)) / q
                let (a, b) = (ln_w - ln_x, ln_m);
                math::exp(a.max(b) + math::ln_1p(math::exp(-q * (a - b).abs())) / q) / o.t - 1.0
            }));
        });
        if found.1 < best.1 {
            best = found;
        }
    }
    let [ln_w, ln_m, ln_q] = best.0;
    TimeModel::SmoothRooflineQ { w_s: math::exp(ln_w), m_s: math::exp(ln_m), q: math::exp(ln_q) }
}

/// Splits a block into its compute and its memory side by the memory side's share. The memory side is scaled so that the middle of
/// the range is where both are equal at the middle clock.
struct Unit {
    middle: f64,
}

impl Unit {
    fn of(points: &[Obs]) -> Self {
        let logs: f64 = points.iter().map(|o| math::ln(o.x)).sum();
        Self { middle: math::exp(-logs / points.len().max(1) as f64) }
    }

    fn sides(&self, share: f64) -> (f64, f64) {
        (1.0 - share, share * self.middle)
    }
}

fn maximum4(a: f64, b: f64) -> f64 {
    let (a, b) = (a * a, b * b);
    (a * a + b * b).sqrt().sqrt()
}

fn maximum3(a: f64, b: f64) -> f64 {
    math::cbrt(a * a * a + b * b * b)
}

fn smooth(a: f64, b: f64, q: f64) -> f64 {
    let high = a.max(b);
    if high > 0.0 { high * math::pow(1.0 + math::pow(a.min(b) / high, q), 1.0 / q) } else { 0.0 }
}
