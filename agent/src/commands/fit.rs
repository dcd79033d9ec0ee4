//! `jetpace fit`: from a sweep to a model.

#[cfg(feature = "report")]
mod explain;

use std::fmt::Write as _;
use std::path::PathBuf;
#[cfg(feature = "report")]
use std::str::FromStr;

use jetpace_tables::fit::suggest::{Suggestion, suggest};
use jetpace_tables::fit::{Options, fit};
use jetpace_tables::model::{Model, Quality, Series};
use jetpace_tables::units::Hertz;
use serde::Serialize;

use crate::failure::Failure;
use crate::output::{print_json, write_file};
use crate::sweep;

/// Options of `fit`. The static release has no room for what is done at a desk.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The sweep that `calibrate` measured, or a published one
    sweep: PathBuf,
    /// Write the model here
    #[cfg_attr(
        feature = "report",
        arg(short, long, value_name = "FILE", required_unless_present_any = ["json", "explain", "suggest"])
    )]
    #[cfg_attr(
        not(feature = "report"),
        arg(short, long, value_name = "FILE", required_unless_present_any = ["json", "suggest"])
    )]
    output: Option<PathBuf>,
    /// Fit on N clocks of each series, evenly spread with both ends in, and hold the others out
    #[cfg(feature = "report")]
    #[arg(long, value_name = "N")]
    train: Option<usize>,
    /// Leave rows below this clock out, such as 705MHz
    #[cfg(feature = "report")]
    #[arg(long, value_name = "CLOCK")]
    min_clock: Option<Hertz>,
    /// Add one series per block over all EMC clocks
    #[cfg(feature = "report")]
    #[arg(long)]
    emc_joint: bool,
    /// Its training points, GPU:EMC clock, such as 114.75MHz:1866MHz
    #[cfg(feature = "report")]
    #[arg(long, value_name = "F:E,..", value_delimiter = ',', requires = "emc_joint")]
    train_points: Vec<PointArg>,
    /// Say how the time of each block moves with each parameter
    #[cfg(feature = "report")]
    #[arg(long)]
    explain: bool,
    /// Plot it as well: one SVG per block and parameter in this folder
    #[cfg(feature = "report")]
    #[arg(long, value_name = "FOLDER", requires = "explain")]
    plots: Option<PathBuf>,
    /// Name the N clocks that are best measured next
    #[arg(long, value_name = "N")]
    suggest: Option<usize>,
    /// Print the model as JSON on stdout
    #[arg(long)]
    json: bool,
}

/// The model, and what was asked about it.
#[derive(Serialize)]
struct Document<'a> {
    #[serde(flatten)]
    model: &'a Model,
    #[serde(skip_serializing_if = "Option::is_none")]
    suggest: Option<Vec<Suggestion>>,
}

/// A training point on the command line: GPU clock, EMC clock.
#[cfg(feature = "report")]
#[derive(Clone, Copy, Debug)]
struct PointArg(Hertz, Hertz);

#[cfg(feature = "report")]
impl FromStr for PointArg {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (gpu, emc) = text.split_once(':').ok_or("not GPU:EMC, such as 114.75MHz:1866MHz")?;
        let clock = |text: &str| text.parse::<Hertz>().map_err(|e| format!("`{text}` is {e}"));
        Ok(Self(clock(gpu)?, clock(emc)?))
    }
}

impl Args {
    /// Fits, reports, writes.
    pub fn run(self) -> Result<(), Failure> {
        let sweep = sweep::read(&self.sweep)?;
        let options = Options {
            #[cfg(feature = "report")]
            min_clock: self.min_clock,
            #[cfg(feature = "report")]
            emc_joint: self.emc_joint,
            #[cfg(feature = "report")]
            train: self.train,
            #[cfg(feature = "report")]
            train_points: self.train_points.iter().map(|point| (point.0, point.1)).collect(),
            ..Options::default()
        };
        let model = fit(&sweep, &options).map_err(|e| Failure::usage(format_args!("{}: {e}", self.sweep.display())))?;
        eprint!("{}", summary(&model));
        if let Some(path) = &self.output {
            let mut text =
                serde_json::to_string_pretty(&model).map_err(|e| Failure::failed(format_args!("output: {e}")))?;
            text.push('\n');
            write_file(path, text.as_bytes())?;
        }
        let suggest = self.suggest.map(|count| suggest(&model, count));
        for next in suggest.iter().flatten() {
            eprintln!(
                "measure next: {}; the predicted frame time's standard deviation falls from {:.2} to {:.2} %",
                next.clock_hz,
                next.sd_now * 100.0,
                next.sd_then * 100.0
            );
        }
        #[cfg(feature = "report")]
        {
            if self.explain {
                eprint!("{}", explain::text(&model));
            }
            if let Some(folder) = &self.plots {
                let written = explain::plots(&model, folder)?;
                eprintln!("{}: {written} plots", folder.display());
            }
        }
        if self.json { print_json(&Document { model: &model, suggest }) } else { Ok(()) }
    }
}

/// A model for people: what each series is planned with, how far it is right, and what to know about it.
fn summary(model: &Model) -> String {
    let mut text = String::new();
    for series in &model.series {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{}", line(series));
    }
    let voltage = &model.device_constants.voltage;
    if model.series.iter().any(|series| !series.power.is_empty()) {
        let _ = writeln!(text, "V(f): flat to {:.3} f_ref, then slope {:.3}", voltage.knee, voltage.slope);
    }
    for left in &model.left_out {
        let line = if left.line > 0 { format!("line {}: ", left.line) } else { String::new() };
        let _ = writeln!(text, "left out: {line}{}: {}", left.what, left.why);
    }
    for warning in &model.warnings {
        let _ = writeln!(text, "warning: {warning}");
    }
    text
}

fn line(series: &Series) -> String {
    let emc = series.emc_freq_hz.map_or(String::new(), |emc| format!(", EMC {emc}"));
    let size = if series.size.0 == 1 { String::new() } else { format!(", size {}", series.size.0) };
    let time = series.time_fit(None).map_or(String::new(), |fit| said("time", fit.model.form().name(), &fit.quality));
    let power =
        series.power_fit(None).map_or(String::new(), |fit| said("power", fit.model.form().name(), &fit.quality));
    format!("{} {}{size}{emc}: {} clocks{time}{power}", series.model, series.block, series.clocks)
}

fn said(what: &str, form: &str, quality: &Quality) -> String {
    let mut text = format!("; {what} {form}, error {:.2} %", quality.mape_fit * 100.0);
    for (name, error) in [("left-out", quality.mape_lofo), ("held-out", quality.mape_heldout)] {
        if let Some(error) = error {
            let _ = write!(text, ", {name} {:.2} %", error * 100.0); // writing to a String cannot fail
        }
    }
    text
}
