//! `jetpace import`: what other tools measured, as a sweep.

pub mod edge_llm;
mod group;
pub mod monitor;
mod power;
pub mod profile;
pub mod table;
mod table_units;
pub mod times;
mod trtexec;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use jetpace_tables::hw::PowerOf;
use jetpace_tables::sample::{Row, Sweep};
use jetpace_tables::units::{Hertz, Nanos};

use crate::failure::Failure;
use crate::files::kind::{self, Kind};
use crate::files::output::{print_text, write_file};
use crate::files::{model, sweep};

/// What the sweep's first line says of where its figures come from.
const EVIDENCE: &str = "import";

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
#[derive(Debug, Default, clap::Args)]
struct About {
    /// The program's name, in the sweep's column `model`
    #[arg(long, default_value = "program")]
    model: String,
    /// The machine's name, in the column `device`
    #[arg(long, default_value = "jetson")]
    device: String,
    /// The digest of the board that ran it, as `jetpace probe` prints it: tables are for one board
    #[arg(long, value_name = "DIGEST", value_parser = digest)]
    board_digest: Option<String>,
    /// All clocks of that board, so that the others are planned with as well; without them `plan --board` tells
    #[arg(long, value_name = "CLOCKS", value_delimiter = ',')]
    clocks: Vec<Hertz>,
    /// The memory's clock that ran
    #[arg(long, value_name = "CLOCK")]
    emc: Option<Hertz>,
    /// Where the sweep goes; by default to stdout
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Write over whatever lies there
    #[arg(long)]
    force: bool,
}

fn digest(text: &str) -> Result<String, String> {
    let known = model::digest_from_hex(text).map(|_| text.to_owned());
    known.ok_or_else(|| "no digest: 64 hexadecimal digits, as `jetpace probe --json` prints them".to_owned())
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

    /// Refuses to write over what is read, over a file of another kind, and over a sweep that was measured here.
    fn keeps(&self, inputs: &[&Path]) -> Result<(), Failure> {
        let Some(output) = &self.output else { return Ok(()) };
        kind::may_write(output, Kind::Sweep, inputs, self.force)?;
        if !self.force && sweep::read(output).is_ok_and(|old| old.field("evidence") != Some(EVIDENCE)) {
            let why = "is a sweep that no import made, and would be written over: name another file, or say --force";
            return Err(Failure::usage(format_args!("{} {why}", output.display())));
        }
        Ok(())
    }

    /// Writes the sweep, as a whole or not at all. `boundaries`: whether the program can be told between its blocks.
    fn write(&self, rows: Vec<Row>, boundaries: &str, power_of: Option<PowerOf>) -> Result<(), Failure> {
        let text = self.text(rows, boundaries, power_of)?;
        if self.board_digest.is_some() && self.clocks.is_empty() {
            eprintln!(
                "the board's other clocks are not known: plan with --board on it, or name them with --clocks, or no \
                 daemon takes the table"
            );
        }
        match &self.output {
            Some(output) => write_file(output, text.as_bytes()),
            None => print_text(&text),
        }
    }

    fn text(&self, rows: Vec<Row>, boundaries: &str, power_of: Option<PowerOf>) -> Result<String, Failure> {
        let measured: BTreeSet<Hertz> = rows.iter().filter_map(|row| row.gpu_freq).collect();
        let mut clocks: BTreeSet<Hertz> = self.clocks.iter().copied().collect();
        if let Some(strange) = measured.iter().find(|clock| !clocks.is_empty() && !clocks.contains(clock)) {
            return Err(Failure::usage(format_args!("{strange} was measured, and is none of --clocks")));
        }
        clocks.extend(measured);
        let clocks: Vec<String> = clocks.iter().map(|clock| clock.get().to_string()).collect();
        let field = |key: &str, value: &str| (key.to_owned(), value.to_owned());
        let mut fields = vec![
            field("name", &self.device),
            field("net", &self.model),
            field("evidence", EVIDENCE),
            field("boundaries", boundaries),
            field("clocks", &clocks.join(",")),
        ];
        fields.extend(power_of.map(|of| field("power_of", of.word())));
        let text = sweep::whole(&Sweep { board: self.board_digest.clone(), fields, rows });
        // What this program would not read it does not write.
        sweep::parse(text.as_bytes(), self.output.as_deref().unwrap_or(Path::new("the sweep")))?;
        Ok(text)
    }
}

/// `CLOCK=VALUE` on the command line.
fn at_clock<T>(text: &str, value: impl FnOnce(&str) -> Result<T, String>) -> Result<(Hertz, T), String> {
    let (clock, rest) = text.split_once('=').ok_or("not CLOCK=..., such as 612MHz=profile.json")?;
    Ok((clock.parse::<Hertz>().map_err(|e| e.to_string())?, value(rest)?))
}

fn files(list: &[(Hertz, PathBuf)]) -> impl Iterator<Item = &Path> {
    list.iter().map(|(_, path)| path.as_path())
}

fn file_at(text: &str) -> Result<(Hertz, PathBuf), String> {
    at_clock(text, |path| if path.is_empty() { Err("no file behind =".to_owned()) } else { Ok(PathBuf::from(path)) })
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

/// A JSON document; where it ends too early that is said.
fn json(bytes: &[u8]) -> Result<serde_json::Value, String> {
    serde_json::from_slice(bytes).map_err(|e| if e.is_eof() { format!("cut off ({e})") } else { e.to_string() })
}

/// A time of a tool that says milliseconds, in the range of a sweep.
fn milliseconds(value: f64) -> Option<Nanos> {
    (0.0..1e5).contains(&value).then(|| Nanos::from_secs_f64(value / 1e3))
}
