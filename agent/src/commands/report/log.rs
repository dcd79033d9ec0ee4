//! What is left of frames that ran: a trace, or a log of them.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;

use super::percent;
use crate::failure::Failure;
use crate::files::kind::FRAME_LOG;

/// What each frame left over, or took.
#[derive(Debug, Default)]
pub struct Log {
    /// Slack at each frame's end in seconds, below zero where it was late: a trace knows it.
    pub slack_s: Vec<f64>,
    /// Each frame's time in seconds and whether it was late: a log knows these.
    pub times_s: Vec<(f64, bool)>,
    /// Why the governor acted, and how often.
    pub reasons: BTreeMap<String, u64>,
}

/// A line of `trace --json`.
#[derive(Deserialize)]
struct Event {
    #[serde(rename = "at_ns")]
    _at_ns: u64,
    event: String,
    slack_us: Option<i64>,
    why: Option<String>,
}

impl Log {
    /// Reads a trace.
    ///
    /// # Errors
    /// Where a line is no event.
    pub fn trace(bytes: &[u8], path: &Path) -> Result<Self, Failure> {
        let mut log = Self::default();
        for (i, line) in String::from_utf8_lossy(bytes).lines().enumerate().filter(|(_, line)| !line.trim().is_empty())
        {
            let event: Event = serde_json::from_str(line).map_err(|e| {
                Failure::usage(format_args!(
                    "{}: line {}: no event of a trace: {e}; is the line cut off?",
                    path.display(),
                    i + 1
                ))
            })?;
            if let Some(why) = event.why {
                *log.reasons.entry(why).or_default() += 1;
            }
            if event.event == "frame end" {
                log.slack_s.push(event.slack_us.unwrap_or(0) as f64 / 1e6);
            }
        }
        Ok(log)
    }

    /// Reads a log of frames.
    ///
    /// # Errors
    /// Where a line is no frame.
    pub fn frames(bytes: &[u8], path: &Path) -> Result<Self, Failure> {
        let mut log = Self::default();
        let text = String::from_utf8_lossy(bytes);
        for (i, line) in text.lines().enumerate().skip_while(|(_, line)| *line != FRAME_LOG).skip(1) {
            let mut cells = line.split(',').skip(2);
            let time = cells.next().and_then(|cell| cell.parse::<f64>().ok()).filter(|s| (0.0..3600.0).contains(s));
            let missed = cells.next().and_then(|cell| ["0", "1"].iter().position(|word| *word == cell));
            match (time, missed) {
                (Some(time), Some(missed)) => log.times_s.push((time, missed == 1)),
                _ => {
                    let why =
                        "no frame, which has a number, a start, a time in seconds, 0 or 1 for missed, and switches";
                    return Err(Failure::usage(format_args!(
                        "{}: line {}: {why}; is it cut off?",
                        path.display(),
                        i + 1
                    )));
                }
            }
        }
        Ok(log)
    }

    fn counts(&self) -> (usize, usize) {
        let late = self.slack_s.iter().filter(|slack| **slack < 0.0).count();
        (self.slack_s.len() + self.times_s.len(), late + self.times_s.iter().filter(|(_, late)| *late).count())
    }

    /// How many were late, in a sentence.
    pub fn headline(&self, file: &str) -> String {
        match self.counts() {
            (0, _) => format!("{file}: no frame ended in it."),
            (frames, late) => {
                format!("{file}: {late} of {frames} frames late, {}.", percent(late as f64 / frames as f64))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_broken_line_is_named() {
        let says = |read: Result<Log, Failure>| read.unwrap_err().to_string();
        let path = Path::new("t.json");
        let good = "{\"at_ns\":5,\"event\":\"frame end\",\"slack_us\":-7}\n";
        assert_eq!(Log::trace(good.as_bytes(), path).unwrap().counts(), (1, 1));
        assert!(
            says(Log::trace(format!("{good}{{\"at_ns\":").as_bytes(), path)).starts_with("t.json: line 2: no event")
        );
        for line in ["0,1,NaN,0,0", "0,1,0.5,2,0", "0,1", "0,1,-1,0,0"] {
            let text = format!("{FRAME_LOG}\n0,0.1,0.5,1,2\n{line}\n");
            assert!(says(Log::frames(text.as_bytes(), path)).starts_with("t.json: line 3: no frame"), "{line}");
        }
    }
}
