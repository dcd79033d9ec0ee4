//! How commands give their results: JSON on stdout, whole files or none.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

use serde::Serialize;

use crate::failure::Failure;

/// Prints a document on stdout. A closed pipe (`| head`) is not an error.
pub fn print_json(document: &impl Serialize) -> Result<(), Failure> {
    let mut text = serde_json::to_string_pretty(document).map_err(|e| Failure::failed(format_args!("output: {e}")))?;
    text.push('\n');
    print_text(&text)
}

/// Prints text on stdout. A closed pipe (`| head`) is not an error.
pub fn print_text(text: &str) -> Result<(), Failure> {
    match io::stdout().lock().write_all(text.as_bytes()) {
        Err(e) if e.kind() != io::ErrorKind::BrokenPipe => Err(Failure::failed(format_args!("stdout: {e}"))),
        _ => Ok(()),
    }
}

/// Writes a file beside its place and renames it there, so that a reader finds the old content or the new one.
pub fn write_file(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    if path.is_dir() {
        return Err(Failure::usage(format_args!("{} is a directory; name a file in it", path.display())));
    }
    let name = path
        .file_name()
        .ok_or_else(|| Failure::usage(format_args!("{} names no file", path.display())))?
        .to_string_lossy();
    let beside = path.with_file_name(format!(".{name}.{}", std::process::id()));
    let written = write_and_sync(&beside, bytes).and_then(|()| fs::rename(&beside, path));
    written.map_err(|e| {
        // The half-written file beside is of no use to anyone; that it could not be removed changes nothing.
        let _ = fs::remove_file(&beside);
        Failure::file(path, &e)
    })
}

fn write_and_sync(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = File::create_new(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_replaced_whole_and_nothing_is_left_beside() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("table.jpt");
        write_file(&path, b"old").unwrap();
        write_file(&path, b"new").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"new");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_directory_is_refused_by_name() {
        let dir = tempfile::tempdir().unwrap();
        let message = write_file(dir.path(), b"x").unwrap_err().to_string();
        assert!(message.contains("is a directory"), "{message}");
    }
}
