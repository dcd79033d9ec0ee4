//! A driver that hangs: a write or a look at the nodes that does not come back.

use std::time::Duration;

use jetpace_tables::units::Nanos;

/// How long a write or a look may take before it is reported. The slowest driver known takes 30 ms.
const LONG: Nanos = Nanos::from_millis(2_000);

/// What the main thread saw of the nodes' reads and writes.
#[derive(Debug, Default)]
pub struct Hang {
    /// [`super::Desk::io`] when last looked at, and since when it has been that.
    io: u64,
    since: Nanos,
    told: bool,
}

impl Hang {
    /// Looks once more, and says so in the log where it begins or ends to hang. Whether it hangs.
    pub fn look(&mut self, io: u64, now: Nanos) -> bool {
        if io != self.io || io.is_multiple_of(2) {
            if self.told {
                log::warn!("the GPU's driver answers again");
            }
            *self = Self { io, since: now, told: false };
            return false;
        }
        let hangs = now.saturating_sub(self.since) >= LONG;
        if hangs && !self.told {
            self.told = true;
            log::error!("the GPU's driver hangs: a write or a read has not come back for {LONG}");
        }
        hangs
    }

    /// Whether it hung when last looked.
    pub fn is_hanging(&self) -> bool {
        self.told
    }

    /// For how long; `None` where it does not.
    pub fn hanging_for(&self, now: Nanos) -> Option<Duration> {
        self.told.then(|| Duration::from_nanos(now.saturating_sub(self.since).get()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_does_not_come_back_hangs() {
        let (mut hang, at) = (Hang::default(), Nanos::from_millis);
        assert!(!hang.look(0, at(10_000)), "nothing is under way");
        assert!(!hang.look(7, at(20_000)), "just begun");
        assert!(!hang.look(9, at(30_000)), "another one");
        assert!(!hang.look(9, at(31_999)));
        assert!(hang.look(9, at(32_000)));
        assert_eq!(hang.hanging_for(at(33_000)), Some(Duration::from_secs(3)));
        assert!(!hang.look(10, at(34_000)), "it has come back");
        assert_eq!(hang.hanging_for(at(35_000)), None);
    }
}
