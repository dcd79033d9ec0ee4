//! `jetpace serve`: the daemon for clients that may not write the clock themselves.

use std::path::{Path, PathBuf};
use std::time::Duration;

use jetpace_devfreq::board::Board;
use jetpace_devfreq::gpu::Way;
use jetpace_devfreq::guard::{self, Store};
use jetpace_devfreq::nodes::Nodes;
use jetpace_devfreq::rails::{Rail, Rails};
use jetpace_devfreq::timer::Monotonic;
use jetpace_tables::hw::{PowerOf, Timer};
use nix::unistd::Group;
use sd_notify::NotifyState;

use crate::args::BoardArg;
use crate::confine::{self, Cap, Needs};
use crate::emc;
use crate::failure::Failure;
use crate::files::table;
use crate::runtime::access::Access;
use crate::runtime::control::Schedule;
use crate::runtime::daemon::energy::{Read, Source};
use crate::runtime::daemon::{CHANGES_PER_S, Daemon, EVENTS_PER_S, Manager, Options};
use crate::runtime::listen::Listener;
use crate::runtime::writer::Asked;
use crate::runtime::{open, sys, wire};
use crate::session::Meter;
use crate::session::meter::RailMeter;
use crate::signals::Stop;

/// Options of `serve`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The machine: auto, the root of a sysfs tree, sim:NAME or live:NAME
    #[arg(long, default_value = "auto")]
    board: BoardArg,
    /// Where to listen
    #[arg(long, default_value = wire::SOCKET, value_name = "PATH")]
    socket: PathBuf,
    /// The group whose members may connect, besides root and the daemon's own user
    #[arg(long, value_name = "NAME")]
    group: Option<String>,
    /// The table for clients that bring none
    #[arg(long, value_name = "FILE")]
    table: Option<PathBuf>,
    /// Take this way of fixing the clock instead of the cheapest that works
    #[arg(long)]
    way: Option<Way>,
    /// Who writes: a client's own thread (inline), the control thread (thread), or for each client the one that is
    /// cheaper by the write time in its table (auto)
    #[arg(long, default_value = "auto", value_name = "auto|inline|thread")]
    writer: Asked,
    /// Run the threads that follow the clients and write under SCHED_FIFO at this priority
    #[arg(long, value_name = "PRIORITY", value_parser = clap::value_parser!(u8).range(1..=99))]
    fifo: Option<u8>,
    /// Run them on this CPU
    #[arg(long, value_name = "CPU")]
    cpu: Option<usize>,
    /// Seed of a virtual board
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

impl Args {
    /// Serves until told to stop.
    pub fn run(self) -> Result<(), Failure> {
        match &self.board {
            #[cfg(feature = "sim")]
            BoardArg::Sim(name) => {
                let board = jetpace_devfreq::sim::Board::new(name, self.seed).map_err(Failure::usage)?;
                self.serve(board.nodes(), board.timer(), None)
            }
            #[cfg(not(feature = "sim"))]
            BoardArg::Sim(_) => Err(crate::args::no_sim()),
            board => {
                let machine = board.on_disk()?;
                self.serve(machine.nodes(), Monotonic::new(), Some(machine.root()))
            }
        }
    }

    /// Serves a board whose tree lies below `root`.
    fn serve<N, T>(&self, nodes: N, timer: T, root: Option<&Path>) -> Result<(), Failure>
    where
        N: Nodes + Store + Clone + Send + Sync + 'static,
        N::Handle: Send,
        N::Lock: Send + Sync,
        T: Timer + Clone + Send + 'static,
    {
        guard::restore_on_panic(nodes.clone());
        let stop = Stop::install()?;
        let group = self.group.as_deref().map(find_group).transpose()?;
        let rail_timer = timer.clone();
        let (clock, board) = open::take(nodes.clone(), timer, self.way)?;
        let table = match &self.table {
            Some(path) => {
                let table = table::read_for(path, &board)?;
                emc::check(&nodes, &Board::discover(&nodes)?, &table)?;
                Some(table)
            }
            None => None,
        };
        let named = |e: std::io::Error| Failure::file(&self.socket, &e);
        let listener = Listener::open(&self.socket, group).map_err(named)?;
        let options = Options {
            access: Access::new(group),
            table,
            events_per_s: EVENTS_PER_S,
            changes_per_s: CHANGES_PER_S,
            writer: self.writer,
            schedule: Schedule { fifo: self.fifo, cpu: self.cpu },
        };
        let found = Board::discover(&nodes)?;
        // A live board is this process's own, and needs what serving gives up.
        if matches!(self.board, BoardArg::Live(_)) {
            log::info!("a live board is served unconfined");
        } else {
            self.confine(root.map_or_else(Needs::default, |root| Needs::of_board(root, &found)), &listener);
        }
        let mut daemon = Daemon::new(clock, listener, options).map_err(named)?;
        if let Some((of, _)) = PowerOf::told_by(found.rails.iter().map(|rail| rail.role)) {
            daemon = daemon.with_rails(Source { of, open: rails(nodes, rail_timer, found.rails) });
        }
        let stop = stop.fd().ok_or_else(|| Failure::failed("no signal can come"))?;
        daemon.run(stop, &mut Systemd::from_environment()).map_err(named)
    }
}

impl Args {
    /// Gives up what serving does not take: everything is open by now, and nothing is started but threads.
    fn confine(&self, mut needs: Needs, listener: &Listener) {
        // Where locking is not allowed, all works the same with a longer tail. Locked memory that comes later counts, too.
        if sys::lock_all().is_ok() {
            needs.caps.push(Cap::IpcLock);
        }
        if self.fifo.is_some() {
            needs.caps.push(Cap::SysNice);
        }
        needs.files.extend(listener.path().parent().map(Path::to_owned));
        confine::apply(&needs);
    }
}

/// What begins to read a board's rails.
fn rails<N, T>(nodes: N, timer: T, rails: Vec<Rail>) -> Box<dyn Fn() -> Read + Send>
where
    N: Nodes + Clone + Send + 'static,
    N::Handle: Send,
    T: Timer + Clone + Send + 'static,
{
    Box::new(move || {
        let mut meter = RailMeter::new(Rails::new(nodes.clone(), timer.clone(), rails.clone()));
        Box::new(move || {
            meter.sample(sys::now());
            meter.so_far()
        })
    })
}

fn find_group(name: &str) -> Result<nix::unistd::Gid, Failure> {
    match Group::from_name(name) {
        Ok(Some(group)) => Ok(group.gid),
        Ok(None) => Err(Failure::usage(format_args!("there is no group {name}; make it with `groupadd -r {name}`"))),
        Err(e) => Err(Failure::failed(format_args!("group {name}: {e}"))),
    }
}

/// While nobody is connected the daemon sleeps, so systemd is told to wait ten years for its pings. Not for ever: old
/// releases take that as "as before".
const NO_WATCHDOG_US: u128 = 315_360_000_000_000;

/// The service manager that started us, if one did.
struct Systemd {
    watchdog: Option<Duration>,
}

impl Systemd {
    fn from_environment() -> Self {
        Self { watchdog: sd_notify::watchdog_enabled() }
    }

    fn tell(&self, states: &[NotifyState]) {
        if let Err(e) = sd_notify::notify(states) {
            log::warn!("service manager: {e}");
        }
    }
}

impl Manager for Systemd {
    fn ready(&mut self) {
        self.tell(&[NotifyState::Ready]);
        self.busy(false);
    }

    fn busy(&mut self, busy: bool) {
        let Some(watchdog) = self.watchdog else { return };
        let wanted = if busy { watchdog.as_micros() } else { NO_WATCHDOG_US };
        // sd-notify's own variant holds 71 minutes at most.
        self.tell(&[NotifyState::Custom(&format!("WATCHDOG_USEC={wanted}"))]);
    }

    fn ping(&mut self) {
        if self.watchdog.is_some() {
            self.tell(&[NotifyState::Watchdog]);
        }
    }

    fn ping_every(&self) -> Option<Duration> {
        self.watchdog.map(|watchdog| watchdog / 3)
    }
}
