//! The `jetpace` command.

use std::process::ExitCode;

fn main() -> ExitCode {
    jetpace::program::main()
}
