//! The local case on measured data: every policy sees the training clocks only, chooses one of all measured clocks, and
//! is judged by what was measured there.

use jetpace_tables::fit::{FitError, Options, fit};
use jetpace_tables::model::{BlockModel, Point, PowerForm, Series, TimeForm};
use jetpace_tables::sample::Sweep;
use jetpace_tables::units::Hertz;
use jetpace_tables::work::Size;
use serde::Serialize;

use super::adaptive::{self, Step};
use super::paper::{Setting, Work};

/// How many standard deviations of one execution (run-to-run noise and what is not known of its mean) the default policy
/// keeps clear of the deadline: the one-sided 95 % bound of a normal distribution. The mean of a run is judged here, not
/// each frame of it, so this is no risk of the kind that `plan` holds to.
pub const MARGIN_SD: f64 = 1.645;

/// Margins at which the default policy is shown beside its own.
pub const MARGINS: [f64; 3] = [0.0, 0.002, 0.01];

/// By how much a measured time may be above the deadline and count as met: less than a measurement repeats itself.
pub const LATE: f64 = 0.003;

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
    /// The CPU's clock, where it was set.
    cpu_freq_hz: Option<Hertz>,
    /// In the order of the forms, the default one with its own margin and with others, and the two that need no model.
    pub policies: Vec<Policy>,
    /// What was measured one at a time, where that was asked for.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub schedule: Vec<Step>,
}

/// What a policy chose, and what was measured there.
#[derive(Debug, Serialize)]
pub struct Policy {
    /// The time form's name, `default`, `default` with a margin, `adaptive`, `max-clock` or `oracle`.
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
    /// Measured time above the deadline by more than [`LATE`].
    pub missed: bool,
    /// Energy over the oracle's, as a fraction; `None` where missed.
    pub regret: Option<f64>,
}

/// What is compared beside the policies of every model.
#[derive(Clone, Debug, Default)]
pub struct Ask<'a> {
    /// Deadlines as factors of the measured time at the top clock.
    pub deadlines: &'a [f64],
    /// Idle power, where the sweep has none.
    pub idle_w: Option<f64>,
    /// One CPU clock only.
    pub cpu: Option<Hertz>,
    /// Measure up to so many clocks more, one at a time.
    pub adaptive: Option<usize>,
    /// One more margin.
    pub margin: Option<f64>,
}

/// Every policy learns as `learn` says and is judged on all clocks.
pub fn compare(sweep: &Sweep, learn: Options, ask: &Ask<'_>) -> Result<Compared, FitError> {
    let model = fit(sweep, &learn)?;
    let idle_w = ask.idle_w;
    // The judge: every clock's mean. Nothing of its fit is used.
    let judge = fit(sweep, &Options { train: None, keep_outliers: true, ..learn.clone() })?;
    let evidence = sweep.field("evidence").unwrap_or("measured data");
    let mut compared = Compared::default();
    let wanted = |series: &Series| ask.cpu.is_none_or(|cpu| series.cpu_freq_hz.is_none_or(|at| at == cpu));
    for (series, truth) in model.series.iter().zip(&judge.series).filter(|(series, _)| wanted(series)) {
        let measured = truth.points.as_slice();
        let whole = measured.iter().all(|point| point.power_w.is_some());
        let Some(block) = BlockModel::new(&model, series).filter(|_| whole) else { continue };
        let idle = |clock: Hertz| idle_w.or_else(|| model.idle_w(clock, series.emc_freq_hz)).unwrap_or(0.0);
        let blocks = vec![(block.clone(), measured)];
        let case = OneSeries { evidence, series, block, measured, idle: &idle };
        for &factor in ask.deadlines {
            let Some(mut row) = case.row(factor, ask.margin) else { continue };
            if let Some(more) = ask.adaptive {
                let margins: Vec<f64> = MARGINS.into_iter().chain(ask.margin).collect();
                let limits = adaptive::Limits { deadline_s: row.deadline_s, more, margins: &margins };
                let found = adaptive::measure(sweep, series, measured, &learn, limits, &idle)?;
                let before = row.policies.len() - 2;
                for (margin, point) in found.chosen {
                    row.policies.insert(before, case.judged("adaptive", None, margin, point, &row));
                }
                row.schedule = found.schedule;
            }
            compared.rows.push(row);
        }
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
    fn row(&self, deadline_factor: f64, margin: Option<f64>) -> Option<Row> {
        let top = self.measured.last()?;
        let deadline_s = deadline_factor * top.time_s;
        let energies = self.measured.iter().filter(|point| point.time_s <= deadline_s);
        let oracle = energies.min_by(|a, b| self.energy(a, deadline_s).total_cmp(&self.energy(b, deadline_s)))?;
        let mut row = Row {
            evidence: self.evidence.to_owned(),
            device: self.series.device.clone(),
            model: self.series.model.clone(),
            block: self.series.block.clone(),
            size: self.series.size,
            emc_freq_hz: self.series.emc_freq_hz,
            cpu_freq_hz: self.series.cpu_freq_hz,
            deadline_factor,
            deadline_s,
            oracle_clock_hz: oracle.gpu_freq_hz,
            oracle_energy_j: self.energy(oracle, deadline_s),
            policies: Vec::new(),
            schedule: Vec::new(),
        };
        let mut policies = Vec::new();
        for forms in POLICIES {
            if let Some(block) = self.block.with_forms(forms.0, forms.1) {
                let point = self.choose(&block, deadline_s, |_| 0.0)?;
                policies.push(self.judged(forms.0.name(), Some(forms), 0.0, point, &row));
            }
        }
        let forms = (self.series.time_fit(None)?.model.form(), self.series.power_fit(None)?.model.form());
        let own = |clock: Hertz| MARGIN_SD * self.series.time_sd.hypot(self.block.unknown(clock));
        let point = self.choose(&self.block, deadline_s, own)?;
        policies.push(self.judged("default", Some(forms), own(point.gpu_freq_hz), point, &row));
        for margin in MARGINS.into_iter().chain(margin) {
            let point = self.choose(&self.block, deadline_s, |_| margin)?;
            policies.push(self.judged("default", Some(forms), margin, point, &row));
            policies.last_mut()?.default = false;
        }
        policies.push(self.judged("max-clock", None, 0.0, top, &row));
        policies.push(self.judged("oracle", None, 0.0, oracle, &row));
        row.policies = policies;
        Some(row)
    }

    fn judged(
        &self,
        name: &str,
        forms: Option<(TimeForm, PowerForm)>,
        margin: f64,
        point: &Point,
        row: &Row,
    ) -> Policy {
        let missed = point.time_s > row.deadline_s * (1.0 + LATE);
        let energy_j = (!missed).then(|| self.energy(point, row.deadline_s));
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
            regret: energy_j.map(|joules| (joules / row.oracle_energy_j - 1.0).max(0.0)),
        }
    }

    /// Measured energy of a period that is as long as the deadline.
    fn energy(&self, point: &Point, deadline_s: f64) -> f64 {
        self.period(point.gpu_freq_hz, point.time_s, point.power_w.unwrap_or(0.0), deadline_s)
    }

    fn period(&self, clock: Hertz, time_s: f64, power_w: f64, deadline_s: f64) -> f64 {
        power_w * time_s + (self.idle)(clock) * (deadline_s - time_s)
    }

    /// The clock with the least predicted energy among those predicted to meet the deadline; the highest where none is.
    fn choose(&self, block: &BlockModel<'_>, deadline_s: f64, margin: impl Fn(Hertz) -> f64) -> Option<&Point> {
        let size = self.series.size;
        let predicted = |point: &Point| {
            let time_s = block.time_s(point.gpu_freq_hz, size);
            let power_w = block.power_w(point.gpu_freq_hz, size)?;
            (time_s * (1.0 + margin(point.gpu_freq_hz)) <= deadline_s)
                .then(|| self.period(point.gpu_freq_hz, time_s, power_w, deadline_s))
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
            let forms = policy.time_form.zip(policy.power_form).map(|(time, power)| format!("{time} + {power}"));
            let margin = (policy.default || policy.name == "adaptive" || policy.margin > 0.0)
                .then(|| format!("margin {:.1} %", policy.margin * 100.0));
            let how = forms.into_iter().chain(margin).collect::<Vec<_>>().join(", ");
            let energy = match (policy.energy_j, policy.regret) {
                (Some(joules), Some(regret)) => format!("{joules:.4} J  regret {:.2} %", regret * 100.0),
                _ => "missed".to_owned(),
            };
            let line = format!(
                "  {:<16} {:>12} {:>10.2} ms  {energy:<28} {how}",
                policy.name,
                policy.clock_hz.to_string(),
                policy.time_s * 1e3,
            );
            text.push_str(line.trim_end());
            text.push('\n');
        }
        for step in &row.schedule {
            text.push_str(&format!("  measured {:>12}: {}\n", step.clock_hz.to_string(), step.why));
        }
    }
    text + &summary(rows)
}

/// Means over all series and deadlines, per policy.
fn summary(rows: &[Row]) -> String {
    let mut text = String::from("\nmean over all of these\n");
    let mut named: Vec<(&str, bool, f64)> = Vec::new();
    for policy in rows.iter().flat_map(|row| &row.policies) {
        let key = (policy.name.as_str(), policy.default, if policy.default { 0.0 } else { policy.margin });
        if !named.contains(&key) {
            named.push(key);
        }
    }
    for (name, default, margin) in named {
        let same =
            |policy: &&Policy| policy.name == name && policy.default == default && (default || policy.margin == margin);
        let mine: Vec<&Policy> = rows.iter().flat_map(|row| &row.policies).filter(same).collect();
        let regrets: Vec<f64> = mine.iter().filter_map(|policy| policy.regret).collect();
        let regret = 100.0 * regrets.iter().sum::<f64>() / regrets.len().max(1) as f64;
        let missed = mine.iter().filter(|policy| policy.missed).count();
        let of = match (default, name) {
            (true, _) => "its own margin".to_owned(),
            (_, "default" | "adaptive") => format!("margin {:.1} %", 100.0 * margin),
            _ => String::new(),
        };
        text.push_str(&format!("  {name:<16} regret {regret:6.2} %  missed {missed} of {}  {of}\n", mine.len()));
    }
    text
}
