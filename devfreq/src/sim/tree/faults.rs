//! Seeded faults: what a kernel, a bus or a disk may answer at any time.

use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64Mcg;

/// How a write goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Refused, without effect.
    Refused(i32),
    /// Taken, without effect: `governor` and `max_freq` answer so when the driver fails.
    Ignored,
    /// Refused, with effect: `set_freq` keeps the value when the driver fails.
    TakenAndRefused(i32),
}

/// Makes reads and writes fail, each with a probability.
pub struct Faults {
    random: Pcg64Mcg,
    reads: f64,
    writes: f64,
}

impl Faults {
    /// Faults with these probabilities per read and per write.
    pub fn new(seed: u64, reads: f64, writes: f64) -> Self {
        Self { random: Pcg64Mcg::seed_from_u64(seed), reads, writes }
    }

    pub(super) fn read(&mut self) -> Option<i32> {
        let fails = self.random.random_bool(self.reads);
        fails.then(|| self.pick(&[libc::EIO, libc::EAGAIN, libc::ENOMEM, libc::EINTR]))
    }

    pub(super) fn write(&mut self) -> Option<Kind> {
        if !self.random.random_bool(self.writes) {
            return None;
        }
        let code = self.pick(&[libc::EIO, libc::EAGAIN, libc::EINVAL, libc::EBUSY, libc::ENOSPC, libc::EACCES]);
        Some(match self.random.random_range(0..3) {
            0 => Kind::Refused(code),
            1 => Kind::Ignored,
            _ => Kind::TakenAndRefused(code),
        })
    }

    fn pick(&mut self, codes: &[i32]) -> i32 {
        codes.get(self.random.random_range(0..codes.len())).copied().unwrap_or(libc::EIO)
    }
}
