//! `jetpace restore`: puts back what a killed instance left. For systemd's ExecStopPost, and for hands.

use jetpace_devfreq::board::Board;
use jetpace_devfreq::guard::{self, Leftover, Report, Store};
use jetpace_devfreq::nodes::Nodes;

use crate::args::BoardArg;
use crate::dry_run::DryRun;
use crate::failure::Failure;
use crate::files::output::{print_text, say};

/// Options of `restore`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The machine: auto, or the root of a sysfs tree
    #[arg(long, default_value = "auto")]
    board: BoardArg,
    /// Print the writes that would be made, in order, and make none
    #[arg(long)]
    dry_run: bool,
}

impl Args {
    /// Restores.
    pub fn run(self) -> Result<(), Failure> {
        let machine = match &self.board {
            BoardArg::Sim(_) => return Err(Failure::usage("a virtual board keeps nothing that could be put back")),
            board => board.on_disk()?,
        };
        let nodes = machine.nodes();
        if self.dry_run { print_text(&dry_run(&nodes)?) } else { restore(&nodes) }
    }
}

/// What [`restore`] would write.
///
/// # Errors
/// As [`restore`].
pub fn dry_run<N: Nodes + Store + Clone>(nodes: &DryRun<N>) -> Result<String, Failure> {
    // Where the driver is gone there is no clock that could follow.
    let devfreq = Board::discover(nodes).map(|board| board.gpu.devfreq).unwrap_or_default();
    let dry = nodes.dry(&devfreq);
    match guard::restore(&dry)? {
        Leftover::None => dry.comment("nothing to put back"),
        Leftover::OtherBoot => dry.comment("the state file is of an earlier run of this machine: only removed"),
        Leftover::Restored(report) => left(&report).iter().for_each(|line| dry.comment(line)),
        Leftover::SetAside { why, bounds } => dry.comment(&guard::set_aside_words(&why, bounds.as_ref())),
    }
    Ok(dry.text())
}

/// Puts back what a killed instance left, and says so.
///
/// # Errors
/// Where an instance runs, or a node could not be put back.
pub fn restore(nodes: &(impl Nodes + Store)) -> Result<(), Failure> {
    match guard::restore(nodes)? {
        Leftover::None => say(format_args!("nothing to put back")),
        Leftover::OtherBoot => say(format_args!("a state file of an earlier run of this machine: removed")),
        Leftover::SetAside { why, bounds } => say(format_args!("{}", guard::set_aside_words(&why, bounds.as_ref()))),
        Leftover::Restored(report) => {
            for path in &report.restored {
                say(format_args!("{}: holds its original value", path.display()));
            }
            for line in left(&report) {
                say(format_args!("{line}"));
            }
        }
    }
    Ok(())
}

/// The nodes that do not get their original value, a line each.
fn left(report: &Report) -> Vec<String> {
    let gone = report.gone.iter().map(|path| format!("{}: gone, with its driver or governor", path.display()));
    let foreign = report.foreign.iter();
    let foreign =
        foreign.map(|(path, now)| format!("{}: left at {now}, which someone else has set meanwhile", path.display()));
    gone.chain(foreign).collect()
}
