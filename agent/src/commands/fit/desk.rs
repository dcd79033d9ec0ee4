//! What `fit` does at a desk: how good a fit is, what it means, and what to measure next.

use std::path::PathBuf;
use std::str::FromStr;

use jetpace_tables::fit::Options;
use jetpace_tables::fit::suggest::{PlannedFrame, Suggestion, suggest};
use jetpace_tables::model::{Model, PowerForm, TimeForm};
use jetpace_tables::plan::{self, Ask, PlanError, Problem};
use jetpace_tables::units::{Hertz, Nanos};
use serde::Serialize;

use super::explain;
use crate::args::RISK;
use crate::failure::{Failure, Reason};
use crate::files::output::print_json;

/// What is asked of a fit at a desk.
#[derive(Debug, clap::Args)]
pub struct Desk {
    /// Fit on N clocks of each series, evenly spread with both ends in, and hold the others out
    #[arg(long, value_name = "N")]
    train: Option<usize>,
    /// Leave rows below this clock out, such as 705MHz
    #[arg(long, value_name = "CLOCK")]
    min_clock: Option<Hertz>,
    /// Plan with this form of time or power alone, as it is: no average over forms, no correction by what was measured; may
    /// be given for both
    #[arg(long, value_name = "NAME")]
    form: Vec<FormArg>,
    /// Add one series per block over all EMC clocks
    #[arg(long)]
    emc_joint: bool,
    /// Its training points, GPU:EMC clock, such as 114.75MHz:1866MHz
    #[arg(long, value_name = "F:E,..", value_delimiter = ',', requires = "emc_joint")]
    train_points: Vec<PointArg>,
    /// Say how the time of each block moves with each parameter, and how well V(f) is known
    #[arg(long)]
    explain: bool,
    /// Plot it as well: one SVG per block and parameter in this folder
    #[arg(long, value_name = "FOLDER", requires = "explain")]
    plots: Option<PathBuf>,
    /// Name the N clocks that are best measured next: those that make the time of frames, at any clock, least uncertain
    #[arg(long, value_name = "N")]
    suggest: Option<usize>,
    /// Suggest for the plan of this deadline: what makes the time of its frame least uncertain
    #[arg(long, value_name = "TIME", requires = "suggest")]
    deadline: Option<Nanos>,
}

/// A form by its name.
#[derive(Clone, Copy, Debug)]
enum FormArg {
    Time(TimeForm),
    Power(PowerForm),
}

impl FromStr for FormArg {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let time = name.parse().ok().filter(|form| TimeForm::SINGLE.contains(form)).map(Self::Time);
        time.or_else(|| name.parse().ok().map(Self::Power)).ok_or_else(|| {
            let time = TimeForm::SINGLE.map(TimeForm::name).join(", ");
            format!(
                "no such form; there are {time} of time and {} of power",
                PowerForm::ALL.map(PowerForm::name).join(", ")
            )
        })
    }
}

/// The model, and what was asked about it.
#[derive(Serialize)]
struct Document<'a> {
    #[serde(flatten)]
    model: &'a Model,
    #[serde(skip_serializing_if = "Option::is_none")]
    suggest: Option<Vec<Suggestion>>,
}

/// A training point on the command line: GPU clock, EMC clock.
#[derive(Clone, Copy, Debug)]
struct PointArg(Hertz, Hertz);

impl FromStr for PointArg {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (gpu, emc) = text.split_once(':').ok_or("not GPU:EMC, such as 114.75MHz:1866MHz")?;
        let clock = |text: &str| text.parse::<Hertz>().map_err(|e| format!("`{text}` is {e}"));
        Ok(Self(clock(gpu)?, clock(emc)?))
    }
}

impl Desk {
    /// What is fitted on what.
    pub fn options(&self) -> Options {
        Options {
            train: self.train,
            min_clock: self.min_clock,
            emc_joint: self.emc_joint,
            form: self.form.iter().find_map(|form| if let FormArg::Time(form) = form { Some(*form) } else { None }),
            power_form: self
                .form
                .iter()
                .find_map(|form| if let FormArg::Power(form) = form { Some(*form) } else { None }),
            train_points: self.train_points.iter().map(|point| (point.0, point.1)).collect(),
            ..Options::default()
        }
    }

    /// Says what was asked about the model.
    pub fn tell(&self, model: &Model, json: bool) -> Result<(), Failure> {
        let planned = self.deadline.map_or(Ok(Vec::new()), |deadline| planned(model, deadline))?;
        let suggest = self.suggest.map(|count| suggest(model, count, &planned));
        let whose = match planned.len() {
            0 => "a frame's",
            1 => "the planned frame's",
            _ => "the planned frames'",
        };
        for next in suggest.iter().flatten() {
            eprintln!(
                "measure next: {}; the standard deviation of {whose} predicted time falls from {:.2} to {:.2} %",
                next.clock_hz,
                next.sd_now * 100.0,
                next.sd_then * 100.0
            );
        }
        if self.explain {
            eprint!("{}", explain::text(model));
        }
        if let Some(folder) = &self.plots {
            let written = explain::plots(model, folder)?;
            eprintln!("{}: {written} plots", folder.display());
        }
        if json { print_json(&Document { model, suggest }) } else { Ok(()) }
    }
}

/// The plan of each network at each of its EMC clocks, where there is one; it is said where there is none. Changes of the
/// clock and idling that were not measured are taken as free: it is about the blocks.
fn planned(model: &Model, deadline: Nanos) -> Result<Vec<PlannedFrame<'_>>, Failure> {
    let free = |none: bool| none.then_some(Nanos::ZERO);
    let (mut frames, mut refused) = (Vec::new(), Vec::new());
    for network in model.networks() {
        for emc in model.emc_clocks(network) {
            let ask = Ask {
                settle: free(model.settle.is_empty()),
                stall: free(model.stall.is_empty()),
                idle_w: model.idle.is_empty().then_some(0.0),
                ..Ask::new(network, emc, deadline, RISK)
            };
            let plan = Problem::from_model(model, &ask)
                .and_then(|problem| plan::plan(&problem).map(|plan| (plan.block_clocks, problem.clocks)));
            match plan {
                Ok((at, clocks)) => {
                    let blocks = model.blocks(network, emc);
                    frames.push(blocks.iter().zip(at).map(|(block, at)| (block.series, clocks[at])).collect());
                }
                Err(error) => refused.push((network, error)),
            }
        }
    }
    match (frames.is_empty(), refused.pop()) {
        (true, Some((_, error @ PlanError::NotMeasured { .. }))) => Err(Failure::new(Reason::Calibration, error)),
        (true, Some((_, error))) => Err(Failure::failed(error)),
        (_, last) => {
            for (network, error) in refused.into_iter().chain(last) {
                eprintln!("warning: {network} does not count: {error}");
            }
            Ok(frames)
        }
    }
}
