//! The `jetpace` command.

fn main() {}
