//! The program, which `jetpace` and `jetpace-cuda` both are.

use std::process::ExitCode;

use clap::Parser;

use crate::args::Cli;

/// Reads the command line and runs the command; the exit code is that of its failure.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    env_logger::Builder::from_env(env_logger::Env::default().default_filter_or("warn")).format_timestamp(None).init();
    match cli.command.run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("jetpace: {failure}");
            failure.exit_code()
        }
    }
}
