//! `jetpace restore`: puts back what a killed instance left. For systemd's ExecStopPost, and for hands.

use jetpace_devfreq::guard::{self, Leftover, Store};
use jetpace_devfreq::nodes::{Nodes, SysfsRoot};

use crate::args::BoardArg;
use crate::failure::Failure;

/// Options of `restore`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The machine: auto, or the root of a sysfs tree
    #[arg(long, default_value = "auto")]
    board: BoardArg,
}

impl Args {
    /// Restores.
    pub fn run(self) -> Result<(), Failure> {
        match self.board {
            BoardArg::Auto => restore(&SysfsRoot::new("/")),
            BoardArg::Tree(root) => restore(&SysfsRoot::new(root)),
            BoardArg::Sim(_) => Err(Failure::usage("a virtual board keeps nothing that could be put back")),
        }
    }
}

fn restore(nodes: &(impl Nodes + Store)) -> Result<(), Failure> {
    match guard::restore(nodes)? {
        Leftover::None => eprintln!("nothing to put back"),
        Leftover::OtherBoot => eprintln!("a state file of an earlier run of this machine: removed"),
        Leftover::Restored(report) => {
            for path in &report.restored {
                eprintln!("{}: holds its original value", path.display());
            }
            for path in &report.gone {
                eprintln!("{}: gone, with its driver or governor", path.display());
            }
            for (path, now) in &report.foreign {
                eprintln!("{}: left at {now}, which someone else has set meanwhile", path.display());
            }
        }
    }
    Ok(())
}
