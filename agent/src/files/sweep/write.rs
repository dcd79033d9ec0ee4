//! Writing a sweep row by row, so that nothing measured is lost when calibration is cut off, and going on from there.

use std::fmt::Write as _;
use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use jetpace_tables::sample::{Row, Sweep};
use jetpace_tables::units::{Hertz, Microjoules, Milliwatts, Nanos};

use super::MAGIC;
use crate::failure::{Failure, Reason};

const COLUMNS: &str = "kind,device,model,block,size,repeat,gpu_freq_hz,emc_freq_hz,cpu_freq_hz,cpu_cores,latency_s,\
                       latency_sd_s,power_w,energy_j,samples,from_hz,to_hz,temp_c,rejected";

/// Appends rows to a sweep; each is in the file when [`SweepWriter::append`] returns.
#[derive(Debug)]
pub struct SweepWriter {
    path: PathBuf,
    file: File,
    rails: Vec<String>,
}

impl SweepWriter {
    /// Starts a sweep, or goes on with one that was cut off: then its half-written last line is dropped and the rows
    /// that are there are returned, for the caller to skip.
    ///
    /// `head` is a sweep without rows: the board's digest and the fields of the first line. `rails` names the columns
    /// `rail_<name>_w`.
    ///
    /// # Errors
    /// A file that is not a sweep, or one of another board, other fields or other rails, is left as it is.
    pub fn open(path: &Path, head: &Sweep, rails: &[&str]) -> Result<(Self, Sweep), Failure> {
        // What is there is read first, and a device would be read for ever.
        if std::fs::metadata(path).is_ok_and(|there| !there.is_file() && !there.is_dir()) {
            let why = "is no file that a calibration could go on with; name another";
            return Err(Failure::usage(format_args!("{} {why}", path.display())));
        }
        let start = start(head, rails);
        let mut options = OpenOptions::new();
        options.read(true).write(true);
        let mut file = match options.open(path) {
            Err(e) if e.kind() == ErrorKind::NotFound => options.create_new(true).open(path),
            opened => opened,
        }
        .map_err(|e| Failure::new_file(path, &e))?;
        let there = resume(&mut file, path, &start)?;
        let rails = rails.iter().map(|&rail| rail.to_owned()).collect();
        Ok((Self { path: path.to_owned(), file, rails }, there))
    }

    /// Writes one row.
    pub fn append(&mut self, row: &Row) -> Result<(), Failure> {
        let line = line(row, &self.rails);
        self.file.write_all(line.as_bytes()).map_err(|e| Failure::file(&self.path, &e))
    }

    /// Makes sure that all rows are on the disk.
    pub fn finish(self) -> Result<(), Failure> {
        self.file.sync_all().map_err(|e| Failure::file(&self.path, &e))
    }
}

/// A whole sweep as text.
pub fn whole(sweep: &Sweep) -> String {
    let rows: String = sweep.rows.iter().map(|row| line(row, &[])).collect();
    start(sweep, &[]) + &rows
}

/// The first two lines.
fn start(head: &Sweep, rails: &[&str]) -> String {
    let mut text = MAGIC.to_owned();
    let board = head.board.iter().map(|digest| ("board", digest.as_str()));
    for (key, value) in board.chain(head.fields.iter().map(|(key, value)| (key.as_str(), value.as_str()))) {
        let value: String = value.split_whitespace().collect::<Vec<_>>().join("_");
        let _ = write!(text, " {key}={value}"); // writing to a String cannot fail
    }
    text.push('\n');
    text.push_str(COLUMNS);
    for rail in rails {
        let _ = write!(text, ",rail_{rail}_w");
    }
    text.push('\n');
    text
}

/// Brings the file to the end of its last whole line, or writes the start of a new one.
fn resume(file: &mut File, path: &Path, start: &str) -> Result<Sweep, Failure> {
    let io = |e: std::io::Error| Failure::file(path, &e);
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes).map_err(io)?;
    // Cut off within its first two lines, it holds nothing yet.
    let fresh = start.as_bytes().starts_with(&bytes);
    if !fresh && !bytes.starts_with(start.as_bytes()) {
        let why = if bytes.starts_with(MAGIC.as_bytes()) {
            "is a sweep of another board, or was measured in another way"
        } else {
            "is not a sweep that calibrate wrote"
        };
        return Err(Failure::new(
            Reason::Calibration,
            format_args!("{} {why}; remove it or name another file", path.display()),
        ));
    }
    let whole = if fresh { 0 } else { bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1) };
    let there = if fresh { Sweep::default() } else { super::parse(&bytes[..whole], path)? };
    file.set_len(whole as u64).map_err(io)?;
    file.seek(SeekFrom::Start(whole as u64)).map_err(io)?;
    if fresh {
        file.write_all(start.as_bytes()).map_err(io)?;
    }
    Ok(there)
}

fn line(row: &Row, rails: &[String]) -> String {
    let mut fields = vec![
        row.kind.word().to_owned(),
        quoted(&row.device),
        quoted(&row.model),
        quoted(&row.block),
        row.size.0.to_string(),
        row.repeat.to_string(),
        text(row.gpu_freq.map(Hertz::get)),
        text(row.emc_freq.map(Hertz::get)),
        text(row.cpu_freq.map(Hertz::get)),
        text(row.cpu_cores),
        text(row.latency.map(Nanos::as_secs_f64)),
        text(row.latency_sd.map(Nanos::as_secs_f64)),
        text(row.power.map(Milliwatts::as_watts_f64)),
        text(row.energy.map(Microjoules::as_joules_f64)),
        text(row.samples),
        text(row.from.map(Hertz::get)),
        text(row.to.map(Hertz::get)),
        text(row.temp.map(|temp| temp.get() as f64 / 1e3)),
        quoted(&row.rejected),
    ];
    for rail in rails {
        let power = row.rails.iter().find(|(name, _)| name == rail).map(|(_, power)| power.as_watts_f64());
        fields.push(text(power));
    }
    fields.join(",") + "\n"
}

fn text(value: Option<impl ToString>) -> String {
    value.map(|value| value.to_string()).unwrap_or_default()
}

/// A text field; a line break in it would break resuming, so it becomes a space.
fn quoted(field: &str) -> String {
    let field = field.replace(['\n', '\r'], " ");
    // A leading `#` would read as a comment.
    if field.contains([',', '"', '#']) { format!("\"{}\"", field.replace('"', "\"\"")) } else { field }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn head() -> Sweep {
        let fields = vec![("name".to_owned(), "Orin Nano".to_owned())];
        Sweep { board: Some("00ff".to_owned()), fields, rows: Vec::new() }
    }

    fn row(repeat: u32) -> Row {
        Row {
            device: "orin".to_owned(),
            model: "net".to_owned(),
            block: "conv1, conv2".to_owned(),
            repeat,
            gpu_freq: Some(Hertz::new(612_000_000)),
            latency: Some(Nanos::new(1_234_567)),
            power: Some(Milliwatts::new(7_250)),
            rails: vec![("VDD_IN".to_owned(), Milliwatts::new(7_250))],
            ..Row::default()
        }
    }

    #[test]
    fn rows_read_back_as_they_were_written() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("sweep.csv");
        let (mut writer, there) = SweepWriter::open(&path, &head(), &["VDD_IN"]).unwrap();
        assert!(there.rows.is_empty());
        writer.append(&row(0)).unwrap();
        writer.append(&row(1)).unwrap();
        writer.finish().unwrap();
        let sweep = super::super::read(&path).unwrap();
        assert_eq!(sweep.board.as_deref(), Some("00ff"));
        assert_eq!(sweep.field("name"), Some("Orin_Nano"));
        let mut expected = [row(0), row(1)];
        (expected[0].line, expected[1].line) = (3, 4);
        assert_eq!(sweep.rows, expected);
    }

    #[test]
    fn a_sweep_cut_off_anywhere_goes_on_where_it_stopped() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("sweep.csv");
        let (mut writer, _) = SweepWriter::open(&path, &head(), &["VDD_IN"]).unwrap();
        writer.append(&row(0)).unwrap();
        writer.append(&row(1)).unwrap();
        let whole = fs::read(&path).unwrap();
        for cut in 0..=whole.len() {
            fs::write(&path, &whole[..cut]).unwrap();
            let (mut writer, there) = SweepWriter::open(&path, &head(), &["VDD_IN"]).unwrap();
            for missing in there.rows.len() as u32..2 {
                writer.append(&row(missing)).unwrap();
            }
            assert_eq!(fs::read(&path).unwrap(), whole, "cut at {cut}");
        }
    }

    #[test]
    fn a_file_of_something_else_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("sweep.csv");
        fs::write(&path, "dear diary\n").unwrap();
        let message = SweepWriter::open(&path, &head(), &[]).unwrap_err().to_string();
        assert!(message.contains("is not a sweep"), "{message}");
        drop(SweepWriter::open(&dir.path().join("other.csv"), &head(), &[]).unwrap());
        let other = Sweep { board: Some("aaaa".to_owned()), ..head() };
        let failure = SweepWriter::open(&dir.path().join("other.csv"), &other, &[]).unwrap_err();
        assert_eq!(failure.reason(), Reason::Calibration);
        assert_eq!(fs::read_to_string(&path).unwrap(), "dear diary\n");
        assert!(SweepWriter::open(dir.path(), &head(), &[]).is_err());
    }
}
