//! Mean power from rails that are read now and then.

use jetpace_devfreq::rails::{Rail, RailSource};
use jetpace_tables::hw::{PowerRails, RailRole, RailSample};
use jetpace_tables::units::{Milliwatts, Nanos};

use crate::failure::Failure;

/// How often rails are worth reading, and how long they remember what was before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PowerPace {
    /// Time until a reading shows nothing of the power before.
    pub settle: Nanos,
    /// Time over which readings are averaged.
    pub window: Nanos,
    /// Time between readings.
    pub every: Nanos,
    /// In how many passes power is measured.
    pub passes: u32,
}

impl PowerPace {
    /// The INA3221 behind hwmon (L4T R34 and later): a new reading of one conversion every 6.6 ms, with 1 % noise.
    pub const HWMON: Self = Self {
        settle: Nanos::from_millis(20),
        window: Nanos::from_millis(250),
        every: Nanos::from_millis(7),
        passes: 2,
    };

    /// The INA3221 behind iio (R32): a running average of 512 readings with a time constant of 430 ms.
    pub const IIO: Self = Self {
        settle: Nanos::from_millis(2_200),
        window: Nanos::from_millis(150),
        every: Nanos::from_millis(10),
        passes: 1,
    };

    /// hwmon, where every conversion takes 140 us: a new reading every millisecond.
    const HWMON_FAST: Self = Self { settle: Nanos::from_millis(5), every: Nanos::from_millis(1), ..Self::HWMON };

    /// iio, where every reading is a conversion of its own.
    const IIO_FAST: Self = Self { settle: Nanos::from_millis(5), ..Self::IIO };

    /// The pace where the chips convert as fast as they can.
    #[must_use]
    pub fn fast(self) -> Self {
        if self == Self::IIO { Self::IIO_FAST } else { Self::HWMON_FAST }
    }

    /// The pace of a board's rails.
    pub fn of(rails: &[Rail]) -> Self {
        let averaged = rails.iter().any(|rail| matches!(rail.source, RailSource::Power(_)));
        if averaged { Self::IIO } else { Self::HWMON }
    }
}

/// Sums up readings of all rails, each conversion once.
#[derive(Debug)]
pub struct Mean {
    /// Sum and count of each rail's readings.
    sums: Vec<(i64, i64)>,
    scratch: Vec<RailSample>,
}

impl Mean {
    /// For so many rails.
    pub fn new(rails: &impl PowerRails) -> Self {
        let count = rails.rails().count();
        Self { sums: vec![(0, 0); count], scratch: vec![RailSample::default(); count] }
    }

    /// Reads every rail once.
    pub fn read(&mut self, rails: &mut impl PowerRails) -> Result<(), Failure> {
        rails.sample(&mut self.scratch).map_err(Failure::failed)?;
        for ((sum, count), sample) in self.sums.iter_mut().zip(&self.scratch).filter(|(_, sample)| !sample.repeated) {
            *sum += sample.power.get();
            *count += 1;
        }
        Ok(())
    }

    /// Mean power of every rail that gave a value.
    pub fn rails(&self, rails: &impl PowerRails) -> Vec<(String, Milliwatts)> {
        let means = rails.rails().zip(&self.sums);
        means.filter_map(|((name, _), sums)| Some((name.to_owned(), Milliwatts::new(mean(sums)?)))).collect()
    }

    /// Mean power of the module: the total rail's, or the sum of the parts where there is none.
    pub fn total(&self, rails: &impl PowerRails) -> Option<Milliwatts> {
        let roles: Vec<RailRole> = rails.rails().map(|(_, role)| role).collect();
        let has_total = roles.contains(&RailRole::Total);
        let counts = |role: &RailRole| match role {
            RailRole::Total => true,
            RailRole::Gpu | RailRole::GpuShared | RailRole::Part => !has_total,
            RailRole::Other => false,
        };
        let counted = roles.iter().zip(&self.sums).filter(|(role, _)| counts(role));
        // Where one of the parts gave nothing their sum is not known.
        let means: Option<Vec<i64>> = counted.map(|(_, sums)| mean(sums)).collect();
        means.filter(|means| !means.is_empty()).map(|means| Milliwatts::new(means.iter().sum()))
    }
}

fn mean((sum, count): &(i64, i64)) -> Option<i64> {
    sum.checked_div(*count)
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use super::*;

    /// Two parts; the second has a new value at every other sample.
    struct Slow(i64);

    impl PowerRails for Slow {
        type Error = Infallible;

        fn rails(&self) -> impl Iterator<Item = (&str, RailRole)> {
            [("CPU", RailRole::Part), ("GPU", RailRole::Gpu)].into_iter()
        }

        fn sample(&mut self, out: &mut [RailSample]) -> Result<(), Infallible> {
            self.0 += 1;
            let sample =
                |power, repeated| RailSample { power: Milliwatts::new(power), repeated, ..RailSample::default() };
            out[0] = sample(1000 * self.0, false);
            out[1] = sample(1000 * (self.0 / 2), self.0 % 2 == 1);
            Ok(())
        }
    }

    #[test]
    fn a_conversion_that_is_read_twice_counts_once() {
        let mut rails = Slow(0);
        let mut mean = Mean::new(&rails);
        for _ in 0..5 {
            mean.read(&mut rails).unwrap();
        }
        // 1 to 5 W, and 1 and 2 W: with the repeats the second would come to 1.2 W.
        let [cpu, gpu] = [3000, 1500].map(Milliwatts::new);
        assert_eq!(mean.rails(&rails), [("CPU".to_owned(), cpu), ("GPU".to_owned(), gpu)]);
        assert_eq!(mean.total(&rails), Some(Milliwatts::new(4500)));
    }

    #[test]
    fn a_part_without_a_value_leaves_the_total_unknown() {
        let mut rails = Slow(0);
        let mut mean = Mean::new(&rails);
        mean.read(&mut rails).unwrap();
        assert_eq!(mean.total(&rails), None);
    }
}
