//! The tables that a machine keeps: `/etc/jetpace/NAME.toml`, one file each. What is not known in one is refused: a key
//! that was mistyped would be followed for years.

use std::fmt;
use std::fs;
use std::ops::Range;
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};

use jetpace_tables::units::Nanos;
use serde::Deserialize;
use serde::de::{Deserializer, Error, Visitor};
use toml::Spanned;

use super::place::{BESIDE, TABLE, beside};
use crate::args::{BoardArg, network};
use crate::commands::plan::RISK;
use crate::failure::Failure;
use crate::runtime::access::is_trusted;

/// Where the files lie.
pub const FOLDER: &str = "/etc/jetpace";
/// Below it every table has a folder of its name.
const KEPT: &str = "/var/lib/jetpace";
/// No file of that kind is larger, in bytes.
const MOST: u64 = 65_536;

/// A table that is kept.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// The file's name without its ending: the table's.
    pub name: String,
    /// The network.
    pub network: String,
    /// Weights for it, on a real GPU.
    pub weights: Option<PathBuf>,
    /// The machine.
    pub board: BoardArg,
    /// Seed of a virtual board, or of random weights.
    pub seed: u64,
    /// Latest end of a frame, from its start.
    pub deadline: Nanos,
    /// Time between frame starts, at least the deadline.
    pub period: Nanos,
    /// Accepted probability that a frame misses its deadline.
    pub risk: f64,
    /// How long frames may be measured in a sweep; as long as `calibrate` takes where there is none.
    pub budget: Option<Nanos>,
    /// Where the sweep, the model and the table go.
    pub folder: PathBuf,
}

/// The file, as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    network: Spanned<String>,
    weights: Option<Spanned<PathBuf>>,
    board: Option<Spanned<String>>,
    seed: Option<u64>,
    deadline: Spanned<Time>,
    period: Option<Spanned<Time>>,
    risk: Option<Spanned<f64>>,
    budget: Option<Spanned<Time>>,
    folder: Option<Spanned<PathBuf>>,
}

/// A time with its unit, such as "40ms".
#[derive(Clone, Copy)]
struct Time(Nanos);

impl<'de> Deserialize<'de> for Time {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;
        impl Visitor<'_> for Text {
            type Value = Time;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a time with its unit in quotes, such as \"40ms\"")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Time, E> {
                text.parse().map(Time).map_err(|e| E::custom(format_args!("`{text}` is {e}")))
            }
        }
        deserializer.deserialize_str(Text)
    }
}

/// The files of a folder, by name.
///
/// # Errors
/// Where the folder cannot be listed.
pub fn files(folder: &Path) -> Result<Vec<PathBuf>, Failure> {
    let failed = |e: &std::io::Error| match e.kind() {
        std::io::ErrorKind::NotFound => Failure::failed(format_args!(
            "{}: {e}: make it, and in it a file NAME.toml for every table that is to be kept",
            folder.display()
        )),
        _ => Failure::file(folder, e),
    };
    let entries = fs::read_dir(folder).and_then(Iterator::collect::<Result<Vec<_>, _>>).map_err(|e| failed(&e))?;
    let mut files: Vec<PathBuf> = entries.iter().map(fs::DirEntry::path).collect();
    // Editors leave files of their own, which begin with a dot.
    let hidden = |path: &Path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.'));
    files.retain(|path| path.extension().is_some_and(|ending| ending == "toml") && !hidden(path));
    files.sort();
    Ok(files)
}

/// The table's name, by its file's.
pub fn name(file: &Path) -> String {
    file.file_stem().unwrap_or_default().to_string_lossy().into_owned()
}

impl Config {
    /// Reads a file.
    ///
    /// # Errors
    /// Exit code 2 for whatever is wrong in it: file, line, key or value, and what may stand there.
    pub fn read(path: &Path) -> Result<Self, Failure> {
        let name = name(path);
        let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        if name.is_empty() || !name.chars().all(plain) || BESIDE.iter().any(|ending| name.ends_with(ending)) {
            return Err(Failure::usage(format_args!(
                "{:?} is no name of a table's file: letters, digits, `-`, `_` and `.`, and not ending with .next, .previous or \
                 .links before .toml",
                path
            )));
        }
        let text = text(path)?;
        let at = |span: Option<Range<usize>>, why: &dyn fmt::Display| {
            let before = span.and_then(|span| text.get(..span.start));
            let line = before.map_or(String::new(), |before| format!(":{}", before.matches('\n').count() + 1));
            Failure::usage(format_args!("{}{line}: {why}", path.display()))
        };
        let written: Written = toml::from_str(&text).map_err(|e| match e.message() {
            // It has no place in the file.
            missing if missing.starts_with("missing field") => at(None, &format_args!("{missing}: add it")),
            message => at(e.span(), &message),
        })?;
        Self::checked(path, written).map_err(|(span, why)| at(Some(span), &why))
    }

    /// What each value alone does not tell.
    fn checked(path: &Path, written: Written) -> Result<Self, (Range<usize>, String)> {
        let name = name(path);
        let deadline = written.deadline.get_ref().0;
        let period = written.period.as_ref().map_or(deadline, |period| period.get_ref().0);
        let risk = written.risk.as_ref().map_or(RISK, |risk| *risk.get_ref());
        let folder = written.folder.as_ref().map_or_else(|| Path::new(KEPT).join(&name), |it| it.get_ref().clone());
        network(written.network.get_ref()).map_err(|e| (written.network.span(), e.to_string()))?;
        if deadline == Nanos::ZERO {
            return Err((written.deadline.span(), "no frame ends in no time: a deadline is above 0".to_owned()));
        }
        if let Some(written) = written.period.as_ref().filter(|_| period < deadline) {
            let why = format!("a period of {period} is shorter than the deadline of {deadline}: it is that or longer");
            return Err((written.span(), why));
        }
        if let Some(written) = written.risk.as_ref().filter(|_| !(risk > 0.0 && risk < 1.0)) {
            return Err((written.span(), format!("a risk of {risk} is no probability between 0 and 1, such as 0.01")));
        }
        if let Some(written) = written.folder.as_ref().filter(|_| !is_a_place(&folder)) {
            let why = format!(
                "{folder:?} is no absolute path of a folder, such as {KEPT}/{name}, without `..` and not ending with .next, \
                 .previous or .links"
            );
            return Err((written.span(), why));
        }
        if let Some(none) = written.budget.as_ref().filter(|budget| budget.get_ref().0 == Nanos::ZERO) {
            return Err((none.span(), "nothing is measured in no time: a budget is above 0".to_owned()));
        }
        let board = written
            .board
            .as_ref()
            .map_or(Ok(BoardArg::Auto), |board| readable(board.get_ref()).map_err(|why| (board.span(), why)))?;
        if let Some(relative) = written.weights.as_ref().filter(|weights| !weights.get_ref().is_absolute()) {
            let why = format!("{} is no absolute path, and cron starts anywhere", relative.get_ref().display());
            return Err((relative.span(), why));
        }
        if let Some(absent) = written.weights.as_ref().filter(|weights| !weights.get_ref().is_file()) {
            return Err((absent.span(), format!("{} is no file", absent.get_ref().display())));
        }
        Ok(Self {
            network: written.network.into_inner(),
            weights: written.weights.map(Spanned::into_inner),
            board,
            seed: written.seed.unwrap_or(1),
            budget: written.budget.map(|budget| budget.into_inner().0),
            name,
            deadline,
            period,
            risk,
            folder,
        })
    }

    /// The table's file.
    pub fn table(&self) -> PathBuf {
        self.folder.join(TABLE)
    }
}

/// A file's text; one that others may write, a pipe or a whole disk is not read, by root least of all.
fn text(path: &Path) -> Result<String, Failure> {
    let found = fs::metadata(path).map_err(|e| Failure::file(path, &e))?;
    let shown = path.display();
    if !found.is_file() || found.len() > MOST {
        return Err(Failure::usage(format_args!("{shown} is no file, or larger than {MOST} bytes")));
    }
    if !is_trusted(found.uid()) || found.mode() & 0o002 != 0 {
        return Err(Failure::usage(format_args!(
            "{shown} could be another's (user {}, mode {:o}): chown root and chmod 644 it",
            found.uid(),
            found.mode() & 0o7777
        )));
    }
    let bytes = fs::read(path).map_err(|e| Failure::file(path, &e))?;
    String::from_utf8(bytes).map_err(|e| {
        let before = &e.as_bytes()[..e.utf8_error().valid_up_to()];
        let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
        Failure::usage(format_args!("{shown}:{line}: not UTF-8"))
    })
}

/// Whether a folder can be one of a table's.
fn is_a_place(folder: &Path) -> bool {
    let text = folder.to_string_lossy();
    folder.is_absolute()
        && folder.file_name().is_some()
        && !folder.components().any(|part| part == Component::ParentDir)
        && !text.chars().any(char::is_control)
        && !BESIDE.iter().any(|ending| text.ends_with(ending))
}

/// A board that there can be.
fn readable(text: &str) -> Result<BoardArg, String> {
    let board = BoardArg::from(std::ffi::OsString::from(text));
    match &board {
        BoardArg::Auto => {}
        BoardArg::Sim(name) => {
            jetpace_devfreq::sim::Board::new(name, 1).map_err(|e| e.to_string())?;
        }
        BoardArg::Live(name) if jetpace_devfreq::sim::NAMES.contains(&name.as_str()) => {}
        BoardArg::Tree(root) if root.is_absolute() && root.is_dir() => {}
        _ => return Err(format!("{text:?} is no board: auto, sim:NAME, live:NAME, or a tree's absolute path")),
    }
    Ok(board)
}

/// Takes out tables that would throw each other's away, and says of each pair why.
pub fn apart(all: &mut Vec<Config>, refused: &mut dyn FnMut(Failure)) {
    let places: Vec<PathBuf> = all.iter().map(|config| real(&config.folder)).collect();
    let mut wrong = vec![false; all.len()];
    for (at, one) in places.iter().enumerate() {
        for (before, other) in places[..at].iter().enumerate() {
            let within = |folder: &Path, of: &Path| {
                folder.starts_with(of) || BESIDE.iter().any(|ending| folder.starts_with(beside(of, ending)))
            };
            if within(one, other) || within(other, one) {
                (wrong[at], wrong[before]) = (true, true);
                refused(Failure::usage(format_args!(
                    "{}.toml and {}.toml keep their tables in one folder, or one within the other's, {} and {}: give one of \
                     them another `folder`",
                    all[before].name,
                    all[at].name,
                    other.display(),
                    one.display()
                )));
            }
        }
    }
    let mut wrong = wrong.into_iter();
    all.retain(|_| wrong.next() != Some(true));
}

/// Where a path leads, as far as that is there.
fn real(path: &Path) -> PathBuf {
    let found = path.ancestors().find_map(|above| {
        let rest = path.strip_prefix(above).ok()?;
        Some(fs::canonicalize(above).ok()?.join(rest))
    });
    found.unwrap_or_else(|| path.to_owned())
}
