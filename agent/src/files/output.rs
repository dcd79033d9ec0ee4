//! How commands give their results: JSON on stdout, whole files or none.

use std::fs::{self, File, OpenOptions};
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

/// Says something on stderr. Where nothing can be said, as into a file on a full disk, the work goes on: `eprintln` would
/// panic, with a clock held.
pub fn say(line: impl std::fmt::Display) {
    let _ = writeln!(io::stderr(), "{line}");
}

/// A word for a shell, whatever is in it.
pub fn shell_word(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./=:,+@%".contains(c);
    match !word.is_empty() && word.chars().all(plain) {
        true => word.to_owned(),
        false => format!("'{}'", word.replace('\'', r"'\''")),
    }
}

/// A sign of life on a terminal during work that takes long and whose end nobody knows. The static release has no room for
/// one that moves.
pub fn while_working<T>(what: &'static str, work: impl FnOnce() -> T) -> T {
    #[cfg(feature = "report")]
    let _spinner = {
        let spinner = indicatif::ProgressBar::new_spinner().with_message(what);
        let spinner = spinner.with_finish(indicatif::ProgressFinish::AndClear);
        spinner.enable_steady_tick(std::time::Duration::from_millis(100));
        spinner
    };
    #[cfg(not(feature = "report"))]
    if io::IsTerminal::is_terminal(&io::stderr()) {
        eprintln!("{what}");
    }
    work()
}

/// Writes a file beside its place and renames it there, so that a reader finds the old content or the new one. A device
/// or a pipe, such as `/dev/stdout`, is written where it is, and a directory refuses to be.
pub fn write_file(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    let failed = |e: io::Error| Failure::new_file(path, &e);
    if fs::metadata(path).is_ok_and(|there| !there.is_file()) {
        return OpenOptions::new().write(true).open(path).and_then(|mut file| file.write_all(bytes)).map_err(failed);
    }
    // Where a link leads to, so that the link stays.
    let place = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let name = place.file_name().ok_or_else(|| Failure::usage(format_args!("{} names no file", path.display())))?;
    let beside = place.with_file_name(format!(".{}.{}", name.to_string_lossy(), std::process::id()));
    write_and_sync(&beside, bytes).and_then(|()| fs::rename(&beside, &place)).map_err(|e| {
        // The half-written file beside is of no use to anyone; that it could not be removed changes nothing.
        let _ = fs::remove_file(&beside);
        failed(e)
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
    use std::io::Read;
    use std::os::unix::fs::OpenOptionsExt;

    #[test]
    fn words_stay_words() {
        assert_eq!(shell_word("/usr/bin/jetpace"), "/usr/bin/jetpace");
        assert_eq!(shell_word("a b;c"), "'a b;c'");
        assert_eq!(shell_word("it's"), "'it'\\''s'");
    }

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

    #[test]
    fn a_link_stays_and_a_pipe_too() {
        let dir = tempfile::tempdir().unwrap();
        let (file, link) = (dir.path().join("file"), dir.path().join("link"));
        fs::write(&file, b"old").unwrap();
        std::os::unix::fs::symlink(&file, &link).unwrap();
        write_file(&link, b"new").unwrap();
        assert_eq!(fs::read(&file).unwrap(), b"new");
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        let pipe = dir.path().join("pipe");
        nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();
        let mut end = OpenOptions::new().read(true).write(true).custom_flags(libc::O_NONBLOCK).open(&pipe).unwrap();
        write_file(&pipe, b"new").unwrap();
        let mut read = [0; 3];
        end.read_exact(&mut read).unwrap();
        assert_eq!(&read, b"new");
    }
}
