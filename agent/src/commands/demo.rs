//! `jetpace demo`: the whole way on a virtual board, with a page of pictures at its end.

mod pictures;

use std::fs;
use std::path::{Path, PathBuf};

use clap::Parser;
use jetpace_tables::model::Model;
use jetpace_tables::units::{Hertz, Nanos};
use jetpace_tables::work::Size;

use super::plan::RISK;
use super::run::Beside;
use super::run::document::Document;
use crate::args::{BoardArg, Cli, network, networks};
use crate::failure::Failure;
use crate::files::output::{print_text, while_working, write_file};
use crate::files::{model, sweep, table};
use crate::report::page::Page;
use crate::session::frames::Pace;
use crate::session::virtual_board::{VirtualRun, best_fixed};
use crate::session::{Drive, Summary};
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

/// Everything that a network's part of the page shows.
struct Story {
    network: String,
    model: Model,
    emc: Option<Hertz>,
    pace: Pace,
    ours: Summary,
    stock: Summary,
    fixed: Vec<(Hertz, Summary)>,
}

impl Args {
    /// Calibrates, fits, plans, runs and reports for every network.
    pub fn run(self) -> Result<(), Failure> {
        fs::create_dir_all(&self.out).map_err(|e| Failure::file(&self.out, &e))?;
        let mut page = Page::new(&format!("jetpace on sim:{}", self.board));
        page.note(
            "Evidence: virtual. The board is simulated: its clocks, rails and the stock governor follow the real ones' \
             rules, its speed and power are scaled from data sheets and published measurements. What a Jetson does is \
             measured with the same commands and --board auto.",
        );
        for net in &self.net {
            let story = self.one(net)?;
            while_working("pictures ...", || self.tell(&story, &mut page))?;
        }
        let report = self.out.join("report.html");
        write_file(&report, page.html().as_bytes())?;
        eprintln!("\nReport with pictures: {}", report.display());
        Ok(())
    }

    /// One network, by the commands that a user would give.
    fn one(&self, net: &str) -> Result<Story, Failure> {
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
        let (_, emc, blocks) = model::network(&fitted, Some(net), None)?;
        let top_s: f64 = blocks.iter().map(|block| block.time_s(fitted.f_ref_hz, Size::default())).sum();
        let deadline = Nanos::from_micros((FACTOR * top_s * 1e4).round() as u64 * 100);
        let asked = format!("{}us", deadline.get() / 1000);
        command(&["plan", &word(&fitted_to), "--deadline", &asked, "-o", &word(&planned_to)])?;
        // As the command does it, whose frames the page shows as well.
        said(&["run", "--board", &board, "--table", &word(&planned_to), "--frames", &FRAMES.to_string()]);
        let planned = table::read(&planned_to)?;
        let pace = Pace { deadline, period: deadline };
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
        let (ours, beside) = while_working("frames ...", || {
            let ours = case.run(drive, &stop, |_| Ok(()))?;
            let beside = Beside::run(&case, drive, &ours, &stop)?;
            Ok::<_, Failure>((ours, beside))
        })?;
        let board = BoardArg::Sim(self.board.clone());
        let baselines = beside.baselines(RISK);
        let document = Document::new("virtual", &board, &case.network, drive, (pace, RISK), &ours, baselines);
        print_text(&document.text())?;
        let Beside { stock, fixed } = beside;
        Ok(Story { network: net.to_owned(), emc, pace, ours, stock, fixed, model: fitted })
    }

    /// A network's part of the page.
    fn tell(&self, story: &Story, page: &mut Page) -> Result<(), Failure> {
        page.heading(&story.network);
        page.text(&format!(
            "{FRAMES} frames, one every {}, each to end within that time; at most {} % may miss.",
            story.pace.period,
            RISK * 100.0
        ));
        let heading = ["", "missed", "energy of a frame", "median time", "99 % of times", "changes a frame"];
        let mut rows = vec![heading.map(str::to_owned).to_vec()];
        rows.push(row("table of jetpace", &story.ours));
        if let Some((clock, run)) = best_fixed(&story.fixed, RISK) {
            rows.push(row(&format!("best fixed clock, {clock}"), run));
        }
        if let Some((clock, run)) = story.fixed.last() {
            rows.push(row(&format!("highest clock, {clock}"), run));
        }
        rows.push(row("stock governor", &story.stock));
        page.table(&rows);
        page.note("Energy is the simulator's true integral over the module's input, the gaps between frames included.");
        page.charts(&pictures::charts(story)?)
    }
}

fn row(name: &str, run: &Summary) -> Vec<String> {
    let frames = run.frames.max(1) as f64;
    vec![
        name.to_owned(),
        format!("{:.2} %", run.miss_rate() * 100.0),
        run.energy.map_or("-".to_owned(), |e| format!("{:.4} J", e.as_joules_f64() / frames)),
        run.quantile(0.5).to_string(),
        run.quantile(0.99).to_string(),
        format!("{:.2}", run.switches as f64 / frames),
    ]
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
