//! Which form plans: by leave-one-clock-out errors, with a rule that keeps to what is known unless the data objects.

use std::vec::Vec;

use crate::stats::{mean, sd};
use crate::units::Hertz;

/// The errors that a choice is made by, of `(clock, error)` with every clock left out in turn: those between the ends.
///
/// A plan's clocks lie between the lowest and the highest that were measured, so what a form says inside that range
/// decides; leaving an end out asks for extrapolation instead. With a single clock inside, all errors decide.
pub fn inside(lofo: &[(Hertz, f64)]) -> Vec<f64> {
    let ends = (lofo.iter().map(|(clock, _)| *clock).min(), lofo.iter().map(|(clock, _)| *clock).max());
    let inner = |clock: Hertz| Some(clock) != ends.0 && Some(clock) != ends.1;
    let mut clocks: Vec<Hertz> = lofo.iter().map(|(clock, _)| *clock).filter(|clock| inner(*clock)).collect();
    clocks.sort_unstable();
    clocks.dedup();
    lofo.iter().filter(|(clock, _)| clocks.len() < 2 || inner(*clock)).map(|(_, error)| *error).collect()
}

/// One candidate.
#[derive(Clone, Copy, Debug)]
pub struct Candidate<'a> {
    /// How many parameters are fitted.
    pub parameters: usize,
    /// Relative errors of the left-out points, in the same order for every candidate; empty where too few points are
    /// left to fit.
    pub lofo: &'a [f64],
}

/// The index of the chosen candidate.
///
/// `usual` is the form that measurements on other boards speak for. A simpler form takes its place where its error is
/// no larger; a form with as many parameters or more only where its error is smaller by more than one standard error
/// of the difference, point by point. Where `usual` cannot be judged for want of points, the best of those that can
/// takes its place.
pub fn select(candidates: &[Candidate<'_>], usual: usize) -> usize {
    let judged = |i: &usize| !candidates[*i].lofo.is_empty();
    let error = |i: usize| mean(candidates[i].lofo);
    let best = |indices: &mut dyn Iterator<Item = usize>| indices.min_by(|&a, &b| error(a).total_cmp(&error(b)));
    if !judged(&usual) {
        return best(&mut (0..candidates.len()).filter(judged)).unwrap_or(0);
    }
    let allowed = |i: &usize| {
        if candidates[*i].parameters < candidates[usual].parameters {
            return error(*i) <= error(usual);
        }
        let gains: std::vec::Vec<f64> =
            candidates[usual].lofo.iter().zip(candidates[*i].lofo).map(|(usual, other)| usual - other).collect();
        mean(&gains) > sd(&gains) / (gains.len() as f64).sqrt()
    };
    best(&mut (0..candidates.len()).filter(judged).filter(|i| *i == usual || allowed(i))).unwrap_or(usual)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(lofo: [&[f64]; 3]) -> usize {
        let [simple, usual, other] = lofo;
        let candidate = |parameters, lofo| Candidate { parameters, lofo };
        select(&[candidate(1, simple), candidate(3, usual), candidate(3, other)], 1)
    }

    #[test]
    fn the_usual_form_stays_unless_the_data_objects() {
        assert_eq!(chosen([&[0.05; 4], &[0.01; 4], &[0.009, 0.012, 0.008, 0.010]]), 1);
        assert_eq!(chosen([&[0.05; 4], &[0.01; 4], &[0.002; 4]]), 2);
        // better on the mean by one point only
        assert_eq!(chosen([&[0.05; 4], &[0.01, 0.01, 0.01, 0.05], &[0.012, 0.012, 0.012, 0.01]]), 1);
        // as good and simpler
        assert_eq!(chosen([&[0.01; 4], &[0.01; 4], &[0.01; 4]]), 0);
    }

    #[test]
    fn without_points_to_judge_by_the_best_judged_form_is_taken() {
        assert_eq!(chosen([&[0.05; 2], &[], &[]]), 0);
        assert_eq!(chosen([&[], &[], &[]]), 0);
    }
}
