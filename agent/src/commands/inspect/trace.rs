//! A trace in words: what `jetpace trace --json` printed, counted.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use serde::Serialize;
use serde_json::Value;

use crate::failure::Failure;

/// A trace as JSON.
#[derive(Serialize)]
pub struct Document {
    format: u32,
    /// From the first event to the last.
    seconds: f64,
    /// Frames that ended, and those that ended late.
    frames: u64,
    missed: u64,
    /// The least slack at a frame's end, in microseconds.
    least_slack_us: Option<i64>,
    /// How often each event came, and each reason.
    events: BTreeMap<String, u64>,
    reasons: BTreeMap<String, u64>,
}

impl Document {
    /// # Errors
    /// Where a line is no event.
    pub fn new(text: &str, path: &Path) -> Result<Self, Failure> {
        let (events, reasons) = (BTreeMap::new(), BTreeMap::new());
        let mut found = Self { format: 1, seconds: 0.0, frames: 0, missed: 0, least_slack_us: None, events, reasons };
        let mut span: Option<(u64, u64)> = None;
        for (i, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
            let refuse = |why: &str| Failure::usage(format_args!("{}: line {}: {why}", path.display(), i + 1));
            let event: Value = serde_json::from_str(line).map_err(|_| refuse("no JSON: is the line cut off?"))?;
            let (Some(at), Some(name)) = (event["at_ns"].as_u64(), event["event"].as_str()) else {
                return Err(refuse("no event of a trace, which has `at_ns` and `event`"));
            };
            span = Some(span.map_or((at, at), |(first, last)| (first.min(at), last.max(at))));
            *found.events.entry(name.to_owned()).or_default() += 1;
            if let Some(why) = event["why"].as_str() {
                *found.reasons.entry(why.to_owned()).or_default() += 1;
            }
            if name == "frame end" {
                found.frames += 1;
                let slack = event["slack_us"].as_i64().unwrap_or(0);
                found.missed += u64::from(slack < 0);
                found.least_slack_us = Some(found.least_slack_us.map_or(slack, |least| least.min(slack)));
            }
        }
        found.seconds = span.map_or(0.0, |(first, last)| (last - first) as f64 / 1e9);
        Ok(found)
    }

    pub fn text(&self) -> String {
        let list = |counts: &BTreeMap<String, u64>| {
            counts.iter().map(|(name, count)| format!("{count} {name}")).collect::<Vec<_>>().join(", ")
        };
        let mut text = format!("trace of {:.3} s: {} frames, {} missed\n", self.seconds, self.frames, self.missed);
        // Writing to a String cannot fail.
        if let Some(slack) = self.least_slack_us {
            let _ = writeln!(text, "least slack at a frame's end: {:.3} ms", slack as f64 / 1e3);
        }
        let _ = writeln!(text, "events: {}", list(&self.events));
        if !self.reasons.is_empty() {
            let _ = writeln!(text, "reasons: {}", list(&self.reasons));
        }
        text
    }
}
