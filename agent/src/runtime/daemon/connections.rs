//! Who is connected, and how much of the daemon a user may have.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::thread::JoinHandle;

use jetpace_tables::hw::GpuClock;
use jetpace_tables::units::Nanos;

use super::hub::Hub;
use super::served::Served;
use super::share::{Account, Accounts};
use super::{MAX_CLIENTS, Peer, SLOTS};
use crate::runtime::access::is_trusted;

/// The most clients of one user; root and the daemon's own user may have all.
pub const MAX_OF_USER: usize = MAX_CLIENTS / 2;

/// The most connections of a user that ask for status or were not heard of yet: its next one takes its oldest one's place.
const WAITING_OF_USER: usize = 8;

/// The most of them together.
const MAX_WAITING: usize = 64;

/// The most connections that ask for the board's energy; they stay as long as their clients measure.
const MAX_MEASURING: usize = 16;

/// The most of one user.
const MEASURING_OF_USER: usize = 4;

/// How long a connection may take to say what it wants.
const PATIENCE: Nanos = Nanos::from_millis(5_000);

/// A client that has not started a frame for so long gives its place to one that waits for a place.
const IDLE: Nanos = Nanos::from_millis(5_000);

/// A connection.
pub struct Connection {
    pub socket: Arc<OwnedFd>,
    pub peer: Peer,
    /// One that may not connect is told so when it asks: what is sent to a socket that is closed unread gets lost.
    pub allowed: bool,
    pub account: Arc<Account>,
    since: Nanos,
    client: Option<Client>,
    measures: bool,
}

impl Connection {
    /// Whether it has still to say what it wants, or asks once and goes.
    fn is_waiting(&self) -> bool {
        !self.is_served() && !self.measures
    }

    pub fn is_served(&self) -> bool {
        self.client.is_some()
    }
}

struct Client {
    served: Arc<Served>,
    thread: JoinHandle<()>,
}

/// Where the next client may go.
pub enum Next {
    Free(usize),
    /// A free place, once this idle client is let go.
    InPlaceOf(usize, usize),
    None(&'static str),
}

/// All connections, and the threads of clients that have gone.
#[derive(Default)]
pub struct Connections {
    list: Vec<Connection>,
    leaving: Vec<Client>,
    accounts: Accounts,
}

impl Connections {
    /// A connection by its socket.
    pub fn get(&self, socket: &Arc<OwnedFd>) -> Option<&Connection> {
        self.list.iter().find(|connection| Arc::ptr_eq(&connection.socket, socket))
    }

    pub fn sockets(&self) -> impl Iterator<Item = &Arc<OwnedFd>> {
        self.list.iter().map(|connection| &connection.socket)
    }

    /// Those that are served.
    pub fn served(&self) -> impl Iterator<Item = &Arc<Served>> {
        self.list.iter().filter_map(|connection| connection.client.as_ref()).map(|client| &client.served)
    }

    pub fn is_serving(&self) -> bool {
        self.served().next().is_some()
    }

    pub fn has_leaving(&self) -> bool {
        !self.leaving.is_empty()
    }

    /// When the next one is late that was not heard of.
    pub fn next_late(&self) -> Option<Nanos> {
        let waiting = self.list.iter().filter(|connection| connection.is_waiting());
        waiting.map(|connection| connection.since.saturating_add(PATIENCE)).min()
    }

    /// A new connection. Where its user has too many that say nothing, the oldest of these goes.
    pub fn add(&mut self, socket: OwnedFd, peer: Peer, allowed: bool, now: Nanos) {
        let account = self.accounts.of(peer.uid);
        let waits = Connection::is_waiting;
        let of_user = |connection: &Connection| waits(connection) && Arc::ptr_eq(&connection.account, &account);
        if self.list.iter().filter(|connection| of_user(connection)).count() >= WAITING_OF_USER {
            // The list is in the order in which they came.
            if let Some(oldest) = self.list.iter().position(of_user) {
                self.list.remove(oldest);
            }
        } else if self.list.iter().filter(|connection| waits(connection)).count() >= MAX_WAITING {
            // So many users at once: the new one has to come again.
            return;
        }
        let (socket, since) = (Arc::new(socket), now);
        self.list.push(Connection { socket, peer, allowed, account, since, client: None, measures: false });
    }

    /// Whether anybody wants to know the board's energy.
    pub fn is_measuring(&self) -> bool {
        self.list.iter().any(|connection| connection.measures)
    }

    /// Keeps a connection that asks for the board's energy; or says why not.
    pub fn begin_measuring(&mut self, socket: &Arc<OwnedFd>) -> Result<(), &'static str> {
        let measuring = || self.list.iter().filter(|connection| connection.measures);
        let Some(connection) = self.get(socket).filter(|connection| !connection.measures) else { return Ok(()) };
        let of_user = measuring().filter(|other| Arc::ptr_eq(&other.account, &connection.account)).count();
        if !is_trusted(connection.account.uid) && of_user >= MEASURING_OF_USER {
            return Err("this user measures too often at a time");
        }
        if measuring().count() >= MAX_MEASURING {
            return Err("too many measure");
        }
        let found = self.list.iter_mut().find(|connection| Arc::ptr_eq(&connection.socket, socket));
        found.into_iter().for_each(|connection| connection.measures = true);
        Ok(())
    }

    /// Where a client of this user may go.
    pub fn next_slot(&self, account: &Arc<Account>, now: Nanos) -> Next {
        let clients = self.list.iter().filter_map(|connection| connection.client.as_ref()).chain(&self.leaving);
        let taken: Vec<usize> = clients.map(|client| client.served.slot).collect();
        let Some(slot) = (0..SLOTS).find(|slot| !taken.contains(slot)) else { return Next::None("too many clients") };
        let of_user = |served: &Served| Arc::ptr_eq(&served.account, account);
        // With those whose threads have not ended: a client that moves its thread's sleep and hangs up keeps its place.
        let leaving = self.leaving.iter().map(|client| &client.served);
        let users_own = self.served().chain(leaving).filter(|served| of_user(served)).count();
        let (full, users_full) =
            (self.served().count() >= MAX_CLIENTS, !is_trusted(account.uid) && users_own >= MAX_OF_USER);
        if !full && !users_full {
            return Next::Free(slot);
        }
        let is_idle = |served: &Served| !served.has_started() && now.saturating_sub(served.since) >= IDLE;
        let idle = self.served().filter(|served| is_idle(served) && (!users_full || of_user(served)));
        match idle.min_by_key(|served| served.since) {
            Some(idle) => Next::InPlaceOf(slot, idle.slot),
            None if users_full => Next::None("this user has too many clients"),
            None => Next::None("too many clients"),
        }
    }

    /// Starts the thread that serves a connection.
    pub fn serve(
        &mut self,
        slot: usize,
        socket: &Arc<OwnedFd>,
        now: Nanos,
        serve: impl FnOnce(&Served) + Send + 'static,
    ) -> io::Result<()> {
        let Some(connection) = self.list.iter_mut().find(|connection| Arc::ptr_eq(&connection.socket, socket)) else {
            return Err(io::ErrorKind::NotConnected.into());
        };
        let (peer, account) = (connection.peer, Arc::clone(&connection.account));
        let served = Arc::new(Served::new(slot, peer, account, Arc::clone(socket), now));
        let thread = {
            let served = Arc::clone(&served);
            std::thread::Builder::new().name(format!("jetpace-client{slot}")).spawn(move || serve(&served))?
        };
        connection.client = Some(Client { served, thread });
        Ok(())
    }

    /// Ends a connection. Its client's wishes count no more from here on, whenever its thread ends.
    pub fn let_go<C: GpuClock>(&mut self, socket: &Arc<OwnedFd>, hub: &Hub<C>) {
        let at = self.list.iter().position(|connection| Arc::ptr_eq(&connection.socket, socket));
        let Some(client) = at.and_then(|at| self.list.remove(at).client) else { return };
        client.served.stop();
        hub.forget(client.served.slot);
        log::info!("{}: gone", client.served.peer);
        self.leaving.push(client);
    }

    /// The same by a client's slot.
    pub fn let_client_go<C: GpuClock>(&mut self, slot: usize, hub: &Hub<C>) {
        let found = self.served().find(|served| served.slot == slot).map(|served| Arc::clone(&served.socket));
        if let Some(socket) = found {
            self.let_go(&socket, hub);
        }
    }

    pub fn let_all_go<C: GpuClock>(&mut self, hub: &Hub<C>) {
        let all: Vec<_> = self.sockets().map(Arc::clone).collect();
        all.iter().for_each(|socket| self.let_go(socket, hub));
    }

    /// Forgets threads that have ended and connections that were late to speak; never waits for one. A thread that sleeps
    /// where no wake finds it ends with its sleep.
    pub fn reap(&mut self, now: Nanos) {
        self.leaving.retain(|client| !client.thread.is_finished());
        self.leaving.iter().for_each(|client| client.served.stop());
        self.list.retain(|connection| !connection.is_waiting() || now.saturating_sub(connection.since) < PATIENCE);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::Untouched;
    use nix::sys::socket::{AddressFamily, SockFlag, SockType, socketpair};
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::super::InlineWriter;

    fn connect(connections: &mut Connections, uid: u32, now: Nanos) -> (Arc<OwnedFd>, OwnedFd) {
        let (ours, theirs) =
            socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC).unwrap();
        connections.add(ours, Peer { pid: 1, uid, gid: uid }, true, now);
        (Arc::clone(&connections.list.last().unwrap().socket), theirs)
    }

    fn serve(
        connections: &mut Connections,
        uid: u32,
        now: Nanos,
        ends: &Arc<AtomicBool>,
    ) -> Result<usize, &'static str> {
        let (socket, _theirs) = connect(connections, uid, now);
        let account = Arc::clone(&connections.get(&socket).unwrap().account);
        let slot = match connections.next_slot(&account, now) {
            Next::Free(slot) | Next::InPlaceOf(slot, _) => slot,
            Next::None(why) => return Err(why),
        };
        let ends = Arc::clone(ends);
        let sleep = move |_: &Served| {
            while !ends.load(Ordering::Relaxed) {
                std::thread::sleep(std::time::Duration::from_millis(1));
            }
        };
        connections.serve(slot, &socket, now, sleep).unwrap();
        Ok(slot)
    }

    #[test]
    fn a_user_has_half_of_the_places_also_of_those_whose_threads_do_not_end() {
        let (mut connections, ends, now) = (Connections::default(), Arc::default(), Nanos::from_millis(60_000));
        let hub = Hub::new(InlineWriter::new(Untouched), Vec::new());
        for _ in 0..MAX_OF_USER {
            serve(&mut connections, 1000, now, &ends).unwrap();
        }
        assert_eq!(serve(&mut connections, 1000, now, &ends), Err("this user has too many clients"));
        // It hangs up, and its threads sleep on: others come in, itself does not.
        connections.let_all_go(&hub);
        connections.reap(now);
        assert_eq!(serve(&mut connections, 1000, now, &ends), Err("this user has too many clients"));
        for uid in [1001, 1002] {
            for _ in 0..MAX_OF_USER {
                serve(&mut connections, uid, now, &ends).unwrap();
            }
        }
        assert_eq!(serve(&mut connections, 0, now, &ends), Err("too many clients"));
        // One that never started a frame gives its place up.
        let later = now.saturating_add(IDLE);
        assert!(serve(&mut connections, 1003, later, &ends).is_ok());
        ends.store(true, Ordering::Relaxed);
    }

    #[test]
    fn those_that_measure_stay_and_keep_nobody_out() {
        let (mut connections, now) = (Connections::default(), Nanos::from_millis(60_000));
        let mut measure = |uid| {
            let (socket, theirs) = connect(&mut connections, uid, now);
            let begun = connections.begin_measuring(&socket);
            assert_eq!(begun, connections.begin_measuring(&socket), "asked again");
            (begun, socket, theirs)
        };
        let all: Vec<_> = (0..=MEASURING_OF_USER).map(|_| measure(1000)).collect();
        assert_eq!(all.iter().filter(|(begun, ..)| begun.is_ok()).count(), MEASURING_OF_USER);
        let others: Vec<_> = (0..2 * MAX_MEASURING as u32).map(|n| measure(2000 + n)).collect();
        assert_eq!(others.iter().filter(|(begun, ..)| begun.is_ok()).count(), MAX_MEASURING - MEASURING_OF_USER);
        connections.reap(now.saturating_add(PATIENCE));
        assert_eq!(connections.list.len(), MAX_MEASURING, "the others were late");
        // Its places for connections that ask once are as many as ever.
        let asks: Vec<_> = (0..WAITING_OF_USER).map(|_| connect(&mut connections, 1000, now)).collect();
        assert!(asks.iter().all(|(socket, _)| connections.get(socket).is_some()));
        let hub = Hub::new(InlineWriter::new(Untouched), Vec::new());
        connections.let_all_go(&hub);
        assert!(!connections.is_measuring());
    }

    #[test]
    fn a_users_silent_connections_push_out_its_own_alone() {
        let (mut connections, now) = (Connections::default(), Nanos::from_millis(60_000));
        let (other, _theirs) = connect(&mut connections, 1, now);
        let all: Vec<_> = (0..100).map(|_| connect(&mut connections, 1000, now)).collect();
        assert_eq!(connections.list.len(), 1 + WAITING_OF_USER);
        assert!(connections.get(&other).is_some());
        assert!(connections.get(&all[99].0).is_some() && connections.get(&all[0].0).is_none());
        // Silent for too long.
        connections.reap(now.saturating_add(PATIENCE));
        assert!(connections.list.is_empty() && connections.next_late().is_none());
    }
}
