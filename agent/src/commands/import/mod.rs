//! `jetpace import`: what other tools measured, as a sweep.

pub mod edge_llm;
mod group;
pub mod profile;
mod table;
mod table_units;
mod times;
mod trtexec;

use std::path::{Path, PathBuf};

use jetpace_tables::sample::{Row, Sweep};
use jetpace_tables::units::{Hertz, Nanos};

use crate::failure::Failure;
use crate::files::output::write_file;
use crate::files::sweep;

/// Options of `import`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    tool: Tool,
}

/// Whose files they are.
#[derive(Debug, clap::Subcommand)]
enum Tool {
    /// Per-layer profiles and times of one TensorRT engine (trtexec --exportProfile, --exportTimes), one per clock
    Trtexec(trtexec::Args),
    /// A stage of TensorRT Edge-LLM's profiles, one profile per clock
    EdgeLlm(edge_llm::Args),
    /// A table with a row per measurement, its units in the columns' names or in the cells
    Csv(table::Args),
}

impl Args {
    /// Imports.
    pub fn run(self) -> Result<(), Failure> {
        match self.tool {
            Tool::Trtexec(args) => args.run(),
            Tool::EdgeLlm(args) => args.run(),
            Tool::Csv(args) => args.run(),
        }
    }
}

/// What the sweep is to say that no file of these tools does.
#[derive(Debug, clap::Args)]
struct About {
    /// The program's name, in the sweep's column `model`
    #[arg(long, default_value = "program")]
    model: String,
    /// The machine's name, in the column `device`
    #[arg(long, default_value = "jetson")]
    device: String,
    /// The digest of the board that ran it, as `jetpace probe` prints it: tables are for one board
    #[arg(long, value_name = "DIGEST")]
    board_digest: Option<String>,
    /// The memory's clock that ran
    #[arg(long, value_name = "CLOCK")]
    emc: Option<Hertz>,
    /// Where the sweep goes
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
}

impl About {
    /// One block's row.
    fn row(&self, block: &str, clock: Hertz, time: Nanos) -> Row {
        Row {
            device: self.device.clone(),
            model: self.model.clone(),
            block: block.to_owned(),
            gpu_freq: Some(clock),
            emc_freq: self.emc,
            latency: Some(time),
            ..Row::default()
        }
    }

    /// Writes the sweep, as a whole or not at all. `boundaries`: whether the program can be told between its blocks.
    fn write(&self, rows: Vec<Row>, boundaries: &str) -> Result<(), Failure> {
        let text = self.text(rows, boundaries)?;
        write_file(&self.output, text.as_bytes())
    }

    fn text(&self, rows: Vec<Row>, boundaries: &str) -> Result<String, Failure> {
        let mut clocks: Vec<u64> = rows.iter().filter_map(|row| row.gpu_freq).map(Hertz::get).collect();
        clocks.sort_unstable();
        clocks.dedup();
        let clocks: Vec<String> = clocks.iter().map(u64::to_string).collect();
        let field = |key: &str, value: &str| (key.to_owned(), value.to_owned());
        let fields = vec![
            field("name", &self.device),
            field("evidence", "import"),
            field("boundaries", boundaries),
            field("clocks", &clocks.join(",")),
        ];
        let text = sweep::whole(&Sweep { board: self.board_digest.clone(), fields, rows });
        // What this program would not read it does not write.
        sweep::parse(text.as_bytes(), &self.output)?;
        Ok(text)
    }
}

/// `CLOCK=VALUE` on the command line.
fn at_clock<T>(text: &str, value: impl FnOnce(&str) -> Result<T, String>) -> Result<(Hertz, T), String> {
    let (clock, rest) = text.split_once('=').ok_or("not CLOCK=..., such as 612MHz=profile.json")?;
    Ok((clock.parse::<Hertz>().map_err(|e| e.to_string())?, value(rest)?))
}

fn file_at(text: &str) -> Result<(Hertz, PathBuf), String> {
    at_clock(text, |path| if path.is_empty() { Err("no file behind =".to_owned()) } else { Ok(PathBuf::from(path)) })
}

fn watts_at(text: &str) -> Result<(Hertz, f64), String> {
    at_clock(text, crate::args::watts)
}

/// Each clock once.
fn once<T>(list: &[(Hertz, T)], option: &str) -> Result<(), Failure> {
    let twice = list.iter().enumerate().find(|(i, (clock, _))| list.iter().take(*i).any(|(other, _)| other == clock));
    match twice {
        Some((_, (clock, _))) => Err(Failure::usage(format_args!("{option}: {clock} is there twice"))),
        None => Ok(()),
    }
}

fn read(path: &Path) -> Result<Vec<u8>, Failure> {
    std::fs::read(path).map_err(|e| Failure::file(path, &e))
}

/// A refusal that names the file.
fn refused(path: &Path) -> impl Fn(String) -> Failure + '_ {
    move |why| Failure::usage(format_args!("{}: {why}", path.display()))
}

/// A time of a tool that says milliseconds, in the range of a sweep.
fn milliseconds(value: f64) -> Option<Nanos> {
    (0.0..1e5).contains(&value).then(|| Nanos::from_secs_f64(value / 1e3))
}
