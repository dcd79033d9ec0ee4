//! The INA3221: it converts one voltage after the other, round and round, and what is read is the last conversion,
//! in steps of 40 uV over the shunt and 8 mV on the bus.

use super::boards::{Channel, Driver};
use super::meter::{Meter, Split};

/// Conversion times that the chip offers, in microseconds.
const CONVERSION_US: [u64; 8] = [140, 204, 332, 588, 1100, 2116, 4156, 8244];
/// Numbers of readings that the chip averages.
const SAMPLES: [u64; 8] = [1, 4, 16, 64, 128, 256, 512, 1024];
/// Relative standard deviation of a single conversion.
const READING_SD: f64 = 0.01;
const SHUNT_STEP_UV: f64 = 40.0;
const BUS_STEP_MV: f64 = 8.0;
/// Channels of the chip.
const CHANNELS: u64 = 3;

/// Time constant of the running average that the iio driver sets up: 512 readings of two conversions of 140 us on
/// three channels.
pub(super) const IIO_AVERAGE_S: f64 = 512.0 * 2.0 * 140e-6 * 3.0;

/// How a chip converts now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Settings {
    driver: Driver,
    samples: u64,
    conversion_us: u64,
    /// iio only: 0 is a single conversion per read, anything else continuous.
    pub running_mode: i64,
}

impl Settings {
    pub fn new(driver: Driver) -> Self {
        match driver {
            Driver::Hwmon => Self { driver, samples: 1, conversion_us: 1100, running_mode: 1 },
            Driver::Iio => Self { driver, samples: 512, conversion_us: 140, running_mode: 1 },
        }
    }

    pub fn samples(&self) -> u64 {
        self.samples
    }

    /// `update_interval`: a round of all channels in milliseconds, readings not counted, as this driver gives it.
    pub fn interval_ms(&self) -> u64 {
        (CHANNELS * 2 * self.conversion_us + 500) / 1000
    }

    /// Takes the nearest number of readings that the chip has.
    pub fn set_samples(&mut self, wanted: u64) {
        self.samples = nearest(&SAMPLES, wanted);
    }

    /// Takes the nearest conversion time for a round of so many milliseconds.
    pub fn set_interval_ms(&mut self, wanted: u64) {
        self.conversion_us = nearest(&CONVERSION_US, wanted.saturating_mul(1000) / (CHANNELS * 2));
    }

    /// Whether a read waits for a conversion of its own, and for how long.
    pub fn triggered_ns(&self) -> Option<u64> {
        (self.driver == Driver::Iio && self.running_mode == 0).then_some(CHANNELS * 2 * 140_000)
    }
}

fn nearest(list: &[u64], wanted: u64) -> u64 {
    list.iter().copied().min_by_key(|value| value.abs_diff(wanted)).unwrap_or(wanted)
}

/// What a channel reads: bus millivolts and milliamperes.
pub(super) fn read(
    channel: &Channel,
    settings: &Settings,
    meter: &Meter,
    now: u64,
    place: (u64, u64, u64),
) -> (i64, i64) {
    let (seed, chip, at) = place;
    let (split, round, readings) = match settings.triggered_ns() {
        Some(window) => (meter.mean(now.saturating_sub(window), now, now), now / window, 1),
        None if settings.driver == Driver::Iio => (*meter.average(), now / 840_000, settings.samples),
        None => {
            // This channel's slot in the last round that has passed it.
            let slot = 2 * settings.conversion_us * 1000 * settings.samples;
            let round = CHANNELS * slot;
            let end_in_round = (at + 1) * slot;
            match now.checked_sub(end_in_round) {
                None => (*meter.average(), 0, 1),
                Some(since) => {
                    let end = since / round * round + end_in_round;
                    (meter.mean(end - slot, end, now), 1 + since / round, settings.samples)
                }
            }
        }
    };
    let noise = READING_SD / (readings as f64).sqrt() * normal([seed, chip, at, round]);
    let watts = channel_w(channel, &split) * (1.0 + noise);
    let bus_mv = (channel.bus_v * 1000.0 / BUS_STEP_MV).round() * BUS_STEP_MV;
    let shunt_uv = (watts / channel.bus_v * channel.shunt_mohm * 1000.0 / SHUNT_STEP_UV).round() * SHUNT_STEP_UV;
    (bus_mv as i64, (shunt_uv / channel.shunt_mohm).round() as i64)
}

/// True power through a channel.
pub(super) fn channel_w(channel: &Channel, split: &Split) -> f64 {
    channel.shares.iter().zip(split).map(|(share, watts)| share * watts).sum()
}

/// Standard normal and the same for the same place: two reads of one conversion give one value, and reading takes
/// nothing from the board's generator.
fn normal(place: [u64; 4]) -> f64 {
    let mut state = 0x9e37_79b9_7f4a_7c15u64;
    for part in place {
        state = mix(state ^ part);
    }
    let uniform = |bits: u64| ((bits >> 11) as f64 + 0.5) / (1u64 << 53) as f64;
    let (u, v) = (uniform(mix(state)), uniform(mix(state ^ 1)));
    (-2.0 * u.ln()).sqrt() * (std::f64::consts::TAU * v).cos()
}

/// The finaliser of splitmix64.
fn mix(state: u64) -> u64 {
    let z = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    const VDD_IN: Channel = Channel { label: "VDD_IN", bus_v: 5.0, shunt_mohm: 5.0, shares: [1.0; 4] };

    fn steady(watts: f64) -> Meter {
        let mut meter = Meter::new([watts, 0.0, 0.0, 0.0], IIO_AVERAGE_S);
        for ms in 1..=400 {
            meter.pass(ms * 1_000_000, 1e-3, &[watts, 0.0, 0.0, 0.0]);
        }
        meter
    }

    #[test]
    fn readings_come_in_steps_and_scatter_by_one_percent() {
        let meter = steady(10.0);
        let settings = Settings::new(Driver::Hwmon);
        let readings: Vec<f64> = (10..60)
            .map(|round| {
                let (mv, ma) = read(&VDD_IN, &settings, &meter, round * 6_600_000, (1, 0, 0));
                assert_eq!((mv % 8, ma % 8), (0, 0), "8 mV on the bus, 40 uV over 5 mOhm");
                mv as f64 * ma as f64 / 1e6
            })
            .collect();
        let mean = readings.iter().sum::<f64>() / readings.len() as f64;
        let sd = (readings.iter().map(|p| (p - mean).powi(2)).sum::<f64>() / readings.len() as f64).sqrt();
        assert!((mean - 10.0).abs() < 0.06, "{mean}");
        assert!((0.05..0.2).contains(&sd), "{sd}");
    }

    #[test]
    fn one_conversion_is_read_twice_as_the_same_value() {
        let meter = steady(7.0);
        let settings = Settings::new(Driver::Hwmon);
        let at = |now| read(&VDD_IN, &settings, &meter, now, (1, 0, 0));
        assert_eq!(at(66_000_000 + 2_200_000), at(66_000_000 + 8_000_000));
    }

    #[test]
    fn averaging_of_the_iio_driver_hides_the_scatter() {
        let meter = steady(7.0);
        let settings = Settings::new(Driver::Iio);
        for round in 1..100 {
            let (mv, ma) = read(&VDD_IN, &settings, &meter, 380_000_000 + round * 840_000, (1, 0, 0));
            assert!((mv as f64 * ma as f64 / 1e6 - 7.0).abs() < 0.03);
        }
    }

    #[test]
    fn settings_take_the_nearest_that_the_chip_has() {
        let mut settings = Settings::new(Driver::Hwmon);
        assert_eq!((settings.samples(), settings.interval_ms()), (1, 7));
        settings.set_samples(100);
        settings.set_interval_ms(1);
        assert_eq!((settings.samples(), settings.interval_ms()), (128, 1));
    }
}
