//! `fit --explain`: how the time of each block moves with w, m, c and q, as text and as plots.

use std::fmt::Write as _;
use std::path::Path;

use jetpace_tables::fit::explain::{crossing, effects, voltage_ci95};
use jetpace_tables::model::{Model, Series, TimeFit, TimeForm};
use jetpace_tables::units::Hertz;

use crate::failure::Failure;
use crate::files::output::write_file;
use crate::report::chart::{Chart, Mark, Series as Line};

/// The form whose parameters are explained: compute, memory and launch time and the sharpness of the change between
/// the first two are what a block's time is made of, whichever form plans.
fn explained(series: &Series) -> Option<&TimeFit> {
    series.time_fit(Some(TimeForm::SmoothRoofline))
}

/// The lowest, the middle and the highest of the clocks that the series was fitted on.
fn three(series: &Series) -> Option<[Hertz; 3]> {
    let points = &series.points;
    Some([points.first()?, points.get(points.len() / 2)?, points.last()?].map(|point| point.gpu_freq_hz))
}

/// A table per series.
pub fn text(model: &Model) -> String {
    let mut text = "how far the time moves, in %, for 1 % more of each parameter of smooth-roofline\n".to_owned();
    let reference = model.f_ref_hz.as_f64();
    // Writing to a String cannot fail.
    for series in &model.series {
        let (Some(fit), Some(clocks)) = (explained(series), three(series)) else { continue };
        let emc = series.emc_freq_hz.map_or(String::new(), |emc| format!(", EMC {emc}"));
        let _ = writeln!(text, "\n{} {}{emc}", series.model, series.block);
        let heads = clocks.map(|clock| clock.to_string());
        let _ =
            writeln!(text, "  {:<5}{:>14}{:>28}{:>14}{:>14}{:>14}", "", "value", "95 %", heads[0], heads[1], heads[2]);
        for effect in effects(fit, clocks.map(|clock| clock.as_f64() / reference)) {
            let bare = effect.param == "q";
            let value = |value: f64| if bare { format!("{value:.2}") } else { format!("{:.4} ms", value * 1e3) };
            let interval = match effect.ci95 {
                Some([low, high]) => format!("{} .. {}", value(low), value(high)),
                None if bare => "fixed".to_owned(),
                None => "-".to_owned(),
            };
            let moves = effect.elasticity.map(|e| format!("{e:+.3}"));
            let _ = writeln!(
                text,
                "  {:<5}{:>14}{interval:>28}{:>14}{:>14}{:>14}",
                effect.param,
                value(effect.value),
                moves[0],
                moves[1],
                moves[2]
            );
        }
        match crossing(fit).map(|x| Hertz::new((x * reference) as u64)) {
            Some(clock) if clock < clocks[2] => {
                let mhz = clock.as_f64() / 1e6;
                let _ = writeln!(text, "  above {mhz:.0} MHz the memory decides, below it the clock");
            }
            _ => {
                let _ = writeln!(text, "  the clock decides at every clock measured");
            }
        }
        for warning in &fit.quality.warnings {
            let _ = writeln!(text, "  {warning}");
        }
    }
    text + &device(model)
}

/// What all blocks share: V(f), and what the memory's clock adds to the power.
fn device(model: &Model) -> String {
    let mut text = String::new();
    if let Some([knee, slope]) = voltage_ci95(model) {
        let voltage = &model.device_constants.voltage;
        // Writing to a String cannot fail.
        let _ = writeln!(
            text,
            "\nV(f): knee {:.3} f_ref (95 %: {:.3} .. {:.3}), slope {:.3} (95 %: {:.3} .. {:.3})",
            voltage.knee, knee[0], knee[1], voltage.slope, slope[0], slope[1]
        );
    }
    for base in &model.device_constants.emc_base {
        let _ = writeln!(text, "EMC {}: {:+.3} W over the lowest", base.emc_freq_hz, base.base_w);
    }
    text
}

/// One SVG per series and parameter in a folder: t(f) with the parameter halved, as fitted, and doubled, beside what was
/// measured; returns how many were written.
pub fn plots(model: &Model, folder: &Path) -> Result<usize, Failure> {
    std::fs::create_dir_all(folder).map_err(|e| Failure::file(folder, &e))?;
    let mut written = 0;
    for series in &model.series {
        let (Some(fit), Some(clocks)) = (explained(series), three(series)) else { continue };
        let mut fitted = fit.model;
        let params: Vec<(&str, f64)> = fitted.params().iter().map(|(name, value)| (*name, **value)).collect();
        for (i, (param, value)) in params.into_iter().enumerate().filter(|(_, (_, value))| *value > 0.0) {
            let chart = chart(model, series, fit, clocks, (i, param, value));
            let emc = series.emc_freq_hz.map_or(String::new(), |emc| format!("-emc{}", emc.get() / 1_000_000));
            let size = if series.size.0 == 1 { String::new() } else { format!("-size{}", series.size.0) };
            let name = format!("{}-{}{size}{emc}-{}.svg", series.model, series.block, param.trim_end_matches("_s"));
            let name = name.replace(|c: char| !c.is_ascii_alphanumeric() && !"-_.".contains(c), "_");
            write_file(&folder.join(name), chart.svg()?.as_bytes())?;
            written += 1;
        }
    }
    Ok(written)
}

fn chart(
    model: &Model,
    series: &Series,
    fit: &TimeFit,
    clocks: [Hertz; 3],
    (i, param, value): (usize, &str, f64),
) -> Chart {
    let reference = model.f_ref_hz.as_f64();
    let (low, high) = (clocks[0].as_f64() / reference, clocks[2].as_f64() / reference);
    let name = param.trim_end_matches("_s");
    let lines = [(0.5, format!("{name} halved")), (1.0, "fitted".to_owned()), (2.0, format!("{name} doubled"))];
    let mut drawn: Vec<Line> = lines
        .into_iter()
        .map(|(factor, label)| {
            let mut changed = fit.model;
            if let Some((_, slot)) = changed.params().get_mut(i) {
                **slot = value * factor;
            }
            let at = |k: usize| low + (high - low) * k as f64 / 120.0;
            let points = (0..=120).map(|k| (at(k) * reference / 1e6, changed.time_s(at(k), 1.0) * 1e3)).collect();
            Line::new(label, Mark::Line, points)
        })
        .collect();
    let measured = series.points.iter().map(|point| (point.gpu_freq_hz.as_f64() / 1e6, point.time_s * 1e3));
    drawn.push(Line::new("measured", Mark::Dots, measured.collect()));
    Chart {
        title: format!("{} {}: what {name} does", series.model, series.block),
        x: "GPU clock, MHz".to_owned(),
        y: "time, ms".to_owned(),
        series: drawn,
        y_from_zero: true,
        ..Chart::default()
    }
}
