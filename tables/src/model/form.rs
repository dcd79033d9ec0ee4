//! The forms by name: formulas for a block's time and for the power while it runs, with their parameters.
//!
//! Clocks are relative to the reference clock (the board's highest), so every parameter is in seconds, watts or
//! joules at that clock and blocks can be compared. Which form fits what is measured is in the crate's documentation
//! of [`crate::model`].

use crate::math;
use core::fmt;
use core::str::FromStr;

/// A formula for time, by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "std", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "kebab-case"))]
pub enum TimeForm {
    /// w/f: cycles over clock, the model of CPU frequency scaling.
    CpuDvfs,
    /// w/f + c.
    Additive,
    /// w/f^p + c.
    Power,
    /// ((w/f)^q + m^q)^(1/q) + c with q fixed at 4.
    SmoothRoofline,
    /// The same with c = 0 and q fitted.
    SmoothRooflineQ,
    /// ((w/f)^q + (m/e)^q)^(1/q) + w1/f + c with q fixed at 3 and e the memory's clock.
    SmoothRooflineEmc,
    /// w/f + m/e + c, with e the memory's clock.
    AdditiveEmc,
}

impl TimeForm {
    /// The forms of one memory clock, simplest first.
    pub const SINGLE: [Self; 5] =
        [Self::CpuDvfs, Self::Additive, Self::Power, Self::SmoothRoofline, Self::SmoothRooflineQ];

    /// The forms over several memory clocks, simplest first.
    pub const JOINT: [Self; 2] = [Self::AdditiveEmc, Self::SmoothRooflineEmc];

    /// Its name in files and on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::CpuDvfs => "cpu-dvfs",
            Self::Additive => "additive",
            Self::Power => "power",
            Self::SmoothRoofline => "smooth-roofline",
            Self::SmoothRooflineQ => "smooth-roofline-q",
            Self::SmoothRooflineEmc => "smooth-roofline-emc",
            Self::AdditiveEmc => "additive-emc",
        }
    }

    /// How many parameters are fitted.
    pub const fn parameters(self) -> usize {
        match self {
            Self::CpuDvfs => 1,
            Self::Additive => 2,
            Self::Power | Self::SmoothRoofline | Self::SmoothRooflineQ | Self::AdditiveEmc => 3,
            Self::SmoothRooflineEmc => 4,
        }
    }
}

/// A formula for power while busy, by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "std", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "kebab-case"))]
pub enum PowerForm {
    /// k f^3.
    Cubic,
    /// P0 + k f^3.
    StaticCubic,
    /// P0 + k f V(f)^2.
    VoltageFloor,
    /// P0 + E V(f)^2 / t(f): a constant charge per execution.
    Activity,
    /// P0 + k f V(f)^2 + E / t(f): the GPU at its own voltage, and a constant charge per execution outside of it
    /// (memory, regulators).
    VoltageActivity,
}

impl PowerForm {
    /// All of them, simplest first.
    pub const ALL: [Self; 5] =
        [Self::Cubic, Self::StaticCubic, Self::VoltageFloor, Self::Activity, Self::VoltageActivity];

    /// Its name in files and on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Cubic => "cubic",
            Self::StaticCubic => "static-cubic",
            Self::VoltageFloor => "voltage-floor",
            Self::Activity => "activity",
            Self::VoltageActivity => "voltage-activity",
        }
    }

    /// How many parameters are fitted per block; V(f) is the device's and not among them.
    pub const fn parameters(self) -> usize {
        match self {
            Self::Cubic => 1,
            Self::StaticCubic | Self::VoltageFloor | Self::Activity => 2,
            Self::VoltageActivity => 3,
        }
    }
}

impl fmt::Display for TimeForm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl fmt::Display for PowerForm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A name that is no form's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no such form; there are {0}")]
pub struct UnknownForm(&'static str);

impl FromStr for TimeForm {
    type Err = UnknownForm;

    fn from_str(name: &str) -> Result<Self, UnknownForm> {
        Self::SINGLE.into_iter().chain(Self::JOINT).find(|form| form.name() == name).ok_or(UnknownForm(
            "cpu-dvfs, additive, power, smooth-roofline, smooth-roofline-q, additive-emc, smooth-roofline-emc",
        ))
    }
}

impl FromStr for PowerForm {
    type Err = UnknownForm;

    fn from_str(name: &str) -> Result<Self, UnknownForm> {
        Self::ALL
            .into_iter()
            .find(|form| form.name() == name)
            .ok_or(UnknownForm("cubic, static-cubic, voltage-floor, activity, voltage-activity"))
    }
}

/// A model's parameters by name.
pub type Params<'a> = heapless::Vec<(&'static str, &'a mut f64), 5>;

/// A time form with its parameters: seconds at the reference clock (and at the highest memory clock), exponents bare.
#[derive(Clone, Copy, Debug, PartialEq)]
#[cfg_attr(
    feature = "std",
    derive(serde::Serialize, serde::Deserialize),
    serde(tag = "form", content = "params", rename_all = "kebab-case")
)]
#[allow(missing_docs)] // the parameters stand in the formulas of TimeForm
pub enum TimeModel {
    CpuDvfs { w_s: f64 },
    Additive { w_s: f64, c_s: f64 },
    Power { w_s: f64, p: f64, c_s: f64 },
    SmoothRoofline { w_s: f64, m_s: f64, c_s: f64, q: f64 },
    SmoothRooflineQ { w_s: f64, m_s: f64, q: f64 },
    SmoothRooflineEmc { w_s: f64, m_s: f64, w1_s: f64, c_s: f64, q: f64 },
    AdditiveEmc { w_s: f64, m_s: f64, c_s: f64 },
}

impl TimeModel {
    /// Its form.
    pub const fn form(&self) -> TimeForm {
        match self {
            Self::CpuDvfs { .. } => TimeForm::CpuDvfs,
            Self::Additive { .. } => TimeForm::Additive,
            Self::Power { .. } => TimeForm::Power,
            Self::SmoothRoofline { .. } => TimeForm::SmoothRoofline,
            Self::SmoothRooflineQ { .. } => TimeForm::SmoothRooflineQ,
            Self::SmoothRooflineEmc { .. } => TimeForm::SmoothRooflineEmc,
            Self::AdditiveEmc { .. } => TimeForm::AdditiveEmc,
        }
    }

    /// The parameters by name, to be read or changed one at a time, as in looking at what each of them does.
    pub fn params(&mut self) -> Params<'_> {
        let mut params = Params::new();
        // The capacity is that of the longest list below.
        let mut add = |name, value| drop(params.push((name, value)));
        match self {
            Self::CpuDvfs { w_s } => add("w_s", w_s),
            Self::Additive { w_s, c_s } => {
                add("w_s", w_s);
                add("c_s", c_s);
            }
            Self::Power { w_s, p, c_s } => {
                add("w_s", w_s);
                add("p", p);
                add("c_s", c_s);
            }
            Self::SmoothRoofline { w_s, m_s, c_s, q } => {
                add("w_s", w_s);
                add("m_s", m_s);
                add("c_s", c_s);
                add("q", q);
            }
            Self::SmoothRooflineQ { w_s, m_s, q } => {
                add("w_s", w_s);
                add("m_s", m_s);
                add("q", q);
            }
            Self::SmoothRooflineEmc { w_s, m_s, w1_s, c_s, q } => {
                add("w_s", w_s);
                add("m_s", m_s);
                add("w1_s", w1_s);
                add("c_s", c_s);
                add("q", q);
            }
            Self::AdditiveEmc { w_s, m_s, c_s } => {
                add("w_s", w_s);
                add("m_s", m_s);
                add("c_s", c_s);
            }
        }
        params
    }

    /// Seconds at a GPU clock `x` and a memory clock `e`, both relative to their references and positive. Forms of one
    /// memory clock do not look at `e`.
    pub fn time_s(&self, x: f64, e: f64) -> f64 {
        match *self {
            Self::CpuDvfs { w_s } => w_s / x,
            Self::Additive { w_s, c_s } => w_s / x + c_s,
            Self::Power { w_s, p, c_s } => w_s * math::pow(x, -p) + c_s,
            Self::SmoothRoofline { w_s, m_s, c_s, q } => smooth_max(w_s / x, m_s, q) + c_s,
            Self::SmoothRooflineQ { w_s, m_s, q } => smooth_max(w_s / x, m_s, q),
            Self::SmoothRooflineEmc { w_s, m_s, w1_s, c_s, q } => smooth_max(w_s / x, m_s / e, q) + w1_s / x + c_s,
            Self::AdditiveEmc { w_s, m_s, c_s } => w_s / x + m_s / e + c_s,
        }
    }
}

/// (a^q + b^q)^(1/q) without overflow; a and b are not negative.
pub(crate) fn smooth_max(a: f64, b: f64, q: f64) -> f64 {
    let (high, low) = if a > b { (a, b) } else { (b, a) };
    if high <= 0.0 { 0.0 } else { high * math::pow(1.0 + math::pow(low / high, q), 1.0 / q) }
}

/// The voltage against the clock, a constant of the device: flat up to the knee, then a line. Relative to the flat part.
#[derive(Clone, Copy, Debug, PartialEq)]
#[cfg_attr(feature = "std", derive(serde::Serialize, serde::Deserialize))]
pub struct Voltage {
    /// Where it begins to rise, as a fraction of the reference clock.
    #[cfg_attr(feature = "std", serde(rename = "v_knee"))]
    pub knee: f64,
    /// How much it rises per reference clock.
    #[cfg_attr(feature = "std", serde(rename = "v_slope"))]
    pub slope: f64,
}

impl Voltage {
    /// Knee and slope of five independent measured series of one board (TX2): the prior where clocks are few.
    pub const PRIOR: Self = Self { knee: 0.59, slope: 1.0 };

    /// V at a clock relative to the reference.
    pub fn at(&self, x: f64) -> f64 {
        1.0 + self.slope * (x - self.knee).max(0.0)
    }
}

/// A power form with its parameters: watts at the reference clock and flat voltage, joules per execution.
#[derive(Clone, Copy, Debug, PartialEq)]
#[cfg_attr(
    feature = "std",
    derive(serde::Serialize, serde::Deserialize),
    serde(tag = "form", content = "params", rename_all = "kebab-case")
)]
#[allow(missing_docs)] // the parameters stand in the formulas of PowerForm
pub enum PowerModel {
    Cubic { k_w: f64 },
    StaticCubic { p0_w: f64, k_w: f64 },
    VoltageFloor { p0_w: f64, k_w: f64 },
    Activity { p0_w: f64, e_j: f64 },
    VoltageActivity { p0_w: f64, k_w: f64, e_j: f64 },
}

impl PowerModel {
    /// Its form.
    pub const fn form(&self) -> PowerForm {
        match self {
            Self::Cubic { .. } => PowerForm::Cubic,
            Self::StaticCubic { .. } => PowerForm::StaticCubic,
            Self::VoltageFloor { .. } => PowerForm::VoltageFloor,
            Self::Activity { .. } => PowerForm::Activity,
            Self::VoltageActivity { .. } => PowerForm::VoltageActivity,
        }
    }

    /// The parameters by name.
    pub fn params(&mut self) -> Params<'_> {
        let mut params = Params::new();
        // The capacity is larger than any list below.
        let mut add = |name, value| drop(params.push((name, value)));
        match self {
            Self::Cubic { k_w } => add("k_w", k_w),
            Self::StaticCubic { p0_w, k_w } | Self::VoltageFloor { p0_w, k_w } => {
                add("p0_w", p0_w);
                add("k_w", k_w);
            }
            Self::Activity { p0_w, e_j } => {
                add("p0_w", p0_w);
                add("e_j", e_j);
            }
            Self::VoltageActivity { p0_w, k_w, e_j } => {
                add("p0_w", p0_w);
                add("k_w", k_w);
                add("e_j", e_j);
            }
        }
        params
    }

    /// Watts at a clock `x` relative to the reference, for a block that takes `time_s` there.
    pub fn power_w(&self, x: f64, time_s: f64, voltage: &Voltage) -> f64 {
        let v = voltage.at(x);
        match *self {
            Self::Cubic { k_w } => k_w * x * x * x,
            Self::StaticCubic { p0_w, k_w } => p0_w + k_w * x * x * x,
            Self::VoltageFloor { p0_w, k_w } => p0_w + k_w * x * v * v,
            Self::Activity { p0_w, e_j } => p0_w + e_j * v * v / time_s,
            Self::VoltageActivity { p0_w, k_w, e_j } => p0_w + k_w * x * v * v + e_j / time_s,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_is_found_by_its_name() {
        for form in TimeForm::SINGLE.into_iter().chain(TimeForm::JOINT) {
            assert_eq!(form.name().parse(), Ok(form));
        }
        for form in PowerForm::ALL {
            assert_eq!(form.name().parse(), Ok(form));
        }
        assert!("roofline".parse::<TimeForm>().is_err());
        assert!("k f^3".parse::<PowerForm>().is_err());
    }

    #[test]
    fn a_smooth_roofline_lies_between_the_larger_side_and_the_sum() {
        for (a, b) in [(1.0, 1.0), (2.0, 0.5), (0.0, 3.0), (0.0, 0.0), (1e-9, 1e9)] {
            let t = smooth_max(a, b, 4.0);
            assert!(t >= a.max(b) && t <= a + b, "{a} {b} {t}");
        }
        // (3^4 + 2^4)^(1/4) + 1 = 97^(1/4) + 1
        let t = TimeModel::SmoothRoofline { w_s: 1.5, m_s: 2.0, c_s: 1.0, q: 4.0 }.time_s(0.5, 1.0);
        assert!((t - 4.138_288_992_714_996).abs() < 1e-12, "{t}");
    }

    #[test]
    fn power_by_hand() {
        let voltage = Voltage { knee: 0.5, slope: 1.0 };
        // V(1) = 1.5, V^2 = 2.25
        assert_eq!(PowerModel::VoltageFloor { p0_w: 4.0, k_w: 2.0 }.power_w(1.0, 0.1, &voltage), 8.5);
        assert_eq!(PowerModel::Activity { p0_w: 4.0, e_j: 0.2 }.power_w(1.0, 0.1, &voltage), 8.5);
        let both = PowerModel::VoltageActivity { p0_w: 4.0, k_w: 2.0, e_j: 0.2 };
        assert_eq!(both.power_w(1.0, 0.1, &voltage), 10.5);
        assert_eq!(PowerModel::StaticCubic { p0_w: 4.0, k_w: 8.0 }.power_w(0.5, 0.1, &voltage), 5.0);
    }
}
