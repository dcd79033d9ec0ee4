//! Forms weighed against each other, and corrected by what they leave over: the form where nothing was measured, the
//! measurement where something was.

use std::vec::Vec;

use super::process::{Measured, Process, Seen};
use crate::math;

/// Forms of a series with their weights and the process of their residuals. A form is whatever the caller can ask for a
/// value; places are natural logarithms of relative clocks. Closures are `dyn`, as every caller's own copy of this would
/// cost the static agent more than a call does.
#[derive(Clone, Debug)]
pub struct Corrected<F> {
    forms: Vec<Weighed<F>>,
    /// With the residuals of all forms by their weights, solved.
    seen: Option<(Seen, Vec<f64>)>,
}

#[derive(Clone, Debug)]
struct Weighed<F> {
    form: F,
    weight: f64,
    solved: Vec<f64>,
}

impl<F: Copy> Corrected<F> {
    /// Forms with their weights, which need not add up to 1, the process of what they leave over (`None`: they are taken
    /// as they are), and what was measured. `value(form, i)` is what a form says at the i-th place.
    pub fn new(
        weights: &[(F, f64)],
        process: Option<Process>,
        measured: &[Measured],
        value: &dyn Fn(&F, usize) -> f64,
    ) -> Self {
        // A form that gives no time has no logarithm to correct.
        let gives = |form: &F| (0..measured.len()).all(|i| value(form, i) > 0.0);
        let mut kept: Vec<(F, f64)> = weights.iter().copied().filter(|(_, weight)| *weight > 0.0).collect();
        let process = process.filter(|_| kept.iter().any(|(form, _)| gives(form)));
        if process.is_some() {
            kept.retain(|(form, _)| gives(form));
        }
        let total: f64 = kept.iter().map(|(_, weight)| weight).sum();
        let repeats: Vec<u32> = measured.iter().map(|measured| measured.repeats).collect();
        let at = || measured.iter().map(|measured| measured.at).collect();
        let seen = process.and_then(|process| Seen::repeated(process, at(), &repeats));
        let weighed = |(form, weight): (F, f64)| {
            let residual = |(i, measured): (usize, &Measured)| math::ln(measured.value / value(&form, i));
            let residuals: Vec<f64> = measured.iter().enumerate().map(residual).collect();
            let solved = seen.as_ref().map_or_else(Vec::new, |seen| seen.solve(&residuals));
            Weighed { form, weight: weight / total, solved }
        };
        let forms: Vec<Weighed<F>> = kept.into_iter().map(weighed).collect();
        let solved = |i: usize| forms.iter().map(|form| form.weight * form.solved[i]).sum();
        let seen = seen.map(|seen| (seen, (0..measured.len()).map(solved).collect()));
        Self { forms, seen }
    }

    /// The value at a place, where each form says `value`.
    pub fn value(&self, at: f64, value: &dyn Fn(&F) -> f64) -> f64 {
        match (self.forms.as_slice(), &self.seen) {
            ([only], None) => value(&only.form),
            (forms, seen) => {
                let form: f64 = forms.iter().map(|form| form.weight * log(value(&form.form))).sum();
                math::exp(form + seen.as_ref().map_or(0.0, |(seen, solved)| seen.mean(at, solved)))
            }
        }
    }

    /// The process's run-to-run noise; 0 where there is no process.
    pub fn noise(&self) -> f64 {
        self.seen.as_ref().map_or(0.0, |(seen, _)| seen.noise())
    }

    /// Relative variance of that: what the process leaves open, and how far the forms disagree.
    pub fn variance(&self, at: f64, value: &dyn Fn(&F) -> f64) -> f64 {
        let Some((seen, solved)) = &self.seen else { return 0.0 };
        let says = |form: &Weighed<F>| log(value(&form.form)) + seen.mean(at, &form.solved);
        let mean: f64 =
            self.forms.iter().map(|form| form.weight * log(value(&form.form))).sum::<f64>() + seen.mean(at, solved);
        let apart: f64 = self.forms.iter().map(|form| form.weight * (says(form) - mean).powi(2)).sum();
        seen.variance(at) + apart
    }
}

fn log(value: f64) -> f64 {
    math::ln(value.max(f64::MIN_POSITIVE))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn measurements_decide_where_they_are_and_forms_elsewhere() {
        let process = Some(Process { sd: 0.05, length: 0.3, noise: 1e-4 });
        let measured = [(-1.0, 2.0), (0.0, 1.1)].map(|(at, value)| Measured { at, value, repeats: 1 });
        let one = Corrected::new(&[(1.0, 1.0)], process, &measured, &|form, i| form * [2.0, 1.0][i]);
        assert!((one.value(0.0, &|form| *form) - 1.1).abs() < 1e-4);
        assert!((one.value(20.0, &|form| 7.0 * form) - 7.0).abs() < 1e-9);
        assert!(
            one.variance(0.0, &|form| *form).sqrt() < 2e-4 && (one.variance(20.0, &|f| *f).sqrt() - 0.05).abs() < 1e-9
        );
        // Two forms that differ by 10 % where nothing was measured.
        let two = Corrected::new(&[(1.0, 0.5), (1.1, 0.5)], process, &measured, &|_, i| [2.0, 1.0][i]);
        assert!((two.value(20.0, &|form| *form) - 1.1_f64.sqrt()).abs() < 1e-9);
        assert!((two.variance(20.0, &|form| *form) - 0.05_f64.powi(2) - (1.1_f64.ln() / 2.0).powi(2)).abs() < 1e-9);
    }

    #[test]
    fn without_a_process_a_form_is_itself() {
        let measured = [Measured { at: 0.0, value: 1.0, repeats: 1 }];
        let alone = Corrected::new(&[(3.0, 1.0)], None, &measured, &|form, _| *form);
        assert_eq!((alone.value(0.0, &|form| *form), alone.variance(0.0, &|form| *form)), (3.0, 0.0));
    }
}
