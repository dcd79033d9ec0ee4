//! What a write brings about: bounds, governors, and the clock that follows from both.

use std::io;

use super::parse::{errno, from_khz};
use super::{Devfreq, Kernel, PERFORMANCE, PODGOV, POWERSAVE, USERSPACE};

impl Devfreq {
    pub(super) fn write_min(&mut self, value: u64) -> io::Result<()> {
        if self.kernel == Kernel::V4_9 {
            if value != 0 && self.user_max != 0 && value > self.user_max {
                return Err(errno(libc::EINVAL));
            }
            self.user_min = value.max(self.table[0]);
            self.update();
            return Ok(());
        }
        let before = self.user_min;
        self.user_min = from_khz((value / 1000) as i32);
        self.notify(before != self.user_min);
        Ok(())
    }

    pub(super) fn write_max(&mut self, value: u64) -> io::Result<()> {
        if self.kernel == Kernel::V4_9 {
            if value != 0 && self.user_min != 0 && value < self.user_min {
                return Err(errno(libc::EINVAL));
            }
            self.user_max = value.min(self.table[self.table.len() - 1]);
            self.update();
            return Ok(());
        }
        let before = self.user_max;
        self.user_max = if value == 0 { u64::MAX } else { from_khz(value.div_ceil(1000) as i32) };
        self.notify(before != self.user_max);
        Ok(())
    }

    /// A PM QoS request changed: devfreq's notifier updates the clock first, nvgpu's takes its copies after that. A
    /// request that did not change notifies nobody.
    fn notify(&mut self, changed: bool) {
        if changed {
            self.update();
            self.copies = self.range_of_copies();
        }
    }

    pub(super) fn write_governor(&mut self, name: &str) -> io::Result<()> {
        if !self.governors.iter().any(|known| known == name) {
            return Err(errno(if self.kernel == Kernel::Mainline { libc::ENOENT } else { libc::EINVAL }));
        }
        if self.failing.is_some() && matches!(name, PERFORMANCE | POWERSAVE) && name != self.governor {
            // These set a clock to start and cannot. The old one is started again and nobody is told.
            self.generation += 1;
            self.userspace_freq = None;
            return Ok(());
        }
        if name != self.governor {
            self.governor = name.to_owned();
            self.generation += 1;
            self.userspace_freq = None;
            (self.user, self.scaling_enabled) = (false, true);
            self.freq_request = self.table[self.table.len() - 1];
            self.asked = self.programmed;
            self.update();
        }
        Ok(())
    }

    /// The effective range of devfreq's core.
    pub(super) fn range(&self) -> (u64, u64) {
        let (lowest, highest) = (self.table[0], self.table[self.table.len() - 1]);
        let user_max = match (self.kernel, self.user_max) {
            (Kernel::V4_9, 0) => lowest,
            (_, max) => max,
        };
        // The table's ends are bounds among others: an upper bound below the lowest clock reads back as such.
        let max = user_max.min(self.thermal_max).min(highest);
        (self.user_min.max(lowest).min(max), max)
    }

    /// What nvgpu's notifier copies: the two aggregates, each for itself.
    pub(super) fn range_of_copies(&self) -> (u64, u64) {
        (self.user_min, self.user_max.min(self.thermal_max))
    }

    /// devfreq's `update_devfreq`.
    pub(super) fn update(&mut self) {
        if self.suspended && self.kernel == Kernel::V4_9 {
            return;
        }
        self.force_update();
    }

    pub(super) fn force_update(&mut self) {
        self.transitions += 1;
        if self.failing.is_some() {
            return;
        }
        let (min, max) = self.range();
        let wanted = match self.governor.as_str() {
            PERFORMANCE => max,
            POWERSAVE => min,
            USERSPACE => self.userspace_freq.unwrap_or(self.programmed),
            PODGOV if self.suspended => min,
            PODGOV if !self.scaling_enabled => max,
            PODGOV if self.user => self.freq_request,
            _ => self.asked,
        };
        let mut clock = wanted.clamp(min, max);
        if self.kernel == Kernel::V5_10 {
            // Minimum first, so that the maximum wins where they conflict.
            clock = clock.max(self.copies.0).min(self.copies.1);
        }
        if self.kernel == Kernel::Mainline && wanted > max {
            let below = self.table.iter().rev().find(|&&hz| hz <= clock);
            self.programmed = *below.unwrap_or(&self.table[0]);
            return;
        }
        // An unlisted clock runs as the next higher one.
        let listed = self.table.iter().find(|&&hz| hz >= clock);
        self.programmed = *listed.unwrap_or(&self.table[self.table.len() - 1]);
    }
}
