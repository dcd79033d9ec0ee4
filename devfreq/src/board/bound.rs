//! A bound on a clock, known or not.

use std::fmt;

use jetpace_tables::units::Hertz;

/// The user's bound on the GPU's clock: nvpmodel's, or one written by hand. Heat's and over-current's are not in it, and
/// neither are ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UserBound {
    /// There is none.
    Open,
    /// This one.
    At(Hertz),
    /// It cannot be known now.
    Unknown,
}

impl UserBound {
    /// The bound, where there is one and it is known.
    pub fn at(self) -> Option<Hertz> {
        match self {
            Self::At(hz) => Some(hz),
            Self::Open | Self::Unknown => None,
        }
    }
}

impl fmt::Display for UserBound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Open => f.write_str("none"),
            Self::At(hz) => hz.fmt(f),
            Self::Unknown => f.write_str("unknown"),
        }
    }
}
