//! Where a table is kept: a folder with its sweep, model and table, which is exchanged as a whole. Beside it lie the one
//! before (`NAME.previous`), the one that is being made (`NAME.next`), and for a moment the next `NAME.previous`
//! (`NAME.links`). Whenever this process is killed, the folder holds three files that belong together.
//!
//! Files are found by their paths, so all that leads to them has to be out of others' reach.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, Flock, FlockArg, OFlag, RenameFlags, renameat2};
use nix::unistd::geteuid;

use super::not_now;
use crate::failure::{Failure, Reason};
use crate::files::kind::{Kind, START};
use crate::runtime::access::is_trusted;

/// All that is in a folder.
const FILES: [(&str, Kind); 3] = [(SWEEP, Kind::Sweep), (MODEL, Kind::Model), (TABLE, Kind::Table)];
/// What lies beside a table's folder has its name and one of these endings.
pub const BESIDE: [&str; 3] = [NEXT, PREVIOUS, LINKS];
const NEXT: &str = ".next";
const PREVIOUS: &str = ".previous";
const LINKS: &str = ".links";
/// Beside the folders; its owner alone can open it, and so lock it.
const LOCK: &str = ".recalibrate.lock";
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
    around: File,
    /// Held for as long as this is.
    _lock: Flock<File>,
}

impl Place {
    /// Takes a folder for this process; what it lies in is made where it is not there.
    ///
    /// # Errors
    /// Where it cannot be, where another process has it, where others could put something in its place, and where
    /// something else lies in it, which would be lost.
    pub fn open(folder: &Path) -> Result<Self, Failure> {
        let around = folder.parent().unwrap_or(Path::new("/"));
        DirBuilder::new().recursive(true).mode(0o755).create(around).map_err(|e| Failure::file(around, &e))?;
        out_of_reach(around)?;
        let opened = File::open(around).map_err(|e| Failure::file(around, &e))?;
        let path = around.join(LOCK);
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(false).mode(0o600).custom_flags(OFlag::O_NOFOLLOW.bits());
        let file = options.open(&path).map_err(|e| Failure::file(&path, &e))?;
        let lock = Flock::lock(file, FlockArg::LockExclusiveNonblock).map_err(|(_, e)| match e {
            Errno::EWOULDBLOCK => not_now(format_args!("another recalibration is at work in {}", around.display())),
            e => Failure::file(&path, &e.into()),
        })?;
        let device = opened.metadata().map_err(|e| Failure::file(around, &e))?.dev();
        let place = Self { folder: folder.to_owned(), around: opened, _lock: lock };
        if fs::metadata(folder).is_ok_and(|found| found.dev() != device) {
            return Err(Failure::usage(format_args!(
                "{} is where a file system is mounted, which cannot be exchanged: name a folder in it",
                folder.display()
            )));
        }
        for folder in [place.folder.clone(), place.next(), place.previous(), place.links()] {
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
        beside(&self.folder, NEXT)
    }

    /// The folder before.
    pub fn previous(&self) -> PathBuf {
        beside(&self.folder, PREVIOUS)
    }

    fn links(&self) -> PathBuf {
        beside(&self.folder, LINKS)
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
        remove(&self.links())?;
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

    /// Puts the next one in the place of that in use, which becomes the previous one if it is `whole`.
    ///
    /// # Errors
    /// Where the files cannot be renamed; what is in use then is whole, be it the old one or the new one.
    pub fn swap(&self, whole: bool) -> Result<(), Failure> {
        let (next, previous) = (self.next(), self.previous());
        sync(&next)?;
        if !self.folder.exists() {
            fs::rename(&next, &self.folder).map_err(|e| Failure::file(&self.folder, &e))?;
            return self.sync_around();
        }
        // By links, so that it is there before the exchange: nobody could tell the old one from an unfinished next one.
        if whole {
            let links = self.links();
            remove(&links)?;
            DirBuilder::new().mode(0o755).create(&links).map_err(|e| Failure::file(&links, &e))?;
            for (name, _) in FILES {
                link(&self.folder, &links, name)?;
            }
            sync(&links)?;
            if previous.exists() {
                exchange(&links, &previous)?;
                remove(&links)?;
            } else {
                fs::rename(&links, &previous).map_err(|e| Failure::file(&previous, &e))?;
            }
        }
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
        if self.folder.exists() {
            exchange(&previous, &self.folder)?;
        } else {
            fs::rename(&previous, &self.folder).map_err(|e| Failure::file(&previous, &e))?;
        }
        self.sync_around()
    }

    fn sync_around(&self) -> Result<(), Failure> {
        self.around.sync_all().map_err(|e| Failure::file(&self.folder, &e))
    }
}

/// A folder's neighbour: its own name and an ending.
pub fn beside(folder: &Path, ending: &str) -> PathBuf {
    let mut name = folder.file_name().unwrap_or_default().to_owned();
    name.push(ending);
    folder.with_file_name(name)
}

/// Refuses a folder that somebody else could rename things in, or in one that it lies in: root would write where a link of
/// theirs leads.
fn out_of_reach(folder: &Path) -> Result<(), Failure> {
    let here = fs::canonicalize(folder).map_err(|e| Failure::file(folder, &e))?;
    // Of a user's own folders his group is his own business.
    let others = if geteuid().is_root() { 0o022 } else { 0o002 };
    for (above, at) in here.ancestors().enumerate() {
        let found = fs::metadata(at).map_err(|e| Failure::file(at, &e))?;
        let sticky = above > 0 && found.mode() & 0o1000 != 0;
        if !is_trusted(found.uid()) || (found.mode() & others != 0 && !sticky) {
            return Err(Failure::new(
                Reason::Permission,
                format_args!(
                    "{}: others could put their files in the place of a table's, as {} is theirs or they may write \
                     there (user {}, mode {:o}): name a `folder` that only root writes to",
                    folder.display(),
                    at.display(),
                    found.uid(),
                    found.mode() & 0o7777
                ),
            ));
        }
    }
    Ok(())
}

/// Whether a file is of a kind, or empty; what a disk that was full left of one is.
fn is_a(path: &Path, kind: Kind) -> io::Result<bool> {
    let mut start = Vec::new();
    File::open(path)?.take(START).read_to_end(&mut start)?;
    Ok(start.is_empty() || Kind::of(&start) == Some(kind))
}

/// Refuses a folder with files of others, as it is moved and removed.
fn only_ours(folder: &Path) -> Result<(), Failure> {
    let found = match fs::symlink_metadata(folder) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        found => found.map_err(|e| Failure::file(folder, &e))?,
    };
    if !found.is_dir() || !is_trusted(found.uid()) {
        let what = if found.is_dir() { "is another user's" } else { "is no folder" };
        return Err(Failure::usage(format_args!(
            "{} {what}: name another `folder` in the table's file",
            folder.display()
        )));
    }
    for entry in fs::read_dir(folder).map_err(|e| Failure::file(folder, &e))? {
        let entry = entry.map_err(|e| Failure::file(folder, &e))?;
        let (name, path) = (entry.file_name().to_string_lossy().into_owned(), entry.path());
        let is_file = entry.file_type().is_ok_and(|kind| kind.is_file());
        let known = FILES.iter().find(|(file, _)| name == *file);
        let ours = match known {
            Some((_, kind)) => is_file && is_a(&path, *kind).map_err(|e| Failure::file(&path, &e))?,
            None => is_file && is_half(&name),
        };
        if !ours {
            let what = if known.is_some() { "which jetpace did not write" } else { "which is none of a table's files" };
            return Err(Failure::usage(format_args!(
                "{} holds {name:?}, {what} and would be lost: move it away, or name another `folder` in the table's file",
                folder.display()
            )));
        }
    }
    Ok(())
}

/// What was being written when a process was killed: a file's name between a dot and the process.
fn is_half(name: &str) -> bool {
    let of = |file: &str| name.strip_prefix('.')?.strip_prefix(file)?.strip_prefix('.')?.parse::<u32>().ok();
    FILES.iter().any(|(file, _)| of(file).is_some())
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
        fs::write(folder.join(SWEEP), format!("# jetpace-sweep {text}")).unwrap();
        fs::write(folder.join(MODEL), format!("{{\"f_ref_hz\": \"{text}\"}}")).unwrap();
        fs::write(folder.join(TABLE), format!("JPT1{text}")).unwrap();
    }

    fn holds(folder: &Path) -> Option<String> {
        fs::read_to_string(folder.join(TABLE)).ok().map(|text| text.replace("JPT1", ""))
    }

    #[test]
    fn tables_take_each_others_place_and_the_one_before_is_kept() {
        let home = tempfile::tempdir().unwrap();
        let folder = home.path().join("deep/camera");
        let place = Place::open(&folder).unwrap();
        for text in ["one", "two", "three"] {
            write(&place.begin().unwrap(), text);
            place.swap(true).unwrap();
        }
        let state = || [&folder, &place.previous(), &place.next()].map(|folder| holds(folder));
        assert_eq!(state(), [Some("three".into()), Some("two".into()), None]);
        place.roll_back().unwrap();
        assert_eq!(state(), [Some("two".into()), Some("three".into()), None]);
        let next = place.begin_with_model().unwrap();
        assert!(fs::read_to_string(next.join(MODEL)).unwrap().contains("two") && !next.join(TABLE).exists());
        place.give_up().unwrap();
        assert!(!next.exists());
        // What is broken takes no whole one's place.
        write(&place.begin().unwrap(), "four");
        place.swap(false).unwrap();
        assert_eq!(state(), [Some("four".into()), Some("three".into()), None]);
        fs::remove_dir_all(&folder).unwrap();
        place.roll_back().unwrap();
        assert_eq!(state(), [Some("three".into()), None, None]);
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
        fs::remove_file(folder.join("notes.txt")).unwrap();
        // Of our names, and not ours.
        fs::write(folder.join(MODEL), "my neural net").unwrap();
        let why = Place::open(&folder).unwrap_err();
        assert!(why.to_string().contains("model.json") && why.to_string().contains("did not write"), "{why}");
        fs::remove_file(folder.join(MODEL)).unwrap();
        fs::create_dir(folder.join(TABLE)).unwrap();
        assert!(Place::open(&folder).is_err());
        fs::remove_dir(folder.join(TABLE)).unwrap();
        fs::write(folder.join(".table.jpt.1234"), "JPT1").unwrap();
        Place::open(&folder).unwrap();
        fs::write(folder.join(".table.jpt.backup"), "JPT1").unwrap();
        assert!(Place::open(&folder).is_err());
    }

    #[test]
    fn where_others_may_write_nothing_is_kept() {
        use std::os::unix::fs::PermissionsExt;
        let home = tempfile::tempdir().unwrap();
        let theirs = home.path().join("theirs");
        fs::create_dir_all(theirs.join("kept")).unwrap();
        fs::set_permissions(&theirs, fs::Permissions::from_mode(0o777)).unwrap();
        let why = Place::open(&theirs.join("kept/camera")).unwrap_err();
        assert!(why.reason() == Reason::Permission && why.to_string().contains("theirs"), "{why}");
        // Where a sticky folder lies above, what lies in it is its owner's; the tables' own one is not enough.
        fs::set_permissions(&theirs, fs::Permissions::from_mode(0o1777)).unwrap();
        Place::open(&theirs.join("kept/camera")).unwrap();
        assert!(Place::open(&theirs.join("camera")).is_err());
    }
}
