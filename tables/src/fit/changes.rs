//! The rows that are not blocks: idle power, settle, stall and write times, and how whole frames vary.

use std::collections::BTreeMap;
use std::vec::Vec;

use super::group::left_out;
use crate::model::{Change, FrameNoise, Idle, Left, Model, Spread};
use crate::sample::{Kind, RAILGATED, Row, Sweep};
use crate::stats::{correlation, mean, quantile, sd, sorted, spread};
use crate::units::Hertz;

/// A frame's deviations are kept one by one up to this many; more become as many quantiles.
const KEPT: usize = 2_000;

fn rows<'a>(sweep: &'a Sweep, kind: Kind, left: &mut Vec<Left>) -> Vec<&'a Row> {
    let mut rows = Vec::new();
    for row in sweep.rows.iter().filter(|row| row.kind == kind) {
        if row.rejected.is_empty() { rows.push(row) } else { left.push(left_out(row, &row.rejected)) }
    }
    rows
}

/// Mean idle power per GPU and EMC clock, ascending; of an awake GPU, as the gaps of a plan have it.
pub fn idle(sweep: &Sweep, left: &mut Vec<Left>) -> Vec<Idle> {
    let mut at: BTreeMap<(Hertz, Option<Hertz>), Vec<f64>> = BTreeMap::new();
    for row in rows(sweep, Kind::Idle, left).into_iter().filter(|row| row.block != RAILGATED) {
        if let (Some(clock), Some(power)) = (row.gpu_freq, row.power_w()) {
            at.entry((clock, row.emc_freq)).or_default().push(power);
        }
    }
    at.into_iter()
        .map(|((gpu_freq_hz, emc_freq_hz), powers)| Idle {
            gpu_freq_hz,
            emc_freq_hz,
            power_w: mean(&powers),
            rows: powers.len(),
        })
        .collect()
}

/// The times of one kind of change, per pair of clocks, ascending.
pub fn changes(sweep: &Sweep, kind: Kind, left: &mut Vec<Left>) -> Vec<Change> {
    let mut at: BTreeMap<(Hertz, Hertz), Vec<f64>> = BTreeMap::new();
    for row in rows(sweep, kind, left) {
        if let (Some(from), Some(to), Some(time)) = (row.from, row.to, row.latency_s()) {
            at.entry((from, to)).or_default().push(time);
        }
    }
    at.into_iter().map(|((from_hz, to_hz), times)| Change { from_hz, to_hz, time: spread(&times) }).collect()
}

/// The times of all writes together; `None` where none was measured.
pub fn writes(sweep: &Sweep, left: &mut Vec<Left>) -> Option<Spread> {
    let times: Vec<f64> = rows(sweep, Kind::Write, left).iter().filter_map(|row| row.latency_s()).collect();
    (!times.is_empty()).then(|| spread(&times))
}

/// How whole frames vary about the fitted model. Only from sweeps that say `repeats=frames`: there, rows with the same
/// clocks and `repeat` are one pass through the network.
pub fn frames(sweep: &Sweep, model: &Model) -> Vec<FrameNoise> {
    if sweep.field("repeats") != Some("frames") {
        return Vec::new();
    }
    let networks = model.networks().into_iter();
    networks
        .flat_map(|network| {
            model.emc_clocks(network).into_iter().filter_map(move |emc| frame(sweep, model, network, emc))
        })
        .collect()
}

/// Per block, the measured and the predicted time of one pass through the network.
type Pass = Vec<Option<(f64, f64)>>;

fn frame(sweep: &Sweep, model: &Model, network: &str, emc: Option<Hertz>) -> Option<FrameNoise> {
    let blocks = model.blocks(network, emc);
    let mut passes: BTreeMap<(Hertz, u32), Pass> = BTreeMap::new();
    for row in &sweep.rows {
        let (Kind::Block, true, Some(clock), Some(time)) =
            (row.kind, row.rejected.is_empty(), row.gpu_freq, row.latency_s())
        else {
            continue;
        };
        let here = |series: &crate::model::Series| {
            series.block == row.block && series.size == row.size && (emc.is_none() || row.emc_freq == emc)
        };
        if row.model != network || row.samples.is_some_and(|samples| samples > 1) {
            continue;
        }
        if let Some(i) = blocks.iter().position(|block| here(block.series)) {
            let pass = passes.entry((clock, row.repeat)).or_insert_with(|| std::vec![None; blocks.len()]);
            pass[i] = Some((time, blocks[i].time_s(clock, row.size)));
        }
    }
    let whole: Vec<Vec<(f64, f64)>> =
        passes.into_values().filter_map(|pass| pass.into_iter().collect::<Option<Vec<_>>>()).collect();
    if whole.len() < 2 {
        return None;
    }
    let ratio = |pass: &Vec<(f64, f64)>| {
        pass.iter().map(|(time, _)| time).sum::<f64>() / pass.iter().map(|(_, predicted)| predicted).sum::<f64>()
    };
    let all = sorted(whole.iter().map(ratio));
    let deviations: Vec<Vec<f64>> =
        (0..blocks.len()).map(|i| whole.iter().map(|pass| pass[i].0 / pass[i].1).collect()).collect();
    let pairs = (0..blocks.len()).flat_map(|i| (0..i).map(move |j| (i, j)));
    let correlations: Vec<f64> = pairs.filter_map(|(i, j)| correlation(&deviations[i], &deviations[j])).collect();
    let ratios = match all.len() {
        n if n <= KEPT => all.clone(),
        _ => (1..=KEPT).map(|i| quantile(&all, i as f64 / KEPT as f64)).collect(),
    };
    Some(FrameNoise {
        model: network.into(),
        emc_freq_hz: emc,
        count: all.len(),
        correlation: (!correlations.is_empty()).then(|| mean(&correlations)),
        sd: sd(&all),
        ratios,
    })
}
