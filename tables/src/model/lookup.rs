//! Questions that planning and reports ask of a model.

use std::vec::Vec;

use super::corrected::Corrected;
use super::document::{ChangeTime, Model, Point, PowerFit, Series, SizedBlock, SizedPower, SizedTime, TimeFit};
use super::form::{PowerForm, PowerModel, TimeForm, TimeModel, Voltage, smooth_max};
use super::process::Measured;
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

    /// The CPU clocks at which a network was measured, ascending.
    pub fn cpu_clocks(&self, network: &str) -> Vec<Hertz> {
        let of_network = self.series.iter().filter(|series| series.model == network && !series.is_joint());
        let mut clocks: Vec<_> = of_network.filter_map(|series| series.cpu_freq_hz).collect();
        clocks.sort_unstable();
        clocks.dedup();
        clocks
    }

    /// Keeps the series of one CPU clock, and those that do not tell theirs; `false`, and nothing changed, where no
    /// series was measured at it.
    pub fn keep_cpu_clock(&mut self, clock: Hertz) -> bool {
        let here = self.series.iter().any(|series| series.cpu_freq_hz == Some(clock));
        if here {
            self.series.retain(|series| series.cpu_freq_hz.is_none_or(|cpu| cpu == clock));
        }
        here
    }

    /// A network's blocks at one EMC clock, in the order in which they run; each at the highest CPU clock that it was
    /// measured at.
    pub fn blocks(&self, network: &str, emc: Option<Hertz>) -> Vec<BlockModel<'_>> {
        let mut blocks: Vec<BlockModel<'_>> = Vec::new();
        let here = |series: &&Series| series.model == network && series.emc_freq_hz == emc && !series.is_joint();
        for series in self.series.iter().filter(here) {
            let others = self.series.iter().filter(here).filter(|other| other.block == series.block);
            let wanted = others.map(|other| other.cpu_freq_hz).max() == Some(series.cpu_freq_hz) || series.cpu_moving;
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

    /// The time of a series: its forms by their weights, corrected by its points.
    pub(crate) fn time_of(&self, series: &Series) -> Option<Corrected<TimeModel>> {
        series.time_fit(None)?;
        let forms = planning(series.time.iter().map(|fit| (fit.model, fit.weight, fit.default)));
        let x = |i: usize| series.points[i].gpu_freq_hz.as_f64() / self.f_ref_hz.as_f64();
        let measured =
            |(i, point): (usize, &Point)| Measured { at: math::ln(x(i)), value: point.time_s, repeats: point.repeats };
        let measured: Vec<Measured> = series.points.iter().enumerate().map(measured).collect();
        let process = self.device_constants.time_process.filter(|_| !series.is_joint());
        let process = process.map(|process| process.scaled(series.time_scale));
        Some(Corrected::new(&forms, process, &measured, &|form, i| form.time_s(x(i), 1.0)))
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
#[derive(Clone, Debug)]
pub struct BlockModel<'a> {
    /// The series behind it; of a block with several sizes, the first one measured.
    pub series: &'a Series,
    sized: Option<&'a SizedBlock>,
    time: Corrected<TimeModel>,
    power: Option<Corrected<(PowerModel, Voltage)>>,
    apart: &'a [Point],
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
        let f_ref_hz = model.f_ref_hz.as_f64();
        let time = model.time_of(series)?;
        let power = power(model, series, &time);
        let (apart, voltage) = (series.apart.as_slice(), model.device_constants.voltage);
        Some(Self { series, sized, time, power, apart, voltage, f_ref_hz })
    }

    /// The same block seen through one form each, as it is, at the size of its series; `None` where they were not fitted.
    pub fn with_forms(&self, time: TimeForm, power: PowerForm) -> Option<Self> {
        let power = self.series.power_fit(Some(power)).map(|fit| (fit.model, fit.voltage));
        Some(Self {
            sized: None,
            time: Corrected::new(&[(self.series.time_fit(Some(time))?.model, 1.0)], None, &[], &|_, _| 1.0),
            power: power.map(|form| Corrected::new(&[(form, 1.0)], None, &[], &|_, _| 1.0)),
            apart: &[],
            ..self.clone()
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
        let clocks = self.series.points.iter().chain(self.apart).map(|point| point.gpu_freq_hz);
        clocks.clone().min() <= Some(clock) && Some(clock) <= clocks.max()
    }

    /// Mean time in seconds. A block measured at one size takes time in proportion to the size.
    pub fn time_s(&self, clock: Hertz, size: Size) -> f64 {
        let x = clock.as_f64() / self.f_ref_hz;
        let time_s = match self.sized {
            Some(sized) if size != self.series.size => sized.time.time_s(x, size),
            _ => self.time_at(x) * self.scale(size),
        };
        // What slows a block at a clock slows it at every size.
        self.apart_at(clock).map_or(time_s, |point| time_s * point.time_s / self.time_at(x))
    }

    fn apart_at(&self, clock: Hertz) -> Option<&Point> {
        self.apart.iter().find(|point| point.gpu_freq_hz == clock)
    }

    fn time_at(&self, x: f64) -> f64 {
        self.time.value(math::ln(x), &|form| form.time_s(x, 1.0))
    }

    /// Power of the module while the block runs, in watts; `None` where power was not measured.
    pub fn power_w(&self, clock: Hertz, size: Size) -> Option<f64> {
        let x = clock.as_f64() / self.f_ref_hz;
        if let Some(watts) = self.apart_at(clock).and_then(|point| point.power_w) {
            return Some(watts);
        }
        match self.sized.and_then(|sized| sized.power) {
            Some(sized) if size != self.series.size => {
                Some(sized.at(size).power_w(x, self.time_s(clock, size), &self.voltage))
            }
            _ => {
                let time_s = self.time_at(x);
                let watts = |(power, voltage): &(PowerModel, Voltage)| power.power_w(x, time_s, voltage);
                Some(self.power.as_ref()?.value(math::ln(x), &watts))
            }
        }
    }

    /// Standard deviation of one execution about its prediction, in seconds: how executions vary, and what is not known of
    /// their mean. Where the clock was measured that is its noise.
    pub fn time_sd_s(&self, clock: Hertz, size: Size) -> f64 {
        math::hypot(self.series.time_sd, self.unknown(clock)) * self.time_s(clock, size)
    }

    /// Relative standard deviation of the mean time about its prediction; 0 where a form is taken as it is.
    pub fn unknown(&self, clock: Hertz) -> f64 {
        if self.apart_at(clock).is_some() {
            return self.time.noise();
        }
        let x = clock.as_f64() / self.f_ref_hz;
        self.time.variance(math::ln(x), &|form| form.time_s(x, 1.0)).sqrt()
    }

    /// Relative standard deviation of a fresh mean of a run about its prediction: what is not known, and the noise between
    /// runs. `None` where a form is taken as it is, which knows nothing of that.
    pub fn fresh(&self, clock: Hertz) -> Option<f64> {
        let noise = self.time.noise();
        (noise > 0.0).then(|| math::hypot(noise, self.unknown(clock)))
    }

    /// The same of power.
    pub fn power_fresh(&self, clock: Hertz) -> Option<f64> {
        let noise = self.power.as_ref()?.noise();
        (noise > 0.0).then_some(math::hypot(noise, self.power_unknown(clock)?))
    }

    /// As [`Self::unknown`], of power.
    pub fn power_unknown(&self, clock: Hertz) -> Option<f64> {
        let x = clock.as_f64() / self.f_ref_hz;
        let time_s = self.time_at(x);
        let watts = |(power, voltage): &(PowerModel, Voltage)| power.power_w(x, time_s, voltage);
        Some(self.power.as_ref()?.variance(math::ln(x), &watts).sqrt())
    }

    fn scale(&self, size: Size) -> f64 {
        f64::from(size.0) / f64::from(self.series.size.0.max(1))
    }
}

/// The forms that plan a series: all that have weight, else the default one.
fn planning<M>(fits: impl Iterator<Item = (M, f64, bool)> + Clone) -> Vec<(M, f64)> {
    let weighed: Vec<(M, f64)> =
        fits.clone().filter(|(_, weight, _)| *weight > 0.0).map(|(form, weight, _)| (form, weight)).collect();
    if weighed.is_empty() {
        fits.filter(|(.., default)| *default).map(|(form, ..)| (form, 1.0)).collect()
    } else {
        weighed
    }
}

fn power(model: &Model, series: &Series, time: &Corrected<TimeModel>) -> Option<Corrected<(PowerModel, Voltage)>> {
    series.power_fit(None)?;
    let forms = planning(series.power.iter().map(|fit| ((fit.model, fit.voltage), fit.weight, fit.default)));
    let drawn = |point: &Point| {
        let x = point.gpu_freq_hz.as_f64() / model.f_ref_hz.as_f64();
        let watts = point.power_w.filter(|watts| *watts > 0.0)?;
        let measured = Measured { at: math::ln(x), value: watts, repeats: point.power_repeats };
        Some((x, time.value(math::ln(x), &|form| form.time_s(x, 1.0)), measured))
    };
    let points: Vec<(f64, f64, Measured)> = series.points.iter().filter_map(drawn).collect();
    let measured: Vec<Measured> = points.iter().map(|(.., measured)| *measured).collect();
    let process = model.device_constants.power_process.map(|process| process.scaled(series.power_scale));
    Some(Corrected::new(&forms, process, &measured, &|(power, voltage), i| {
        power.power_w(points[i].0, points[i].1, voltage)
    }))
}

#[cfg(test)]
mod tests {
    use super::super::document::{DeviceConstants, Idle, Quality};
    use super::*;
    use crate::hw::PowerOf;
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
            weight: 0.0,
            quality: Quality::default(),
        };
        let power = PowerFit {
            model: PowerModel::StaticCubic { p0_w: 3.0, k_w: 8.0 },
            voltage: Voltage::PRIOR,
            default: true,
            weight: 0.0,
            quality: Quality::default(),
        };
        let series = Series {
            device: "test".to_string(),
            model: "net".to_string(),
            block: "conv".to_string(),
            size: Size(1),
            emc_freq_hz: None,
            cpu_freq_hz: None,
            cpu_moving: false,
            clocks: 2,
            time: vec![time],
            power: vec![power],
            time_sd: 0.01,
            time_scale: 1.0,
            power_scale: 1.0,
            points: Vec::new(),
            apart: Vec::new(),
        };
        Model {
            format: super::super::FORMAT,
            f_ref_hz: mhz(1000),
            emc_ref_hz: None,
            power_of: PowerOf::Module,
            board: None,
            clocks_hz: vec![mhz(500), mhz(1000)],
            series: vec![series],
            device_constants: DeviceConstants {
                voltage: Voltage::PRIOR,
                emc_base: Vec::new(),
                time_process: None,
                power_process: None,
            },
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
            text.contains(
                r#""time":[{"form":"additive","params":{"w_s":0.01,"c_s":0.002},"default":true,"weight":0.0"#
            ),
            "{text}"
        );
        assert!(text.contains(r#""device_constants":{"v_knee":0.59,"v_slope":1.0"#), "{text}");
        assert_eq!(serde_json::from_str::<Model>(&text).unwrap(), model);
    }

    #[test]
    fn a_file_of_format_1_is_planned_with_its_default_form() {
        let mut old = serde_json::to_value(model()).unwrap();
        old["format"] = 1.into();
        old["series"][0]["time"][0].as_object_mut().unwrap().remove("weight");
        old["series"][0].as_object_mut().unwrap().remove("cpu_moving");
        old["series"][0].as_object_mut().unwrap().remove("time_scale");
        old["device_constants"].as_object_mut().unwrap().remove("time_process");
        let old: Model = serde_json::from_value(old).unwrap();
        assert_eq!(old.check(), Ok(()));
        let block = &old.blocks("net", None)[0];
        assert!((block.time_s(mhz(500), Size(1)) - 0.022).abs() < 1e-12);
        assert_eq!((block.unknown(mhz(500)), block.fresh(mhz(500))), (0.0, None));
    }

    #[test]
    fn a_model_that_no_fit_gives_is_refused() {
        assert_eq!(model().check(), Ok(()));
        let refused = |change: fn(&mut Model)| {
            let mut model = model();
            change(&mut model);
            model.check().unwrap_err().to_string()
        };
        assert!(refused(|m| m.format = 3).contains("format 3"));
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
