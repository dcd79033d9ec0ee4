//! Where the library lies that hears ranges, and what a program's environment tells it.

use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use super::ranges::{Block, Pattern};
use super::{BLOCKS_VARIABLE, FRAME_VARIABLE, INJECTION_VARIABLE, SIZES_VARIABLE};
use crate::failure::{Failure, Reason};

/// Names the library where it lies elsewhere.
const LIBRARY_VARIABLE: &str = "JETPACE_NVTX_LIB";

/// As it is installed, and as it is built.
const NAMES: [&str; 2] = ["libjetpace-nvtx.so", "libjetpace_nvtx.so"];

/// What a program needs in its environment to tell its ranges as frames, blocks, and where `sizes` is set sizes.
///
/// # Errors
/// As [`environment`].
pub fn telling(frame: &Pattern, blocks: &[Block], sizes: bool) -> Result<Vec<(&'static str, PathBuf)>, Failure> {
    let blocks: Vec<String> = blocks.iter().map(ToString::to_string).collect();
    environment(vec![
        (FRAME_VARIABLE, frame.to_string().into()),
        (BLOCKS_VARIABLE, blocks.join(",").into()),
        (SIZES_VARIABLE, if sizes { "1" } else { "" }.into()),
    ])
}

/// What a program needs in its environment for its ranges to be heard, besides `told`.
///
/// # Errors
/// Where the library is not found, and where another one is to hear the ranges.
pub fn environment(told: Vec<(&'static str, PathBuf)>) -> Result<Vec<(&'static str, PathBuf)>, Failure> {
    let library = library(env::var_os(LIBRARY_VARIABLE), &folders())?;
    if let Some(other) = env::var_os(INJECTION_VARIABLE).filter(|other| !other.is_empty() && *other != *library) {
        return Err(Failure::usage(format_args!(
            "{INJECTION_VARIABLE} is {} already: one library alone hears a program's ranges. Unset it, or run this without \
             the profiler that set it",
            other.display()
        )));
    }
    Ok([(INJECTION_VARIABLE, library)].into_iter().chain(told).collect())
}

/// Beside the program, in the library folder of its prefix, and where the system's are.
fn folders() -> Vec<PathBuf> {
    let program = env::current_exe().ok().and_then(|path| path.canonicalize().ok());
    let beside = program.as_deref().and_then(Path::parent).map(Path::to_owned);
    let prefix = beside.as_deref().and_then(Path::parent).map(|prefix| prefix.join("lib/jetpace"));
    let system = ["/usr/lib/jetpace", "/usr/local/lib", "/usr/lib"].map(PathBuf::from);
    let native = PathBuf::from(format!("/usr/lib/{}-linux-gnu", env::consts::ARCH));
    let mut folders: Vec<PathBuf> = beside.into_iter().chain(prefix).chain(system).chain([native]).collect();
    folders.dedup();
    folders
}

fn library(named: Option<OsString>, folders: &[PathBuf]) -> Result<PathBuf, Failure> {
    if let Some(named) = named.filter(|named| !named.is_empty()) {
        let path = PathBuf::from(named);
        return path
            .canonicalize()
            .map_err(|e| Failure::new(Reason::Usage, format_args!("{LIBRARY_VARIABLE}: {}: {e}", path.display())));
    }
    let found = folders.iter().flat_map(|folder| NAMES.map(|name| folder.join(name))).find(|path| path.is_file());
    found.ok_or_else(|| {
        let looked: Vec<String> = folders.iter().map(|folder| folder.display().to_string()).collect();
        let why = format!(
            "{} is not in {}: install libjetpace0, or name it by {LIBRARY_VARIABLE}",
            NAMES[0],
            looked.join(", ")
        );
        Failure::new(Reason::Unsupported, why)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_library_is_found_in_the_first_folder_that_has_it_or_where_it_is_named() {
        let [first, second] = [(); 2].map(|()| tempfile::tempdir().unwrap());
        let folders = [first.path().to_owned(), second.path().to_owned()];
        let why = library(None, &folders).unwrap_err().to_string();
        assert!(folders.iter().all(|folder| why.contains(folder.to_str().unwrap())), "{why}");
        let [installed, built] = NAMES.map(|name| second.path().join(name));
        std::fs::write(&built, "").unwrap();
        assert_eq!(library(None, &folders).unwrap(), built);
        std::fs::write(&installed, "").unwrap();
        assert_eq!(library(None, &folders).unwrap(), installed);
        let other = first.path().join("other.so");
        let why = library(Some(other.clone().into()), &folders).unwrap_err().to_string();
        assert!(why.contains("other.so"), "{why}");
        std::fs::write(&other, "").unwrap();
        assert_eq!(library(Some(other.clone().into()), &folders).unwrap(), other.canonicalize().unwrap());
    }
}
