//! `jetpace probe`: what this machine is and has, and what the agent may do to it.

mod access;
pub mod document;

use jetpace_devfreq::board::Board;
use jetpace_devfreq::gpu::{self, Tried, Way};
use jetpace_devfreq::guard::{Guard, Store};
use jetpace_devfreq::nodes::Nodes;
use jetpace_devfreq::timer::Monotonic;
use jetpace_tables::hw::Timer;

use crate::args::BoardArg;
use crate::failure::Failure;
use crate::files::output::{print_json, print_text};
use document::Document;

/// Options of `probe`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The machine: auto, sim:NAME, live:NAME, or the root of a sysfs tree
    #[arg(long, default_value = "auto")]
    board: BoardArg,
    /// Try each way of fixing the clock by a raise and a lowering; everything is put back
    #[arg(long)]
    test_write: bool,
    /// Look as this user would: what it may and may not do. For root
    #[arg(long = "as", value_name = "USER")]
    user: Option<String>,
    /// Print the shell lines, to be run as root, that let the user have the clock from the daemon, and nothing else
    #[arg(long, conflicts_with_all = ["json", "test_write"])]
    fix: bool,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

impl Args {
    /// Looks, and prints what was found.
    pub fn run(self) -> Result<(), Failure> {
        if self.fix {
            return print_text(&access::fix(self.user.as_deref())?);
        }
        if let Some(user) = &self.user {
            access::become_user(user)?;
        }
        let document = match &self.board {
            #[cfg(feature = "sim")]
            BoardArg::Sim(name) => {
                let board = jetpace_devfreq::sim::Board::new(name, 1).map_err(Failure::usage)?;
                self.look(&board.nodes(), board.timer())
            }
            #[cfg(not(feature = "sim"))]
            BoardArg::Sim(_) => Err(Failure::usage("this jetpace was built without virtual boards")),
            board => {
                let machine = board.on_disk()?;
                self.look(&machine.nodes(), Monotonic::new())
            }
        }?;
        match self.json {
            true => print_json(&document),
            false => print_text(&document.to_string()),
        }
    }

    /// Looks at a machine, with `--test-write` by writing and putting back.
    ///
    /// # Errors
    /// Where there is no GPU, or something could not be put back.
    pub fn look<N: Nodes + Store + Clone>(&self, nodes: &N, timer: impl Timer) -> Result<Document, Failure> {
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
        let lease = self.board.daemon().and_then(|socket| access::lease(&socket));
        Ok(Document::new(nodes, &board, ways, lease))
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

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn keys(value: &serde_json::Value) -> Vec<&str> {
        value.as_object().unwrap().keys().map(String::as_str).collect()
    }

    #[test]
    fn every_recorded_board_gives_the_whole_document() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/boards");
        let mut boards = 0;
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if !path.is_dir() {
                continue;
            }
            boards += 1;
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            let board = BoardArg::Tree(path.clone());
            let args = Args { board, test_write: false, user: None, fix: false, json: true };
            let document = args.look(&crate::dry_run::ThisMachine::at(&path), Monotonic::new()).unwrap();
            let json = serde_json::to_value(&document).unwrap();
            let top = [
                "board",
                "cpu_governors",
                "emc",
                "format",
                "gpu",
                "lease",
                "missing",
                "needs",
                "over_current",
                "rails",
                "thermal",
                "total_power",
                "user",
            ];
            assert_eq!(keys(&json), top, "{name}");
            assert_eq!(keys(&json["board"]), ["digest", "l4t", "model", "part", "power_mode", "soc"], "{name}");
            let gpu = [
                "bounds",
                "cap_hz",
                "clocks_hz",
                "current_hz",
                "governor",
                "load",
                "max_hz",
                "min_hz",
                "path",
                "stock_governor",
                "user_bound",
                "ways",
            ];
            assert_eq!(keys(&json["gpu"]), gpu, "{name}");
            assert_eq!(keys(&json["emc"]), ["clocks_hz", "current_hz", "lockable", "path"], "{name}");
            let release = json["board"]["l4t"].as_str().unwrap().to_lowercase();
            let (_, wanted) = name.rsplit_once("-").unwrap();
            assert!(release.starts_with(wanted), "{name}: {release}");
            assert!(json["gpu"]["clocks_hz"].as_array().unwrap().len() >= 5, "{name}");
            assert_eq!(json["gpu"]["ways"].as_array().unwrap().len(), 4, "{name}");
            for rail in json["rails"].as_array().unwrap() {
                assert_eq!(keys(rail), ["name", "path", "period_s", "reads", "role"], "{name}");
            }
            let text = document.to_string();
            let no_kernels = text.contains("clock control only");
            assert_eq!(no_kernels, name.starts_with("nano") || name.starts_with("tx2"), "{name}");
        }
        assert!(boards >= 14, "{boards}");
    }
}
