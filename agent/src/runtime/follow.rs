//! The shell around the governor: reads the clock, asks, and carries out the answer.
//!
//! Per block: one clock read through the vDSO, one load that says whether the control thread has news, the look-up,
//! and either nothing or one write of prepared bytes (inline) or one post (to the control thread). The governor's
//! caller never waits: where the control thread holds the clock just now, the write is left to it.

use std::io;
use std::path::Path;
use std::sync::Arc;

use jetpace_tables::governor::{Action, Governor};
use jetpace_tables::table::Table;
use jetpace_tables::units::{Hertz, Nanos};
use jetpace_tables::work::{BlockId, ClockIndex, Size};

use crate::files::table::{Kept, OTHER_BOARD, same_blocks};

use super::control::{Control, Desk, InlineWriter, Schedule, Seen, WatchedClock};
use super::page::What;
use super::published::Published;
use super::sys;
use super::watch::{About, Watch};
use super::writer::Writer;

/// Follows a table on a clock.
#[derive(Debug)]
pub struct Follow<C: WatchedClock + Send + 'static> {
    governor: Governor<Box<Table>>,
    control: Control<C>,
    desk: Arc<Desk>,
    inline: InlineWriter<C>,
    writer: Writer,
    seen: Seen,
    published: Option<Arc<Published>>,
    /// Where the table lies, if it is to be exchanged with the file there.
    kept: Option<Kept>,
}

impl<C: WatchedClock + Send + 'static> Follow<C> {
    /// Follows the table from the next frame on.
    ///
    /// # Errors
    /// Where the control thread cannot be started under the schedule.
    pub fn start(table: Box<Table>, clock: C, writer: Writer, schedule: Schedule) -> io::Result<Self> {
        let control = Control::start(clock, table.silence(), schedule)?;
        let (desk, inline) = (Arc::clone(control.desk()), control.inline_writer());
        Ok(Self {
            governor: Governor::new(table),
            control,
            desk,
            inline,
            writer,
            seen: Seen::default(),
            published: None,
            kept: None,
        })
    }

    /// Follows whatever table lies in this file from now on: another one from the next frame on.
    #[must_use]
    pub fn keeping_to(self, kept: Option<Kept>) -> Self {
        Self { kept, ..self }
    }

    /// Something happens, by its name.
    pub fn tell(&mut self, what: What) {
        match what {
            What::FrameStart => self.frame_start(),
            What::BlockStart(block, size) => self.block_start(block, size),
            What::FrameEnd => self.frame_end(),
            // Nobody measures here.
            What::BlockAgain(_) | What::Took(..) => {}
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
        let now = self.governor.table();
        let fits = |table: &Table| {
            same_blocks(table, now.names())?;
            match table.period() == now.period() {
                true if self.desk.suits(table) == Some(false) => Err(OTHER_BOARD),
                true => Ok(()),
                false => Err("it has another period: start the program again"),
            }
        };
        if let Some((_, table)) = self.kept.as_mut().and_then(|kept| kept.exchanged(sys::now(), fits)) {
            let _ = sys::lock_in_memory(&*table);
            drop(self.governor.exchange(table));
            log::info!("another table is followed from the next frame on");
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
        self.desk.post(action);
    }

    /// Writes here and now, and says whether the kernel took it; `None` where the control thread is to.
    #[inline]
    fn write_inline(&mut self, clock: ClockIndex, now: Nanos) -> Option<bool> {
        if self.writer == Writer::Thread {
            return None;
        }
        let written = self.inline.write(clock, || now)?;
        // Counted here; not to be told a second time by the desk.
        self.seen.faults += u64::from(!written);
        Some(written)
    }
}
