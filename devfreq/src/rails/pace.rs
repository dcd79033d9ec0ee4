//! How often rails are worth reading, by the driver that reads them.

use jetpace_tables::units::Nanos;

use super::{Rail, RailSource};

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
        let averaged = rails.iter().any(|rail| match rail.source {
            RailSource::Power(_) => true,
            RailSource::VoltsAmps { .. } => false,
        });
        if averaged { Self::IIO } else { Self::HWMON }
    }
}
