//! Questions that planning and reports ask of a model.

use std::vec::Vec;

use super::document::{ChangeTime, Model, PowerFit, Series, SizedBlock, SizedPower, SizedTime, TimeFit};
use super::form::{PowerForm, PowerModel, TimeForm, TimeModel, Voltage, smooth_max};
use crate::math;
use crate::units::Hertz;
use crate::work::Size;

impl Model {
    /// The networks, in the order of the sweep.
    pub fn networks(&self) -> Vec<&str> {
        let mut names: Vec<&str> = Vec::new();
        for series in &self.series {
            if !names.contains(&series.model.as_str()) {
                names.push(&series.model);
            }
        }
        names
    }

    /// The EMC clocks at which a network was measured, ascending; one `None` where they are unknown.
    pub fn emc_clocks(&self, network: &str) -> Vec<Option<Hertz>> {
        let of_network = self.series.iter().filter(|series| series.model == network && !series.is_joint());
        let mut clocks: Vec<_> = of_network.map(|series| series.emc_freq_hz).collect();
        clocks.sort_unstable();
        clocks.dedup();
        clocks
    }

    /// A network's blocks at one EMC clock, in the order in which they run.
    pub fn blocks(&self, network: &str, emc: Option<Hertz>) -> Vec<BlockModel<'_>> {
        let mut blocks: Vec<BlockModel<'_>> = Vec::new();
        for series in &self.series {
            let wanted = series.model == network && series.emc_freq_hz == emc && !series.is_joint();
            if wanted && !blocks.iter().any(|block| block.series.block == series.block) {
                blocks.extend(BlockModel::new(self, series));
            }
        }
        blocks
    }

    /// Idle power at a clock: measured there, else linear between the measured clocks beside it, else the nearest
    /// one's. `None` where idle power was not measured (at this EMC clock, where rows say theirs).
    pub fn idle_w(&self, clock: Hertz, emc: Option<Hertz>) -> Option<f64> {
        let here = self.idle.iter().filter(|idle| emc.is_none() || idle.emc_freq_hz.is_none_or(|e| Some(e) == emc));
        let below = here.clone().filter(|idle| idle.gpu_freq_hz <= clock).max_by_key(|idle| idle.gpu_freq_hz);
        let above = here.filter(|idle| idle.gpu_freq_hz >= clock).min_by_key(|idle| idle.gpu_freq_hz);
        match (below, above) {
            (Some(low), Some(high)) if high.gpu_freq_hz > low.gpu_freq_hz => {
                let span = high.gpu_freq_hz.as_f64() - low.gpu_freq_hz.as_f64();
                let share = (clock.as_f64() - low.gpu_freq_hz.as_f64()) / span;
                Some(low.power_w + share * (high.power_w - low.power_w))
            }
            (low, high) => low.or(high).map(|idle| idle.power_w),
        }
    }

    /// The settle time of a change: measured for it, else for the change nearest to it in ratios of clocks.
    pub fn settle(&self, from: Hertz, to: Hertz) -> Option<&ChangeTime> {
        nearest(&self.settle, from, to)
    }

    /// The stall of a change, in the same way.
    pub fn stall(&self, from: Hertz, to: Hertz) -> Option<&ChangeTime> {
        nearest(&self.stall, from, to)
    }
}

fn nearest(changes: &[ChangeTime], from: Hertz, to: Hertz) -> Option<&ChangeTime> {
    let far = |a: Hertz, b: Hertz| math::ln(a.as_f64() / b.as_f64()).abs();
    let distance = |change: &ChangeTime| far(change.from_hz, from) + far(change.to_hz, to);
    changes.iter().min_by(|a, b| distance(a).total_cmp(&distance(b)))
}

impl Series {
    /// Whether it is over all EMC clocks.
    pub fn is_joint(&self) -> bool {
        self.time.iter().any(|fit| TimeForm::JOINT.contains(&fit.model.form()))
    }

    /// A time form's fit, or the default one's.
    pub fn time_fit(&self, form: Option<TimeForm>) -> Option<&TimeFit> {
        self.time.iter().find(|fit| form.map_or(fit.default, |form| fit.model.form() == form))
    }

    /// A power form's fit, or the default one's.
    pub fn power_fit(&self, form: Option<PowerForm>) -> Option<&PowerFit> {
        self.power.iter().find(|fit| form.map_or(fit.default, |form| fit.model.form() == form))
    }
}

impl SizedTime {
    /// The form at one size.
    pub fn at(&self, size: Size) -> TimeModel {
        TimeModel::SmoothRoofline {
            w_s: affine(self.w_s, size),
            m_s: affine(self.m_s, size),
            c_s: affine(self.c_s, size),
            q: self.q,
        }
    }

    /// Seconds at a size and a relative clock.
    pub fn time_s(&self, x: f64, size: Size) -> f64 {
        smooth_max(affine(self.w_s, size) / x, affine(self.m_s, size), self.q) + affine(self.c_s, size)
    }
}

impl SizedPower {
    /// The form at one size.
    pub fn at(&self, size: Size) -> PowerModel {
        PowerModel::VoltageActivity { p0_w: self.p0_w, k_w: self.k_w, e_j: affine(self.e_j, size) }
    }
}

fn affine([at_zero, per_unit]: [f64; 2], size: Size) -> f64 {
    at_zero + per_unit * f64::from(size.0)
}

/// One block of a model, ready to be asked.
#[derive(Clone, Copy, Debug)]
pub struct BlockModel<'a> {
    /// The series behind it; of a block with several sizes, the first one measured.
    pub series: &'a Series,
    sized: Option<&'a SizedBlock>,
    time: TimeModel,
    power: Option<(PowerModel, Voltage)>,
    voltage: Voltage,
    f_ref_hz: f64,
}

impl<'a> BlockModel<'a> {
    /// A series with its default forms; `None` where it has none.
    pub fn new(model: &'a Model, series: &'a Series) -> Option<Self> {
        let sized = model.sized.iter().find(|sized| {
            sized.device == series.device
                && sized.model == series.model
                && sized.block == series.block
                && sized.emc_freq_hz == series.emc_freq_hz
        });
        Some(Self {
            series,
            sized,
            time: series.time_fit(None)?.model,
            power: series.power_fit(None).map(|fit| (fit.model, fit.voltage)),
            voltage: model.device_constants.voltage,
            f_ref_hz: model.f_ref_hz.as_f64(),
        })
    }

    /// The same block seen through other forms, at the size of its series; `None` where they were not fitted.
    pub fn with_forms(self, time: TimeForm, power: PowerForm) -> Option<Self> {
        Some(Self {
            sized: None,
            time: self.series.time_fit(Some(time))?.model,
            power: self.series.power_fit(Some(power)).map(|fit| (fit.model, fit.voltage)),
            ..self
        })
    }

    /// The block's name.
    pub fn name(&self) -> &'a str {
        &self.series.block
    }

    /// The sizes that it can be asked about without extrapolation, ascending.
    pub fn sizes(&self) -> &[Size] {
        self.sized.map_or(core::slice::from_ref(&self.series.size), |sized| &sized.sizes)
    }

    /// Whether a clock lies within those that the block was fitted on; outside of them it is extrapolated.
    pub fn covers(&self, clock: Hertz) -> bool {
        let clocks = self.series.points.iter().map(|point| point.gpu_freq_hz);
        clocks.clone().min() <= Some(clock) && Some(clock) <= clocks.max()
    }

    /// Mean time in seconds. A block measured at one size takes time in proportion to the size.
    pub fn time_s(&self, clock: Hertz, size: Size) -> f64 {
        let x = clock.as_f64() / self.f_ref_hz;
        match self.sized {
            Some(sized) if size != self.series.size => sized.time.time_s(x, size),
            _ => self.time.time_s(x, 1.0) * self.scale(size),
        }
    }

    /// Power of the module while the block runs, in watts; `None` where power was not measured.
    pub fn power_w(&self, clock: Hertz, size: Size) -> Option<f64> {
        let x = clock.as_f64() / self.f_ref_hz;
        match self.sized.and_then(|sized| sized.power) {
            Some(sized) if size != self.series.size => {
                Some(sized.at(size).power_w(x, self.time_s(clock, size), &self.voltage))
            }
            _ => self.power.map(|(power, voltage)| power.power_w(x, self.time.time_s(x, 1.0), &voltage)),
        }
    }

    /// Standard deviation of one execution, in seconds.
    pub fn time_sd_s(&self, clock: Hertz, size: Size) -> f64 {
        self.series.time_sd * self.time_s(clock, size)
    }

    fn scale(&self, size: Size) -> f64 {
        f64::from(size.0) / f64::from(self.series.size.0.max(1))
    }
}

#[cfg(test)]
mod tests {
    use super::super::document::{DeviceConstants, Idle, Quality};
    use super::*;
    use crate::stats::Spread;
    use std::string::ToString;
    use std::vec;

    fn mhz(mhz: u64) -> Hertz {
        Hertz::new(mhz * 1_000_000)
    }

    pub(crate) fn model() -> Model {
        let time = TimeFit {
            model: TimeModel::Additive { w_s: 0.010, c_s: 0.002 },
            default: true,
            quality: Quality::default(),
        };
        let power = PowerFit {
            model: PowerModel::StaticCubic { p0_w: 3.0, k_w: 8.0 },
            voltage: Voltage::PRIOR,
            default: true,
            quality: Quality::default(),
        };
        let series = Series {
            device: "test".to_string(),
            model: "net".to_string(),
            block: "conv".to_string(),
            size: Size(1),
            emc_freq_hz: None,
            cpu_freq_hz: None,
            clocks: 2,
            time: vec![time],
            power: vec![power],
            time_sd: 0.01,
            points: Vec::new(),
        };
        Model {
            format: super::super::FORMAT,
            f_ref_hz: mhz(1000),
            emc_ref_hz: None,
            board: None,
            clocks_hz: vec![mhz(500), mhz(1000)],
            series: vec![series],
            device_constants: DeviceConstants { voltage: Voltage::PRIOR, emc_base: Vec::new() },
            sized: Vec::new(),
            idle: Vec::new(),
            settle: Vec::new(),
            stall: Vec::new(),
            write: None,
            frames: Vec::new(),
            left_out: Vec::new(),
            warnings: Vec::new(),
        }
    }

    #[test]
    fn a_block_answers_in_seconds_and_watts() {
        let model = model();
        let blocks = model.blocks("net", None);
        let [block] = blocks.as_slice() else { panic!("{blocks:?}") };
        assert!((block.time_s(mhz(500), Size(1)) - 0.022).abs() < 1e-12);
        assert_eq!(block.power_w(mhz(500), Size(1)), Some(4.0));
        assert!((block.time_sd_s(mhz(500), Size(1)) - 0.000_22).abs() < 1e-12);
        assert!((block.time_s(mhz(500), Size(3)) - 0.066).abs() < 1e-12);
        assert!(block.with_forms(TimeForm::CpuDvfs, PowerForm::Cubic).is_none());
    }

    #[test]
    fn idle_power_between_measured_clocks_lies_on_a_line() {
        let mut model = model();
        assert_eq!(model.idle_w(mhz(700), None), None);
        let idle = |clock, power_w| Idle { gpu_freq_hz: clock, emc_freq_hz: None, power_w, rows: 1 };
        model.idle = vec![idle(mhz(500), 2.0), idle(mhz(900), 4.0)];
        assert_eq!(model.idle_w(mhz(700), None), Some(3.0));
        assert_eq!(model.idle_w(mhz(900), None), Some(4.0));
        assert_eq!(model.idle_w(mhz(1000), None), Some(4.0));
        assert_eq!(model.idle_w(mhz(100), None), Some(2.0));
    }

    #[test]
    fn an_unmeasured_change_takes_its_nearest_neighbours_time() {
        let mut model = model();
        let change = |from, to, mean_s| ChangeTime {
            from_hz: mhz(from),
            to_hz: mhz(to),
            time: Spread { mean_s, ..Spread::default() },
        };
        model.settle = vec![change(100, 1000, 0.020), change(1000, 100, 0.005)];
        assert_eq!(model.settle(mhz(200), mhz(900)).map(|c| c.time.mean_s), Some(0.020));
        assert_eq!(model.settle(mhz(900), mhz(200)).map(|c| c.time.mean_s), Some(0.005));
        assert!(model.stall(mhz(200), mhz(900)).is_none());
    }

    #[test]
    fn the_document_reads_back_as_written() {
        let model = model();
        let text = serde_json::to_string(&model).unwrap();
        assert!(
            text.contains(r#""time":[{"form":"additive","params":{"w_s":0.01,"c_s":0.002},"default":true"#),
            "{text}"
        );
        assert!(text.contains(r#""device_constants":{"v_knee":0.59,"v_slope":1.0"#), "{text}");
        assert_eq!(serde_json::from_str::<Model>(&text).unwrap(), model);
    }

    #[test]
    fn a_model_that_no_fit_gives_is_refused() {
        assert_eq!(model().check(), Ok(()));
        let refused = |change: fn(&mut Model)| {
            let mut model = model();
            change(&mut model);
            model.check().unwrap_err().to_string()
        };
        assert!(refused(|m| m.format = 2).contains("format 2"));
        assert!(refused(|m| m.series.clear()).contains("no series"));
        assert!(refused(|m| m.clocks_hz.reverse()).contains("has to ascend"));
        assert!(refused(|m| m.f_ref_hz = mhz(900)).contains("f_ref_hz is 900 MHz"));
        assert!(refused(|m| m.series[0].time[0].default = false).contains("no default time form"));
        let negative = refused(|m| m.series[0].time[0].model = TimeModel::CpuDvfs { w_s: -1.0 });
        assert!(negative.contains("net conv: cpu-dvfs w_s is -1"), "{negative}");
        assert!(
            refused(|m| m.series[0].time[0].model = TimeModel::CpuDvfs { w_s: 0.0 }).contains("time at the reference")
        );
    }
}
