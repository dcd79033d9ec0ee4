//! Measuring one clock at a time, as calibration for a deadline does, on a sweep that has them all.

use jetpace_tables::fit::adaptive::{CAREFUL, Frame};
use jetpace_tables::fit::{FitError, Options, fit, spread};
use jetpace_tables::model::{BlockModel, Point, Series};
use jetpace_tables::sample::{Kind, Row, Sweep};
use jetpace_tables::units::Hertz;
use serde::Serialize;

/// What is planned for.
#[derive(Clone, Copy, Debug)]
pub struct Limits<'a> {
    /// The deadline and period.
    pub deadline_s: f64,
    /// How many clocks may be measured after the first ones.
    pub more: usize,
    /// By what fractions the predicted time has to stay below it: a plan for each.
    pub margins: &'a [f64],
}

/// A clock that was measured, and why.
#[derive(Clone, Debug, Serialize)]
pub struct Step {
    /// The clock.
    pub clock_hz: Hertz,
    /// Why this one.
    pub why: String,
}

/// What came of it.
pub struct Found<'a> {
    /// What was measured after the first clocks, in order, for the first margin.
    pub schedule: Vec<Step>,
    /// For each margin, the clock that is taken.
    pub chosen: Vec<(f64, &'a Point)>,
}

/// Measures a series at `learn.train` clocks and then where the decision falls; each margin is a plan of its own.
pub fn measure<'a>(
    sweep: &Sweep,
    series: &Series,
    points: &'a [Point],
    learn: &Options,
    limits: Limits<'_>,
    idle_w: &dyn Fn(Hertz) -> f64,
) -> Result<Found<'a>, FitError> {
    let clocks: Vec<Hertz> = points.iter().map(|point| point.gpu_freq_hz).collect();
    let first = spread(&clocks, learn.train.unwrap_or(clocks.len()));
    let mut found = Found { schedule: Vec::new(), chosen: Vec::new() };
    for &margin in limits.margins {
        let (mut measured, mut schedule) = (first.clone(), Vec::new());
        loop {
            let model = fit(&only(sweep, series, &measured), &Options { train: None, ..learn.clone() })?;
            let blocks: Vec<BlockModel<'_>> =
                model.series.first().and_then(|series| BlockModel::new(&model, series)).into_iter().collect();
            let deadline_s = limits.deadline_s;
            let (blocks, clocks) = (blocks.as_slice(), clocks.as_slice());
            let frame = Frame { blocks, clocks, deadline_s, period_s: deadline_s, late: &|_| margin, idle_w };
            let next = frame.next(&measured).filter(|_| schedule.len() < limits.more);
            let Some(next) = next else {
                let chosen = frame.choose(CAREFUL, &measured);
                found.chosen.extend(points.iter().find(|point| Some(point.gpu_freq_hz) == chosen).map(|p| (margin, p)));
                break;
            };
            measured.push(next.clock);
            schedule.push(Step { clock_hz: next.clock, why: next.why.to_owned() });
        }
        if found.schedule.is_empty() {
            found.schedule = schedule;
        }
    }
    Ok(found)
}

/// The sweep as it stands when one series was measured at some clocks.
fn only(sweep: &Sweep, series: &Series, clocks: &[Hertz]) -> Sweep {
    let is_of = |row: &&Row| {
        row.kind == Kind::Block
            && (&row.device, &row.model, &row.block, row.size)
                == (&series.device, &series.model, &series.block, series.size)
            && (series.emc_freq_hz.is_none() || row.emc_freq == series.emc_freq_hz)
            && (series.cpu_moving || row.cpu_freq == series.cpu_freq_hz)
            && row.gpu_freq.is_some_and(|clock| clocks.contains(&clock))
    };
    let rows = sweep.rows.iter().filter(is_of).cloned().collect();
    Sweep { board: sweep.board.clone(), fields: sweep.fields.clone(), rows }
}
