//! Calibration for one deadline: what a plan of it rests on, and no more.
//!
//! [`next`] is told by the sweep alone, so that one that was cut off goes on, and one of another deadline adds what that
//! lacks: first a few clocks spread over the list, then one at a time where the decision falls (`fit::adaptive`), then
//! late frames and changes of the clock at those that matter, then whatever the plan takes besides.

use std::collections::BTreeSet;
use std::fmt;
use std::path::Path;

use jetpace_tables::fit::adaptive::{BOLD, ENOUGH, Frame};
use jetpace_tables::fit::{self, Options, fit, spread};
use jetpace_tables::hw::GpuClock;
use jetpace_tables::model::{FrameNoise, Model};
use jetpace_tables::plan::{self, Ask, Plan, PlanError, Problem};
use jetpace_tables::sample::{Kind, Row, Sweep};
use jetpace_tables::stats::{at_level, cantelli};
use jetpace_tables::units::{Hertz, Nanos};
use jetpace_tables::work::{ClockIndex, Size};

use super::steps::{self, Step};
use super::{Bench, Book, Calibration, Progress, Settings};
use crate::failure::{Failure, Reason};
use crate::files::sweep;

/// Clocks that are measured first.
pub const FIRST: usize = 4;
/// So many are measured at most, but for those that the plan itself turns out to take.
pub const MOST: usize = 10;
/// Clocks at which late frames are counted, at least: the one that is taken and its neighbours.
const LATE: usize = 3;

/// What is planned for, and what may be measured for it.
#[derive(Clone, Debug)]
pub struct Goal {
    /// The latest end of a frame.
    pub deadline: Nanos,
    /// Between two frames' starts.
    pub period: Nanos,
    /// The accepted probability of a miss.
    pub risk: f64,
    /// The network's name in the sweep.
    pub network: String,
    /// The size of its frames.
    pub size: Size,
    /// The clocks that may be measured, ascending.
    pub clocks: Vec<Hertz>,
    /// Whether late frames are counted.
    pub late: bool,
    /// Whether changes of the clock are measured.
    pub changes: bool,
}

/// Who is told how it goes.
pub struct Telling<'a> {
    /// Before every step.
    pub progress: &'a mut dyn FnMut(Progress),
    /// What comes next, and why.
    pub say: &'a mut dyn FnMut(&Next),
}

/// What comes next.
#[derive(Debug)]
pub enum Next {
    /// Blocks at these clocks, spread over the board's list.
    First(Vec<Hertz>),
    /// Blocks at one clock.
    Clock(Rests),
    /// Late frames at these clocks.
    Late(Vec<Hertz>),
    /// Every change between these clocks, and idle power at them.
    Changes(Vec<Hertz>),
    /// No more.
    Enough(Box<Enough>),
}

/// A clock on which the plan rests.
#[derive(Clone, Debug, PartialEq)]
pub struct Rests {
    /// The clock.
    pub clock: Hertz,
    /// The measured clocks below and above it.
    pub between: [Option<Hertz>; 2],
    /// Why this one.
    pub why: &'static str,
    /// What is expected to be lost by planning without it, as a fraction of the energy.
    pub regret: f64,
}

/// What is known in the end.
#[derive(Clone, Debug)]
pub struct Enough {
    /// The clocks whose blocks were measured.
    pub measured: Vec<Hertz>,
    /// Of so many.
    pub of: usize,
    /// The clock of least energy among them that meets the deadline.
    pub taken: Hertz,
    /// What is expected to be lost by what was not measured, as a fraction of the energy.
    pub regret: f64,
    /// The plan; `None` where the sweep has no changes of the clock, and so not all that a plan needs.
    pub plan: Option<(Problem, Plan)>,
}

/// What is to be measured next, by what a sweep has.
///
/// # Errors
/// Where the sweep cannot be fitted, or no clock meets the deadline.
pub fn next(sweep: &Sweep, goal: &Goal) -> Result<Next, Failure> {
    let tried = clocks_of(sweep, Kind::Block);
    let lacks: Vec<Hertz> = spread(&goal.clocks, FIRST).into_iter().filter(|clock| !tried.contains(clock)).collect();
    if !lacks.is_empty() {
        return Ok(Next::First(lacks));
    }
    let model = fit(sweep, &Options::default()).map_err(unfit)?;
    Known::new(sweep, goal, &model, &tried)?.next()
}

impl<B: Bench> Calibration<B> {
    /// Measures what the plan for a deadline rests on, and writes it into the book, which is of the file at `path`.
    ///
    /// # Errors
    /// As [`next`], and as [`Calibration::calibrate`].
    pub(super) fn calibrate_for(
        &mut self,
        goal: &Goal,
        path: &Path,
        (settings, all): (&Settings, &[ClockIndex]),
        book: &mut Book<'_>,
        telling: &mut Telling<'_>,
    ) -> Result<Enough, Failure> {
        let Telling { progress, say } = telling;
        let listed = self.gpu.clocks().to_vec();
        // What was begun is finished first.
        let there = sweep::read(path)?;
        let begun = |kind| clocks_of(&there, kind).into_iter().collect();
        let changed: BTreeSet<Hertz> = changes_of(&there).into_iter().flatten().collect();
        let begun = [
            Next::First(begun(Kind::Block)),
            Next::Late(begun(Kind::Frame)),
            Next::Changes(changed.into_iter().collect()),
        ];
        for begun in begun {
            self.follow(&work(&begun, settings, (&listed, all)), settings, all, book, progress)?;
        }
        loop {
            let next = next(&sweep::read(path)?, goal)?;
            say(&next);
            self.follow(&work(&next, settings, (&listed, all)), settings, all, book, progress)?;
            if let Next::Enough(enough) = next {
                return Ok(*enough);
            }
        }
    }
}

/// The steps of what comes next: of the board's clocks as they are listed those in `all` are measured.
pub fn work(next: &Next, settings: &Settings, (listed, all): (&[Hertz], &[ClockIndex])) -> Vec<Step> {
    let at = |clocks: &[Hertz]| -> Vec<ClockIndex> {
        all.iter().copied().filter(|at| listed.get(at.index()).is_some_and(|hz| clocks.contains(hz))).collect()
    };
    let visits = |clocks: &[Hertz], wanted: fn(&Step) -> bool| -> Vec<Step> {
        steps::visits(settings, &at(clocks)).into_iter().filter(wanted).collect()
    };
    match next {
        Next::First(clocks) => visits(clocks, |step| !matches!(step, Step::Late { .. })),
        Next::Clock(rests) => visits(&[rests.clock], |step| !matches!(step, Step::Late { .. })),
        Next::Late(clocks) => visits(clocks, |step| matches!(step, Step::Late { .. })),
        Next::Changes(clocks) => {
            let idle = visits(clocks, |step| matches!(step, Step::Idle { .. }));
            idle.into_iter().chain(steps::changes(settings, &at(clocks))).collect()
        }
        Next::Enough(_) => Vec::new(),
    }
}

/// What a sweep says of a network.
struct Known<'a> {
    sweep: &'a Sweep,
    goal: &'a Goal,
    model: &'a Model,
    emc: Option<Hertz>,
    /// Clocks whose rows count.
    measured: Vec<Hertz>,
    /// Those, and what was not tried yet.
    clocks: Vec<Hertz>,
}

impl<'a> Known<'a> {
    fn new(sweep: &'a Sweep, goal: &'a Goal, model: &'a Model, tried: &BTreeSet<Hertz>) -> Result<Self, Failure> {
        // Left free, the memory's clock may be another at some clocks of the GPU: most of them count.
        let measured = |emc: Option<Hertz>| -> Vec<Hertz> {
            let blocks = model.blocks(&goal.network, emc);
            let points =
                blocks.first().into_iter().flat_map(|block| block.series.points.iter().chain(&block.series.apart));
            points.map(|point| point.gpu_freq_hz).collect::<BTreeSet<_>>().into_iter().collect()
        };
        let emcs = model.emc_clocks(&goal.network).into_iter();
        let (emc, measured) = emcs
            .map(|emc| (emc, measured(emc)))
            .max_by_key(|(_, measured)| measured.len())
            .ok_or_else(|| unfit(fit::FitError::NoBlocks))?;
        let clocks = goal.clocks.iter().copied().filter(|clock| measured.contains(clock) || !tried.contains(clock));
        Ok(Self { sweep, goal, model, emc, clocks: clocks.collect(), measured })
    }

    fn next(&self) -> Result<Next, Failure> {
        let goal = self.goal;
        let blocks = self.model.blocks(&goal.network, self.emc);
        let noise = self.model.frames.iter().find(|noise| noise.model == goal.network && noise.emc_freq_hz == self.emc);
        let (late, idle_w) = (|clock| lateness(noise, clock, goal), |clock| self.model.idle_w(clock, self.emc));
        if blocks.iter().any(|block| block.power_w(self.measured[0], goal.size).is_none())
            || idle_w(self.measured[0]).is_none()
        {
            return Err(Failure::new(
                Reason::Unsupported,
                "no rail tells the power, so no clock can be told from another by its energy: calibrate without --for-deadline",
            ));
        }
        let idle_w = |clock| idle_w(clock).unwrap_or(0.0);
        let frame = Frame {
            blocks: &blocks,
            clocks: &self.clocks,
            deadline_s: goal.deadline.as_secs_f64(),
            period_s: goal.period.as_secs_f64(),
            late: &late,
            idle_w: &idle_w,
        };
        self.reachable(&frame)?;
        let (measured, may_go_on) = (&self.measured, self.measured.len() < MOST);
        if let Some(next) = frame.next(measured).filter(|_| may_go_on) {
            return Ok(Next::Clock(self.rests(next.clock, next.why, next.regret)));
        }
        // Where the cap came first, the best of what is known.
        let (taken, regret) = (frame.known(measured).unwrap_or(measured[0]), frame.regret(measured));
        let counted = clocks_of(self.sweep, Kind::Frame);
        if goal.late {
            let lacks = self.lacks_late(taken, noise, &counted);
            if !lacks.is_empty() {
                return Ok(Next::Late(lacks));
            }
        }
        let ends = [measured[0], measured[measured.len() - 1]];
        let wanted = self.beside(taken).into_iter().flatten().chain(ends).chain([taken]);
        if let Some(next) = self.lacks_changes(wanted) {
            return Ok(next);
        }
        let Some((problem, plan)) = self.plan()? else { return Ok(self.enough(taken, regret, None)) };
        let runs = plan.block_clocks.iter().map(|at| problem.clocks[*at]).collect::<BTreeSet<_>>();
        let unknown = runs.iter().find(|clock| !measured.contains(clock) && self.clocks.contains(clock));
        if let Some(clock) = unknown {
            return Ok(Next::Clock(self.rests(*clock, "the plan runs blocks at it", regret)));
        }
        let uncounted: Vec<Hertz> =
            runs.iter().copied().filter(|clock| measured.contains(clock) && !counted.contains(clock)).collect();
        if goal.late && !uncounted.is_empty() {
            return Ok(Next::Late(uncounted));
        }
        let gap = plan.schedule.idle.into_iter().chain(plan.schedule.wake.map(|wake| wake.0));
        let gap = gap.map(|at| problem.clocks[at]).filter(|clock| goal.clocks.contains(clock));
        match self.lacks_changes(runs.iter().copied().chain(gap)) {
            Some(next) => Ok(next),
            None => Ok(self.enough(taken, regret, Some((problem, plan)))),
        }
    }

    /// Refuses a deadline that no clock meets even by luck.
    fn reachable(&self, frame: &Frame<'_>) -> Result<(), Failure> {
        let lucky_s = |clock: &Hertz| {
            let (time_s, sd) = frame.time(*clock);
            if self.measured.contains(clock) { time_s } else { time_s * (1.0 + BOLD * sd) }
        };
        if self.clocks.iter().any(|clock| lucky_s(clock) <= frame.deadline_s) {
            return Ok(());
        }
        let seen = self.measured.iter().map(|clock| (frame.time(*clock).0, *clock));
        let (least_s, clock) = seen.min_by(|a, b| a.0.total_cmp(&b.0)).unwrap_or_default();
        let within_s = least_s * (1.0 + (frame.late)(clock));
        Err(Failure::failed(format_args!(
            "no clock meets the deadline of {:.3} ms: the fastest, {clock}, takes {:.3} ms, and {:.3} ms at the risk of {}, \
             which is the least deadline seen; ask for that or more, or raise the power mode",
            frame.deadline_s * 1e3,
            least_s * 1e3,
            within_s * 1e3,
            self.goal.risk
        )))
    }

    /// The measured clocks below and above.
    fn beside(&self, clock: Hertz) -> [Option<Hertz>; 2] {
        let below = self.measured.iter().rfind(|at| **at < clock);
        [below, self.measured.iter().find(|at| **at > clock)].map(|found| found.copied())
    }

    fn rests(&self, clock: Hertz, why: &'static str, regret: f64) -> Rests {
        Rests { clock, between: self.beside(clock), why, regret }
    }

    /// Clocks at which late frames are to be counted yet: the one taken and its neighbours, and where these are too few
    /// for the risk, the next ones.
    fn lacks_late(&self, taken: Hertz, noise: Option<&FrameNoise>, counted: &BTreeSet<Hertz>) -> Vec<Hertz> {
        let mut near = self.measured.clone();
        let place = |clock: Hertz| self.measured.iter().position(|at| *at == clock).unwrap_or(0);
        near.sort_by_key(|clock| place(*clock).abs_diff(place(taken)));
        let wanted = near.iter().take(LATE).copied().filter(|clock| !counted.contains(clock)).collect::<Vec<_>>();
        let few = noise.is_none_or(|noise| !noise.tells(self.goal.risk));
        if wanted.is_empty() && few {
            near.into_iter().find(|clock| !counted.contains(clock)).into_iter().collect()
        } else {
            wanted
        }
    }

    /// Where changes between these clocks lack: they and those that are there already, as a sweep has all changes between
    /// its clocks.
    fn lacks_changes(&self, wanted: impl Iterator<Item = Hertz>) -> Option<Next> {
        let there = changes_of(self.sweep);
        let all: BTreeSet<Hertz> = there.iter().flatten().copied().chain(wanted).collect();
        let pairs = all.len() * (all.len() - 1);
        (self.goal.changes && there.len() < pairs).then(|| Next::Changes(all.into_iter().collect()))
    }

    /// The plan, where the sweep has all that one needs.
    fn plan(&self) -> Result<Option<(Problem, Plan)>, Failure> {
        let goal = self.goal;
        let ask =
            Ask { size: goal.size, period: goal.period, ..Ask::new(&goal.network, self.emc, goal.deadline, goal.risk) };
        let planned = Problem::from_model(self.model, &ask).and_then(|problem| {
            let plan = plan::dependable(&problem)?;
            Ok((problem, plan))
        });
        match planned {
            Ok(planned) => Ok(Some(planned)),
            Err(PlanError::NotMeasured { .. }) => Ok(None),
            Err(error @ PlanError::Unreachable { .. }) => Err(Failure::failed(error)),
            Err(error) => Err(Failure::usage(error)),
        }
    }

    fn enough(&self, taken: Hertz, regret: f64, plan: Option<(Problem, Plan)>) -> Next {
        Next::Enough(Box::new(Enough {
            measured: self.measured.clone(),
            of: self.goal.clocks.len(),
            taken,
            regret,
            plan,
        }))
    }
}

/// The clocks that rows of a kind have, whatever they are worth.
fn clocks_of(sweep: &Sweep, kind: Kind) -> BTreeSet<Hertz> {
    sweep.rows.iter().filter(|row| row.kind == kind).filter_map(|row| row.gpu_freq).collect()
}

/// The changes of the clock that rows have, whatever they are worth.
fn changes_of(sweep: &Sweep) -> BTreeSet<[Hertz; 2]> {
    let pair = |row: &Row| Some([row.from?, row.to?]);
    sweep.rows.iter().filter(|row| row.kind == Kind::Settle).filter_map(pair).collect()
}

/// By what fraction a frame as late as the risk allows outlasts its prediction: as plans have it once late frames are
/// counted, and by Cantelli's bound where there will be too few.
fn lateness(noise: Option<&FrameNoise>, clock: Hertz, goal: &Goal) -> f64 {
    let Some(noise) = noise else { return 0.0 };
    if goal.late || noise.tells(goal.risk) {
        return at_level(&noise.late_at(clock), 1.0 - goal.risk).max(0.0);
    }
    cantelli(goal.risk) * noise.sd
}

fn unfit(error: fit::FitError) -> Failure {
    Failure::failed(format_args!("what was measured so far cannot be fitted, so no clock can be chosen: {error}"))
}

impl fmt::Display for Next {
    /// One line for a person.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::First(clocks) => write!(f, "{} first, spread over the list", listed(clocks)),
            Self::Clock(rests) => rests.fmt(f),
            Self::Late(clocks) => write!(f, "late frames at {}: the plan is chosen among them", listed(clocks)),
            Self::Changes(clocks) => write!(f, "changes between {}", listed(clocks)),
            Self::Enough(enough) => enough.fmt(f),
        }
    }
}

impl fmt::Display for Rests {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} next", self.clock)?;
        match self.between {
            [Some(below), Some(above)] => {
                write!(f, ": the plan's choice between {below} and {above} rests on it, as ")?
            }
            _ => f.write_str(": ")?,
        }
        write!(f, "{}; expected regret {:.1} %", self.why, self.regret * 1e2)
    }
}

impl fmt::Display for Enough {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (measured, of, regret) = (self.measured.len(), self.of, self.regret * 1e2);
        write!(f, "{measured} of {of} clocks measured: ")?;
        match self.regret < ENOUGH {
            _ if measured >= of => write!(f, "all there are")?,
            true => write!(f, "what the others may save is expected to be {regret:.2} %")?,
            false => write!(f, "no more than {MOST} are, although the others may save {regret:.1} %")?,
        }
        let Some((problem, plan)) = &self.plan else {
            return write!(f, "; {} is the clock of least energy that meets the deadline", self.taken);
        };
        let runs: BTreeSet<Hertz> = plan.block_clocks.iter().map(|at| problem.clocks[*at]).collect();
        let runs: Vec<Hertz> = runs.into_iter().collect();
        write!(
            f,
            "; the plan runs at {}: {:.3} ms, {:.3} ms at the risk of {}, {:.4} J a period",
            listed(&runs),
            plan.outcome.time_s * 1e3,
            problem.bound_s(&plan.outcome) * 1e3,
            problem.risk,
            plan.outcome.energy_j
        )
    }
}

/// Clocks as a person lists them.
fn listed(clocks: &[Hertz]) -> String {
    let words: Vec<String> = clocks.iter().map(Hertz::to_string).collect();
    match words.split_last() {
        Some((last, [])) => last.clone(),
        Some((last, before)) => format!("{} and {last}", before.join(", ")),
        None => String::new(),
    }
}
