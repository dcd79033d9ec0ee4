//! A board calibrated into a sweep file: its clocks taken, and given back however it ends.

use std::marker::PhantomData;
use std::path::Path;

use jetpace_devfreq::board::{Board, Bound};
use jetpace_devfreq::gpu::GpuNode;
use jetpace_devfreq::guard::{Guard, Store, log_foreign};
use jetpace_devfreq::mem::MemNode;
use jetpace_devfreq::nodes::Nodes;
use jetpace_devfreq::rails::{PowerPace, Rails, sample_faster};
use jetpace_devfreq::surroundings::BoardSurroundings;
use jetpace_tables::fit::spread;
use jetpace_tables::hw::{BlockRunner, GpuClock, MemClock, PowerOf, Timer};
use jetpace_tables::sample::{Row, Sweep};
use jetpace_tables::table::MAX_CLOCKS;
use jetpace_tables::units::Hertz;
#[cfg(feature = "report")]
use jetpace_tables::units::Nanos;
use jetpace_tables::work::ClockIndex;

#[cfg(feature = "report")]
use super::deadline::{Enough, Goal, Telling};
use super::{Bench, Book, COOLING, Calibration, EmcAsk, PATIENCE, Progress, Settings};
use crate::failure::{Failure, Reason};
use crate::files::sweep::SweepWriter;
use crate::signals::Stop;

/// What is calibrated.
#[derive(Debug)]
pub struct Subject<N, R, Q, T> {
    /// The machine's nodes.
    pub nodes: N,
    /// What was found on them.
    pub board: Board,
    /// Runs the network.
    pub network: R,
    /// Runs a network with a very short block.
    pub probe: Q,
    /// The machine's time.
    pub timer: T,
    /// Its name, for people.
    pub device: String,
    /// The network's name.
    pub model: String,
    /// What its figures are worth: `jetson` or `virtual`.
    pub evidence: &'static str,
}

/// The parts of a board that is found by its nodes.
pub(super) struct OnBoard<N, R, Q, T>(PhantomData<(N, R, Q, T)>);

impl<N, R, Q, T> Bench for OnBoard<N, R, Q, T>
where
    N: Nodes + Store + Clone,
    R: BlockRunner,
    Q: BlockRunner,
    T: Timer + Clone,
{
    type Gpu = GpuNode<N, T>;
    type Rails = Rails<N, T>;
    type Network = R;
    type Probe = Q;
    type Timer = T;
    type Surroundings = BoardSurroundings<N>;
}

/// What is measured once the clocks are taken, of which clocks, into which book.
type Measure<'a, B> =
    dyn FnMut(&mut Calibration<B>, &Settings, &[ClockIndex], &mut Book<'_>) -> Result<(), Failure> + 'a;

/// What came of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Done {
    /// Rows that were there already.
    pub there: usize,
    /// Rows measured now.
    pub measured: usize,
    /// Of these, rows that something spoilt.
    pub rejected: usize,
}

/// The clocks of a board that are measured: those up to the cap, and of more than a table holds as many as that, from the
/// lowest to the highest: every visit of a clock takes its time, and a change is measured for every pair.
pub fn measured(board: &Board) -> Vec<ClockIndex> {
    let clocks = board.gpu.clocks.iter().enumerate().filter(|(_, clock)| **clock <= board.gpu.cap);
    // At most 255 clocks are listed.
    let allowed: Vec<ClockIndex> = clocks.map(|(at, _)| ClockIndex(at as u8)).collect();
    spread(&allowed, MAX_CLOCKS)
}

impl<N, R, Q, T> Subject<N, R, Q, T>
where
    N: Nodes + Store + Clone,
    R: BlockRunner,
    Q: BlockRunner,
    T: Timer + Clone,
{
    /// The usual settings for this board.
    pub fn settings(&self) -> Settings {
        Settings::usual(PowerPace::of(&self.board.rails))
    }

    /// The clocks that are measured.
    pub fn clocks(&self, settings: &Settings) -> Vec<ClockIndex> {
        if settings.clocks.is_empty() { measured(&self.board) } else { settings.clocks.clone() }
    }

    /// Calibrates into a file; goes on with it where it is there already.
    ///
    /// # Errors
    /// What the machine or the file says, and a signal; the rows measured by then are in the file, and the clocks are
    /// given back.
    pub fn calibrate(
        self,
        path: &Path,
        settings: &Settings,
        stop: &Stop,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<Done, Failure> {
        self.measure(path, settings, stop, &mut |bench, settings, clocks, book| {
            bench.calibrate(settings, clocks, book, progress)
        })
    }

    /// A deadline within a period at a risk, of what the settings measure here.
    #[cfg(feature = "report")]
    pub fn goal(&self, settings: &Settings, (deadline, period): (Nanos, Nanos), risk: f64) -> Goal {
        let listed = &self.board.gpu.clocks;
        let clocks = self.clocks(settings).into_iter();
        Goal {
            deadline,
            period,
            risk,
            network: self.model.clone(),
            size: settings.sizes().next_back().unwrap_or_default(),
            clocks: clocks.filter_map(|at| listed.get(at.index()).copied()).collect(),
            late: settings.late > 0,
            changes: settings.changes > 0,
        }
    }

    /// The same, of as much as a plan for a deadline rests on; `telling` hears what comes next, and why.
    ///
    /// # Errors
    /// Also where no clock meets the deadline.
    #[cfg(feature = "report")]
    pub fn calibrate_for(
        self,
        goal: &Goal,
        path: &Path,
        settings: &Settings,
        stop: &Stop,
        telling: &mut Telling<'_>,
    ) -> Result<(Done, Enough), Failure> {
        let mut found = None;
        let done = self.measure(path, settings, stop, &mut |bench, settings, clocks, book| {
            found = Some(bench.calibrate_for(goal, path, (settings, clocks), book, telling)?);
            Ok(())
        })?;
        // With no clock of the memory to measure at there is nothing found.
        let found = found.ok_or_else(|| Failure::failed("no EMC clock to measure at"))?;
        Ok((done, found))
    }

    fn measure(
        mut self,
        path: &Path,
        settings: &Settings,
        stop: &Stop,
        work: &mut Measure<'_, OnBoard<N, R, Q, T>>,
    ) -> Result<Done, Failure> {
        self.wait_for_the_bound(stop)?;
        let rails: Vec<&str> = self.board.rails.iter().map(|rail| rail.name.as_str()).collect();
        let (mut writer, there) = SweepWriter::open(path, &self.head(settings), &rails)?;
        let clocks = self.clocks(settings);
        self.say_which(&clocks, settings);
        match PowerOf::told_by(self.board.rails.iter().map(|rail| rail.role)) {
            Some((of, _)) if of.is_module() => {}
            Some((of, _)) => {
                log::warn!("no rail tells the module's power: it is the {} rail's in this sweep", of.word())
            }
            None => log::warn!("no rail tells the power: this sweep has times alone"),
        }

        let (guard, _) = Guard::take(self.nodes.clone())?;
        let emc_clocks = self.emc_clocks(settings.emc)?;
        let mut mem = MemNode::new(self.nodes.clone(), self.timer.clone(), &self.board, &guard);
        let mut settings = settings.clone();
        if settings.fast_rails {
            match sample_faster(&self.nodes, &guard, &self.board.rails)? {
                true => settings.power = settings.power.fast(),
                false => log::warn!("not every power monitor may be told to convert faster: rails are read as usual"),
            }
        }
        let (device, model) = (self.device.clone(), self.model.clone());
        let mut bench = self.bench(&guard, stop)?;
        let mut done = Done { there: there.rows.len(), measured: 0, rejected: 0 };
        let mut write = |row: &Row| {
            done.measured += 1;
            done.rejected += usize::from(!row.rejected.is_empty());
            writer.append(row)
        };
        let mut book = Book::new(&device, &model, &there.rows, &mut write);
        let measure = || -> Result<(), Failure> {
            settings.constants.iter().try_for_each(|row| book.take_over(row))?;
            for emc in emc_clocks {
                if let Some(emc) = emc {
                    mem.pin(emc)?;
                    book.lock_emc(emc);
                }
                work(&mut bench, &settings, &clocks, &mut book)?;
            }
            Ok(())
        };
        let measured = measure();
        bench.gpu.release()?;
        log_foreign(&guard.restore()?);
        measured?;
        writer.finish()?;
        Ok(done)
    }

    /// Takes the GPU's clock, to measure at.
    pub(super) fn bench(self, guard: &Guard<N>, stop: &Stop) -> Result<Calibration<OnBoard<N, R, Q, T>>, Failure> {
        Ok(Calibration {
            gpu: GpuNode::open(self.nodes.clone(), self.timer.clone(), &self.board, guard, None)?,
            rails: Rails::new(self.nodes.clone(), self.timer.clone(), self.board.rails.clone()),
            network: self.network,
            probe: self.probe,
            timer: self.timer,
            surroundings: BoardSurroundings::new(self.nodes, self.board),
            stop: stop.clone(),
            patience: PATIENCE,
        })
    }

    fn say_which(&self, clocks: &[ClockIndex], settings: &Settings) {
        let all = &self.board.gpu.clocks;
        if settings.clocks.is_empty() && clocks.len() < all.iter().filter(|clock| **clock <= self.board.gpu.cap).count()
        {
            let megahertz = |clock: &ClockIndex| all.get(clock.index()).map(|hz| format!("{}", hz.get() as f64 / 1e6));
            let which: Vec<String> = clocks.iter().filter_map(megahertz).collect();
            let (some, many) = (clocks.len(), all.len());
            log::warn!("{some} of {many} clocks are measured, the fit tells of the others: {} MHz", which.join(" "));
        }
    }

    /// Where heat hides the user's bound, waits until it lets go: without it neither the clocks to measure nor what is to be
    /// put back are known.
    pub(super) fn wait_for_the_bound(&mut self, stop: &Stop) -> Result<(), Failure> {
        let hidden = |board: &Board| board.gpu.user == Bound::Unknown && board.gpu.throttled;
        if !hidden(&self.board) {
            return Ok(());
        }
        log::warn!("heat holds the clock down and hides the user's bound: waiting until it lets go");
        let until = self.timer.now().saturating_add(PATIENCE);
        while hidden(&self.board) && self.timer.now() < until {
            if stop.signal().is_some() {
                return Err(Failure::failed("interrupted; nothing was measured"));
            }
            self.timer.sleep_until(self.timer.now().saturating_add(COOLING));
            self.board = Board::discover(&self.nodes)?;
        }
        Ok(())
    }

    /// The memory's clocks to measure at, one after the other; `None` is unlocked.
    pub(crate) fn emc_clocks(&self, asked: EmcAsk) -> Result<Vec<Option<Hertz>>, Failure> {
        let emc = self.board.emc.as_ref();
        let listed = emc.map_or(&[][..], |emc| &emc.clocks);
        match asked {
            EmcAsk::Free => Ok(vec![None]),
            EmcAsk::One(clock) => Ok(vec![Some(clock)]),
            EmcAsk::All if listed.is_empty() => Err(Failure::new(
                Reason::Unsupported,
                "--emc all: this board does not list its EMC clocks; name one, as --emc 1600MHz",
            )),
            EmcAsk::All => {
                let cap = emc.and_then(|emc| emc.cap).unwrap_or(Hertz::MAX);
                Ok(listed.iter().copied().filter(|clock| *clock <= cap).map(Some).collect())
            }
        }
    }

    /// The first line of the sweep. The settings stand in it, so that a sweep goes on as it began.
    fn head(&self, settings: &Settings) -> Sweep {
        let clocks: Vec<String> = self.board.gpu.clocks.iter().map(|clock| clock.get().to_string()).collect();
        // Where clocks were chosen, more of them may be chosen later.
        let frames = |all: u32| (all / settings.clocks.len().max(1) as u32).to_string();
        let fields = [
            ("name", self.device.clone()),
            ("clocks", clocks.join(",")),
            ("repeats", "frames".to_owned()),
            ("net", self.model.clone()),
            ("evidence", self.evidence.to_owned()),
            ("frames", frames(settings.frames)),
            ("late", frames(settings.late)),
            ("passes", settings.passes.to_string()),
            ("changes", settings.changes.to_string()),
        ];
        let emc = match settings.emc {
            EmcAsk::Free => None,
            EmcAsk::One(clock) => Some(clock.get().to_string()),
            EmcAsk::All => Some("all".to_owned()),
        };
        let sizes: Vec<String> = settings.sizes.iter().map(|size| size.0.to_string()).collect();
        let sizes = (!sizes.is_empty()).then(|| sizes.join(","));
        let fast = settings.fast_rails.then(|| "fast".to_owned());
        let power_of = PowerOf::told_by(self.board.rails.iter().map(|rail| rail.role)).map(|(of, _)| of);
        let power_of = power_of.filter(|of| !of.is_module()).map(|of| of.word().to_owned());
        let asked = [("power_of", power_of), ("sizes", sizes), ("emc", emc), ("rails", fast)]
            .into_iter()
            .filter_map(|(key, value)| Some((key, value?)));
        let fields = fields.into_iter().chain(asked).map(|(key, value)| (key.to_owned(), value)).collect();
        Sweep { board: Some(self.board.digest()), fields, rows: Vec::new() }
    }
}
