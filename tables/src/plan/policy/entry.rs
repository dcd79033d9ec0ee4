//! Choices by time elapsed in the form of an [`Entry`]: at most four clocks, falling with slack.

use std::vec;
use std::vec::Vec;

use super::grid::BINS;
use crate::table::{Entry, Rung, Table};
use crate::units::Nanos;

/// Choices by bin, the earliest first, as an entry by slack; `elapsed_s` is the time of a bin.
pub(super) fn entry(table: &Table, deadline_s: f64, chosen: &[usize], elapsed_s: impl Fn(usize) -> f64) -> Entry {
    let first = Rung(chosen[BINS - 1] as u8);
    let mut steps: Vec<(u16, Rung)> = Vec::new();
    for bin in (0..BINS - 1).rev() {
        if chosen[bin] != chosen[bin + 1] {
            let between = 0.5 * (elapsed_s(bin) + elapsed_s(bin + 1));
            let slack = Nanos::from_secs_f64(deadline_s - between);
            steps.push((table.slack_units(slack), Rung(chosen[bin] as u8)));
        }
    }
    Entry::new(first, &steps).unwrap_or(Entry::always(first))
}

/// The cheapest choice of each bin.
pub(super) fn cheapest(costs: &[f64], clocks: usize) -> Vec<usize> {
    let least = |row: &[f64]| (0..clocks).min_by(|a, b| row[*a].total_cmp(&row[*b])).unwrap_or(0);
    costs.chunks(clocks).map(least).collect()
}

/// The choices of least total cost among those that an entry can hold: rising with time elapsed, four at most.
pub(super) fn falling(costs: &[f64], clocks: usize) -> Vec<usize> {
    const RUNS: usize = 4;
    let states = RUNS * clocks;
    let mut total = vec![f64::INFINITY; states];
    let mut came = vec![0u8; costs.len() / clocks * states];
    for (bin, row) in costs.chunks(clocks).enumerate() {
        let before = core::mem::replace(&mut total, vec![f64::INFINITY; states]);
        for run in 0..RUNS {
            // The cheapest lower clock with one run fewer.
            let mut lower = (f64::INFINITY, 0);
            for (clock, cost) in row.iter().enumerate() {
                let state = run * clocks + clock;
                let stay = if bin == 0 && run == 0 { 0.0 } else { before[state] };
                let (least, from) = if lower.0 < stay { lower } else { (stay, state) };
                if bin > 0 || run == 0 {
                    total[state] = least + cost;
                    came[bin * states + state] = from as u8;
                }
                if bin > 0 && run > 0 {
                    let state = (run - 1) * clocks + clock;
                    if before[state] < lower.0 {
                        lower = (before[state], state);
                    }
                }
            }
        }
    }
    let mut state = (0..states).min_by(|a, b| total[*a].total_cmp(&total[*b])).unwrap_or(0);
    let mut chosen = vec![0; costs.len() / clocks];
    for bin in (0..chosen.len()).rev() {
        chosen[bin] = state % clocks;
        state = came[bin * states + state] as usize;
    }
    chosen
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn choices_rise_with_time_and_have_four_runs_at_most() {
        // Two clocks: the lower one is cheaper in bins 0..2, and once again, not worth a step back, in bin 3.
        let costs = [0.0, 1.0, 0.0, 1.0, 2.0, 0.0, 1.0, 1.5, 3.0, 0.0];
        assert_eq!(falling(&costs, 2), [0, 0, 1, 1, 1]);
        assert_eq!(cheapest(&costs, 2), [0, 0, 1, 0, 1]);
    }
}
