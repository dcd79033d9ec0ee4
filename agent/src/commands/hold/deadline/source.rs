//! Where a program's frames come from: libjetpace, lines on its stdout, or datagrams of its own.

use std::fs;
use std::io;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use jetpace_tables::units::Nanos;

use super::super::LOOK_EVERY;
use super::super::events::Events;
pub use super::super::events::Frame;
use super::super::lines::Pattern;
use crate::failure::Failure;
use crate::runtime::sys;

/// `--frames-from`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FramesFrom {
    /// What the program tells libjetpace.
    Lib,
    /// Lines on its stdout that hold the pattern; every line without one.
    Stdout(Option<Pattern>),
    /// Datagrams on this socket, each a frame that ended: its busy time (`78.2ms`), or nothing.
    Unix(PathBuf),
}

impl FromStr for FramesFrom {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once(':').unwrap_or((text, "")) {
            ("lib", "") => Ok(Self::Lib),
            ("stdout", "") => Ok(Self::Stdout(None)),
            ("stdout", part) => part.parse().map(|pattern| Self::Stdout(Some(pattern))),
            ("unix", path) if !path.is_empty() => Ok(Self::Unix(PathBuf::from(path))),
            _ => Err("not lib, stdout, stdout:REGEX or unix:PATH".to_owned()),
        }
    }
}

/// What came since the last look.
#[derive(Debug, Default)]
pub struct Heard {
    /// Frames whose busy time was told.
    pub frames: Vec<Frame>,
    /// Frames of which only the end was told.
    pub ends: u64,
}

/// A program's frames.
#[derive(Debug)]
pub struct Source {
    from: Option<FramesFrom>,
    socket: Option<(UnixDatagram, PathBuf)>,
    lines: u64,
    /// Once the library has told a frame, lines are no frames any more: a program may print some.
    library: bool,
}

impl Source {
    /// Listens where that is asked for. Without a source named it is libjetpace, and lines as long as that tells nothing.
    ///
    /// # Errors
    /// Where the socket cannot be made, and where something else is in its place.
    pub fn open(from: Option<FramesFrom>) -> Result<Self, Failure> {
        let socket = match &from {
            Some(FramesFrom::Unix(path)) => Some((bind(path).map_err(|e| Failure::file(path, &e))?, path.clone())),
            _ => None,
        };
        Ok(Self { from, socket, lines: 0, library: false })
    }

    /// What came since the last look. `lines` counts the lines that may be frames.
    pub fn hear(&mut self, lines: u64, events: Option<&mut Events>) -> Heard {
        let mut heard = Heard { frames: events.map(Events::take_frames).unwrap_or_default(), ends: 0 };
        self.library |= !heard.frames.is_empty();
        let new_lines = lines - std::mem::replace(&mut self.lines, lines);
        match &self.from {
            Some(FramesFrom::Lib) => {}
            None if self.library => {}
            None => heard.ends = new_lines,
            Some(FramesFrom::Stdout(_)) => (heard.frames, heard.ends) = (Vec::new(), new_lines),
            Some(FramesFrom::Unix(_)) => {
                heard.frames.clear();
                self.datagrams(&mut heard);
            }
        }
        heard
    }

    fn datagrams(&self, heard: &mut Heard) {
        let Some((socket, _)) = &self.socket else { return };
        let mut buffer = [0; 64];
        let look = Nanos::from_micros(LOOK_EVERY.as_micros() as u64);
        while let Ok(length) = socket.recv(&mut buffer) {
            let text =
                buffer.get(..length).and_then(|bytes| std::str::from_utf8(bytes).ok()).unwrap_or_default().trim();
            let now = sys::now();
            match text.parse::<Nanos>() {
                // It ended at any time since the last look: the earliest, so that no frame seems to have begun at a clock
                // that was not in effect yet.
                Ok(busy) => heard.frames.push(Frame { start: now.saturating_sub(busy).saturating_sub(look), busy }),
                Err(_) if text.is_empty() => heard.ends += 1,
                Err(_) => log::warn!("a frame's datagram is neither empty nor a time such as 78.2ms: {text:?}"),
            }
        }
    }
}

impl Drop for Source {
    fn drop(&mut self) {
        if let Some((_, path)) = &self.socket {
            // A left one is replaced by the next that listens.
            let _ = fs::remove_file(path);
        }
    }
}

/// Binds a socket, in the place of one that nobody listens on any more.
fn bind(path: &Path) -> io::Result<UnixDatagram> {
    use std::os::unix::fs::FileTypeExt;
    let left = fs::symlink_metadata(path).is_ok_and(|found| found.file_type().is_socket());
    if left && UnixDatagram::unbound()?.connect(path).is_err() {
        fs::remove_file(path)?;
    }
    let socket = UnixDatagram::bind(path)?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_are_named() {
        assert_eq!("lib".parse(), Ok(FramesFrom::Lib));
        assert_eq!("stdout".parse(), Ok(FramesFrom::Stdout(None)));
        assert_eq!("stdout:frame ".parse(), Ok(FramesFrom::Stdout("frame ".parse().ok())));
        assert_eq!("unix:/run/f".parse(), Ok(FramesFrom::Unix(PathBuf::from("/run/f"))));
        for wrong in ["", "unix", "unix:", "lib:x", "tcp:1"] {
            assert!(wrong.parse::<FramesFrom>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn datagrams_are_frames_and_a_left_socket_is_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("frames");
        drop(UnixDatagram::bind(&path).unwrap());
        let mut source = Source::open(Some(FramesFrom::Unix(path.clone()))).unwrap();
        assert!(Source::open(Some(FramesFrom::Unix(path.clone()))).is_err(), "one that is listened on is left alone");
        let program = UnixDatagram::unbound().unwrap();
        for text in ["78.2ms\n", "", "soon"] {
            program.send_to(text.as_bytes(), &path).unwrap();
        }
        let heard = source.hear(9, None);
        assert_eq!((heard.frames.len(), heard.frames[0].busy, heard.ends), (1, Nanos::new(78_200_000), 1));
        drop(source);
        assert!(!path.exists());
    }

    #[test]
    fn only_new_lines_count() {
        let mut source = Source::open(Some(FramesFrom::Stdout(None))).unwrap();
        assert_eq!(source.hear(3, None).ends, 3);
        assert_eq!(source.hear(3, None).ends, 0);
    }
}
