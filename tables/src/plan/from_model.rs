//! From a model to a problem.

use std::string::String;
use std::vec::Vec;

use super::error::PlanError;
use super::problem::{BlockCost, ChangeCost, Noise, Problem};
use crate::model::Model;
use crate::table::MAX_CLOCKS;
use crate::units::{Hertz, Nanos};
use crate::work::Size;

/// What to plan for, and what the sweep may not have told.
#[derive(Clone, Debug, PartialEq)]
pub struct Ask<'a> {
    /// The network, by the sweep's name for it.
    pub network: &'a str,
    /// The EMC clock; `None` where the sweep does not tell it.
    pub emc: Option<Hertz>,
    /// Every block's amount of work.
    pub size: Size,
    /// The latest end of a frame, from its start.
    pub deadline: Nanos,
    /// Between frame starts.
    pub period: Nanos,
    /// The accepted probability of a miss.
    pub risk: f64,
    /// Idle power, where it was not measured.
    pub idle_w: Option<f64>,
    /// Settle time of every change, where it was not measured.
    pub settle: Option<Nanos>,
    /// Stall of every change, where it was not measured.
    pub stall: Option<Nanos>,
    /// See [`Problem::leads`].
    pub leads: bool,
}

impl<'a> Ask<'a> {
    /// For a sweep that told all, blocks of size 1, and a period as long as the deadline.
    pub fn new(network: &'a str, emc: Option<Hertz>, deadline: Nanos, risk: f64) -> Self {
        let (size, period) = (Size::default(), deadline);
        Self { network, emc, size, deadline, period, risk, idle_w: None, settle: None, stall: None, leads: true }
    }
}

impl Problem {
    /// What the model says about a network. Of more than 16 clocks, 16 are taken, evenly spread with both ends in.
    pub fn from_model(model: &Model, ask: &Ask<'_>) -> Result<Self, PlanError> {
        let clocks = clocks(model);
        let models = model.blocks(ask.network, ask.emc);
        if models.is_empty() {
            return Err(PlanError::NoNetwork);
        }
        let mut blocks = Vec::new();
        for block in &models {
            let power = |clock: &Hertz| block.power_w(*clock, ask.size);
            blocks.push(BlockCost {
                name: String::from(block.name()),
                time_s: clocks.iter().map(|clock| block.time_s(*clock, ask.size)).collect(),
                time_sd_s: clocks.iter().map(|clock| block.time_sd_s(*clock, ask.size)).collect(),
                power_w: clocks.iter().map(power).collect::<Option<_>>().ok_or(PlanError::NotMeasured {
                    what: "power",
                    remedy: "calibrate on a board with a readable power rail",
                })?,
            });
        }
        let missing = |what, remedy| PlanError::NotMeasured { what, remedy };
        let idle_w = clocks
            .iter()
            .map(|clock| ask.idle_w.or_else(|| model.idle_w(*clock, ask.emc)))
            .collect::<Option<_>>()
            .ok_or(missing("idle power", "calibrate, or give --idle-w"))?;
        // The launching thread waits for its own write, and the GPU with it.
        let write_s = model.write.map_or(0.0, |write| write.mean_s);
        let mut changes = Vec::new();
        for from in &clocks {
            for to in &clocks {
                if from == to {
                    changes.push(ChangeCost::default());
                    continue;
                }
                let settle = model.settle(*from, *to).map(|change| change.time);
                let given = ask.settle.map(Nanos::as_secs_f64);
                let stall = ask.stall.map(Nanos::as_secs_f64).or(model.stall(*from, *to).map(|c| c.time.mean_s));
                let settle_s =
                    given.or(settle.map(|s| s.mean_s)).ok_or(missing("settle times", "calibrate, or give --settle"))?;
                changes.push(ChangeCost {
                    settle_s,
                    settle_sd_s: settle.filter(|_| given.is_none()).map_or(0.0, |s| s.sd_s),
                    settle_late_s: settle.filter(|_| given.is_none()).map_or(settle_s, |s| s.p99_s.max(settle_s)),
                    stall_s: write_s + stall.ok_or(missing("stalls", "calibrate, or give --stall"))?,
                });
            }
        }
        let noise = noise(model, ask, &clocks, &blocks);
        let problem = Self {
            clocks,
            blocks,
            idle_w,
            changes,
            deadline_s: ask.deadline.as_secs_f64(),
            period_s: ask.period.as_secs_f64(),
            risk: ask.risk,
            noise,
            leads: ask.leads,
        };
        problem.check()?;
        Ok(problem)
    }
}

/// Whole frames where enough were measured, else moments with the measured correlation, else full correlation.
fn noise(model: &Model, ask: &Ask<'_>, clocks: &[Hertz], blocks: &[BlockCost]) -> Noise {
    let frames = model.frames.iter().find(|f| f.model == ask.network && f.emc_freq_hz == ask.emc);
    let correlation = frames.and_then(|f| f.correlation).unwrap_or(1.0).clamp(0.0, 1.0);
    match frames {
        Some(frames) if frames.tells(ask.risk) => {
            let of = |(i, clock): (usize, &Hertz)| {
                let time: f64 = blocks.iter().map(|block| block.time_s[i]).sum();
                let sd: f64 = blocks.iter().map(|block| block.time_sd_s[i]).sum();
                frames.late_at(*clock).map(|late| late * time / sd.max(1e-9 * time))
            };
            let deviations = clocks.iter().enumerate().map(of).collect();
            Noise::Frames { deviations, correlation, bursts: frames.bursts() }
        }
        _ => Noise::Moments { correlation },
    }
}

fn clocks(model: &Model) -> Vec<Hertz> {
    let all = &model.clocks_hz;
    if all.len() <= MAX_CLOCKS {
        return all.clone();
    }
    (0..MAX_CLOCKS).map(|i| all[(i * (all.len() - 1) * 2 + MAX_CLOCKS - 1) / (2 * (MAX_CLOCKS - 1))]).collect()
}
