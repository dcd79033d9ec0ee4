//! A quick look: whole frames at a clock, one behind the other, and the power that they draw. It says whether a model still
//! holds, and is no sweep: nothing is written.

use jetpace_devfreq::guard::{Guard, Store, log_foreign};
use jetpace_devfreq::nodes::Nodes;
use jetpace_devfreq::rails::PowerPace;
use jetpace_tables::hw::{BlockRunner, GpuClock, Timer};
use jetpace_tables::units::{Hertz, Milliwatts, Nanos};
use jetpace_tables::work::{BlockId, ClockIndex, Size};

use super::{Bench, Book, Calibration, Mean, Subject};
use crate::failure::Failure;
use crate::signals::Stop;

/// How long frames are timed at a clock.
const SPAN: Nanos = Nanos::from_millis(1_500);
/// So many, however long they take.
const LEAST: usize = 3;

/// What was seen at a clock.
#[derive(Clone, Debug)]
pub struct Looked {
    /// The clock.
    pub clock: Hertz,
    /// Times of whole frames.
    pub times: Vec<Nanos>,
    /// Power meanwhile, between blocks too; `None` where no rail tells.
    pub power: Option<Milliwatts>,
    /// The share of the time that blocks took: each is waited for, and short ones leave the GPU idle in between.
    pub busy: f64,
    /// What may be wrong with it; empty where nothing is.
    pub spoilt: String,
}

impl<B: Bench> Calibration<B> {
    /// Looks at frames at a clock, of blocks of this size.
    ///
    /// # Errors
    /// Where the machine fails, and where a signal came.
    pub fn look(&mut self, clock: ClockIndex, size: Size, pace: PowerPace) -> Result<Looked, Failure> {
        let mut unwritten = |_: &_| Ok(());
        let mut book = Book::new("", "", &[], &mut unwritten);
        self.warm_up(clock, size, &mut book)?;
        let (mut times, mut mean, mut failed) = (Vec::new(), Mean::new(&self.rails), Ok(()));
        let began = self.timer.now();
        let mut due = began.saturating_add(pace.settle);
        let until = due.saturating_add(SPAN);
        while times.len() < LEAST || self.timer.now() < until {
            self.go_on()?;
            let mut frame = Nanos::ZERO;
            for block in 0..self.network.blocks() {
                let (mut time, rails) = ([Nanos::ZERO], &mut self.rails);
                let mut read = |now: Nanos| {
                    if failed.is_ok() && now >= due {
                        failed = mean.read(rails);
                        due = now.saturating_add(pace.every);
                    }
                    failed.is_ok().then_some(due)
                };
                self.network.run(BlockId(block as u16), size, &mut time, &mut read).map_err(Failure::of)?;
                frame = frame.saturating_add(time[0]);
            }
            times.push(frame);
        }
        failed?;
        let all_s = self.timer.now().saturating_sub(began).as_secs_f64();
        let busy = (times.iter().map(|time| time.as_secs_f64()).sum::<f64>() / all_s).clamp(0.0, 1.0);
        let spoilt = self.spoilt(clock, &mut book)?;
        Ok(Looked { clock: self.hz(clock), times, power: mean.total(&self.rails), busy, spoilt })
    }
}

impl<N, R, Q, T> Subject<N, R, Q, T>
where
    N: Nodes + Store + Clone,
    R: BlockRunner,
    Q: BlockRunner,
    T: Timer + Clone,
{
    /// Looks at clocks of this board, one after the other; those that it does not list or allow are left out.
    ///
    /// # Errors
    /// What the machine says, and a signal; the clocks are given back.
    pub fn look(mut self, clocks: &[Hertz], stop: &Stop) -> Result<Vec<Looked>, Failure> {
        self.wait_for_the_bound(stop)?;
        let settings = self.settings();
        let listed = &self.board.gpu.clocks;
        let allowed = self.clocks(&settings).into_iter();
        let wanted: Vec<ClockIndex> =
            allowed.filter(|at| listed.get(at.index()).is_some_and(|clock| clocks.contains(clock))).collect();
        let (guard, _) = Guard::take(self.nodes.clone())?;
        let mut bench = self.bench(&guard, stop)?;
        let looked: Result<Vec<Looked>, Failure> =
            wanted.into_iter().map(|clock| bench.look(clock, Size::default(), settings.power)).collect();
        bench.gpu.release()?;
        log_foreign(&guard.restore()?);
        looked
    }
}
