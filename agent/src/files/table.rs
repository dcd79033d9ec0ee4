//! The table file: read, written, and held against a board.

use std::fs::{File, Metadata};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use jetpace_devfreq::board::{Digests, hex};
use jetpace_tables::table::image::{self, ImageError, MAX_BYTES};
use jetpace_tables::table::{Digest, Table};
use jetpace_tables::units::Nanos;

use crate::failure::{Failure, Reason};
use crate::files::output::write_file;

/// Reads a table.
///
/// # Errors
/// Where the file cannot be read or is no sound table; the message names it.
pub fn read(path: &Path) -> Result<Box<Table>, Failure> {
    let bytes = std::fs::read(path).map_err(|e| Failure::file(path, &e))?;
    decode(&bytes, path)
}

/// Reads a table from memory; `path` is for messages only.
pub fn decode(bytes: &[u8], path: &Path) -> Result<Box<Table>, Failure> {
    let table = image::decode(bytes).map_err(|e| Failure::usage(format_args!("{}: {e}", path.display())))?;
    Ok(Box::new(table))
}

/// Reads a table and refuses one for another board than the one that is known by these digests.
///
/// # Errors
/// As [`read`] and [`check`]; the message names the file.
pub fn read_for(path: &Path, board: &Digests) -> Result<Box<Table>, Failure> {
    let table = read(path)?;
    check(&table, board).map_err(|e| Failure::new(e.reason(), format_args!("{}: {e}", path.display())))?;
    Ok(table)
}

/// Writes a table, whole or not at all.
pub fn write(path: &Path, table: &Table) -> Result<(), Failure> {
    let bytes = encode(table).map_err(|e| Failure::failed(format_args!("{}: {e}", path.display())))?;
    write_file(path, &bytes)
}

/// The bytes of a table's file.
///
/// # Errors
/// Where the table is not sound.
pub fn encode(table: &Table) -> Result<Vec<u8>, ImageError> {
    let mut bytes = vec![0; MAX_BYTES];
    let length = image::encode(table, &mut bytes)?;
    bytes.truncate(length);
    Ok(bytes)
}

/// A table's file, which may be exchanged by another one while it is followed.
#[derive(Debug)]
pub struct Kept {
    path: PathBuf,
    is: Stamp,
    look_at: Nanos,
}

/// What tells a file from the one that it replaced: its file system, number and times.
type Stamp = (u64, u64, i64, i64);

/// How often it is looked whether it was exchanged.
const LOOK_EVERY: Nanos = Nanos::from_millis(2_000);

impl Kept {
    /// Opens the file, with what it holds.
    ///
    /// # Errors
    /// Where it cannot be read.
    pub fn open(path: &Path) -> io::Result<(Self, Vec<u8>)> {
        let (is, bytes) = read_stamped(path)?;
        Ok((Self { path: path.to_owned(), is, look_at: Nanos::ZERO }, bytes))
    }

    /// What lies there now, where it is another table than at the last look, and `fits` in the place of the one that is
    /// followed. Every two seconds at most it asks the kernel.
    #[inline]
    pub fn exchanged(
        &mut self,
        now: Nanos,
        fits: impl FnOnce(&Table) -> Result<(), &'static str>,
    ) -> Option<(Vec<u8>, Box<Table>)> {
        if now < self.look_at {
            return None;
        }
        self.look_at = now.saturating_add(LOOK_EVERY);
        self.look(fits)
    }

    #[cold]
    fn look(&mut self, fits: impl FnOnce(&Table) -> Result<(), &'static str>) -> Option<(Vec<u8>, Box<Table>)> {
        // One that is being exchanged by hand may be gone for a moment.
        if std::fs::metadata(&self.path).is_ok_and(|found| stamp(&found) == self.is) {
            return None;
        }
        let (is, bytes) = read_stamped(&self.path).ok()?;
        self.is = is;
        let found = decode(&bytes, &self.path).map_err(|e| e.to_string()).and_then(|table| match fits(&table) {
            Ok(()) => Ok(table),
            Err(why) => Err(format!("{}: {why}", self.path.display())),
        });
        match found {
            Ok(table) => Some((bytes, table)),
            Err(why) => {
                log::warn!("{why}; the table before is followed on");
                None
            }
        }
    }
}

/// Refuses a table whose blocks are others than a program knows by their numbers.
///
/// # Errors
/// In words.
pub fn same_blocks<'a>(table: &Table, names: impl Iterator<Item = &'a str>) -> Result<(), &'static str> {
    if table.names().eq(names) { Ok(()) } else { Err("it has other blocks: start the program again") }
}

fn read_stamped(path: &Path) -> io::Result<(Stamp, Vec<u8>)> {
    let mut file = File::open(path)?;
    let (is, mut bytes) = (stamp(&file.metadata()?), Vec::new());
    file.read_to_end(&mut bytes)?;
    Ok((is, bytes))
}

fn stamp(found: &Metadata) -> Stamp {
    (found.dev(), found.ino(), found.mtime(), found.mtime_nsec())
}

/// Refuses a table that was planned for another board than the one that is known by these digests.
///
/// # Errors
/// Exit code 4, where it is none of them.
pub fn check(table: &Table, board: &Digests) -> Result<(), Failure> {
    if board.include(table.board()) {
        return Ok(());
    }
    let why = match *table.board() {
        // A published sweep names no board.
        unknown if unknown == Digest::default() => OF_NO_BOARD.to_owned(),
        planned_for => {
            format!("{OTHER_BOARD} (planned for {:.12}, this one is {:.12})", hex(&planned_for), hex(board.now()))
        }
    };
    Err(Failure::new(Reason::Calibration, why))
}

/// What is said of a table for another board.
pub const OTHER_BOARD: &str =
    "the table is for another board, power mode, EMC clock, clock list or release: calibrate and plan again";

const OF_NO_BOARD: &str = "the table is for no board, as its sweep names none: calibrate here, or plan with --board";

#[cfg(test)]
mod tests {
    use jetpace_tables::table::TableClock;
    use jetpace_tables::units::{Hertz, Nanos};
    use jetpace_tables::work::ClockIndex;

    use super::*;

    fn table(board: Digest) -> Table {
        let clock = TableClock { index: ClockIndex(0), clock: Hertz::new(306_000_000), relative_time: 1 };
        let pace = (Nanos::from_millis(10), Nanos::from_millis(10));
        Table::plain(board, &[clock], &[("a", ClockIndex(0))], pace, Nanos::ZERO).unwrap()
    }

    #[test]
    fn a_table_goes_through_its_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("t.jpt");
        write(&path, &table([7; 32])).unwrap();
        assert_eq!(*read_for(&path, &[7; 32].into()).unwrap(), table([7; 32]));
    }

    #[test]
    fn every_refusal_names_the_file_and_what_differs() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("t.jpt");
        let refused = |board: Digest, said: &str| {
            let failure = read_for(&path, &board.into()).unwrap_err();
            let message = failure.to_string();
            assert!(message.contains("t.jpt: ") && message.contains(said), "{message}");
            failure.reason()
        };
        refused([7; 32], "No such file");
        write(&path, &table([7; 32])).unwrap();
        assert_eq!(
            refused(
                [0xab; 32],
                "another board, power mode, EMC clock, clock list or release: calibrate and plan again (planned for 070707070707, this"
            ),
            Reason::Calibration
        );
        write(&path, &table([0; 32])).unwrap();
        assert_eq!(refused([7; 32], "for no board, as its sweep names none"), Reason::Calibration);
        std::fs::write(&path, b"{}").unwrap();
        assert_eq!(refused([7; 32], "not a jetpace table"), Reason::Usage);
    }
}
