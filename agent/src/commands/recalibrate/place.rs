//! Where a table is kept: a folder with its sweep, model and table, which is exchanged as a whole. Beside it lie the one
//! before (`NAME.previous`) and the one that is being made (`NAME.next`). Whenever this process is killed, the folder
//! holds three files that belong together.

use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, Flock, FlockArg, RenameFlags, renameat2};

use super::not_now;
use crate::failure::Failure;

/// All that is in a folder.
const FILES: [&str; 3] = [SWEEP, MODEL, TABLE];
/// What was measured.
pub const SWEEP: &str = "sweep.csv";
/// What was fitted to it.
pub const MODEL: &str = "model.json";
/// What was planned by that.
pub const TABLE: &str = "table.jpt";

/// A table's folder, and the lock on what lies around it.
#[derive(Debug)]
pub struct Place {
    folder: PathBuf,
    around: Flock<File>,
}

impl Place {
    /// Takes a folder for this process; what it lies in is made where it is not there.
    ///
    /// # Errors
    /// Where it cannot be, where another process has it, and where something else lies in it, which would be lost.
    pub fn open(folder: &Path) -> Result<Self, Failure> {
        let around = folder.parent().unwrap_or(Path::new("/"));
        DirBuilder::new().recursive(true).mode(0o755).create(around).map_err(|e| Failure::file(around, &e))?;
        let opened = File::open(around).map_err(|e| Failure::file(around, &e))?;
        let lock = Flock::lock(opened, FlockArg::LockExclusiveNonblock).map_err(|(_, e)| match e {
            Errno::EWOULDBLOCK => not_now(format_args!("another recalibration is at work in {}", around.display())),
            e => Failure::file(around, &e.into()),
        })?;
        let place = Self { folder: folder.to_owned(), around: lock };
        for folder in [place.folder.clone(), place.next(), place.previous()] {
            only_ours(&folder)?;
        }
        Ok(place)
    }

    /// A file of the folder in use.
    pub fn file(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// The folder that is being made.
    pub fn next(&self) -> PathBuf {
        self.beside("next")
    }

    /// The folder before.
    pub fn previous(&self) -> PathBuf {
        self.beside("previous")
    }

    fn beside(&self, what: &str) -> PathBuf {
        let mut name = self.folder.file_name().unwrap_or_default().to_owned();
        name.push(".");
        name.push(what);
        self.folder.with_file_name(name)
    }

    /// An empty folder to make the next table in.
    ///
    /// # Errors
    /// Where it cannot be made.
    pub fn begin(&self) -> Result<PathBuf, Failure> {
        let next = self.next();
        self.give_up()?;
        DirBuilder::new().mode(0o755).create(&next).map_err(|e| Failure::file(&next, &e))?;
        Ok(next)
    }

    /// The next one is not to be.
    ///
    /// # Errors
    /// Where it cannot be removed.
    pub fn give_up(&self) -> Result<(), Failure> {
        remove(&self.next())
    }

    /// The next one with what is in use but for the table, which was only planned anew.
    ///
    /// # Errors
    /// Where the files cannot be linked.
    pub fn begin_with_model(&self) -> Result<PathBuf, Failure> {
        let next = self.begin()?;
        for name in [SWEEP, MODEL] {
            link(&self.folder, &next, name)?;
        }
        Ok(next)
    }

    /// Puts the next one in the place of that in use, which becomes the previous one.
    ///
    /// # Errors
    /// Where the files cannot be renamed; what is in use then is whole, be it the old one or the new one.
    pub fn swap(&self) -> Result<(), Failure> {
        let (next, previous) = (self.next(), self.previous());
        sync(&next)?;
        if !self.folder.exists() {
            fs::rename(&next, &self.folder).map_err(|e| Failure::file(&self.folder, &e))?;
            return self.sync_around();
        }
        // By links, so that it is there before the exchange: nobody could tell the old one from an unfinished next one.
        remove(&previous)?;
        DirBuilder::new().mode(0o755).create(&previous).map_err(|e| Failure::file(&previous, &e))?;
        for name in FILES {
            link(&self.folder, &previous, name)?;
        }
        sync(&previous)?;
        self.sync_around()?;
        exchange(&next, &self.folder)?;
        self.sync_around()?;
        remove(&next)
    }

    /// Puts the previous one back into use; what was in use becomes the previous one.
    ///
    /// # Errors
    /// Where there is none, and where it cannot be renamed.
    pub fn roll_back(&self) -> Result<(), Failure> {
        let previous = self.previous();
        if !previous.join(TABLE).is_file() {
            return Err(Failure::failed(format_args!(
                "there is no table before this one: {} is not there",
                previous.join(TABLE).display()
            )));
        }
        exchange(&previous, &self.folder)?;
        self.sync_around()
    }

    fn sync_around(&self) -> Result<(), Failure> {
        self.around.sync_all().map_err(|e| Failure::file(&self.folder, &e))
    }
}

/// Refuses a folder with files of others, as it is moved and removed.
fn only_ours(folder: &Path) -> Result<(), Failure> {
    let found = match fs::symlink_metadata(folder) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        found => found.map_err(|e| Failure::file(folder, &e))?,
    };
    if !found.is_dir() {
        return Err(Failure::usage(format_args!(
            "{} is no folder: remove it, or name another `folder` in the table's file",
            folder.display()
        )));
    }
    for entry in fs::read_dir(folder).map_err(|e| Failure::file(folder, &e))? {
        let name = entry.map_err(|e| Failure::file(folder, &e))?.file_name();
        // What was being written when a process was killed.
        let half =
            name.to_string_lossy().strip_prefix('.').is_some_and(|name| FILES.iter().any(|of| name.starts_with(of)));
        if !half && !FILES.iter().any(|file| name == *file) {
            return Err(Failure::usage(format_args!(
                "{} holds {}, which is none of a table's files and would be lost: name another `folder` in the table's \
                 file",
                folder.display(),
                name.to_string_lossy()
            )));
        }
    }
    Ok(())
}

/// Removes a folder and what is ours in it.
fn remove(folder: &Path) -> Result<(), Failure> {
    only_ours(folder)?;
    match fs::remove_dir_all(folder) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(Failure::file(folder, &e)),
        _ => Ok(()),
    }
}

fn link(from: &Path, to: &Path, name: &str) -> Result<(), Failure> {
    match fs::hard_link(from.join(name), to.join(name)) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(Failure::file(&to.join(name), &e)),
        _ => Ok(()),
    }
}

fn exchange(one: &Path, other: &Path) -> Result<(), Failure> {
    renameat2(AT_FDCWD, one, AT_FDCWD, other, RenameFlags::RENAME_EXCHANGE).map_err(|e| match e {
        Errno::EINVAL | Errno::ENOSYS => Failure::failed(format_args!(
            "{}: this file system cannot exchange two folders: put the table's `folder` on another, such as ext4",
            other.display()
        )),
        e => Failure::file(other, &e.into()),
    })
}

fn sync(folder: &Path) -> Result<(), Failure> {
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(|e| Failure::file(folder, &e))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(folder: &Path, text: &str) {
        for name in FILES {
            fs::write(folder.join(name), text).unwrap();
        }
    }

    fn holds(folder: &Path) -> Option<String> {
        fs::read_to_string(folder.join(TABLE)).ok()
    }

    #[test]
    fn tables_take_each_others_place_and_the_one_before_is_kept() {
        let home = tempfile::tempdir().unwrap();
        let folder = home.path().join("deep/camera");
        let place = Place::open(&folder).unwrap();
        assert!(place.roll_back().unwrap_err().to_string().contains("no table before this one"));
        for text in ["one", "two", "three"] {
            write(&place.begin().unwrap(), text);
            place.swap().unwrap();
        }
        let state = || [&folder, &place.previous(), &place.next()].map(|folder| holds(folder));
        assert_eq!(state(), [Some("three".into()), Some("two".into()), None]);
        place.roll_back().unwrap();
        assert_eq!(state(), [Some("two".into()), Some("three".into()), None]);
        let next = place.begin_with_model().unwrap();
        assert_eq!((fs::read_to_string(next.join(MODEL)).unwrap(), next.join(TABLE).exists()), ("two".into(), false));
        place.give_up().unwrap();
        assert!(!next.exists());
    }

    #[test]
    fn one_process_has_it_and_nothing_of_others_is_lost() {
        let home = tempfile::tempdir().unwrap();
        let folder = home.path().join("camera");
        let place = Place::open(&folder).unwrap();
        let why = Place::open(&home.path().join("lidar")).unwrap_err();
        assert!(why.to_string().contains("another recalibration is at work"), "{why}");
        drop(place);
        fs::create_dir(&folder).unwrap();
        fs::write(folder.join("notes.txt"), "remember the milk").unwrap();
        let why = Place::open(&folder).unwrap_err();
        assert!(why.to_string().contains("notes.txt"), "{why}");
    }
}
