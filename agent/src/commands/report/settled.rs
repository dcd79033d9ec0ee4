//! The board, what changes of its clock take, and what was thrown out.

use std::collections::BTreeMap;

use jetpace_tables::model::{ChangeTime, Model};
use jetpace_tables::stats::Spread;
use jetpace_tables::units::Hertz;

use super::material::Source;
use super::{mhz, name, row};
use crate::files::sweep::remarks;
use crate::report::chart::{Chart, Mark, Series};
use crate::report::page::{Page, Rows};

/// Where the figures come from: board, clocks, evidence, how much was measured.
pub fn board(page: &mut Page, source: &Source) {
    let model = &source.model;
    page.heading(match &source.digest {
        Some(_) => format!("Board and evidence: {}", name(&source.path)),
        None => format!("Board and evidence: {}, fitted for this page", name(&source.path)),
    });
    let mut rows = vec![row(["what", "value"])];
    let mut add = |what: &str, value: String| rows.push(vec![what.to_owned(), value]);
    add("board", source.board().unwrap_or("none is named, so no board will follow a table of it").to_owned());
    add("evidence", source.evidence());
    add("networks", model.networks().join(", "));
    let clocks: Vec<String> = model.clocks_hz.iter().map(|clock| mhz(*clock).to_string()).collect();
    add(
        "GPU clocks (MHz)",
        if clocks.len() > 16 {
            format!("{} of them, {} to {}", clocks.len(), clocks[0], clocks[clocks.len() - 1])
        } else {
            clocks.join(", ")
        },
    );
    if let Some(sweep) = &source.sweep {
        let mut kinds: BTreeMap<&str, usize> = BTreeMap::new();
        sweep.is.rows.iter().for_each(|row| *kinds.entry(row.kind.word()).or_default() += 1);
        add(
            "rows measured",
            kinds.iter().map(|(kind, count)| format!("{count} {kind}")).collect::<Vec<_>>().join(", "),
        );
    }
    for frames in &model.frames {
        add(
            &format!("frames of {}", frames.model),
            format!("{}, standard deviation {:.2} %", frames.count, 1e2 * frames.sd),
        );
    }
    page.table(rows);
}

/// What changes of the clock take, upwards and downwards.
pub fn changes(page: &mut Page, model: &Model) {
    let way = |up: bool| model.settle.iter().filter(move |change| (change.from_hz < change.to_hz) == up);
    if model.settle.is_empty() {
        return;
    }
    page.heading("Changes of the clock");
    page.text("How long the old clock goes on behind a write, and how long the GPU then stands still.");
    let series = [("to a higher clock", true), ("to a lower clock", false)].map(|(name, up)| {
        let mut points: Vec<(f64, f64)> = way(up).map(|change| (mhz(change.to_hz), 1e3 * change.time.p50_s)).collect();
        points.sort_by(|a, b| a.0.total_cmp(&b.0));
        Series::new(name, if up { Mark::Dots } else { Mark::Rings }, points)
    });
    let chart = Chart {
        title: "Settle times: the median of each change".to_owned(),
        x: "to this GPU clock (MHz)".to_owned(),
        y: "time (ms)".to_owned(),
        series: series.to_vec(),
        y_from_zero: true,
        ..Chart::default()
    };
    page.figures();
    page.chart(&chart, each(&model.settle));
    let mut rows = vec![row(["what", "changes", "times measured", "median", "worst 90 %", "worst 99 %", "longest"])];
    rows.extend(summary("settle, to a higher clock", way(true)));
    rows.extend(summary("settle, to a lower clock", way(false)));
    rows.extend(summary("stall", model.stall.iter()));
    page.table(rows);
    page.note("Worst 90 %: the largest of the changes' 90 % quantiles.");
}

fn ms(seconds: f64) -> String {
    format!("{:.3} ms", 1e3 * seconds)
}

fn summary<'a>(what: &str, of: impl Iterator<Item = &'a ChangeTime>) -> Option<Vec<String>> {
    let all: Vec<_> = of.map(|change| change.time).collect();
    let mut medians: Vec<f64> = all.iter().map(|time| time.p50_s).collect();
    medians.sort_by(f64::total_cmp);
    let most = |of: fn(&Spread) -> f64| ms(all.iter().map(of).fold(0.0, f64::max));
    let median = ms(*medians.get(medians.len() / 2)?);
    let count: u64 = all.iter().map(|time| time.count as u64).sum();
    let (p90, p99, max) = (most(|time| time.p90_s), most(|time| time.p99_s), most(|time| time.max_s));
    Some(vec![what.to_owned(), all.len().to_string(), count.to_string(), median, p90, p99, max])
}

fn each(changes: &[ChangeTime]) -> Rows {
    let mut rows = vec![row(["from", "to", "median", "90 %", "99 %", "longest"])];
    rows.extend(changes.iter().map(|ChangeTime { from_hz, to_hz, time }| {
        vec![from_hz.to_string(), to_hz.to_string(), ms(time.p50_s), ms(time.p90_s), ms(time.p99_s), ms(time.max_s)]
    }));
    rows
}

/// Rows named for each reason.
const NAMED: usize = 3;

/// What was rejected and why: by calibration, by the fit; and what both warn of.
pub fn rejected(page: &mut Page, source: &Source) {
    let mut reasons: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let rows = source.sweep.iter().flat_map(|sweep| &sweep.is.rows);
    for row in rows {
        let at = row.gpu_freq.or(row.to).as_ref().map_or(String::new(), |clock: &Hertz| format!(" at {clock}"));
        let what = format!("line {}: {} {}{at}", row.line, row.kind.word(), row.block);
        if !row.rejected.is_empty() {
            reasons.entry(row.rejected.clone()).or_default().push(what.clone());
        }
        if !row.power_rejected.is_empty() {
            reasons.entry(format!("{} (its power only)", row.power_rejected)).or_default().push(what);
        }
    }
    for left in &source.model.left_out {
        let line = if left.line > 0 { format!("line {}: ", left.line) } else { String::new() };
        // The reason without its figures, which differ from row to row.
        let why = left.why.split_once(':').map_or(left.why.as_str(), |(why, _)| why);
        reasons.entry(why.to_owned()).or_default().push(format!("{line}{}", left.what));
    }
    let mut said: Vec<String> = source.model.warnings.clone();
    said.extend(source.sweep.iter().flat_map(|sweep| remarks(&sweep.is)));
    if source.sweep.is_none() && reasons.is_empty() && said.is_empty() {
        return;
    }
    page.heading(format!("What was rejected, and why: {}", name(&source.path)));
    if reasons.is_empty() {
        page.text("Nothing was rejected.");
    }
    let mut rows = vec![row(["why", "how many", "which"])];
    for (why, which) in reasons {
        let more = if which.len() > NAMED { ", .." } else { "" };
        let named: Vec<&str> = which.iter().take(NAMED).map(String::as_str).collect();
        rows.push(vec![why, which.len().to_string(), format!("{}{more}", named.join("; "))]);
    }
    page.table(rows);
    page.list(said);
}
