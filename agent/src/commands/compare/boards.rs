//! The local case on virtual boards: calibrate, fit and plan as a user does, then run what each policy chooses. Judged
//! by the simulator's true energy and by the frames that were late.

mod course;
mod truth;

use std::fmt::Write as _;
use std::sync::atomic::{AtomicUsize, Ordering};

use jetpace_tables::fit::{Options, fit};
use jetpace_tables::model::{Model, PowerForm, TimeForm};
use jetpace_tables::units::Hertz;
use serde::Serialize;

use super::paper::{Setting, Work};
use crate::commands::calibrate::virtual_subject;
use crate::failure::Failure;
use crate::files::sweep;
use crate::signals::Stop;
use crate::workers;

/// The networks that the paper verifies on.
const NETWORKS: [&str; 3] = ["alexnet", "vgg19", "resnet152"];
/// Whose physics and noise calibration sees; the runs that judge have others.
const SEED: u64 = 1;

/// One board, network and deadline.
#[derive(Debug, Serialize)]
pub struct Row {
    evidence: &'static str,
    board: String,
    network: String,
    deadline_factor: f64,
    deadline_s: f64,
    risk: f64,
    /// Frames that each policy ran, over all seeds.
    frames: u64,
    policies: Vec<Policy>,
}

/// What a policy did, and what came of it.
#[derive(Debug, Serialize)]
struct Policy {
    name: String,
    time_form: Option<TimeForm>,
    power_form: Option<PowerForm>,
    /// The clock that it held; `None` where it has several, or the stock governor has them.
    clock_hz: Option<Hertz>,
    /// `None` where nothing meets the deadline at the risk: a plan is refused, or no fixed clock does.
    ran: Option<Ran>,
}

/// Means over all frames.
#[derive(Clone, Copy, Debug, Serialize)]
struct Ran {
    time_s: f64,
    miss_rate: f64,
    /// Its 95 % interval, by seed, as misses cluster.
    miss_rate_95: Option<[f64; 2]>,
    meets_risk: bool,
    energy_j: f64,
    /// Energy over the oracle's, as a fraction.
    over_oracle: Option<f64>,
}

/// What came of all boards.
#[derive(Debug, Default)]
pub struct Compared {
    /// At equal period.
    pub rows: Vec<Row>,
    /// In the paper's setting.
    pub settings: Vec<Setting>,
}

/// Compares on boards of these names, on as many threads as there are cores.
pub fn compare(boards: &[String], deadlines: &[f64]) -> Result<Compared, Failure> {
    let tasks: Vec<(&str, &str)> = boards.iter().flat_map(|board| NETWORKS.map(|net| (board.as_str(), net))).collect();
    let done = AtomicUsize::new(0);
    let compared = workers::map(&tasks, |(board, network)| {
        eprintln!("sim:{board} {network} ...");
        let compared = one(board, network, deadlines);
        eprintln!("sim:{board} {network}: done, {} of {}", 1 + done.fetch_add(1, Ordering::Relaxed), tasks.len());
        compared
    });
    let mut all = Compared::default();
    for compared in compared {
        let compared = compared?;
        all.rows.extend(compared.rows);
        all.settings.extend(compared.settings);
    }
    Ok(all)
}

fn one(board: &str, network: &str, deadlines: &[f64]) -> Result<Compared, Failure> {
    let network = crate::args::network(network)?;
    let model = calibrated(board, network.clone())?;
    let truth = truth::measure(board, &network)?;
    let device = format!("sim:{board}");
    let emc = model.emc_clocks(&network.name).first().copied().flatten();
    let blocks = model.blocks(&network.name, emc).into_iter().zip(truth.blocks.iter().map(Vec::as_slice)).collect();
    let work = Work { evidence: "virtual", device: &device, network: &network.name, blocks };
    let settings = work.settings();
    let case = course::OnBoard { board, network: &network, model: &model, emc, truth: &truth };
    let rows = deadlines.iter().map(|&factor| case.row(factor)).collect::<Result<_, _>>()?;
    Ok(Compared { rows, settings })
}

/// Calibrates with the usual settings and fits what was measured.
fn calibrated(board: &str, network: jetpace_tables::work::Network) -> Result<Model, Failure> {
    let folder = tempfile::tempdir().map_err(|e| Failure::failed(format_args!("a folder for the sweep: {e}")))?;
    let path = folder.path().join("sweep.csv");
    let subject = virtual_subject(board, SEED, network)?;
    let settings = subject.settings();
    subject.calibrate(&path, &settings, &Stop::never(), &mut |_| {})?;
    fit(&sweep::read(&path)?, &Options::default()).map_err(Failure::failed)
}

/// The table for people.
pub fn text(rows: &[Row]) -> String {
    let mut text =
        "virtual boards; energy of a period as long as the deadline, true means over all frames\n".to_owned();
    for row in rows {
        let _ = writeln!(
            text,
            "\n{} {}, deadline {:.2} x top clock = {:.2} ms, risk {}, {} frames a policy",
            row.board,
            row.network,
            row.deadline_factor,
            row.deadline_s * 1e3,
            row.risk,
            row.frames
        );
        for policy in &row.policies {
            let forms = match (policy.time_form, policy.power_form) {
                (Some(time), Some(power)) => format!("{time} + {power}"),
                _ => String::new(),
            };
            let clock = policy.clock_hz.map_or("-".to_owned(), |clock| clock.to_string());
            let ran = match &policy.ran {
                Some(ran) => {
                    let over = ran.over_oracle.map_or("-".to_owned(), |over| format!("{:+.2} %", over * 100.0));
                    let late = if ran.meets_risk { "" } else { "  too many" };
                    let interval = ran
                        .miss_rate_95
                        .map_or(String::new(), |[low, high]| format!(" ({:.2} to {:.2})", low * 100.0, high * 100.0));
                    format!(
                        "{:>9.3} ms  {:.4} J  {over:>9}  missed {:.2} %{interval}{late}",
                        ran.time_s * 1e3,
                        ran.energy_j,
                        ran.miss_rate * 100.0
                    )
                }
                None => "nothing meets the deadline at the risk".to_owned(),
            };
            let _ = writeln!(text, "  {:<18} {clock:>12} {ran:<74} {forms}", policy.name);
        }
    }
    text
}
