//! Every power form of every series, with the device's V(f), and the form that plans.
//!
//! V(f) is fitted on the module's total power only, as it is the total that is minimised; its memory and regulator
//! share does not follow the GPU's voltage. Each form sees another V(f) in the total, so each has its own. Of all
//! forms, `voltage-activity` sees in a TX2's total what its GPU rail shows (slope 1.1; `activity` sees 0.65).

use std::vec::Vec;

use super::evidence::{self, LeftOut};
use super::power::{self, Obs};
use super::quality::{errors, quality};
use super::times::{Reference, Timed, heaviest};
use crate::math;
use crate::model::{
    Corrected, EmcBase, Measured, Point, PowerFit, PowerForm, PowerModel, Process, Series, TimeModel, Voltage,
};
use crate::stats::mean;
use crate::units::Hertz;

/// How far each form is believed before the sweep is looked at, in the order of [`PowerForm::ALL`]. On each of the measured
/// devices `voltage-activity`'s error at clocks between the training clocks is the smallest (TX2 0.8 %, V100 1.1 %, A100
/// 2.6 %), or as small as any; `cubic` is 50 % off.
const PRIOR: [f64; PowerForm::ALL.len()] = [0.001, 0.019, 0.18, 0.3, 0.5];

/// What power forms leave over on those devices.
const PROCESS: Process = Process { sd: 0.03, length: 0.6, noise: 0.01 };

/// Knee and slope: with fewer clocks left than a form's parameters and these, leaving one out judges the prior of V(f)
/// and not the form.
const SHAPE: usize = 2;

/// The form that plans where there are too few clocks to judge.
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

/// What was fitted: V(f) as the form with the most weight sees it, per series a list (empty where it has fewer than two
/// points of power) and how many times the process its residuals are, and the process that they share.
pub struct Powers {
    pub voltage: Voltage,
    pub fits: Vec<(Vec<PowerFit>, f64)>,
    pub process: Option<Process>,
}

/// Fits the power forms of all series; `form` alone plans where it is given.
pub fn fit(timed: &[Timed], reference: Reference, form: Option<PowerForm>, corrected: bool) -> Powers {
    let training = |without: Option<Hertz>| -> Vec<Vec<Obs>> {
        timed.iter().map(|timed| obs(timed, &timed.group.train, reference, without)).collect()
    };
    let full = training(None);
    if full.iter().all(|points| points.len() < 2) {
        return Powers {
            voltage: Voltage::PRIOR,
            fits: timed.iter().map(|_| (Vec::new(), 1.0)).collect(),
            process: None,
        };
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
    let lefts: Vec<Vec<LeftOut>> =
        timed.iter().enumerate().map(|(i, timed)| left_out(&views, timed, i, &rests, reference)).collect();
    let process = (form.is_none() && corrected).then(|| evidence::process(&lefts, &PRIOR, PROCESS));
    let usual = if clocks.len() <= USUAL.parameters() { USUAL_FEW } else { USUAL };
    let only = |wanted: PowerForm| PowerForm::ALL.map(|form| if form == wanted { 1.0 } else { 0.0 }).to_vec();
    // The forms that plan are the device's, as V(f) is: weighed over all series.
    let weights = match (form, process) {
        (Some(form), _) => only(form),
        (None, Some(process)) if clocks.len() > USUAL.parameters() + SHAPE => {
            let judged: Vec<&[LeftOut]> = lefts.iter().map(Vec::as_slice).collect();
            evidence::weights(&judged, &PRIOR, 4, process)
        }
        _ => only(usual),
    };
    let default = heaviest(&weights);

    let fits = timed.iter().enumerate().map(|(i, timed)| {
        if full[i].len() < 2 {
            return (Vec::new(), 1.0);
        }
        let scale = process.map_or(1.0, |process| evidence::scale(&lefts[i], &weights, process));
        let process = process.map(|process| process.scaled(scale));
        let models: Vec<PowerModel> =
            PowerForm::ALL.iter().zip(&views).map(|(form, view)| power::fit(*form, &full[i], &view.full)).collect();
        let says = |k: usize, o: &Obs| models[k].power_w(o.x, o.t, &views[k].full);
        let points: Vec<((f64, f64), f64)> = full[i].iter().map(|o| ((o.x, o.t), o.p)).collect();
        let held = obs(timed, &timed.group.held, reference, None);
        let measured: Vec<Measured> =
            full[i].iter().map(|o| Measured { at: math::ln(o.x), value: o.p, repeats: 1 }).collect();
        let weighed: Vec<(usize, f64)> = weights.iter().copied().enumerate().collect();
        let together = Corrected::new(&weighed, process, &measured, &|k, j| says(*k, &full[i][j]));
        let fit = |(k, model): (usize, &PowerModel)| {
            let alone: Vec<f64> = lefts[i]
                .iter()
                .map(|left| left.forms[k].as_ref().map(|(_, out)| (math::exp(-out) - 1.0).abs()))
                .collect::<Option<_>>()
                .unwrap_or_default();
            let outside = errors(held.iter().map(|o| (says(k, o), o.p)));
            let predict = |model: &PowerModel, (x, t): &(f64, f64)| model.power_w(*x, *t, &views[k].full);
            let mut quality = quality(*model, &points, predict, &alone, &outside);
            if let Some(process) = process.filter(|_| k == default) {
                let value = |o: &Obs| together.value(math::ln(o.x), &|k| says(*k, o));
                let sd =
                    |o: &Obs| math::hypot(process.noise, together.variance(math::ln(o.x), &|k| says(*k, o)).sqrt());
                let pairs = |points: &[Obs]| errors(points.iter().map(|o| (value(o), o.p)));
                quality.correct(&pairs(&full[i]), &evidence::errors(&lefts[i], &weights, process), &pairs(&held));
                quality.cover(held.iter().map(|o| (value(o), o.p, sd(o))));
            }
            PowerFit { model: *model, voltage: views[k].full, default: k == default, weight: weights[k], quality }
        };
        (models.iter().enumerate().map(fit).collect(), scale)
    });
    Powers { voltage: views[default].full, fits: fits.collect(), process }
}

/// Every clock of one series left out, under every form.
fn left_out(
    views: &[View],
    timed: &Timed,
    series: usize,
    rests: &[(Hertz, Vec<Vec<Obs>>)],
    reference: Reference,
) -> Vec<LeftOut> {
    let of_clock = |(clock, rest): &(Hertz, Vec<Vec<Obs>>)| {
        let rest = &rest[series];
        let point = timed.group.train.iter().find(|point| point.gpu_freq_hz == *clock)?;
        // Neither the time nor the power of this clock is known to what predicts it.
        let (_, time) = timed.without.iter().find(|(without, _)| without == clock)?;
        let out = observed(point, time, reference)?;
        let judge = |(form, view): (&PowerForm, &View)| {
            if rest.len() < form.parameters() {
                return None;
            }
            let voltage = view.without(*clock);
            let model = power::fit(*form, rest, voltage);
            let residual = |o: &Obs| math::ln(o.p / model.power_w(o.x, o.t, voltage).max(f64::MIN_POSITIVE));
            Some((rest.iter().map(residual).collect(), residual(&out)))
        };
        Some(LeftOut {
            at: rest.iter().map(|o| math::ln(o.x)).collect(),
            out_at: math::ln(out.x),
            forms: PowerForm::ALL.iter().zip(views).map(judge).collect(),
        })
    };
    rests.iter().filter_map(of_clock).collect()
}

/// A series' points of power, with the time that is planned with; without a clock, with the time that was fitted without
/// it.
fn obs(timed: &Timed, points: &[Point], reference: Reference, without: Option<Hertz>) -> Vec<Obs> {
    let time = without
        .and_then(|clock| timed.without.iter().find(|(left, _)| *left == clock))
        .map_or(&timed.time, |(_, time)| time);
    points
        .iter()
        .filter(|point| Some(point.gpu_freq_hz) != without)
        .filter_map(|point| observed(point, time, reference))
        .collect()
}

pub(super) fn observed(point: &Point, time: &Corrected<TimeModel>, reference: Reference) -> Option<Obs> {
    let o = reference.obs(point);
    // A reading of 0 W has no relative error.
    let p = point.power_w.filter(|watts| *watts > 0.0)?;
    Some(Obs { x: o.x, t: time.value(math::ln(o.x), &|form| form.time_s(o.x, o.e)), p })
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
