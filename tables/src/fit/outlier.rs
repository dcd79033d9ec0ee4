//! Points that no block can have produced at the clock they claim.
//!
//! A block gains at most what its clock gains, and loses nothing at a higher one: t(f1) / t(f2) lies between 1 and f2 / f1.
//! Of points that break this the largest set that does not is kept. Time over 1/f is convex as well: every form is, and so
//! is every sum of layers of any of them; where most blocks break that at one clock, the board ran above it there.
//!
//! Some blocks are slower at a clock than below it, whenever they are measured (up to 1.37 times, on AGX Xavier). Where a
//! sweep visited its clocks in several passes and watched that they were held, what is too slow is such a fact: no form
//! can say it, so it is in no fit, and plans take it as it was measured.

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

/// How far they may where the EMC's or the CPU's clock is not recorded, as these fall with the GPU's on some boards: 21 % at
/// the lowest clocks of a Xavier NX, and noise.
const UNKNOWN: f64 = 0.25;

/// Of fewer points the neighbours cannot say which is wrong.
const FEWEST: usize = 4;

/// Leaves out the training points that break the rules, and says why; what may be real is flagged and kept. `watched`: in
/// the sweep's several passes every clock was watched.
pub fn reject(groups: &mut [Group], watched: bool, left: &mut Vec<Left>, warnings: &mut Vec<String>) {
    let mut other = groups.to_vec();
    let mut ours = Vec::new();
    inconsistent(groups, watched, &mut ours);
    not_held(groups, &mut ours);
    if !ours.is_empty() {
        // A board that ran above its lowest clocks can look as if blocks were slowed at the clocks that were held, and the
        // reverse: the order that keeps more is right.
        let mut others = Vec::new();
        not_held(&mut other, &mut others);
        inconsistent(&mut other, watched, &mut others);
        if others.len() < ours.len() {
            groups.clone_from_slice(&other);
            ours = others;
        }
    }
    left.append(&mut ours);
    flag(groups, warnings);
    tell_apart(groups, warnings);
}

/// One line on what plans take as it was measured.
fn tell_apart(groups: &[Group], warnings: &mut Vec<String>) {
    let points = || groups.iter().flat_map(|group| group.apart.iter().map(move |point| (group, point)));
    let Some((group, point)) = points().next() else { return };
    let (count, blocks) = (points().count(), groups.iter().filter(|group| !group.apart.is_empty()).count());
    warnings.push(std::format!(
        "{count} points of {blocks} blocks are slower than their clock explains, in all passes, with the clock watched \
         (first {} at {}): in no fit, planned with as they were measured",
        group.name.text(),
        point.gpu_freq_hz
    ));
}

fn left_out(group: &Group, point: &Point, why: String) -> Left {
    Left { line: 0, what: std::format!("{} at {}", group.name.text(), point.gpu_freq_hz), why }
}

/// How much longer the first of two points takes than their clocks can explain, as a factor; below 1 it takes less.
fn gain(low: &Point, high: &Point) -> f64 {
    low.time_s / high.time_s * low.gpu_freq_hz.as_f64() / high.gpu_freq_hz.as_f64()
}

/// Whether one block can have produced both.
fn agree(group: &Group, low: &Point, high: &Point) -> bool {
    let most = if group.steady { TOLERANCE } else { UNKNOWN };
    gain(low, high) <= 1.0 + most && high.time_s <= low.time_s * (1.0 + TOLERANCE)
}

/// Leaves out what is not of the largest set in which neighbours agree.
fn inconsistent(groups: &mut [Group], watched: bool, left: &mut Vec<Left>) {
    for group in groups.iter_mut().filter(|group| group.train.len() >= FEWEST) {
        // Of two that contradict each other one is as good as the other by number: the better fit decides.
        let [early, late] = [false, true].map(|late| largest(group, late));
        let is_early = early != late && misfit(&group.train, &early) < misfit(&group.train, &late);
        let mut kept = if is_early { early } else { late };
        if watched {
            slow_out(group, &mut kept);
        }
        for i in (0..group.train.len()).filter(|i| !kept.contains(i)) {
            let (point, (is_slow, why)) = (group.train[i], why(group, &kept, i));
            if watched && is_slow { group.apart.push(point) } else { left.push(left_out(group, &point, why)) }
        }
        group.train = kept.iter().map(|i| group.train[*i]).collect();
    }
}

/// Of two points that contradict each other, one alone against one alone, the slow one goes: nothing runs faster than
/// the clock that was watched.
fn slow_out(group: &Group, kept: &mut Vec<usize>) {
    let points = &group.train;
    for i in 0..points.len() {
        let against = |there: &usize| !agree(group, &points[i.min(*there)], &points[i.max(*there)]);
        let others: Vec<usize> = kept.iter().copied().filter(against).collect();
        let ([other], false) = (others.as_slice(), kept.contains(&i)) else { continue };
        let (low, high) = (i.min(*other), i.max(*other));
        let slow = if gain(&points[low], &points[high]) > 1.0 { low } else { high };
        if slow == *other {
            kept.retain(|there| there != other);
            kept.push(i);
            kept.sort_unstable();
        }
    }
}

/// The largest set, by index, in which each agrees with the next; of several the one that takes later points, or earlier.
fn largest(group: &Group, late: bool) -> Vec<usize> {
    let points = &group.train;
    // The longest set that ends with each point, and the point before it there.
    let mut best: Vec<(usize, Option<usize>)> = Vec::new();
    let better = |count: usize, than: usize| if late { count >= than } else { count > than };
    for j in 0..points.len() {
        let mut found = (1, None);
        for i in (0..j).filter(|i| agree(group, &points[*i], &points[j])) {
            if better(best[i].0 + 1, found.0) || found.1.is_none() {
                found = (best[i].0 + 1, Some(i));
            }
        }
        best.push(found);
    }
    let mut end = 0;
    for j in 1..best.len() {
        if better(best[j].0, best[end].0) {
            end = j;
        }
    }
    let mut kept = Vec::new();
    let mut at = Some(end);
    while let Some(i) = at {
        kept.push(i);
        at = best[i].1;
    }
    kept.reverse();
    kept
}

fn misfit(points: &[Point], kept: &[usize]) -> f64 {
    let obs: Vec<Obs> =
        kept.iter().map(|i| Obs { x: points[*i].gpu_freq_hz.as_f64() / 1e9, e: 1.0, t: points[*i].time_s }).collect();
    let model = time::fit(TimeForm::SmoothRoofline, &obs);
    obs.iter().map(|o| (model.time_s(o.x, o.e) / o.t - 1.0).powi(2)).sum()
}

/// Why a point is not of the set, by the nearest of the set that it contradicts, and whether that is as it is too slow.
fn why(group: &Group, kept: &[usize], out: usize) -> (bool, String) {
    let points = &group.train;
    let here = &points[out];
    let mut near: Vec<usize> = kept.to_vec();
    near.sort_by_key(|i| i.abs_diff(out));
    for there in near.into_iter().map(|i| &points[i]) {
        let (low, high) = if here.gpu_freq_hz < there.gpu_freq_hz { (here, there) } else { (there, here) };
        if agree(group, low, high) {
            continue;
        }
        let (clock, is_low) = (there.gpu_freq_hz, here.gpu_freq_hz < there.gpu_freq_hz);
        let clocks = high.gpu_freq_hz.as_f64() / low.gpu_freq_hz.as_f64();
        let times = low.time_s / high.time_s;
        let percent = (high.time_s / low.time_s - 1.0) * 100.0;
        let why = match (times > clocks, is_low) {
            (true, true) => std::format!(
                "throttled: {times:.2} times as long as at {clock} is impossible, as that is {clocks:.2} times the clock; by \
                 its neighbours this one was not held"
            ),
            (true, false) => std::format!(
                "clock not held: {clock} took {times:.2} times as long, which is impossible, as this is {clocks:.2} times the \
                 clock; by its neighbours the board ran above this one"
            ),
            (false, false) => std::format!("throttled: {percent:.0} % slower than at the lower clock {clock}"),
            (false, true) => std::format!("clock not held: {percent:.0} % faster than at the higher clock {clock}"),
        };
        return ((times > clocks) == is_low, why);
    }
    (false, "does not go with its neighbours: measure it again".into())
}

/// Breaks of the rule that are kept, as something that is not recorded may explain them.
fn flag(groups: &[Group], warnings: &mut Vec<String>) {
    let mut found: Option<(usize, f64, String)> = None;
    for group in groups {
        let pairs = group.train.windows(2).map(|pair| (gain(&pair[0], &pair[1]), &pair[0], &pair[1]));
        let Some((most, low, high)) = pairs.max_by(|a, b| a.0.total_cmp(&b.0)).filter(|most| most.0 > 1.0 + TOLERANCE)
        else {
            continue;
        };
        let text = std::format!(
            "{} gains {:.0} % more from {} to {} than the clock",
            group.name.text(),
            (most - 1.0) * 100.0,
            low.gpu_freq_hz,
            high.gpu_freq_hz
        );
        found = Some(match found {
            Some((count, worst, said)) if worst >= most => (count + 1, worst, said),
            Some((count, ..)) => (count + 1, most, text),
            None => (1, most, text),
        });
    }
    if let Some((count, _, text)) = found {
        let more =
            if count > 1 { std::format!(", and {} series more gain too much", count - 1) } else { String::new() };
        warnings.push(std::format!(
            "{text}{more}: possible only where the EMC's or CPU's clock rose as well, or the lower clock was not held; kept"
        ));
    }
}

/// Leaves out the highest clock at which most series are faster than the line through the next two clocks above it allows,
/// and all below: the board ran above what was asked there.
fn not_held(groups: &mut [Group], left: &mut Vec<Left>) {
    let mut clocks: Vec<Hertz> = groups.iter().flat_map(|group| &group.train).map(|point| point.gpu_freq_hz).collect();
    clocks.sort_unstable();
    clocks.dedup();
    let highest = clocks.into_iter().rev().find(|&clock| {
        let verdicts: Vec<bool> = groups.iter().filter_map(|group| too_fast(&group.train, clock)).collect();
        2 * verdicts.iter().filter(|fast| **fast).count() > verdicts.len()
    });
    let Some(highest) = highest else { return };
    for group in groups {
        let (low, kept): (Vec<Point>, Vec<Point>) = group.train.iter().partition(|point| point.gpu_freq_hz <= highest);
        if kept.len() >= 2 {
            let why = "clock not held: most blocks ran faster than any block can at this clock";
            left.extend(low.iter().map(|point| left_out(group, point, why.into())));
            group.train = kept;
        }
    }
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
