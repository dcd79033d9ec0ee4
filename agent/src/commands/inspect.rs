//! `jetpace inspect`: a file in words.

#[cfg(feature = "report")]
mod sweep;
#[cfg(feature = "report")]
mod trace;

use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;

use jetpace_devfreq::board::hex;
use jetpace_tables::hw::PowerOf;
#[cfg(feature = "report")]
use jetpace_tables::model::Model;
use jetpace_tables::table::{Rung, Table};
use jetpace_tables::units::{Hertz, Nanos};
use jetpace_tables::work::BlockId;
use serde::Serialize;

use crate::failure::Failure;
#[cfg(feature = "report")]
use crate::files::kind::Kind;
#[cfg(feature = "report")]
use crate::files::model;
use crate::files::output::{print_json, print_text};
use crate::files::table;

/// Options of `inspect`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// A table (`plan`), a model (`fit`), a sweep (`calibrate`), or a trace (`trace --json`)
    file: PathBuf,
    /// Print it as JSON on stdout
    #[arg(long)]
    json: bool,
}

impl Args {
    /// Tells them apart by how they begin, and prints.
    pub fn run(self) -> Result<(), Failure> {
        let bytes = fs::read(&self.file).map_err(|e| Failure::file(&self.file, &e))?;
        #[cfg(feature = "report")]
        match Kind::of(&bytes) {
            Some(Kind::Sweep) => {
                let read = crate::files::sweep::parse(&bytes, &self.file)?;
                let document = sweep::Document::new(&read);
                return if self.json { print_json(&document) } else { print_text(&document.text()) };
            }
            Some(Kind::Trace) => {
                let document = trace::Document::new(&String::from_utf8_lossy(&bytes), &self.file)?;
                return if self.json { print_json(&document) } else { print_text(&document.text()) };
            }
            Some(Kind::Model | Kind::Table) | None => {}
            Some(other) => {
                let why = "inspect reads tables, models, sweeps and traces";
                return Err(Failure::usage(format_args!("{} is {other}; {why}", self.file.display())));
            }
        }
        #[cfg(feature = "report")]
        if bytes.first() == Some(&b'{') {
            let (model, _) = model::read(&self.file)?;
            return if self.json { print_json(&model) } else { print_text(&of_model(&model)) };
        }
        let table = table::decode(&bytes, &self.file)?;
        if self.json { print_json(&Document::new(&table)) } else { print_text(&of_table(&table)) }
    }
}

/// A table as JSON.
#[derive(Serialize)]
struct Document<'a> {
    format: u32,
    board: String,
    model: String,
    network: &'a str,
    deadline_s: f64,
    period_s: f64,
    risk: f64,
    emc_freq_hz: Option<Hertz>,
    power_of: PowerOf,
    clocks_hz: Vec<Hertz>,
    safe_clock_hz: Option<Hertz>,
    idle_clock_hz: Option<Hertz>,
    first_clock_hz: Option<Hertz>,
    wake_lead_s: f64,
    blocks: Vec<BlockDocument<'a>>,
    leads: Vec<LeadDocument>,
}

#[derive(Serialize)]
struct BlockDocument<'a> {
    block: &'a str,
    class: usize,
    /// By the clock in effect, ascending.
    entries: Vec<EntryDocument>,
}

#[derive(Serialize)]
struct EntryDocument {
    in_effect_hz: Option<Hertz>,
    /// The clock from this slack on.
    from_slack: Vec<(f64, Option<Hertz>)>,
}

#[derive(Serialize)]
struct LeadDocument {
    block: u16,
    from_hz: Option<Hertz>,
    to_hz: Option<Hertz>,
    delay_s: f64,
}

fn hertz(table: &Table, rung: Rung) -> Option<Hertz> {
    table.clocks().get(rung.index()).map(|c| c.clock)
}

/// The clocks of an entry, each with the slack from which on it is chosen.
type Steps = Vec<(Nanos, Rung)>;

fn steps(table: &Table, class: usize, block: usize, in_effect: usize) -> Steps {
    let Some(entry) = table.entry(class, BlockId(block as u16), Rung(in_effect as u8)) else { return Vec::new() };
    let [first, rest @ ..] = entry.rungs();
    let mut steps = vec![(Nanos::ZERO, first)];
    for (threshold, rung) in entry.thresholds().into_iter().zip(rest) {
        if threshold < u16::MAX {
            steps.push((table.threshold(threshold), rung));
        }
    }
    steps
}

impl<'a> Document<'a> {
    fn new(table: &'a Table) -> Self {
        let clocks = table.clocks().len();
        let mut blocks = Vec::new();
        for class in 0..table.classes() {
            for (i, block) in table.names().enumerate() {
                let entries = (0..clocks).map(|c| EntryDocument {
                    in_effect_hz: hertz(table, Rung(c as u8)),
                    from_slack: steps(table, class, i, c)
                        .into_iter()
                        .map(|(slack, rung)| (slack.as_secs_f64(), hertz(table, rung)))
                        .collect(),
                });
                blocks.push(BlockDocument { block, class, entries: entries.collect() });
            }
        }
        let leads = table.leads().iter().map(|lead| LeadDocument {
            block: lead.block.0,
            from_hz: hertz(table, lead.from),
            to_hz: hertz(table, lead.to),
            delay_s: lead.delay.as_secs_f64(),
        });
        Self {
            format: 1,
            board: hex(table.board()),
            model: hex(table.model()),
            network: table.network(),
            deadline_s: table.deadline().as_secs_f64(),
            period_s: table.period().as_secs_f64(),
            risk: table.risk(),
            emc_freq_hz: table.emc(),
            power_of: table.power_of(),
            clocks_hz: table.clocks().iter().map(|c| c.clock).collect(),
            safe_clock_hz: hertz(table, table.safe()),
            idle_clock_hz: hertz(table, table.gap().idle),
            first_clock_hz: hertz(table, table.gap().first),
            wake_lead_s: table.gap().wake_lead.as_secs_f64(),
            blocks,
            leads: leads.collect(),
        }
    }
}

fn of_table(table: &Table) -> String {
    let name = |rung| hertz(table, rung).map_or_else(|| String::from("?"), |clock| clock.to_string());
    let gap = table.gap();
    let mut text = String::new();
    // Writing to a String cannot fail.
    let _ = writeln!(text, "table for {}, {} blocks, {} clocks", table.network(), table.blocks(), table.clocks().len());
    let _ = writeln!(text, "board {}\nmodel {}", hex(table.board()), hex(table.model()));
    let _ = writeln!(text, "deadline {}, period {}, risk {}", table.deadline(), table.period(), table.risk());
    if let Some(emc) = table.emc() {
        let _ = writeln!(text, "EMC clock {emc}");
    }
    if !table.power_of().is_module() {
        let _ = writeln!(text, "planned by the power of the {} rail, not the module's", table.power_of().word());
    }
    let _ = writeln!(
        text,
        "safe clock {}, idle clock {}, frames begin with {}",
        name(table.safe()),
        name(gap.idle),
        name(gap.first)
    );
    if gap.wake_lead > Nanos::ZERO {
        let _ = writeln!(text, "{} is written {} before the next frame", name(gap.first), gap.wake_lead);
    }
    for class in 0..table.classes() {
        if table.classes() > 1 {
            let _ = writeln!(text, "size class {class}");
        }
        for (i, block) in table.names().enumerate() {
            let _ = writeln!(text, "{block}");
            for (clocks, steps) in alike(table, class, i) {
                let steps: Vec<_> = steps
                    .iter()
                    .map(|(slack, rung)| match *slack {
                        Nanos::ZERO => name(*rung),
                        slack => format!("{} from a slack of {slack}", name(*rung)),
                    })
                    .collect();
                let _ = writeln!(text, "  at {clocks}: {}", steps.join(", "));
            }
            for lead in table.leads().iter().filter(|l| l.block.index() == i) {
                let _ =
                    writeln!(text, "  at {}: {} written {} into the block", name(lead.from), name(lead.to), lead.delay);
            }
        }
    }
    text
}

/// The entries of a block, neighbouring clocks with equal ones together.
fn alike(table: &Table, class: usize, block: usize) -> Vec<(String, Steps)> {
    let mhz = |clock: usize| hertz(table, Rung(clock as u8)).map_or(0.0, |c| c.as_f64() / 1e6);
    let mut runs: Vec<(usize, usize, Steps)> = Vec::new();
    for clock in 0..table.clocks().len() {
        let steps = steps(table, class, block, clock);
        match runs.last_mut() {
            Some((_, last, before)) if *before == steps => *last = clock,
            _ => runs.push((clock, clock, steps)),
        }
    }
    let named = |first: usize, last: usize| match first == last {
        true => format!("{} MHz", mhz(first)),
        false => format!("{} .. {} MHz", mhz(first), mhz(last)),
    };
    runs.into_iter().map(|(first, last, steps)| (named(first, last), steps)).collect()
}

#[cfg(feature = "report")]
fn of_model(model: &Model) -> String {
    let mut text = String::new();
    let board = model.board.as_ref().map_or("no board named", |b| b.name.as_str());
    let clocks: Vec<_> = model.clocks_hz.iter().map(|c| (c.as_f64() / 1e6).to_string()).collect();
    // Writing to a String cannot fail.
    let _ = writeln!(text, "model of {} ({board}), f_ref {}", model.networks().join(", "), model.f_ref_hz);
    let _ = writeln!(text, "clocks in MHz: {}", clocks.join(" "));
    for series in &model.series {
        let emc = series.emc_freq_hz.map_or(String::new(), |emc| format!(", EMC {emc}"));
        let _ = write!(text, "{} {} (size {}{emc}):", series.model, series.block, series.size.0);
        if let Some(fit) = series.time_fit(None) {
            let _ = write!(text, " time {}, error {:.2} %", fit.model.form(), fit.quality.mape_fit * 1e2);
        }
        if let Some(fit) = series.power_fit(None) {
            let _ = write!(text, "; power {}, error {:.2} %", fit.model.form(), fit.quality.mape_fit * 1e2);
        }
        let _ = writeln!(text);
    }
    let counts =
        [("idle power", model.idle.len()), ("settle times", model.settle.len()), ("stalls", model.stall.len())];
    for (what, count) in counts {
        let _ = writeln!(text, "{what}: {}", if count > 0 { count.to_string() } else { String::from("not measured") });
    }
    for frames in &model.frames {
        let _ = writeln!(text, "{} frames of {}, sd {:.2} %", frames.count, frames.model, frames.sd * 1e2);
    }
    for warning in &model.warnings {
        let _ = writeln!(text, "warning: {warning}");
    }
    text
}
