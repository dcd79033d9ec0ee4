//! Mean power from rails that are read now and then.

use jetpace_tables::hw::{PowerOf, PowerRails, RailSample};
use jetpace_tables::units::Milliwatts;

use crate::failure::Failure;

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

    /// Mean of the power that is planned by: see [`PowerOf::told_by`].
    pub fn total(&self, rails: &impl PowerRails) -> Option<Milliwatts> {
        let roles = || rails.rails().map(|(_, role)| role);
        let (_, told_by) = PowerOf::told_by(roles())?;
        let counted = roles().zip(&self.sums).filter(|(role, _)| told_by.contains(role));
        // Where one of the parts gave nothing their sum is not known.
        let means: Option<Vec<i64>> = counted.map(|(_, sums)| mean(sums)).collect();
        means.map(|means| Milliwatts::new(means.iter().sum()))
    }
}

fn mean((sum, count): &(i64, i64)) -> Option<i64> {
    sum.checked_div(*count)
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use jetpace_tables::hw::RailRole;

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
