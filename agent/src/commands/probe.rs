//! `jetpace probe`: what this machine is and has, and what the agent may do to it.

mod document;
mod needs;

use jetpace_devfreq::board::Board;
use jetpace_devfreq::gpu::{self, Tried, Way};
use jetpace_devfreq::guard::{Guard, Store};
use jetpace_devfreq::nodes::{Nodes, SysfsRoot};
use jetpace_devfreq::timer::Monotonic;
use jetpace_tables::hw::Timer;

use crate::args::BoardArg;
use crate::failure::Failure;
use crate::output::{print_json, print_text};
use document::Document;

/// Options of `probe`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The machine: auto, sim:NAME, or the root of a sysfs tree
    #[arg(long, default_value = "auto")]
    board: BoardArg,
    /// Try each way of fixing the clock by a raise and a lowering; everything is put back
    #[arg(long)]
    test_write: bool,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

impl Args {
    /// Looks, and prints what was found.
    pub fn run(self) -> Result<(), Failure> {
        let document = match &self.board {
            BoardArg::Auto => self.look(&SysfsRoot::new("/"), Monotonic::new()),
            BoardArg::Tree(root) => self.look(&SysfsRoot::new(root), Monotonic::new()),
            #[cfg(feature = "sim")]
            BoardArg::Sim(name) => {
                let board = jetpace_devfreq::sim::Board::new(name, 1).map_err(Failure::usage)?;
                self.look(&board.nodes(), board.timer())
            }
            #[cfg(not(feature = "sim"))]
            BoardArg::Sim(_) => Err(Failure::usage("this jetpace was built without virtual boards")),
        }?;
        match self.json {
            true => print_json(&document),
            false => print_text(&document.to_string()),
        }
    }

    fn look<N: Nodes + Store + Clone>(&self, nodes: &N, timer: impl Timer) -> Result<Document, Failure> {
        let board = Board::discover(nodes)?;
        let ways = match self.test_write {
            true => {
                let (guard, _) = Guard::take(nodes.clone())?;
                let tried = gpu::try_ways(nodes, timer, &board, &guard)?;
                guard.restore()?;
                tried
            }
            false => untried(nodes, &board),
        };
        Ok(Document::new(nodes, &board, ways))
    }
}

/// What can be said of each way without a write.
fn untried(nodes: &impl Nodes, board: &Board) -> Vec<Tried> {
    let say = |way: Way| {
        let why = way.lacks(nodes, &board.gpu);
        let works = why.as_ref().map(|_| false);
        Tried { way, works, why: why.unwrap_or_else(|| "not tried: that takes --test-write".to_owned()) }
    };
    Way::ALL.into_iter().map(say).collect()
}
