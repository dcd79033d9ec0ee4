//! The demo's charts: what was measured and fitted, what deadlines cost, and what runs in a frame.

use jetpace_tables::model::BlockModel;
use jetpace_tables::plan::{self, Ask, Plan, Problem};
use jetpace_tables::units::{Hertz, Nanos};
use jetpace_tables::work::Size;

use super::{RISK, Story};
use crate::failure::Failure;
use crate::report::chart::{Chart, Mark, Series};
use crate::workers;

/// Blocks shown one by one: the longest of each kind.
const SHOWN: usize = 5;
/// Points of a fitted curve.
const CURVE: usize = 60;

/// All charts of a network with their sizes.
pub fn charts(story: &Story) -> Result<Vec<(Chart, u32, u32)>, Failure> {
    let (problem, planned) = plan_at(story, story.pace.deadline).map_err(Failure::failed)?;
    let shown = shown(&story.model.blocks(&story.network, story.emc), story.model.f_ref_hz);
    let mut charts = vec![(time(story, &shown), 480, 340), (power(story, &shown), 480, 340)];
    charts.push((deadlines(story), 480, 340));
    charts.push((schedule(story, &problem, &planned), 480, 340));
    Ok(charts)
}

/// The longest blocks, one of each name before the dot (`decode.3` stands for all of `decode`).
fn shown<'a>(blocks: &[BlockModel<'a>], top: Hertz) -> Vec<BlockModel<'a>> {
    let kind = |block: &BlockModel<'_>| {
        let name = block.name();
        name.split_once('.').filter(|(_, rest)| rest.parse::<u32>().is_ok()).map_or(name, |(kind, _)| kind).to_owned()
    };
    let mut longest = blocks.to_vec();
    longest.sort_by(|a, b| b.time_s(top, Size::default()).total_cmp(&a.time_s(top, Size::default())));
    let mut kinds: Vec<String> = Vec::new();
    longest.retain(|block| {
        let new = !kinds.contains(&kind(block));
        kinds.push(kind(block));
        new
    });
    longest.truncate(SHOWN);
    longest
}

fn mhz(clock: Hertz) -> f64 {
    clock.as_f64() / 1e6
}

/// Clocks from the lowest to the highest, for a smooth curve.
fn curve(story: &Story) -> impl Iterator<Item = Hertz> + use<> {
    let low = story.model.clocks_hz.first().copied().unwrap_or(story.model.f_ref_hz).as_f64();
    let high = story.model.f_ref_hz.as_f64();
    (0..=CURVE).map(move |i| Hertz::new((low + (high - low) * i as f64 / CURVE as f64) as u64))
}

fn time(story: &Story, shown: &[BlockModel<'_>]) -> Chart {
    let mut series = Vec::new();
    for block in shown {
        let fitted = curve(story).map(|f| (mhz(f), 1e3 * block.time_s(f, Size::default())));
        let measured = block.series.points.iter().map(|p| (mhz(p.gpu_freq_hz), 1e3 * p.time_s));
        series.push(Series::new(block.name(), Mark::Line, fitted.collect()));
        series.push(Series::new(block.name(), Mark::Dots, measured.collect()));
    }
    chart("Time of the longest blocks: measured (dots), fitted", "GPU clock (MHz)", "time (ms)", series)
}

fn power(story: &Story, shown: &[BlockModel<'_>]) -> Chart {
    let mut series = Vec::new();
    for block in shown {
        let fitted = curve(story).filter_map(|f| Some((mhz(f), block.power_w(f, Size::default())?)));
        let measured = block.series.points.iter().filter_map(|p| Some((mhz(p.gpu_freq_hz), p.power_w?)));
        series.push(Series::new(block.name(), Mark::Line, fitted.collect()));
        series.push(Series::new(block.name(), Mark::Dots, measured.collect()));
    }
    let idle = story.model.idle.iter().map(|idle| (mhz(idle.gpu_freq_hz), idle.power_w));
    series.push(Series::new("idle", Mark::Line, idle.collect()));
    chart("Power of the module while they run", "GPU clock (MHz)", "power (W)", series)
}

/// Predicted energy of a period against its length.
fn deadlines(story: &Story) -> Chart {
    let top_s = story.pace.deadline.as_secs_f64() / super::FACTOR;
    let (mut ours, mut fixed, mut top) = (Vec::new(), Vec::new(), Vec::new());
    let steps: Vec<i32> = (0..=30).collect();
    let planned = workers::map(&steps, |step| {
        let deadline = Nanos::from_secs_f64(top_s * (1.02 + 0.05 * f64::from(*step)));
        plan_at(story, deadline).ok().map(|found| (deadline.as_secs_f64() * 1e3, found))
    });
    for (x, (problem, planned)) in planned.into_iter().flatten() {
        ours.push((x, planned.outcome.energy_j));
        if let Some((_, _, outcome)) = &planned.best_fixed {
            fixed.push((x, outcome.energy_j));
        }
        if let Some((_, outcome)) = plan::fixed(&problem, problem.clocks.len() - 1) {
            top.push((x, outcome.energy_j));
        }
    }
    let series = vec![
        Series::new("highest clock", Mark::Line, top),
        Series::new("best fixed clock", Mark::Line, fixed),
        Series::new("plan", Mark::Line, ours),
    ];
    let mut chart = chart("Predicted energy against the deadline", "deadline and period (ms)", "energy (J)", series);
    chart.marks_x = vec![(story.pace.deadline.as_secs_f64() * 1e3, "the one run here".to_owned())];
    chart.y_from_zero = false;
    chart
}

/// The clock over a frame as planned.
fn schedule(story: &Story, problem: &Problem, planned: &Plan) -> Chart {
    let ms = |s: f64| 1e3 * s;
    let clock = |index: usize| problem.clocks.get(index).map_or(0.0, |clock| mhz(*clock));
    let starts = planned.block_starts_s.iter().zip(&planned.block_clocks);
    let mut points: Vec<(f64, f64)> = starts.map(|(start, index)| (ms(*start), clock(*index))).collect();
    let last = planned.block_clocks.last().copied().unwrap_or(0);
    let end = planned.outcome.time_s;
    points.push((ms(end), clock(planned.schedule.idle.unwrap_or(last))));
    points.push((ms(problem.period_s), clock(planned.schedule.start)));
    let mut chart = chart(
        "A frame as planned: the clock that each block ends at",
        "time in the frame (ms)",
        "GPU clock (MHz)",
        vec![Series::new("clock", Mark::Steps, points)],
    );
    chart.marks_x = vec![(ms(story.pace.deadline.as_secs_f64()), "deadline".to_owned())];
    for (block, start) in problem.blocks.iter().zip(&planned.block_starts_s) {
        // The long ones only; names would lie on one another.
        if block.time_s.last().is_some_and(|t| *t > 0.06 * problem.period_s) {
            chart.marks_x.push((ms(*start), block.name.clone()));
        }
    }
    chart.marks_x.push((ms(end), "end".to_owned()));
    chart
}

fn chart(title: &str, x: &str, y: &str, series: Vec<Series>) -> Chart {
    Chart { title: title.to_owned(), x: x.to_owned(), y: y.to_owned(), series, marks_x: Vec::new(), y_from_zero: true }
}

fn plan_at(story: &Story, deadline: Nanos) -> Result<(Problem, Plan), plan::PlanError> {
    let ask = Ask::new(&story.network, story.emc, deadline, RISK);
    let problem = Problem::from_model(&story.model, &ask)?;
    let planned = plan::plan(&problem)?;
    Ok((problem, planned))
}
