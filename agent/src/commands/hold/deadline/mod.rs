//! `hold --deadline`: the lowest clock at which a program's whole frames end in time.

pub mod chooser;
pub mod governor;
#[cfg(feature = "report")]
mod memory;
mod rate;
mod report;
pub mod source;

use std::path::{Path, PathBuf};

use jetpace_devfreq::Error;
use jetpace_devfreq::board::Board;
use jetpace_devfreq::gpu::{GpuNode, Way};
use jetpace_devfreq::guard::Store;
use jetpace_devfreq::nodes::Nodes;
use jetpace_tables::hw::{GpuClock, PowerOf, PowerRails, Timer};
use jetpace_tables::units::Nanos;
use jetpace_tables::work::ClockIndex;

use super::events::Events;
use super::holder::Holder;
use super::lines::Counter;
use crate::failure::Failure;
use crate::files::kind::{self, Kind};
use crate::files::output::{say, write_file};
use crate::runtime::sys;
use crate::session::Meter;
use crate::session::meter::RailMeter;
use chooser::{Chooser, Goal};
#[cfg(feature = "report")]
use memory::Memory;
use report::{Report, Stretch};
use source::Frame;
use source::{FramesFrom, Source};

/// A program that tells nothing for so long is told of.
const SILENCE: Nanos = Nanos::from_millis(10_000);

/// Options of `hold --deadline`.
#[derive(Debug, clap::Args)]
pub struct Options {
    /// Hold the lowest clock at which whole frames, from start to end, take no longer than this
    #[arg(long, value_name = "TIME", conflicts_with = "clock")]
    deadline: Option<Nanos>,
    /// With --deadline: time between frames; --fps says the same
    #[arg(long, value_name = "TIME", requires = "deadline", conflicts_with = "fps")]
    period: Option<Nanos>,
    /// With --deadline: accepted share of late frames
    #[arg(long, default_value_t = 0.01, requires = "deadline", value_parser = share)]
    risk: f64,
    /// With --deadline: what tells frames: lib, stdout[:REGEX] for lines that match it, or unix:PATH for datagrams, each
    /// a frame's busy time (78.2ms) or empty; by default libjetpace, or lines where it tells none
    #[arg(long, value_name = "SOURCE", requires = "deadline")]
    frames_from: Option<FramesFrom>,
    /// With --deadline: leave the bounds alone for so long after the first frame, to compare with
    #[arg(long, value_name = "TIME", requires = "deadline")]
    before: Option<Nanos>,
    /// With --deadline: write what came of it here, as JSON
    #[arg(long, value_name = "FILE", requires = "deadline")]
    json: Option<PathBuf>,
    /// With --deadline: keep what was seen of the program in this folder, as a sweep and a model, and begin where that leads
    /// the next time
    #[cfg(feature = "report")]
    #[arg(long, value_name = "FOLDER", requires = "deadline")]
    save: Option<PathBuf>,
    /// Write over whatever lies where --json leads
    #[arg(long, requires = "json")]
    force: bool,
}

fn folder(of: &Path) -> PathBuf {
    of.parent().filter(|parent| *parent != Path::new("")).unwrap_or(Path::new(".")).to_owned()
}

fn share(text: &str) -> Result<f64, String> {
    let value: f64 = text.parse().map_err(|_| "not a number")?;
    if value > 0.0 && value < 1.0 { Ok(value) } else { Err("not between 0 and 1".to_owned()) }
}

impl Options {
    /// Has frames told by the library, and by nothing else.
    #[cfg(feature = "report")]
    pub fn hear_library(&mut self) {
        self.frames_from = Some(FramesFrom::Lib);
    }

    /// Whether a deadline is held.
    pub fn is_wanted(&self) -> bool {
        self.deadline.is_some()
    }

    /// The way of fixing the clock that the source needs: drivers tell the GPU's load only while the stock governor polls.
    pub fn way(&self) -> Option<Way> {
        let ends_only = matches!(self.frames_from, Some(FramesFrom::Stdout(_) | FramesFrom::Unix(_)) | None);
        (self.is_wanted() && ends_only).then_some(Way::MinMax)
    }

    /// Refuses before the work what would fail behind it.
    ///
    /// # Errors
    /// Where the deadline is none, or `--json` leads to where nothing can be written.
    pub fn check(&self) -> Result<(), Failure> {
        if self.deadline == Some(Nanos::ZERO) || self.period == Some(Nanos::ZERO) {
            return Err(Failure::usage("--deadline and --period take a time above 0"));
        }
        let Some(path) = &self.json else { return Ok(()) };
        kind::may_write(path, Kind::Held, &[], self.force)?;
        match folder(path).metadata() {
            Ok(there) if there.is_dir() => Ok(()),
            Ok(_) => Err(Failure::file(&folder(path), &std::io::ErrorKind::NotADirectory.into())),
            Err(e) => Err(Failure::file(&folder(path), &e)),
        }
    }

    /// What counts lines that may be frames; `None` where none are.
    pub fn counter(&self) -> Option<Counter> {
        match &self.frames_from {
            Some(FramesFrom::Stdout(pattern)) => Some(Counter::new(pattern.clone())),
            None if self.is_wanted() => Some(Counter::default()),
            _ => None,
        }
    }

    /// The folders in which files are written or removed at the end.
    pub fn folders(&self) -> impl Iterator<Item = PathBuf> {
        let socket = match &self.frames_from {
            Some(FramesFrom::Unix(path)) => Some(path),
            _ => None,
        };
        self.json.iter().chain(socket).map(|path| folder(path)).chain(self.saved())
    }

    #[cfg(feature = "report")]
    fn saved(&self) -> Option<PathBuf> {
        self.save.clone()
    }

    /// What is kept of a program takes a fit, for which the static release has no room.
    #[cfg(not(feature = "report"))]
    fn saved(&self) -> Option<PathBuf> {
        None
    }

    /// Begins, where a deadline is to be held: at the cap, or with the bounds left alone.
    ///
    /// # Errors
    /// Where the source or the clock cannot be had.
    #[cfg_attr(not(feature = "report"), expect(unused_variables, reason = "what is kept is of a board and a program"))]
    pub fn start<N, T, R>(
        &self,
        gpu: &mut GpuNode<N, T>,
        fps: Option<f64>,
        rails: R,
        board: &Board,
        program: &str,
    ) -> Result<Option<Held<R>>, Failure>
    where
        N: Nodes + Store + Clone,
        T: Timer,
        R: PowerRails,
    {
        let Some(deadline) = self.deadline else { return Ok(None) };
        let period = self.period.or(fps.map(|fps| Nanos::from_secs_f64(1.0 / fps)));
        let now = sys::now();
        #[cfg(feature = "report")]
        let memory = self.save.as_ref().map(|folder| Memory::open(folder, board, program)).transpose()?;
        let mut held = Held {
            deadline,
            source: Source::open(self.frames_from.clone())?,
            chooser: Chooser::new(Goal { deadline, period, risk: self.risk }, GpuClock::clocks(gpu), gpu.cap(), now),
            heard_at: now,
            looked_at: now,
            silent: false,
            began_at: None,
            before: self.before,
            meter: RailMeter::new(rails),
            next_sample: Nanos::ZERO,
            report: Report {
                format: 1,
                deadline_s: deadline.as_secs_f64(),
                risk: self.risk,
                power_of: PowerOf::default(),
                before: None,
                held: Stretch { late: None, ..Stretch::default() },
                clocks: Vec::new(),
            },
            json: self.json.clone(),
            #[cfg(feature = "report")]
            memory,
        };
        #[cfg(feature = "report")]
        if let Some(memory) = &held.memory {
            held.chooser.remember(&memory.recall()?, gpu.cap());
        }
        match self.before {
            Some(_) => gpu.release()?,
            None => gpu.set(held.wanted())?,
        }
        held.chooser.changed(sys::now());
        Ok(Some(held))
    }
}

/// A deadline that is being held.
#[derive(Debug)]
pub struct Held<R> {
    deadline: Nanos,
    source: Source,
    chooser: Chooser,
    heard_at: Nanos,
    looked_at: Nanos,
    silent: bool,
    /// When the first frame ended, or the clock was taken.
    began_at: Option<Nanos>,
    /// How long the bounds are left alone; `None` once they are not.
    before: Option<Nanos>,
    meter: RailMeter<R>,
    next_sample: Nanos,
    report: Report,
    json: Option<PathBuf>,
    #[cfg(feature = "report")]
    memory: Option<Memory>,
}

impl<R: PowerRails> Held<R> {
    /// The clock that is held, or will be.
    pub fn wanted(&self) -> ClockIndex {
        self.chooser.wanted()
    }

    /// Takes what the program told since the last look, and sets the clock that it calls for.
    ///
    /// # Errors
    /// Where the clock cannot be set.
    pub fn look<N, T>(&mut self, gpu: &mut GpuNode<N, T>, lines: u64, events: Option<&mut Events>) -> Result<(), Error>
    where
        N: Nodes + Store + Clone,
        T: Timer,
    {
        let now = sys::now();
        let heard = self.source.hear(lines, events);
        let ended = heard.frames.len() as u64 + heard.ends;
        if ended > 0 {
            (self.heard_at, self.silent) = (now, false);
            self.begin(now);
        } else if !self.silent && now.saturating_sub(self.heard_at) > SILENCE {
            self.silent = true;
            log::warn!(
                "no frame for {SILENCE}: the clock stays as it is. Frames are told by libjetpace, by lines on stdout or by \
                 datagrams (--frames-from); of NVTX ranges `jetpace nvtx` says what they are called (--nvtx)"
            );
        }
        self.account(now, gpu, ended, &heard.frames);
        if self.before.is_some() {
            return self.take_over(now, gpu);
        }
        let before = self.chooser.wanted();
        let wanted = self.chooser.take(now, &heard, gpu.load().unwrap_or(1.0), gpu.cap());
        if wanted != before {
            // Not waited for: whether it follows shows in the frames' times, and in what the next look finds.
            gpu.set(wanted)?;
            self.chooser.changed(sys::now());
            log::info!("clock {}", gpu.within_cap(wanted));
        }
        Ok(())
    }

    fn begin(&mut self, now: Nanos) {
        if self.began_at.is_none() {
            self.began_at = Some(now);
            self.meter.restart();
        }
    }

    /// Ends the time in which the bounds are left alone.
    fn take_over<N, T>(&mut self, now: Nanos, gpu: &mut GpuNode<N, T>) -> Result<(), Error>
    where
        N: Nodes + Store + Clone,
        T: Timer,
    {
        let (Some(began), Some(before)) = (self.began_at, self.before) else { return Ok(()) };
        if now.saturating_sub(began) < before {
            return Ok(());
        }
        self.before = None;
        let stretch = std::mem::take(&mut self.report.held);
        self.report.before = Some(stretch.with(self.meter.energy()));
        self.meter.restart();
        gpu.set(self.wanted())?;
        self.chooser.changed(sys::now());
        Ok(())
    }

    fn account<N, T>(&mut self, now: Nanos, gpu: &GpuNode<N, T>, ended: u64, frames: &[Frame])
    where
        N: Nodes + Store + Clone,
        T: Timer,
    {
        if now >= self.next_sample {
            self.next_sample = self.meter.sample(now).unwrap_or(Nanos::new(u64::MAX));
        }
        let span = now.saturating_sub(std::mem::replace(&mut self.looked_at, now));
        if self.began_at.is_none() {
            return;
        }
        let held = &mut self.report.held;
        held.time_s += span.as_secs_f64();
        held.frames += ended;
        if !frames.is_empty() {
            let late = frames.iter().filter(|frame| frame.busy > self.deadline).count() as u64;
            held.late = Some(held.late.unwrap_or(0) + late);
        }
        if self.before.is_none() {
            self.report.ran(gpu.within_cap(self.wanted()), span);
        }
    }

    /// Says what came of it.
    ///
    /// # Errors
    /// Where the file cannot be written.
    pub fn end(mut self) -> Result<(), Failure> {
        let held = std::mem::take(&mut self.report.held);
        self.report.held = held.with(self.meter.energy());
        self.report.power_of = self.meter.power_of();
        say(self.report.to_string().trim_end());
        #[cfg(feature = "report")]
        if let Some(memory) = &self.memory {
            memory.keep(self.chooser.seen())?;
        }
        match &self.json {
            Some(path) => {
                let text = serde_json::to_string_pretty(&self.report).map_err(Failure::failed)?;
                write_file(path, text.as_bytes())
            }
            None => Ok(()),
        }
    }
}
