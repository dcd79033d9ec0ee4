//! Every power form of every series, with the device's V(f), and the form that plans.
//!
//! V(f) is fitted on the module's total power only, as it is the total that is minimised; its memory and regulator
//! share does not follow the GPU's voltage. Each form sees another V(f) in the total, so each has its own. Of all
//! forms, `voltage-activity` sees in a TX2's total what its GPU rail shows (slope 1.1; `activity` sees 0.65).

use std::vec::Vec;

use super::power::{self, Obs};
use super::quality::{errors, quality};
use super::select::{Candidate, inside, select};
use super::times::{Reference, Timed};
use crate::model::{EmcBase, Point, PowerFit, PowerForm, PowerModel, Series, TimeModel, Voltage};
use crate::stats::mean;
use crate::units::Hertz;

/// Knee and slope: with fewer clocks left than a form's parameters and these, leaving one out judges the prior of V(f)
/// and not the form.
const SHAPE: usize = 2;

/// The form that plans where the data does not object. On each of the three measured devices its error at clocks
/// between the training clocks is the smallest (TX2 0.8 %, V100 1.1 %, A100 2.6 %), or as small as any.
const USUAL: PowerForm = PowerForm::VoltageActivity;

/// The one of two parameters, for two or three clocks.
const USUAL_FEW: PowerForm = PowerForm::Activity;

/// V(f) as one form sees it: from all training clocks, and without each of them.
struct View {
    full: Voltage,
    without: Vec<(Hertz, Voltage)>,
}

impl View {
    /// For forms in which V(f) has no part.
    const PRIOR: Self = Self { full: Voltage::PRIOR, without: Vec::new() };

    fn without(&self, clock: Hertz) -> &Voltage {
        self.without.iter().find(|(left, _)| *left == clock).map_or(&self.full, |(_, voltage)| voltage)
    }
}

/// Fits the power forms of all series; one list per series, empty where it has fewer than two points of power.
pub fn fit(timed: &[Timed], reference: Reference) -> (Voltage, Vec<Vec<PowerFit>>) {
    let training = |without: Option<Hertz>| -> Vec<Vec<Obs>> {
        timed.iter().map(|timed| obs(timed, &timed.group.train, reference, without)).collect()
    };
    let full = training(None);
    if full.iter().all(|points| points.len() < 2) {
        return (Voltage::PRIOR, timed.iter().map(|_| Vec::new()).collect());
    }
    let mut clocks: Vec<Hertz> = timed.iter().flat_map(|timed| &timed.group.train).map(|p| p.gpu_freq_hz).collect();
    clocks.sort_unstable();
    clocks.dedup();
    let rests: Vec<(Hertz, Vec<Vec<Obs>>)> = clocks.iter().map(|&clock| (clock, training(Some(clock)))).collect();
    let views = PowerForm::ALL.map(|form| match form {
        PowerForm::Cubic | PowerForm::StaticCubic => View::PRIOR,
        _ => {
            let seen = power::voltage(form, &full, &power::STARTS);
            let without = |rest: &(Hertz, Vec<Vec<Obs>>)| (rest.0, power::voltage(form, &rest.1, &[seen]));
            View { full: seen, without: rests.iter().map(without).collect() }
        }
    });

    // The form that plans is the device's, as V(f) is: chosen over all series.
    let few = clocks.len() <= USUAL.parameters();
    let usual = PowerForm::ALL.iter().position(|form| *form == if few { USUAL_FEW } else { USUAL }).unwrap_or(0);
    let mut default = usual;
    if clocks.len() > USUAL.parameters() + SHAPE {
        let outside = PowerForm::ALL.iter().zip(&views).map(|(form, view)| {
            let all = timed.iter().enumerate().flat_map(|(i, timed)| lofo(*form, view, timed, i, &rests, reference));
            inside(&all.collect::<Vec<_>>())
        });
        let outside: Vec<Vec<f64>> = outside.collect();
        let candidates: Vec<Candidate<'_>> = PowerForm::ALL
            .iter()
            .zip(&outside)
            .map(|(form, lofo)| Candidate { parameters: form.parameters(), lofo })
            .collect();
        default = select(&candidates, usual);
    }

    let fits = timed.iter().enumerate().map(|(i, timed)| {
        if full[i].len() < 2 {
            return Vec::new();
        }
        let points: Vec<((f64, f64), f64)> = full[i].iter().map(|o| ((o.x, o.t), o.p)).collect();
        let held = obs(timed, &timed.group.held, reference, None);
        let fit = |(k, form): (usize, PowerForm)| {
            let view = &views[k];
            let model = power::fit(form, &full[i], &view.full);
            let outside = lofo(form, view, timed, i, &rests, reference);
            let outside: Vec<f64> = outside.into_iter().map(|(_, error)| error).collect();
            let held = errors(held.iter().map(|o| (model.power_w(o.x, o.t, &view.full), o.p)));
            let predict = |model: &PowerModel, (x, t): &(f64, f64)| model.power_w(*x, *t, &view.full);
            let quality = quality(model, &points, predict, &outside, &held);
            PowerFit { model, voltage: view.full, default: k == default, quality }
        };
        PowerForm::ALL.into_iter().enumerate().map(fit).collect()
    });
    (views[default].full, fits.collect())
}

/// Relative errors of one series' points, each predicted without its clock; empty where too few points are left.
fn lofo(
    form: PowerForm,
    view: &View,
    timed: &Timed,
    series: usize,
    rests: &[(Hertz, Vec<Vec<Obs>>)],
    reference: Reference,
) -> Vec<(Hertz, f64)> {
    let mut outside = Vec::new();
    for (clock, rest) in rests {
        let voltage = view.without(*clock);
        let at = |point: &&Point| point.gpu_freq_hz == *clock && point.power_w.is_some();
        let left: Vec<Point> = timed.group.train.iter().filter(at).copied().collect();
        if left.is_empty() {
            continue;
        }
        if rest[series].len() < form.parameters() {
            return Vec::new();
        }
        // Neither the time nor the power of this clock is known to what predicts it.
        let Some((_, time)) = timed.without.iter().find(|(without, _)| without == clock) else {
            return Vec::new();
        };
        let model = power::fit(form, &rest[series], voltage);
        let observed = left.iter().filter_map(|point| observed(point, time, reference));
        let found = errors(observed.map(|o| (model.power_w(o.x, o.t, voltage), o.p)));
        outside.extend(found.into_iter().map(|error| (*clock, error)));
    }
    outside
}

/// A series' points of power, with the time that its default form gives them; without a clock, with the time that was
/// fitted without it.
fn obs(timed: &Timed, points: &[Point], reference: Reference, without: Option<Hertz>) -> Vec<Obs> {
    let time = without
        .and_then(|clock| timed.without.iter().find(|(left, _)| *left == clock))
        .map_or(&timed.model, |(_, model)| model);
    points
        .iter()
        .filter(|point| Some(point.gpu_freq_hz) != without)
        .filter_map(|point| observed(point, time, reference))
        .collect()
}

pub(super) fn observed(point: &Point, time: &TimeModel, reference: Reference) -> Option<Obs> {
    let o = reference.obs(point);
    // A reading of 0 W has no relative error.
    let p = point.power_w.filter(|watts| *watts > 0.0)?;
    Some(Obs { x: o.x, t: time.time_s(o.x, o.e), p })
}

/// What each EMC clock adds to the busy base power over the lowest one: the mean over blocks that were measured at
/// both.
pub fn emc_base(series: &[Series]) -> Vec<EmcBase> {
    let base = |series: &Series| match series.power_fit(None)?.model {
        PowerModel::StaticCubic { p0_w, .. }
        | PowerModel::VoltageFloor { p0_w, .. }
        | PowerModel::Activity { p0_w, .. }
        | PowerModel::VoltageActivity { p0_w, .. } => Some(p0_w),
        PowerModel::Cubic { .. } => None,
    };
    let mut clocks: Vec<Hertz> = series.iter().filter(|s| base(s).is_some()).filter_map(|s| s.emc_freq_hz).collect();
    clocks.sort_unstable();
    clocks.dedup();
    let Some(&lowest) = clocks.first().filter(|_| clocks.len() > 1) else { return Vec::new() };
    let same = |a: &Series, b: &Series| (&a.model, &a.block, a.size) == (&b.model, &b.block, b.size);
    let over = |clock: Hertz| {
        let here = series.iter().filter(|s| s.emc_freq_hz == Some(clock));
        let differences: Vec<f64> = here
            .filter_map(|s| {
                let low = series.iter().find(|l| l.emc_freq_hz == Some(lowest) && same(l, s))?;
                Some(base(s)? - base(low)?)
            })
            .collect();
        (!differences.is_empty()).then(|| mean(&differences))
    };
    clocks.iter().filter_map(|&emc_freq_hz| Some(EmcBase { emc_freq_hz, base_w: over(emc_freq_hz)? })).collect()
}
