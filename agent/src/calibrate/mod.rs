//! Calibration: what every block takes and draws at every clock, what the gap between frames draws, and what changing
//! the clock takes. Generic over the hardware traits, so the same code measures a Jetson and a virtual board.
//!
//! The work is a list of [`Step`]s in a fixed order. Clocks are visited several times and in another order each time,
//! so that warming up and other slow drift do not look like an effect of the clock. Every row is handed over as it is
//! measured; a sweep that was cut off goes on with the rows that it lacks.

mod blocks;
mod book;
mod changes;
#[cfg(feature = "report")]
pub mod deadline;
mod idle;
mod locate;
mod look;
mod observe;
#[cfg(feature = "report")]
pub mod own;
mod power;
mod steps;
mod surroundings;
mod to_file;

use jetpace_devfreq::rails::PowerPace;
use jetpace_tables::hw::{BlockRunner, GpuClock, PowerRails, Timer};
use jetpace_tables::sample::Row;
use jetpace_tables::units::{Hertz, Nanos};
use jetpace_tables::work::{ClockIndex, Size};

use crate::failure::Failure;
use crate::signals::Stop;

pub use book::Book;
pub use look::Looked;
pub use observe::Observed;
pub use power::Mean;
pub use steps::{Step, steps};
pub use surroundings::Surroundings;
pub use to_file::{Done, Subject, measured};

/// How much is measured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Frames of which every block is timed, over all clocks together.
    pub frames: u32,
    /// Frames timed as a whole, over all clocks together, for how late one in a hundred is. Fewer where they are so
    /// long that they take more than twice the time of as many at the spacing.
    pub late: u32,
    /// Time between the starts of two frames, at least: disturbances last longer than a frame, so frames that follow
    /// each other at once say little more than one of them.
    pub spacing: Nanos,
    /// How often every clock is visited.
    pub passes: u32,
    /// How often every change from one clock to another is made.
    pub changes: u32,
    /// How power is read.
    pub power: PowerPace,
    /// Sizes of blocks, ascending: frames are timed at the largest, time and power of every block at all of them. Size
    /// 1 where there is none.
    pub sizes: Vec<Size>,
    /// At which clocks of the memory.
    pub emc: EmcAsk,
    /// Whether the rails' chips are to convert as fast as they can meanwhile.
    pub fast_rails: bool,
    /// The clocks; those of the board, where there is none.
    pub clocks: Vec<ClockIndex>,
    /// Rows of an earlier sweep of the board, which are not measured again: what its changes of the clock take, and idle
    /// power.
    pub constants: Vec<Row>,
}

/// The memory's clocks during a calibration: `--emc`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum EmcAsk {
    /// As each GPU clock and the load bring them about; recorded with every row.
    #[default]
    Free,
    /// Locked at one.
    One(Hertz),
    /// Locked at each that the board lists, up to its cap: everything is measured at each.
    All,
}

impl std::str::FromStr for EmcAsk {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "all" => Ok(Self::All),
            clock => clock.parse().map(Self::One).map_err(|e| format!("{e}; or `all`")),
        }
    }
}

/// Frames timed as a whole for each of which every block is timed.
pub const LATE_PER_FRAME: u32 = 25;

impl Settings {
    /// The usual amount of work, for rails of this pace.
    pub fn usual(power: PowerPace) -> Self {
        let frames = 1200;
        let (late, spacing) = (LATE_PER_FRAME * frames, Nanos::from_millis(80));
        Self {
            frames,
            late,
            spacing,
            passes: 3,
            changes: 10,
            power,
            sizes: Vec::new(),
            emc: EmcAsk::Free,
            fast_rails: false,
            clocks: Vec::new(),
            constants: Vec::new(),
        }
    }

    /// As many frames as fit into this time, and at most these. Power, idling and changes of the clock take theirs besides.
    #[must_use]
    pub fn within(self, budget: Nanos) -> Self {
        let each = self.spacing.get().max(1) * u64::from(LATE_PER_FRAME + 1);
        // At most as many as before, which is a u32.
        let frames = (budget.get() / each).clamp(1, u64::from(self.frames)) as u32;
        Self { frames, late: LATE_PER_FRAME * frames, ..self }
    }

    /// All sizes, ascending.
    pub(crate) fn sizes(&self) -> impl DoubleEndedIterator<Item = Size> {
        let one = self.sizes.is_empty().then(Size::default);
        self.sizes.iter().copied().chain(one)
    }

    /// That of the frames.
    fn size(&self) -> Size {
        self.sizes().next_back().unwrap_or_default()
    }
}

/// What a machine's parts are: of a Jetson, or of a virtual board.
pub trait Bench {
    /// Its GPU's clock.
    type Gpu: GpuClock;
    /// Its power rails.
    type Rails: PowerRails;
    /// Runs the network that is measured.
    type Network: BlockRunner;
    /// Runs a network with at least one very short block.
    type Probe: BlockRunner;
    /// Its time.
    type Timer: Timer;
    /// What may spoil a measurement.
    type Surroundings: Surroundings;
}

/// A machine, and what runs on it.
#[derive(Debug)]
pub struct Calibration<B: Bench> {
    /// Its GPU's clock.
    pub gpu: B::Gpu,
    /// Its power rails.
    pub rails: B::Rails,
    /// The network that is measured.
    pub network: B::Network,
    /// A network with at least one very short block, for seeing a change of the clock in block times.
    pub probe: B::Probe,
    /// Its time.
    pub timer: B::Timer,
    /// What may spoil a measurement.
    pub surroundings: B::Surroundings,
    /// Asked between measurements.
    pub stop: Stop,
    /// For how long, all in all, it is waited for heat to let the clock go.
    pub patience: Nanos,
}

/// Heat's end is waited for so long, all in all: a board that stays hot is measured all the same, and its rows left out.
pub(super) const PATIENCE: Nanos = Nanos::from_millis(15 * 60_000);

/// How often it is looked whether heat has let go.
pub(super) const COOLING: Nanos = Nanos::from_millis(1_000);

/// How far a calibration is.
#[derive(Clone, Copy, Debug)]
pub struct Progress {
    /// Steps that are done.
    pub done: usize,
    /// Steps in all.
    pub total: usize,
    /// The step that comes now.
    pub next: Option<Step>,
}

/// Time for a clock to come into effect before anything is measured at it. Settle times above 20 ms were seen at low
/// clocks.
const SETTLED: Nanos = Nanos::from_millis(60);

impl<B: Bench> Calibration<B> {
    /// Measures what `book` lacks and writes it there.
    ///
    /// # Errors
    /// Where the machine or the book fails, and where a signal came; what is measured by then is in the book.
    pub fn calibrate(
        &mut self,
        settings: &Settings,
        clocks: &[ClockIndex],
        book: &mut Book<'_>,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<(), Failure> {
        self.follow(&steps(settings, clocks), settings, clocks, book, progress)
    }

    /// Makes some steps of a sweep of these clocks, among which what the settings ask for is spread.
    fn follow(
        &mut self,
        steps: &[Step],
        settings: &Settings,
        clocks: &[ClockIndex],
        book: &mut Book<'_>,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<(), Failure> {
        if !book.is_emc_locked() {
            book.set_emc(self.surroundings.emc());
        }
        book.set_cpu(self.surroundings.cpu());
        let mut probe = None;
        for (done, step) in steps.iter().enumerate() {
            progress(Progress { done, total: steps.len(), next: Some(*step) });
            match *step {
                Step::Frames { pass, clock } => self.frames(settings, pass, clock, clocks.len(), book)?,
                Step::Late { pass, clock } => self.late(settings, pass, clock, clocks.len(), book)?,
                Step::Power { pass, clock } => self.power(settings, pass, clock, book)?,
                Step::Idle { pass, clock } => self.idle(settings, pass, clock, book)?,
                Step::Change { repeat, from, to } => {
                    if book.has_change(repeat, self.hz(from), self.hz(to)) {
                        continue;
                    }
                    let block = match probe {
                        Some(block) => block,
                        None => *probe.insert(self.find_probe(clocks)?),
                    };
                    self.change(block, repeat, from, to, book)?;
                }
            }
        }
        progress(Progress { done: steps.len(), total: steps.len(), next: None });
        Ok(())
    }

    /// Holds a clock and waits until it runs. Whether it is held shows afterwards, when [`Self::spoilt`] looks.
    fn hold(&mut self, clock: ClockIndex) -> Result<(), Failure> {
        self.wait_for_heat()?;
        // Asleep, the GPU of an R32 board takes no clock.
        self.nudge()?;
        self.gpu.pin(clock).map_err(Failure::failed)?;
        self.wait(SETTLED);
        Ok(())
    }

    /// Waits until heat lets the clock go, as long as there is patience left.
    fn wait_for_heat(&mut self) -> Result<(), Failure> {
        if self.patience == Nanos::ZERO || !self.surroundings.throttled() {
            return Ok(());
        }
        log::warn!("heat holds the clock down: waiting until it lets go");
        while self.surroundings.throttled() {
            if self.patience == Nanos::ZERO {
                log::warn!("heat has not let go for {PATIENCE}; what is measured under it is left out");
                return Ok(());
            }
            self.go_on()?;
            self.wait(COOLING);
            self.patience = self.patience.saturating_sub(COOLING);
        }
        log::warn!("heat has let go: going on");
        Ok(())
    }

    fn wait(&mut self, time: Nanos) {
        self.timer.sleep_until(self.timer.now().saturating_add(time));
    }

    fn hz(&self, clock: ClockIndex) -> Hertz {
        self.gpu.clocks().get(clock.index()).copied().unwrap_or(Hertz::ZERO)
    }

    /// Why what was just measured at a clock may be wrong; empty where nothing speaks against it.
    /// The memory's clock is the book's, or where that does not expect any the one of now from here on.
    fn spoilt(&mut self, clock: ClockIndex, book: &mut Book<'_>) -> Result<String, Failure> {
        let runs = self.gpu.current().map_err(Failure::failed)?;
        let wanted = self.hz(clock);
        if runs != wanted {
            return Ok(format!("clock not held: {runs} instead of {wanted}"));
        }
        if self.surroundings.throttled() {
            // What comes next is not to be spoilt, too.
            self.wait_for_heat()?;
            return Ok("throttled".to_owned());
        }
        let now = self.surroundings.emc();
        let emc = book.expect_emc(now);
        if now != emc {
            let text = |emc: Option<Hertz>| emc.map_or("unknown".to_owned(), |emc| emc.to_string());
            return Ok(format!("EMC moved from {} to {}", text(emc), text(now)));
        }
        Ok(String::new())
    }

    /// # Errors
    /// Where a signal came.
    fn go_on(&self) -> Result<(), Failure> {
        self.stop.go_on()
    }
}
