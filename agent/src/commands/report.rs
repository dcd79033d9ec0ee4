//! `jetpace report`: a page of one's own files for others to read.

mod frames;
mod headline;
mod log;
mod material;
mod measured;
mod planned;
mod settled;

use std::path::{Path, PathBuf};

use jetpace_tables::units::Nanos;

use crate::failure::Failure;
use crate::files::kind::{Kind, may_write};
use crate::files::output::{print_text, while_working, write_file};
use crate::report::page::Page;
use material::Material;

/// Options of `report`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Sweeps, models, tables, traces (`trace --json`), logs of frames (`run --csv`), and what `run --json` and `hold
    /// --json` gave, in any mix
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Write one HTML page that needs no network, instead of text on stdout
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// The deadline to plan for, where no table or run among the files has one
    #[arg(long, value_name = "TIME")]
    deadline: Option<Nanos>,
    /// Accepted probability that a frame misses it
    #[arg(long, value_name = "P", default_value_t = crate::args::RISK, requires = "deadline")]
    risk: f64,
    /// Write over a file that would be left alone: an input, or a file of another kind
    #[arg(long)]
    force: bool,
}

/// What frames have to keep to.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Goal {
    deadline: Nanos,
    period: Nanos,
    risk: f64,
}

impl Args {
    /// Reads all files, and tells.
    pub fn run(self) -> Result<(), Failure> {
        let inputs: Vec<&Path> = self.files.iter().map(PathBuf::as_path).collect();
        if let Some(path) = &self.output {
            may_write(path, Kind::Page, &inputs, self.force)?;
        }
        let goal = self.deadline.map(|deadline| Goal { deadline, period: deadline, risk: self.risk });
        let page = while_working("reading, fitting and planning ...", || {
            let material = Material::read(&inputs)?;
            Ok::<_, Failure>(page(&material, goal))
        })?;
        match &self.output {
            Some(path) => write_file(path, page.html().as_bytes()),
            None => print_text(&page.terminal()),
        }
    }
}

/// What the files tell, from the most to the least important.
fn page(material: &Material, asked: Option<Goal>) -> Page {
    let mut page = Page::new(&format!("jetpace report: {}", material.title()));
    let mut plans = Vec::new();
    for source in &material.sources {
        for network in source.model.networks() {
            for goal in material.goals(source, network, asked) {
                plans.push(planned::Shown::new(material, source, network, goal));
            }
        }
    }
    headline::tell(&mut page, material, headline::runs(material), &plans);
    frames::runs(&mut page, material);
    for source in &material.sources {
        settled::board(&mut page, source);
        for network in source.model.networks() {
            let of_network =
                |shown: &&planned::Shown<'_>| std::ptr::eq(shown.source, source) && shown.network == network;
            let shown: Vec<&planned::Shown<'_>> = plans.iter().filter(of_network).collect();
            // As planned, else the highest memory clock.
            let emc = shown.iter().find_map(|shown| shown.emc()).or(source
                .model
                .emc_clocks(network)
                .last()
                .copied()
                .flatten());
            measured::tell(&mut page, source, network, emc);
            shown.iter().for_each(|shown| shown.tell(&mut page));
            if shown.is_empty() {
                page.note(format!("Not planned: no deadline for {network} is known. --deadline TIME, or a table of it among the files, gives one."));
            }
        }
        settled::changes(&mut page, &source.model);
    }
    planned::lone_tables(&mut page, material);
    frames::logs(&mut page, material);
    for source in &material.sources {
        settled::rejected(&mut page, source);
    }
    page
}

/// A clock in the unit of the pictures' axes.
fn mhz(clock: jetpace_tables::units::Hertz) -> f64 {
    clock.as_f64() / 1e6
}

/// A row of a table from words.
fn row<const N: usize>(cells: [&str; N]) -> Vec<String> {
    cells.map(str::to_owned).to_vec()
}

/// A file by the name that its reader knows.
fn name(path: &Path) -> String {
    path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned()
}

/// How a share reads: with more digits where it is small.
fn percent(share: f64) -> String {
    let value = 100.0 * share;
    let decimals = if value.abs() >= 9.95 {
        0
    } else if value == 0.0 || value.abs() >= 0.095 {
        1
    } else {
        2
    };
    let text = format!("{value:.decimals$}");
    format!("{} %", text.strip_suffix(".0").unwrap_or(&text))
}

/// What must not be lost where a sentence is passed on alone.
fn simulated(evidence: &str) -> &'static str {
    if evidence == "virtual" { ", on a simulated board" } else { "" }
}
