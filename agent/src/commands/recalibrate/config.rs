//! The tables that a machine keeps: `/etc/jetpace/NAME.toml`, one file each. What is not known in one is refused: a key
//! that was mistyped would be followed for years.

use std::fmt;
use std::fs::{self, OpenOptions};
use std::io::Read;
use std::ops::Range;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Component, Path, PathBuf};

use jetpace_tables::units::Nanos;
use serde::Deserialize;
use serde::de::{Deserializer, Error, Visitor};
use toml::Spanned;

use super::place::{BESIDE, SWEEP, TABLE, beside};
use crate::args::RISK;
use crate::args::{BoardArg, network};
use crate::failure::Failure;
use crate::runtime::access::is_trusted;
use crate::runtime::wire;

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
    /// The network; for a program of one's own the table's name.
    pub network: String,
    /// What the network is of.
    pub of: Of,
    /// The machine.
    pub board: BoardArg,
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

/// What a table is of.
#[derive(Clone, Debug, PartialEq)]
pub enum Of {
    /// One of our own networks.
    Network {
        /// Weights for it, on a real GPU.
        weights: Option<PathBuf>,
        /// Seed of a virtual board, or of random weights.
        seed: u64,
    },
    /// A program of one's own, that tells libjetpace its blocks.
    Program(Program),
}

/// A program of one's own.
#[derive(Clone, Debug, PartialEq)]
pub struct Program {
    /// The shell starts it.
    pub command: String,
    /// Its blocks in the order of their numbers; none: those that it asks for by name.
    pub blocks: Vec<String>,
    /// Whole frames to measure at each clock.
    pub frames: Option<u32>,
    /// An earlier sweep of the board, which has what changes of the clock take.
    pub constants: Option<PathBuf>,
}

/// The file, as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    network: Option<Spanned<String>>,
    weights: Option<Spanned<PathBuf>>,
    seed: Option<Spanned<u64>>,
    cmd: Option<Spanned<String>>,
    blocks: Option<Spanned<Vec<String>>>,
    frames: Option<Spanned<u32>>,
    constants: Option<Spanned<PathBuf>>,
    board: Option<Spanned<String>>,
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
        let mut written: Written = toml::from_str(&text).map_err(|e| match e.message() {
            // It has no place in the file.
            missing if missing.starts_with("missing field") => at(None, &format_args!("{missing}: add it")),
            message => at(e.span(), &message),
        })?;
        let of = of(&mut written).map_err(|(span, why)| at(span, &why))?;
        Self::checked(name, of, written).map_err(|(span, why)| at(Some(span), &why))
    }

    /// What each value alone does not tell.
    fn checked(name: String, of: Of, written: Written) -> Result<Self, (Range<usize>, String)> {
        let deadline = written.deadline.get_ref().0;
        let period = written.period.as_ref().map_or(deadline, |period| period.get_ref().0);
        let risk = written.risk.as_ref().map_or(RISK, |risk| *risk.get_ref());
        let folder = written.folder.as_ref().map_or_else(|| Path::new(KEPT).join(&name), |it| it.get_ref().clone());
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
        if let (Of::Program(_), BoardArg::Sim(_)) = (&of, &board) {
            let span = written.board.map_or(0..0, |board| board.span());
            return Err((span, format!("{board} runs no program: auto, live:NAME, or a tree's absolute path do")));
        }
        Ok(Self {
            network: written.network.map_or_else(|| name.clone(), Spanned::into_inner),
            of,
            board,
            budget: written.budget.map(|budget| budget.into_inner().0),
            name,
            deadline,
            period,
            risk,
            folder,
        })
    }

    /// The sweep behind it.
    pub fn sweep(&self) -> PathBuf {
        self.folder.join(SWEEP)
    }

    /// The table's file.
    pub fn table(&self) -> PathBuf {
        self.folder.join(TABLE)
    }
}

/// What the table is of: a network or a program, with the keys of the one and none of the other.
fn of(written: &mut Written) -> Result<Of, (Option<Range<usize>>, String)> {
    let of_network = [
        ("weights", written.weights.as_ref().map(Spanned::span)),
        ("seed", written.seed.as_ref().map(Spanned::span)),
        ("budget", written.budget.as_ref().map(Spanned::span)),
    ];
    let of_program = [
        ("blocks", written.blocks.as_ref().map(Spanned::span)),
        ("frames", written.frames.as_ref().map(Spanned::span)),
        ("constants", written.constants.as_ref().map(Spanned::span)),
    ];
    let none_of = |keys: [(&str, Option<Range<usize>>); 3], of: &str| {
        let given = keys.into_iter().find(|(_, span)| span.is_some());
        given.map_or(Ok(()), |(key, span)| Err((span, format!("`{key}` goes with `{of}`"))))
    };
    match (&written.network, written.cmd.take()) {
        (None, None) => Err((None, "neither `network` nor `cmd`: add the one or the other".to_owned())),
        (Some(_), Some(cmd)) => Err((Some(cmd.span()), "a table is of a `network` or of a `cmd`".to_owned())),
        (Some(name), None) => {
            none_of(of_program, "cmd")?;
            network(name.get_ref()).map_err(|e| (Some(name.span()), e.to_string()))?;
            let weights = written.weights.take().map(there).transpose()?;
            Ok(Of::Network { weights, seed: written.seed.take().map_or(1, Spanned::into_inner) })
        }
        (None, Some(cmd)) => {
            none_of(of_network, "network")?;
            let empty = |spanned: &Spanned<String>| spanned.get_ref().trim().is_empty();
            if empty(&cmd) || cmd.get_ref().contains('\0') {
                return Err((Some(cmd.span()), "no command: what the shell is to start".to_owned()));
            }
            let blocks = written.blocks.take().map(|blocks| (blocks.span(), blocks.into_inner()));
            let unfit = |name: &String| !wire::is_name(name) || name.contains(',');
            if let Some((span, wrong)) =
                blocks.as_ref().and_then(|(span, all)| Some((span, all.iter().find(|it| unfit(it))?)))
            {
                let why =
                    format!("{wrong:?} is no block's name: plain text of 1 to {} bytes, no comma", wire::LONGEST_NAME);
                return Err((Some(span.clone()), why));
            }
            let frames = written.frames.take();
            if let Some(none) = frames.as_ref().filter(|frames| !(1..=1_000_000).contains(frames.get_ref())) {
                return Err((Some(none.span()), format!("{} frames at each clock: 1 to 1000000", none.get_ref())));
            }
            Ok(Of::Program(Program {
                command: cmd.into_inner(),
                blocks: blocks.map_or_else(Vec::new, |(_, blocks)| blocks),
                frames: frames.map(Spanned::into_inner),
                constants: written.constants.take().map(there).transpose()?,
            }))
        }
    }
}

/// A file that is there, wherever cron starts.
fn there(path: Spanned<PathBuf>) -> Result<PathBuf, (Option<Range<usize>>, String)> {
    let shown = path.get_ref().display();
    let why = match (path.get_ref().is_absolute(), path.get_ref().is_file()) {
        (true, true) => return Ok(path.into_inner()),
        (false, _) => format!("{shown} is no absolute path, and cron starts anywhere"),
        (true, false) => format!("{shown} is no file"),
    };
    Err((Some(path.span()), why))
}

/// A file's text; one that others may write, a pipe or a whole disk is not read, by root least of all.
fn text(path: &Path) -> Result<String, Failure> {
    let failed = |e: std::io::Error| Failure::file(path, &e);
    let shown = path.display();
    // Not to wait for whoever writes into a pipe.
    let file = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(path).map_err(failed)?;
    let found = file.metadata().map_err(failed)?;
    if !found.is_file() || found.len() > MOST {
        return Err(Failure::usage(format_args!("{shown} is no file, or larger than {MOST} bytes")));
    }
    // What stands in it is run by root.
    if !is_trusted(found.uid()) || found.mode() & 0o022 != 0 {
        return Err(Failure::usage(format_args!(
            "{shown} could be another's (user {}, mode {:o}): chown root and chmod 644 it",
            found.uid(),
            found.mode() & 0o7777
        )));
    }
    let mut bytes = Vec::new();
    file.take(MOST).read_to_end(&mut bytes).map_err(failed)?;
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
