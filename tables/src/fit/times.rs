//! Every time form of one series, with errors, and the one that plans.

use std::vec::Vec;

use super::evidence::{self, LeftOut};
use super::group::Group;
use super::quality::{errors, quality};
use super::time::{self, Obs};
use crate::math;
use crate::model::{Corrected, Measured, Point, PowerFit, Process, Series, TimeFit, TimeForm, TimeModel};
use crate::stats::mean;
use crate::units::Hertz;

/// The clocks that others are relative to.
#[derive(Clone, Copy, Debug)]
pub struct Reference {
    pub f_hz: f64,
    pub emc_hz: Option<f64>,
}

impl Reference {
    /// A point as it is fitted.
    pub fn obs(&self, point: &Point) -> Obs {
        let e = match (point.emc_freq_hz, self.emc_hz) {
            (Some(emc), Some(reference)) => emc.as_f64() / reference,
            _ => 1.0,
        };
        Obs { x: point.gpu_freq_hz.as_f64() / self.f_hz, e, t: point.time_s }
    }
}

/// Run-to-run noise of a block's time where nothing was repeated (TX2, whole networks).
const NOISE: f64 = 0.007;

/// How far each form is believed before the sweep is looked at, in the order of [`TimeForm::SINGLE`]: by what four clocks
/// of measured devices say of the others (mean errors of the forms in that order; TX2 5.1, 1.7, 1.1, 0.5, 0.5 %; Nano 6.1,
/// 3.4, 2.7, 2.6, 2.7; AGX Orin 34, 2.7, 1.4, 1.5, 1.4). The last three are each other's equals but on one device; blocks
/// bound by compute alone are any of them with c = 0.
const PRIOR: [f64; TimeForm::SINGLE.len()] = [0.001, 0.01, 0.33, 0.33, 0.329];

/// What time forms leave over on those devices.
const PROCESS: Process = Process { sd: 0.03, length: 0.6, noise: 0.005 };

/// A series with every form fitted, to all training clocks and without each.
pub struct Fitted {
    group: Group,
    models: Vec<TimeModel>,
    train: Vec<Obs>,
    /// Per form: relative errors with each clock left out.
    lofo: Vec<Vec<f64>>,
    /// Per clock, per form: the form fitted without it; `None` where too few points are left.
    without: Vec<(Hertz, Vec<Option<TimeModel>>)>,
    left: Vec<LeftOut>,
}

/// A series with its time forms weighed.
pub struct Timed {
    pub group: Group,
    pub fits: Vec<TimeFit>,
    /// What plans.
    pub time: Corrected<TimeModel>,
    /// The same without each training clock.
    pub without: Vec<(Hertz, Corrected<TimeModel>)>,
    sd: f64,
    /// How many times the device's process this series' residuals are.
    scale: f64,
}

/// Fits all series of one EMC clock each, and the process that they share.
pub fn single(groups: Vec<Group>, reference: Reference, form: Option<TimeForm>) -> (Vec<Timed>, Option<Process>) {
    let fitted: Vec<Fitted> = groups.into_iter().map(|group| fitted(group, reference, &TimeForm::SINGLE)).collect();
    let lefts: Vec<Vec<LeftOut>> = fitted.iter().map(|fitted| fitted.left.clone()).collect();
    let process = form.is_none().then(|| evidence::process(&lefts, &PRIOR, PROCESS));
    (fitted.into_iter().map(|fitted| fitted.weigh(reference, process, form)).collect(), process)
}

/// A series over all EMC clocks: one form, as it is.
pub fn joint(group: Group, reference: Reference) -> Timed {
    fitted(group, reference, &TimeForm::JOINT).weigh(reference, None, Some(TimeForm::SmoothRooflineEmc))
}

fn fitted(group: Group, reference: Reference, forms: &[TimeForm]) -> Fitted {
    let train: Vec<Obs> = group.train.iter().map(|point| reference.obs(point)).collect();
    let mut clocks: Vec<Hertz> = group.train.iter().map(|point| point.gpu_freq_hz).collect();
    clocks.dedup();
    let (mut without, mut left) = (Vec::new(), Vec::new());
    let mut lofo: Vec<Option<Vec<f64>>> = std::vec![Some(Vec::new()); forms.len()];
    for &clock in &clocks {
        let split = || group.train.iter().zip(&train).map(|(point, o)| (point.gpu_freq_hz == clock, *o));
        let rest: Vec<Obs> = split().filter(|(out, _)| !out).map(|(_, o)| o).collect();
        let out: Vec<Obs> = split().filter(|(out, _)| *out).map(|(_, o)| o).collect();
        let model = |form: &TimeForm| (rest.len() >= form.parameters()).then(|| time::fit(*form, &rest));
        let models: Vec<Option<TimeModel>> = forms.iter().map(model).collect();
        for (lofo, model) in lofo.iter_mut().zip(&models) {
            match model {
                None => *lofo = None,
                Some(model) => {
                    let found = errors(out.iter().map(|o| (model.time_s(o.x, o.e), o.t)));
                    lofo.iter_mut().for_each(|lofo| lofo.extend(&found));
                }
            }
        }
        let residual = |model: &TimeModel, o: &Obs| math::ln(o.t / model.time_s(o.x, o.e).max(f64::MIN_POSITIVE));
        let residuals = |model: &Option<TimeModel>| {
            let model = model.as_ref()?;
            let out: Vec<f64> = out.iter().map(|o| residual(model, o)).collect();
            Some((rest.iter().map(|o| residual(model, o)).collect(), mean(&out)))
        };
        left.push(LeftOut {
            at: rest.iter().map(|o| math::ln(o.x)).collect(),
            out_at: math::ln(out[0].x),
            forms: models.iter().map(residuals).collect(),
        });
        without.push((clock, models));
    }
    let models = forms.iter().map(|form| time::fit(*form, &train)).collect();
    Fitted { group, models, train, lofo: lofo.into_iter().map(Option::unwrap_or_default).collect(), without, left }
}

impl Fitted {
    /// What plans: all forms by their weights with the process, or `form` alone.
    fn weigh(self, reference: Reference, process: Option<Process>, form: Option<TimeForm>) -> Timed {
        let weights = match process {
            Some(process) => {
                // Two clocks judge nothing; the simplest form that goes through both is taken.
                let few = 1;
                let judged: &[LeftOut] = if self.train.len() > 2 { &self.left } else { &[] };
                evidence::weights(&[judged], &PRIOR, few, process)
            }
            None => self.models.iter().map(|m| if Some(m.form()) == form { 1.0 } else { 0.0 }).collect(),
        };
        let default = heaviest(&weights);
        let scale = process.map_or(1.0, |process| evidence::scale(&self.left, &weights, process));
        let process = process.map(|process| process.scaled(scale));
        let corrected = |models: Vec<(TimeModel, f64)>, points: &[Obs]| {
            let measured: Vec<Measured> =
                points.iter().map(|o| Measured { at: math::ln(o.x), value: o.t, repeats: 1 }).collect();
            Corrected::new(&models, process, &measured, &|form, i| form.time_s(points[i].x, points[i].e))
        };
        let time = corrected(self.models.iter().copied().zip(weights.iter().copied()).collect(), &self.train);
        let without = |(clock, models): &(Hertz, Vec<Option<TimeModel>>)| {
            let here = self.group.train.iter().zip(&self.train);
            let rest: Vec<Obs> = here.filter(|(p, _)| p.gpu_freq_hz != *clock).map(|(_, o)| *o).collect();
            let models = models.iter().zip(&weights).filter_map(|(model, weight)| Some(((*model)?, *weight)));
            (*clock, corrected(models.collect(), &rest))
        };
        let judged =
            self.left.iter().all(|left| left.forms.iter().zip(&weights).all(|(f, w)| *w == 0.0 || f.is_some()));
        let without = if judged { self.without.iter().map(without).collect() } else { Vec::new() };

        // Everything is weighed; only now are the held-out points looked at.
        let held: Vec<Obs> = self.group.held.iter().map(|point| reference.obs(point)).collect();
        let train: Vec<((f64, f64), f64)> = self.train.iter().map(|o| ((o.x, o.e), o.t)).collect();
        let value = |o: &Obs| time.value(math::ln(o.x), &|form| form.time_s(o.x, o.e));
        let fit = |(i, model): (usize, &TimeModel)| {
            let outside = errors(held.iter().map(|o| (model.time_s(o.x, o.e), o.t)));
            let mut quality = quality(*model, &train, |model, (x, e)| model.time_s(*x, *e), &self.lofo[i], &outside);
            if let Some(process) = process.filter(|_| i == default) {
                let pairs = |points: &[Obs]| errors(points.iter().map(|o| (value(o), o.t)));
                let sd = |o: &Obs| {
                    math::hypot(process.noise, time.variance(math::ln(o.x), &|form| form.time_s(o.x, o.e)).sqrt())
                };
                let left = if judged { evidence::errors(&self.left, &weights, process) } else { Vec::new() };
                quality.correct(&pairs(&self.train), &left, &pairs(&held));
                quality.cover(held.iter().map(|o| (value(o), o.t, sd(o))));
            }
            TimeFit { model: *model, default: i == default, weight: weights[i], quality }
        };
        let fits = self.models.iter().enumerate().map(fit).collect();
        Timed { fits, time, without, sd: noise(&self.group.train), scale, group: self.group }
    }
}

/// The position of the largest weight; of equal ones the last.
pub fn heaviest(weights: &[f64]) -> usize {
    (0..weights.len()).max_by(|&a, &b| weights[a].total_cmp(&weights[b])).unwrap_or(0)
}

/// Relative standard deviation of one execution about its mean: between repeats, else as it usually is.
fn noise(points: &[Point]) -> f64 {
    let repeats = mean(&points.iter().map(|point| (point.time_sd_s / point.time_s).powi(2)).collect::<Vec<_>>());
    if repeats > 0.0 { repeats.sqrt() } else { NOISE }
}

impl Timed {
    /// The series as it stands in the model.
    pub fn series(&self, power: Vec<PowerFit>, power_scale: f64) -> Series {
        let name = &self.group.name;
        let mut clocks: Vec<Hertz> =
            self.group.train.iter().chain(&self.group.held).map(|point| point.gpu_freq_hz).collect();
        clocks.sort_unstable();
        clocks.dedup();
        Series {
            device: name.device.clone(),
            model: name.model.clone(),
            block: name.block.clone(),
            size: name.size,
            emc_freq_hz: name.emc,
            cpu_freq_hz: self.group.cpu,
            cpu_moving: self.group.cpu_moved.is_some(),
            clocks: clocks.len(),
            time: self.fits.clone(),
            power,
            time_sd: self.sd,
            time_scale: self.scale,
            power_scale,
            points: self.group.train.clone(),
            apart: self.group.apart.clone(),
        }
    }
}
