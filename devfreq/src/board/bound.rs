//! A bound on a clock, known or not.

use std::fmt;

use jetpace_tables::units::Hertz;

/// A bound on the GPU's clock. That there is none and that it cannot be known are different things.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bound {
    /// There is none.
    Open,
    /// This one.
    At(Hertz),
    /// It cannot be known now.
    Unknown,
}

impl From<Option<Hertz>> for Bound {
    fn from(bound: Option<Hertz>) -> Self {
        bound.map_or(Self::Open, Self::At)
    }
}

impl Bound {
    /// The bound, where there is one and it is known.
    pub fn at(self) -> Option<Hertz> {
        match self {
            Self::At(hz) => Some(hz),
            Self::Open | Self::Unknown => None,
        }
    }
}

impl fmt::Display for Bound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Open => f.write_str("none"),
            Self::At(hz) => hz.fmt(f),
            Self::Unknown => f.write_str("unknown"),
        }
    }
}
