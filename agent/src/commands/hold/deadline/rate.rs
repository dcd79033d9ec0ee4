//! Frames of which only the end is told: how long one is busy comes from the rate and the GPU's own load.

use jetpace_tables::units::Nanos;

/// How long frames are counted for one estimate, and how many at least.
const WINDOW: Nanos = Nanos::from_millis(1_000);
const FRAMES: u64 = 5;
/// A rate is kept that is no more than this below the wanted one.
const KEPT: f64 = 0.97;
/// A GPU this busy has nothing left for a higher rate.
const FULL: f64 = 0.9;

/// A window that is being counted.
#[derive(Debug)]
pub struct Rate {
    period: Option<Nanos>,
    since: Option<Nanos>,
    ends: u64,
    load: (f64, u32),
}

/// What a window came to.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Window {
    /// When it began.
    pub start: Nanos,
    /// Mean busy time of a frame.
    pub busy: Nanos,
    /// The rate fell short of the wanted one although the GPU was busy.
    pub short: bool,
}

impl Rate {
    /// With the wanted time between frames, where there is one.
    pub fn new(period: Option<Nanos>) -> Self {
        Self { period, since: None, ends: 0, load: (0.0, 0) }
    }

    /// Forgets the window that is being counted: the clock changed in it.
    pub fn restart(&mut self) {
        *self = Self::new(self.period);
    }

    /// Takes ends of frames since the last look, and the load of now. A window begins with a frame's end, so that one
    /// without frames is none.
    pub fn look(&mut self, now: Nanos, ends: u64, load: f64) -> Option<Window> {
        let Some(since) = self.since else {
            if ends > 0 {
                self.since = Some(now);
            }
            return None;
        };
        self.ends += ends;
        self.load = (self.load.0 + load, self.load.1 + 1);
        let span = now.saturating_sub(since);
        // It ends with one, too: the time behind the last end is of a frame that has not ended.
        if ends == 0 || span < WINDOW || self.ends < FRAMES {
            return None;
        }
        let load = self.load.0 / f64::from(self.load.1);
        let each = span.as_secs_f64() / self.ends as f64;
        let short = self.period.is_some_and(|period| each * KEPT > period.as_secs_f64()) && load > FULL;
        self.restart();
        self.since = Some(now);
        Some(Window { start: since, busy: Nanos::from_secs_f64(each * load), short })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn busy_time_is_load_over_rate_and_silence_is_no_window() {
        let mut rate = Rate::new(Some(Nanos::from_millis(100)));
        let mut windows = Vec::new();
        for look in 0..1000u64 {
            let now = Nanos::from_millis(20 * look);
            // Nothing for five seconds, then ten frames a second at 60 % load.
            let ends = u64::from(look >= 250 && look.is_multiple_of(5));
            windows.extend(rate.look(now, ends, if look >= 250 { 0.6 } else { 0.0 }));
        }
        assert_eq!(windows.len(), 14);
        assert!(windows.iter().all(|window| window.busy == Nanos::from_millis(60) && !window.short), "{windows:?}");
        assert_eq!(windows[0].start, Nanos::from_millis(5_000));
    }

    #[test]
    fn a_full_gpu_that_is_too_slow_falls_short_and_a_slow_camera_does_not() {
        for (load, short) in [(1.0, true), (0.5, false)] {
            let mut rate = Rate::new(Some(Nanos::from_millis(100)));
            let windows: Vec<Window> =
                (0..20).filter_map(|look| rate.look(Nanos::from_millis(200 * look), 1, load)).collect();
            assert!(!windows.is_empty() && windows.iter().all(|window| window.short == short), "{windows:?}");
        }
    }
}
