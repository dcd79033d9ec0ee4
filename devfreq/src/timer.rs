//! The machine's own clock.

use std::time::Instant;

use jetpace_tables::hw::Timer;
use jetpace_tables::units::Nanos;

/// The monotonic clock of this machine, counted from its making.
#[derive(Clone, Copy, Debug)]
pub struct Monotonic {
    start: Instant,
}

impl Monotonic {
    /// Starts at zero.
    pub fn new() -> Self {
        Self { start: Instant::now() }
    }
}

impl Default for Monotonic {
    fn default() -> Self {
        Self::new()
    }
}

impl Timer for Monotonic {
    fn now(&self) -> Nanos {
        // 584 years fit.
        Nanos::new(self.start.elapsed().as_nanos() as u64)
    }

    fn sleep_until(&mut self, time: Nanos) {
        let left = time.saturating_sub(self.now());
        if left > Nanos::ZERO {
            std::thread::sleep(std::time::Duration::from_nanos(left.get()));
        }
    }
}
