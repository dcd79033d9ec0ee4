//! The daemon: it alone writes the clock; clients that may not are served through shared pages.
//!
//! The main thread accepts and answers, and waits for no client and no node. Every client has a thread, which proves the
//! client's table, sleeps on its page, runs its governor and writes the highest clock that any client asks for; the control
//! thread looks after the board and hands it back. While nobody is connected all of them sleep without a timer.
//!
//! What a client sends is believed nowhere: its table is decoded and held against this board before use, its page
//! carries events only, so that the worst it can do is to choose among the clocks that the board allows.

mod client;
mod connections;
pub mod energy;
mod hang;
mod hub;
mod served;
mod share;
#[cfg(test)]
mod tests;

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use jetpace_tables::table::Table;
use jetpace_tables::units::{Hertz, Nanos};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use client::Terms;
use connections::{Connections, Next};
use energy::{Energy, Source};
use hang::Hang;
use hub::Hub;

use super::access::{Access, Peer};
#[cfg(test)]
use super::control::InlineWriter;
use super::control::{Control, Desk, Schedule, WatchedClock};
use super::listen::Listener;
use super::status;
use super::sys;
use super::wire::{self, Request};
use super::writer::Asked;

/// The most clients at a time.
pub const MAX_CLIENTS: usize = 16;

/// Places for clients: those that go keep theirs until their thread has ended, and keep nobody out meanwhile.
const SLOTS: usize = 2 * MAX_CLIENTS;

/// How long handing the clock back may take at the end.
const LAST: Duration = Duration::from_millis(1_500);

/// How often threads that are to end are looked for, and a clock that is being handed back.
const REAP_EVERY: Duration = Duration::from_millis(50);

/// How often the main thread looks whether the driver hangs, while it could.
const LOOK_EVERY: Duration = Duration::from_millis(1_000);

/// Connections that are taken between two looks at those that are there.
const ACCEPTS: u32 = 32;

/// How long to wait where there is no descriptor for a connection.
const AGAIN: Nanos = Nanos::from_millis(100);

/// What the daemon serves.
pub struct Options {
    /// Who may connect.
    pub access: Access,
    /// The table for clients that bring none.
    pub table: Option<Box<Table>>,
    /// Events a second that a client may send for long; more is a flood.
    pub events_per_s: u32,
    /// Changes of the clock a second that all clients of a user together may cause.
    pub changes_per_s: u32,
    /// Who writes; by default for each client the cheaper one by its table, and without that its own thread.
    pub writer: Asked,
    /// How the threads run that follow the clients and write the clock.
    pub schedule: Schedule,
}

/// Events a second by default: a block every 20 us.
pub const EVENTS_PER_S: u32 = 50_000;

/// Changes of the clock a second by default: a clock takes milliseconds to settle.
pub const CHANGES_PER_S: u32 = 1_000;

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

/// A daemon that listens.
pub struct Daemon<C: WatchedClock + Send + 'static> {
    listener: Listener,
    control: Control<C>,
    hub: Arc<Hub<C>>,
    access: Access,
    terms: Arc<Terms>,
    connections: Connections,
    energy: Energy,
    hang: Hang,
    /// No descriptor was left for a connection: not before this time is another one taken.
    accept_at: Nanos,
}

impl<C: WatchedClock + Send + 'static> Daemon<C> {
    /// Serves whoever connects. The clock stays as it is until the first client's first frame.
    ///
    /// # Errors
    /// Where the schedule is not allowed.
    pub fn new(clock: C, listener: Listener, options: Options) -> io::Result<Self> {
        let clocks: Vec<Hertz> = clock.clocks().to_vec();
        let Options { access, table, events_per_s, changes_per_s, writer, schedule } = options;
        // Clients are watched one by one; the control thread itself hands back only when told.
        let control = Control::start(clock, Nanos::ZERO, schedule)?;
        control.look();
        let hub = Arc::new(Hub::new(control.inline_writer(), clocks));
        let terms = Arc::new(Terms { table, events_per_s, changes_per_s, writer, schedule });
        let (connections, hang, energy) = (Connections::default(), Hang::default(), Energy::default());
        Ok(Self { listener, control, hub, access, terms, connections, energy, hang, accept_at: Nanos::ZERO })
    }

    /// Tells clients that ask what the board draws, by these rails.
    pub fn with_rails(self, source: Source) -> Self {
        Self { energy: Energy::new(source), ..self }
    }

    /// What is written, for measuring.
    pub fn desk(&self) -> Arc<Desk> {
        Arc::clone(self.control.desk())
    }

    /// Serves until `stop` becomes readable; then lets all clients go and hands the GPU back.
    ///
    /// # Errors
    /// Where the GPU cannot be handed back in time, or the listener fails.
    pub fn run(mut self, stop: BorrowedFd<'_>, manager: &mut impl Manager) -> io::Result<()> {
        manager.ready();
        let served = self.serve(stop, manager);
        self.connections.let_all_go(&self.hub);
        // The socket of a daemon that ends is of no use to anyone.
        self.listener.close();
        let stopped = match self.control.stop_within(LAST) {
            Some(stopped) => stopped.map_err(|e| io::Error::other(e.to_string())),
            None => Err(io::Error::new(
                io::ErrorKind::TimedOut,
                "the GPU's driver hangs, so the clock could not be handed back; once it is well run `jetpace restore`",
            )),
        };
        served.and(stopped)
    }

    fn serve(&mut self, stop: BorrowedFd<'_>, manager: &mut impl Manager) -> io::Result<()> {
        let mut buffer = vec![0; wire::LONGEST];
        let (mut busy, mut pinged) = (false, None);
        loop {
            let ready = match self.wait(stop, manager.ping_every().filter(|_| busy)) {
                Ok(ready) => ready,
                Err(Errno::EINTR) => continue,
                Err(e) => return Err(e.into()),
            };
            if ready.first() == Some(&true) {
                return Ok(());
            }
            let now = sys::now();
            let sockets = self.connections.sockets().zip(ready.iter().skip(2)).filter(|(_, ready)| **ready);
            let sockets: Vec<Arc<OwnedFd>> = sockets.map(|(socket, _)| Arc::clone(socket)).collect();
            // One request of each, then the next ones.
            for socket in &sockets {
                if !self.hear(socket, &mut buffer, now) {
                    self.connections.let_go(socket, &self.hub);
                }
            }
            if ready.get(1) == Some(&true) {
                self.accept(now);
            }
            self.connections.reap(now);
            if !self.connections.is_measuring() {
                self.energy.stop();
            }
            let hangs = self.hang.look(self.hub.desk().io(), now);
            let now_busy = self.connections.is_serving();
            if now_busy != busy {
                busy = now_busy;
                manager.busy(busy);
            }
            // A ping says that work gets done: not where what was under way at the last one still is.
            let io = self.hub.desk().io();
            if busy && !hangs && (io.is_multiple_of(2) || pinged != Some(io)) {
                pinged = Some(io);
                manager.ping();
            }
        }
    }

    /// Waits until there is something to do: which of stop, listener and connections are ready.
    fn wait(&self, stop: BorrowedFd<'_>, ping: Option<Duration>) -> Result<Vec<bool>, Errno> {
        let now = sys::now();
        let waits = |at: Nanos| Duration::from_nanos(at.saturating_sub(now).get());
        let held = self.hub.desk().written.clock().is_some() || !self.hub.desk().io().is_multiple_of(2);
        let look = match (self.connections.is_serving(), held) {
            (true, _) => Some(LOOK_EVERY),
            (false, true) if self.hang.is_hanging() => Some(LOOK_EVERY),
            (false, true) => Some(REAP_EVERY),
            (false, false) => None,
        };
        let again = (self.accept_at > now).then(|| waits(self.accept_at));
        let reap = self.connections.has_leaving().then_some(REAP_EVERY);
        let late = self.connections.next_late().map(waits);
        let timeout = [ping, look, again, reap, late].into_iter().flatten().min();
        // Rounded up: a millisecond early would be for nothing.
        let timeout = timeout.map(|timeout| timeout + Duration::from_micros(999));
        let timeout = timeout.map_or(PollTimeout::NONE, |t| PollTimeout::try_from(t).unwrap_or(PollTimeout::MAX));
        let accepts = if again.is_some() { PollFlags::empty() } else { PollFlags::POLLIN };
        let mut fds = vec![PollFd::new(stop, PollFlags::POLLIN), PollFd::new(self.listener.as_fd(), accepts)];
        fds.extend(self.connections.sockets().map(|socket| PollFd::new(socket.as_fd(), PollFlags::POLLIN)));
        poll(&mut fds, timeout)?;
        Ok(fds.iter().map(|fd| fd.any().unwrap_or(true)).collect())
    }

    fn accept(&mut self, now: Nanos) {
        // So many at a time, that a flood of connections keeps nobody waiting behind it for long.
        for _ in 0..ACCEPTS {
            let socket = match self.listener.accept() {
                Ok(socket) => socket,
                Err(Errno::ECONNABORTED | Errno::EINTR) => continue,
                Err(Errno::EAGAIN) => return,
                Err(e) => {
                    // Out of descriptors: the connection stays in the backlog, and is tried again.
                    log::warn!("accept: {e}");
                    self.accept_at = now.saturating_add(AGAIN);
                    return;
                }
            };
            match Peer::of(&socket) {
                Ok(peer) => {
                    let allowed = self.access.allows(&peer, &socket);
                    self.connections.add(socket, peer, allowed, now);
                }
                Err(e) => log::warn!("a client without credentials: {e}"),
            }
        }
    }

    /// Hears a connection out; false ends it.
    fn hear(&mut self, socket: &Arc<OwnedFd>, buffer: &mut [u8], now: Nanos) -> bool {
        let Some(connection) = self.connections.get(socket) else { return false };
        let request = match wire::next_request(socket, buffer) {
            Ok(Some(request)) => request,
            Ok(None) => return false,
            Err(e) => return e.kind() == io::ErrorKind::WouldBlock,
        };
        if connection.is_served() {
            // A client speaks through its page; on the socket it has only to hang up.
            return false;
        }
        if !connection.allowed {
            connection.account.warn(format_args!("{} may not connect", connection.peer), now);
            let _ = wire::answer(socket, libc::EACCES, b"you are not in the group that may connect", None);
            return false;
        }
        let answered = match request {
            Request::Open(image) => return self.open(socket, image, now),
            Request::Status => {
                // Published is what was seen last; what is so now is seen by whoever asks next.
                self.hub.look_soon(now);
                wire::answer(socket, 0, &self.status(), None)
            }
            Request::Trace { client, from } => {
                match self.connections.served().find(|c| c.slot == usize::from(client)) {
                    Some(client) => wire::answer(socket, 0, &status::trace(client.published.trace(), from), None),
                    None => wire::answer(socket, libc::ENOENT, b"no such client", None),
                }
            }
            Request::Energy => match self.connections.begin_measuring(socket) {
                Ok(()) => match self.energy.so_far() {
                    Ok((of, energy, covered)) => wire::answer(socket, 0, &status::energy(of, energy, covered), None),
                    Err((errno, why)) => wire::answer(socket, errno, why.as_bytes(), None),
                },
                Err(why) => wire::answer(socket, libc::EBUSY, why.as_bytes(), None),
            },
            Request::Name(_) => wire::answer(socket, libc::EOPNOTSUPP, b"blocks are those of a table here", None),
        };
        answered.is_ok()
    }

    fn status(&self) -> Vec<u8> {
        let clients = self.connections.served().filter_map(|served| served.status());
        let clock = Some(self.hub.clock()).filter(|clock| *clock > Hertz::ZERO);
        let hangs = self.hang.hanging_for(sys::now());
        status::document(self.hub.desk(), self.hub.clocks(), clock, (self.hub.started, hangs), clients.collect())
    }

    /// Has a connection served by a thread of its own, which proves the table and answers; or says why not.
    fn open(&mut self, socket: &Arc<OwnedFd>, image: Vec<u8>, now: Nanos) -> bool {
        let Some(connection) = self.connections.get(socket) else { return false };
        let (peer, account) = (connection.peer, Arc::clone(&connection.account));
        let refuse = |errno: i32, why: &str| {
            account.warn(format_args!("{peer}: {why}"), now);
            let _ = wire::answer(socket, errno, why.as_bytes(), None);
            false
        };
        let slot = match self.connections.next_slot(&account, now) {
            Next::Free(slot) => slot,
            Next::InPlaceOf(slot, idle) => {
                self.connections.let_client_go(idle, &self.hub);
                slot
            }
            Next::None(why) => return refuse(libc::EBUSY, why),
        };
        self.hub.admit(slot);
        let (hub, terms) = (Arc::clone(&self.hub), Arc::clone(&self.terms));
        match self.connections.serve(slot, socket, now, move |served| client::serve(served, &hub, &terms, &image)) {
            Ok(()) => true,
            Err(e) => {
                self.hub.forget(slot);
                refuse(libc::EAGAIN, &format!("thread: {e}"))
            }
        }
    }
}
