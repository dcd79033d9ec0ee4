//! `jetpace trace`: what the governor of a client of the daemon did, event by event.

use std::path::PathBuf;
use std::time::Duration;

use jetpace_tables::names::Shown;
use serde_json::Value;

use super::status::{ask, ask_if};
use crate::failure::Failure;
use crate::files::output::print_text;
use crate::runtime::wire::{self, Request};
use crate::signals::Stop;

/// How often the daemon is asked while following: so often that about this many events are new, of the 256 that it keeps.
const NEW_EVENTS: u32 = 64;
const SOONEST: Duration = Duration::from_millis(2);
const LATEST: Duration = Duration::from_millis(100);

/// Options of `trace`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The daemon's socket
    #[arg(long, default_value = wire::SOCKET, value_name = "PATH")]
    socket: PathBuf,
    /// Which client, as `jetpace status` numbers them
    #[arg(long, default_value_t = 0)]
    client: u8,
    /// Go on until the client goes or a signal comes
    #[arg(long)]
    follow: bool,
    /// Print the events as JSON, one a line
    #[arg(long)]
    json: bool,
}

impl Args {
    /// Prints the events that the daemon still has, and with `--follow` those that come.
    pub fn run(self) -> Result<(), Failure> {
        let stop = Stop::install()?;
        let (mut from, mut wait) = (0, SOONEST);
        let mut trace = ask(&self.socket, &Request::Trace { client: self.client, from })?;
        loop {
            let mut text = String::new();
            for event in trace["events"].as_array().into_iter().flatten() {
                text.push_str(&if self.json { event.to_string() } else { line(event) });
                text.push('\n');
            }
            print_text(&text)?;
            let next = trace["next"].as_u64().and_then(|next| u32::try_from(next).ok()).unwrap_or(from);
            let new = next.wrapping_sub(from);
            let lost = new.saturating_sub(trace["events"].as_array().map_or(0, Vec::len) as u32);
            if from > 0 && lost > 0 {
                log::warn!("{lost} events came and went between two looks");
            }
            if from > 0 {
                wait = next_wait(wait, new);
            }
            from = next;
            if !self.follow || stop.signal().is_some() {
                return Ok(());
            }
            std::thread::sleep(wait);
            match ask_if(&self.socket, &Request::Trace { client: self.client, from })? {
                Some(more) => trace = more,
                // It has gone.
                None => return Ok(()),
            }
        }
    }
}

/// How long to wait where so many events have come in `wait`.
fn next_wait(wait: Duration, new: u32) -> Duration {
    // Longer by a half at most, as events come in batches: none now, and the next time many.
    (wait * NEW_EVENTS / new.max(1)).min(wait * 3 / 2).clamp(SOONEST, LATEST)
}

fn line(event: &Value) -> String {
    let at = event["at_ns"].as_u64().unwrap_or(0) as f64 / 1e9;
    let mut text = format!("{at:14.6} {}", Shown(event["event"].as_str().unwrap_or("?")));
    for (field, what) in [("block", "block"), ("clock", "clock"), ("slack_us", "slack us")] {
        if let Some(number) = event[field].as_i64() {
            text.push_str(&format!("  {what} {number}"));
        }
    }
    if let Some(why) = event["why"].as_str() {
        text.push_str(&format!("  ({})", Shown(why)));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use jetpace_tables::governor::TRACE;

    #[test]
    fn events_are_asked_for_before_they_are_overwritten() {
        // So many events each time, every so many milliseconds: one by one, and a frame's all at once.
        for (batch, every_ms) in [(1, 1000), (1, 2), (1, 1), (10, 1), (58, 13), (58, 20), (104, 20), (130, 25)] {
            let (mut wait, mut now, mut seen, mut lost) = (SOONEST, Duration::ZERO, 0, 0);
            while now < Duration::from_secs(60) {
                now += wait;
                let written = (now.as_millis() as u32 / every_ms) * batch;
                lost += (written - seen).saturating_sub(TRACE as u32);
                wait = next_wait(wait, written - seen);
                seen = written;
            }
            assert_eq!(lost, 0, "{batch} every {every_ms} ms");
            assert!(batch > 1 || every_ms < 1000 || wait == LATEST, "{wait:?}");
        }
    }
}
