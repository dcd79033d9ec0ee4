//! The client's side while a program is measured: each frame waits for its turn, blocks are named as they are met, and run
//! again as often as is asked.

use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::Duration;

use jetpace_tables::units::Nanos;
use jetpace_tables::work::{BlockId, Size};

use super::doorbell::Scope;
use super::map::Mapping;
use super::page::{Event, Order, Page, State, What, Writer};
use super::remote::{Gone, Remote, ask, is_connected, open_at};
use super::sys;
use super::wire::{self, Request};

/// How often a program that waits for its turn looks whether anyone is still there to give it one.
const LOOK_EVERY: Nanos = Nanos::from_millis(100);

/// How long an event waits for room in the page before it is looked whether anyone takes it.
const ROOM: Duration = Duration::from_micros(100);

/// What answers at a daemon's socket.
#[derive(Debug)]
pub enum Peer {
    /// A daemon, with a table.
    Daemon(Box<Remote>),
    /// Someone who measures.
    Measures(Box<Swept>),
}

impl Peer {
    /// As [`Remote::open`], with whoever listens.
    ///
    /// # Errors
    /// As [`Remote::open`].
    pub fn open(path: &Path, image: &[u8]) -> io::Result<Self> {
        let (socket, page, image) = open_at(path, image)?;
        if !image.is_empty() {
            return Remote::served(socket, page, &image).map(|remote| Self::Daemon(Box::new(remote)));
        }
        let (writer, order) = (Writer::default(), Order::default());
        Ok(Self::Measures(Box::new(Swept { socket, page, writer, turn: 0, order, repeats: 0 })))
    }
}

/// A program that is measured.
#[derive(Debug)]
pub struct Swept {
    socket: OwnedFd,
    page: Mapping<Page>,
    writer: Writer,
    /// The last frame's turn.
    turn: u32,
    order: Order,
    /// How often the frame's repeated block has run.
    repeats: u32,
}

impl Swept {
    /// The number of a block of this name.
    ///
    /// # Errors
    /// Where the block is not one of those that are measured, or whoever measures has gone.
    pub fn name(&self, name: &str) -> io::Result<BlockId> {
        let number = ask(&self.socket, &Request::Name(name.to_owned()))?;
        wire::decode_number(&number).ok_or_else(|| io::Error::from(io::ErrorKind::InvalidData))
    }

    /// Says what happens; a frame's start waits until it may.
    ///
    /// # Errors
    /// Where whoever measured has gone.
    pub fn tell(&mut self, what: What) -> Result<(), Gone> {
        if what == What::FrameStart {
            self.wait_for_turn()?;
        }
        // The time is the event's, however long it waits for room.
        let event = Event { at: sys::now(), what };
        while !self.writer.post(&self.page, event) {
            self.look()?;
            std::thread::sleep(ROOM);
        }
        Ok(())
    }

    /// Whether the block that ran is to run again.
    ///
    /// # Errors
    /// As [`Self::tell`].
    pub fn again(&mut self, block: BlockId) -> Result<bool, Gone> {
        match self.order.repeat {
            Some((wanted, times)) if wanted == block && self.repeats + 1 < times => {
                self.repeats += 1;
                self.tell(What::BlockAgain(block)).map(|()| true)
            }
            _ => Ok(false),
        }
    }

    /// The size that this frame should have, where one is asked for.
    pub fn size(&self) -> Option<Size> {
        self.order.size
    }

    fn wait_for_turn(&mut self) -> Result<(), Gone> {
        loop {
            let (turn, order) = self.page.order();
            if turn != self.turn {
                (self.turn, self.order, self.repeats) = (turn, order, 0);
                return if self.page.state() == State::Dropped { Err(Gone) } else { Ok(()) };
            }
            self.look()?;
            let until = sys::now().saturating_add(LOOK_EVERY);
            sys::futex_wait(self.page.turns(), turn, Scope::Shared, Some(until));
        }
    }

    fn look(&self) -> Result<(), Gone> {
        if self.page.state() == State::Dropped || !is_connected(&self.socket) { Err(Gone) } else { Ok(()) }
    }
}
