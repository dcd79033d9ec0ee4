//! What each parameter of a time form does: how far t(f) moves with it, and at which clocks.

use std::vec::Vec;

use super::power::{self, Obs};
use super::quality::moved;
use super::times::Reference;
use crate::model::{Model, Series, TimeFit};
use crate::units::Hertz;

/// The effect of one parameter.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Effect {
    /// Its name.
    pub param: &'static str,
    /// Its fitted value; seconds, or bare for exponents.
    pub value: f64,
    /// Its 95 % interval, where the data gives one.
    pub ci95: Option<[f64; 2]>,
    /// By how many per cent the time changes for each per cent of the parameter, at each clock asked about. Those of w,
    /// m and c add up to 1 at every clock, as time is in proportion to them together.
    pub elasticity: [f64; 3],
}

/// The effect of every parameter at three clocks relative to the reference, at the highest memory clock.
pub fn effects(fit: &TimeFit, clocks: [f64; 3]) -> Vec<Effect> {
    let mut model = fit.model;
    let named: Vec<(&'static str, f64)> = model.params().iter().map(|(name, value)| (*name, **value)).collect();
    let effect = |(i, (param, value)): (usize, (&'static str, f64))| {
        let step = 1e-4 * value;
        let (up, down) = (moved(fit.model, i, value + step), moved(fit.model, i, value - step));
        let elasticity = clocks.map(|x| {
            let change = up.time_s(x, 1.0) - down.time_s(x, 1.0);
            if step > 0.0 { change / (2e-4 * fit.model.time_s(x, 1.0)) } else { 0.0 }
        });
        Effect { param, value, ci95: fit.quality.ci95.get(param).copied(), elasticity }
    };
    named.into_iter().enumerate().map(effect).collect()
}

/// The clock, relative to the reference, at which the compute and the memory side of a roofline form are equal: below it
/// the clock decides, above it the memory does. `None` for other forms, or where one side is missing.
pub fn crossing(fit: &TimeFit) -> Option<f64> {
    let mut model = fit.model;
    let params = model.params();
    let value = |wanted: &str| params.iter().find(|(name, _)| *name == wanted).map(|(_, value)| **value);
    value("m_s").zip(value("w_s")).filter(|(m, w)| *m > 0.0 && *w > 0.0).map(|(m, w)| w / m)
}

/// 95 % intervals of the knee and the slope of the default power form's V(f), where the data gives them.
pub fn voltage_ci95(model: &Model) -> Option<[[f64; 2]; 2]> {
    let reference = Reference { f_hz: model.f_ref_hz.as_f64(), emc_hz: model.emc_ref_hz.map(Hertz::as_f64) };
    let obs = |series: &Series| -> Vec<Obs> {
        let Some(time) = model.time_of(series) else { return Vec::new() };
        let points = series.points.iter();
        points.filter_map(|point| super::powers::observed(point, &time, reference)).collect()
    };
    let powered = || model.series.iter().filter_map(|series| Some((series, series.power_fit(None)?)));
    let form = powered().next()?.1.model.form();
    let points: Vec<Vec<Obs>> = powered().map(|(series, _)| obs(series)).collect();
    power::voltage_ci95(form, &points, &model.device_constants.voltage)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Quality, TimeModel};

    #[test]
    fn effects_add_up_and_change_hands_at_the_crossing() {
        let model = TimeModel::SmoothRoofline { w_s: 0.010, m_s: 0.020, c_s: 0.001, q: 4.0 };
        let fit = TimeFit { model, default: true, weight: 1.0, quality: Quality::default() };
        assert_eq!(crossing(&fit), Some(0.5));
        let effects = effects(&fit, [0.1, 0.5, 1.0]);
        let [w, m, c, q] = effects.as_slice() else { panic!("{effects:?}") };
        for i in 0..3 {
            assert!((w.elasticity[i] + m.elasticity[i] + c.elasticity[i] - 1.0).abs() < 1e-6);
            assert!(q.elasticity[i] <= 0.0);
        }
        assert!(w.elasticity[0] > 0.9 && m.elasticity[2] > 0.8);
        assert!((w.elasticity[1] - m.elasticity[1]).abs() < 1e-6);
    }
}
