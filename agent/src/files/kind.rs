//! What a file is, by how it begins, so that none is written over by mistake: a sweep takes 40 minutes on a board.

use std::fmt;
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use crate::failure::Failure;

/// The files that commands read and write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `calibrate`'s, or a published one.
    Sweep,
    /// `fit`'s.
    Model,
    /// `plan`'s.
    Table,
    /// What `trace --json` printed.
    Trace,
    /// `run --csv`.
    FrameLog,
    /// `plan --pareto` as CSV.
    Front,
    /// A chart as SVG.
    Picture,
    /// `selftest -o`.
    Selftest,
    /// `hold --json`.
    Held,
    /// `run --json`.
    Ran,
    /// `nvtx --json`.
    Nvtx,
    /// `report -o`, and the demo's.
    Page,
}

/// The first line of a frame log.
pub const FRAME_LOG: &str = "frame,start_s,time_s,missed,switches";
/// The first line of a front.
pub const FRONT: &str = "bound_s,time_s,energy_j,switches";

/// What tells a page of jetpace's from others.
pub const PAGE: &str = "<title>jetpace ";

/// As much of a file as tells its kind.
pub const START: u64 = 4096;

impl Kind {
    /// The kind of a file that starts with these bytes, or `None` where it is none of jetpace's.
    pub fn of(start: &[u8]) -> Option<Self> {
        if start.starts_with(b"JPT1") {
            return Some(Self::Table);
        }
        let text = String::from_utf8_lossy(start);
        let first = text.lines().find(|line| !line.starts_with('#')).unwrap_or_default();
        let column = |name: &str| first.split(',').any(|column| column.trim() == name);
        // Near the start of our documents.
        let key = |name: &str| text.contains(&format!("\"{name}\""));
        match text.trim_start() {
            _ if text.starts_with("# jetpace-sweep") => Some(Self::Sweep),
            text if text.starts_with("<svg") || text.starts_with("<?xml") => Some(Self::Picture),
            text if text.starts_with('{') && key("f_ref_hz") => Some(Self::Model),
            text if text.starts_with('{') && key("at_ns") => Some(Self::Trace),
            text if text.starts_with('{') && key("held") && key("deadline_s") => Some(Self::Held),
            text if text.starts_with('{') && key("policy") && key("missed") => Some(Self::Ran),
            text if text.starts_with('{') && key("ranges") => Some(Self::Nvtx),
            text if text.starts_with("<!doctype html>") && text.contains(PAGE) => Some(Self::Page),
            text if text.starts_with('{') && key("checks") => Some(Self::Selftest),
            _ if first == FRAME_LOG => Some(Self::FrameLog),
            _ if first == FRONT => Some(Self::Front),
            _ if column("gpu_freq_hz") && column("latency_s") => Some(Self::Sweep),
            _ => None,
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Sweep => "a sweep",
            Self::Model => "a model",
            Self::Table => "a table",
            Self::Trace => "a trace",
            Self::FrameLog => "a log of frames",
            Self::Front => "a front of plans",
            Self::Picture => "a picture",
            Self::Selftest => "a selftest's result",
            Self::Held => "what a held deadline came to",
            Self::Ran => "what a run came to",
            Self::Nvtx => "a list of ranges",
            Self::Page => "a report",
        })
    }
}

/// Refuses to write a file of a kind over one of the command's inputs, or over what is of another kind. To be asked
/// before the work, not behind it. Devices, pipes and empty files may be written, and with `force` all.
///
/// # Errors
/// Exit code 2; the message names the file and what it is.
pub fn may_write(path: &Path, kind: Kind, inputs: &[&Path], force: bool) -> Result<(), Failure> {
    let there = match fs::metadata(path) {
        Ok(there) if there.is_file() && !force => there,
        Ok(there) if there.is_dir() => return Err(Failure::file(path, &io::ErrorKind::IsADirectory.into())),
        _ => return Ok(()),
    };
    let is_there = |input: &&&Path| {
        fs::metadata(input).is_ok_and(|input| (input.dev(), input.ino()) == (there.dev(), there.ino()))
    };
    if inputs.iter().any(|input| is_there(&input)) {
        let why = "is what this command reads: name another file to write, or say --force";
        return Err(Failure::usage(format_args!("{} {why}", path.display())));
    }
    if there.len() == 0 {
        return Ok(());
    }
    let mut start = Vec::new();
    File::open(path).and_then(|file| file.take(START).read_to_end(&mut start)).map_err(|e| Failure::file(path, &e))?;
    match Kind::of(&start) {
        Some(found) if found == kind => Ok(()),
        found => {
            let found = found.map_or("none of jetpace's files".to_owned(), |found| found.to_string());
            let why = format!("is {found}, and {kind} would be written over it: name another file, or say --force");
            Err(Failure::usage(format_args!("{} {why}", path.display())))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_same_kind_and_nothing_read_is_written_over() {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str, text: &str| {
            let path = folder.path().join(name);
            fs::write(&path, text).unwrap();
            path
        };
        let sweep = file("s.csv", "device,model,block,gpu_freq_hz,latency_s\n");
        let model = file("m.json", "{\n  \"format\": 1,\n  \"f_ref_hz\": 5}\n");
        let (empty, own) = (file("empty", ""), file("notes.txt", "remember the milk\n"));
        let table = file("t.jpt", "JPT1");
        let says = |path: &Path, kind, inputs: &[&Path], force| {
            may_write(path, kind, inputs, force).map_or_else(|e| e.to_string(), |()| String::new())
        };
        assert!(says(&sweep, Kind::Model, &[], false).contains("s.csv is a sweep, and a model would be"));
        assert!(says(&model, Kind::Table, &[], false).contains("m.json is a model, and a table would be"));
        assert!(says(&own, Kind::Table, &[], false).contains("notes.txt is none of jetpace's files"));
        for (path, kind) in [(&model, Kind::Model), (&table, Kind::Table), (&empty, Kind::Table)] {
            assert_eq!(says(path, kind, &[&sweep], false), "");
        }
        assert_eq!(says(&folder.path().join("new"), Kind::Model, &[&sweep], false), "");
        assert_eq!(says(Path::new("/dev/null"), Kind::Model, &[&sweep], false), "");
        let link = folder.path().join("link");
        std::os::unix::fs::symlink(&model, &link).unwrap();
        assert!(says(&link, Kind::Model, &[&model], false).contains("is what this command reads"));
        assert_eq!(says(&link, Kind::Model, &[&model], true), "");
    }

    #[test]
    fn kinds_are_told_by_their_first_lines() {
        assert_eq!(Kind::of(b"# jetpace-sweep 1 board=ab\n"), Some(Kind::Sweep));
        assert_eq!(Kind::of(b"# published\ndevice,gpu_freq_hz,latency_s\n"), Some(Kind::Sweep));
        assert_eq!(Kind::of(format!("{FRAME_LOG}\n0,0,1,0,0\n").as_bytes()), Some(Kind::FrameLog));
        assert_eq!(Kind::of(format!("{FRONT}\n").as_bytes()), Some(Kind::Front));
        assert_eq!(Kind::of(b"<svg xmlns"), Some(Kind::Picture));
        assert_eq!(Kind::of(b"{\"at_ns\":5,\"event\":\"frame start\"}\n"), Some(Kind::Trace));
        assert_eq!(Kind::of(b"{\"policy\":\"table\",\"missed\":0}"), Some(Kind::Ran));
        assert_eq!(Kind::of(format!("<!doctype html><head>{PAGE}report").as_bytes()), Some(Kind::Page));
        assert_eq!(Kind::of(b"<!doctype html><title>mine"), None);
        assert_eq!(Kind::of(b"\x7fELF"), None);
        assert_eq!(Kind::of(b""), None);
    }
}
