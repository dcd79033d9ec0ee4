//! A session's energy from the board's own rails.

use jetpace_devfreq::energy::Energy;
use jetpace_tables::hw::{PowerOf, PowerRails, RailRole, RailSample};
use jetpace_tables::units::{Microjoules, Nanos};

use crate::session::Meter;

/// How often the rails are read: an INA3221 as Linux sets it up has a new value every 6.6 ms.
const EVERY: Nanos = Nanos::from_millis(7);
/// The longest gap between samples that is still integrated over.
const LONGEST_GAP: Nanos = Nanos::from_millis(200);

/// Integrates the power that the rails tell, each rail's for itself: chips convert at their own times.
#[derive(Debug)]
pub struct RailMeter<R> {
    rails: R,
    of: PowerOf,
    /// Which samples add up to it, and what each came to; empty where no rail tells.
    total: Vec<(usize, Energy)>,
    samples: Vec<RailSample>,
    failed: bool,
}

impl<R: PowerRails> RailMeter<R> {
    /// Over the rails that [`PowerOf::told_by`] names.
    pub fn new(rails: R) -> Self {
        let roles: Vec<RailRole> = rails.rails().map(|(_, role)| role).collect();
        let (of, told_by) = PowerOf::told_by(roles.iter().copied()).unwrap_or_default();
        let counted = roles.iter().enumerate().filter(|(_, role)| told_by.contains(role));
        let total = counted.map(|(rail, _)| (rail, Energy::new(LONGEST_GAP))).collect();
        let samples = vec![RailSample::default(); roles.len()];
        Self { rails, of, total, samples, failed: false }
    }
}

impl<R: PowerRails> RailMeter<R> {
    /// Energy over the time that all rails were read in so far; `None` where no rail tells, or none can be read.
    pub fn so_far(&self) -> Option<(Microjoules, Nanos)> {
        let covered = self.total.iter().map(|(_, energy)| energy.covered()).min().filter(|_| !self.failed)?;
        let joules = self.total.iter().map(|(_, energy)| energy.energy().as_joules_f64()).sum();
        Some((Microjoules::from_joules_f64(joules), covered))
    }
}

impl<R: PowerRails> Meter for RailMeter<R> {
    fn sample(&mut self, now: Nanos) -> Option<Nanos> {
        if self.total.is_empty() || self.failed {
            return None;
        }
        match self.rails.sample(&mut self.samples) {
            Ok(()) => {
                for (rail, energy) in &mut self.total {
                    if let Some(sample) = self.samples.get(*rail).filter(|sample| !sample.repeated) {
                        energy.add(sample.at, sample.power);
                    }
                }
            }
            Err(error) => {
                log::warn!("{error}: no energy in the report");
                self.failed = true;
            }
        }
        Some(now.saturating_add(EVERY))
    }

    fn energy(&mut self) -> Option<Microjoules> {
        let known = !self.total.is_empty()
            && !self.failed
            && self.total.iter().all(|(_, energy)| energy.covered() > Nanos::ZERO);
        let left_out = self.total.iter().map(|(_, energy)| energy.left_out()).max().unwrap_or_default();
        if known && left_out > Nanos::ZERO {
            log::warn!("{left_out} without samples of power are not in the energy");
        }
        self.so_far().filter(|_| known).map(|(energy, _)| energy)
    }

    fn power_of(&self) -> PowerOf {
        self.of
    }

    fn restart(&mut self) {
        for (_, energy) in &mut self.total {
            *energy = Energy::new(LONGEST_GAP);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use jetpace_tables::units::Milliwatts;

    use super::*;

    /// A rail that converts every 20 ms: 2 W, then 4 W, and so on. Its last conversion is read again and again.
    struct Slow(Option<i64>);

    impl PowerRails for Slow {
        type Error = Infallible;

        fn rails(&self) -> impl Iterator<Item = (&str, RailRole)> {
            std::iter::once(("VDD_IN", RailRole::Total))
        }

        fn sample(&mut self, out: &mut [RailSample]) -> Result<(), Infallible> {
            let read = self.0.map_or(0, |read| read + 1);
            self.0 = Some(read);
            let power = Milliwatts::new(if read / 2 % 2 == 0 { 2_000 } else { 4_000 });
            let at = Nanos::from_millis(10 * read as u64);
            out[0] = RailSample { at, power, repeated: read % 2 == 1, ..RailSample::default() };
            Ok(())
        }
    }

    #[test]
    fn a_conversion_that_is_read_twice_is_in_the_energy_once() {
        let mut meter = RailMeter::new(Slow(None));
        assert_eq!(meter.energy(), None);
        for _ in 0..4 {
            assert!(meter.sample(Nanos::ZERO).is_some());
        }
        // From the conversion at 0 ms to that at 20 ms: with the repeat it would be 70 mJ over 30 ms.
        assert_eq!(meter.energy(), Some(Microjoules::from_joules_f64(0.06)));
    }
}
