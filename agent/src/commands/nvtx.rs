//! `jetpace nvtx`: what ranges a program marks, and which of them may be its frame and its blocks.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::thread;

use jetpace_tables::names::Shown;
use jetpace_tables::units::Nanos;
use serde::Serialize;

use super::hold::LOOK_EVERY;
use super::hold::running::Running;
use crate::failure::Failure;
use crate::files::kind::{self, Kind as FileKind};
use crate::files::output::{print_text, say, shell_word, write_file};
use crate::nvtx::list::{ENDING, Kind, Tally};
use crate::nvtx::ranges::{Block, Pattern};
use crate::nvtx::{LIST_VARIABLE, environment, telling};
use crate::signals::Stop;

/// Options of `nvtx`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Instead of a list: ranges of this name (NAME, DOMAIN//NAME, PREFIX*) are the frames that the daemon is told, to follow
    /// its table, or $JETPACE_TABLE
    #[arg(long, value_name = "RANGE", conflicts_with = "json")]
    frame: Option<Pattern>,
    /// With --frame: the ranges within it that are blocks, as RANGE=BLOCK, or RANGE for a block of the same name
    #[arg(long, value_name = "RANGES", requires = "frame", value_delimiter = ',')]
    blocks: Vec<Block>,
    /// With --frame: whole payloads of the frame, or of blocks, are its size (batch, tokens)
    #[arg(long, requires = "frame")]
    sizes: bool,
    /// Write the list here, too, as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Write over whatever lies where --json leads
    #[arg(long, requires = "json")]
    force: bool,
    /// The command and its arguments
    #[arg(last = true, required = true)]
    command: Vec<OsString>,
}

/// Fewer of a range are no frames.
const LEAST_FRAMES: u64 = 3;

/// The list.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Document {
    format: u32,
    /// Of all processes together.
    ranges: Vec<Range>,
    /// The range that may be the frame, as `--nvtx` takes it.
    frame: Option<String>,
    /// The ranges that may be its blocks, as `--nvtx-blocks` takes them.
    blocks: Vec<String>,
}

/// All ranges of a name.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Range {
    domain: String,
    name: String,
    kind: Kind,
    count: u64,
    median_s: Option<f64>,
    mean_s: Option<f64>,
    threads: u32,
    depth: u32,
    within: Option<String>,
    payloads: Option<[i64; 2]>,
}

impl Args {
    /// Runs the command, and prints what it marked, or has it tell its frames.
    pub fn run(self) -> Result<(), Failure> {
        if let Some(frame) = &self.frame {
            let telling = telling(frame, &self.blocks, self.sizes)?;
            let stop = Stop::install()?;
            let ended = run(&self.command, &telling, &stop);
            stop.die();
            return ended;
        }
        if let Some(path) = &self.json {
            kind::may_write(path, FileKind::Nvtx, &[], self.force)?;
        }
        let folder = tempfile::tempdir().map_err(Failure::failed)?;
        let told = vec![(LIST_VARIABLE, folder.path().to_owned())];
        let stop = Stop::install()?;
        let ended = run(&self.command, &environment(told)?, &stop);
        let lists = lists(folder.path())?;
        drop(folder);
        let document = Document::of(&lists);
        print_text(&document.in_words(&self.command))?;
        if let Some(path) = &self.json {
            let text = serde_json::to_string_pretty(&document).map_err(Failure::failed)?;
            write_file(path, text.as_bytes())?;
        }
        stop.die();
        ended
    }
}

/// Runs the command to its end; signals are its own.
fn run(command: &[OsString], environment: &[(&'static str, PathBuf)], stop: &Stop) -> Result<(), Failure> {
    let mut running = Running::start(command, environment, None, || {})?;
    let mut told = None;
    loop {
        if let Some(status) = running.ended()? {
            return running.judge(status, stop);
        }
        stop.to_pass_on().for_each(|signal| running.tell(signal));
        if let Some(signal) = stop.signal().filter(|_| told.is_none()) {
            running.tell(signal);
            told = Some(signal);
        }
        thread::sleep(LOOK_EVERY);
    }
}

/// What each process listed. A file that is no list is of a process that was killed while it wrote: the one before is gone.
fn lists(folder: &Path) -> Result<Vec<Vec<Tally>>, Failure> {
    let entries = fs::read_dir(folder).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let mut paths: Vec<PathBuf> =
        entries.map_err(|e| Failure::file(folder, &e))?.iter().map(fs::DirEntry::path).collect();
    paths.retain(|path| path.extension().is_some_and(|ending| ending == ENDING));
    paths.sort();
    let mut lists = Vec::new();
    for path in paths {
        let text = fs::read(&path).map_err(|e| Failure::file(&path, &e))?;
        match serde_json::from_slice(&text) {
            Ok(list) => lists.push(list),
            Err(e) => say(format_args!("{}: {e}", path.display())),
        }
    }
    Ok(lists)
}

/// Whether `--nvtx` could take it.
fn may_be_named(it: &Tally) -> bool {
    it.kind != Kind::Mark && !it.name.is_empty()
}

/// A range as `--nvtx` takes it.
fn full_name(domain: &str, name: &str) -> String {
    if domain.is_empty() { name.to_owned() } else { format!("{domain}//{name}") }
}

impl Document {
    fn of(lists: &[Vec<Tally>]) -> Self {
        let mut places = BTreeMap::new();
        let mut all: Vec<(Tally, Option<String>)> = Vec::new();
        for list in lists {
            for tally in list {
                let within = tally.within.and_then(|at| list.get(at)).map(|it| full_name(&it.domain, &it.name));
                let key = (tally.domain.clone(), tally.name.clone(), tally.kind);
                let at = *places.entry(key).or_insert(all.len());
                match all.get_mut(at) {
                    None => all.push((tally.clone(), within)),
                    Some((sum, around)) => {
                        sum.count += tally.count;
                        sum.ended += tally.ended;
                        sum.total_ns = sum.total_ns.saturating_add(tally.total_ns);
                        sum.samples_ns.extend(&tally.samples_ns);
                        sum.threads += tally.threads;
                        sum.depth = sum.depth.min(tally.depth);
                        sum.payloads = [sum.payloads, tally.payloads]
                            .into_iter()
                            .flatten()
                            .reduce(|[a, b], [c, d]| [a.min(c), b.max(d)]);
                        *around = around.take().filter(|before| Some(before) == within.as_ref());
                    }
                }
            }
        }
        let frame = all.iter().filter(|(it, _)| may_be_named(it) && it.ended >= LEAST_FRAMES);
        // What holds others takes longer than they do together; of the same time it is the first that began.
        let frame = frame.rev().max_by_key(|(it, _)| it.total_ns).map(|(it, _)| it);
        let name = frame.map(|it| full_name(&it.domain, &it.name));
        let once = |it: &Tally| frame.is_some_and(|frame| it.count == frame.count) && may_be_named(it);
        let blocks = all.iter().filter(|(it, within)| name.is_some() && *within == name && once(it));
        let blocks = blocks.map(|(it, _)| full_name(&it.domain, &it.name)).collect();
        let range = |(it, within): &(Tally, Option<String>)| Range {
            domain: it.domain.clone(),
            name: it.name.clone(),
            kind: it.kind,
            count: it.count,
            median_s: it.median().map(Nanos::as_secs_f64),
            mean_s: it.mean().map(Nanos::as_secs_f64),
            threads: it.threads,
            depth: it.depth,
            within: within.clone(),
            payloads: it.payloads,
        };
        Self { format: 1, ranges: all.iter().map(range).collect(), frame: name, blocks }
    }

    fn in_words(&self, command: &[OsString]) -> String {
        if self.ranges.is_empty() {
            return "no range was marked: the program has no NVTX in it, or does not come to where it is used\n"
                .to_owned();
        }
        let mut rows =
            vec![["range", "kind", "count", "median", "mean", "threads", "depth", "payload"].map(str::to_owned)];
        for it in &self.ranges {
            let time = |seconds: Option<f64>| seconds.map_or("-".to_owned(), |s| Nanos::from_secs_f64(s).to_string());
            rows.push([
                Shown(&full_name(&it.domain, &it.name)).to_string(),
                match it.kind {
                    Kind::Push => "push",
                    Kind::Start => "start",
                    Kind::Mark => "mark",
                }
                .to_owned(),
                it.count.to_string(),
                time(it.median_s),
                time(it.mean_s),
                it.threads.to_string(),
                if it.kind == Kind::Push { it.depth.to_string() } else { "-".to_owned() },
                it.payloads.map_or("-".to_owned(), |[least, most]| match least == most {
                    true => least.to_string(),
                    false => format!("{least}..{most}"),
                }),
            ]);
        }
        let widths: [usize; 8] =
            std::array::from_fn(|at| rows.iter().map(|row| row[at].chars().count()).max().unwrap_or(0));
        let mut text = String::new();
        for row in &rows {
            let cells = row.iter().zip(widths).enumerate().map(|(at, (cell, width))| match at {
                0 | 1 => format!("{cell:width$}"),
                _ => format!("{cell:>width$}"),
            });
            let _ = writeln!(text, "{}", cells.collect::<Vec<_>>().join("  ").trim_end());
        }
        let words: Vec<String> = command.iter().map(|word| quoted(&word.to_string_lossy())).collect();
        let command = words.join(" ");
        match &self.frame {
            None => {
                let _ = writeln!(text, "\nno range came {LEAST_FRAMES} times: none is a frame");
            }
            Some(frame) => {
                let deadline = self.ranges.iter().find(|it| full_name(&it.domain, &it.name) == *frame);
                let deadline = deadline.and_then(|it| it.median_s).map_or(Nanos::ZERO, Nanos::from_secs_f64);
                let frame = quoted(frame);
                let _ = writeln!(
                    text,
                    "\n{frame} may be the frame; it took {deadline}, and DEADLINE is what it may take:\n\
                     jetpace hold --deadline DEADLINE --nvtx {frame} -- {command}"
                );
                if !self.blocks.is_empty() {
                    let blocks = quoted(&self.blocks.join(","));
                    let command = quoted(&command);
                    let _ = writeln!(
                        text,
                        "jetpace calibrate --cmd {command} --nvtx {frame} --nvtx-blocks {blocks} -o sweep.csv"
                    );
                }
            }
        }
        text
    }
}

/// A word for a shell, as it may be printed.
fn quoted(word: &str) -> String {
    Shown(&shell_word(word)).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tally(name: &str, count: u64, took_ms: u64, within: Option<usize>) -> Tally {
        Tally {
            domain: "app".to_owned(),
            name: name.to_owned(),
            kind: Kind::Push,
            count,
            total_ns: count * took_ms * 1_000_000,
            ended: count,
            samples_ns: vec![took_ms * 1_000_000; count as usize],
            threads: 1,
            depth: within.map_or(0, |_| 1),
            within,
            payloads: None,
        }
    }

    #[test]
    fn the_frame_is_what_holds_most_of_the_time_and_comes_again() {
        let list = vec![
            tally("run", 1, 900, None),
            tally("infer", 20, 30, Some(0)),
            tally("it's 1", 20, 10, Some(1)),
            tally("b", 20, 20, Some(1)),
            tally("layer", 60, 5, Some(1)),
        ];
        let document = Document::of(&[list]);
        assert_eq!(document.frame.as_deref(), Some("app//infer"));
        assert_eq!(document.blocks, ["app//it's 1", "app//b"]);
        let text = document.in_words(&["python3".into(), "my prog.py".into()]);
        assert!(
            text.contains("jetpace hold --deadline DEADLINE --nvtx app//infer -- python3 'my prog.py'\n"),
            "{text}"
        );
        assert!(text.contains(r"--nvtx-blocks 'app//it'\''s 1,app//b' -o"), "{text}");
        assert!(text.lines().next().unwrap().starts_with("range"), "{text}");
    }

    #[test]
    fn lists_of_several_processes_are_one() {
        let [mut one, two] = [tally("infer", 2, 10, None), tally("infer", 4, 30, None)];
        one.payloads = Some([3, 5]);
        let document = Document::of(&[vec![one], vec![two]]);
        let [range] = &document.ranges[..] else { panic!("{document:?}") };
        assert_eq!((range.count, range.median_s, range.threads, range.payloads), (6, Some(0.03), 2, Some([3, 5])));
        assert!(Document::of(&[]).in_words(&[]).starts_with("no range"));
        assert!(Document::of(&[vec![tally("once", 1, 1, None)]]).in_words(&[]).contains("none is a frame"));
    }
}
