//! The `jetpace-cuda` command: `jetpace` with the CUDA kernels, linked dynamically because it loads libcuda.so.1.

use std::process::ExitCode;

fn main() -> ExitCode {
    jetpace::program::main()
}
