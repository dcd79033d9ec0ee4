//! `jetpace predict`: time, power and energy of a network at a clock.

use std::path::PathBuf;

use jetpace_tables::model::{BlockModel, Model};
use jetpace_tables::stats::NORMAL95;
use jetpace_tables::units::Hertz;
use jetpace_tables::work::Size;
use serde::Serialize;

use crate::failure::Failure;
use crate::files::model;
use crate::files::output::{print_json, print_text};

/// Options of `predict`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The model that `fit` made
    model: PathBuf,
    /// The GPU clock; every clock of the board where it is not given
    #[arg(long, value_name = "CLOCK")]
    clock: Option<Hertz>,
    /// The network, where the model has several
    #[arg(long, value_name = "NAME")]
    net: Option<String>,
    /// The EMC clock, where it was measured at several
    #[arg(long, value_name = "CLOCK")]
    emc: Option<Hertz>,
    /// The size of every block: batch, tokens
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    size: Option<u32>,
    /// The CPU clock at which it will run
    #[arg(long, value_name = "CLOCK")]
    cpu_clock: Option<Hertz>,
    /// Print JSON on stdout
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Document<'a> {
    format: u32,
    model: &'a str,
    emc_freq_hz: Option<Hertz>,
    rows: Vec<Row<'a>>,
    warnings: Vec<String>,
}

/// The network at one clock; power and energy are `None` where a block's power was not measured.
#[derive(Serialize)]
struct Row<'a> {
    clock_hz: Hertz,
    time_s: f64,
    power_w: Option<f64>,
    energy_j: Option<f64>,
    /// The 95 % intervals of a run measured there; `None` where a form is taken as it is.
    time_ci95_s: Option<[f64; 2]>,
    power_ci95_w: Option<[f64; 2]>,
    extrapolated: bool,
    blocks: Vec<BlockRow<'a>>,
}

#[derive(Serialize)]
struct BlockRow<'a> {
    block: &'a str,
    size: Size,
    time_s: f64,
    time_sd_s: f64,
    power_w: Option<f64>,
    energy_j: Option<f64>,
}

impl Args {
    /// Predicts and prints.
    pub fn run(self) -> Result<(), Failure> {
        let (mut model, _) = model::read(&self.model)?;
        // Where it was measured at no such clock, a warning says so below.
        if let Some(clock) = self.cpu_clock {
            model.keep_cpu_clock(clock);
        }
        let (name, emc_freq_hz, blocks) = model::network(&model, self.net.as_deref(), self.emc)?;
        let clocks = match self.clock {
            Some(clock) => vec![clock],
            None => model.clocks_hz.clone(),
        };
        if let Some(clock) = clocks.iter().find(|clock| clock.get() == 0) {
            return Err(Failure::usage(format_args!("{clock} is no clock")));
        }
        let rows: Vec<Row<'_>> = clocks.iter().map(|&clock| row(&blocks, clock, self.size.map(Size))).collect();
        let warnings = warnings(&model, &blocks, &rows, self.size.map(Size), self.cpu_clock);
        for warning in &warnings {
            eprintln!("warning: {warning}");
        }
        if self.json {
            return print_json(&Document { format: 1, model: name, emc_freq_hz, rows, warnings });
        }
        print_text(&table(&rows))
    }
}

/// A whole frame at one clock.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Frame {
    /// Its time.
    pub time_s: f64,
    /// Its mean power; `None` where a block's power was not measured.
    pub power_w: Option<f64>,
    /// Relative standard deviation of a run measured there about this time; `None` where a form is taken as it is.
    pub time_sd: Option<f64>,
    /// The same of its power.
    pub power_sd: Option<f64>,
}

/// A frame of these blocks at a clock; of the size that was measured where none is given.
pub fn frame(blocks: &[BlockModel<'_>], clock: Hertz, size: Option<Size>) -> Frame {
    let sized = |block: &BlockModel<'_>| size.unwrap_or(block.series.size);
    let times: Vec<f64> = blocks.iter().map(|block| block.time_s(clock, sized(block))).collect();
    let time_s = times.iter().sum();
    let energies = blocks.iter().zip(&times).map(|(block, time)| Some(block.power_w(clock, sized(block))? * time));
    let power_w = energies.sum::<Option<f64>>().map(|joules| joules / time_s);
    // Blocks of one board err together, so their deviations add up by their share of the time.
    let together = |sd: &dyn Fn(&BlockModel<'_>) -> Option<f64>| -> Option<f64> {
        blocks.iter().zip(&times).map(|(block, time)| Some(sd(block)? * time / time_s)).sum()
    };
    let (time_sd, power_sd) = (together(&|block| block.fresh(clock)), together(&|block| block.power_fresh(clock)));
    Frame { time_s, power_w, time_sd, power_sd }
}

fn row<'a>(blocks: &[BlockModel<'a>], clock_hz: Hertz, size: Option<Size>) -> Row<'a> {
    let rows: Vec<BlockRow<'a>> = blocks
        .iter()
        .map(|block| {
            let size = size.unwrap_or(block.series.size);
            let time_s = block.time_s(clock_hz, size);
            let power_w = block.power_w(clock_hz, size);
            let time_sd_s = block.time_sd_s(clock_hz, size);
            let energy_j = power_w.map(|watts| watts * time_s);
            BlockRow { block: block.name(), size, time_s, time_sd_s, power_w, energy_j }
        })
        .collect();
    let energy_j: Option<f64> = rows.iter().map(|row| row.energy_j).sum();
    let extrapolated = blocks.iter().any(|block| !block.covers(clock_hz));
    let Frame { time_s, power_w, time_sd, power_sd } = frame(blocks, clock_hz, size);
    let interval = |value: f64, sd: f64| [value * (-NORMAL95 * sd).exp(), value * (NORMAL95 * sd).exp()];
    let time_ci95_s = time_sd.map(|sd| interval(time_s, sd));
    let power_ci95_w = power_sd.zip(power_w).map(|(sd, w)| interval(w, sd));
    Row { clock_hz, time_s, power_w, energy_j, time_ci95_s, power_ci95_w, extrapolated, blocks: rows }
}

fn warnings(
    model: &Model,
    blocks: &[BlockModel<'_>],
    rows: &[Row<'_>],
    size: Option<Size>,
    cpu: Option<Hertz>,
) -> Vec<String> {
    let mut said = model.warnings.clone();
    for row in rows.iter().filter(|row| row.extrapolated) {
        said.push(format!("{} lies outside the clocks that were measured: extrapolated", row.clock_hz));
    }
    for block in blocks {
        if let Some(size) = size.filter(|size| block.sizes().first() > Some(size) || block.sizes().last() < Some(size))
        {
            said.push(format!(
                "{}: size {} lies outside the sizes that were measured: extrapolated",
                block.name(),
                size.0
            ));
        }
    }
    said.extend(cpu.and_then(|now| model::other_cpu_clock(blocks, now)));
    said
}

fn table(rows: &[Row<'_>]) -> String {
    let mut text = format!("{:>14} {:>12} {:>10} {:>12}\n", "clock", "time", "power", "energy");
    let watts = |value: Option<f64>, unit: &str| value.map_or("-".to_owned(), |value| format!("{value:.4} {unit}"));
    for row in rows {
        let time = format!("{:.4} ms", row.time_s * 1e3);
        let flag = if row.extrapolated { "  extrapolated" } else { "" };
        text.push_str(&format!(
            "{:>14} {time:>12} {:>10} {:>12}{flag}\n",
            row.clock_hz.to_string(),
            watts(row.power_w, "W"),
            watts(row.energy_j, "J")
        ));
    }
    text
}
