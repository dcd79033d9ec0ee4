//! `jetpace recalibrate`: what cron runs at night. Looks whether the tables that this machine keeps still hold, and measures
//! anew where they do not; what is worse than what is there is thrown away.

pub mod config;
mod measure;
mod place;
mod verdict;

use std::fmt;
use std::path::{Path, PathBuf};

use jetpace_tables::model::Model;
use jetpace_tables::table::Table;
use jetpace_tables::units::Hertz;

use super::predict;
use crate::args::BoardArg;
use crate::calibrate::Looked;
use crate::failure::{Failure, Reason};
use crate::files::output::{print_text, say};
use crate::files::{model, table};
use crate::runtime::remote;
use crate::runtime::wire::Request;
use crate::signals::Stop;
use config::Config;
use place::{MODEL, Place, TABLE};

/// Options of `recalibrate`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The tables; all of the folder's where none is named
    #[arg(value_name = "NAME", required_if_eq("rollback", "true"))]
    names: Vec<String>,
    /// The folder with a file NAME.toml for every table
    #[arg(long, default_value = config::FOLDER, value_name = "FOLDER")]
    config: PathBuf,
    /// Say what would be done, by what can be told without a measurement; nothing is measured or written
    #[arg(long)]
    dry_run: bool,
    /// Put the table before this one back into use
    #[arg(long, conflicts_with = "dry_run")]
    rollback: bool,
}

/// What has to be done for a table.
enum Need {
    /// A whole sweep.
    Sweep(Why),
    /// The model holds, as this says; but another plan is asked for.
    Plan(String),
    /// All holds, as this says.
    Nothing(String),
}

/// Why a sweep is needed.
struct Why {
    /// In words.
    said: String,
    /// What is in use is of this board and network.
    same: bool,
    /// Another plan is asked for as well, which the model in use can make should the sweep be refused.
    plan: Option<String>,
    /// What is in use can be read.
    whole: bool,
}

/// What is in use.
struct InUse {
    table: Box<Table>,
    model: Model,
}

impl Args {
    /// Does it for every table; one that cannot be done keeps no other from being done.
    pub fn run(self) -> Result<(), Failure> {
        let files = self.files()?;
        let (mut configs, mut failed) = (Vec::new(), None);
        for file in files {
            match Config::read(&file) {
                Ok(config) => configs.push(config),
                Err(failure) => hold_back(&mut failed, failure),
            }
        }
        config::apart(&mut configs, &mut |failure| hold_back(&mut failed, failure));
        let stop = Stop::install()?;
        for config in &configs {
            let name = &config.name;
            let said = if self.dry_run { would(config) } else { self.keep(config, &stop) };
            match said {
                Ok(line) if self.dry_run => print_text(&format!("{name}: {line}\n"))?,
                Ok(line) => say(format_args!("{name}: {line}")),
                Err(e) => hold_back(&mut failed, Failure::new(e.reason(), format_args!("{name}: {e}"))),
            }
            if stop.signal().is_some() {
                failed.iter().for_each(say);
                stop.die();
            }
        }
        failed.map_or(Ok(()), Err)
    }

    /// The files of the tables that are named.
    fn files(&self) -> Result<Vec<PathBuf>, Failure> {
        let mut files = config::files(&self.config)?;
        let folder = self.config.display();
        let all: Vec<String> = files.iter().map(|file| config::name(file)).collect();
        let names: Vec<&str> = self.names.iter().map(|name| name.strip_suffix(".toml").unwrap_or(name)).collect();
        if let Some(unknown) = names.iter().find(|name| !all.iter().any(|there| there == *name)) {
            let there = if all.is_empty() { "none".to_owned() } else { all.join(", ") };
            return Err(Failure::usage(format_args!("{folder} has no table {unknown:?}; it has {there}")));
        }
        if !names.is_empty() {
            files.retain(|file| names.contains(&config::name(file).as_str()));
        }
        if files.is_empty() {
            say(format_args!("{folder}: no file NAME.toml, so there is nothing to do"));
        }
        Ok(files)
    }

    /// Keeps one table; what came of it in a line.
    fn keep(&self, config: &Config, stop: &Stop) -> Result<String, Failure> {
        let place = Place::open(&config.folder)?;
        // What a killed run left.
        place.give_up()?;
        if self.rollback {
            return roll_back(config, &place);
        }
        the_clock_is_free(config)?;
        let (made, whole) = match need(config, Some(stop))? {
            Need::Nothing(how) => return Ok(format!("kept: {how}")),
            Need::Plan(why) => (planned_anew(config, &place, &why), true),
            Need::Sweep(why) => (measured_anew(config, &place, &why, stop), why.whole),
        };
        let swapped = made.and_then(|line| place.swap(whole).map(|()| line));
        if swapped.is_err() {
            // What was begun is of no use; the next one that begins removes it where this fails.
            let _ = place.give_up();
        }
        swapped
    }
}

/// The next table by the model in use; in words how it went.
fn planned_anew(config: &Config, place: &Place, why: &str) -> Result<String, Failure> {
    let next = place.begin_with_model()?;
    measure::plan(config, &next).map(|()| format!("swapped: planned anew, {why}"))
}

/// The next table by a sweep. Where that is refused, by the model in use if another plan was asked for.
fn measured_anew(config: &Config, place: &Place, why: &Why, stop: &Stop) -> Result<String, Failure> {
    let next = place.begin()?;
    let said = &why.said;
    match measure::measure(config, &next, why.same, stop) {
        Ok(how) => Ok(format!("swapped: {said}; {how}")),
        Err(_) if stop.signal().is_some() => Err(Failure::failed("interrupted: the next run begins anew")),
        Err(e) => match &why.plan {
            Some(plan) => planned_anew(config, place, &format!("{plan}, by the model in use; {e} ({said})")),
            None => Err(Failure::new(e.reason(), format_args!("{e} ({said})"))),
        },
    }
}

/// Puts the table before this one back into use, if it is whole and this network's.
fn roll_back(config: &Config, place: &Place) -> Result<String, Failure> {
    let before = place.previous();
    let Some(found) = in_folder(&before) else {
        let path = before.join(TABLE);
        return Err(Failure::failed(format_args!(
            "there is no table before this one: {} is not there",
            path.display()
        )));
    };
    let InUse { table, model } =
        found.map_err(|e| Failure::failed(format_args!("the table before this one cannot be used: {e}")))?;
    if !model.networks().contains(&config.network.as_str()) {
        return Err(Failure::failed(format_args!(
            "the table before this one is not of {}, which the table's file asks for: {}",
            config.network,
            before.display()
        )));
    }
    place.roll_back()?;
    Ok(format!(
        "rolled back: {} is the table before, for a deadline of {} and a period of {}; the next run may measure or plan \
         anew",
        place.file(TABLE).display(),
        table.deadline(),
        table.period()
    ))
}

/// What would be done, as far as that can be told without a measurement.
fn would(config: &Config) -> Result<String, Failure> {
    nobody_is_active(config)?;
    Ok(match need(config, None)? {
        Need::Nothing(how) => how,
        Need::Plan(why) => format!("would be planned anew, {why}"),
        Need::Sweep(why) => format!("would be measured: {}", why.said),
    })
}

/// Keeps a failure for the end of the program, and says the others: what goes by itself is not kept where something else
/// failed.
fn hold_back(held: &mut Option<Failure>, failure: Failure) {
    let goes = |failure: &Failure| failure.reason() == Reason::NotNow;
    let other = match held.take() {
        Some(before) if goes(&failure) || !goes(&before) => {
            *held = Some(before);
            Some(failure)
        }
        before => {
            *held = Some(failure);
            before
        }
    };
    other.iter().for_each(|other| say(format_args!("jetpace: {other}")));
}

/// Something that is done another time.
fn not_now(why: impl fmt::Display) -> Failure {
    Failure::new(Reason::NotNow, why)
}

/// What the daemon says of itself, or a run in its place; `None` where nobody listens, or nobody answers.
fn daemon(config: &Config) -> Option<serde_json::Value> {
    let status = remote::document(&config.board.daemon()?, &Request::Status).ok()?;
    serde_json::from_slice(&status).ok()
}

/// Refuses to measure while a program has its clock from the daemon, or runs in its place.
fn nobody_is_active(config: &Config) -> Result<(), Failure> {
    daemon(config).map_or(Ok(()), |status| no_client(&status))
}

fn no_client(status: &serde_json::Value) -> Result<(), Failure> {
    let Some(client) = status["clients"].as_array().and_then(|clients| clients.first()) else { return Ok(()) };
    Err(not_now(format_args!("not now: process {} has its clock from the daemon", client["pid"])))
}

/// The same where nobody is active, but a daemon waits for somebody: one process has this machine's clocks. A virtual board
/// in memory is nobody else's.
fn the_clock_is_free(config: &Config) -> Result<(), Failure> {
    let Some(status) = daemon(config) else { return Ok(()) };
    no_client(&status)?;
    match config.board {
        BoardArg::Sim(_) => Ok(()),
        _ => Err(not_now(format_args!(
            "not now: the daemon (process {}) has the clocks; stop it meanwhile, as jetpace-recalibrate.service does",
            status["pid"]
        ))),
    }
}

/// What has to be done, by a look at the board where there is somebody to stop it.
fn need(config: &Config, look: Option<&Stop>) -> Result<Need, Failure> {
    let sweep = |why: &str, whole| Ok(Need::Sweep(Why { said: why.to_owned(), same: false, plan: None, whole }));
    let InUse { table, model } = match in_folder(&config.folder) {
        None => return sweep("there was no table", false),
        Some(Err(e)) => return sweep(&format!("what was there could not be read: {e}"), false),
        Some(Ok(found)) => found,
    };
    let board = config.board.discover()?;
    if !board.digests().include(table.board()) {
        return sweep("the board, its power mode or its release is another", true);
    }
    if !model.networks().contains(&config.network.as_str()) {
        return sweep("the table was of another network", true);
    }
    let asked = (config.deadline, config.period, (config.risk * 1e6).round() as u32);
    let other = (asked != (table.deadline(), table.period(), table.risk_ppm())).then(|| {
        format!("for a deadline of {} and a period of {}, risk {}", config.deadline, config.period, config.risk)
    });
    let Some(stop) = look else {
        return Ok(other.map_or(Need::Nothing("would be looked at".to_owned()), Need::Plan));
    };
    let (drifted, how) = look_at(config, &table, &model, stop)?;
    Ok(match (drifted, other) {
        (true, plan) => Need::Sweep(Why { said: how, same: true, plan, whole: true }),
        (false, Some(other)) => Need::Plan(other),
        (false, None) => Need::Nothing(how),
    })
}

/// The table and the model of a folder, where they are whole and belong together; `None` where there are none.
fn in_folder(folder: &Path) -> Option<Result<InUse, Failure>> {
    let path = folder.join(TABLE);
    if !path.exists() {
        return None;
    }
    let read = || {
        let table = table::read(&path)?;
        let (model, digest) = model::read(&folder.join(MODEL))?;
        if *table.model() != digest {
            return Err(Failure::usage(format_args!("{} is not of the model beside it", path.display())));
        }
        Ok(InUse { table, model })
    };
    Some(read())
}

/// Looks at the lowest and the highest of the table's clocks: whether the model does not hold any more, and how far it is
/// off.
fn look_at(config: &Config, table: &Table, model: &Model, stop: &Stop) -> Result<(bool, String), Failure> {
    let clocks: Vec<Hertz> =
        [table.clocks().first(), table.clocks().last()].into_iter().flatten().map(|at| at.clock).collect();
    let looked = measure::look(config, &clocks, stop)?;
    if let Some(spoilt) = looked.iter().find(|looked| !looked.spoilt.is_empty()) {
        return Err(not_now(format_args!("not now: at {} nothing can be told: {}", spoilt.clock, spoilt.spoilt)));
    }
    if looked.len() < clocks.len() {
        return Err(not_now("not now: a clock of the table is not allowed, so nothing can be told"));
    }
    let blocks = model.blocks(&config.network, table.emc());
    if blocks.is_empty() {
        return Ok((true, "the model says nothing of the table's memory clock".to_owned()));
    }
    let off = |looked: &Looked| {
        let idle_w = model.idle_w(looked.clock, table.emc());
        verdict::off(looked, &predict::frame(&blocks, looked.clock, None), idle_w)
    };
    let seen: Vec<verdict::Off> = looked.iter().map(off).collect();
    let said = |off: &verdict::Off| {
        let (clock, time, power) = (off.clock, off.time * 1e2, off.power * 1e2);
        let (time_within, power_within) = (off.within.0 * 1e2, off.within.1 * 1e2);
        format!(
            "at {clock} time {time:+.1} % (within {time_within:.1}), power {power:+.1} % (within {power_within:.1})"
        )
    };
    let said = seen.iter().map(said).collect::<Vec<_>>().join("; ");
    let drifted = seen.iter().any(|off| off.drifted);
    Ok((drifted, if drifted { format!("drift: {said}") } else { format!("holds: {said}") }))
}
