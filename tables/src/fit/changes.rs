//! The rows that are not blocks: idle power, settle, stall and write times.

use std::collections::BTreeMap;
use std::vec::Vec;

use super::group::left_out;
use crate::model::{ChangeTime, Idle, Left};
use crate::sample::{Kind, RAILGATED, Row, Sweep};
use crate::stats::{Spread, mean, spread};
use crate::units::Hertz;

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
pub fn changes(sweep: &Sweep, kind: Kind, left: &mut Vec<Left>) -> Vec<ChangeTime> {
    let mut at: BTreeMap<(Hertz, Hertz), Vec<f64>> = BTreeMap::new();
    for row in rows(sweep, kind, left) {
        if let (Some(from), Some(to), Some(time)) = (row.from, row.to, row.latency_s()) {
            at.entry((from, to)).or_default().push(time);
        }
    }
    at.into_iter().map(|((from_hz, to_hz), times)| ChangeTime { from_hz, to_hz, time: spread(&times) }).collect()
}

/// The times of all writes together; `None` where none was measured.
pub fn writes(sweep: &Sweep, left: &mut Vec<Left>) -> Option<Spread> {
    let times: Vec<f64> = rows(sweep, Kind::Write, left).iter().filter_map(|row| row.latency_s()).collect();
    (!times.is_empty()).then(|| spread(&times))
}
