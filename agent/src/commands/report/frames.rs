//! Frames that ran: how many were late, and by how much the others were not.

use super::log::Log;
use super::material::{Held, Material, Of, Ran, Stretch};
use super::{mhz, name, percent, row};
use crate::report::axis::nice;
use crate::report::chart::{Chart, Mark, Series};
use crate::report::page::{Page, Rows};

/// Bars of a histogram, about.
const BARS: f64 = 30.0;

/// What `run` and `hold` said of their frames.
pub fn runs(page: &mut Page, material: &Material) {
    for ran in &material.runs {
        page.heading(format!("{}: {} frames of {}", name(&ran.path), ran.is.frames, ran.is.network));
        run(page, &ran.is);
    }
    for held in &material.held {
        page.heading(format!("{}: the clock held for a deadline", name(&held.path)));
        hold(page, &held.is);
    }
}

fn joules(energy_j: Option<f64>, frames: u64) -> String {
    energy_j.map_or("-".to_owned(), |joules| format!("{:.4} J", joules / frames.max(1) as f64))
}

fn run(page: &mut Page, ran: &Ran) {
    let ms = |s: f64| format!("{:.3} ms", 1e3 * s);
    page.text(format!(
        "On {}, evidence: {}. Deadline {}, period {}, {} of frames may be late.",
        ran.board,
        ran.evidence,
        ms(ran.deadline_s),
        ms(ran.period_s),
        percent(ran.risk)
    ));
    let mut rows = vec![row(["", "late", "energy of a frame", "the table saves"])];
    let mut add = |name: String, missed: u64, energy_j: Option<f64>| {
        let late = format!("{missed} ({})", percent(missed as f64 / ran.frames.max(1) as f64));
        let more = match ran.energy_j.zip(energy_j) {
            Some((ours, other)) if other > 0.0 && ours != other => format!("{:.1} %", 1e2 * (1.0 - ours / other)),
            _ => "-".to_owned(),
        };
        rows.push(vec![name, late, joules(energy_j, ran.frames), more]);
    };
    let table = ran.policy == "table";
    add(if table { "this table" } else { "stock governor" }.to_owned(), ran.missed, ran.energy_j);
    if let Some(stock) = ran.baselines.stock_governor.as_ref().filter(|_| table) {
        add("stock governor".to_owned(), stock.missed, stock.energy_j);
    }
    if let Some(fixed) = &ran.baselines.best_fixed {
        let clock = jetpace_tables::units::Hertz::new(fixed.clock_hz.unwrap_or_default());
        add(format!("best fixed clock, {} MHz", mhz(clock)), fixed.missed, fixed.energy_j);
    }
    page.table(rows);
    let changes = ran.switches as f64 / ran.frames.max(1) as f64;
    let Ran { time_s, .. } = ran;
    page.note(format!(
        "Time of a frame: median {}, 99 % {}, longest {}; {changes:.2} changes of the clock a frame.",
        ms(time_s.p50),
        ms(time_s.p99),
        ms(time_s.max)
    ));
    if let Some(why) = &ran.handed_back {
        page.text(format!("The table was not followed to the end: {why}."));
    }
}

fn hold(page: &mut Page, held: &Held) {
    page.text(format!("Deadline {:.3} ms; {} of frames may be late.", 1e3 * held.deadline_s, percent(held.risk)));
    let mut rows = vec![row(["", "time", "frames", "late", "power", "energy of a frame"])];
    let mut add = |name: &str, of: &Stretch| {
        let late = of
            .late
            .map_or("-".to_owned(), |late| format!("{late} ({})", percent(late as f64 / of.frames.max(1) as f64)));
        let watts = of.watts().map_or("-".to_owned(), |watts| format!("{watts:.2} W"));
        let energy = if of.frames > 0 { joules(of.energy_j, of.frames) } else { "-".to_owned() };
        rows.push(vec![name.to_owned(), format!("{:.1} s", of.time_s), of.frames.to_string(), late, watts, energy]);
    };
    add("held", &held.held);
    held.before.iter().for_each(|before| add("bounds left alone", before));
    page.table(rows);
    let all: f64 = held.clocks.iter().map(|at| at.time_s).sum();
    let mut rows = vec![row(["clock", "share of the time"])];
    for at in &held.clocks {
        rows.push(vec![
            jetpace_tables::units::Hertz::new(at.clock_hz).to_string(),
            percent(at.time_s / all.max(f64::MIN_POSITIVE)),
        ]);
    }
    page.table(rows);
}

/// Traces and logs: a histogram each.
pub fn logs(page: &mut Page, material: &Material) {
    // A log does not say its deadline: its run does, or all files that have one and the same.
    let tables = material.tables.iter().map(|table| table.is.deadline().as_secs_f64());
    let mut deadlines: Vec<f64> = tables.chain(material.runs.iter().map(|ran| ran.is.deadline_s)).collect();
    deadlines.sort_by(f64::total_cmp);
    deadlines.dedup_by(|a, b| (*a - *b).abs() < 1e-9);
    let deadline = match deadlines.as_slice() {
        [only] => Some(*only),
        _ => None,
    };
    for log in &material.logs {
        page.heading(format!("{}: how late, how early", name(&log.path)));
        page.text(log.is.headline(&name(&log.path)));
        let ran = material.runs.iter().find(|ran| is_of(&log.is, &ran.is)).map(|ran| ran.is.deadline_s);
        histogram(page, log, ran.or(deadline));
        let mut rows = vec![row(["why the governor acted", "how often"])];
        rows.extend(log.is.reasons.iter().map(|(why, count)| vec![why.clone(), count.to_string()]));
        page.table(rows);
    }
}

/// Whether a log is a run's: as many frames, and the longest as long.
fn is_of(log: &Log, ran: &Ran) -> bool {
    let longest = log.times_s.iter().map(|(s, _)| *s).fold(0.0, f64::max);
    log.times_s.len() as u64 == ran.frames && (longest - ran.time_s.max).abs() < 1e-9
}

fn histogram(page: &mut Page, log: &Of<Log>, deadline_s: Option<f64>) {
    let Log { slack_s, times_s, .. } = &log.is;
    let by_deadline = times_s.iter().filter_map(|(s, late)| Some((1e3 * (deadline_s? - s), *late)));
    let mut values: Vec<(f64, bool)> = slack_s.iter().map(|s| (1e3 * s, *s < 0.0)).chain(by_deadline).collect();
    let (x, title, zero) = if values.is_empty() {
        values = times_s.iter().map(|(s, late)| (1e3 * s, *late)).collect();
        ("time of the frame (ms)", "Times of frames", None)
    } else {
        ("left over at the frame's end (ms), below 0 late", "Slack of frames", Some(0.0))
    };
    let bins = bins(&values);
    let bars = |late: bool| {
        let mut points: Vec<(f64, f64)> =
            bins.iter().map(|bin| (bin.from, if late { bin.late } else { bin.early } as f64)).collect();
        points.extend(bins.last().map(|bin| (bin.to, 0.0)));
        Series::new(if late { "late" } else { "in time" }, Mark::Bars, points)
    };
    // Bars of late frames only where there are some, and behind those in time, as one bin may hold both.
    let mut series = vec![bars(false)];
    if values.iter().any(|(_, late)| *late) {
        series.push(bars(true));
    }
    let chart = Chart {
        title: title.to_owned(),
        x: x.to_owned(),
        y: "frames".to_owned(),
        series,
        marks_x: zero.map(|zero| (zero, "deadline".to_owned())).into_iter().collect(),
        y_from_zero: true,
        ..Chart::default()
    };
    let mut rows: Rows = vec![row(["from", "to", "in time", "late"])];
    rows.extend(bins.iter().filter(|bin| bin.early + bin.late > 0).map(|bin| {
        vec![format!("{:.3} ms", bin.from), format!("{:.3} ms", bin.to), bin.early.to_string(), bin.late.to_string()]
    }));
    page.chart(&chart, rows);
}

/// A stretch of values, from the first to below the second.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Bin {
    from: f64,
    to: f64,
    early: u64,
    late: u64,
}

/// Bins of one round width, one of which begins at zero.
fn bins(values: &[(f64, bool)]) -> Vec<Bin> {
    let low = values.iter().map(|v| v.0).fold(f64::INFINITY, f64::min);
    let high = values.iter().map(|v| v.0).fold(f64::NEG_INFINITY, f64::max);
    if low > high {
        return Vec::new();
    }
    let wide = nice(((high - low) / BARS).max(1e-3));
    let (first, last) = ((low / wide).floor(), (high / wide).floor());
    let bin =
        |i: usize| Bin { from: (first + i as f64) * wide, to: (first + i as f64 + 1.0) * wide, early: 0, late: 0 };
    let mut bins: Vec<Bin> = (0..=(last - first) as usize).map(bin).collect();
    for (value, late) in values {
        if let Some(bin) = bins.get_mut(((value / wide).floor() - first) as usize) {
            if *late { bin.late += 1 } else { bin.early += 1 }
        }
    }
    bins
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bins_are_round_and_count_everything() {
        let values: Vec<(f64, bool)> = (0..1000).map(|i| (f64::from(i) * 0.01 - 1.0, i < 100)).collect();
        let bins = bins(&values);
        assert!(bins.len() <= 32 && bins.iter().any(|bin| bin.from == 0.0), "{bins:?}");
        assert_eq!(bins.iter().map(|bin| bin.early).sum::<u64>(), 900);
        assert_eq!(bins.iter().filter(|bin| bin.from < 0.0).map(|bin| bin.late).sum::<u64>(), 100);
        assert_eq!(super::bins(&[(5.0, false)]).len(), 1);
        assert!(super::bins(&[]).is_empty());
    }
}
