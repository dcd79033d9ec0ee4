//! `hold --fps`: frames are counted over a window, and the pace judges their rate.

use jetpace_tables::units::Nanos;
use jetpace_tables::work::ClockIndex;

use super::events::Events;
use super::holder::Holder;
use super::pace::Pace;
use crate::failure::Failure;

/// How long a frame rate is counted before it is judged, at least.
const SHORTEST_WINDOW: Nanos = Nanos::from_millis(2_000);

/// How many frames it is counted over, at least: one more or less must be within what the pace tolerates.
const FRAMES_A_WINDOW: f64 = 100.0;

/// A frame rate that is being kept.
#[derive(Debug)]
pub struct Keeper {
    pace: Pace,
    window: Nanos,
    since: Nanos,
    counted: Counted,
}

impl Keeper {
    /// Of so many frames a second, from a clock on.
    pub fn new(fps: f64, window: Option<Nanos>, start: ClockIndex, now: Nanos) -> Self {
        let window = window.unwrap_or_else(|| Nanos::from_secs_f64(FRAMES_A_WINDOW / fps).max(SHORTEST_WINDOW));
        Self { pace: Pace::new(fps, start), window, since: now, counted: Counted::Lines(0) }
    }

    /// Judges the rate where a window is over; the clock for the next, where one was judged.
    ///
    /// # Errors
    /// Where the clock cannot be held.
    pub fn look<H: Holder>(
        &mut self,
        now: Nanos,
        held: &mut H,
        lines: u64,
        events: Option<&Events>,
    ) -> Result<Option<ClockIndex>, Failure> {
        let span = now.saturating_sub(self.since);
        if span < self.window {
            return Ok(None);
        }
        let counted = Counted::now(lines, events);
        let frames = counted.since(std::mem::replace(&mut self.counted, counted));
        self.since = now;
        let Some(frames) = frames else { return Ok(None) };
        let rate = frames as f64 / span.as_secs_f64();
        let wanted = self.pace.judge(rate, held.cap());
        let runs = held.hold(wanted)?;
        log::info!("{rate:.1} frames a second: clock {runs}");
        Ok(Some(wanted))
    }
}

/// Frames so far, and what told them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Counted {
    /// The command's lines.
    Lines(u64),
    /// Programs with libjetpace. Once one has ended a frame lines are no frames any more: a program may print some.
    Events(u64),
}

impl Counted {
    fn now(lines: u64, events: Option<&Events>) -> Self {
        match events.map_or(0, Events::frames) {
            0 => Self::Lines(lines),
            frames => Self::Events(frames),
        }
    }

    /// Frames since `before`; `None` in the window in which events took the place of lines.
    fn since(self, before: Self) -> Option<u64> {
        match (self, before) {
            (Self::Lines(now), Self::Lines(before)) | (Self::Events(now), Self::Events(before)) => Some(now - before),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_that_tells_frames_and_prints_lines_is_counted_once() {
        let (lines, more_lines) = (Counted::Lines(10), Counted::Lines(40));
        let (events, more_events) = (Counted::Events(7), Counted::Events(67));
        assert_eq!(more_lines.since(lines), Some(30));
        assert_eq!(events.since(more_lines), None, "the window of the change says nothing");
        assert_eq!(more_events.since(events), Some(60));
    }
}
