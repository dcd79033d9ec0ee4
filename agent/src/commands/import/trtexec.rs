//! `import trtexec`: per-layer profiles of one saved engine, each at a clock that was held, as one block or several.

use std::path::PathBuf;

use jetpace_tables::sample::{Kind, Row};
use jetpace_tables::stats;
use jetpace_tables::units::{Hertz, Microjoules, Milliwatts, Nanos};

use super::group::Rules;
use super::power::{Power, Powers, logs, power_at};
use super::profile::{self, Layer};
use super::{About, file_at, files, milliseconds, once, read, refused, times};
use crate::failure::Failure;

/// Whole frames of a clock that go into the sweep, at most: enough for how late one in a hundred is.
const MOST_FRAMES: usize = 300;
/// From here on the profiler itself takes so much that its layers are hardly the engine's.
const MUCH: f64 = 0.8;
/// An engine without boundaries inside is one block.
const WHOLE: &str = "engine";

/// Options of `import trtexec`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// A profile (--exportProfile) and the clock that ran, as 612MHz=profile.json; once for every clock
    #[arg(long = "clock", value_name = "CLOCK=FILE", required = true, value_parser = file_at)]
    profiles: Vec<(Hertz, PathBuf)>,
    /// Times of whole runs without the profiler (--exportTimes): layers are scaled to what the engine takes by itself
    #[arg(long = "times", value_name = "CLOCK=FILE", value_parser = file_at)]
    times: Vec<(Hertz, PathBuf)>,
    /// Mean watts of the module while the engine ran over and over, or a log of tegrastats, jtop or nvidia-smi meanwhile
    #[arg(long = "power", value_name = "CLOCK=WATTS|LOG", value_parser = power_at)]
    power: Vec<(Hertz, Power)>,
    /// Lines `block = regex` that group layers into blocks; only for an engine that is split there, as plans switch the
    /// clock between blocks
    #[arg(long, value_name = "RULES")]
    group: Option<PathBuf>,
    #[command(flatten)]
    about: About,
}

/// One clock's files, read.
struct Measured {
    clock: Hertz,
    runs: u32,
    layers: Vec<Layer>,
    times: Vec<Nanos>,
    power: Option<f64>,
}

impl Args {
    /// Imports.
    pub fn run(self) -> Result<(), Failure> {
        once(&self.profiles, "--clock")?;
        once(&self.times, "--times")?;
        once(&self.power, "--power")?;
        let strange = |clock: &Hertz| !self.profiles.iter().any(|(known, _)| known == clock);
        let asked = self.times.iter().map(|(clock, _)| clock).chain(self.power.iter().map(|(clock, _)| clock));
        if let Some(clock) = asked.copied().find(strange) {
            return Err(Failure::usage(format_args!(
                "there is no profile at {clock}: name it with --clock {clock}=FILE"
            )));
        }
        let inputs =
            files(&self.profiles).chain(files(&self.times)).chain(logs(&self.power)).chain(self.group.as_deref());
        self.about.keeps(&inputs.collect::<Vec<_>>())?;
        let powers = Powers::read(&self.power)?;
        let measured = self.measured(&powers)?;
        let blocks = match &self.group {
            None => vec![(WHOLE.to_owned(), (0..first(&measured).len()).collect())],
            Some(path) => {
                let text = String::from_utf8_lossy(&read(path)?).into_owned();
                let rules = Rules::parse(&text).map_err(refused(path))?;
                rules.blocks(first(&measured)).map_err(refused(path))?
            }
        };
        let mut rows = Vec::new();
        for at in &measured {
            rows.extend(self.rows(at, &blocks)?);
        }
        self.about.write(rows, if self.group.is_some() { "blocks" } else { "none" }, powers.of)?;
        eprintln!(
            "{}: {} blocks of {} layers at {} clocks",
            self.about.model,
            blocks.len(),
            first(&measured).len(),
            measured.len()
        );
        Ok(())
    }

    fn measured(&self, powers: &Powers) -> Result<Vec<Measured>, Failure> {
        let mut all: Vec<Measured> = Vec::new();
        for (clock, path) in &self.profiles {
            let (runs, layers) = profile::parse(&read(path)?).map_err(refused(path))?;
            if let Some(before) = all.first() {
                same_engine(&before.layers, &layers).map_err(refused(path))?;
            }
            let times = match self.times.iter().find(|(at, _)| at == clock) {
                Some((_, path)) => times::parse(&read(path)?).map_err(refused(path))?,
                None => Vec::new(),
            };
            let power = powers.at(*clock);
            all.push(Measured { clock: *clock, runs, layers, times, power });
        }
        all.sort_by_key(|at| at.clock);
        Ok(all)
    }

    /// One clock's rows: the blocks, and single whole runs where they are known.
    fn rows(&self, at: &Measured, blocks: &[(String, Vec<usize>)]) -> Result<Vec<Row>, Failure> {
        let sum: f64 = at.layers.iter().map(|layer| layer.ms).sum();
        let scale = if at.times.is_empty() { 1.0 } else { median(&at.times) * 1e3 / sum };
        if at.times.is_empty() {
            eprintln!("{}: no --times: the profiler's own cost is in the layers' times", at.clock);
        } else {
            let much = if scale < MUCH { "; a good part of it is the profiler's own cost" } else { "" };
            eprintln!(
                "{}: layers add up to {sum:.4} ms: scaled by {scale:.3} to the engine's own time{much}",
                at.clock
            );
        }
        let mut rows = Vec::new();
        for (block, layers) in blocks {
            let ms: f64 = layers.iter().filter_map(|layer| at.layers.get(*layer)).map(|layer| layer.ms).sum();
            let time = milliseconds(ms * scale).filter(|time| *time >= Nanos::new(1_000)).ok_or_else(|| {
                Failure::usage(format_args!("{}: block {block} takes {} ms: no time of a block", at.clock, ms * scale))
            })?;
            let mut row = self.about.row(block, at.clock, time);
            row.samples = Some(at.runs);
            row.power = at.power.map(Milliwatts::from_watts_f64);
            row.energy = at.power.map(|watts| Microjoules::from_joules_f64(watts * time.as_secs_f64()));
            rows.push(row);
        }
        let step = at.times.len().div_ceil(MOST_FRAMES).max(1);
        for (repeat, time) in at.times.iter().step_by(step).enumerate() {
            let mut row = self.about.row("", at.clock, *time);
            (row.kind, row.repeat, row.samples) = (Kind::Frame, repeat as u32, Some(1));
            rows.push(row);
        }
        Ok(rows)
    }
}

/// In seconds.
fn median(times: &[Nanos]) -> f64 {
    stats::median(&times.iter().map(|time| time.as_secs_f64()).collect::<Vec<_>>())
}

fn first(measured: &[Measured]) -> &[Layer] {
    measured.first().map_or(&[], |first| &first.layers)
}

/// One saved engine has the same layers at every clock; one that was built anew for each may have others.
fn same_engine(one: &[Layer], other: &[Layer]) -> Result<(), String> {
    let differs = one.iter().zip(other).position(|(one, other)| plain(&one.name) != plain(&other.name));
    let differs = differs.or((one.len() != other.len()).then(|| one.len().min(other.len())));
    let Some(at) = differs else { return Ok(()) };
    let name = |layers: &[Layer]| layers.get(at).map_or("nothing".to_owned(), |layer| format!("'{}'", layer.name));
    Err(format!(
        "another engine than the first profile's: layer {} is {} instead of {}; profile one saved engine (--loadEngine) at \
         every clock",
        at + 1,
        name(other),
        name(one)
    ))
}

/// A name without the numbers that TensorRT gives anew each time it loads an engine.
fn plain(name: &str) -> String {
    let Some(rest) = name.strip_prefix("Reformatting CopyNode for ") else { return name.to_owned() };
    rest.split_once(" to ").map_or(rest, |(_, of)| of).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::path::Path;

    use clap::Parser;

    use crate::args::{Cli, Command};
    use crate::files::sweep;

    fn import(folder: &Path, arguments: &[&str]) -> Result<jetpace_tables::sample::Sweep, String> {
        let output = folder.join("sweep.csv");
        let line = ["jetpace", "import", "trtexec", "-o", output.to_str().unwrap()];
        let cli = Cli::try_parse_from(line.iter().chain(arguments)).map_err(|e| e.to_string())?;
        let Command::Import(args) = cli.command else { panic!("{cli:?}") };
        args.run().map_err(|e| e.to_string())?;
        Ok(sweep::read(&output).unwrap())
    }

    fn at(clock: &str, path: &Path) -> String {
        format!("{clock}={}", path.display())
    }

    /// Writes a file of an engine with two layers.
    fn profile(folder: &Path, name: &str, ms: [f64; 2], layers: [&str; 2]) -> std::path::PathBuf {
        let path = folder.join(name);
        let [a, b] = layers;
        let text = format!(
            "[{{\"count\":10}},{{\"name\":\"{a}\",\"averageMs\":{}}},{{\"name\":\"{b}\",\"averageMs\":{}}}]",
            ms[0], ms[1]
        );
        fs::write(&path, text).unwrap();
        path
    }

    #[test]
    fn layers_are_scaled_to_the_engines_own_time_and_grouped() {
        let folder = tempfile::tempdir().unwrap();
        let here = folder.path();
        let slow = profile(here, "slow", [2.0, 6.0], ["conv", "fc"]);
        let fast = profile(here, "fast", [1.0, 4.0], ["conv", "fc"]);
        let (times, rules) = (here.join("times"), here.join("rules"));
        fs::write(&times, "[{\"computeMs\":4.0},{\"computeMs\":4.0},{\"computeMs\":5.0}]").unwrap();
        fs::write(&rules, "body = conv\nhead = fc\n").unwrap();
        let (slow, fast, times) = (at("306MHz", &slow), at("612MHz", &fast), at("306MHz", &times));
        let files = ["--clock", &slow, "--clock", &fast, "--times", &times, "--power", "306MHz=8.5"];
        let whole = import(here, &files).unwrap();
        assert_eq!(whole.field("boundaries"), Some("none"));
        assert_eq!(whole.rows[0].latency, Some(Nanos::from_millis(4)));
        assert_eq!(whole.rows[0].power, Some(Milliwatts::new(8_500)));
        assert_eq!(whole.rows.iter().filter(|row| row.kind == Kind::Frame).count(), 3);
        let split = import(here, &[&files[..], &["--group", rules.to_str().unwrap()]].concat()).unwrap();
        assert_eq!(split.field("boundaries"), Some("blocks"));
        let times: Vec<_> = split.rows.iter().filter(|row| row.kind == Kind::Block).map(|row| row.latency).collect();
        assert_eq!(times, [1, 3, 1, 4].map(|ms| Some(Nanos::from_millis(ms))));
    }

    #[test]
    fn profiles_of_two_engines_and_clocks_without_a_profile_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let here = folder.path();
        let one = at("306MHz", &profile(here, "one", [1.0, 1.0], ["conv", "fc"]));
        let other = at("612MHz", &profile(here, "other", [1.0, 1.0], ["conv", "gemm"]));
        let why = import(here, &["--clock", &one, "--clock", &other]).unwrap_err();
        assert!(why.contains("other: another engine") && why.contains("layer 2 is 'gemm' instead of 'fc'"), "{why}");
        let why = import(here, &["--clock", &one, "--power", "612MHz=8"]).unwrap_err();
        assert!(why.contains("no profile at 612 MHz"), "{why}");
        let why = import(here, &["--clock", &one, "--clock", &one]).unwrap_err();
        assert!(why.contains("306 MHz is there twice"), "{why}");
        assert!(!here.join("sweep.csv").exists());
    }

    #[test]
    fn reformatting_layers_are_told_apart_by_what_they_feed() {
        assert_eq!(plain("Reformatting CopyNode for Input Tensor 0 to conv1"), "conv1");
        assert_eq!(plain("conv1"), "conv1");
    }
}
