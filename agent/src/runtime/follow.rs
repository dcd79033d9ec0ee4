//! The shell around the governor: reads the clock, asks, and carries out the answer.
//!
//! Per block: one clock read through the vDSO, one load that says whether the control thread has news, the look-up,
//! and either nothing or one write of prepared bytes (inline) or one post (to the control thread). The governor's
//! caller never waits: where the control thread holds the clock just now, the write is left to it.

use std::io;
use std::path::Path;
use std::str::FromStr;
use std::sync::Arc;

use jetpace_tables::governor::{Action, Governor, State};
use jetpace_tables::table::Table;
use jetpace_tables::units::{Hertz, Nanos};
use jetpace_tables::work::{BlockId, ClockIndex, Size};

use super::control::{Control, Desk, Pen, Schedule, Seen, Tended};
use super::mailbox::Request;
use super::page::What;
use super::sys;
use super::watch::{About, Published, Watch};

/// Who writes the clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Writer {
    /// The launching thread, at the block's boundary; timed writes are the control thread's all the same.
    Inline,
    /// The control thread.
    Thread,
}

/// Waking the control thread costs the caller about as much as a write of this length.
const WORTH_A_WAKE: Nanos = Nanos::from_micros(10);

impl Writer {
    /// The cheaper one for the launching thread, by what one write costs on this board.
    pub fn by_cost(write: Nanos) -> Self {
        if write <= WORTH_A_WAKE { Self::Inline } else { Self::Thread }
    }

    /// The one that is asked for, else the cheaper one by what calibration measured; `None` where the table, which
    /// tells it, does not.
    pub fn choose(asked: Asked, table: &Table) -> Option<Self> {
        asked.0.or_else(|| table.write_time().map(Self::by_cost))
    }

    /// As the command line and the daemon's status call it.
    pub const fn text(self) -> &'static str {
        match self {
            Self::Inline => "inline",
            Self::Thread => "thread",
        }
    }
}

/// `--writer auto|inline|thread`; `None` is auto.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Asked(pub Option<Writer>);

impl FromStr for Asked {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "auto" => Ok(Self(None)),
            "inline" => Ok(Self(Some(Writer::Inline))),
            "thread" => Ok(Self(Some(Writer::Thread))),
            _ => Err("auto, inline or thread is meant"),
        }
    }
}

/// The governor's state as the C library and the shared page tell it: following, safe, handed back.
pub const fn state_code(state: State) -> u32 {
    match state {
        State::Following => 0,
        State::Safe(_) => 1,
        State::HandedBack(_) => 2,
    }
}

/// Follows a table on a clock.
#[derive(Debug)]
pub struct Follow<C: Tended + Send + 'static> {
    governor: Governor<Box<Table>>,
    control: Control<C>,
    desk: Arc<Desk>,
    pen: Pen<C>,
    writer: Writer,
    seen: Seen,
    published: Option<Arc<Published>>,
}

impl<C: Tended + Send + 'static> Follow<C> {
    /// Follows the table from the next frame on.
    ///
    /// # Errors
    /// Where the control thread cannot be started under the schedule.
    pub fn start(table: Box<Table>, clock: C, writer: Writer, schedule: Schedule) -> io::Result<Self> {
        let silence = Nanos::new(table.period().get().saturating_mul(3));
        let control = Control::start(clock, silence, schedule)?;
        let (desk, pen) = (Arc::clone(control.desk()), control.pen());
        Ok(Self { governor: Governor::new(table), control, desk, pen, writer, seen: Seen::default(), published: None })
    }

    /// Something happens, by its name.
    pub fn tell(&mut self, what: What) {
        match what {
            What::FrameStart => self.frame_start(),
            What::BlockStart(block, size) => self.block_start(block, size),
            What::FrameEnd => self.frame_end(),
        }
    }

    /// A frame starts.
    pub fn frame_start(&mut self) {
        self.event(Governor::frame_start);
    }

    /// A block starts; the blocks of a frame come in order.
    #[inline]
    pub fn block_start(&mut self, block: BlockId, size: Size) {
        self.event(|governor, now| governor.block_start(block, size, now));
    }

    /// The frame's last block has ended.
    pub fn frame_end(&mut self) {
        self.event(Governor::frame_end);
        if let Some(published) = &self.published {
            published.publish(&self.governor);
        }
    }

    /// Lets other processes see from now on what happens, at this socket until the answer is dropped.
    ///
    /// # Errors
    /// Where nobody can listen there.
    pub fn watched_at(&mut self, socket: &Path, clocks: Vec<Hertz>) -> io::Result<Watch> {
        let (network, desk) = (self.governor.table().network().to_owned(), Arc::clone(&self.desk));
        let published = Arc::new(Published::default());
        let _ = sys::lock_in_memory(&*published);
        let about = About { network, writer: self.writer, clocks, desk };
        let watch = Watch::open(socket, about, Arc::clone(&published))?;
        self.published = Some(published);
        Ok(watch)
    }

    /// The governor, with its state, counters and trace.
    pub fn governor(&self) -> &Governor<Box<Table>> {
        &self.governor
    }

    /// What was written.
    pub fn desk(&self) -> &Desk {
        &self.desk
    }

    /// Who writes.
    pub fn writer(&self) -> Writer {
        self.writer
    }

    /// Keeps what a block's start touches in memory, as far as the limit on locked memory allows: the library's way.
    /// The agent locks all of its memory instead.
    pub fn lock_in_memory(&self) {
        // Where it is not allowed, the pages stay as long as the kernel lets them: nothing to do about it.
        let _ = sys::lock_in_memory(self);
        let _ = sys::lock_in_memory(self.governor.table());
        let _ = sys::lock_in_memory(&*self.desk);
        let _ = sys::keep_code_in_memory();
    }

    /// Hands the GPU back to the stock governor and puts back what was found.
    ///
    /// # Errors
    /// Where something could not be put back.
    pub fn stop(mut self) -> Result<(), C::Error> {
        self.control.stop()
    }

    #[inline]
    fn event(&mut self, tell: impl FnOnce(&mut Governor<Box<Table>>, Nanos) -> Action) {
        let now = sys::now();
        self.desk.beat(now);
        if let Some(news) = self.desk.news(self.seen.news) {
            self.catch_up(news, now);
        }
        let action = tell(&mut self.governor, now);
        if action != Action::Hold {
            self.carry_out(action, now);
        }
    }

    /// Tells the governor what the control thread met.
    #[cold]
    fn catch_up(&mut self, news: u32, now: Nanos) {
        let Self { governor, desk, seen, .. } = self;
        seen.news = news;
        // At most the last answer counts: a hand-back ends everything before it.
        let action = seen.tell(desk, governor, now);
        self.carry_out(action, now);
    }

    fn carry_out(&mut self, mut action: Action, now: Nanos) {
        // The governor hands back after three refused writes in a row, so this ends.
        while let Action::Set(clock) = action
            && let Some(written) = self.write_inline(clock, now)
        {
            if written {
                self.governor.write_done();
                return;
            }
            action = self.governor.write_failed(now);
        }
        match action {
            Action::Hold => {}
            Action::Set(clock) => self.desk.post(Request::Set(clock)),
            Action::SetAt(clock, at) => self.desk.post(Request::SetAt(clock, at)),
            Action::SetThenAt(clock, then, at) => self.desk.post(Request::SetThenAt(clock, then, at)),
            Action::Release => self.desk.post(Request::Release),
            Action::Look => self.desk.ask_to_look(),
        }
    }

    /// Writes here and now, and says whether the kernel took it; `None` where the control thread is to.
    #[inline]
    fn write_inline(&mut self, clock: ClockIndex, now: Nanos) -> Option<bool> {
        if self.writer == Writer::Thread {
            return None;
        }
        let written = self.pen.write(clock, || now)?;
        // Counted here; not to be told a second time by the desk.
        self.seen.faults += u64::from(!written);
        Some(written)
    }
}
