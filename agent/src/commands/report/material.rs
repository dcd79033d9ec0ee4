//! The files of a report, each read as what it is.

use std::fs;
use std::path::{Path, PathBuf};

use jetpace_tables::fit::{Options, fit};
use jetpace_tables::model::Model;
use jetpace_tables::sample::Sweep;
use jetpace_tables::table::{Digest, Table};
use jetpace_tables::units::Nanos;
use serde::Deserialize;
use sha2::{Digest as _, Sha256};

use super::log::Log;
use super::{Goal, name};
use crate::failure::Failure;
use crate::files::kind::Kind;
use crate::files::{model, sweep, table};

/// What is larger is no file of this kind, or not one to read whole.
const MOST: u64 = 1 << 30;

/// A file with what it holds.
#[derive(Debug)]
pub struct Of<T> {
    pub path: PathBuf,
    pub is: T,
}

/// A model, given or fitted here, with the sweep beside it.
#[derive(Debug)]
pub struct Source {
    /// The model's file, or the sweep's where the model was fitted here.
    pub path: PathBuf,
    pub model: Model,
    /// Of the model's file; `None` where it was fitted here.
    pub digest: Option<Digest>,
    pub sweep: Option<Of<Sweep>>,
    /// All clocks of that sweep, fitted here, where the model was given: it may not have seen all of them.
    pub all: Option<Model>,
}

impl Source {
    /// How the figures came about: a sweep says it, a model only by its board's name.
    pub fn evidence(&self) -> String {
        let said = self.sweep.as_ref().and_then(|sweep| sweep.is.field("evidence"));
        match (said, self.board()) {
            (Some("import"), _) => "measured data (imported from another tool)".to_owned(),
            (Some(said), _) => said.to_owned(),
            (None, Some(board)) if board.starts_with("sim:") => "virtual".to_owned(),
            (None, None) => "measured data (a published sweep)".to_owned(),
            (None, Some(_)) => "measured data (its model does not say how; its sweep would)".to_owned(),
        }
    }

    /// The board by its name.
    pub fn board(&self) -> Option<&str> {
        self.model.board.as_ref().map(|board| board.name.as_str())
    }
}

/// `run --json`, as much as a report needs.
#[derive(Debug, Deserialize)]
pub struct Ran {
    pub evidence: String,
    pub board: String,
    pub network: String,
    pub policy: String,
    pub deadline_s: f64,
    pub period_s: f64,
    pub risk: f64,
    pub frames: u64,
    pub missed: u64,
    pub energy_j: Option<f64>,
    pub switches: u64,
    pub handed_back: Option<String>,
    pub time_s: Times,
    pub baselines: Baselines,
}

#[derive(Debug, Deserialize)]
pub struct Times {
    pub p50: f64,
    pub p99: f64,
    pub max: f64,
}

#[derive(Debug, Deserialize)]
pub struct Baselines {
    pub stock_governor: Option<Baseline>,
    pub best_fixed: Option<Baseline>,
}

#[derive(Debug, Deserialize)]
pub struct Baseline {
    pub clock_hz: Option<u64>,
    pub missed: u64,
    pub energy_j: Option<f64>,
}

/// `hold --json`.
#[derive(Debug, Deserialize)]
pub struct Held {
    pub deadline_s: f64,
    pub risk: f64,
    pub before: Option<Stretch>,
    pub held: Stretch,
    pub clocks: Vec<AtClock>,
}

#[derive(Debug, Deserialize)]
pub struct Stretch {
    pub time_s: f64,
    pub frames: u64,
    pub late: Option<u64>,
    pub energy_j: Option<f64>,
}

impl Stretch {
    /// Its mean power, where the energy is known.
    pub fn watts(&self) -> Option<f64> {
        self.energy_j.filter(|_| self.time_s > 0.0).map(|joules| joules / self.time_s)
    }
}

#[derive(Debug, Deserialize)]
pub struct AtClock {
    pub clock_hz: u64,
    pub time_s: f64,
}

/// All files.
#[derive(Debug, Default)]
pub struct Material {
    pub sources: Vec<Source>,
    pub tables: Vec<Of<Box<Table>>>,
    pub runs: Vec<Of<Ran>>,
    pub held: Vec<Of<Held>>,
    pub logs: Vec<Of<Log>>,
    paths: Vec<PathBuf>,
}

impl Material {
    /// Reads the files.
    ///
    /// # Errors
    /// Where one cannot be read, or is nothing that a report tells of; the message names it.
    pub fn read(paths: &[&Path]) -> Result<Self, Failure> {
        let mut all = Self::default();
        let mut sweeps = Vec::new();
        for &path in paths {
            let failed = |e| Failure::file(path, &e);
            if fs::metadata(path).map_err(failed)?.len() > MOST {
                return Err(Failure::usage(format_args!("{}: larger than 1 GiB: cut it into parts", path.display())));
            }
            let (bytes, path) = (fs::read(path).map_err(failed)?, path.to_owned());
            all.paths.push(path.clone());
            match Kind::of(&bytes) {
                Some(Kind::Sweep) => sweeps.push(Of { is: sweep::parse(&bytes, &path)?, path }),
                Some(Kind::Model) => {
                    let digest = Some(Sha256::digest(&bytes).into());
                    let model = model::parse(&bytes, &path)?;
                    all.sources.push(Source { path, model, digest, sweep: None, all: None });
                }
                Some(Kind::Table) => all.tables.push(Of { is: table::decode(&bytes, &path)?, path }),
                Some(Kind::Trace) => all.logs.push(Of { is: Log::trace(&bytes, &path)?, path }),
                Some(Kind::FrameLog) => all.logs.push(Of { is: Log::frames(&bytes, &path)?, path }),
                Some(Kind::Ran) => all.runs.push(Of { is: document::<Ran>(&bytes, &path, Ran::sane)?, path }),
                Some(Kind::Held) => all.held.push(Of { is: document::<Held>(&bytes, &path, Held::sane)?, path }),
                found => {
                    let found = found.map_or("none of jetpace's files".to_owned(), |found| found.to_string());
                    let reads = "report reads sweeps, models, tables, traces, logs of frames, and what `run --json` and `hold \
                                 --json` gave";
                    return Err(Failure::usage(format_args!("{} is {found}; {reads}", path.display())));
                }
            }
        }
        for of in sweeps {
            all.add(of)?;
        }
        Ok(all)
    }

    /// Gives a sweep to the model of its network and board, or fits one.
    fn add(&mut self, of: Of<Sweep>) -> Result<(), Failure> {
        let fitted =
            fit(&of.is, &Options::default()).map_err(|e| Failure::usage(format_args!("{}: {e}", of.path.display())))?;
        let same = |source: &&mut Source| {
            let digest = |model: &Model| model.board.as_ref().map(|board| board.digest.clone());
            let known = |network| source.model.networks().contains(network);
            source.sweep.is_none() && digest(&source.model) == digest(&fitted) && fitted.networks().iter().any(known)
        };
        match self.sources.iter_mut().find(same) {
            Some(source) => (source.sweep, source.all) = (Some(of), Some(fitted)),
            None => {
                let path = of.path.clone();
                self.sources.push(Source { path, model: fitted, digest: None, sweep: Some(of), all: None });
            }
        }
        Ok(())
    }

    /// What a network of a source is planned for: what its tables say, else its runs, else what was asked for.
    pub fn goals(&self, source: &Source, network: &str, asked: Option<Goal>) -> Vec<Goal> {
        let mut goals: Vec<Goal> = asked.into_iter().collect();
        let of_table = |table: &Of<Box<Table>>| Goal {
            deadline: table.is.deadline(),
            period: table.is.period(),
            risk: table.is.risk(),
        };
        goals.extend(self.tables(source, network).map(of_table));
        if goals.is_empty() {
            let ran = self.runs.iter().filter(|ran| ran.is.network == network && self.is_of(ran, source));
            goals.extend(ran.map(|ran| Goal {
                deadline: Nanos::from_secs_f64(ran.is.deadline_s),
                period: Nanos::from_secs_f64(ran.is.period_s),
                risk: ran.is.risk,
            }));
        }
        let mut once: Vec<Goal> = Vec::new();
        for goal in goals {
            if !once.contains(&goal) {
                once.push(goal);
            }
        }
        once
    }

    /// The tables of a source's network: planned from its model, or from one that is not here.
    pub fn tables<'a>(&'a self, source: &'a Source, network: &'a str) -> impl Iterator<Item = &'a Of<Box<Table>>> {
        let here = |digest: &Digest| self.sources.iter().any(|other| other.digest.as_ref() == Some(digest));
        self.tables.iter().filter(move |table| {
            let model = table.is.model();
            table.is.network() == network && (source.digest.as_ref() == Some(model) || !here(model))
        })
    }

    /// Whether a run was on a source's board, as far as names tell.
    fn is_of(&self, ran: &Of<Ran>, source: &Source) -> bool {
        !ran.is.board.starts_with("sim:") || source.board().is_none_or(|board| board == ran.is.board)
    }

    /// What the page is about: its networks and boards, or its files.
    pub fn title(&self) -> String {
        let mut names: Vec<String> = Vec::new();
        for source in &self.sources {
            let on = source.board().map_or(String::new(), |board| format!(" on {board}"));
            names.push(format!("{}{on}", source.model.networks().join(", ")));
        }
        names.extend(self.runs.iter().map(|ran| format!("{} on {}", ran.is.network, ran.is.board)));
        names.extend(self.tables.iter().filter(|_| self.sources.is_empty()).map(|table| table.is.network().to_owned()));
        if names.is_empty() {
            names.extend(self.paths.iter().map(|path| name(path)));
        }
        names.dedup();
        names.join("; ")
    }
}

/// A document of another command, with numbers that can be.
fn document<T: for<'a> Deserialize<'a>>(bytes: &[u8], path: &Path, sane: fn(&T) -> bool) -> Result<T, Failure> {
    let refuse = |why: &dyn std::fmt::Display| Failure::usage(format_args!("{}: {why}", path.display()));
    let document: T = serde_json::from_slice(bytes).map_err(|e| refuse(&format_args!("{e}; is the file cut off?")))?;
    if sane(&document) { Ok(document) } else { Err(refuse(&"a time, an energy or a count in it cannot be")) }
}

fn positive(value: f64) -> bool {
    value.is_finite() && value > 0.0 && value < 1e9
}

impl Ran {
    fn sane(&self) -> bool {
        let energies = [&self.baselines.stock_governor, &self.baselines.best_fixed];
        let energies = energies.into_iter().flatten().filter_map(|baseline| baseline.energy_j).chain(self.energy_j);
        positive(self.deadline_s)
            && self.period_s >= self.deadline_s
            && positive(self.period_s)
            && (0.0..=1.0).contains(&self.risk)
            && self.missed <= self.frames
            && energies.fold(true, |sane, joules| sane && joules.is_finite() && joules >= 0.0)
    }
}

impl Held {
    fn sane(&self) -> bool {
        let stretch =
            |of: &Stretch| of.time_s.is_finite() && of.time_s >= 0.0 && of.late.is_none_or(|late| late <= of.frames);
        positive(self.deadline_s)
            && (0.0..=1.0).contains(&self.risk)
            && stretch(&self.held)
            && self.before.as_ref().is_none_or(stretch)
    }
}
