//! Boards made of measurements: blocks take and draw what was measured on a real GPU, between the measured clocks by
//! straight lines over the logarithms. Nothing of the models is used, so whatever their forms cannot say is in here.
//!
//! What a sweep does not hold is made up and stands here: blocks' lengths (the network's, at the top clock), idle power,
//! settle times, cooling.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::sync::{Mutex, OnceLock, PoisonError};

use jetpace_tables::units::Hertz;
use jetpace_tables::work::{Network, Size};

use super::boards::{NAMES, Spec};
use super::noise::Profile;
use super::physics::{Cost, Costs, Energy, SLOW};
use super::thermal::Cooling;

/// Series with fewer clocks tell too little.
const LEAST_CLOCKS: usize = 4;
/// Where `rough` is on, one block and clock in so many is slower than at the clock below, by up to this fraction.
const ROUGH_EVERY: u64 = 12;
const ROUGH: f64 = 0.15;
/// A board is cooled for what it draws: at its hottest it stays this far above the ambient.
const WARMER_K: f64 = 40.0;

/// What is measured of one series: clock in hertz, time over that at the highest clock, watts.
type Curve = Vec<(f64, f64, f64)>;

/// Seconds and watts by clock, as a sweep has them.
type Points = BTreeMap<u64, (f64, f64)>;

/// A board made of a sweep.
#[derive(Debug)]
pub(super) struct Measured {
    pub spec: Spec,
    pub profile: Profile,
    curves: Vec<Curve>,
    draw: u64,
    rough: bool,
    longer: f64,
}

/// A description that no board can be made of.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "sim:{name}: {why}; a board of measurements is from=SWEEP with, behind commas, network=NAME, clocks=COUNT, \
     profile=calm or harsh, scatter=SD, slow=SHARE, rough=yes or no, draw=NUMBER, longer=SHARE; others are {}", NAMES.join(", ")
)]
pub struct UnknownBoard {
    /// What was asked for.
    pub(super) name: String,
    pub(super) why: String,
}

/// The board that a description makes, read once in a process.
pub(super) fn find(name: &str) -> Result<&'static Measured, UnknownBoard> {
    static KNOWN: OnceLock<Mutex<HashMap<String, &'static Measured>>> = OnceLock::new();
    let mut known = KNOWN.get_or_init(Mutex::default).lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(found) = known.get(name) {
        return Ok(found);
    }
    let made = Measured::read(name).map_err(|why| UnknownBoard { name: name.to_owned(), why })?;
    let made: &'static Measured = Box::leak(Box::new(made));
    known.insert(name.to_owned(), made);
    Ok(made)
}

impl Measured {
    fn read(name: &str) -> Result<Self, String> {
        let (mut path, mut network, mut clocks, mut draw, mut rough) = ("", None, None, 0, None);
        let (mut profile, mut scatter, mut slow, mut longer) = (Profile::HARSH, None, None, 0.0);
        for word in name.split(',') {
            let (key, value) = word.split_once('=').ok_or_else(|| format!("`{word}` is no KEY=VALUE"))?;
            let number = || value.parse::<f64>().ok().filter(|x| (0.0..=1.0).contains(x)).ok_or(value.to_owned());
            let bad = |value: String| format!("`{word}`: {value} is no number from 0 to 1");
            match (key, value) {
                ("from", _) => path = value,
                ("network", _) => network = Some(value),
                ("clocks", _) => {
                    let count = value.parse().ok().filter(|count| (2..=255).contains(count));
                    clocks = Some(count.ok_or_else(|| format!("`{word}`: 2 to 255 clocks"))?);
                }
                ("draw", _) => draw = value.parse().map_err(|_| format!("`{word}` is no number"))?,
                ("profile", "calm") => profile = Profile::CALM,
                ("profile", "harsh") => profile = Profile::HARSH,
                ("scatter", _) => scatter = Some(number().map_err(bad)?),
                ("slow", _) => slow = Some(number().map_err(bad)?),
                // As after another release: all blocks take this much longer at every clock.
                ("longer", _) => longer = number().map_err(bad)?,
                ("rough", "yes") => rough = Some(true),
                ("rough", "no") => rough = Some(false),
                _ => return Err(format!("`{word}` is not known")),
            }
        }
        let harsh = profile == Profile::HARSH;
        profile.settle_sd = scatter.unwrap_or(profile.settle_sd);
        profile.slow = slow.unwrap_or(profile.slow);
        let text = fs::read_to_string(path).map_err(|error| format!("{path}: {error}"))?;
        let curves = curves(&text, network)?;
        let hz = clock_list(&curves[0], clocks);
        let least_w = curves.iter().flatten().map(|point| point.2).fold(f64::INFINITY, f64::min);
        let energy = Energy {
            busy_base_w: 0.5 * least_w,
            idle_base_w: 0.5 * least_w,
            gated_w: 0.45 * least_w,
            clock_w: 0.4 * least_w,
            idle_clock_share: 0.5,
            leak_w_per_k: 0.0,
            ..Spec::LIKE.energy
        };
        let most_w = curves.iter().flatten().map(|point| point.2).fold(0.0, f64::max);
        let like = Spec::LIKE.cooling;
        let cooling = Cooling { kelvin_per_w: like.kelvin_per_w.min(WARMER_K / most_w), ..like };
        let khz: &'static [u64] = Vec::leak(hz.iter().map(|hz| (hz / 1e3).round() as u64).collect());
        let spec = Spec { name: "measured", clocks_khz: khz, energy, cooling, ..Spec::LIKE };
        Ok(Self { spec, profile, curves, draw, rough: rough.unwrap_or(harsh), longer })
    }

    /// Costs of a network's blocks: each takes its own time at the top clock, and from there on follows a series.
    pub fn costs(&self, network: &Network, size: Size, emc: f64) -> Costs {
        let clocks: Vec<f64> = self.spec.clocks().iter().map(|hz: &Hertz| hz.as_f64()).collect();
        let top = clocks.last().copied().unwrap_or(1.0);
        let mut cells = Vec::with_capacity(network.blocks.len() * clocks.len());
        for (i, block) in network.blocks.iter().enumerate() {
            let layers = block.layers.iter();
            let top_s: f64 = layers.map(|l| self.spec.speed.layer_s(l, f64::from(size.0), top, emc)).sum();
            let curve = &self.curves[(self.hash(i as u64, 0) * self.curves.len() as f64) as usize];
            let draws = 0.85 + 0.3 * self.hash(i as u64, 1);
            let mut below = f64::INFINITY;
            for (clock, &hz) in clocks.iter().enumerate() {
                let (mut ratio, watts) = at(curve, hz);
                let (next, _) = at(curve, hz * 1.05);
                // How far the time does not follow the clock: what takes bandwidth slows that part.
                let memory = (1.0 - (ratio / next).ln() / 1.05f64.ln()).clamp(0.0, 1.0);
                let drawn = self.hash(i as u64, 2 + clock as u64);
                if self.rough && clock > 0 && drawn * (ROUGH_EVERY as f64) < 1.0 {
                    ratio = below * (1.0 + ROUGH * drawn * ROUGH_EVERY as f64);
                }
                below = ratio;
                let (time_s, energy) = (top_s * ratio * (1.0 + self.longer), &self.spec.energy);
                let busy_w = (watts * draws - energy.busy_base_w - energy.clock_w(hz / top)).max(0.0);
                let slower_s = time_s * memory * (1.0 / SLOW - 1.0);
                cells.push(Cost { time_s, slower_s, flop_j: 0.0, byte_j: busy_w * time_s });
            }
        }
        Costs::of(clocks.len(), cells)
    }

    /// What the mean settle time to a clock is multiplied with: it depends on the target most.
    pub fn settle_scale(&self, to: usize) -> f64 {
        0.7 + 0.8 * self.hash(1 << 20, to as u64)
    }

    /// From 0 to 1, the same every time (splitmix64).
    fn hash(&self, a: u64, b: u64) -> f64 {
        let mut x = 0x9e37_79b9_7f4a_7c15u64.wrapping_mul(a + 1) ^ (b + 1).wrapping_mul(0xd134_2543_de82_ef95);
        x = x.wrapping_add(self.draw.wrapping_mul(0x94d0_49bb_1331_11eb));
        x = (x ^ x >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ x >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((x ^ x >> 31) >> 11) as f64 / (1u64 << 53) as f64
    }
}

/// The series of a sweep, of one network or of all, that have power and enough clocks; all over the same range.
fn curves(text: &str, network: Option<&str>) -> Result<Vec<Curve>, String> {
    let mut lines = text.lines().filter(|line| !line.starts_with('#'));
    let head: Vec<&str> = lines.next().unwrap_or_default().split(',').collect();
    let column = |name: &str| head.iter().position(|at| *at == name).ok_or_else(|| format!("no column {name}"));
    let [model, block, clock, time, power] =
        [column("model")?, column("block")?, column("gpu_freq_hz")?, column("latency_s")?, column("power_w")?];
    let cpu = column("cpu_freq_hz").ok();
    let mut series: BTreeMap<[String; 3], Points> = BTreeMap::new();
    for line in lines {
        let cells: Vec<&str> = line.split(',').collect();
        let cell = |at: usize| cells.get(at).copied().unwrap_or_default();
        let (Ok(hz), Ok(seconds), Ok(watts)) = (cell(clock).parse(), cell(time).parse(), cell(power).parse()) else {
            continue;
        };
        let key = [cell(model), cell(block), cpu.map_or("", cell)].map(str::to_owned);
        if network.is_none_or(|network| network == key[0]) {
            series.entry(key).or_default().insert(hz, (seconds, watts));
        }
    }
    series.retain(|_, points| points.len() >= LEAST_CLOCKS);
    let most = series.values().map(Points::len).max().ok_or("no series with power at four clocks or more")?;
    let all = series.into_values().filter(|points| points.len() == most);
    let relative = |points: Points| {
        let top_s = points.last_key_value().map_or(1.0, |(_, top)| top.0);
        points.into_iter().map(|(hz, (seconds, watts))| (hz as f64, seconds / top_s, watts)).collect()
    };
    Ok(all.map(relative).collect())
}

/// The measured clocks, or so many of them, or so many evenly between the lowest and the highest.
fn clock_list(curve: &Curve, count: Option<usize>) -> Vec<f64> {
    let all: Vec<f64> = curve.iter().map(|point| point.0).collect();
    let Some(count) = count.filter(|count| *count != all.len()) else { return all };
    let share = |i: usize| i as f64 / (count - 1) as f64;
    if count < all.len() {
        return (0..count).map(|i| all[(share(i) * (all.len() - 1) as f64).round() as usize]).collect();
    }
    (0..count).map(|i| all[0] + share(i) * (all[all.len() - 1] - all[0])).collect()
}

/// Time over the top clock's, and watts: straight lines over the logarithms, beyond the ends the last one.
fn at(curve: &Curve, hz: f64) -> (f64, f64) {
    let above = curve.partition_point(|point| point.0 < hz).clamp(1, curve.len() - 1);
    let (a, b) = (curve[above - 1], curve[above]);
    let share = (hz / a.0).ln() / (b.0 / a.0).ln();
    let between = |a: f64, b: f64| (a.ln() + share * (b / a).ln()).exp();
    (between(a.1, b.1), between(a.2, b.2))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SWEEP: &str = "device,model,block,gpu_freq_hz,latency_s,power_w\nx,n,a,100000000,0.4,2\nx,n,a,200000000,0.2,3\n\
                         x,n,a,300000000,0.15,4\nx,n,a,400000000,0.1,6\nx,n,b,100000000,0.4,\n";

    #[test]
    fn a_curve_is_what_was_measured_and_lies_between() {
        let curves = curves(SWEEP, Some("n")).unwrap();
        assert_eq!(curves.len(), 1);
        for (hz, ratio, watts) in [(1e8, 4.0, 2.0), (3e8, 1.5, 4.0), (4e8, 1.0, 6.0)] {
            let found = at(&curves[0], hz);
            assert!((found.0 - ratio).abs() < 1e-9 && (found.1 - watts).abs() < 1e-9, "{found:?}");
        }
        // Halfway in the logarithm between 100 and 200 MHz.
        let found = at(&curves[0], 1e8 * 2f64.sqrt());
        assert!((found.0 - 8f64.sqrt()).abs() < 1e-9 && (found.1 - 6f64.sqrt()).abs() < 1e-9, "{found:?}");
        assert_eq!(clock_list(&curves[0], Some(2)), [1e8, 4e8]);
        assert_eq!(clock_list(&curves[0], Some(7)).len(), 7);
    }

    #[test]
    fn what_makes_no_board_is_said() {
        for (name, why) in
            [("from=/nowhere", "/nowhere"), ("clocks=9", "No such file"), ("scatter=2", "0 to 1"), ("x", "KEY")]
        {
            let error = find(name).unwrap_err().to_string();
            assert!(error.contains(why) && error.contains("from=SWEEP"), "{error}");
        }
    }
}
