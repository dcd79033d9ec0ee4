//! `jetpace man`: manual pages.

use std::path::PathBuf;

use clap::CommandFactory;
use clap_mangen::Man;

use crate::args::Cli;
use crate::failure::Failure;
use crate::files::output::{print_text, write_file};

/// Options of `man`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Write `jetpace.1` and a page per command into this folder instead of printing the first
    #[arg(long, value_name = "FOLDER")]
    out: Option<PathBuf>,
}

impl Args {
    /// Prints the page, or writes them all.
    pub fn run(self) -> Result<(), Failure> {
        let command = Cli::command();
        let Some(folder) = self.out else {
            return print_text(&String::from_utf8_lossy(&page(&command, "jetpace")?));
        };
        write_file(&folder.join("jetpace.1"), &page(&command, "jetpace")?)?;
        for sub in command.get_subcommands() {
            let name = format!("jetpace-{}", sub.get_name());
            write_file(&folder.join(format!("{name}.1")), &page(sub, &name)?)?;
        }
        Ok(())
    }
}

fn page(command: &clap::Command, title: &str) -> Result<Vec<u8>, Failure> {
    let mut text = Vec::new();
    Man::new(command.clone())
        .title(title)
        .render(&mut text)
        .map_err(|e| Failure::failed(format_args!("{title}: {e}")))?;
    Ok(text)
}
