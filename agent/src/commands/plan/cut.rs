//! `plan --cut`: how many blocks to run here, at which clocks, and how many on a server.
//!
//! With the cut after block s, the blocks up to s are a frame of their own: it ends as much before the deadline as sending
//! what block s gives, and the blocks behind it on the server, take. Each such frame is planned as any other, so that cut
//! and clocks are chosen together by looking at every cut.

use std::path::PathBuf;

use jetpace_tables::model::Model;
use jetpace_tables::plan::{self, Plan, PlanError, Problem};
use jetpace_tables::table::Digest;
use jetpace_tables::units::{Hertz, Nanos};
use serde::Serialize;

use super::{Args, Follows, Made};
use crate::commands::compare::server::{BUILT_IN, Side, sides};
use crate::failure::Failure;
use crate::files::output::{print_json, print_text, while_working};
use crate::files::{model, table};

#[derive(Serialize)]
struct Document<'a> {
    format: u32,
    deadline_s: f64,
    period_s: f64,
    risk: f64,
    server: String,
    rate_bps: f64,
    /// Where the rate comes from.
    uplink: String,
    transmit_w: f64,
    best: &'a Row<'a>,
    /// How many blocks there are.
    #[serde(skip)]
    blocks: usize,
    /// Every cut that meets the deadline, with the clocks of least energy; not those that turned out late in rehearsal.
    cuts: &'a [Row<'a>],
    /// What following the table comes to in rehearsal, where one was written.
    #[serde(skip_serializing_if = "Option::is_none")]
    table: Option<Follows>,
}

#[derive(Serialize)]
struct Row<'a> {
    cut: usize,
    cut_after: Option<&'a str>,
    /// Of each block here.
    clocks_hz: Vec<Hertz>,
    /// On average.
    local_s: f64,
    upload_s: f64,
    server_s: f64,
    /// Of the module in a period.
    energy_j: f64,
    /// Where the blocks here all run at one clock.
    fixed: Option<Fixed>,
    /// What was planned for the blocks here.
    #[serde(skip)]
    planned: Option<(Problem, Plan)>,
    /// Whether the governor has rehearsed it, as it has the best.
    rehearsed: bool,
}

/// The best clock that is never changed.
#[derive(Serialize)]
struct Fixed {
    clock_hz: Hertz,
    energy_j: f64,
}

/// Plans the cut, prints it, and writes the table of the blocks that run here.
pub fn run(args: &Args, model: &Model, digest: Digest) -> Result<(), Failure> {
    let (rate_bps, uplink) = match (args.rate_mbps, args.channel) {
        (Some(mbps), _) => (mbps * 1e6, "rate as given".to_owned()),
        (None, Some(channel)) => (channel.rate_bps(args.transmit_w), channel.origin(args.transmit_w)),
        (None, None) => return Err(Failure::usage("--cut needs the uplink's --rate-mbps or --channel")),
    };
    let (network, emc, blocks) = model::network(model, args.net.as_deref(), args.emc)?;
    let file = args.cut.iter().flatten().next();
    let sides = sides(file.map(PathBuf::as_path), network)?;
    if sides.len() != blocks.len() + 1 || sides.iter().skip(1).zip(&blocks).any(|(side, b)| side.block != b.name()) {
        return Err(Failure::usage(format_args!("the server's side has other blocks than {network} of the model")));
    }
    let whole = Problem::from_model(model, &args.ask(network, emc)).map_err(|error| args.refused(error))?;
    whole.check().map_err(|error| args.refused(error))?;
    let case = Split { whole: &whole, sides: &sides, rate_bps, transmit_w: args.transmit_w };
    let (mut cuts, mut late) = case.cuts();
    let best = while_working("the best cuts in rehearsal ...", || best(&mut cuts, &mut late));
    let best = best.ok_or_else(|| while_working("the least deadline ...", || Failure::failed(case.refused(late))))?;

    let made = cuts[best].planned.clone().map(|(problem, plan)| Made {
        least: plan.outcome.energy_j,
        problem,
        plan,
        network: network.to_owned(),
        emc,
        size: args.largest(),
        smaller: Vec::new(),
    });
    let warnings = match &made {
        Some(made) => args.unmeasured(model, made),
        None => args.cpu_clock.and_then(|now| model::other_cpu_clock(&blocks, now)).into_iter().collect(),
    };
    for warning in warnings {
        eprintln!("warning: {warning}");
    }
    let table = match (&args.output, &made) {
        (Some(_), None) => {
            return Err(Failure::failed("nothing is to run here, so there is no table to write: leave -o out"));
        }
        (Some(path), Some(made)) => {
            let rehearsed = || args.table(model, digest, made, f64::INFINITY);
            let (planned, follows) = while_working("tables in rehearsal ...", rehearsed)?;
            table::write(path, &planned)?;
            Some(follows)
        }
        (None, _) => None,
    };
    let document = Document {
        format: 1,
        deadline_s: whole.deadline_s,
        period_s: whole.period_s,
        risk: whole.risk,
        server: file.map_or(BUILT_IN.to_owned(), |path| path.display().to_string()),
        rate_bps,
        uplink,
        transmit_w: args.transmit_w,
        best: &cuts[best],
        blocks: blocks.len(),
        cuts: &cuts,
        table,
    };
    if args.json { print_json(&document) } else { print_text(&text(&document)) }
}

/// Where to cut, and what that costs besides the blocks here.
struct Split<'a> {
    whole: &'a Problem,
    sides: &'a [Side],
    rate_bps: f64,
    transmit_w: f64,
}

impl<'a> Split<'a> {
    /// All that meet the deadline, in order; and those that do not.
    fn cuts(&self) -> (Vec<Row<'a>>, Vec<usize>) {
        let (mut rows, mut late) = (Vec::new(), Vec::new());
        for cut in 0..=self.whole.blocks.len() {
            match self.planned(cut, self.whole.deadline_s - self.away_s(cut)) {
                Some(row) => rows.push(row),
                None => late.push(cut),
            }
        }
        (rows, late)
    }

    /// That none of these holds, with the least deadline at which one of them does. Those first that promise most.
    fn refused(&self, late: Vec<usize>) -> PlanError {
        let Problem { deadline_s, risk, .. } = *self.whole;
        let least_bound_s = |cut: usize| {
            let problem = self.whole.first_blocks(cut);
            let fixed = (0..problem.clocks.len()).filter_map(|clock| plan::fixed(&problem, clock));
            fixed.map(|(_, outcome)| problem.bound_s(&outcome)).fold(f64::INFINITY, f64::min)
        };
        let bound_s = |cut: usize| self.away_s(cut) + if cut == 0 { 0.0 } else { least_bound_s(cut) };
        let mut late: Vec<(f64, usize)> = late.into_iter().map(|cut| (bound_s(cut), cut)).collect();
        late.sort_by(|a, b| a.0.total_cmp(&b.0));
        let mut least_s = f64::INFINITY;
        for (bound_s, cut) in late {
            if bound_s >= least_s {
                break;
            }
            let away_s = self.away_s(cut);
            let local_s = if cut == 0 { 0.0 } else { plan::least_deadline(&self.whole.first_blocks(cut), away_s) };
            // Deadlines are said in whole microseconds.
            least_s = least_s.min(((away_s + local_s) * 1e6).ceil() * 1e-6);
        }
        PlanError::Unreachable { deadline_s, risk, least_s }
    }

    /// The blocks here in the time that is left to them; `None` where that is too short.
    fn planned(&self, cut: usize, left_s: f64) -> Option<Row<'a>> {
        let whole = self.whole;
        let (upload_s, server_s) = (self.upload_s(cut), self.server_s(cut));
        let sending_j = self.transmit_w * upload_s;
        let mut row = Row {
            cut,
            cut_after: cut.checked_sub(1).map(|last| whole.blocks[last].name.as_str()),
            clocks_hz: Vec::new(),
            local_s: 0.0,
            upload_s,
            server_s,
            energy_j: sending_j,
            fixed: None,
            planned: None,
            rehearsed: cut == 0,
        };
        if cut == 0 {
            row.energy_j += whole.idle_w.iter().copied().fold(f64::INFINITY, f64::min) * whole.period_s;
            return (left_s >= 0.0).then_some(row);
        }
        let problem = Problem { deadline_s: left_s, ..whole.first_blocks(cut) };
        let plan = plan::plan(&problem).ok()?;
        row.fixed = plan.best_fixed.as_ref().map(|(clock, _, outcome)| Fixed {
            clock_hz: whole.clocks[*clock],
            energy_j: outcome.energy_j + sending_j,
        });
        row.plan(problem, plan);
        Some(row)
    }

    fn away_s(&self, cut: usize) -> f64 {
        self.upload_s(cut) + self.server_s(cut)
    }

    fn upload_s(&self, cut: usize) -> f64 {
        let sent = if cut == self.whole.blocks.len() { 0.0 } else { self.sides[cut].output_bytes };
        8.0 * sent / self.rate_bps
    }

    fn server_s(&self, cut: usize) -> f64 {
        // Folded from 0.0, as the sum of nothing is -0.0.
        self.sides[cut + 1..].iter().fold(0.0, |sum, side| sum + side.server_s)
    }
}

impl Row<'_> {
    /// With another plan for the blocks here.
    fn plan(&mut self, problem: Problem, plan: Plan) {
        let before_j = self.planned.as_ref().map_or(0.0, |(_, before)| before.outcome.energy_j);
        self.energy_j += plan.outcome.energy_j - before_j;
        self.local_s = plan.outcome.time_s;
        self.clocks_hz = plan.block_clocks.iter().map(|clock| problem.clocks[*clock]).collect();
        self.planned = Some((problem, plan));
    }
}

/// The cut of least energy that holds in rehearsal. Rehearsing takes long and makes no plan cheaper, so only the cuts are
/// rehearsed that are the best until then; one that does not hold is put to those that are late.
fn best(cuts: &mut Vec<Row<'_>>, late: &mut Vec<usize>) -> Option<usize> {
    loop {
        let (at, row) = cuts.iter_mut().enumerate().min_by(|a, b| a.1.energy_j.total_cmp(&b.1.energy_j))?;
        let Some((problem, _)) = row.planned.clone().filter(|_| !row.rehearsed) else { return Some(at) };
        row.rehearsed = true;
        match plan::held(&problem) {
            Ok(Some(plan)) => row.plan(problem, plan),
            _ => late.push(cuts.remove(at).cut),
        }
    }
}

fn text(document: &Document<'_>) -> String {
    let line = |row: &Row<'_>| {
        let clocks = match (row.clocks_hz.iter().min(), row.clocks_hz.iter().max()) {
            (Some(low), Some(high)) if low < high => format!("{low} to {high}"),
            (Some(only), _) => only.to_string(),
            (None, _) => "-".to_owned(),
        };
        let fixed = row.fixed.as_ref().filter(|fixed| fixed.energy_j > row.energy_j * (1.0 + 1e-9));
        let fixed = fixed
            .map_or(String::new(), |fixed| format!("  ({:.4} J at {} throughout)", fixed.energy_j, fixed.clock_hz));
        format!(
            "{:<22} {clocks:>24}  here {:.2} ms, sending {:.2} ms, server {:.2} ms  {:.4} J{fixed}\n",
            super::super::compare::where_cut(row.cut_after, row.cut == document.blocks),
            row.local_s * 1e3,
            row.upload_s * 1e3,
            row.server_s * 1e3,
            row.energy_j
        )
    };
    let cuts: String = document.cuts.iter().map(line).collect();
    let table = document.table.as_ref().map_or(String::new(), |table| {
        format!(
            "table of the blocks here: {:.4} J, misses {:.4}\n{}",
            table.energy_j, table.miss_probability, table.beside
        )
    });
    let (server, rate, uplink) = (&document.server, document.rate_bps / 1e6, &document.uplink);
    let (deadline, period) = (Nanos::from_secs_f64(document.deadline_s), Nanos::from_secs_f64(document.period_s));
    format!(
        "server {server}; uplink {rate:.2} Mbit/s, {uplink}; deadline {deadline}, energy of a period of {period}\n\n{cuts}\n\
         best: {}{table}",
        line(document.best)
    )
}
