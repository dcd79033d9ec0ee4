//! The setting of the paper's local case: no deadline, nothing between frames, and each model takes the clock at which
//! it expects the least energy. The paper (arXiv 2502.06295) reports at least 66 % less time and 69 % less energy than
//! with the CPU's model; what comes out here is set beside that, and nothing is tuned towards it.

use std::fmt::Write as _;

use jetpace_tables::model::{BlockModel, Point, PowerForm, TimeForm};
use jetpace_tables::units::Hertz;
use serde::Serialize;

use super::measured::POLICIES;

/// What the paper reports.
const TIME_SAVED: f64 = 0.66;
const ENERGY_SAVED: f64 = 0.69;

/// What is chosen a clock for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Unit {
    /// The network.
    Network,
    /// Each block by itself, as if changing clocks cost nothing.
    Block,
}

/// Blocks that run one behind the other: what is believed of them and what is true.
#[derive(Debug)]
pub struct Work<'a> {
    /// What the truth is: `measured data` or `virtual`.
    pub evidence: &'a str,
    /// The machine.
    pub device: &'a str,
    /// The network.
    pub network: &'a str,
    /// Each block's model, and its true time and power at every clock; the clocks are the same for all.
    pub blocks: Vec<(BlockModel<'a>, &'a [Point])>,
}

/// What a choice of clocks comes to.
#[derive(Clone, Debug, Serialize)]
struct Choice {
    /// One per network, or one per block.
    clocks_hz: Vec<Hertz>,
    time_s: f64,
    energy_j: f64,
}

/// The two models' choices on one network.
#[derive(Clone, Debug, Serialize)]
pub struct Setting {
    evidence: String,
    device: String,
    network: String,
    unit: Unit,
    time_form: TimeForm,
    power_form: PowerForm,
    /// The forms that plan.
    default: bool,
    cpu_dvfs: Choice,
    gpu: Choice,
    /// Time that the GPU's model saves over the CPU's, as a fraction.
    time_saved: f64,
    /// Energy, in the same way.
    energy_saved: f64,
}

/// What the paper reports, and what came out.
#[derive(Debug, Serialize)]
pub struct Paper {
    time_saved_at_least: f64,
    energy_saved_at_least: f64,
    /// The position of the setting that comes closest.
    closest: Option<usize>,
    settings: Vec<Setting>,
}

impl Paper {
    /// Sets the settings beside the paper's figures.
    pub fn new(settings: Vec<Setting>) -> Self {
        let closest = (0..settings.len()).min_by(|a, b| settings[*a].distance().total_cmp(&settings[*b].distance()));
        Self { time_saved_at_least: TIME_SAVED, energy_saved_at_least: ENERGY_SAVED, closest, settings }
    }
}

impl Setting {
    /// How far from the paper's figures: the larger of the two differences.
    fn distance(&self) -> f64 {
        (self.time_saved - TIME_SAVED).abs().max((self.energy_saved - ENERGY_SAVED).abs())
    }
}

impl Work<'_> {
    /// Every pair of GPU forms and every unit against `cpu-dvfs` with `cubic`.
    pub fn settings(&self) -> Vec<Setting> {
        let [(cpu_time, cpu_power), others @ ..] = POLICIES;
        let units: &[Unit] = if self.blocks.len() > 1 { &[Unit::Network, Unit::Block] } else { &[Unit::Network] };
        let mut settings = Vec::new();
        for &unit in units {
            let Some(cpu_dvfs) = self.choose(unit, Some((cpu_time, cpu_power))) else { continue };
            for forms in others.map(Some).into_iter().chain([None]) {
                let Some((gpu, (time_form, power_form))) = self.choose(unit, forms).zip(forms.or(self.defaults()))
                else {
                    continue;
                };
                settings.push(Setting {
                    evidence: self.evidence.to_owned(),
                    device: self.device.to_owned(),
                    network: self.network.to_owned(),
                    unit,
                    time_form,
                    power_form,
                    default: forms.is_none(),
                    time_saved: 1.0 - gpu.time_s / cpu_dvfs.time_s,
                    energy_saved: 1.0 - gpu.energy_j / cpu_dvfs.energy_j,
                    cpu_dvfs: cpu_dvfs.clone(),
                    gpu,
                });
            }
        }
        settings
    }

    /// The forms that plan; of several blocks the first one's.
    fn defaults(&self) -> Option<(TimeForm, PowerForm)> {
        let series = self.blocks.first()?.0.series;
        Some((series.time_fit(None)?.model.form(), series.power_fit(None)?.model.form()))
    }

    /// The clock of least energy by some forms, judged by the truth.
    fn choose(&self, unit: Unit, forms: Option<(TimeForm, PowerForm)>) -> Option<Choice> {
        let believed = |(block, truth): &(BlockModel<'_>, &[Point])| -> Option<Vec<f64>> {
            let block = forms.map_or_else(|| Some(block.clone()), |(time, power)| block.with_forms(time, power))?;
            let size = block.series.size;
            let energy = |clock| Some(block.power_w(clock, size)? * block.time_s(clock, size));
            truth.iter().map(|point| energy(point.gpu_freq_hz)).collect()
        };
        let believed: Vec<Vec<f64>> = self.blocks.iter().map(believed).collect::<Option<_>>()?;
        let clocks = believed.first()?.len();
        let least = |energy: &dyn Fn(usize) -> f64| (0..clocks).min_by(|a, b| energy(*a).total_cmp(&energy(*b)));
        let chosen: Vec<usize> = match unit {
            Unit::Network => {
                let clock = least(&|clock| believed.iter().map(|block| block[clock]).sum())?;
                vec![clock; self.blocks.len()]
            }
            Unit::Block => believed.iter().map(|block| least(&|clock| block[clock])).collect::<Option<_>>()?,
        };
        let points = || self.blocks.iter().zip(&chosen).map(|((_, truth), clock)| &truth[*clock]);
        let named = if unit == Unit::Network { 1 } else { self.blocks.len() };
        Some(Choice {
            clocks_hz: points().take(named).map(|point| point.gpu_freq_hz).collect(),
            time_s: points().map(|point| point.time_s).sum(),
            energy_j: points().map(|point| point.time_s * point.power_w.unwrap_or(0.0)).sum(),
        })
    }
}

/// The table for people.
pub fn text(paper: &Paper) -> String {
    let mut text = format!(
        "The paper's setting: no deadline, the clock of least busy energy by each model; time and energy against \
         cpu-dvfs + cubic\n(the paper reports at least {:.0} % less time and {:.0} % less energy)\n\n",
        100.0 * TIME_SAVED,
        100.0 * ENERGY_SAVED
    );
    for (at, s) in paper.settings.iter().enumerate() {
        let line = format!(
            "{:<14} {:<14} {:<10} a clock per {:<8} {:<34} {:>7.1} % time {:>7.1} % energy{}",
            s.evidence,
            s.device,
            s.network,
            if s.unit == Unit::Network { "network" } else { "block" },
            format!("{} + {}{}", s.time_form, s.power_form, if s.default { ", default" } else { "" }),
            -100.0 * s.time_saved,
            -100.0 * s.energy_saved,
            if paper.closest == Some(at) { "   <- closest to the paper" } else { "" },
        );
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{line}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use jetpace_tables::fit::{Options, fit};

    /// Two blocks, one bound by the clock and one by the memory, as a published sweep.
    fn sweep() -> jetpace_tables::sample::Sweep {
        let mut text = "device,model,block,gpu_freq_hz,emc_freq_hz,latency_s,power_w,energy_j\n".to_owned();
        for (block, w, m) in [("compute", 0.010, 0.001), ("memory", 0.001, 0.010)] {
            for step in 1..=10 {
                let x = f64::from(step) / 10.0;
                let time = ((w / x).powi(4) + f64::powi(m, 4)).powf(0.25);
                let power = 4.0 + 6.0 * x * (1.0 + (x - 0.59).max(0.0)).powi(2);
                text += &format!("d,n,{block},{},1866000000,{time:.9},{power:.9},\n", step * 100_000_000);
            }
        }
        crate::files::sweep::parse(text.as_bytes(), std::path::Path::new("made.csv")).unwrap()
    }

    #[test]
    fn the_cpus_model_takes_the_lowest_clock_and_the_gpus_saves() {
        let model = fit(&sweep(), &Options::default()).unwrap();
        let blocks = model.blocks("n", model.emc_clocks("n")[0]);
        let work = Work {
            evidence: "made",
            device: "d",
            network: "n",
            blocks: blocks.iter().map(|block| (block.clone(), block.series.points.as_slice())).collect(),
        };
        let settings = work.settings();
        assert_eq!(settings.len(), 8, "{settings:?}");
        for setting in &settings {
            assert!(setting.cpu_dvfs.clocks_hz.iter().all(|clock| clock.get() == 100_000_000), "{setting:?}");
            assert!(setting.time_saved > 0.0 && setting.energy_saved > 0.0, "{setting:?}");
        }
        let default = |unit| settings.iter().find(|s| s.default && s.unit == unit).unwrap();
        let (network, block) = (default(Unit::Network), default(Unit::Block));
        // Left alone, the block that waits for the memory stays lower than the one that computes.
        assert!(block.gpu.clocks_hz[1] < block.gpu.clocks_hz[0], "{block:?}");
        assert!(block.gpu.energy_j <= network.gpu.energy_j);
    }

    #[test]
    fn the_closest_setting_is_the_one_whose_worse_figure_is_nearest() {
        let model = fit(&sweep(), &Options::default()).unwrap();
        let blocks = model.blocks("n", model.emc_clocks("n")[0]);
        let blocks = blocks.iter().map(|block| (block.clone(), block.series.points.as_slice())).collect();
        let some = Work { evidence: "made", device: "d", network: "n", blocks }.settings();
        let with = |time_saved, energy_saved| Setting { time_saved, energy_saved, ..some[0].clone() };
        assert_eq!(Paper::new(vec![with(0.66, 0.40), with(0.80, 0.70), with(0.1, 0.1)]).closest, Some(1));
        assert_eq!(Paper::new(Vec::new()).closest, None);
    }
}
