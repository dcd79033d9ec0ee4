//! The daemon: it alone writes the clock; clients that may not are served through shared pages.
//!
//! The main thread accepts and answers; every client has a thread that sleeps on the client's page and runs the
//! client's governor and writes the highest clock that any of them asks for; the control thread looks after the board and
//! hands it back. While nobody is connected all of them sleep without a timer.
//!
//! What a client sends is believed nowhere: its table is decoded and held against this board before use, its page
//! carries events only, so that the worst it can do is to choose among the clocks that the board allows.

mod hub;
mod served;
#[cfg(test)]
mod tests;

use std::fs;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use jetpace_tables::table::Table;
use jetpace_tables::table::image;
use jetpace_tables::units::{Hertz, Nanos};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use hub::Hub;
use served::{Served, Service};

use super::access::{Access, Peer};
use super::control::{Control, Desk, Schedule, WatchedClock};
use super::listen::{accept_at, listen_at};
use super::map::Mapping;
use super::status::{self, Client};
use super::wire::{self, Request};
use super::writer::{Asked, Writer};

/// The most clients at a time.
pub const MAX_CLIENTS: usize = 16;

/// The most connections at a time that ask for status or were not heard of yet.
const MAX_WAITING: usize = 16;

/// What the daemon serves.
pub struct Options {
    /// Where to listen.
    pub socket: PathBuf,
    /// Who may connect.
    pub access: Access,
    /// The table for clients that bring none.
    pub table: Option<Box<Table>>,
    /// Events a second that a client may send for long; more is a flood.
    pub events_per_s: u32,
    /// Who writes; by default for each client the cheaper one by its table, and without that its own thread.
    pub writer: Asked,
    /// How the threads run that follow the clients and write the clock.
    pub schedule: Schedule,
}

/// Events a second by default: a block every 20 us.
pub const EVENTS_PER_S: u32 = 50_000;

/// Tells the service manager how it goes.
pub trait Manager {
    /// The daemon listens.
    fn ready(&mut self);
    /// The first client has come (true) or the last one gone: the watchdog is wanted or not.
    fn busy(&mut self, busy: bool);
    /// The daemon lives; called at least as often as `ping_every` says.
    fn ping(&mut self);
    /// How often to ping while there are clients.
    fn ping_every(&self) -> Option<Duration>;
}

/// Nobody to tell.
pub struct Unmanaged;

impl Manager for Unmanaged {
    fn ready(&mut self) {}
    fn busy(&mut self, _: bool) {}
    fn ping(&mut self) {}
    fn ping_every(&self) -> Option<Duration> {
        None
    }
}

struct Connection {
    socket: Arc<OwnedFd>,
    peer: Peer,
    /// One that may not connect is told so when it asks: what is sent to a socket that is closed unread gets lost.
    allowed: bool,
    service: Option<(Arc<Served>, JoinHandle<()>)>,
}

/// A daemon that listens.
pub struct Daemon<C: WatchedClock + Send + 'static> {
    listener: OwnedFd,
    control: Control<C>,
    hub: Arc<Hub<C>>,
    options: Options,
    connections: Vec<Connection>,
}

impl<C: WatchedClock + Send + 'static> Daemon<C> {
    /// Listens. The clock stays as it is until the first client's first frame.
    ///
    /// # Errors
    /// Where the socket cannot be made or the schedule is not allowed.
    pub fn new(clock: C, options: Options) -> io::Result<Self> {
        let clocks: Vec<Hertz> = clock.clocks().to_vec();
        // Clients are watched one by one; the control thread itself hands back only when told.
        let control = Control::start(clock, Nanos::ZERO, options.schedule)?;
        control.look();
        let hub = Arc::new(Hub::new(control.inline_writer(), clocks));
        let listener = listen_at(&options.socket, options.access.group())?;
        Ok(Self { listener, control, hub, options, connections: Vec::new() })
    }

    /// What is written, for measuring.
    pub fn desk(&self) -> Arc<Desk> {
        Arc::clone(self.control.desk())
    }

    /// Serves until `stop` becomes readable; then lets all clients go and hands the GPU back.
    ///
    /// # Errors
    /// Where the GPU cannot be handed back, or the listener fails.
    pub fn run(mut self, stop: BorrowedFd<'_>, manager: &mut impl Manager) -> io::Result<()> {
        manager.ready();
        let served = self.serve(stop, manager);
        for connection in std::mem::take(&mut self.connections) {
            self.let_go(connection);
        }
        // The socket of a daemon that ends is of no use to anyone; a left one is replaced by the next.
        let _ = fs::remove_file(&self.options.socket);
        let stopped = self.control.stop().map_err(|e| io::Error::other(e.to_string()));
        served.and(stopped)
    }

    fn serve(&mut self, stop: BorrowedFd<'_>, manager: &mut impl Manager) -> io::Result<()> {
        let mut buffer = vec![0; wire::LONGEST];
        let mut busy = false;
        loop {
            let timeout = manager.ping_every().filter(|_| busy);
            let timeout = timeout.map_or(PollTimeout::NONE, |t| PollTimeout::try_from(t).unwrap_or(PollTimeout::MAX));
            let ready: Vec<bool> = {
                let mut fds = vec![PollFd::new(stop, PollFlags::POLLIN), self.poll_in(&self.listener)];
                fds.extend(self.connections.iter().map(|c| self.poll_in(&c.socket)));
                match poll(&mut fds, timeout) {
                    Ok(_) | Err(Errno::EINTR) => {}
                    Err(e) => return Err(e.into()),
                }
                fds.iter().map(|fd| fd.any().unwrap_or(true)).collect()
            };
            if ready.first() == Some(&true) {
                return Ok(());
            }
            // From the last, so that the others keep their places.
            for at in (0..self.connections.len()).rev() {
                if ready.get(at + 2) == Some(&true) && !self.hear(at, &mut buffer) {
                    let connection = self.connections.swap_remove(at);
                    self.let_go(connection);
                }
            }
            if ready.get(1) == Some(&true) {
                self.accept();
            }
            let now_busy = self.connections.iter().any(|c| c.service.is_some());
            if now_busy != busy {
                busy = now_busy;
                manager.busy(busy);
            }
            if busy {
                manager.ping();
            }
        }
    }

    fn poll_in<'a>(&self, socket: &'a OwnedFd) -> PollFd<'a> {
        PollFd::new(socket.as_fd(), PollFlags::POLLIN)
    }

    fn accept(&mut self) {
        let socket = match accept_at(&self.listener) {
            Ok(socket) => socket,
            Err(Errno::EAGAIN | Errno::ECONNABORTED | Errno::EINTR) => return,
            Err(e) => {
                // Out of descriptors: the connection stays in the backlog, and is tried again with the next event.
                log::warn!("accept: {e}");
                std::thread::sleep(Duration::from_millis(10));
                return;
            }
        };
        let peer = match Peer::of(&socket) {
            Ok(peer) => peer,
            Err(e) => return log::warn!("a client without credentials: {e}"),
        };
        let allowed = self.options.access.allows(&peer, &socket);
        let waiting = self.connections.iter().filter(|c| c.service.is_none()).count();
        if waiting >= MAX_WAITING
            && let Some(oldest) = self.connections.iter().position(|c| c.service.is_none())
        {
            self.connections.remove(oldest);
        }
        self.connections.push(Connection { socket: Arc::new(socket), peer, allowed, service: None });
    }

    /// Hears a connection out; false ends it.
    fn hear(&mut self, at: usize, buffer: &mut [u8]) -> bool {
        let Some(connection) = self.connections.get(at) else { return false };
        let socket = Arc::clone(&connection.socket);
        let request = match wire::next_request(&socket, buffer) {
            Ok(Some(request)) => request,
            Ok(None) => return false,
            Err(e) => return e.kind() == io::ErrorKind::WouldBlock,
        };
        if connection.service.is_some() {
            // A client speaks through its page; on the socket it has only to hang up.
            return false;
        }
        if !connection.allowed {
            log::warn!("{} may not connect", connection.peer);
            let _ = wire::answer(&socket, libc::EACCES, b"you are not in the group that may connect", None);
            return false;
        }
        let answered = match request {
            Request::Open(image) => return self.open(at, &image),
            Request::Status => wire::answer(&socket, 0, &self.status(), None),
            Request::Trace { client, from } => match self.clients().find(|c| c.slot() == usize::from(client)) {
                Some(client) => wire::answer(&socket, 0, &status::trace(client.governor().trace(), from), None),
                None => wire::answer(&socket, libc::ENOENT, b"no such client", None),
            },
        };
        answered.is_ok()
    }

    fn status(&self) -> Vec<u8> {
        let clients = self.clients().map(|served| {
            let governor = served.governor();
            let (network, how) = (governor.table().network(), (governor.state(), governor.counters()));
            Client::new((served.slot(), served.peer()), (network, served.writer()), how, governor.trace().written())
                .beside(served.shared(), served.lost())
        });
        let clock = Some(self.hub.clock()).filter(|clock| *clock > Hertz::ZERO);
        status::document(self.hub.desk(), self.hub.clocks(), clock, self.hub.started, clients.collect())
    }

    fn clients(&self) -> impl Iterator<Item = &Served> {
        self.connections.iter().filter_map(|c| c.service.as_ref()).map(|(served, _)| &**served)
    }

    /// Starts serving a connection, or says why not.
    fn open(&mut self, at: usize, image: &[u8]) -> bool {
        let Some(connection) = self.connections.get(at) else { return false };
        let (socket, peer) = (Arc::clone(&connection.socket), connection.peer);
        let refuse = |errno: i32, why: &str| {
            log::warn!("{peer}: {why}");
            let _ = wire::answer(&socket, errno, why.as_bytes(), None);
            false
        };
        let table = match self.table(image) {
            Ok(table) => table,
            Err((errno, why)) => return refuse(errno, &why),
        };
        let slot = (0..MAX_CLIENTS).find(|slot| self.clients().all(|c| c.slot() != *slot));
        let Some(slot) = slot else { return refuse(libc::EBUSY, "too many clients") };
        let bytes = match image.is_empty() {
            true => encode(&table),
            false => image.to_vec(),
        };
        let (page, fd) = match Mapping::create() {
            Ok(made) => made,
            Err(e) => return refuse(libc::ENOMEM, &format!("shared memory: {e}")),
        };
        let writer = Writer::choose(self.options.writer, &table).unwrap_or(Writer::Inline);
        let events_per_s = self.options.events_per_s;
        let served = Arc::new(Served::new(Service {
            slot,
            peer,
            page,
            table,
            socket: Arc::clone(&socket),
            writer,
            events_per_s,
        }));
        let thread = {
            let (served, hub, schedule) = (Arc::clone(&served), Arc::clone(&self.hub), self.options.schedule);
            std::thread::Builder::new()
                .name(format!("jetpace-client{slot}"))
                .spawn(move || served.serve(&hub, schedule))
        };
        let thread = match thread {
            Ok(thread) => thread,
            Err(e) => return refuse(libc::EAGAIN, &format!("thread: {e}")),
        };
        let answered = wire::answer(&socket, 0, &bytes, Some(fd.as_fd())).is_ok();
        if let Some(connection) = self.connections.get_mut(at) {
            connection.service = Some((served, thread));
        }
        log::info!("{peer}: served as client {slot}");
        answered
    }

    /// The table for a client, proven to be one for this board.
    fn table(&self, image: &[u8]) -> Result<Box<Table>, (i32, String)> {
        let table = if image.is_empty() {
            let own = self.options.table.clone();
            own.ok_or((libc::ENOENT, "bring a table: the daemon has none of its own".to_owned()))?
        } else {
            Box::new(image::decode(image).map_err(|e| (libc::EBADMSG, e.to_string()))?)
        };
        let clocks = self.hub.clocks();
        let fits = table.clocks().iter().all(|c| clocks.get(c.index.index()) == Some(&c.clock));
        let is_of_now = || self.control.desk().suits(&table) == Some(true);
        if fits && !is_of_now() {
            // The board may have changed while nobody was served: only then it is not looked at.
            self.control.look();
        }
        if !fits || !is_of_now() {
            let why = "the table is for another board, power mode, EMC clock or release: calibrate and plan again";
            return Err((libc::ESTALE, why.to_owned()));
        }
        Ok(table)
    }

    fn let_go(&self, connection: Connection) {
        let Some((served, thread)) = connection.service else { return };
        served.stop();
        while !thread.is_finished() {
            // Again and again: a malicious client can overwrite the bell just rung.
            served.wake();
            std::thread::sleep(Duration::from_micros(200));
        }
        // A panic in the thread has been printed there; its request is released below all the same.
        let _ = thread.join();
        self.hub.forget(served.slot());
        log::info!("{}: gone", connection.peer);
    }
}

pub(crate) fn encode(table: &Table) -> Vec<u8> {
    let mut bytes = vec![0; image::MAX_BYTES];
    // A sound table always fits.
    let length = image::encode(table, &mut bytes).unwrap_or(0);
    bytes.truncate(length);
    bytes
}
