//! Points that no block can have produced at the clock they claim.
//!
//! Time over 1/f is convex and rises: every form is, and so is every sum of layers of any of them. What breaks that by
//! more than noise was measured at another clock than it says, or while the GPU was throttled.

use std::string::String;
use std::vec::Vec;

use super::group::Group;
use super::time::{self, Obs};
use crate::model::{Left, Point, TimeForm};
use crate::units::Hertz;

/// How far one point may be off: the largest run-to-run deviation measured on a TX2 is 2.1 %.
const NOISE: f64 = 0.021;

/// How far two points may break the rule.
const TOLERANCE: f64 = 2.5 * NOISE;

/// Leaves out the training points that break the rule, and says why.
pub fn reject(groups: &mut [Group], left: &mut Vec<Left>) {
    for group in &mut *groups {
        while let Some((at, why)) = throttled(&group.train) {
            left.push(left_out(group, &group.train[at], why));
            group.train.remove(at);
        }
    }
    let Some(highest) = not_held(groups) else { return };
    for group in groups {
        let (low, kept): (Vec<Point>, Vec<Point>) = group.train.iter().partition(|point| point.gpu_freq_hz <= highest);
        if kept.len() >= 2 {
            let why = "clock not held: most blocks ran faster than any block can at this clock";
            left.extend(low.iter().map(|point| left_out(group, point, why.into())));
            group.train = kept;
        }
    }
}

fn left_out(group: &Group, point: &Point, why: String) -> Left {
    Left { line: 0, what: std::format!("{} at {}", group.name.text(), point.gpu_freq_hz), why }
}

/// A point that is slower than one at a lower clock. Of the two, the one without which the others fit better is wrong.
fn throttled(points: &[Point]) -> Option<(usize, String)> {
    if points.len() < 4 {
        return None;
    }
    let slow = (1..points.len()).find(|&i| points[i].time_s > points[i - 1].time_s * (1.0 + TOLERANCE))?;
    let misfit = |without: usize| {
        let obs: Vec<Obs> = points
            .iter()
            .enumerate()
            .filter(|(i, _)| *i != without)
            .map(|(_, p)| Obs { x: p.gpu_freq_hz.as_f64() / 1e9, e: 1.0, t: p.time_s })
            .collect();
        let model = time::fit(TimeForm::SmoothRoofline, &obs);
        obs.iter().map(|o| (model.time_s(o.x, o.e) / o.t - 1.0).powi(2)).sum::<f64>()
    };
    let percent = (points[slow].time_s / points[slow - 1].time_s - 1.0) * 100.0;
    let (low, high) = (points[slow - 1].gpu_freq_hz, points[slow].gpu_freq_hz);
    Some(if misfit(slow) <= misfit(slow - 1) {
        (slow, std::format!("throttled: {percent:.0} % slower than at the lower clock {low}"))
    } else {
        (slow - 1, std::format!("clock not held: {percent:.0} % faster than at the higher clock {high}"))
    })
}

/// The highest clock at which most series are faster than the line through the next two clocks above it allows: the
/// board ran above what was asked there, and at every clock below it as well.
fn not_held(groups: &[Group]) -> Option<Hertz> {
    let mut clocks: Vec<Hertz> = groups.iter().flat_map(|group| &group.train).map(|point| point.gpu_freq_hz).collect();
    clocks.sort_unstable();
    clocks.dedup();
    clocks.into_iter().rev().find(|&clock| {
        let verdicts: Vec<bool> = groups.iter().filter_map(|group| too_fast(&group.train, clock)).collect();
        2 * verdicts.iter().filter(|fast| **fast).count() > verdicts.len()
    })
}

/// Whether a series' point at a clock lies below the line through the two points above it; `None` without all three.
fn too_fast(points: &[Point], clock: Hertz) -> Option<bool> {
    let at = points.iter().position(|point| point.gpu_freq_hz == clock)?;
    let [here, near, far] = points.get(at..at + 3)? else { return None };
    let u = |point: &Point| 1.0 / point.gpu_freq_hz.as_f64();
    // The line carries the noise of both its points on, the more the further it reaches.
    let reach = (u(here) - u(near)) / (u(near) - u(far));
    let least = near.time_s + reach * (near.time_s - far.time_s);
    Some(here.time_s < least * (1.0 - 2.0 * NOISE * (1.0 + reach)))
}
