//! The local case on measured data: every policy sees the training clocks only, chooses one of all measured clocks, and
//! is judged by what was measured there.

use jetpace_tables::fit::{FitError, Options, fit};
use jetpace_tables::model::{BlockModel, Point, PowerForm, Series, TimeForm};
use jetpace_tables::sample::Sweep;
use jetpace_tables::units::Hertz;
use jetpace_tables::work::Size;
use serde::Serialize;

use super::paper::{Setting, Work};

/// How many standard deviations of one execution (run-to-run noise and the fit's own misfit, as the model holds them)
/// the default policy keeps clear of the deadline: the one-sided 95 % bound of a normal distribution. The mean of a run
/// is judged here, not each frame of it, so this is no risk of the kind that `plan` holds to.
pub const MARGIN_SD: f64 = 1.645;

/// The policies of other models, each with its usual power form; they keep no margin.
pub const POLICIES: [(TimeForm, PowerForm); 4] = [
    (TimeForm::CpuDvfs, PowerForm::Cubic),
    (TimeForm::Additive, PowerForm::StaticCubic),
    (TimeForm::Power, PowerForm::StaticCubic),
    (TimeForm::SmoothRoofline, PowerForm::Activity),
];

/// What came of a sweep.
#[derive(Debug, Default)]
pub struct Compared {
    /// At equal period: one per series with power and deadline.
    pub rows: Vec<Row>,
    /// In the paper's setting: some per series with power.
    pub settings: Vec<Setting>,
}

/// One series and one deadline.
#[derive(Debug, Serialize)]
pub struct Row {
    evidence: String,
    device: String,
    /// The network.
    pub model: String,
    block: String,
    size: Size,
    emc_freq_hz: Option<Hertz>,
    deadline_factor: f64,
    deadline_s: f64,
    oracle_clock_hz: Hertz,
    oracle_energy_j: f64,
    /// In the order of the forms, the default one, and the two that need no model.
    pub policies: Vec<Policy>,
}

/// What a policy chose, and what was measured there.
#[derive(Debug, Serialize)]
pub struct Policy {
    /// The time form's name, `default`, `max-clock` or `oracle`.
    pub name: String,
    time_form: Option<TimeForm>,
    power_form: Option<PowerForm>,
    /// The policy that plans.
    pub default: bool,
    /// How far the predicted time has to stay below the deadline, as a fraction of itself.
    pub margin: f64,
    clock_hz: Hertz,
    time_s: f64,
    energy_j: Option<f64>,
    /// Measured time above the deadline.
    pub missed: bool,
    /// Energy over the oracle's, as a fraction; `None` where missed.
    pub regret: Option<f64>,
}

/// Every policy learns as `learn` says and is judged on all clocks, for each deadline as a factor of the measured time
/// at the top clock. Idle power is `idle_w`, or what the sweep's idle rows say.
pub fn compare(sweep: &Sweep, learn: Options, deadlines: &[f64], idle_w: Option<f64>) -> Result<Compared, FitError> {
    let model = fit(sweep, &learn)?;
    // The judge: every clock's mean. Nothing of its fit is used.
    let judge = fit(sweep, &Options { train: None, keep_outliers: true, ..learn })?;
    let evidence = sweep.field("evidence").unwrap_or("measured data");
    let mut compared = Compared::default();
    for (series, truth) in model.series.iter().zip(&judge.series) {
        let measured = truth.points.as_slice();
        let whole = measured.iter().all(|point| point.power_w.is_some());
        let Some(block) = BlockModel::new(&model, series).filter(|_| whole) else { continue };
        let idle = |clock: Hertz| idle_w.or_else(|| model.idle_w(clock, series.emc_freq_hz)).unwrap_or(0.0);
        let case = OneSeries { evidence, series, block, measured, idle: &idle };
        compared.rows.extend(deadlines.iter().filter_map(|&factor| case.row(factor)));
        let blocks = vec![(block, measured)];
        let work = Work { evidence, device: &series.device, network: &series.model, blocks };
        compared.settings.extend(work.settings());
    }
    Ok(compared)
}

/// One series, and what is known of it afterwards.
struct OneSeries<'a> {
    evidence: &'a str,
    series: &'a Series,
    block: BlockModel<'a>,
    measured: &'a [Point],
    idle: &'a dyn Fn(Hertz) -> f64,
}

impl OneSeries<'_> {
    fn row(&self, deadline_factor: f64) -> Option<Row> {
        let top = self.measured.last()?;
        let deadline_s = deadline_factor * top.time_s;
        let energies = self.measured.iter().filter(|point| point.time_s <= deadline_s);
        let oracle = energies.min_by(|a, b| self.energy(a, deadline_s).total_cmp(&self.energy(b, deadline_s)))?;
        let oracle_energy_j = self.energy(oracle, deadline_s);
        let judged = |name: &str, forms: Option<(TimeForm, PowerForm)>, margin: f64, point: &Point| {
            let missed = point.time_s > deadline_s;
            let energy_j = (!missed).then(|| self.energy(point, deadline_s));
            Policy {
                name: name.to_owned(),
                time_form: forms.map(|(time, _)| time),
                power_form: forms.map(|(_, power)| power),
                default: name == "default",
                margin,
                clock_hz: point.gpu_freq_hz,
                time_s: point.time_s,
                energy_j,
                missed,
                regret: energy_j.map(|joules| joules / oracle_energy_j - 1.0),
            }
        };
        let mut policies = Vec::new();
        for forms in POLICIES {
            if let Some(block) = self.block.with_forms(forms.0, forms.1) {
                let point = self.choose(&block, deadline_s, 0.0)?;
                policies.push(judged(forms.0.name(), Some(forms), 0.0, point));
            }
        }
        let margin = MARGIN_SD * self.series.time_sd;
        let forms = (self.series.time_fit(None)?.model.form(), self.series.power_fit(None)?.model.form());
        policies.push(judged("default", Some(forms), margin, self.choose(&self.block, deadline_s, margin)?));
        policies.push(judged("max-clock", None, 0.0, top));
        policies.push(judged("oracle", None, 0.0, oracle));
        Some(Row {
            evidence: self.evidence.to_owned(),
            device: self.series.device.clone(),
            model: self.series.model.clone(),
            block: self.series.block.clone(),
            size: self.series.size,
            emc_freq_hz: self.series.emc_freq_hz,
            deadline_factor,
            deadline_s,
            oracle_clock_hz: oracle.gpu_freq_hz,
            oracle_energy_j,
            policies,
        })
    }

    /// Measured energy of a period that is as long as the deadline.
    fn energy(&self, point: &Point, deadline_s: f64) -> f64 {
        self.period(point.gpu_freq_hz, point.time_s, point.power_w.unwrap_or(0.0), deadline_s)
    }

    fn period(&self, clock: Hertz, time_s: f64, power_w: f64, deadline_s: f64) -> f64 {
        power_w * time_s + (self.idle)(clock) * (deadline_s - time_s)
    }

    /// The clock with the least predicted energy among those predicted to meet the deadline; the highest where none is.
    fn choose(&self, block: &BlockModel<'_>, deadline_s: f64, margin: f64) -> Option<&Point> {
        let size = self.series.size;
        let predicted = |point: &Point| {
            let time_s = block.time_s(point.gpu_freq_hz, size);
            let power_w = block.power_w(point.gpu_freq_hz, size)?;
            (time_s * (1.0 + margin) <= deadline_s).then(|| self.period(point.gpu_freq_hz, time_s, power_w, deadline_s))
        };
        let candidates = self.measured.iter().filter_map(|point| Some((predicted(point)?, point)));
        candidates.min_by(|a, b| a.0.total_cmp(&b.0)).map(|(_, point)| point).or_else(|| self.measured.last())
    }
}

/// The table for people.
pub fn text(rows: &[Row]) -> String {
    let evidence = rows.first().map_or("measured data", |row| &row.evidence);
    let mut text = format!("{evidence}; energy of a period as long as the deadline\n");
    for row in rows {
        text.push_str(&format!(
            "\n{} {} {}, deadline {:.2} x top clock = {:.2} ms\n",
            row.device,
            row.model,
            row.block,
            row.deadline_factor,
            row.deadline_s * 1e3
        ));
        for policy in &row.policies {
            let forms = match (policy.time_form, policy.power_form) {
                (Some(time), Some(power)) => format!("{time} + {power}"),
                _ => String::new(),
            };
            let energy = match (policy.energy_j, policy.regret) {
                (Some(joules), Some(regret)) => format!("{joules:.4} J  regret {:.2} %", regret * 100.0),
                _ => "missed".to_owned(),
            };
            text.push_str(&format!(
                "  {:<16} {:>12} {:>10.2} ms  {energy:<28} {forms}{}\n",
                policy.name,
                policy.clock_hz.to_string(),
                policy.time_s * 1e3,
                if policy.margin > 0.0 { format!(", margin {:.1} %", policy.margin * 100.0) } else { String::new() }
            ));
        }
    }
    text
}
