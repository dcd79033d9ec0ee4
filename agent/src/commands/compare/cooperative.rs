//! The cooperative case: cut and clock chosen together with each kind of model, judged by what was measured, over a
//! range of uplinks.

use jetpace_tables::fit::{Options, fit};
use jetpace_tables::model::{BlockModel, Point, PowerForm, TimeForm};
use jetpace_tables::plan::cooperative::{Block, Choice, Problem};
use jetpace_tables::units::Hertz;
use serde::Serialize;

use super::measured::{MARGIN_SD, POLICIES};
use super::server::{BUILT_IN, Side, sides};
use super::{Args, where_cut};
use crate::failure::Failure;
use crate::files::model;
use crate::files::output::{print_json, print_text};
use crate::files::sweep;

#[derive(Serialize)]
struct Document {
    format: u32,
    evidence: String,
    server: String,
    transmit_w: f64,
    /// Where the rate comes from.
    uplink: String,
    rows: Vec<Row>,
}

#[derive(Serialize)]
struct Row {
    device: String,
    model: String,
    rate_bps: f64,
    deadline_factor: f64,
    deadline_s: f64,
    policies: Vec<Policy>,
}

/// What a policy chose, and what it really comes to.
#[derive(Serialize)]
struct Policy {
    name: String,
    default: bool,
    /// Blocks on the device.
    cut: usize,
    /// The last of them; `None` where all run on the server.
    cut_after: Option<String>,
    /// All run on the device.
    #[serde(skip)]
    all_here: bool,
    clock_hz: Hertz,
    time_s: f64,
    energy_j: Option<f64>,
    missed: bool,
    regret: Option<f64>,
}

impl Policy {
    fn place(&self) -> String {
        where_cut(self.cut_after.as_deref(), self.all_here)
    }
}

/// Reads, compares, prints.
pub fn run(args: &Args) -> Result<(), Failure> {
    let path = args.sweep.as_deref().ok_or_else(|| {
        Failure::usage("--case cooperative needs a sweep; on a virtual board `jetpace calibrate` makes one")
    })?;
    if !args.board.is_empty() {
        return Err(Failure::usage("--board goes with --case local"));
    }
    let sweep = sweep::read(path)?;
    args.check_idle(path, &sweep)?;
    let in_file = |e: &dyn std::fmt::Display| Failure::usage(format!("{}: {e}", path.display()));
    let learn = Options { train: Some(args.train), min_clock: args.min_clock, ..Options::default() };
    let model = fit(&sweep, &learn).map_err(|e| in_file(&e))?;
    let judge = fit(&sweep, &Options { train: None, keep_outliers: true, ..learn }).map_err(|e| in_file(&e))?;
    let (net, emc, blocks) = model::network(&model, args.net.as_deref(), args.emc)?;
    let truth = judge.blocks(net, emc);
    let sides = sides(args.server.as_deref(), net)?;
    if sides.len() != blocks.len() + 1 || sides.iter().skip(1).zip(&blocks).any(|(side, b)| side.block != b.name()) {
        return Err(Failure::usage(format_args!(
            "the server's side has other blocks than {net} of {}: {} against {}",
            path.display(),
            sides.len().saturating_sub(1),
            blocks.len()
        )));
    }
    let clocks: Vec<Hertz> =
        truth.first().map(|b| b.series.points.iter().map(|p| p.gpu_freq_hz).collect()).unwrap_or_default();
    let whole = |b: &BlockModel<'_>| {
        b.series.points.iter().map(|p| p.gpu_freq_hz).eq(clocks.iter().copied())
            && b.series.points.iter().all(|p| p.power_w.is_some())
    };
    if let Some(block) = truth.iter().find(|b| !whole(b)) {
        return Err(in_file(&format!("block {} has not time and power at every clock", block.name())));
    }
    let idle_w: Vec<f64> =
        clocks.iter().map(|c| args.idle_w.or_else(|| model.idle_w(*c, emc)).unwrap_or(0.0)).collect();
    let case = Cooperation { args, blocks: &blocks, truth: &truth, sides: &sides, clocks: &clocks, idle_w };
    let rates = args.rates();
    let rows = rates.iter().flat_map(|&rate| args.deadlines.iter().map(move |&factor| (rate, factor)));
    let rows = rows.filter_map(|(rate, factor)| case.row(rate, factor)).collect();
    let document = Document {
        format: 1,
        evidence: sweep.field("evidence").unwrap_or("measured data").to_owned(),
        server: args.server.as_ref().map_or(BUILT_IN.to_owned(), |path| path.display().to_string()),
        transmit_w: args.transmit_w,
        uplink: args.channel.map_or("rates as given".to_owned(), |channel| channel.origin(args.transmit_w)),
        rows,
    };
    if args.json { print_json(&document) } else { print_text(&text(&document)) }
}

struct Cooperation<'a> {
    args: &'a Args,
    blocks: &'a [BlockModel<'a>],
    truth: &'a [BlockModel<'a>],
    sides: &'a [Side],
    clocks: &'a [Hertz],
    idle_w: Vec<f64>,
}

impl Cooperation<'_> {
    fn row(&self, rate_bps: f64, deadline_factor: f64) -> Option<Row> {
        let top = self.clocks.len() - 1;
        let all_local: f64 = self.truth.iter().map(|block| block.series.points[top].time_s).sum();
        let deadline_s = deadline_factor * all_local;
        let problem = |blocks: Vec<Block>, margin: f64| Problem {
            blocks,
            input_bytes: self.sides[0].output_bytes,
            rate_bps,
            transmit_w: self.args.transmit_w,
            idle_w: self.idle_w.clone(),
            deadline_s,
            margin,
        };
        let measured = problem(self.measured(), 0.0);
        let oracle = measured.best().or_else(|| measured.fastest())?;
        let judged = |name: &str, chosen: Choice| {
            let real = measured.judge(chosen.cut, chosen.clock);
            let missed = real.time_s() > deadline_s;
            let energy_j = (!missed).then_some(real.energy_j);
            Policy {
                name: name.to_owned(),
                default: name == "default",
                cut: real.cut,
                cut_after: real.cut.checked_sub(1).map(|last| self.blocks[last].name().to_owned()),
                all_here: real.cut == self.blocks.len(),
                clock_hz: self.clocks[real.clock],
                time_s: real.time_s(),
                energy_j,
                missed,
                regret: energy_j.map(|joules| joules / oracle.energy_j - 1.0),
            }
        };
        let choose = |problem: &Problem| problem.best().or_else(|| problem.fastest());
        let mut policies = Vec::new();
        for (time, power) in POLICIES {
            if let Some(blocks) = self.predicted(Some((time, power))) {
                policies.push(judged(time.name(), choose(&problem(blocks, 0.0))?));
            }
        }
        // All blocks of a frame late together.
        let unknown = |block: &BlockModel<'_>| {
            self.clocks.iter().map(|clock| block.unknown(*clock)).fold(block.series.time_sd, f64::hypot)
        };
        let sd = self.blocks.iter().map(unknown).fold(0.0, f64::max);
        policies.push(judged("default", choose(&problem(self.predicted(None)?, MARGIN_SD * sd))?));
        policies.push(judged("all-local-max-clock", measured.judge(self.blocks.len(), top)));
        policies.push(judged("oracle", oracle));
        let series = self.blocks.first()?.series;
        Some(Row {
            device: series.device.clone(),
            model: series.model.clone(),
            rate_bps,
            deadline_factor,
            deadline_s,
            policies,
        })
    }

    fn predicted(&self, forms: Option<(TimeForm, PowerForm)>) -> Option<Vec<Block>> {
        let blocks = self.blocks.iter().zip(&self.sides[1..]).map(|(block, side)| {
            let block = forms.map_or_else(|| Some(block.clone()), |(time, power)| block.with_forms(time, power))?;
            let size = block.series.size;
            let power: Option<Vec<f64>> = self.clocks.iter().map(|clock| block.power_w(*clock, size)).collect();
            Some(self.block(side, self.clocks.iter().map(|clock| block.time_s(*clock, size)).collect(), power?))
        });
        blocks.collect()
    }

    fn measured(&self) -> Vec<Block> {
        let blocks = self.truth.iter().zip(&self.sides[1..]).map(|(block, side)| {
            let points: &[Point] = &block.series.points;
            let power = points.iter().map(|point| point.power_w.unwrap_or(0.0)).collect();
            self.block(side, points.iter().map(|point| point.time_s).collect(), power)
        });
        blocks.collect()
    }

    fn block(&self, side: &Side, time_s: Vec<f64>, power_w: Vec<f64>) -> Block {
        Block { name: side.block.clone(), time_s, power_w, output_bytes: side.output_bytes, server_s: side.server_s }
    }
}

impl Args {
    /// The uplinks: those given, and the one of the channel.
    fn rates(&self) -> Vec<f64> {
        match self.channel.map(|channel| channel.rate_bps(self.transmit_w)) {
            Some(rate) => vec![rate],
            None => self.rates_mbps.iter().map(|mbps| mbps * 1e6).collect(),
        }
    }
}

fn text(document: &Document) -> String {
    let mut text = format!(
        "{}; server {}; transmitter {} W (assumed unless measured); uplink: {}; energy of a period as long as the \
         deadline\nthe default forms keep {MARGIN_SD} standard deviations of a run clear of the deadline, the others nothing\n",
        document.evidence, document.server, document.transmit_w, document.uplink
    );
    for row in &document.rows {
        text.push_str(&format!(
            "\n{} {}, {:.2} Mbit/s, deadline {:.2} x all local at the top clock = {:.2} ms\n",
            row.device,
            row.model,
            row.rate_bps / 1e6,
            row.deadline_factor,
            row.deadline_s * 1e3
        ));
        for policy in &row.policies {
            let energy = match (policy.energy_j, policy.regret) {
                (Some(joules), Some(regret)) => format!("{joules:.4} J  regret {:.2} %", regret * 100.0),
                _ => "missed".to_owned(),
            };
            text.push_str(&format!(
                "  {:<20} {:<20} {:>12} {:>10.2} ms  {energy}\n",
                policy.name,
                policy.place(),
                policy.clock_hz.to_string(),
                policy.time_s * 1e3
            ));
        }
        text.push_str(&elsewhere(row));
    }
    text
}

/// Where the CPU's model cuts elsewhere than the default forms, and what that costs.
fn elsewhere(row: &Row) -> String {
    let named = |name: &str| row.policies.iter().find(|policy| policy.name == name);
    let (Some(cpu), Some(ours)) = (named(TimeForm::CpuDvfs.name()), named("default")) else { return String::new() };
    if cpu.cut == ours.cut {
        return String::new();
    }
    let cost = match (cpu.energy_j, ours.energy_j) {
        (None, _) => "and misses the deadline".to_owned(),
        (Some(_), None) => "and meets the deadline, which they miss".to_owned(),
        (Some(theirs), Some(least)) => format!("{:+.1} % of energy", (theirs / least - 1.0) * 100.0),
    };
    format!("  by cpu-dvfs {} where by the default forms {}: {cost}\n", cpu.place(), ours.place())
}
