//! The command line: what every command is called. A command's own options stand in its file.

#[cfg(feature = "report")]
use std::ffi::OsStr;
use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

#[cfg(feature = "report")]
use clap::Arg;
#[cfg(feature = "report")]
use clap::builder::{PossibleValue, TypedValueParser};
use clap::{Parser, Subcommand};
use jetpace_tables::units::Nanos;
use jetpace_tables::work::Network;

use crate::commands;
use crate::failure::Failure;

/// Runs a Jetson's GPU at the clocks that meet the deadline with the least energy.
#[derive(Debug, Parser)]
#[command(name = "jetpace", version, max_term_width = 100)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The accepted probability of a miss where no other is asked for.
pub const RISK: f64 = 0.01;

/// The commands, in the order in which the main job uses them.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Print what this machine has and which ways of fixing the clock it offers
    Probe(commands::probe::Args),
    /// Measure a network's blocks, the idle power and the changes of the clock into a sweep
    #[cfg(any(feature = "cuda", feature = "sim"))]
    Calibrate(commands::calibrate::Args),
    /// Look whether the tables that this machine keeps still hold, and measure anew where they do not: for cron
    #[cfg(feature = "report")]
    Recalibrate(commands::recalibrate::Args),
    /// Check the files of the tables that this machine keeps
    #[cfg(feature = "report")]
    CheckConfig(commands::check_config::Args),
    /// Run frames of a network at planned clocks, beside the stock governor and the best fixed clock
    #[cfg(any(feature = "cuda", feature = "sim"))]
    Run(commands::run::Args),
    /// Fix the GPU's clock while a command runs
    Hold(commands::hold::Args),
    /// Run a program and list the NVTX ranges that it marks, or have the daemon told its frames by them
    #[cfg(feature = "report")]
    Nvtx(commands::nvtx::Args),
    /// Check what is assumed of this machine, without a write, into one file to send back
    Selftest(commands::selftest::Args),
    /// Put back what a killed instance left
    Restore(commands::restore::Args),
    /// Bring what other tools measured into a sweep
    #[cfg(feature = "report")]
    Import(commands::import::Args),
    /// Fit a model of time and power to a sweep
    #[cfg(feature = "report")]
    Fit(commands::fit::Args),
    /// Plan a table from a model: the clock of every block under a deadline
    Plan(commands::plan::Args),
    /// Print a table, a model, a sweep or a trace in words
    Inspect(commands::inspect::Args),
    /// Make a page of sweeps, models, tables, traces and logs, for others to read
    #[cfg(feature = "report")]
    Report(commands::report::Args),
    /// Predict time, power and energy of a network at a clock
    #[cfg(feature = "report")]
    Predict(commands::predict::Args),
    /// Compare what planning with each kind of model comes to
    #[cfg(feature = "report")]
    Compare(commands::compare::Args),
    /// Serve clients that may not write the clock themselves
    Serve(commands::serve::Args),
    /// Print how the daemon and its clients are
    Status(commands::status::Args),
    /// Print how the daemon, its clients and the kept tables are, for Prometheus
    #[cfg(feature = "report")]
    Metrics(commands::metrics::Args),
    /// Print what a client's governor did, event by event
    Trace(commands::trace::Args),
    /// Measure what a block boundary costs here
    #[cfg(feature = "sim")]
    Bench(commands::bench::Args),
    /// Go the whole way on a virtual board and write a page with pictures
    #[cfg(all(feature = "report", feature = "sim"))]
    Demo(commands::demo::Args),
    /// Print a completion script for a shell
    #[cfg(feature = "report")]
    Completions(commands::completions::Args),
    /// Print the manual page, or write one per command into a folder
    #[cfg(feature = "report")]
    Man(commands::man::Args),
}

impl Command {
    /// Runs the command.
    pub fn run(self) -> Result<(), Failure> {
        match self {
            Self::Probe(args) => args.run(),
            #[cfg(any(feature = "cuda", feature = "sim"))]
            Self::Calibrate(args) => args.run(),
            #[cfg(any(feature = "cuda", feature = "sim"))]
            Self::Run(args) => args.run(),
            #[cfg(feature = "report")]
            Self::Recalibrate(args) => args.run(),
            #[cfg(feature = "report")]
            Self::CheckConfig(args) => args.run(),
            Self::Hold(args) => args.run(),
            #[cfg(feature = "report")]
            Self::Nvtx(args) => args.run(),
            Self::Selftest(args) => args.run(),
            Self::Restore(args) => args.run(),
            Self::Serve(args) => args.run(),
            Self::Status(args) => args.run(),
            #[cfg(feature = "report")]
            Self::Metrics(args) => args.run(),
            Self::Trace(args) => args.run(),
            #[cfg(feature = "sim")]
            Self::Bench(args) => args.run(),
            #[cfg(all(feature = "report", feature = "sim"))]
            Self::Demo(args) => args.run(),
            #[cfg(feature = "report")]
            Self::Completions(args) => args.run(),
            #[cfg(feature = "report")]
            Self::Compare(args) => args.run(),
            #[cfg(feature = "report")]
            Self::Import(args) => args.run(),
            #[cfg(feature = "report")]
            Self::Fit(args) => args.run(),
            Self::Plan(args) => args.run(),
            Self::Inspect(args) => args.run(),
            #[cfg(feature = "report")]
            Self::Predict(args) => args.run(),
            #[cfg(feature = "report")]
            Self::Report(args) => args.run(),
            #[cfg(feature = "report")]
            Self::Man(args) => args.run(),
        }
    }
}

/// Which machine a command works on: `--board`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BoardArg {
    /// This machine.
    Auto,
    /// A virtual board by name, in memory and in its own time.
    Sim(String),
    /// The same on disk and in real time, for programs of one's own.
    Live(String),
    /// The root of a copied or recorded sysfs tree.
    Tree(PathBuf),
}

/// A number above zero.
#[cfg(feature = "report")]
pub fn above_zero(text: &str) -> Result<f64, String> {
    let value: f64 = text.parse().map_err(|_| "not a number")?;
    if value.is_finite() && value > 0.0 { Ok(value) } else { Err("not above zero".to_owned()) }
}

/// Frames a second on the command line, as the time from one to the next.
pub fn period_of_rate(text: &str) -> Result<Nanos, String> {
    let rate: f64 = text.parse().map_err(|_| "not a number")?;
    if rate.is_finite() && rate > 0.0 { Ok(Nanos::from_secs_f64(1.0 / rate)) } else { Err("not above zero".to_owned()) }
}

/// Power on the command line, in the range of a sweep.
pub fn watts(text: &str) -> Result<f64, String> {
    let value: f64 = text.parse().map_err(|_| "not a number")?;
    if (0.0..=1000.0).contains(&value) { Ok(value) } else { Err("outside 0..1000 W".to_owned()) }
}

/// The built-in network that `--net` names.
pub fn network(name: &str) -> Result<Network, Failure> {
    jetpace_kernels::net::network(name).ok_or_else(|| {
        let known = jetpace_kernels::net::NAMES.join(", ");
        Failure::usage(format_args!("no network is called '{name}'; there are {known}"))
    })
}

/// What a binary without the virtual boards says.
#[cfg(not(feature = "sim"))]
pub fn no_sim() -> Failure {
    Failure::new(crate::failure::Reason::Unsupported, "this binary has no virtual boards; the one for any machine does")
}

/// Reads any text as `T`, and offers some in help and completions.
#[cfg(feature = "report")]
#[derive(Clone)]
pub struct Offering<T> {
    offered: Vec<String>,
    read: fn(OsString) -> T,
}

#[cfg(feature = "report")]
impl<T> TypedValueParser for Offering<T>
where
    T: Clone + Send + Sync + 'static,
{
    type Value = T;

    fn parse_ref(&self, _: &clap::Command, _: Option<&Arg>, value: &OsStr) -> Result<T, clap::Error> {
        Ok((self.read)(value.to_owned()))
    }

    fn possible_values(&self) -> Option<Box<dyn Iterator<Item = PossibleValue> + '_>> {
        Some(Box::new(self.offered.iter().cloned().map(PossibleValue::new)))
    }
}

/// Options as they stand behind a command.
#[cfg(feature = "report")]
#[derive(clap::Parser)]
struct Line<A: clap::Args> {
    #[command(flatten)]
    options: A,
}

/// A command's options from words, for another command that does the same.
///
/// # Errors
/// Where they are wrong.
#[cfg(feature = "report")]
pub fn options<A: clap::Args>(words: Vec<OsString>) -> Result<A, Failure> {
    let words = std::iter::once(OsString::from("jetpace")).chain(words);
    Ok(<Line<A> as clap::Parser>::try_parse_from(words).map_err(Failure::usage)?.options)
}

/// Parses a network's name and offers the built-in ones.
#[cfg(feature = "report")]
pub fn networks() -> Offering<String> {
    let offered = jetpace_kernels::net::NAMES.map(str::to_owned).to_vec();
    Offering { offered, read: |text| text.to_string_lossy().into_owned() }
}

/// Parses a network's name.
#[cfg(not(feature = "report"))]
pub fn networks() -> clap::builder::StringValueParser {
    clap::builder::StringValueParser::new()
}

#[cfg(feature = "report")]
impl clap::builder::ValueParserFactory for BoardArg {
    type Parser = Offering<Self>;

    fn value_parser() -> Self::Parser {
        let names = |kind| jetpace_devfreq::sim::NAMES.map(|name| format!("{kind}:{name}"));
        let offered = ["auto".to_owned()].into_iter().chain(names("sim")).chain(names("live")).collect();
        Offering { offered, read: Self::from }
    }
}

/// Paths are bytes, not UTF-8.
impl From<OsString> for BoardArg {
    fn from(text: OsString) -> Self {
        match text.to_str().map(|text| text.split_once(':').unwrap_or((text, ""))) {
            Some(("auto", "")) => Self::Auto,
            Some(("sim", name)) => Self::Sim(name.to_owned()),
            Some(("live", name)) => Self::Live(name.to_owned()),
            _ => Self::Tree(PathBuf::from(text)),
        }
    }
}

impl FromStr for BoardArg {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(OsString::from(text).into())
    }
}

impl fmt::Display for BoardArg {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::Sim(name) => write!(f, "sim:{name}"),
            Self::Live(name) => write!(f, "live:{name}"),
            Self::Tree(root) => write!(f, "{}", root.display()),
        }
    }
}
