//! Frames of programs that use libjetpace. While a clock is held no daemon can run; `hold` answers in its place, counts
//! the ends of frames, and chooses nothing.

use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

use jetpace_tables::table::image;
use jetpace_tables::table::{Table, TableClock};
use jetpace_tables::units::{Hertz, Nanos};
use jetpace_tables::work::ClockIndex;

use crate::files::table::encode;
use crate::runtime::access::{Access, Peer};
use crate::runtime::daemon::MAX_CLIENTS;
use crate::runtime::listen::Listener;
use crate::runtime::map::Mapping;
use crate::runtime::page::{Figures, Page, Reader, SLOTS, State, What};
use crate::runtime::sys;
use crate::runtime::wire::{self, Request};

/// Frames that are kept until they are taken: no honest program ends more between two looks.
const MOST_ENDED: usize = 1_000;

/// A frame that ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame {
    /// When it started, on the monotonic clock.
    pub start: Nanos,
    /// From its start to its end.
    pub busy: Nanos,
}

/// What answers programs that look for the daemon.
#[derive(Debug)]
pub struct Events {
    listener: Listener,
    /// For programs that bring no table: one block, named `frame`.
    table: Vec<u8>,
    callers: Vec<OwnedFd>,
    clients: Vec<Client>,
    frames: u64,
    /// Those that ended since they were last taken.
    ended: Vec<Frame>,
    lost: bool,
    buffer: Vec<u8>,
}

/// A program that is counted.
#[derive(Debug)]
struct Client {
    socket: OwnedFd,
    page: Mapping<Page>,
    reader: Reader,
    frames: u64,
    /// When the frame that runs started, by the program's word.
    started: Option<Nanos>,
}

impl Events {
    /// Listens where the daemon would.
    ///
    /// # Errors
    /// Where the socket cannot be made.
    pub fn listen(path: &Path) -> io::Result<Self> {
        let clock = TableClock { index: ClockIndex(0), clock: Hertz::new(1), relative_time: 1 };
        let second = Nanos::from_millis(1_000);
        let table = Table::plain([0; 32], &[clock], &[("frame", ClockIndex(0))], (second, second), Nanos::ZERO)
            .map_err(io::Error::other)?;
        Ok(Self {
            listener: Listener::open(path, None)?,
            table: encode(&table).map_err(io::Error::other)?,
            callers: Vec::new(),
            clients: Vec::new(),
            frames: 0,
            ended: Vec::new(),
            lost: false,
            buffer: vec![0; wire::LONGEST],
        })
    }

    /// Frames that ended so far, of all programs together.
    pub fn frames(&self) -> u64 {
        self.frames
    }

    /// Frames with their times that ended since this was last called, as many as are kept.
    pub fn take_frames(&mut self) -> Vec<Frame> {
        std::mem::take(&mut self.ended)
    }

    /// Takes what has come since the last look; never waits. `clock` is what the programs are told that runs.
    pub fn look(&mut self, clock: Hertz) {
        while self.callers.len() + self.clients.len() < MAX_CLIENTS
            && let Ok(socket) = self.listener.accept()
        {
            let allowed = Peer::of(&socket).is_ok_and(|peer| Access::default().allows(&peer, &socket));
            if allowed {
                self.callers.push(socket);
            } else {
                let _ = wire::answer(&socket, libc::EACCES, b"only root and the user that holds the clock", None);
            }
        }
        for socket in std::mem::take(&mut self.callers) {
            self.hear(socket);
        }
        let (ended, buffer) = (&mut self.ended, &mut self.buffer);
        self.clients.retain_mut(|client| {
            let before = client.frames;
            let honest = client.count(ended, clock);
            self.frames += client.frames - before;
            honest && is_there(&client.socket, buffer)
        });
        if !self.lost && self.clients.iter().any(|client| client.page.lost() > 0) {
            self.lost = true;
            log::warn!("a program tells more blocks than can be counted: the frame rate is higher than it seems");
        }
    }

    fn hear(&mut self, socket: OwnedFd) {
        match wire::next_request(&socket, &mut self.buffer) {
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => self.callers.push(socket),
            Ok(Some(Request::Open(own))) => {
                if let Err((errno, why)) = self.open(&socket, &own) {
                    // A program that does not read its answer is not worth more.
                    let _ = wire::answer(&socket, errno, why.as_bytes(), None);
                }
            }
            Ok(Some(_)) => {
                let why = b"no daemon runs: `jetpace hold` has the clock";
                let _ = wire::answer(&socket, libc::EOPNOTSUPP, why, None);
            }
            Ok(None) | Err(_) => {}
        }
    }

    fn open(&mut self, socket: &OwnedFd, own: &[u8]) -> Result<(), (i32, String)> {
        let image = if own.is_empty() { &self.table[..] } else { own };
        // Nothing of it is followed, but the program's blocks have to be those of a table.
        image::decode(image).map_err(|e| (libc::EBADMSG, e.to_string()))?;
        let (page, fd) = Mapping::create().map_err(|e| (libc::ENOMEM, e.to_string()))?;
        let (answered, socket) = (wire::answer(socket, 0, image, Some(std::os::fd::AsFd::as_fd(&fd))), socket);
        let socket = answered.and_then(|()| socket.try_clone()).map_err(|e| (libc::EIO, e.to_string()))?;
        self.clients.push(Client { socket, page, reader: Reader::default(), frames: 0, started: None });
        Ok(())
    }
}

impl Client {
    /// Counts what it said, a ring's length at most; false where no honest program says that.
    fn count(&mut self, ended: &mut Vec<Frame>, clock: Hertz) -> bool {
        for _ in 0..SLOTS {
            match self.reader.next(&self.page) {
                Ok(Some(event)) => {
                    // The program's clock is believed as far as it can be true.
                    let at = event.at.min(sys::now());
                    match event.what {
                        What::FrameStart => self.started = Some(at),
                        What::BlockStart(..) | What::BlockAgain(_) | What::Took(..) => {}
                        What::FrameEnd => {
                            self.frames += 1;
                            let start = self.started.take().filter(|_| ended.len() < MOST_ENDED);
                            ended.extend(start.map(|start| Frame { start, busy: at.saturating_sub(start) }));
                        }
                    }
                }
                Ok(None) => break,
                Err(_) => {
                    log::warn!("a program sent what no libjetpace sends: no longer counted");
                    return false;
                }
            }
        }
        let taken = self.reader.taken();
        self.page.set_figures(&Figures { clock, frames: self.frames, taken, ..Figures::default() });
        true
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.page.set_state(State::Dropped);
    }
}

/// A client speaks through its page; on the socket it has only to hang up.
fn is_there(socket: &OwnedFd, buffer: &mut [u8]) -> bool {
    wire::next_request(socket, buffer).is_err_and(|e| e.kind() == io::ErrorKind::WouldBlock)
}

#[cfg(test)]
mod tests {
    use jetpace_tables::work::{BlockId, Size};

    use std::path::PathBuf;

    use super::*;
    use crate::runtime::remote::{Remote, document};

    /// Runs a program beside `events` until it has ended and all that it said is taken.
    fn beside<T: Send>(events: &mut Events, program: impl FnOnce() -> T + Send) -> T {
        std::thread::scope(|scope| {
            let program = scope.spawn(program);
            loop {
                let ended = program.is_finished();
                events.look(Hertz::new(612_000_000));
                if ended {
                    return program.join().unwrap();
                }
                std::thread::yield_now();
            }
        })
    }

    fn listen() -> (tempfile::TempDir, PathBuf, Events) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("jetpace.sock");
        let events = Events::listen(&path).unwrap();
        (folder, path, events)
    }

    #[test]
    fn frames_of_all_programs_are_counted_and_they_see_the_clock() {
        let (_folder, path, mut events) = listen();
        for round in 1..=2 {
            let remote = beside(&mut events, || {
                let mut remote = Remote::open(&path, &[]).unwrap();
                assert_eq!(remote.table().find("frame"), Some(BlockId(0)));
                for _ in 0..100 {
                    remote.tell(What::FrameStart).unwrap();
                    remote.tell(What::BlockStart(BlockId(0), Size::default())).unwrap();
                    remote.tell(What::FrameEnd).unwrap();
                }
                remote
            });
            assert_eq!(events.frames(), 100 * round);
            let figures = remote.figures();
            assert_eq!((figures.clock, figures.frames), (Hertz::new(612_000_000), 100));
            drop(remote);
            events.look(Hertz::ZERO);
            assert_eq!(events.clients.len(), 0, "gone");
        }
    }

    #[test]
    fn a_program_that_brings_its_table_keeps_its_blocks() {
        let (_folder, path, mut events) = listen();
        let clock = TableClock { index: ClockIndex(3), clock: Hertz::new(5), relative_time: 1 };
        let wanted = [("a", ClockIndex(3)), ("b", ClockIndex(3))];
        let pace = (Nanos::from_millis(40), Nanos::from_millis(40));
        let own = encode(&Table::plain([9; 32], &[clock], &wanted, pace, Nanos::ZERO).unwrap()).unwrap();
        let blocks = beside(&mut events, || Remote::open(&path, &own).unwrap().table().blocks());
        assert_eq!(blocks, 2);
    }

    #[test]
    fn what_is_no_program_of_libjetpace_is_told_so() {
        let (_folder, path, mut events) = listen();
        let why = beside(&mut events, || Remote::open(&path, b"no table").unwrap_err().to_string());
        assert!(why.contains("refuses"), "{why}");
        let why = beside(&mut events, || document(&path, &Request::Status).unwrap_err().to_string());
        assert!(why.contains("`jetpace hold` has the clock"), "{why}");
        assert_eq!(events.frames(), 0);
        drop(events);
        assert!(!path.exists());
    }
}
