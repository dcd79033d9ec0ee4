//! Blocks measured at several sizes: w, m, c and the charge per execution as affine functions of the size.

use std::vec;
use std::vec::Vec;

use super::group::Group;
use super::least::non_negative;
use super::marquardt::descend;
use super::power::Obs as PowerObs;
use super::time::{self, Obs};
use crate::model::{SizedBlock, SizedPower, SizedTime, TimeForm, TimeModel, Voltage};
use crate::stats::mean;
use crate::work::Size;

/// Fits every block that was measured at two sizes or more.
pub fn fit(groups: &[Group], f_ref_hz: f64, voltage: &Voltage) -> Vec<SizedBlock> {
    let mut blocks: Vec<SizedBlock> = Vec::new();
    // Where the CPU's clock was set, at the highest, as blocks are looked up.
    let cpu = groups.iter().map(|group| group.name.cpu).max().flatten();
    for group in groups.iter().filter(|group| group.name.cpu == cpu) {
        let name = &group.name;
        let same = |other: &&Group| {
            let other = &other.name;
            (&other.device, &other.model, &other.block, other.emc, other.cpu)
                == (&name.device, &name.model, &name.block, name.emc, name.cpu)
        };
        let done = blocks.iter().any(|block| {
            (&block.device, &block.model, &block.block, block.emc_freq_hz)
                == (&name.device, &name.model, &name.block, name.emc)
        });
        let mut mine: Vec<&Group> = groups.iter().filter(same).collect();
        if done || mine.len() < 2 {
            continue;
        }
        mine.sort_by_key(|group| group.name.size);
        let time = time_of(&mine, f_ref_hz);
        let power = power_of(&mine, f_ref_hz, &time, voltage);
        let errors: Vec<f64> =
            points(&mine, f_ref_hz).map(|(size, o, _)| (time.time_s(o.x, size) / o.t - 1.0).abs()).collect();
        blocks.push(SizedBlock {
            device: name.device.clone(),
            model: name.model.clone(),
            block: name.block.clone(),
            emc_freq_hz: name.emc,
            sizes: mine.iter().map(|group| group.name.size).collect(),
            time,
            power,
            mape_fit: mean(&errors),
        });
    }
    blocks
}

fn points<'a>(mine: &'a [&'a Group], f_ref_hz: f64) -> impl Iterator<Item = (Size, Obs, Option<f64>)> + 'a {
    mine.iter().flat_map(move |group| {
        group.train.iter().map(move |point| {
            let o = Obs { x: point.gpu_freq_hz.as_f64() / f_ref_hz, e: 1.0, t: point.time_s };
            (group.name.size, o, point.power_w)
        })
    })
}

/// All of it together, from three starts: lines through each size's own parameters, a block whose time does not depend
/// on the size, and one whose time is in proportion to it.
fn time_of(mine: &[&Group], f_ref_hz: f64) -> SizedTime {
    let fitted = |all: &[Obs]| match time::fit(TimeForm::SmoothRoofline, all) {
        TimeModel::SmoothRoofline { w_s, m_s, c_s, .. } => [w_s, m_s, c_s],
        _ => [0.0; 3],
    };
    let mut single: Vec<(f64, [f64; 3])> = Vec::new();
    for group in mine {
        let own: Vec<Obs> = points(&[*group], f_ref_hz).map(|(_, o, _)| o).collect();
        single.push((f64::from(group.name.size.0), fitted(&own)));
    }
    let line = |i: usize| {
        // Relative where the parameter is there at all.
        let rows = single.iter().filter(|(_, p)| p[i] > 0.0).map(|(size, p)| [1.0 / p[i], size / p[i]]);
        let [at_zero, per_unit, ..] = non_negative(rows).coefficients;
        [at_zero, per_unit]
    };
    let all: Vec<(f64, Obs)> = points(mine, f_ref_hz).map(|(size, o, _)| (f64::from(size.0), o)).collect();
    let [w, m, c] = fitted(&all.iter().map(|(_, o)| *o).collect::<Vec<_>>());
    let per_unit: Vec<Obs> = all.iter().map(|(size, o)| Obs { t: o.t / size, ..*o }).collect();
    let [w1, m1, c1] = fitted(&per_unit);
    let starts = [[line(0), line(1), line(2)].concat(), vec![w, 0.0, m, 0.0, c, 0.0], vec![0.0, w1, 0.0, m1, 0.0, c1]];

    let longest = all.iter().map(|(_, o)| o.t).fold(0.0, f64::max);
    let bounds = [(0.0, longest); 6];
    // A parameter that starts at 0 has no slope to leave it by.
    let floor = 1e-4 * longest / all.iter().map(|(size, _)| *size).fold(1.0, f64::max);
    let mut best = ([0.0; 6], f64::INFINITY);
    for start in starts {
        let start = core::array::from_fn(|i| start[i].max(floor));
        let found = descend(start, &bounds, |p, out| {
            let model = sized(p);
            out.extend(all.iter().map(|(size, o)| model.time_s(o.x, Size(*size as u32)) / o.t - 1.0));
        });
        if found.1 < best.1 {
            best = found;
        }
    }
    sized(&best.0)
}

fn sized(p: &[f64; 6]) -> SizedTime {
    SizedTime { w_s: [p[0], p[1]], m_s: [p[2], p[3]], c_s: [p[4], p[5]], q: time::Q_FIXED }
}

fn power_of(mine: &[&Group], f_ref_hz: f64, time: &SizedTime, voltage: &Voltage) -> Option<SizedPower> {
    let all: Vec<(f64, PowerObs)> = points(mine, f_ref_hz)
        .filter_map(|(size, o, p)| Some((f64::from(size.0), PowerObs { x: o.x, t: time.time_s(o.x, size), p: p? })))
        .collect();
    if all.len() < 4 {
        return None;
    }
    let [p0_w, k_w, e0_j, e1_j] = non_negative(all.iter().map(|(size, o)| {
        let v = voltage.at(o.x);
        let rate = 1.0 / o.t / o.p;
        [1.0 / o.p, o.x * v * v / o.p, rate, size * rate]
    }))
    .coefficients;
    Some(SizedPower { p0_w, k_w, e_j: [e0_j, e1_j] })
}
