//! Every time form of one series, with errors, and the one that plans.

use std::vec::Vec;

use super::group::Group;
use super::quality::{errors, quality};
use super::select::{Candidate, inside, select};
use super::time::{self, Obs};
use crate::model::{Point, PowerFit, Series, TimeFit, TimeForm, TimeModel};
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

/// A series with its time forms fitted.
pub struct Timed {
    pub group: Group,
    pub fits: Vec<TimeFit>,
    /// The default form.
    pub model: TimeModel,
    /// The default form fitted without each training clock.
    pub without: Vec<(Hertz, TimeModel)>,
    sd: f64,
}

/// A series of one EMC clock.
pub fn single(group: Group, reference: Reference) -> Timed {
    timed(group, reference, &TimeForm::SINGLE, TimeForm::SmoothRoofline)
}

/// A series over all EMC clocks.
pub fn joint(group: Group, reference: Reference) -> Timed {
    timed(group, reference, &TimeForm::JOINT, TimeForm::SmoothRooflineEmc)
}

fn timed(group: Group, reference: Reference, forms: &[TimeForm], usual: TimeForm) -> Timed {
    let obs = |points: &[Point]| points.iter().map(|point| reference.obs(point)).collect::<Vec<Obs>>();
    let (train, held) = (obs(&group.train), obs(&group.held));
    let mut clocks: Vec<Hertz> = group.train.iter().map(|point| point.gpu_freq_hz).collect();
    clocks.dedup();
    let mut models = Vec::new();
    let mut lofo: Vec<Vec<(Hertz, f64)>> = Vec::new();
    let mut without: Vec<Vec<(Hertz, TimeModel)>> = Vec::new();
    for &form in forms {
        models.push(time::fit(form, &train));
        let (mut outside, mut fitted) = (Vec::new(), Vec::new());
        for &clock in &clocks {
            let is_left = |point: &Point| point.gpu_freq_hz == clock;
            let rest: Vec<Obs> =
                group.train.iter().zip(&train).filter(|(point, _)| !is_left(point)).map(|(_, o)| *o).collect();
            if rest.len() < form.parameters() {
                break;
            }
            let model = time::fit(form, &rest);
            let out = group.train.iter().zip(&train).filter(|(point, _)| is_left(point));
            let found = errors(out.map(|(_, o)| (model.time_s(o.x, o.e), o.t)));
            outside.extend(found.into_iter().map(|error| (clock, error)));
            fitted.push((clock, model));
        }
        if fitted.len() < clocks.len() {
            outside.clear();
        }
        lofo.push(outside);
        without.push(fitted);
    }
    let judges: Vec<Vec<f64>> = lofo.iter().map(|lofo| inside(lofo)).collect();
    let candidates: Vec<Candidate<'_>> =
        forms.iter().zip(&judges).map(|(form, lofo)| Candidate { parameters: form.parameters(), lofo }).collect();
    let default = select(&candidates, forms.iter().position(|form| *form == usual).unwrap_or(0));
    let sd = noise(&group.train, &train, &models[default]);

    // Everything is chosen; only now are the held-out points looked at.
    let train: Vec<((f64, f64), f64)> = train.iter().map(|o| ((o.x, o.e), o.t)).collect();
    let fits = models.iter().zip(&lofo).enumerate().map(|(i, (model, lofo))| {
        let lofo: Vec<f64> = lofo.iter().map(|(_, error)| *error).collect();
        let held = errors(held.iter().map(|o| (model.time_s(o.x, o.e), o.t)));
        let quality = quality(*model, &train, |model, (x, e)| model.time_s(*x, *e), &lofo, &held);
        TimeFit { model: *model, default: i == default, quality }
    });
    Timed { fits: fits.collect(), model: models[default], without: without.swap_remove(default), group, sd }
}

/// Relative standard deviation of one execution about the model: between repeats, and the model's own misfit.
fn noise(points: &[Point], train: &[Obs], model: &TimeModel) -> f64 {
    let repeats = mean(&points.iter().map(|point| (point.time_sd_s / point.time_s).powi(2)).collect::<Vec<_>>());
    let repeats = if repeats > 0.0 { repeats } else { NOISE * NOISE };
    let squares: f64 = train.iter().map(|o| (model.time_s(o.x, o.e) / o.t - 1.0).powi(2)).sum();
    let degrees = train.len().saturating_sub(model.form().parameters()).max(1);
    (repeats + squares / degrees as f64).sqrt()
}

impl Timed {
    /// The series as it stands in the model.
    pub fn series(&self, power: Vec<PowerFit>) -> Series {
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
            clocks: clocks.len(),
            time: self.fits.clone(),
            power,
            time_sd: self.sd,
            points: self.group.train.clone(),
        }
    }
}
