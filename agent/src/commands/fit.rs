//! `jetpace fit`: from a sweep to a model.

#[cfg(feature = "report")]
mod desk;
#[cfg(feature = "report")]
mod explain;

use std::fmt::Write as _;
use std::path::PathBuf;

use jetpace_tables::fit::fit;
use jetpace_tables::model::{Model, Quality, Series};

use crate::failure::Failure;
use crate::files::output::write_file;
use crate::files::sweep;

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
    #[cfg_attr(not(feature = "report"), arg(short, long, value_name = "FILE", required_unless_present = "json"))]
    output: Option<PathBuf>,
    #[cfg(feature = "report")]
    #[command(flatten)]
    desk: desk::Desk,
    /// Print the model as JSON on stdout
    #[arg(long)]
    json: bool,
}

impl Args {
    /// Fits, reports, writes.
    pub fn run(self) -> Result<(), Failure> {
        let sweep = sweep::read(&self.sweep)?;
        #[cfg(feature = "report")]
        let options = self.desk.options();
        #[cfg(not(feature = "report"))]
        let options = jetpace_tables::fit::Options::default();
        let model = fit(&sweep, &options).map_err(|e| Failure::usage(format_args!("{}: {e}", self.sweep.display())))?;
        eprint!("{}", summary(&model));
        if let Some(path) = &self.output {
            let mut text =
                serde_json::to_string_pretty(&model).map_err(|e| Failure::failed(format_args!("output: {e}")))?;
            text.push('\n');
            write_file(path, text.as_bytes())?;
        }
        #[cfg(feature = "report")]
        return self.desk.tell(&model, self.json);
        #[cfg(not(feature = "report"))]
        if self.json { crate::files::output::print_json(&model) } else { Ok(()) }
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
