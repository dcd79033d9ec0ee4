//! Unit newtypes. A bare number for hertz, watts or seconds is a bug waiting, so every boundary uses these; floats
//! stay inside fitting and planning.

use core::fmt;
use core::str::FromStr;

use serde::{Deserialize, Serialize};

macro_rules! unit {
    ($(#[$doc:meta])* $name:ident($int:ty), $what:literal) => {
        $(#[$doc])*
        #[derive(
            Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
        )]
        #[serde(transparent)]
        pub struct $name($int);

        impl $name {
            /// Nothing of it.
            pub const ZERO: Self = Self(0);
            /// The most that can be said.
            pub const MAX: Self = Self(<$int>::MAX);

            #[doc = concat!("From a number of ", $what, ".")]
            pub const fn new(value: $int) -> Self {
                Self(value)
            }

            #[doc = concat!("The number of ", $what, ".")]
            pub const fn get(self) -> $int {
                self.0
            }

            /// Sum, held at the ends of the range instead of wrapping.
            #[must_use]
            pub const fn saturating_add(self, other: Self) -> Self {
                Self(self.0.saturating_add(other.0))
            }

            /// Difference, held at the ends of the range instead of wrapping.
            #[must_use]
            pub const fn saturating_sub(self, other: Self) -> Self {
                Self(self.0.saturating_sub(other.0))
            }
        }
    };
}

unit! {
    /// A clock frequency. sysfs writes and reads it in hertz.
    Hertz(u64), "hertz"
}
unit! {
    /// A point in time on one monotonic clock, or a length of time.
    Nanos(u64), "nanoseconds"
}
unit! {
    /// Power. Signed: a shunt's offset can read below zero on an idle rail.
    Milliwatts(i64), "milliwatts"
}
unit! {
    /// Energy. Signed, as it is a sum of [`Milliwatts`] over time.
    Microjoules(i64), "microjoules"
}
unit! {
    /// A bus voltage.
    Millivolts(i64), "millivolts"
}
unit! {
    /// A rail's current; negative below the shunt's zero offset.
    Milliamps(i64), "milliamperes"
}
unit! {
    /// A temperature, as the kernel's thermal zones give it.
    MilliCelsius(i64), "thousandths of a degree Celsius"
}

impl Hertz {
    /// From kilohertz, for constants.
    pub const fn from_khz(khz: u64) -> Self {
        Self(khz * 1_000)
    }

    /// As a float, for fitting and planning.
    pub const fn as_f64(self) -> f64 {
        self.0 as f64
    }
}

impl Nanos {
    /// From whole microseconds.
    pub const fn from_micros(us: u64) -> Self {
        Self(us * 1_000)
    }

    /// From whole milliseconds.
    pub const fn from_millis(ms: u64) -> Self {
        Self(ms * 1_000_000)
    }

    /// From seconds; negative and NaN give zero, the rest is held to the range.
    pub const fn from_secs_f64(seconds: f64) -> Self {
        Self((seconds * 1e9 + 0.5) as u64)
    }

    /// In seconds, for fitting and planning.
    pub const fn as_secs_f64(self) -> f64 {
        self.0 as f64 / 1e9
    }
}

impl Milliwatts {
    /// From watts, rounded to the nearest milliwatt.
    pub const fn from_watts_f64(watts: f64) -> Self {
        Self(libm_round(watts * 1e3))
    }

    /// In watts, for fitting and planning.
    pub const fn as_watts_f64(self) -> f64 {
        self.0 as f64 / 1e3
    }
}

impl Microjoules {
    /// From joules, rounded to the nearest microjoule.
    pub const fn from_joules_f64(joules: f64) -> Self {
        Self(libm_round(joules * 1e6))
    }

    /// In joules, for fitting and planning.
    pub const fn as_joules_f64(self) -> f64 {
        self.0 as f64 / 1e6
    }
}

const fn libm_round(x: f64) -> i64 {
    if x < 0.0 { (x - 0.5) as i64 } else { (x + 0.5) as i64 }
}

impl fmt::Display for Hertz {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} MHz", self.0 as f64 / 1e6)
    }
}

impl fmt::Display for Nanos {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ns = self.0 as f64;
        match self.0 {
            0..1_000 => write!(f, "{} ns", self.0),
            1_000..1_000_000 => write!(f, "{:.1} us", ns / 1e3),
            1_000_000..1_000_000_000 => write!(f, "{:.2} ms", ns / 1e6),
            _ => write!(f, "{:.3} s", ns / 1e9),
        }
    }
}

impl fmt::Display for Milliwatts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.3} W", self.as_watts_f64())
    }
}

impl fmt::Display for Microjoules {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.4} J", self.as_joules_f64())
    }
}

/// A quantity that could not be read from text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not {expected}")]
pub struct ParseUnitError {
    expected: &'static str,
}

/// Splits `12.5ms` into the number and the suffix.
fn split(text: &str) -> Option<(f64, &str)> {
    let text = text.trim();
    let end = text.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(text.len());
    let value: f64 = text[..end].trim().parse().ok()?;
    (value.is_finite() && value >= 0.0).then_some((value, &text[end..]))
}

impl FromStr for Hertz {
    type Err = ParseUnitError;

    /// Reads `705MHz`, `1.3GHz`, `76800kHz`, `624750000Hz` or plain hertz.
    fn from_str(text: &str) -> Result<Self, ParseUnitError> {
        let scaled = split(text).and_then(|(value, unit)| {
            let scale = match unit {
                // A smaller number was surely not meant in hertz.
                "" if value < 1e7 => return None,
                "" | "Hz" => 1.0,
                "kHz" => 1e3,
                "MHz" => 1e6,
                "GHz" => 1e9,
                _ => return None,
            };
            Some(value * scale)
        });
        scaled
            .filter(|hz| *hz < 1e15)
            .map(|hz| Self((hz + 0.5) as u64))
            .ok_or(ParseUnitError { expected: "a clock such as 612MHz, 1.3GHz or 624750000" })
    }
}

impl FromStr for Nanos {
    type Err = ParseUnitError;

    /// Reads `40ms`, `12.5us`, `800ns` or `1.2s`; a bare number is refused, as its unit is anyone's guess.
    fn from_str(text: &str) -> Result<Self, ParseUnitError> {
        let seconds = split(text).and_then(|(value, unit)| {
            let scale = match unit {
                "s" => 1.0,
                "ms" => 1e-3,
                "us" => 1e-6,
                "ns" => 1e-9,
                _ => return None,
            };
            Some(value * scale)
        });
        seconds
            .filter(|s| *s < 1e9)
            .map(Self::from_secs_f64)
            .ok_or(ParseUnitError { expected: "a time with its unit, such as 40ms, 12.5us or 1.2s" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::ToString;

    #[test]
    fn clocks_read_in_every_unit() {
        for (text, hz) in [
            ("705MHz", 705_000_000),
            ("1.3005GHz", 1_300_500_000),
            ("624750000", 624_750_000),
            ("624.75 MHz", 624_750_000),
            ("76800kHz", 76_800_000),
        ] {
            assert_eq!(text.parse(), Ok(Hertz::new(hz)), "{text}");
        }
        for text in ["", "MHz", "-5MHz", "705mhz", "1e400", "nan", "612 megahertz", "612", "612000"] {
            assert!(text.parse::<Hertz>().is_err(), "{text}");
        }
    }

    #[test]
    fn times_need_a_unit() {
        assert_eq!("40ms".parse(), Ok(Nanos::from_millis(40)));
        assert_eq!("12.5us".parse(), Ok(Nanos::new(12_500)));
        assert!("40".parse::<Nanos>().is_err());
        assert!("inf s".parse::<Nanos>().is_err());
    }

    #[test]
    fn they_print_as_people_say_them() {
        assert_eq!(Hertz::new(624_750_000).to_string(), "624.75 MHz");
        assert_eq!(Nanos::new(12_345_678).to_string(), "12.35 ms");
        assert_eq!(Milliwatts::from_watts_f64(-0.392).to_string(), "-0.392 W");
        assert_eq!(Microjoules::from_joules_f64(1.03).to_string(), "1.0300 J");
    }

    #[test]
    fn seconds_out_of_range_are_held() {
        assert_eq!(Nanos::from_secs_f64(-1.0), Nanos::ZERO);
        assert_eq!(Nanos::from_secs_f64(f64::NAN), Nanos::ZERO);
        assert_eq!(Nanos::from_secs_f64(1e300), Nanos::MAX);
    }

    proptest::proptest! {
        #[test]
        fn a_clock_reads_back_as_it_prints(hz in 10_000_000u64..10_000_000_000) {
            let clock = Hertz::new(hz);
            proptest::prop_assert_eq!(clock.to_string().parse(), Ok(clock));
            proptest::prop_assert_eq!(hz.to_string().parse(), Ok(clock));
        }

        #[test]
        fn a_time_reads_back_as_it_prints_but_for_what_it_rounds(ns in 0u64..1_000_000_000_000) {
            let back: Nanos = Nanos::new(ns).to_string().parse().unwrap();
            proptest::prop_assert!(back.get().abs_diff(ns) <= ns / 100 + 1, "{}", back);
        }

        #[test]
        fn seconds_and_joules_there_and_back(ns in 0u64..1 << 52, uj in -(1i64 << 52)..1 << 52) {
            proptest::prop_assert!(Nanos::from_secs_f64(Nanos::new(ns).as_secs_f64()).get().abs_diff(ns) <= 1);
            let energy = Microjoules::new(uj);
            proptest::prop_assert!(Microjoules::from_joules_f64(energy.as_joules_f64()).get().abs_diff(uj) <= 1);
        }

        #[test]
        fn sums_stop_at_the_ends(a in proptest::num::u64::ANY, b in proptest::num::u64::ANY) {
            let (x, y) = (Nanos::new(a), Nanos::new(b));
            proptest::prop_assert!(x.saturating_add(y) >= x.max(y));
            proptest::prop_assert!(x.saturating_sub(y) <= x);
            proptest::prop_assert_eq!(x.saturating_sub(y).saturating_add(y), x.max(y));
        }

        #[test]
        fn any_text_is_read_or_refused(text in ".{0,24}") {
            let _ = (text.parse::<Hertz>(), text.parse::<Nanos>());
        }
    }
}
