//! The precompiled kernels: one cubin per compute capability, from cu/ by rebuild.sh.

use std::fmt;

use crate::error::Error;

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

/// Kernels compiled for one compute capability, and for no other: a cubin of another one does not load.
#[derive(Clone, Copy, Debug)]
pub struct Cubin {
    /// What it is compiled for.
    pub capability: Capability,
    /// The ELF file.
    pub image: &'static [u8],
}

/// Every cubin.
pub static CUBINS: [Cubin; 7] = [
    Cubin { capability: Capability::SM_72, image: include_bytes!("../cubin/sm_72/jetpace.cubin") },
    Cubin { capability: Capability::new(8, 0), image: include_bytes!("../cubin/sm_80/jetpace.cubin") },
    Cubin { capability: Capability::new(8, 6), image: include_bytes!("../cubin/sm_86/jetpace.cubin") },
    Cubin { capability: Capability::new(8, 7), image: include_bytes!("../cubin/sm_87/jetpace.cubin") },
    Cubin { capability: Capability::new(8, 9), image: include_bytes!("../cubin/sm_89/jetpace.cubin") },
    Cubin { capability: Capability::new(9, 0), image: include_bytes!("../cubin/sm_90/jetpace.cubin") },
    Cubin { capability: Capability::new(11, 0), image: include_bytes!("../cubin/sm_110/jetpace.cubin") },
];

/// The cubin for a GPU.
///
/// # Errors
/// There is none for its compute capability; the message names the GPU, its capability and those there are.
pub fn find(gpu: &str, capability: Capability) -> Result<&'static Cubin, Error> {
    CUBINS.iter().find(|cubin| cubin.capability == capability).ok_or_else(|| Error::Capability {
        gpu: gpu.to_owned(),
        found: capability,
        supported: CUBINS.iter().map(|cubin| cubin.capability.to_string()).collect::<Vec<_>>().join(", "),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_capability_is_refused_by_name_even_a_near_one() {
        assert!(find("Orin", Capability::new(8, 7)).is_ok());
        assert!(find("RTX 4090", Capability::new(8, 9)).is_ok());
        // Nothing of 7.2 is taken: Tegra's cubins are for Tegra's GPUs.
        let message = find("RTX 2080", Capability::new(7, 5)).unwrap_err().to_string();
        let supported = "7.2, 8.0, 8.6, 8.7, 8.9, 9.0, 11.0";
        assert_eq!(message, format!("RTX 2080 has compute capability 7.5; kernels are compiled for {supported} only"));
    }
}
