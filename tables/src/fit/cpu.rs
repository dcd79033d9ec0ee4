//! GPU x CPU: one form over all clocks of both, where the CPU's clock was set.

use std::vec::Vec;

use super::FitError;
use super::marquardt::descend;
use crate::linear::{cholesky, forward};
use crate::math;
use crate::model::{CpuJoint, CpuPoint, CpuProcess, CpuTime};
use crate::sample::{Kind, Row, Sweep};
use crate::stats::mean;
use crate::units::Hertz;

/// How sharply the slowest side wins: as in `smooth-roofline`.
const Q: f64 = 4.0;

/// What the form leaves over on an AGX Orin.
const USUAL: CpuProcess = CpuProcess { sd: 0.03, gpu_length: 0.3, cpu_length: 0.6, noise: 0.005 };

/// Fits every block that was measured at several clocks of GPU and CPU, on the points named, all where none is. Rows
/// without either clock do not count.
pub fn joint(sweep: &Sweep, train: &[(Hertz, Hertz)]) -> Result<Vec<CpuJoint>, FitError> {
    let mut blocks: Vec<(&Row, Vec<CpuPoint>)> = Vec::new();
    let usable = |row: &&Row| row.kind == Kind::Block && row.rejected.is_empty();
    for row in sweep.rows.iter().filter(usable) {
        let (Some(gpu_freq_hz), Some(cpu_freq_hz), Some(time_s)) = (row.gpu_freq, row.cpu_freq, row.latency_s()) else {
            continue;
        };
        let point = CpuPoint { gpu_freq_hz, cpu_freq_hz, time_s };
        let same = |a: &Row| {
            (&a.device, &a.model, &a.block, a.size, a.emc_freq)
                == (&row.device, &row.model, &row.block, row.size, row.emc_freq)
        };
        match blocks.iter_mut().find(|(first, _)| same(first)) {
            Some((_, points)) => points.push(point),
            None => blocks.push((row, std::vec![point])),
        }
    }
    for (_, points) in &mut blocks {
        *points = means(points);
    }
    let several = |points: &[CpuPoint]| {
        points.iter().any(|p| p.gpu_freq_hz != points[0].gpu_freq_hz)
            && points.iter().any(|p| p.cpu_freq_hz != points[0].cpu_freq_hz)
    };
    blocks.retain(|(_, points)| several(points));
    for &(gpu, cpu) in train {
        let measured =
            |(_, points): &(&Row, Vec<CpuPoint>)| points.iter().any(|p| (p.gpu_freq_hz, p.cpu_freq_hz) == (gpu, cpu));
        if !blocks.iter().any(measured) {
            return Err(FitError::TrainCpuPoint { gpu, cpu });
        }
    }
    let chosen = |p: &CpuPoint| train.is_empty() || train.contains(&(p.gpu_freq_hz, p.cpu_freq_hz));
    Ok(blocks
        .into_iter()
        .filter_map(|(row, points)| {
            let (train, held): (Vec<CpuPoint>, Vec<CpuPoint>) = points.into_iter().partition(chosen);
            (train.len() > 1).then(|| one(row, train, &held))
        })
        .collect())
}

/// Repeats averaged, ascending by both clocks.
fn means(points: &[CpuPoint]) -> Vec<CpuPoint> {
    let mut clocks: Vec<(Hertz, Hertz)> = points.iter().map(|p| (p.gpu_freq_hz, p.cpu_freq_hz)).collect();
    clocks.sort_unstable();
    clocks.dedup();
    let at = |(gpu_freq_hz, cpu_freq_hz)| {
        let here = points.iter().filter(|p| (p.gpu_freq_hz, p.cpu_freq_hz) == (gpu_freq_hz, cpu_freq_hz));
        let times: Vec<f64> = here.map(|p| p.time_s).collect();
        CpuPoint { gpu_freq_hz, cpu_freq_hz, time_s: mean(&times) }
    };
    clocks.into_iter().map(at).collect()
}

fn one(row: &Row, train: Vec<CpuPoint>, held: &[CpuPoint]) -> CpuJoint {
    let all = || train.iter().chain(held);
    let mut joint = CpuJoint {
        device: row.device.clone(),
        model: row.model.clone(),
        block: row.block.clone(),
        size: row.size,
        emc_freq_hz: row.emc_freq,
        gpu_ref_hz: all().map(|p| p.gpu_freq_hz).max().unwrap_or(Hertz::ZERO),
        cpu_ref_hz: all().map(|p| p.cpu_freq_hz).max().unwrap_or(Hertz::ZERO),
        time: CpuTime { w_s: 0.0, h_s: 0.0, m_s: 0.0, c_s: 0.0, q: Q },
        process: USUAL,
        points: train,
        mape_fit: 0.0,
        mape_heldout: None,
        worst_heldout: None,
    };
    let relative: Vec<(f64, f64, f64)> = joint
        .points
        .iter()
        .map(|p| {
            (
                p.gpu_freq_hz.as_f64() / joint.gpu_ref_hz.as_f64(),
                p.cpu_freq_hz.as_f64() / joint.cpu_ref_hz.as_f64(),
                p.time_s,
            )
        })
        .collect();
    joint.time = form(&relative);
    joint.process = process(&joint.time, &relative);
    let predictor = joint.predictor();
    let errors = |points: &[CpuPoint]| -> Vec<f64> {
        points.iter().map(|p| (predictor.time_s(p.gpu_freq_hz, p.cpu_freq_hz) / p.time_s - 1.0).abs()).collect()
    };
    let (fit, out) = (errors(&joint.points), errors(held));
    joint.mape_fit = mean(&fit);
    joint.mape_heldout = (!out.is_empty()).then(|| mean(&out));
    joint.worst_heldout = out.into_iter().max_by(f64::total_cmp);
    joint
}

/// The form of least squared relative error: Levenberg-Marquardt in the logarithms of its parameters, from each side
/// leading in turn.
fn form(points: &[(f64, f64, f64)]) -> CpuTime {
    let least = points.iter().map(|(_, _, t)| *t).fold(f64::INFINITY, f64::min);
    let bounds = [(math::ln(least * 1e-5), math::ln(least * 4.0)); 4];
    let model = |p: &[f64; 4]| {
        let [w_s, h_s, m_s, c_s] = p.map(math::exp);
        CpuTime { w_s, h_s, m_s, c_s, q: Q }
    };
    let mut best = ([0.0; 4], f64::INFINITY);
    for shares in [[0.9, 0.5, 0.3, 0.1], [0.5, 0.9, 0.3, 0.1], [0.7, 0.7, 0.1, 0.3], [0.3, 0.3, 0.7, 0.1]] {
        let start = shares.map(|share| math::ln(share * least));
        let found = descend(start, &bounds, |p, out| {
            let time = model(p);
            out.extend(points.iter().map(|(x, y, t)| time.time_s(*x, *y) / t - 1.0));
        });
        if found.1 < best.1 {
            best = found;
        }
    }
    model(&best.0)
}

/// Of a grid, the process under which the residuals are likeliest, with the usual one as its prior, each parameter to
/// within a factor of 1.6 (one standard deviation).
fn process(time: &CpuTime, points: &[(f64, f64, f64)]) -> CpuProcess {
    const SPREAD: f64 = 0.5;
    let places: Vec<(f64, f64)> = points.iter().map(|(x, y, _)| (math::ln(*x), math::ln(*y))).collect();
    let residuals: Vec<f64> =
        points.iter().map(|(x, y, t)| math::ln(t / time.time_s(*x, *y).max(f64::MIN_POSITIVE))).collect();
    let score = |tried: &CpuProcess| {
        let far = |a: f64, b: f64| -0.5 * (math::ln(a / b) / SPREAD).powi(2);
        let believed = far(tried.sd, USUAL.sd)
            + far(tried.gpu_length, USUAL.gpu_length)
            + far(tried.cpu_length, USUAL.cpu_length)
            + far(tried.noise, USUAL.noise);
        let Some(factor) = cholesky(&crate::model::covariances(tried, &places)) else { return f64::NEG_INFINITY };
        let squares: f64 = forward(&factor, &residuals).iter().map(|y| y * y).sum();
        let volume: f64 = factor.iter().enumerate().map(|(i, row)| math::ln(row[i])).sum();
        believed - 0.5 * squares - volume
    };
    let mut best = (USUAL, score(&USUAL));
    for sd in [0.25, 0.5, 1.0, 2.0, 4.0] {
        for (gpu, cpu) in [(0.5, 0.5), (0.5, 1.0), (1.0, 0.5), (1.0, 1.0), (1.0, 2.0), (2.0, 1.0), (2.0, 2.0)] {
            for noise in [0.25, 0.5, 1.0, 2.0, 4.0] {
                let tried = CpuProcess {
                    sd: USUAL.sd * sd,
                    gpu_length: USUAL.gpu_length * gpu,
                    cpu_length: USUAL.cpu_length * cpu,
                    noise: USUAL.noise * noise,
                };
                let found = score(&tried);
                if found > best.1 {
                    best = (tried, found);
                }
            }
        }
    }
    best.0
}
