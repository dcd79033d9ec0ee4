//! `jetpace fit`: from a sweep to a model.

mod desk;
mod explain;

use std::fmt::Write as _;
use std::path::PathBuf;

use jetpace_tables::fit::fit;
use jetpace_tables::model::{Model, Quality, Series};

use crate::failure::Failure;
use crate::files::kind::{Kind, may_write};
use crate::files::output::while_working;
use crate::files::{model, sweep};

/// Warnings in the summary.
const WARNINGS: usize = 2;

/// Options of `fit`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The sweep that `calibrate` measured, or a published one
    sweep: PathBuf,
    /// Write the model here
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Write over files that would be left alone: an input, or a file of another kind
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    desk: desk::Desk,
    /// Say more: a line for every block, row left out and warning
    #[arg(short, long)]
    verbose: bool,
    /// Print the model as JSON on stdout
    #[arg(long)]
    json: bool,
}

impl Args {
    /// Fits, reports, writes.
    pub fn run(self) -> Result<(), Failure> {
        if let Some(path) = &self.output {
            may_write(path, Kind::Model, &[&self.sweep], self.force)?;
        }
        let sweep = sweep::read(&self.sweep)?;
        let options = self.desk.options();
        let model = while_working("fitting ...", || fit(&sweep, &options))
            .map_err(|e| Failure::usage(format_args!("{}: {e}", self.sweep.display())))?;
        for remark in sweep::remarks(&sweep) {
            eprintln!("warning: {}: {remark}", self.sweep.display());
        }
        eprint!("{}", if self.verbose { all(&model) } else { summary(&model) });
        if let Some(path) = &self.output {
            model::write(path, &model)?;
        } else if !self.json {
            eprintln!("no model is written: -o MODEL does that");
        }
        self.desk.tell(&model, self.json)
    }
}

/// The model in ten lines at most: what is planned with, how far it is right, and what to know about it.
fn summary(model: &Model) -> String {
    let mut text = format!(
        "model of {}: {} series at {} clocks up to {}\n",
        model.networks().join(", "),
        model.series.len(),
        model.clocks_hz.len(),
        model.f_ref_hz
    );
    let times = model.series.iter().filter_map(|s| s.time_fit(None)).map(|fit| (fit.model.form().name(), &fit.quality));
    let powers =
        model.series.iter().filter_map(|s| s.power_fit(None)).map(|fit| (fit.model.form().name(), &fit.quality));
    text += &fits("time", &times.collect::<Vec<_>>());
    text += &fits("power", &powers.collect::<Vec<_>>());
    // Writing to a String cannot fail.
    if has_power(model) {
        let voltage = &model.device_constants.voltage;
        let _ = writeln!(text, "V(f): flat to {:.3} f_ref, then slope {:.3}", voltage.knee, voltage.slope);
    }
    let parts = [("idle power", model.idle.len()), ("settle times", model.settle.len()), ("stalls", model.stall.len())];
    let parts = parts.map(|(what, count)| if count > 0 { format!("{count} {what}") } else { format!("no {what}") });
    let _ = writeln!(text, "measured besides: {}", parts.join(", "));
    let more = model.warnings.len().saturating_sub(WARNINGS);
    for (what, count) in [("left out", model.left_out.len()), ("more warnings", more)] {
        if count > 0 {
            let _ = writeln!(text, "{what}: {count} (-v names them)");
        }
    }
    for warning in model.warnings.iter().take(WARNINGS) {
        let _ = writeln!(text, "warning: {warning}");
    }
    text
}

/// One line on how good all fits of a kind are: median and worst of their errors.
fn fits(what: &str, fits: &[(&str, &Quality)]) -> String {
    let spread = |mut errors: Vec<f64>| {
        errors.sort_unstable_by(f64::total_cmp);
        let (median, worst) = (errors.get(errors.len() / 2)?, errors.last()?);
        Some(format!("{:.2} %, {:.2} %", median * 1e2, worst * 1e2))
    };
    let Some(error) = spread(fits.iter().map(|(_, quality)| quality.mape_fit).collect()) else { return String::new() };
    let forms: Vec<&str> = fits.iter().map(|(form, _)| *form).collect();
    let mut text = format!("{what}: {}; error (median, worst) {error}", counted(&forms));
    let left_out = spread(fits.iter().filter_map(|(_, quality)| quality.mape_lofo).collect());
    let held_out = spread(fits.iter().filter_map(|(_, quality)| quality.mape_heldout).collect());
    for (name, error) in [("left-out", left_out), ("held-out", held_out)] {
        text += &error.map_or(String::new(), |error| format!("; {name} {error}"));
    }
    text + "\n"
}

fn has_power(model: &Model) -> bool {
    model.series.iter().any(|series| !series.power.is_empty())
}

/// Forms by how often they come, the commonest first.
fn counted(names: &[&str]) -> String {
    let mut counts: Vec<(&str, usize)> = Vec::new();
    for name in names {
        match counts.iter_mut().find(|(of, _)| of == name) {
            Some((_, count)) => *count += 1,
            None => counts.push((name, 1)),
        }
    }
    counts.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    counts.iter().map(|(name, count)| format!("{name} x{count}")).collect::<Vec<_>>().join(", ")
}

/// A model for people, whole: what each series is planned with, how far it is right, and what to know about it.
fn all(model: &Model) -> String {
    let mut text = String::new();
    for series in &model.series {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{}", line(series));
    }
    let voltage = &model.device_constants.voltage;
    if has_power(model) {
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
    let cpu = match series.cpu_freq_hz {
        Some(_) if series.cpu_moving => ", CPU moving".to_owned(),
        Some(cpu) => format!(", CPU {cpu}"),
        None => String::new(),
    };
    let size = if series.size.0 == 1 { String::new() } else { format!(", size {}", series.size.0) };
    let time = series.time_fit(None).map_or(String::new(), |fit| said("time", fit.model.form().name(), &fit.quality));
    let power =
        series.power_fit(None).map_or(String::new(), |fit| said("power", fit.model.form().name(), &fit.quality));
    format!("{} {}{size}{emc}{cpu}: {} clocks{time}{power}", series.model, series.block, series.clocks)
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
