//! The fuzz target `weights`; without libFuzzer it replays the files it is given.

#![cfg_attr(fuzzing, no_main)]

#[cfg(fuzzing)]
libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    jetpace_fuzz::weights(data);
});

#[cfg(not(fuzzing))]
fn main() -> std::io::Result<()> {
    jetpace_fuzz::replay(jetpace_fuzz::weights)
}
