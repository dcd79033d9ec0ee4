//! `calibrate --for-deadline`: what a plan of one deadline rests on, instead of every clock.

use std::path::Path;

use jetpace_devfreq::guard::Store;
use jetpace_devfreq::nodes::Nodes;
use jetpace_tables::hw::{BlockRunner, Timer};
use jetpace_tables::units::Nanos;

use super::{bar, report, show};
use crate::args::RISK;
use crate::calibrate::deadline::{Goal, MOST, Next, Telling, next, work};
use crate::calibrate::{EmcAsk, Settings, Step, Subject};
use crate::failure::{Failure, Reason};
use crate::files::sweep;
use crate::signals::Stop;

/// Options of `calibrate` for one deadline.
#[derive(Debug, clap::Args)]
pub struct ForDeadline {
    /// Measure only what a plan for this deadline rests on: four clocks, then one at a time until no other promises to save
    /// anything, usually three more. The same file with another deadline gets what that lacks; without this option, the rest
    #[arg(long, value_name = "TIME")]
    for_deadline: Option<Nanos>,
    /// With --for-deadline: time between frame starts; by default the deadline
    #[arg(long, value_name = "TIME", requires = "for_deadline")]
    period: Option<Nanos>,
    /// With --for-deadline: frames a second, the period in other words
    #[arg(long, value_name = "RATE", requires = "for_deadline", conflicts_with = "period", value_parser = crate::args::period_of_rate)]
    fps: Option<Nanos>,
    /// With --for-deadline: accepted probability that a frame misses it
    #[arg(long, value_name = "P", requires = "for_deadline", default_value_t = RISK)]
    risk: f64,
}

/// What a dry run tells beforehand.
pub struct First {
    /// What would be done first.
    pub steps: Vec<Step>,
    /// Why, and what would come behind it.
    pub remarks: Vec<String>,
}

impl ForDeadline {
    /// Whether one deadline is all that counts.
    pub fn is_wanted(&self) -> bool {
        self.for_deadline.is_some()
    }

    /// What is planned for on a board.
    fn goal<N, R, Q, T>(&self, subject: &Subject<N, R, Q, T>, settings: &Settings) -> Result<Option<Goal>, Failure>
    where
        N: Nodes + Store + Clone,
        R: BlockRunner,
        Q: BlockRunner,
        T: Timer + Clone,
    {
        let Some(deadline) = self.for_deadline else { return Ok(None) };
        let period = self.period.or(self.fps).unwrap_or(deadline);
        if deadline == Nanos::ZERO || deadline > period {
            return Err(Failure::usage(format_args!(
                "--for-deadline {deadline}: above 0 and at most the period, which is {period}"
            )));
        }
        if !(self.risk > 0.0 && self.risk < 1.0) {
            return Err(Failure::usage(format_args!("--risk {}: a probability above 0 and below 1", self.risk)));
        }
        if settings.emc == EmcAsk::All {
            return Err(Failure::usage(
                "--emc all with --for-deadline: name the clock that the memory will run at, or leave it free",
            ));
        }
        if subject.board.rails.is_empty() {
            return Err(Failure::new(
                Reason::Unsupported,
                "--for-deadline: this board tells no power, so no clock can be told from another by its energy; calibrate \
                 without it",
            ));
        }
        Ok(Some(subject.goal(settings, (deadline, period), self.risk)))
    }

    /// Measures for the deadline.
    ///
    /// # Errors
    /// Where no clock meets it; what the machine or the file says, and a signal.
    pub fn measure<N, R, Q, T>(
        &self,
        subject: Subject<N, R, Q, T>,
        settings: &Settings,
        path: &Path,
    ) -> Result<(), Failure>
    where
        N: Nodes + Store + Clone,
        R: BlockRunner,
        Q: BlockRunner,
        T: Timer + Clone,
    {
        let Some(goal) = self.goal(&subject, settings)? else { return Ok(()) };
        let stop = Stop::install()?;
        let bar = bar();
        let mut say = |next: &Next| bar.suspend(|| eprintln!("{next}"));
        let mut telling = Telling { progress: &mut |at| show(&bar, at), say: &mut say };
        let found = subject.calibrate_for(&goal, path, settings, &stop, &mut telling);
        bar.finish_and_clear();
        stop.die();
        let (done, found) = found?;
        report(path, &done);
        let (sweep, model, table) = (path.display(), path.with_extension("json"), path.with_extension("jpt"));
        let mut asked = format!("--deadline {}", typed(goal.deadline));
        if goal.period != goal.deadline {
            asked += &format!(" --period {}", typed(goal.period));
        }
        if self.risk != RISK {
            asked += &format!(" --risk {}", self.risk);
        }
        if goal.size.0 != 1 {
            asked += &format!(" --size {}", goal.size.0);
        }
        if found.plan.is_none() {
            asked += " --settle TIME --stall TIME";
        }
        eprintln!(
            "next: jetpace fit {sweep} -o {model}; jetpace plan {model} {asked} -o {table}",
            model = model.display(),
            table = table.display()
        );
        Ok(())
    }

    /// What would be measured first, and what a sweep that is there already says, as remarks of a dry run.
    ///
    /// # Errors
    /// Where the options make no goal, or the sweep cannot be read.
    pub fn first<N, R, Q, T>(
        &self,
        subject: &Subject<N, R, Q, T>,
        settings: &Settings,
        path: Option<&Path>,
    ) -> Result<Option<First>, Failure>
    where
        N: Nodes + Store + Clone,
        R: BlockRunner,
        Q: BlockRunner,
        T: Timer + Clone,
    {
        let Some(goal) = self.goal(subject, settings)? else { return Ok(None) };
        let there = path.filter(|path| path.exists()).map(sweep::read).transpose()?.unwrap_or_default();
        let next = next(&there, &goal)?;
        let steps = work(&next, settings, (&subject.board.gpu.clocks, &subject.clocks(settings)));
        let mut remarks = vec![next.to_string()];
        if !matches!(next, Next::Enough(_)) {
            remarks.push(format!(
                "then, one at a time, the clocks on which the plan for {} rests, {} of {} at most; late frames and \
                 changes of the clock at those that matter",
                goal.deadline,
                MOST.min(goal.clocks.len()),
                goal.clocks.len()
            ));
        }
        Ok(Some(First { steps, remarks }))
    }
}

/// A time as a person types it.
fn typed(time: Nanos) -> String {
    format!("{}ms", time.get() as f64 / 1e6)
}
