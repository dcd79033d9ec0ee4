//! Energy from samples of power.

use jetpace_tables::units::{Microjoules, Milliwatts, Nanos};

/// A running integral: the trapezoid between samples; a gap too long for that is left out and told.
#[derive(Clone, Debug)]
pub struct Energy {
    longest: Nanos,
    last: Option<(Nanos, Milliwatts)>,
    joules: f64,
    variance: f64,
    covered: Nanos,
    left_out: Nanos,
}

impl Energy {
    /// An integral that takes neighbouring samples at most `longest` apart.
    pub fn new(longest: Nanos) -> Self {
        Self { longest, last: None, joules: 0.0, variance: 0.0, covered: Nanos::ZERO, left_out: Nanos::ZERO }
    }

    /// The next sample. One that is not later than the last is left out: the rail had no new value.
    pub fn add(&mut self, at: Nanos, power: Milliwatts) {
        let Some((before, from)) = self.last else {
            self.last = Some((at, power));
            return;
        };
        if at <= before {
            return;
        }
        self.last = Some((at, power));
        let gap = at.saturating_sub(before);
        if gap > self.longest {
            self.left_out = self.left_out.saturating_add(gap);
            return;
        }
        let (p, q, dt) = (from.as_watts_f64(), power.as_watts_f64(), gap.as_secs_f64());
        self.joules += (p + q) / 2.0 * dt;
        // What the power did between two samples is not known; taken as uniform between them.
        self.variance += (dt * (q - p)).powi(2) / 12.0;
        self.covered = self.covered.saturating_add(gap);
    }

    /// Energy over the covered time.
    pub fn energy(&self) -> Microjoules {
        Microjoules::from_joules_f64(self.joules)
    }

    /// Its standard uncertainty from sampling; the sensor's own error (1 % on Jetsons) comes on top.
    pub fn uncertainty(&self) -> Microjoules {
        Microjoules::from_joules_f64(self.variance.sqrt())
    }

    /// The time that the energy is of.
    pub fn covered(&self) -> Nanos {
        self.covered
    }

    /// The time in gaps, of which nothing is known.
    pub fn left_out(&self) -> Nanos {
        self.left_out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(ms: u64) -> Nanos {
        Nanos::from_millis(ms)
    }

    #[test]
    fn a_ramp_is_half_its_height() {
        let mut energy = Energy::new(ms(100));
        for (at, mw) in [(0, 0), (50, 5_000), (100, 10_000)] {
            energy.add(ms(at), Milliwatts::new(mw));
        }
        assert_eq!(energy.energy(), Microjoules::from_joules_f64(0.5));
        // Two steps of 5 W over 50 ms: sqrt(2 (0.25 J)^2 / 12).
        assert_eq!(energy.uncertainty(), Microjoules::from_joules_f64((2.0 * 0.0625_f64 / 12.0).sqrt()));
    }

    #[test]
    fn gaps_and_repeated_values_do_not_count() {
        let mut energy = Energy::new(ms(100));
        for at in [0, 50, 50, 300, 350] {
            energy.add(ms(at), Milliwatts::new(2_000));
        }
        assert_eq!(energy.energy(), Microjoules::from_joules_f64(0.2));
        assert_eq!((energy.covered(), energy.left_out()), (ms(100), ms(250)));
    }
}
