//! `jetpace check-config`: whether the files of the tables that are kept are right.

use std::path::PathBuf;

use super::recalibrate::config::{self, Config};
use crate::failure::{Failure, Reason};
use crate::files::output::{print_text, say};

/// Options of `check-config`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The folder with a file NAME.toml for every table
    #[arg(default_value = config::FOLDER, value_name = "FOLDER")]
    folder: PathBuf,
}

impl Args {
    /// Reads them all and says what is wrong in each.
    pub fn run(self) -> Result<(), Failure> {
        let files = config::files(&self.folder)?;
        let (mut right, mut wrong) = (Vec::new(), Vec::new());
        for file in &files {
            match Config::read(file) {
                Ok(config) => right.push(config),
                Err(failure) => wrong.push(failure),
            }
        }
        config::apart(&mut right, &mut |failure| wrong.push(failure));
        // The last one is said by the program's end.
        let last = wrong.pop();
        wrong.iter().for_each(say);
        if let Some(last) = last {
            return Err(last);
        }
        if right.is_empty() {
            let why = format_args!("{}: no file NAME.toml, so no table is kept", self.folder.display());
            return Err(Failure::new(Reason::Usage, why));
        }
        let line = |config: &Config| {
            let Config { name, network, board, deadline, period, risk, .. } = config;
            let table = config.table();
            format!(
                "{name}: {network} on {board}, deadline {deadline}, period {period}, risk {risk}, {}\n",
                table.display()
            )
        };
        print_text(&right.iter().map(line).collect::<String>())
    }
}
