//! Whether frames still take what the table says.
//!
//! One-sided CUSUM charts (E. S. Page, "Continuous inspection schemes", Biometrika 41, 1954) over how much longer each frame
//! takes than expected, in both directions: one for small changes that last, one for large ones that cannot wait. What one
//! frame adds is bounded, so that an alarm takes many frames in a row: at least 267 for the small change and 34 for the large
//! one, which disturbances do not last. `tests/it/drift.rs` has the bound on false alarms.

use crate::units::Nanos;

/// Shares are in millionths here: the governor has no floating point.
const WHOLE: i64 = 1_000_000;

/// Millionths as a share.
pub fn share(ppm: i32) -> f64 {
    f64::from(ppm) / WHOLE as f64
}

/// Added to what frames were seen to take longer, as that is an estimate.
const ON_TOP: i32 = 10_000;

/// What a chart takes for the same, what it takes of one frame at most, and the sum at which it is sure.
#[derive(Debug)]
struct Chart {
    allowed: i32,
    most: i32,
    alarm: i32,
}

/// Models are within 2 % of what runs; a lasting 5 % is found within 1,000 frames.
const SMALL: Chart = Chart { allowed: 20_000, most: 50_000, alarm: 8_000_000 };
/// A burst slows a whole frame by 12 % at most; a lasting 20 % is found within 50 frames.
const LARGE: Chart = Chart { allowed: 140_000, most: 200_000, alarm: 2_000_000 };

/// A chart's sum, and the frames since it was last zero with what they deviated together.
#[derive(Clone, Copy, Debug, Default)]
struct Run {
    sum: i32,
    frames: u32,
    total: i64,
}

impl Run {
    /// Takes a frame; the mean deviation since the change began, where it is sure that there is one.
    fn take(&mut self, chart: &Chart, off: i32) -> Option<i32> {
        self.sum = (self.sum + off.clamp(-chart.most, chart.most) - chart.allowed).max(0);
        if self.sum == 0 {
            *self = Self::default();
            return None;
        }
        self.frames = self.frames.saturating_add(1);
        self.total = self.total.saturating_add(i64::from(off));
        (self.sum > chart.alarm).then(|| (self.total / i64::from(self.frames.max(1))) as i32)
    }
}

/// Follows the frames of one table.
#[derive(Clone, Debug, Default)]
pub struct Drift {
    /// By how much frames are known to take longer than the table says; negative where shorter, zero within what is allowed.
    off: i32,
    /// Small and large: longer than that, then shorter.
    longer: [Run; 2],
    shorter: [Run; 2],
}

impl Drift {
    /// Takes what was seen and expected of a frame. True where it is sure by now that frames take something else than it
    /// knew before.
    pub fn take(&mut self, seen: Nanos, expected: Nanos) -> bool {
        let (Ok(seen), Ok(expected)) = (i64::try_from(seen.get()), i64::try_from(expected.get().max(1))) else {
            return false;
        };
        let longer = seen.saturating_sub(expected).saturating_mul(WHOLE) / expected;
        let off = longer.clamp(-WHOLE, WHOLE) as i32 - self.off;
        let mut found = None;
        for (chart, (longer, shorter)) in [SMALL, LARGE].iter().zip(self.longer.iter_mut().zip(&mut self.shorter)) {
            found = found.or(longer.take(chart, off));
            found = found.or(shorter.take(chart, -off).map(core::ops::Neg::neg));
        }
        let Some(mean) = found else { return false };
        let off = self.off + mean;
        *self = Self { off: if off.abs() <= SMALL.allowed { 0 } else { off }, ..Self::default() };
        true
    }

    /// By how many millionths frames are known to take longer than the table says; negative: shorter. Zero where they take
    /// what it says.
    pub fn off_ppm(&self) -> i32 {
        self.off
    }

    /// The same as a share.
    pub fn share(&self) -> f64 {
        share(self.off)
    }

    /// By how many millionths clocks have to be faster than planned for the deadline to hold as planned.
    pub(super) fn margin_ppm(&self) -> u32 {
        if self.off > 0 { self.off.saturating_add(ON_TOP).unsigned_abs() } else { 0 }
    }
}
