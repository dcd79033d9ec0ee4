//! What `run` prints.

use jetpace_tables::governor::trace::Fault;
use jetpace_tables::hw::PowerOf;
use jetpace_tables::units::Microjoules;
use jetpace_tables::work::Network;
use serde::Serialize;

use crate::args::BoardArg;
use crate::runtime::status::drifted;
use crate::session::frames::Pace;
use crate::session::{Drive, Summary};

fn joules(energy: Option<Microjoules>) -> Option<f64> {
    energy.map(Microjoules::as_joules_f64)
}

/// `run --json`.
#[derive(Debug, Serialize)]
pub struct Document {
    format: u32,
    evidence: &'static str,
    board: String,
    network: String,
    policy: &'static str,
    deadline_s: f64,
    period_s: f64,
    risk: f64,
    frames: u64,
    missed: u64,
    energy_j: Option<f64>,
    /// Whose energy it is.
    power_of: PowerOf,
    switches: u64,
    /// Why the table was not followed to the end, where it was not.
    handed_back: Option<&'static str>,
    /// By what share frames took longer than planned, for long; negative: shorter.
    drift: f64,
    time_s: Times,
    baselines: Baselines,
}

#[derive(Debug, Serialize)]
struct Times {
    p50: f64,
    p99: f64,
    max: f64,
}

impl Times {
    fn of(run: &Summary) -> Self {
        let at = |share| run.quantile(share).as_secs_f64();
        Self { p50: at(0.5), p99: at(0.99), max: at(1.0) }
    }
}

/// What the run is held against.
#[derive(Debug, Default, Serialize)]
pub struct Baselines {
    /// Under the stock governor.
    pub stock_governor: Option<Baseline>,
    /// At the fixed clock with the least energy that meets the risk.
    pub best_fixed: Option<Baseline>,
}

/// Another run of the same frames.
#[derive(Debug, Serialize)]
pub struct Baseline {
    #[serde(skip_serializing_if = "Option::is_none")]
    clock_hz: Option<u64>,
    missed: u64,
    energy_j: Option<f64>,
}

#[cfg(feature = "sim")]
impl Baseline {
    pub fn of(clock_hz: Option<u64>, run: &Summary) -> Self {
        Self { clock_hz, missed: run.missed, energy_j: joules(run.energy) }
    }
}

impl Document {
    pub fn new(
        evidence: &'static str,
        board: &BoardArg,
        network: &Network,
        drive: Drive<'_>,
        (pace, risk): (Pace, f64),
        ours: &Summary,
        baselines: Baselines,
    ) -> Self {
        Self {
            format: 1,
            evidence,
            board: board.to_string(),
            network: network.name.clone(),
            policy: if matches!(drive, Drive::Stock) { "stock_governor" } else { "table" },
            deadline_s: pace.deadline.as_secs_f64(),
            period_s: pace.period.as_secs_f64(),
            risk,
            frames: ours.frames,
            missed: ours.missed,
            energy_j: joules(ours.energy),
            power_of: ours.power_of,
            switches: ours.switches,
            handed_back: ours.handed_back.map(Fault::text),
            drift: ours.drift,
            time_s: Times::of(ours),
            baselines,
        }
    }

    /// The same for people.
    pub fn text(&self) -> String {
        let frames = self.frames.max(1) as f64;
        let line = |name: &str, missed: u64, energy: Option<f64>| {
            let whose = match self.power_of {
                PowerOf::Module => String::new(),
                other => format!(" ({} rail alone)", other.word()),
            };
            let energy = energy.map_or("no rail tells".to_owned(), |j| format!("{:.4} J a frame{whose}", j / frames));
            format!("  {name:<28}{missed:>6} missed ({:>5.2} %)   {energy}", missed as f64 / frames * 100.0)
        };
        let ms = |s: f64| s * 1e3;
        let mut text = format!(
            "{} on {}, evidence: {}\n{} frames, deadline {:.3} ms, period {:.3} ms, risk {}\n",
            self.network,
            self.board,
            self.evidence,
            self.frames,
            ms(self.deadline_s),
            ms(self.period_s),
            self.risk
        );
        let t = &self.time_s;
        let name = if self.policy == "table" { "this table" } else { "stock governor" };
        text += &line(name, self.missed, self.energy_j);
        text += &format!("   {:.2} switches a frame\n", self.switches as f64 / frames);
        if let (true, Some(stock)) = (self.policy == "table", &self.baselines.stock_governor) {
            text += &(line("stock governor", stock.missed, stock.energy_j) + "\n");
        }
        text += &match &self.baselines.best_fixed {
            Some(b) => {
                let name = format!("best fixed clock, {:.2} MHz", b.clock_hz.unwrap_or_default() as f64 / 1e6);
                line(&name, b.missed, b.energy_j) + "\n"
            }
            None if self.baselines.stock_governor.is_some() => {
                "  no fixed clock meets the deadline at this risk\n".to_owned()
            }
            None => String::new(),
        };
        text += &format!(
            "  time of a frame: median {:.3} ms, 99 % {:.3} ms, longest {:.3} ms\n",
            ms(t.p50),
            ms(t.p99),
            ms(t.max)
        );
        if self.drift != 0.0 {
            text += &format!("  {}\n", drifted(self.drift));
        }
        text
    }
}
