//! A clock that the daemon holds: what an ordinary user has, and everybody where a daemon runs.

use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};

use jetpace_devfreq::board::Board;
use jetpace_tables::table::{Digest, Table, TableClock};
use jetpace_tables::units::{Hertz, Nanos};
use jetpace_tables::work::{BlockId, ClockIndex, Size};
use serde_json::Value;

use super::holder::Holder;
use crate::commands::status;
use crate::failure::{Failure, Reason};
use crate::files::model::digest_from_hex;
use crate::files::table::encode;
use crate::runtime::page::What;
use crate::runtime::remote::{self, Refusal, Remote};
use crate::runtime::wire::{self, Request};

/// To the daemon a held clock is a network of one block, whose frames are this long. A client that is silent for three of
/// them is let go.
const FRAME: Nanos = Nanos::from_millis(2_000);

/// How often the daemon is told that it is still wanted, and asked how it is.
const BEAT: Duration = Duration::from_millis(1_000);

/// How long a clock may take to be written by the daemon.
const BUDGET: Duration = Duration::from_millis(2_000);

/// The daemon's clock, leased.
pub struct Lease {
    socket: PathBuf,
    board: Digest,
    clocks: Vec<Hertz>,
    cap: ClockIndex,
    at: ClockIndex,
    remote: Option<Remote>,
    beaten: Instant,
    held_down: Option<(String, Nanos)>,
}

/// Whether a daemon is there to lease from.
///
/// # Errors
/// Where one is, and this user may not connect.
pub fn is_offered(socket: &Path) -> Result<bool, Failure> {
    match remote::dial(socket) {
        Ok(_) => Ok(true),
        Err(e) if e.kind() == std::io::ErrorKind::PermissionDenied => Err(Failure::new(
            Reason::Permission,
            format_args!("{}: a daemon has the clock, and this user may not ask it: {}", socket.display(), wire::JOIN),
        )),
        Err(_) => Ok(false),
    }
}

impl Lease {
    /// Asks a daemon for the clocks of this board. Nothing is held yet.
    ///
    /// # Errors
    /// Where the daemon does not answer, or not for this user.
    pub fn open(socket: &Path, board: &Board) -> Result<Self, Failure> {
        let mut lease = Self {
            socket: socket.to_owned(),
            board: board.digest_bytes(),
            clocks: board.gpu.clocks.clone(),
            cap: ClockIndex(0),
            at: ClockIndex(0),
            remote: None,
            beaten: Instant::now(),
            held_down: None,
        };
        let status = lease.ask()?;
        // The daemon knows the board better: a container may lack the files by which it is known.
        if let Some(board) = status["board"].as_str().and_then(digest_from_hex) {
            lease.board = board;
        }
        Ok(lease)
    }

    fn ask(&mut self) -> Result<Value, Failure> {
        let status = status::ask(&self.socket, &Request::Status)?;
        let cap = status["cap_hz"].as_u64().map_or(Hertz::MAX, Hertz::new);
        let within = self.clocks.iter().rposition(|clock| *clock <= cap).unwrap_or(0);
        // At most 255 clocks are listed.
        self.cap = ClockIndex(within as u8);
        let time = Nanos::from_secs_f64(status["held_down_s"].as_f64().unwrap_or(0.0));
        self.held_down = status["held_down"].as_str().map(|by| (by.to_owned(), time));
        Ok(status)
    }

    /// A table of one block at one clock.
    fn image(&self, clock: ClockIndex) -> Result<Vec<u8>, Failure> {
        let hz = self.clocks.get(clock.index()).copied().unwrap_or_default();
        let clocks = [TableClock { index: clock, clock: hz, relative_time: 1 }];
        let table = Table::plain(self.board, &clocks, &[("hold", clock)], (FRAME, FRAME), Nanos::ZERO);
        let table = table.map_err(Failure::failed)?;
        encode(&table).map_err(Failure::failed)
    }

    fn connect(&mut self, clock: ClockIndex) -> Result<(), Failure> {
        let image = self.image(clock)?;
        let opened = Remote::open(&self.socket, &image);
        let mut remote = opened.map_err(|e| refused(&self.socket, &e))?;
        let began = [What::FrameStart, What::BlockStart(BlockId(0), Size(1))].map(|what| remote.tell(what));
        began.into_iter().collect::<Result<(), _>>().map_err(Failure::failed)?;
        // The one before goes only now: the highest of both is held meanwhile.
        self.remote = Some(remote);
        self.at = clock;
        Ok(())
    }

    /// Another frame of the same block.
    fn beat(&mut self) -> Result<(), Failure> {
        let Some(remote) = &mut self.remote else { return self.connect(self.at) };
        let frame = [What::FrameEnd, What::FrameStart, What::BlockStart(BlockId(0), Size(1))];
        if frame.into_iter().try_for_each(|what| remote.tell(what)).is_err() {
            self.remote = None;
            self.connect(self.at)?;
            log::warn!("{}: the daemon was started anew; the clock is leased again", self.socket.display());
        }
        Ok(())
    }
}

impl Holder for Lease {
    fn hold(&mut self, clock: ClockIndex) -> Result<Hertz, Failure> {
        self.connect(clock)?;
        let started = Instant::now();
        loop {
            let status = self.ask()?;
            let wanted = self.within_cap(clock);
            let runs = status["clock_hz"].as_u64().map(Hertz::new);
            // Another client's wish may be higher: the highest is held.
            match runs {
                Some(runs) if runs >= wanted => return Ok(runs),
                _ if started.elapsed() < BUDGET => sleep(Duration::from_millis(5)),
                _ => {
                    let runs = runs.map_or_else(|| "the stock governor".to_owned(), |runs| runs.to_string());
                    return Err(Failure::failed(format_args!(
                        "{}: {wanted} was asked for, the daemon is at {runs}; `jetpace status` says why",
                        self.socket.display()
                    )));
                }
            }
        }
    }

    fn look(&mut self) -> Result<Option<(Hertz, Hertz)>, Failure> {
        if self.beaten.elapsed() < BEAT {
            return Ok(None);
        }
        self.beaten = Instant::now();
        let before = self.cap;
        self.beat()?;
        self.ask()?;
        let clock = |index: ClockIndex| self.clocks.get(index.index()).copied().unwrap_or_default();
        Ok((before != self.cap).then(|| (clock(before), clock(self.cap))))
    }

    fn cap(&self) -> ClockIndex {
        self.cap
    }

    fn clocks(&self) -> &[Hertz] {
        &self.clocks
    }

    fn held_down(&self) -> Option<(String, Nanos)> {
        self.held_down.clone()
    }
}

fn refused(socket: &Path, error: &std::io::Error) -> Failure {
    let stale = error.get_ref().and_then(|e| e.downcast_ref::<Refusal>()).is_some_and(|no| no.errno == libc::ESTALE);
    let reason = if stale { Reason::Calibration } else { Reason::Failed };
    Failure::new(reason, format_args!("{}: {error}", socket.display()))
}
