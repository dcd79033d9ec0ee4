//! `jetpace selftest`: what this machine shows of what is assumed of it, as one file to send back.

use std::path::PathBuf;

use jetpace_devfreq::selftest::{self, Report};
use jetpace_devfreq::timer::Monotonic;

use crate::args::BoardArg;
use crate::failure::{Failure, Reason};
use crate::files::kind::{Kind, may_write};
use crate::files::output::{print_json, while_working, write_file};

/// Options of `selftest`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The machine: auto, sim:NAME, or the root of a sysfs tree
    #[arg(long, default_value = "auto")]
    board: BoardArg,
    /// Write the result into this file instead of stdout
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Write over files that would be left alone: an input, or a file of another kind
    #[arg(long)]
    force: bool,
    /// How often the power rails are read
    #[arg(long, default_value_t = 400)]
    rounds: usize,
}

impl Args {
    /// Makes the checks that need no write.
    pub fn run(self) -> Result<(), Failure> {
        if let Some(path) = &self.output {
            may_write(path, Kind::Selftest, &[], self.force)?;
        }
        let rounds = self.rounds.min(1_000_000);
        let report = match &self.board {
            #[cfg(feature = "sim")]
            BoardArg::Sim(name) => {
                let board = jetpace_devfreq::sim::Board::new(name, 1).map_err(Failure::usage)?;
                selftest::run(&board.nodes(), board.timer(), rounds)
            }
            #[cfg(not(feature = "sim"))]
            BoardArg::Sim(_) => return Err(Failure::usage("this build has no virtual boards")),
            board => {
                let machine = board.on_disk()?;
                while_working("reading nodes and rails ...", || {
                    selftest::run(&machine.nodes(), Monotonic::new(), rounds)
                })
            }
        };
        say(&report);
        match &self.output {
            None => print_json(&report)?,
            Some(path) => {
                let text = serde_json::to_string_pretty(&report).map_err(Failure::failed)?;
                write_file(path, text.as_bytes())?;
            }
        }
        let serious: Vec<&str> = report.serious().map(|check| check.name).collect();
        match serious.as_slice() {
            [] => Ok(()),
            ["gpu-found", ..] if report.unsupported => {
                Err(Failure::new(Reason::Unsupported, "no GPU whose clock jetpace can set was found"))
            }
            serious => Err(Failure::failed(format_args!(
                "what jetpace relies on is not so here: {}; send the result back before anything is run on this board",
                serious.join(", ")
            ))),
        }
    }
}

/// One line per check on stderr.
fn say(report: &Report) {
    for check in &report.checks {
        let mark = match check.holds {
            Some(true) => "ok     ",
            Some(false) => "DIFFERS",
            None => "seen   ",
        };
        eprintln!("{mark} {}: {}", check.name, check.seen);
    }
}
