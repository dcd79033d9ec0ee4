//! The program, which `jetpace` and `jetpace-cuda` both are.

use std::io::Write as _;
use std::process::ExitCode;

use clap::Parser;
use jetpace_tables::names::Shown;

use crate::args::Cli;
use crate::files::output::say;

/// Reads the command line and runs the command; the exit code is that of its failure.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    let mut logger = env_logger::Builder::from_env(env_logger::Env::default().default_filter_or("warn"));
    // One line each, whatever stands in a name or in what a client sent.
    logger.format(|out, record| {
        writeln!(out, "[{:5} {}] {}", record.level(), record.target(), Shown(&record.args().to_string()))
    });
    logger.init();
    match cli.command.run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            let shown: Vec<String> = failure.to_string().lines().map(|line| Shown(line).to_string()).collect();
            say(format_args!("jetpace: {}", shown.join("\n")));
            failure.exit_code()
        }
    }
}
