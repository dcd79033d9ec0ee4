//! Time and power against the clock: what was measured, what was fitted, how sure that is.

use std::collections::{BTreeMap, BTreeSet};

use jetpace_tables::model::{BlockModel, Model, Point, Quality};
use jetpace_tables::stats::NORMAL95;
use jetpace_tables::units::Hertz;

use super::material::Source;
use super::{mhz, row};
use crate::commands::predict::{Frame, frame};
use crate::report::chart::{Chart, Mark, Series};
use crate::report::page::{Page, Rows};

/// Blocks shown one by one: the longest of each kind.
const SHOWN: usize = 5;
/// Steps of a fitted curve.
const CURVE: usize = 48;

/// The time of a frame where it was measured, for a page that has nothing better to say.
pub fn headline(source: &Source, network: &str) -> String {
    let emc = source.model.emc_clocks(network).last().copied().flatten();
    let blocks = source.model.blocks(network, emc);
    let at = |clock: Hertz| {
        let Frame { time_s, power_w, .. } = frame(&blocks, clock, None);
        let energy = power_w.map_or(String::new(), |watts| format!(" and {:.3} J", watts * time_s));
        format!("{:.2} ms{energy} at {clock}", time_s * 1e3)
    };
    match clocks(&blocks).as_slice() {
        [] => format!("{network}: no clock was measured"),
        [only] => format!("{network}: {}; one clock alone says nothing of others", at(*only)),
        [low, .., high] => format!("{network}: a frame takes {}, {}", at(*high), at(*low)),
    }
}

/// The clocks of all blocks' points.
fn clocks(blocks: &[BlockModel<'_>]) -> Vec<Hertz> {
    let points = blocks.iter().flat_map(|block| &block.series.points);
    points.map(|point| point.gpu_freq_hz).collect::<BTreeSet<_>>().into_iter().collect()
}

/// A value with its relative standard deviation, where that is known.
type WithSd = (f64, Option<f64>);
/// A frame's time in seconds, and its power where every block's was measured.
type Whole = (f64, Option<f64>);

/// The section of a network.
pub fn tell(page: &mut Page, source: &Source, network: &str, emc: Option<Hertz>) {
    let model = &source.model;
    let blocks = model.blocks(network, emc);
    page.heading(format!("{network}: time and power against the clock"));
    let emcs = model.emc_clocks(network);
    if let (Some(emc), true) = (emc, emcs.len() > 1) {
        page.text(format!("At the memory clock {emc}; measured at {} of them.", emcs.len()));
    }
    if blocks.iter().any(|block| !block.series.power.is_empty()) && !model.power_of.is_module() {
        page.text(format!("Power is that of the {} rail, not the module's.", model.power_of.word()));
    }
    let all = source.all.as_ref().map(|all| all.blocks(network, emc)).unwrap_or_default();
    whole(page, &blocks, &all);
    single(page, model, &blocks);
    let seen: BTreeSet<Hertz> = clocks(&blocks).into_iter().collect();
    let unseen: Vec<String> = clocks(&all).iter().filter(|clock| !seen.contains(clock)).map(Hertz::to_string).collect();
    page.note(match (source.sweep.is_some(), unseen.as_slice()) {
        (true, []) => {
            "No clock of the sweep was held out of the fit: the left-out error is of fits that each lack one clock."
                .to_owned()
        }
        (true, unseen) => format!("Held out of the fit, and only compared with it: {}.", unseen.join(", ")),
        (false, _) => "Held-out clocks show where the model's sweep is among the files.".to_owned(),
    });
    page.more("How far the fits are right, block by block", quality(&blocks));
}

/// A whole frame where every block was measured.
fn summed(blocks: &[BlockModel<'_>]) -> BTreeMap<Hertz, Whole> {
    let mut all: BTreeMap<Hertz, Vec<&Point>> = BTreeMap::new();
    for point in blocks.iter().flat_map(|block| block.series.points.iter().chain(&block.series.apart)) {
        all.entry(point.gpu_freq_hz).or_default().push(point);
    }
    all.retain(|_, points| points.len() == blocks.len());
    let sum = |points: Vec<&Point>| {
        let time_s: f64 = points.iter().map(|point| point.time_s).sum();
        let energy_j: Option<f64> = points.iter().map(|point| Some(point.power_w? * point.time_s)).sum();
        (time_s, energy_j.map(|joules| joules / time_s))
    };
    all.into_iter().map(|(clock, points)| (clock, sum(points))).collect()
}

/// Clocks from the lowest to the highest that a block was measured at, for a smooth curve.
fn curve(of: &[Hertz]) -> Vec<Hertz> {
    let (Some(low), Some(high)) = (of.first(), of.last()) else { return Vec::new() };
    let (low, high) = (low.as_f64(), high.as_f64());
    (0..=CURVE).map(|i| Hertz::new((low + (high - low) * i as f64 / CURVE as f64) as u64)).collect()
}

/// Time and power of a whole frame, with intervals.
fn whole(page: &mut Page, blocks: &[BlockModel<'_>], all: &[BlockModel<'_>]) {
    let (seen, unseen) = (summed(blocks), summed(all));
    let mut wide = clocks(blocks);
    wide.extend(clocks(all));
    wide.sort_unstable();
    let at: Vec<(f64, Frame)> =
        curve(&wide).into_iter().map(|clock| (mhz(clock), frame(blocks, clock, None))).collect();
    let chart = |title: &str, y: &str, of: fn(&Frame) -> Option<WithSd>, point: fn(Whole) -> Option<f64>| {
        let line = at.iter().filter_map(|(x, frame)| Some((*x, of(frame)?.0))).collect();
        let edge = |sign: f64| {
            at.iter().filter_map(move |(x, frame)| {
                let (value, sd) = of(frame)?;
                Some((*x, value * (sign * NORMAL95 * sd?).exp()))
            })
        };
        let mut back: Vec<(f64, f64)> = edge(-1.0).collect();
        back.reverse();
        let dots = |of: &BTreeMap<Hertz, Whole>, held_out: bool| -> Vec<(f64, f64)> {
            let of = of.iter().filter(|(clock, _)| !held_out || !seen.contains_key(clock));
            of.filter_map(|(clock, value)| Some((mhz(*clock), point(*value)?))).collect()
        };
        Chart {
            title: title.to_owned(),
            x: "GPU clock (MHz)".to_owned(),
            y: y.to_owned(),
            series: vec![
                Series::new("95 % interval of one more run", Mark::Band, edge(1.0).chain(back).collect()),
                Series::new("fitted", Mark::Line, line),
                Series::new("measured", Mark::Dots, dots(&seen, false)),
                Series::new("held out", Mark::Rings, dots(&unseen, true)),
            ],
            y_from_zero: true,
            ..Chart::default()
        }
    };
    let time = chart("Time of a frame", "time (ms)", |f| Some((f.time_s * 1e3, f.time_sd)), |(s, _)| Some(s * 1e3));
    let power = chart("Power while it runs", "power (W)", |f| Some((f.power_w?, f.power_sd)), |(_, w)| w);
    let has_power = blocks.iter().all(|block| !block.series.power.is_empty());
    page.figures();
    page.chart(&time, rows(blocks, &seen, &unseen));
    if has_power {
        page.chart(&power, Vec::new());
    }
}

/// Fitted and measured, at the clocks that were measured.
fn rows(blocks: &[BlockModel<'_>], seen: &BTreeMap<Hertz, Whole>, unseen: &BTreeMap<Hertz, Whole>) -> Rows {
    let mut rows = vec![row(["clock", "time, fitted", "time, measured", "power, fitted", "power, measured", ""])];
    let mut all = unseen.clone();
    all.extend(seen);
    for (clock, (time_s, power_w)) in all {
        let fitted = frame(blocks, clock, None);
        let watts = |watts: Option<f64>| watts.map_or("-".to_owned(), |watts| format!("{watts:.3} W"));
        let ms = |s: f64| format!("{:.3} ms", s * 1e3);
        let held_out = if seen.contains_key(&clock) { "" } else { "held out" };
        rows.push(vec![
            clock.to_string(),
            ms(fitted.time_s),
            ms(time_s),
            watts(fitted.power_w),
            watts(power_w),
            held_out.to_owned(),
        ]);
    }
    rows
}

/// The longest blocks, one of each name before the dot (`decode.3` stands for all of `decode`).
fn longest<'a>(blocks: &[BlockModel<'a>], top: Hertz) -> Vec<BlockModel<'a>> {
    let kind = |block: &BlockModel<'_>| super::planned::kind(block.name()).0.to_owned();
    let mut longest = blocks.to_vec();
    longest.sort_by(|a, b| b.time_s(top, b.series.size).total_cmp(&a.time_s(top, a.series.size)));
    let mut kinds: Vec<String> = Vec::new();
    longest.retain(|block| {
        let new = !kinds.contains(&kind(block));
        kinds.push(kind(block));
        new
    });
    longest.truncate(SHOWN);
    longest
}

/// Time and power of the longest blocks.
fn single(page: &mut Page, model: &Model, blocks: &[BlockModel<'_>]) {
    let shown = longest(blocks, model.f_ref_hz);
    if blocks.len() < 2 {
        return;
    }
    let chart = |title: &str,
                 y: &str,
                 of: &dyn Fn(&BlockModel<'_>, Hertz) -> Option<f64>,
                 point: &dyn Fn(&Point) -> Option<f64>| {
        let mut series = Vec::new();
        for block in &shown {
            let line =
                curve(&clocks(std::slice::from_ref(block))).into_iter().filter_map(|f| Some((mhz(f), of(block, f)?)));
            let dots = block.series.points.iter().filter_map(|p| Some((mhz(p.gpu_freq_hz), point(p)?)));
            series.push(Series::new(block.name(), Mark::Line, line.collect()));
            series.push(Series::new(block.name(), Mark::Dots, dots.collect()));
        }
        if title.starts_with("Power") {
            let idle = model.idle.iter().map(|idle| (mhz(idle.gpu_freq_hz), idle.power_w));
            series.push(Series::new("idle", Mark::Line, idle.collect()));
        }
        let x = "GPU clock (MHz)".to_owned();
        Chart { title: title.to_owned(), x, y: y.to_owned(), series, y_from_zero: true, ..Chart::default() }
    };
    let time = |block: &BlockModel<'_>, clock| Some(1e3 * block.time_s(clock, block.series.size));
    let power = |block: &BlockModel<'_>, clock| block.power_w(clock, block.series.size);
    page.chart(&chart("Time of the longest blocks", "time (ms)", &time, &|p| Some(1e3 * p.time_s)), Vec::new());
    page.chart(&chart("Power while they run", "power (W)", &power, &|p| p.power_w), Vec::new());
}

/// How far the fits are right, block by block.
fn quality(blocks: &[BlockModel<'_>]) -> Rows {
    let mut rows = vec![row([
        "block",
        "time: form",
        "error",
        "left out",
        "held out",
        "power: form",
        "error",
        "left out",
        "held out",
    ])];
    for block in blocks {
        let errors = |quality: &Quality| {
            let percent = |error: Option<f64>| error.map_or("-".to_owned(), |error| format!("{:.2} %", 1e2 * error));
            [percent(Some(quality.mape_fit)), percent(quality.mape_lofo), percent(quality.mape_heldout)]
        };
        let time = block.series.time_fit(None).map(|fit| (fit.model.form().name(), &fit.quality));
        let power = block.series.power_fit(None).map(|fit| (fit.model.form().name(), &fit.quality));
        let mut cells = vec![block.name().to_owned()];
        for fit in [time, power] {
            match fit {
                Some((form, quality)) => cells.extend(std::iter::once(form.to_owned()).chain(errors(quality))),
                None => cells.extend(std::iter::repeat_n("-".to_owned(), 4)),
            }
        }
        rows.push(cells);
    }
    rows
}
