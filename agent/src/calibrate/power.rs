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

    /// The pace of a board's rails.
    pub fn of(rails: &[Rail]) -> Self {
        let averaged = rails.iter().any(|rail| matches!(rail.source, RailSource::Power(_)));
        if averaged { Self::IIO } else { Self::HWMON }
    }
}

/// Sums up readings of all rails.
#[derive(Debug)]
pub struct Mean {
    sums: Vec<i64>,
    count: i64,
    scratch: Vec<RailSample>,
}

impl Mean {
    /// For so many rails.
    pub fn new(rails: &impl PowerRails) -> Self {
        let count = rails.rails().count();
        Self { sums: vec![0; count], count: 0, scratch: vec![RailSample::default(); count] }
    }

    /// Reads every rail once.
    pub fn read(&mut self, rails: &mut impl PowerRails) -> Result<(), Failure> {
        rails.sample(&mut self.scratch).map_err(Failure::failed)?;
        for (sum, sample) in self.sums.iter_mut().zip(&self.scratch) {
            *sum += sample.power.get();
        }
        self.count += 1;
        Ok(())
    }

    /// Mean power of every rail; `None` where nothing was read.
    pub fn rails(&self, rails: &impl PowerRails) -> Vec<(String, Milliwatts)> {
        if self.count == 0 {
            return Vec::new();
        }
        let names = rails.rails().map(|(name, _)| name.to_owned());
        names.zip(self.sums.iter().map(|sum| Milliwatts::new(sum / self.count))).collect()
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
        let summed: Vec<i64> =
            roles.iter().zip(&self.sums).filter(|(role, _)| counts(role)).map(|(_, sum)| *sum).collect();
        (self.count > 0 && !summed.is_empty()).then(|| Milliwatts::new(summed.iter().sum::<i64>() / self.count))
    }
}
