//! The local case: everything on the device, on a measured sweep, on virtual boards, or both.

use jetpace_tables::fit::Options;
use serde::Serialize;

use super::Args;
use super::boards;
use super::measured::{self, Compared};
use super::paper::{self, Paper};
use crate::failure::Failure;
use crate::files::output::{print_json, print_text, while_working};
use crate::files::sweep;

/// Clocks that `--adaptive` measures after the first ones.
const MORE: usize = 3;

/// The document of `compare --json`.
#[derive(Debug, Serialize)]
struct Document {
    format: u32,
    /// What is asked for and what is not there.
    skipped: Vec<String>,
    /// Measured data: one per series with power and deadline.
    rows: Vec<measured::Row>,
    /// Virtual boards: one per board, network and deadline.
    boards: Vec<boards::Row>,
    paper: Paper,
}

/// Compares and prints. Without a sweep and without boards, the usual boards.
pub fn run(args: &Args) -> Result<(), Failure> {
    let mut skipped = Vec::new();
    let mut measured = Compared::default();
    match &args.sweep {
        Some(path) => {
            let sweep = sweep::read(path)?;
            let in_file = |e: &dyn std::fmt::Display| Failure::usage(format_args!("{}: {e}", path.display()));
            args.check_idle(path, &sweep)?;
            let learn = Options { train: Some(args.train), min_clock: args.min_clock, ..Options::default() };
            if let Some(cpu) = args.cpu_clock.filter(|cpu| !sweep.rows.iter().any(|row| row.cpu_freq == Some(*cpu))) {
                return Err(in_file(&format_args!("no row at CPU clock {cpu}")));
            }
            let ask = measured::Ask {
                deadlines: &args.deadlines,
                idle_w: args.idle_w,
                cpu: args.cpu_clock,
                adaptive: args.adaptive.then_some(MORE),
                margin: args.margin.map(|percent| percent / 100.0),
            };
            let compared = || measured::compare(&sweep, learn, &ask);
            measured = while_working("the sweep: fits and choices ...", compared).map_err(|e| in_file(&e))?;
            if measured.rows.is_empty() {
                return Err(in_file(&"no series has power at every clock, so there is no energy to compare"));
            }
        }
        None => skipped.push("measured data: no sweep is given".to_owned()),
    }
    let names = args.boards()?;
    if names.is_empty() {
        skipped.push("virtual boards: none is named by --board".to_owned());
    }
    if !names.is_empty() {
        let boards: Vec<String> = names.iter().map(|name| format!("sim:{name}")).collect();
        eprintln!("{}: calibrated, planned for and run, which takes a minute or two", boards.join(", "));
    }
    let virtual_ones = boards::compare(&names, &args.deadlines)?;
    let mut settings = measured.settings;
    settings.extend(virtual_ones.settings);
    let (rows, boards) = (measured.rows, virtual_ones.rows);
    let document = Document { format: 1, skipped, rows, boards, paper: Paper::new(settings) };
    for what in &document.skipped {
        eprintln!("skipped: {what}");
    }
    if args.json { print_json(&document) } else { print_text(&text(&document)) }
}

fn text(document: &Document) -> String {
    let mut parts = Vec::new();
    if !document.rows.is_empty() {
        parts.push(measured::text(&document.rows));
    }
    if !document.boards.is_empty() {
        parts.push(boards::text(&document.boards));
    }
    parts.push(paper::text(&document.paper));
    parts.join("\n")
}
