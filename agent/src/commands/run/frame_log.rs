//! A line per frame, if asked for: `run --csv`.

use std::fs::File;
use std::io::{self, LineWriter, Write};
use std::path::{Path, PathBuf};

use crate::failure::Failure;
use crate::files::kind::FRAME_LOG;
use crate::session::frames::Frame;

/// A line is there as soon as its frame has ended: a run by triggers may last for days.
pub struct FrameLog(Option<(LineWriter<File>, PathBuf)>);

impl FrameLog {
    /// Begins the file.
    pub fn create(path: Option<&Path>) -> Result<Self, Failure> {
        let Some(path) = path else { return Ok(Self(None)) };
        let file = File::create(path).map_err(|e| Failure::new_file(path, &e))?;
        let mut log = Self(Some((LineWriter::new(file), path.to_owned())));
        log.write(|file| writeln!(file, "{FRAME_LOG}"))?;
        Ok(log)
    }

    /// A frame has ended.
    pub fn add(&mut self, frame: &Frame) -> Result<(), Failure> {
        let (start, time) = (frame.start.as_secs_f64(), frame.time.as_secs_f64());
        let missed = u8::from(frame.missed);
        self.write(|file| writeln!(file, "{},{start:.9},{time:.9},{missed},{}", frame.index, frame.switches))
    }

    /// The run has ended.
    pub fn end(mut self) -> Result<(), Failure> {
        self.write(LineWriter::flush)
    }

    fn write(&mut self, write: impl FnOnce(&mut LineWriter<File>) -> io::Result<()>) -> Result<(), Failure> {
        let Some((file, path)) = &mut self.0 else { return Ok(()) };
        write(file).map_err(|e| Failure::file(path, &e))
    }
}
