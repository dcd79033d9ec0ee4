//! From rows to series: repeats averaged, training clocks apart from those held out.

use std::string::{String, ToString};
use std::vec::Vec;

use super::{FitError, Options};
use crate::model::{Left, Point};
use crate::sample::{Kind, Row, Sweep};
use crate::stats::{mean, sd};
use crate::units::{Hertz, Nanos};
use crate::work::Size;

/// What a series is of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Name {
    pub device: String,
    pub model: String,
    pub block: String,
    pub size: Size,
    /// `None` where it is unknown or moves with the GPU's clock, and for a series over all of them.
    pub emc: Option<Hertz>,
    /// `None` where it is unknown, was the same throughout, or moved by itself.
    pub cpu: Option<Hertz>,
}

impl Name {
    /// For messages.
    pub fn text(&self) -> String {
        let mut text = std::format!("{} {}", self.model, self.block);
        if self.size != Size::default() {
            text.push_str(&std::format!(", size {}", self.size.0));
        }
        if let Some(emc) = self.emc {
            text.push_str(&std::format!(", EMC {emc}"));
        }
        if let Some(cpu) = self.cpu {
            text.push_str(&std::format!(", CPU {cpu}"));
        }
        text
    }
}

/// A series: the points that are fitted and the points that only the report looks at.
#[derive(Clone, Debug)]
pub struct Group {
    pub name: Name,
    pub cpu: Option<Hertz>,
    /// Its lowest and highest clock, where it moved by itself.
    pub cpu_moved: Option<(Hertz, Hertz)>,
    /// The EMC's and the CPU's clock are recorded, and the same in all rows: nothing but the GPU's clock moved.
    pub steady: bool,
    pub train: Vec<Point>,
    pub held: Vec<Point>,
    /// Slower than the clock explains, and yet measured so: in no fit.
    pub apart: Vec<Point>,
}

/// Groups the block rows of a sweep by (device, model, block, size, EMC clock), or over all EMC clocks where `joint`.
/// Points ascend by clock. What is left out is added to `left`.
pub fn groups(
    sweep: &Sweep,
    options: &Options,
    joint: bool,
    left: &mut Vec<Left>,
    warnings: &mut Vec<String>,
) -> Result<Vec<Group>, FitError> {
    let mut named: Vec<(Name, Vec<&Row>)> = Vec::new();
    for row in usable(sweep, options, left) {
        let name = Name {
            device: row.device.clone(),
            model: row.model.clone(),
            block: row.block.clone(),
            size: row.size,
            emc: if joint { None } else { row.emc_freq },
            cpu: None,
        };
        match named.iter_mut().find(|(known, _)| *known == name) {
            Some((_, rows)) => rows.push(row),
            None => named.push((name, std::vec![row])),
        }
    }
    if joint {
        // What the memory's clock does shows only where there are several.
        let several = |rows: &[&Row]| rows.iter().any(|row| row.emc_freq != rows[0].emc_freq);
        named.retain(|(_, rows)| rows.iter().all(|row| row.emc_freq.is_some()) && several(rows));
        if named.is_empty() {
            warnings.push("no block was measured at several EMC clocks: there is nothing to fit over them".into());
        }
    } else {
        super::emc::settle_moving(&mut named, left, warnings);
    }
    let named = named.into_iter().flat_map(|(name, rows)| per_cpu_clock(name, rows, left)).collect::<Vec<_>>();
    let groups = named.into_iter().map(|(name, rows)| group(name, &rows, options, joint, left));
    let mut groups: Vec<Group> = groups.collect::<Result<_, _>>()?;
    if !watched(sweep) {
        // Repeats in one go err together.
        for point in groups.iter_mut().flat_map(|group| group.train.iter_mut().chain(&mut group.held)) {
            (point.repeats, point.power_repeats) = (1, 1);
        }
    }
    Ok(groups)
}

/// A series for each CPU clock, where the CPU's clock was set: one repeat at one GPU clock was measured at several. A clock
/// that moves by itself has one per repeat.
fn per_cpu_clock<'a>(name: Name, rows: Vec<&'a Row>, left: &mut Vec<Left>) -> Vec<(Name, Vec<&'a Row>)> {
    let of = |row: &&Row| Some(((row.gpu_freq, row.emc_freq, row.repeat), row.cpu_freq?));
    let mut seen: Vec<_> = rows.iter().filter_map(of).collect();
    seen.sort_unstable();
    let was_set = seen.windows(2).any(|pair| pair[0].0 == pair[1].0 && pair[0].1 != pair[1].1);
    if !was_set {
        return std::vec![(name, rows)];
    }
    let mut by_clock: Vec<(Option<Hertz>, Vec<&Row>)> = Vec::new();
    for row in rows {
        match by_clock.iter_mut().find(|(cpu, _)| *cpu == row.cpu_freq) {
            Some((_, here)) => here.push(row),
            None => by_clock.push((row.cpu_freq, std::vec![row])),
        }
    }
    by_clock.sort_by_key(|(cpu, _)| *cpu);
    let several = |rows: &[&Row]| rows.iter().any(|row| row.gpu_freq != rows[0].gpu_freq);
    let (whole, single): (Vec<_>, Vec<_>) = by_clock.into_iter().partition(|(_, rows)| several(rows));
    if whole.is_empty() {
        return std::vec![(name, single.into_iter().flat_map(|(_, rows)| rows).collect())];
    }
    for (cpu, rows) in single {
        let clock = cpu.map_or_else(|| "not told".to_string(), |cpu| cpu.to_string());
        let why = std::format!("another CPU clock ({clock}), at which the block was measured at no other GPU clock");
        left.extend(rows.iter().map(|row| left_out(row, &why)));
    }
    whole.into_iter().map(|(cpu, rows)| (Name { cpu, ..name.clone() }, rows)).collect()
}

/// Whether the sweep came back to each clock in several passes, and watched that it was held.
pub fn watched(sweep: &Sweep) -> bool {
    sweep.field("passes").and_then(|passes| passes.parse().ok()).is_some_and(|passes: u32| passes > 1)
}

fn usable<'a>(sweep: &'a Sweep, options: &Options, left: &mut Vec<Left>) -> Vec<&'a Row> {
    let mut rows = Vec::new();
    for row in sweep.rows.iter().filter(|row| row.kind == Kind::Block) {
        if row.gpu_freq.zip(options.min_clock).is_some_and(|(clock, min)| clock < min) {
            continue;
        }
        // A row that calibration gave up on may be without a value; any other has one.
        if row.rejected.is_empty() && row.gpu_freq.is_some() && row.latency.is_some() {
            if !row.power_rejected.is_empty() {
                left.push(left_out(row, &row.power_rejected));
            }
            rows.push(row);
        } else {
            left.push(left_out(row, if row.rejected.is_empty() { "no clock or no time" } else { &row.rejected }));
        }
    }
    rows
}

/// A row that is not used, for the report.
pub fn left_out(row: &Row, why: &str) -> Left {
    let clock = row.gpu_freq.map(|clock| std::format!(" at {clock}")).unwrap_or_default();
    Left {
        line: row.line,
        what: std::format!("{} {}{clock}, repeat {}", row.model, row.block, row.repeat),
        why: why.to_string(),
    }
}

fn group(name: Name, rows: &[&Row], options: &Options, joint: bool, left: &mut Vec<Left>) -> Result<Group, FitError> {
    let mut clocks: Vec<(Hertz, Option<Hertz>)> =
        rows.iter().filter_map(|row| Some((row.gpu_freq?, row.emc_freq))).collect();
    clocks.sort_unstable();
    clocks.dedup();
    if clocks.len() < 2 {
        let clock = clocks.first().map_or(Hertz::ZERO, |(clock, _)| *clock);
        return Err(FitError::OneClock { what: name.text(), clock });
    }
    let is_train = training(&clocks, options, joint)?;
    let (train, held, apart) = (Vec::new(), Vec::new(), Vec::new());
    let mut group = Group { name, cpu: None, cpu_moved: None, steady: false, train, held, apart };
    for (at, in_training) in clocks.into_iter().zip(is_train) {
        let mut here: Vec<&Row> =
            rows.iter().copied().filter(|row| row.gpu_freq == Some(at.0) && row.emc_freq == at.1).collect();
        if in_training && !options.keep_outliers {
            odd_repeats(&mut here, left);
        }
        let point = point(at, &here, left);
        if in_training { group.train.push(point) } else { group.held.push(point) }
    }
    let cpus: Vec<f64> = rows.iter().filter_map(|row| row.cpu_freq).map(Hertz::as_f64).collect();
    let cpu = || rows.iter().filter_map(|row| row.cpu_freq);
    group.cpu_moved = cpu().min().zip(cpu().max()).filter(|(low, high)| low != high);
    group.cpu = (!cpus.is_empty()).then(|| Hertz::new(crate::stats::median(&cpus) as u64));
    let recorded = |row: &Row| row.emc_freq.zip(row.cpu_freq);
    group.steady = rows.iter().all(|row| recorded(row).is_some() && recorded(row) == recorded(rows[0]));
    Ok(group)
}

/// Which points are trained on: index floor(i (n-1)/(N-1) + 0.5) of the ascending list, or the points named.
fn training(clocks: &[(Hertz, Option<Hertz>)], options: &Options, joint: bool) -> Result<Vec<bool>, FitError> {
    if joint && !options.train_points.is_empty() {
        if let Some((gpu, emc)) = options.train_points.iter().find(|(gpu, emc)| !clocks.contains(&(*gpu, Some(*emc)))) {
            return Err(FitError::TrainPoint { gpu: *gpu, emc: *emc });
        }
        return Ok(clocks
            .iter()
            .map(|(gpu, emc)| emc.is_some_and(|emc| options.train_points.contains(&(*gpu, emc))))
            .collect());
    }
    let mut gpu: Vec<Hertz> = clocks.iter().map(|(gpu, _)| *gpu).collect();
    gpu.dedup();
    let Some(wanted) = options.train.filter(|wanted| *wanted < gpu.len()) else {
        return Ok(std::vec![true; clocks.len()]);
    };
    let chosen = spread(&gpu, wanted);
    Ok(clocks.iter().map(|(gpu, _)| chosen.contains(gpu)).collect())
}

/// So many of a list, evenly spread over it with both ends in; all where there are no more, or one is wanted.
pub fn spread<T: Copy>(all: &[T], wanted: usize) -> Vec<T> {
    if wanted >= all.len() || wanted < 2 {
        return all.to_vec();
    }
    // In whole numbers: floor((2 i (n-1) + (N-1)) / (2 (N-1))).
    let (last, spans) = (all.len() - 1, wanted - 1);
    (0..wanted).map(|i| all[(2 * i * last + spans) / (2 * spans)]).collect()
}

/// A repeat that takes a quarter longer than the others did is not noise of the block: the GPU was throttled, or
/// something else ran on it. One that takes as much less ran at another clock.
const ODD: f64 = 1.25;

/// Power of one repeat that is so far from the others' is a bad reading.
const ODD_POWER: f64 = 1.5;

fn odd_repeats(rows: &mut Vec<&Row>, left: &mut Vec<Left>) {
    if rows.len() < 3 {
        return;
    }
    let times: Vec<f64> = rows.iter().filter_map(|row| row.latency_s()).collect();
    let usual = crate::stats::median(&times);
    rows.retain(|row| {
        let ratio = row.latency_s().unwrap_or(usual) / usual;
        let (what, how) = if ratio > 1.0 { ("throttled or disturbed", "slower") } else { ("clock not held", "faster") };
        let is_odd = !(ODD.recip()..=ODD).contains(&ratio);
        if is_odd {
            let why = std::format!(
                "{what}: {:.0} % {how} than the median of its {} repeats",
                (ratio - 1.0).abs() * 100.0,
                times.len()
            );
            left.push(left_out(row, &why));
        }
        !is_odd
    });
}

/// Powers of a point's rows, without those of three or more that are far from the others'; their rows' times count.
fn powers(rows: &[&Row], left: &mut Vec<Left>) -> Vec<f64> {
    let mut powers: Vec<f64> = rows.iter().filter_map(|row| row.power_w()).collect();
    if powers.len() >= 3 {
        let usual = crate::stats::median(&powers);
        let is_odd = |power: f64| !(ODD_POWER.recip()..=ODD_POWER).contains(&(power / usual));
        for row in rows {
            if let Some(power) = row.power_w().filter(|power| is_odd(*power)) {
                let why =
                    std::format!("power left out: {power:.3} W, where its repeats have {usual:.3}; its time counts");
                left.push(left_out(row, &why));
            }
        }
        powers.retain(|power| !is_odd(*power));
    }
    powers
}

fn point(at: (Hertz, Option<Hertz>), rows: &[&Row], left: &mut Vec<Left>) -> Point {
    let times: Vec<f64> = rows.iter().filter_map(|row| row.latency_s()).collect();
    let inner: Vec<f64> = rows.iter().filter_map(|row| row.latency_sd).map(Nanos::as_secs_f64).map(|s| s * s).collect();
    let powers = powers(rows, left);
    Point {
        gpu_freq_hz: at.0,
        emc_freq_hz: at.1,
        time_s: mean(&times),
        // Within rows that average several executions, and between rows.
        time_sd_s: (mean(&inner) + sd(&times) * sd(&times)).sqrt(),
        power_w: (!powers.is_empty()).then(|| mean(&powers)),
        repeats: times.len() as u32,
        power_repeats: powers.len().max(1) as u32,
    }
}
