//! `plan --cut`: how many blocks to run here, at which clock, and how many on a server.

use std::path::PathBuf;

use jetpace_tables::cooperative::{Block, Choice, Problem};
use jetpace_tables::model::{BlockModel, Model};
use jetpace_tables::plan::at_level;
use jetpace_tables::units::{Hertz, Nanos};
use serde::Serialize;

use super::Args;
use crate::commands::compare::server::{BUILT_IN, sides};
use crate::failure::{Failure, Reason};
use crate::model_file;
use crate::output::{print_json, print_text};

#[derive(Serialize)]
struct Document<'a> {
    format: u32,
    deadline_s: f64,
    server: String,
    rate_bps: f64,
    /// Where the rate comes from.
    uplink: String,
    transmit_w: f64,
    /// By how much of itself the local time may grow without missing the deadline, at the risk.
    margin: f64,
    best: Row<'a>,
    /// For every cut the clock of least energy that meets the deadline, where one does.
    cuts: Vec<Row<'a>>,
}

#[derive(Serialize)]
struct Row<'a> {
    cut: usize,
    cut_after: Option<&'a str>,
    clock_hz: Hertz,
    local_s: f64,
    upload_s: f64,
    server_s: f64,
    energy_j: f64,
}

/// Plans the cut and prints it; there is no table to write, as one clock is chosen.
pub fn run(args: &Args, model: &Model) -> Result<(), Failure> {
    if args.output.is_some() {
        return Err(Failure::usage("--cut chooses one clock, for which there is no table to write: leave -o out"));
    }
    let (rate_bps, uplink) = match (args.rate_mbps, args.channel) {
        (Some(mbps), _) => (mbps * 1e6, "rate as given".to_owned()),
        (None, Some(channel)) => (channel.rate_bps(args.transmit_w), channel.origin(args.transmit_w)),
        (None, None) => return Err(Failure::usage("--cut needs the uplink's --rate-mbps or --channel")),
    };
    if !(args.risk > 0.0 && args.risk < 1.0) {
        return Err(Failure::usage(format_args!("a risk of {} is not between 0 and 1", args.risk)));
    }
    let (net, emc, blocks) = model_file::network(model, args.net.as_deref(), args.emc)?;
    let file = args.cut.iter().flatten().next();
    let sides = sides(file.map(PathBuf::as_path), net)?;
    if sides.len() != blocks.len() + 1 || sides.iter().skip(1).zip(&blocks).any(|(side, b)| side.block != b.name()) {
        return Err(Failure::usage(format_args!("the server's side has other blocks than {net} of the model")));
    }
    let idle = |clock: &Hertz| args.idle_w.or_else(|| model.idle_w(*clock, emc));
    let idle_w: Option<Vec<f64>> = model.clocks_hz.iter().map(idle).collect();
    let missing = |what: &str| Failure::new(Reason::Calibration, what);
    let problem = Problem {
        blocks: blocks
            .iter()
            .zip(&sides[1..])
            .map(|(block, side)| {
                let size = block.series.size;
                let power: Option<Vec<f64>> = model.clocks_hz.iter().map(|clock| block.power_w(*clock, size)).collect();
                Some(Block {
                    name: block.name().to_owned(),
                    time_s: model.clocks_hz.iter().map(|clock| block.time_s(*clock, size)).collect(),
                    power_w: power?,
                    output_bytes: side.output_bytes,
                    server_s: side.server_s,
                })
            })
            .collect::<Option<Vec<Block>>>()
            .ok_or_else(|| missing("the model has blocks without power: calibrate where the rails can be read"))?,
        input_bytes: sides[0].output_bytes,
        rate_bps,
        transmit_w: args.transmit_w,
        idle_w: idle_w.ok_or_else(|| missing("the model has no idle power; give it with --idle-w"))?,
        deadline_s: Nanos::as_secs_f64(args.deadline()),
        margin: margin(model, net, emc, &blocks, args.risk),
    };
    let row = |choice: Choice| Row {
        cut: choice.cut,
        cut_after: choice.cut.checked_sub(1).map(|last| blocks[last].name()),
        clock_hz: model.clocks_hz[choice.clock],
        local_s: choice.local_s,
        upload_s: choice.upload_s,
        server_s: choice.server_s,
        energy_j: choice.energy_j,
    };
    let best = problem.best().ok_or_else(|| {
        let least = problem.fastest().map_or(0.0, |choice| choice.time_s() + problem.margin * choice.local_s);
        Failure::failed(format_args!(
            "no cut and clock meets {} at the risk of {}: the fastest takes {}",
            args.deadline(),
            args.risk,
            Nanos::from_secs_f64(least)
        ))
    })?;
    let cuts = (0..=blocks.len()).filter_map(|cut| problem.best_at(cut)).map(row).collect();
    let document = Document {
        format: 1,
        deadline_s: problem.deadline_s,
        server: file.map_or(BUILT_IN.to_owned(), |path| path.display().to_string()),
        rate_bps: problem.rate_bps,
        uplink,
        transmit_w: problem.transmit_w,
        margin: problem.margin,
        best: row(best),
        cuts,
    };
    if let Some(warning) = args.cpu_clock.and_then(|now| model_file::other_cpu_clock(&blocks, now)) {
        eprintln!("warning: {warning}");
    }
    if args.json { print_json(&document) } else { print_text(&text(&document)) }
}

/// The local time that is exceeded with the accepted probability, over the mean: measured where frames are enough of
/// them (count x risk of 10 or more; at the clock at which they vary most), else by Cantelli's inequality with all
/// blocks late together.
fn margin(model: &Model, net: &str, emc: Option<Hertz>, blocks: &[BlockModel<'_>], risk: f64) -> f64 {
    let frames = model.frames.iter().find(|frames| frames.model == net && frames.emc_freq_hz == emc);
    match frames.filter(|frames| frames.count as f64 * risk >= 10.0) {
        Some(frames) => frames.late.iter().map(|late| at_level(&late.quantiles, 1.0 - risk)).fold(0.0, f64::max),
        None => {
            let sd = blocks.iter().map(|block| block.series.time_sd).fold(0.0, f64::max);
            ((1.0 - risk) / risk).sqrt() * sd
        }
    }
}

fn text(document: &Document<'_>) -> String {
    let line = |row: &Row<'_>| {
        format!(
            "cut after {:<12} {:>12}  here {:.2} ms, sending {:.2} ms, server {:.2} ms  {:.4} J\n",
            row.cut_after.unwrap_or("nothing"),
            row.clock_hz.to_string(),
            row.local_s * 1e3,
            row.upload_s * 1e3,
            row.server_s * 1e3,
            row.energy_j
        )
    };
    let cuts: String = document.cuts.iter().map(line).collect();
    let (server, rate, uplink) = (&document.server, document.rate_bps / 1e6, &document.uplink);
    format!("server {server}; uplink {rate:.2} Mbit/s, {uplink}\n\n{cuts}\nbest: {}", line(&document.best))
}
