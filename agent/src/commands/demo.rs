//! `jetpace demo`: the whole way on a virtual board, with a page of pictures at its end.

use std::fs;
use std::path::{Path, PathBuf};

use clap::Parser;
use jetpace_tables::units::Nanos;
use jetpace_tables::work::Size;

use super::run::Beside;
use super::run::document::Document;
use super::run::frame_log::FrameLog;
use crate::args::RISK;
use crate::args::{BoardArg, Cli, network, networks};
use crate::failure::Failure;
use crate::files::output::{print_text, while_working, write_file};
use crate::files::{model, sweep, table};
use crate::session::Drive;
use crate::session::frames::Pace;
use crate::session::virtual_board::VirtualRun;
use crate::signals::Stop;

/// Deadline over the frame's time at the top clock.
const FACTOR: f64 = 1.26;
const FRAMES: u64 = 1000;
const SEED: u64 = 1;

/// Options of `demo`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The virtual board
    #[arg(long, default_value = "orin-nano", value_name = "NAME")]
    board: String,
    /// The networks
    #[arg(long, default_values = ["robot-frame", "resnet152"], value_delimiter = ',', value_name = "NET,..", value_parser = networks())]
    net: Vec<String>,
    /// Where the files go
    #[arg(long, default_value = "jetpace-demo", value_name = "FOLDER")]
    out: PathBuf,
}

impl Args {
    /// Calibrates, fits, plans, runs and reports for every network.
    pub fn run(self) -> Result<(), Failure> {
        fs::create_dir_all(&self.out).map_err(|e| Failure::file(&self.out, &e))?;
        let mut files = Vec::new();
        for net in &self.net {
            files.extend(self.one(net)?);
        }
        let report = self.out.join("report.html");
        let mut words = vec!["report".to_owned()];
        words.extend(files.iter().chain([&report]).map(|file| file.display().to_string()));
        words.insert(words.len() - 1, "-o".to_owned());
        command(&words.iter().map(String::as_str).collect::<Vec<_>>())?;
        eprintln!("\nReport with pictures: {}", report.display());
        Ok(())
    }

    /// One network, by the commands that a user would give; what they leave, for the report.
    fn one(&self, net: &str) -> Result<Vec<PathBuf>, Failure> {
        let board = format!("sim:{}", self.board);
        let file = |end: &str| self.out.join(format!("{net}{end}"));
        let (swept, fitted_to, planned_to) = (file(".csv"), file(".model.json"), file(".jpt"));
        // A sweep that is there would be gone on with; the demo starts anew, but on no Jetson's sweep.
        if swept.exists() && sweep::read(&swept)?.field("evidence") != Some("virtual") {
            let why = "is no sweep of a virtual board, and the demo would write over it; name another --out";
            return Err(Failure::usage(format_args!("{} {why}", swept.display())));
        }
        match fs::remove_file(&swept) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(Failure::file(&swept, &e)),
            _ => {}
        }
        let word = |path: &Path| path.display().to_string();
        command(&["calibrate", "--board", &board, "--net", net, "-o", &word(&swept)])?;
        command(&["fit", &word(&swept), "-o", &word(&fitted_to)])?;
        let (fitted, _) = model::read(&fitted_to)?;
        let (.., blocks) = model::network(&fitted, Some(net), None)?;
        let top_s: f64 = blocks.iter().map(|block| block.time_s(fitted.f_ref_hz, Size::default())).sum();
        let deadline = Nanos::from_micros((FACTOR * top_s * 1e4).round() as u64 * 100);
        let asked = format!("{}us", deadline.get() / 1000);
        command(&["plan", &word(&fitted_to), "--deadline", &asked, "-o", &word(&planned_to)])?;
        let (ran_to, log_to) = (file(".run.json"), file(".frames.csv"));
        self.frames(net, &board, (&planned_to, &ran_to, &log_to))?;
        Ok(vec![swept, fitted_to, planned_to, ran_to, log_to])
    }

    /// Frames of a network by its table, as the command does it.
    fn frames(&self, net: &str, board: &str, (table, ran, log): (&Path, &Path, &Path)) -> Result<(), Failure> {
        let word = |path: &Path| path.display().to_string();
        let (frames, by, to) = (FRAMES.to_string(), word(table), word(ran));
        said(&["run", "--board", board, "--table", &by, "--frames", &frames, "--csv", &word(log), "--json", ">", &to]);
        let planned = table::read(table)?;
        let pace = Pace { deadline: planned.deadline(), period: planned.period() };
        let case = VirtualRun {
            board: self.board.clone(),
            seed: SEED,
            network: network(net)?,
            pace,
            frames: FRAMES,
            triggers: None,
            sizes: Vec::new(),
        };
        let (stop, drive) = (Stop::never(), Drive::Table(&planned));
        let mut log = FrameLog::create(Some(log))?;
        let (ours, beside) = while_working("frames ...", || {
            let ours = case.run(drive, &stop, |frame| log.add(frame))?;
            let beside = Beside::run(&case, drive, &ours, &stop)?;
            Ok::<_, Failure>((ours, beside))
        })?;
        log.end()?;
        let board = BoardArg::Sim(self.board.clone());
        let baselines = beside.baselines(RISK);
        let document = Document::new("virtual", &board, &case.network, drive, (pace, RISK), &ours, baselines);
        let text = serde_json::to_string_pretty(&document).map_err(Failure::failed)?;
        write_file(ran, text.as_bytes())?;
        print_text(&document.text())
    }
}

/// Says and runs a command as a user would.
fn command(words: &[&str]) -> Result<(), Failure> {
    said(words);
    let line = std::iter::once("jetpace").chain(words.iter().copied());
    Cli::try_parse_from(line).map_err(Failure::failed)?.command.run()
}

fn said(words: &[&str]) {
    eprintln!("\n$ jetpace {}", words.join(" "));
}
