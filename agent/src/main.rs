//! The `jetpace` command.

use std::process::ExitCode;

use clap::Parser;
use jetpace::args::Cli;

fn main() -> ExitCode {
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
