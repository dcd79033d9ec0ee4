//! Where a program that is measured comes in: at the daemon's place, while no daemon runs. One at a time.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::thread;
use std::time::Duration;

use jetpace_tables::table::{MAX_BLOCKS, NAME_BYTES};
use jetpace_tables::units::Nanos;
use jetpace_tables::work::BlockId;

use crate::runtime::access::{Access, Peer};
use crate::runtime::doorbell::Scope;
use crate::runtime::listen::Listener;
use crate::runtime::map::Mapping;
use crate::runtime::page::{Event, Lie, Order, Page, Reader, State};
use crate::runtime::sys;
use crate::runtime::wire::{self, Request};

/// Connections that may be there before one of them has opened.
const MOST_CALLERS: usize = 8;

/// How long a connection may take to say what it wants.
const PATIENCE: Nanos = Nanos::from_millis(1_000);

/// Packets of one connection that are heard at a look.
const PACKETS: usize = 2 * MAX_BLOCKS;

/// The longest sleep: a program that hangs up rings no bell.
const LOOK_EVERY: Nanos = Nanos::from_millis(5);

/// The socket, and the program that came in.
#[derive(Debug)]
pub struct Door {
    listener: Listener,
    callers: Vec<(OwnedFd, Nanos)>,
    inside: Option<Inside>,
    names: Vec<String>,
    /// No block may be named that is not there yet.
    closed: bool,
    buffer: Vec<u8>,
}

/// The program that is measured.
#[derive(Debug)]
struct Inside {
    socket: OwnedFd,
    page: Mapping<Page>,
    reader: Reader,
    turn: u32,
    /// It has hung up. What it told before that is still to be read.
    gone: bool,
}

impl Drop for Inside {
    fn drop(&mut self) {
        self.page.set_state(State::Dropped);
        sys::futex_wake(self.page.turns(), Scope::Shared);
    }
}

impl Door {
    /// Listens where programs look for the daemon. Blocks are those of `names`; where it is empty, those that are named.
    ///
    /// # Errors
    /// Where the socket cannot be made, as where a daemon listens there.
    pub fn open(path: &Path, names: &[String]) -> io::Result<Self> {
        Ok(Self {
            listener: Listener::open(path, None)?,
            callers: Vec::new(),
            inside: None,
            names: names.to_vec(),
            closed: !names.is_empty(),
            buffer: vec![0; wire::LONGEST],
        })
    }

    /// The blocks by their numbers.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// From now on no block is new.
    pub fn close_names(&mut self) {
        self.closed = true;
    }

    /// Whether a program is inside.
    pub fn is_there(&self) -> bool {
        self.inside.is_some()
    }

    /// Sees who came and who went, and answers. Never waits.
    pub fn look(&mut self) {
        let now = sys::now();
        self.callers.retain(|(_, since)| now.saturating_sub(*since) < PATIENCE);
        while self.callers.len() < MOST_CALLERS
            && let Ok(socket) = self.listener.accept()
        {
            match Peer::of(&socket).is_ok_and(|peer| Access::default().allows(&peer, &socket)) {
                true => self.callers.push((socket, now)),
                false => {
                    let _ = wire::answer(&socket, libc::EACCES, b"only root and the user that calibrates", None);
                }
            }
        }
        // What is already inside first: one that has gone makes room.
        if let Some(inside) = self.inside.take() {
            self.inside = match inside.gone {
                true => Some(inside).filter(|inside| inside.reader.has_next(&inside.page)),
                false => Some(self.hear_inside(inside)),
            };
        }
        for (socket, since) in std::mem::take(&mut self.callers) {
            self.hear(socket, since);
        }
    }

    fn hear(&mut self, socket: OwnedFd, since: Nanos) {
        match wire::next_request(&socket, &mut self.buffer) {
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => self.callers.push((socket, since)),
            Ok(Some(Request::Open(_))) if self.inside.is_none() => self.let_in(socket),
            // It may be the next, once the one inside has gone: until then it asks again.
            Ok(Some(Request::Open(_))) => {
                let _ = wire::answer(&socket, libc::EBUSY, b"another program is being measured", None);
            }
            Ok(Some(_)) => {
                let _ = wire::answer(&socket, libc::EOPNOTSUPP, b"no daemon runs: a program is being measured", None);
            }
            Ok(None) | Err(_) => {}
        }
    }

    fn let_in(&mut self, socket: OwnedFd) {
        let Ok((page, memory)) = Mapping::<Page>::create() else {
            let _ = wire::answer(&socket, libc::ENOMEM, b"no shared memory", None);
            return;
        };
        // No table: that says that it is measured. One that does not take its answer has gone.
        if wire::answer(&socket, 0, &[], Some(memory.as_fd())).is_ok() {
            self.inside = Some(Inside { socket, page, reader: Reader::default(), turn: 0, gone: false });
        }
    }

    /// Answers what the program inside asks; one that says what libjetpace does not is heard no more.
    fn hear_inside(&mut self, mut inside: Inside) -> Inside {
        for _ in 0..PACKETS {
            let answered = match wire::next_request(&inside.socket, &mut self.buffer) {
                Ok(Some(Request::Name(name))) => match self.number(&name) {
                    Ok(block) => wire::answer(&inside.socket, 0, &wire::encode_number(block), None).is_ok(),
                    Err((errno, why)) => wire::answer(&inside.socket, errno, why.as_bytes(), None).is_ok(),
                },
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return inside,
                _ => false,
            };
            if !answered {
                inside.gone = true;
                return inside;
            }
        }
        inside
    }

    fn number(&mut self, name: &str) -> Result<BlockId, (i32, &'static str)> {
        let at = match self.names.iter().position(|known| known == name) {
            Some(at) => at,
            None if self.closed => return Err((libc::ENOENT, "not one of the blocks that are measured")),
            None => {
                // What a table has room for, each name with its line's end.
                let bytes = self.names.iter().map(|known| known.len() + 1).sum::<usize>() + name.len() + 1;
                if self.names.len() == MAX_BLOCKS || bytes > NAME_BYTES {
                    return Err((libc::ENOSPC, "more blocks than a table has room for"));
                }
                self.names.push(name.to_owned());
                self.names.len() - 1
            }
        };
        u16::try_from(at).map(BlockId).map_err(|_| (libc::ENOSPC, "too many blocks"))
    }

    /// Lets the program's next frame run.
    pub fn give_turn(&mut self, order: Order) {
        if let Some(inside) = &mut self.inside {
            // Zero is where a page begins.
            inside.turn = inside.turn.wrapping_add(1).max(1);
            inside.page.set_order(inside.turn, order);
            sys::futex_wake(inside.page.turns(), Scope::Shared);
        }
    }

    /// The next thing that the program said.
    ///
    /// # Errors
    /// What no libjetpace writes; the program is let go.
    pub fn next(&mut self) -> Result<Option<Event>, Lie> {
        let Some(inside) = &mut self.inside else { return Ok(None) };
        let next = inside.reader.next(&inside.page);
        if next.is_err() {
            self.inside = None;
        }
        next
    }

    /// Sleeps until the program says something, or `until`; never for long.
    pub fn rest(&self, until: Nanos) {
        let now = sys::now();
        let until = until.min(now.saturating_add(LOOK_EVERY));
        match &self.inside {
            Some(inside) => inside.reader.sleep(&inside.page, Some(until), || false),
            None => thread::sleep(Duration::from_nanos(until.saturating_sub(now).get())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::page::What;
    use crate::runtime::swept::Peer;

    #[test]
    fn what_a_program_told_before_it_ended_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("sock");
        let mut door = Door::open(&path, &[]).unwrap();
        let program = thread::spawn(move || {
            let Peer::Measures(mut swept) = Peer::open(&path, &[]).unwrap() else { panic!("no one measures") };
            swept.tell(What::FrameStart).unwrap();
            swept.tell(What::FrameEnd).unwrap();
        });
        while !door.is_there() {
            door.look();
        }
        door.give_turn(Order::default());
        program.join().unwrap();
        for told in [What::FrameStart, What::FrameEnd] {
            door.look();
            assert_eq!(door.next().unwrap().map(|event| event.what), Some(told));
        }
        door.look();
        assert!(!door.is_there());
    }
}
