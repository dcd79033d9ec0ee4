//! Energy, kept long enough for what an INA3221 looks back on.

use std::collections::VecDeque;

/// Power or energy split as [`super::boards::Channel::shares`] weighs it: standing, clock tree, operations, memory
/// traffic.
pub(super) type Split = [f64; 4];

/// History is kept at this step; power within it counts as even.
const STEP_NS: u64 = 100_000;
/// Enough for 400 ms at full resolution.
const STEPS: usize = 4096;

/// Sums up energy and remembers the last stretch of it.
#[derive(Clone, Debug)]
pub(super) struct Meter {
    joules: Split,
    history: VecDeque<(u64, Split)>,
    /// Power behind a running average, as the iio driver sets the chip up to give.
    average: Split,
    average_s: f64,
    averaged: (u64, Split),
}

impl Meter {
    /// Starts at time 0; the running average, with its time constant, has long been at `watts`.
    pub fn new(watts: Split, average_s: f64) -> Self {
        let history = VecDeque::from([(0, [0.0; 4])]);
        Self { joules: [0.0; 4], history, average: watts, average_s, averaged: (0, [0.0; 4]) }
    }

    /// A stretch of even power that ends at `now`.
    pub fn pass(&mut self, now: u64, seconds: f64, watts: &Split) {
        for (sum, power) in self.joules.iter_mut().zip(watts) {
            *sum += power * seconds;
        }
        if self.history.back().is_none_or(|&(at, _)| now - at >= STEP_NS) {
            if self.history.len() == STEPS {
                self.history.pop_front();
            }
            self.history.push_back((now, self.joules));
            self.move_average(now);
        }
    }

    /// Energy since the start.
    pub fn joules(&self) -> &Split {
        &self.joules
    }

    /// The running average, up to the last step.
    pub fn average(&self) -> &Split {
        &self.average
    }

    /// Mean power between two times, the earlier one held to what is remembered. Both lie in the past.
    pub fn mean(&self, from: u64, to: u64, now: u64) -> Split {
        let oldest = self.history.front().map_or(0, |&(at, _)| at);
        let (from, to) = (from.max(oldest), to.max(oldest));
        if to <= from {
            return self.average;
        }
        let (before, after) = (self.at(from, now), self.at(to, now));
        let seconds = (to - from) as f64 / 1e9;
        std::array::from_fn(|i| (after[i] - before[i]) / seconds)
    }

    fn at(&self, time: u64, now: u64) -> Split {
        let later = self.history.partition_point(|&(at, _)| at <= time);
        let Some(&(start, low)) = later.checked_sub(1).and_then(|before| self.history.get(before)) else {
            return [0.0; 4];
        };
        let (end, high) = self.history.get(later).copied().unwrap_or((now, self.joules));
        let part = if end > start { (time - start) as f64 / (end - start) as f64 } else { 0.0 };
        std::array::from_fn(|i| low[i] + part * (high[i] - low[i]))
    }

    fn move_average(&mut self, now: u64) {
        let (then, joules) = self.averaged;
        let seconds = (now - then) as f64 / 1e9;
        let keep = (-seconds / self.average_s).exp();
        for ((average, sum), before) in self.average.iter_mut().zip(&self.joules).zip(joules) {
            let power = (sum - before) / seconds;
            *average = power + keep * (*average - power);
        }
        self.averaged = (now, self.joules);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn means_look_back_over_steps_of_power() {
        let mut meter = Meter::new([0.0; 4], 0.43);
        for ms in 1..=20 {
            let watts = if ms <= 10 { [4.0, 0.0, 0.0, 0.0] } else { [4.0, 2.0, 0.0, 0.0] };
            meter.pass(ms * 1_000_000, 1e-3, &watts);
        }
        let mean = meter.mean(5_000_000, 15_000_000, 20_000_000);
        assert!((mean[0] - 4.0).abs() < 1e-9 && (mean[1] - 1.0).abs() < 1e-9, "{mean:?}");
        assert!((meter.joules()[0] - 0.08).abs() < 1e-12);
    }

    #[test]
    fn the_running_average_follows_with_its_time_constant() {
        let mut meter = Meter::new([1.0, 0.0, 0.0, 0.0], 0.43);
        for ms in 1..=430 {
            meter.pass(ms * 1_000_000, 1e-3, &[2.0, 0.0, 0.0, 0.0]);
        }
        assert!((meter.average()[0] - (2.0 - (-1.0f64).exp())).abs() < 1e-3, "{:?}", meter.average());
    }
}
