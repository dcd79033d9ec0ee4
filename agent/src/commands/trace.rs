//! `jetpace trace`: what the governor of a client of the daemon did, event by event.

use std::path::PathBuf;
use std::time::Duration;

use serde_json::Value;

use super::status::{ask, ask_if};
use crate::failure::Failure;
use crate::output::print_text;
use crate::runtime::wire::{self, Request};
use crate::signals::Stop;

/// How often the daemon is asked while following.
const ASK_EVERY: Duration = Duration::from_millis(100);

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
        let mut from = 0;
        let mut trace = ask(&self.socket, &Request::Trace { client: self.client, from })?;
        loop {
            let mut text = String::new();
            for event in trace["events"].as_array().into_iter().flatten() {
                text.push_str(&if self.json { event.to_string() } else { line(event) });
                text.push('\n');
            }
            print_text(&text)?;
            let next = trace["next"].as_u64().and_then(|next| u32::try_from(next).ok()).unwrap_or(from);
            let lost = next.wrapping_sub(from).saturating_sub(trace["events"].as_array().map_or(0, Vec::len) as u32);
            if from > 0 && lost > 0 {
                log::warn!("{lost} events came and went between two looks");
            }
            from = next;
            if !self.follow || stop.signal().is_some() {
                return Ok(());
            }
            std::thread::sleep(ASK_EVERY);
            match ask_if(&self.socket, &Request::Trace { client: self.client, from })? {
                Some(more) => trace = more,
                // It has gone.
                None => return Ok(()),
            }
        }
    }
}

fn line(event: &Value) -> String {
    let at = event["at_ns"].as_u64().unwrap_or(0) as f64 / 1e9;
    let mut text = format!("{at:14.6} {}", event["event"].as_str().unwrap_or("?"));
    for (field, what) in [("block", "block"), ("clock", "clock"), ("slack_us", "slack us")] {
        if let Some(number) = event[field].as_i64() {
            text.push_str(&format!("  {what} {number}"));
        }
    }
    if let Some(why) = event["why"].as_str() {
        text.push_str(&format!("  ({why})"));
    }
    text
}
