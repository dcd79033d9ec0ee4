//! Every policy at equal period, on the same seeds.

use std::collections::BTreeMap;

use jetpace_tables::model::{Model, PowerForm, TimeForm};
use jetpace_tables::plan::{self, Ask, ChangeCost, Holds, Plan, PlanError, Problem, SizeClass};
use jetpace_tables::stats::mean_interval;
use jetpace_tables::table::{Digest, Table};
use jetpace_tables::units::{Hertz, Nanos};
use jetpace_tables::work::{ClockIndex, Network};

use super::super::measured::POLICIES;
use super::truth::Truth;
use super::{Policy, Ran, Row};
use crate::failure::Failure;
use crate::session::frames::Pace;
use crate::session::virtual_board;
use crate::session::{Drive, Summary};
use crate::signals::Stop;

/// A time form and its power form.
type Forms = (TimeForm, PowerForm);

/// Accepted share of late frames.
const RISK: f64 = 0.01;
/// How many of the seeds that the virtual table judges by, and of their frames: a coin where misses cluster, so that the
/// interval stands beside the miss rate.
const SEEDS: u64 = 4;
const FRAMES: u64 = 500;

/// A network on a board, and what is believed and true of it.
#[derive(Debug)]
pub struct OnBoard<'a> {
    pub board: &'a str,
    pub network: &'a Network,
    pub model: &'a Model,
    pub emc: Option<Hertz>,
    pub truth: &'a Truth,
}

impl OnBoard<'_> {
    /// All policies at one deadline, a factor of the true time at the top clock.
    pub fn row(&self, deadline_factor: f64) -> Result<Row, Failure> {
        let clocks = &self.truth.clocks;
        let top = clocks.len() - 1;
        let deadline = Nanos::from_secs_f64(deadline_factor * self.truth.frame_s[top]);
        let ask = Ask::new(&self.network.name, self.emc, deadline, RISK);
        let problem = Problem::from_model(self.model, &ask).map_err(Failure::failed)?;
        let ours = self.table(&problem, true)?;
        let knowing = self.table(&self.knowing(&problem), false)?;

        let mut chosen: Vec<(String, Option<Forms>, usize)> = Vec::new();
        for forms in POLICIES {
            if let Some(clock) = self.clock(&problem, Some(forms)) {
                chosen.push((forms.0.name().to_owned(), Some(forms), clock));
            }
        }
        let default = plan::best_fixed(&problem).map_or(top, |(clock, ..)| clock);
        chosen.push(("default".to_owned(), self.defaults(), default));
        chosen.push(("max-clock".to_owned(), None, top));

        // Slower than the deadline on average, a clock misses half of its frames or more: only one that a policy chose
        // has to be run.
        let fast = (0..clocks.len()).filter(|clock| self.truth.frame_s[*clock] < deadline.as_secs_f64());
        let mut held = BTreeMap::new();
        for clock in fast.chain(chosen.iter().map(|(.., clock)| *clock)) {
            if let std::collections::btree_map::Entry::Vacant(entry) = held.entry(clock) {
                entry.insert(self.ran(Drive::Fixed(ClockIndex(clock as u8)), deadline)?);
            }
        }
        let stock = self.ran(Drive::Stock, deadline)?;
        let run_table = |table: &Option<Table>| table.as_ref().map(|t| self.ran(Drive::Table(t), deadline)).transpose();
        let (ours, knowing) = (run_table(&ours)?, run_table(&knowing)?);

        let frugal = |a: &&Ran, b: &&Ran| a.energy_j.total_cmp(&b.energy_j);
        let best = held.iter().filter(|(_, ran)| ran.meets_risk).min_by(|a, b| frugal(&a.1, &b.1));
        let all = held.values().chain(&ours).chain(&knowing).chain([&stock]);
        let oracle = all.filter(|ran| ran.meets_risk).min_by(frugal).copied();
        let judged = |name: &str, forms: Option<Forms>, clock: Option<usize>, ran: Option<Ran>| Policy {
            name: name.to_owned(),
            time_form: forms.map(|(time, _)| time),
            power_form: forms.map(|(_, power)| power),
            clock_hz: clock.map(|clock| clocks[clock]),
            ran: ran.map(|ran| Ran {
                over_oracle: oracle.filter(|_| ran.meets_risk).map(|oracle| ran.energy_j / oracle.energy_j - 1.0),
                ..ran
            }),
        };
        let mut policies: Vec<Policy> = chosen
            .iter()
            .map(|(name, forms, clock)| judged(name, *forms, Some(*clock), held.get(clock).copied()))
            .collect();
        policies.push(judged("stock-governor", None, None, Some(stock)));
        policies.push(judged("best-fixed", None, best.map(|(clock, _)| *clock), best.map(|(_, ran)| *ran)));
        policies.push(judged("table", self.defaults(), None, ours));
        policies.push(judged("oracle", None, None, oracle));
        Ok(Row {
            evidence: "virtual",
            board: format!("sim:{}", self.board),
            network: self.network.name.clone(),
            deadline_factor,
            deadline_s: deadline.as_secs_f64(),
            risk: RISK,
            frames: FRAMES * SEEDS,
            policies,
        })
    }

    fn defaults(&self) -> Option<Forms> {
        let series = self.model.blocks(&self.network.name, self.emc).first()?.series;
        Some((series.time_fit(None)?.model.form(), series.power_fit(None)?.model.form()))
    }

    /// The fixed clock by other forms, at the same risk and idle power; the top clock where none is believed to do.
    fn clock(&self, problem: &Problem, forms: Option<Forms>) -> Option<usize> {
        let (time, power) = forms?;
        let mut believed = problem.clone();
        for (cost, block) in believed.blocks.iter_mut().zip(self.model.blocks(&self.network.name, self.emc)) {
            let block = block.with_forms(time, power)?;
            let size = block.series.size;
            cost.time_s = problem.clocks.iter().map(|clock| block.time_s(*clock, size)).collect();
            cost.power_w = problem.clocks.iter().map(|clock| block.power_w(*clock, size)).collect::<Option<_>>()?;
        }
        Some(plan::best_fixed(&believed).map_or(problem.clocks.len() - 1, |(clock, ..)| clock))
    }

    /// The problem as it truly is: means of blocks, idle power and changes. How frames vary stays as it was measured.
    fn knowing(&self, problem: &Problem) -> Problem {
        let (board, clocks) = (&self.truth.board, problem.clocks.len());
        let index = |clock: usize| ClockIndex(clock as u8);
        let mut known = problem.clone();
        for (cost, block) in known.blocks.iter_mut().zip(&self.truth.blocks) {
            cost.time_s = block.iter().map(|point| point.time_s).collect();
            cost.power_w = block.iter().map(|point| point.power_w.unwrap_or(0.0)).collect();
        }
        known.idle_w = (0..clocks).map(|clock| board.true_idle(index(clock)).as_watts_f64()).collect();
        for from in 0..clocks {
            for to in (0..clocks).filter(|to| *to != from) {
                let change = &mut known.changes[from * clocks + to];
                let settle_s = board.true_settle(index(from), index(to)).as_secs_f64();
                let later = change.settle_late_s - change.settle_s;
                *change = ChangeCost { settle_s, settle_late_s: settle_s + later.max(0.0), ..*change };
            }
        }
        known
    }

    /// Plans and makes the table as `plan` does, or as `plan --list` does; `None` where nothing meets the deadline at the
    /// risk.
    fn table(&self, problem: &Problem, feedback: bool) -> Result<Option<Table>, Failure> {
        let plan: Plan = match plan::dependable(problem) {
            Ok(plan) => plan,
            Err(PlanError::Unreachable { .. }) => return Ok(None),
            Err(error) => return Err(Failure::failed(error)),
        };
        let holds = Holds {
            board: Digest::default(),
            model: Digest::default(),
            network: &self.network.name,
            emc: self.emc,
            board_clocks: &self.model.clocks_hz,
        };
        let class = SizeClass::only(problem, &plan);
        let list = plan::list_table(&class, &holds).map_err(Failure::failed)?;
        if !feedback {
            return Ok(Some(list));
        }
        Ok(Some(plan::feedback(&class, &list).map_err(Failure::failed)?.table))
    }

    fn ran(&self, drive: Drive<'_>, deadline: Nanos) -> Result<Ran, Failure> {
        let mut runs = Vec::new();
        for seed in virtual_board::FIRST_SEED..virtual_board::FIRST_SEED + SEEDS {
            let case = virtual_board::VirtualRun {
                board: self.board.to_owned(),
                seed,
                network: self.network.clone(),
                pace: Pace { deadline, period: deadline },
                frames: FRAMES,
                triggers: None,
                sizes: Vec::new(),
            };
            runs.push(case.run(drive, &Stop::never(), |_| Ok(()))?);
        }
        Ok(means(&runs))
    }
}

fn means(runs: &[Summary]) -> Ran {
    let frames = runs.iter().map(|run| run.frames).sum::<u64>().max(1) as f64;
    let miss_rate = runs.iter().map(|run| run.missed).sum::<u64>() as f64 / frames;
    let energy_j: f64 = runs.iter().filter_map(|run| run.energy).map(|energy| energy.as_joules_f64()).sum();
    let time_s: f64 = runs.iter().flat_map(|run| &run.times).map(|time| time.as_secs_f64()).sum();
    let rates: Vec<f64> = runs.iter().map(Summary::miss_rate).collect();
    Ran {
        time_s: time_s / frames,
        miss_rate,
        miss_rate_95: mean_interval(&rates).map(|(low, high)| [low.max(0.0), high]),
        meets_risk: miss_rate <= RISK,
        energy_j: energy_j / frames,
        over_oracle: None,
    }
}
