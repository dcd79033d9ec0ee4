//! The header and the symbols are what the crate says.

use std::path::Path;

/// `UPDATE_HEADER=1 cargo test -p jetpace-capi` writes it anew.
#[test]
fn the_committed_header_is_what_cbindgen_makes_of_the_entries() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let config = cbindgen::Config::from_file(root.join("cbindgen.toml")).unwrap();
    let bindings = cbindgen::Builder::new().with_config(config).with_src(root.join("src/ffi.rs")).generate().unwrap();
    let mut made = Vec::new();
    bindings.write(&mut made);
    let made = String::from_utf8(made).unwrap();
    let path = root.join("include/jetpace.h");
    if std::env::var_os("UPDATE_HEADER").is_some() {
        std::fs::write(&path, &made).unwrap();
    }
    let committed = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(committed == made, "include/jetpace.h is not of these sources: UPDATE_HEADER=1 cargo test -p jetpace-capi");
}
