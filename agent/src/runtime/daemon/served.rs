//! One client, as the main thread and the thread that serves it both know it.

use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use jetpace_tables::units::Nanos;
use nix::sys::socket::{Shutdown, shutdown};

use super::super::access::Peer;
use super::super::map::Mapping;
use super::super::page::{Page, State};
use super::super::published::Published;
use super::super::status::Client;
use super::super::writer::Writer;
use super::share::Account;

/// A client that is served, or about to be.
pub struct Served {
    pub slot: usize,
    pub peer: Peer,
    pub account: Arc<Account>,
    pub socket: Arc<OwnedFd>,
    /// When it came.
    pub since: Nanos,
    /// What its governor did.
    pub published: Published,
    /// Frames in which another client was busy, too.
    pub shared: AtomicU64,
    service: OnceLock<Service>,
    stopping: AtomicBool,
}

/// What a client is served with, once its table has been proven.
pub struct Service {
    pub page: Mapping<Page>,
    pub network: String,
    /// Who writes what it asks for.
    pub writer: Writer,
}

impl Served {
    pub fn new(slot: usize, peer: Peer, account: Arc<Account>, socket: Arc<OwnedFd>, since: Nanos) -> Self {
        Self {
            slot,
            peer,
            account,
            socket,
            since,
            published: Published::default(),
            shared: AtomicU64::new(0),
            service: OnceLock::new(),
            stopping: AtomicBool::new(false),
        }
    }

    /// Its service from now on; the first one stays.
    pub fn begin(&self, service: Service) -> &Service {
        self.service.get_or_init(|| service)
    }

    /// For `jetpace status`; `None` where its table is not proven yet.
    pub fn status(&self) -> Option<Client> {
        let Service { page, network, writer } = self.service.get()?;
        let how = (self.published.state(), &self.published.counters(), self.published.drift());
        let client = Client::new((self.slot, self.peer), (network, *writer), how, self.published.trace().written());
        // What it lost is its own word.
        Some(client.beside(self.shared.load(Ordering::Relaxed), page.lost()))
    }

    /// Whether it has ever started a frame.
    pub fn has_started(&self) -> bool {
        self.published.counters().frames > 0
    }

    /// Tells the thread to end. It may not be awake for it at once: what its client did to the page's bell is the client's
    /// doing, but its sleep has an end.
    pub fn stop(&self) {
        self.stopping.store(true, Ordering::Release);
        if let Some(service) = self.service.get() {
            service.page.set_state(State::Dropped);
            service.page.wake();
        }
    }

    pub fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Acquire)
    }

    /// The client sees that it is served no more, and the main thread sees the hang-up.
    pub fn hang_up(&self) {
        if let Some(service) = self.service.get() {
            service.page.set_state(State::Dropped);
        }
        let _ = shutdown(self.socket.as_raw_fd(), Shutdown::Both);
    }
}
