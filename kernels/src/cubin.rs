//! The precompiled kernels: one cubin per compute capability.

use std::fmt;

/// What a GPU's kernels have to be compiled for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Capability {
    major: u8,
    minor: u8,
}

impl Capability {
    /// Volta's integrated GPU (Xavier). It has tensor cores, but neither `mma.m16n8k16` nor asynchronous copies.
    pub const SM_72: Self = Self::new(7, 2);

    /// From its two numbers.
    pub const fn new(major: u8, minor: u8) -> Self {
        Self { major, minor }
    }
}

impl fmt::Display for Capability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}
