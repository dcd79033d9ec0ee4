//! The stock governor, `nvhost_podgov`, as its kernel source describes itself: polled every 25 ms, it decides at most
//! every 50 ms from the busy share of the GPU.

/// Time between polls.
pub(super) const POLL_NS: u64 = 25_000_000;

const WINDOW_NS: u64 = 50_000_000;
const LOAD_MAX: i64 = 900;
const LOAD_TARGET: i64 = 700;
const BIAS: i64 = 80;
const SMOOTH: i64 = 10;
const DAMP: i64 = 7;

/// What it remembers. All in MHz, cut off, as the kernel's integers do.
#[derive(Clone, Debug, Default)]
pub(super) struct Podgov {
    busy_mhz: i64,
    request_mhz: i64,
    decided_at: u64,
}

impl Podgov {
    /// The GPU was railgated: it forgets.
    pub fn suspend(&mut self, now: u64) {
        self.request_mhz = 0;
        self.decided_at = now;
    }

    /// One poll: the share of time in which the GPU was busy since the last one, in thousandths, and the clock that
    /// runs. Says which clock to ask for, listed or not; `None` to leave it.
    pub fn poll(&mut self, now: u64, busy: i64, current_hz: u64, max_hz: u64) -> Option<u64> {
        let current = (current_hz / 1_000_000) as i64;
        // The mean in MHz that was really used: a clock that is too high has a low load.
        self.busy_mhz = (self.busy_mhz * SMOOTH + current * busy / 1000) / (SMOOTH + 1);
        if now - self.decided_at < WINDOW_NS || current == 0 {
            return None;
        }
        let largest_step = (max_hz / 3 / 1_000_000) as i64;
        let (step, damp) = if busy > LOAD_MAX {
            (largest_step, 10)
        } else {
            let over = 1000 * self.busy_mhz / current - LOAD_TARGET;
            ((over * BIAS * current / (100 * LOAD_TARGET)).min(largest_step), DAMP)
        };
        let request = current + step;
        self.request_mhz = (self.request_mhz * SMOOTH + request) / (SMOOTH + 1);
        let damped = (damp * request + (10 - damp) * self.request_mhz) / 10;
        Some(damped.max(0) as u64 * 1_000_000)
    }

    /// The clock that it asked for differs from the one that ran: a new window starts.
    pub fn changed(&mut self, now: u64) {
        self.decided_at = now;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_busy_gpu_gets_a_third_of_the_highest_clock_more_at_each_decision() {
        let mut governor = Podgov::default();
        assert_eq!(governor.poll(POLL_NS, 1000, 306_000_000, 1_020_000_000), None, "within the window");
        assert_eq!(governor.poll(2 * POLL_NS, 1000, 306_000_000, 1_020_000_000), Some(646_000_000));
    }

    #[test]
    fn at_the_target_it_stays() {
        let mut governor = Podgov { busy_mhz: 0, request_mhz: 612, decided_at: 0 };
        let mut asked = 0;
        for poll in 1..200 {
            asked = governor.poll(poll * POLL_NS, 700, 612_000_000, 1_020_000_000).unwrap_or(asked);
        }
        assert!((590_000_000..=612_000_000).contains(&asked), "{asked}");
    }

    #[test]
    fn a_low_load_lowers_it_slowly() {
        let mut governor = Podgov { busy_mhz: 1020, request_mhz: 1020, decided_at: 0 };
        let first = governor.poll(2 * POLL_NS, 100, 1_020_000_000, 1_020_000_000).unwrap();
        assert!(first > 900_000_000, "{first}: the average still remembers the load");
        for poll in 3..60 {
            governor.poll(poll * POLL_NS, 100, 1_020_000_000, 1_020_000_000);
        }
        let late = governor.poll(61 * POLL_NS, 100, 1_020_000_000, 1_020_000_000).unwrap();
        assert!(late < 500_000_000, "{late}");
    }
}
