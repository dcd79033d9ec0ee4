//! `jetpace completions`: completion scripts for shells.

use clap::CommandFactory;
use clap_complete::Shell;

use crate::args::Cli;
use crate::failure::Failure;
use crate::files::output::print_text;

/// Options of `completions`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Whose syntax
    shell: Shell,
}

impl Args {
    /// Prints the script.
    pub fn run(self) -> Result<(), Failure> {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut Cli::command(), "jetpace", &mut script);
        print_text(&String::from_utf8_lossy(&script))
    }
}
