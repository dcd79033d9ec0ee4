//! The arrows between the crates: `tables` knows nothing of Linux, CUDA or files; `devfreq` nothing of CUDA;
//! `kernels` nothing of sysfs.

use std::fs;

/// Direct dependencies of a workspace member, without its dev-dependencies.
fn dependencies(member: &str) -> Vec<String> {
    let path = jetpace_tests::root().join(member).join("Cargo.toml");
    let text = fs::read_to_string(path).unwrap();
    text.lines()
        .skip_while(|line| *line != "[dependencies]")
        .skip(1)
        .take_while(|line| !line.starts_with('['))
        .filter_map(|line| line.split(['.', ' ', '=']).next())
        .filter(|name| !name.is_empty())
        .map(str::to_owned)
        .collect()
}

fn assert_lacks(member: &str, forbidden: &[&str]) {
    let found = dependencies(member);
    assert!(!found.is_empty(), "{member} lists no dependencies");
    for name in forbidden {
        assert!(!found.iter().any(|d| d == name), "{member} depends on {name}");
    }
}

#[test]
fn arrows_point_down() {
    assert_lacks("tables", &["jetpace-devfreq", "jetpace-kernels", "jetpace", "libc", "nix", "cudarc", "log", "csv"]);
    assert_lacks("devfreq", &["jetpace-kernels", "jetpace", "cudarc"]);
    assert_lacks("kernels", &["jetpace-devfreq", "jetpace", "nix", "libc"]);
}

#[test]
fn tables_is_no_std() {
    let lib = fs::read_to_string(jetpace_tests::root().join("tables/src/lib.rs")).unwrap();
    assert!(lib.contains("#![no_std]"));
}
