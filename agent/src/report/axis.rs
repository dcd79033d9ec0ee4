//! An axis: its range, where its labels stand, and where a value lies on it.

use super::svg::width;

/// A range of values on a stretch of the picture.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Axis {
    /// The values at its ends.
    pub range: (f64, f64),
    /// Where these lie in the picture.
    pub place: (f64, f64),
    /// Between labels.
    step: f64,
}

/// A range for these values: from zero where that is asked for, or else where its labels say. `None` without values.
pub fn range(values: impl Iterator<Item = f64>, from_zero: bool) -> Option<(f64, f64)> {
    let (low, high) = values.filter(|v| v.is_finite()).fold(None, |range, v| match range {
        None => Some((v, v)),
        Some((low, high)) => Some((f64::min(low, v), f64::max(high, v))),
    })?;
    let low = if from_zero { low.min(0.0) } else { low };
    // Values that are all the same lie in the middle of something.
    let least = (low.abs().max(high.abs()) * 1e-3).max(1e-9);
    let pad = if high - low < least { least } else { 0.0 };
    Some((if from_zero && low == 0.0 { 0.0 } else { low - pad }, high + pad))
}

impl Axis {
    /// An axis with about as many labels as there is room for.
    pub fn new(range: (f64, f64), place: (f64, f64), upright: bool) -> Self {
        let span = (range.1 - range.0).abs().max(f64::MIN_POSITIVE);
        let room = (place.1 - place.0).abs();
        let mut axis = Self { range, place, step: nice(span / 12.0) };
        for _ in 0..8 {
            let needs = |label: &String| if upright { 26.0 } else { width(label) + 14.0 };
            let labels: Vec<String> = axis.ticks().into_iter().map(|(_, label)| label).collect();
            let widest = labels.iter().map(needs).fold(0.0, f64::max);
            if widest * axis.step.recip() * span <= room {
                break;
            }
            axis.step = nice(axis.step * 1.01);
        }
        axis
    }

    /// The same with its ends on labels, so that nothing lies beyond the last one.
    pub fn rounded(self) -> Self {
        let (low, high) = self.range;
        let low = (low / self.step + 1e-6).floor() * self.step;
        let high = (high / self.step - 1e-6).ceil() * self.step;
        Self { range: (low, high), ..self }
    }

    /// The same elsewhere in the picture.
    pub fn moved(self, place: (f64, f64)) -> Self {
        Self { place, ..self }
    }

    /// Where a value lies in the picture; one beyond the ends at the end.
    pub fn at(&self, value: f64) -> f64 {
        let share = (value - self.range.0) / (self.range.1 - self.range.0);
        let share = if share.is_finite() { share.clamp(0.0, 1.0) } else { 0.0 };
        self.place.0 + share * (self.place.1 - self.place.0)
    }

    /// The labels within the range with their values, ascending.
    pub fn ticks(&self) -> Vec<(f64, String)> {
        let decimals = (-(self.step.log10() + 1e-9).floor()).clamp(0.0, 9.0) as usize;
        let slack = 1e-6 * self.step;
        let first = ((self.range.0 - slack) / self.step).ceil();
        let values = (0..50).map(|i| (first + f64::from(i)) * self.step).take_while(|v| *v <= self.range.1 + slack);
        // Not -0.
        values.map(|v| if v.abs() < slack { 0.0 } else { v }).map(|v| (v, format!("{v:.decimals$}"))).collect()
    }
}

/// The least of 1, 2 and 5 times a power of ten that is not below a step.
pub fn nice(step: f64) -> f64 {
    let power = 10f64.powf(step.log10().floor());
    [1.0, 2.0, 5.0]
        .map(|factor| factor * power)
        .into_iter()
        .find(|nice| *nice >= step * (1.0 - 1e-9))
        .unwrap_or(10.0 * power)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_round_and_do_not_touch() {
        for (low, high) in [(0.0, 7.2), (306.0, 624.75), (0.000_1, 0.000_13), (0.0, 12_345_678.0), (-3.0, 4.0)] {
            let axis = Axis::new((low, high), (50.0, 400.0), false).rounded();
            let ticks = axis.ticks();
            assert!((2..=13).contains(&ticks.len()), "{low} {high}: {ticks:?}");
            assert!(axis.range.0 <= low && axis.range.1 >= high, "{axis:?}");
            for pair in ticks.windows(2) {
                let room = axis.at(pair[1].0) - axis.at(pair[0].0);
                assert!(room > 0.5 * (width(&pair[0].1) + width(&pair[1].1)), "{ticks:?}");
            }
        }
    }

    #[test]
    fn one_value_has_an_axis_too() {
        assert_eq!(range(std::iter::empty(), true), None);
        assert_eq!(range([f64::NAN].into_iter(), true), None);
        let (low, high) = range([5.0, 5.0].into_iter(), false).unwrap();
        assert!(low < 5.0 && high > 5.0);
        let axis = Axis::new(range([0.0].into_iter(), true).unwrap(), (0.0, 300.0), false);
        assert!(axis.at(0.0).is_finite() && !axis.ticks().is_empty(), "{axis:?}");
    }
}
