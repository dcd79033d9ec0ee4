//! What a handle speaks to: the daemon, or the nodes themselves.

use std::io;
use std::path::{Path, PathBuf};

use agent::failure::{Failure, Reason};
use agent::files::table::Kept;
use agent::runtime::control::Schedule;
use agent::runtime::follow::Follow;
use agent::runtime::link::{Link, OFF_VARIABLE, Target, is_set};
use agent::runtime::open;
use agent::runtime::page::What;
use agent::runtime::remote::Refusal;
use agent::runtime::swept::Peer;
use agent::runtime::tend::BoardClock;
use agent::runtime::writer::{Asked, Writer};
use jetpace_devfreq::gpu::Way;
use jetpace_devfreq::guard::Store;
use jetpace_devfreq::nodes::{Nodes, SysfsRoot};
#[cfg(feature = "sim")]
use jetpace_devfreq::sim::{VirtualNodes, VirtualTimer};
use jetpace_devfreq::timer::Monotonic;
use jetpace_tables::governor::State;
use jetpace_tables::hw::Timer;
use jetpace_tables::table::Table;
use jetpace_tables::table::image;
use jetpace_tables::units::Nanos;
use jetpace_tables::work::{BlockId, Size};

/// How to open; the safe side of `jetpace_options`.
#[derive(Debug, Default)]
pub struct Options {
    pub board: Option<String>,
    pub socket: Option<String>,
    pub way: Option<String>,
    pub writer: Asked,
    pub schedule: Schedule,
}

/// What was counted; the safe side of `jetpace_stats`.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counts {
    pub frames: u64,
    pub missed: u64,
    pub switches: u64,
    pub faults: u64,
    pub shared_frames: u64,
    pub lost_events: u64,
    pub clock_hz: u64,
    pub state: u32,
    pub by_daemon: bool,
    pub reconnects: u64,
}

/// An errno, positive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Errno(pub i32);

impl From<Failure> for Errno {
    fn from(failure: Failure) -> Self {
        Self(match failure.reason() {
            Reason::Failed | Reason::Command(_) => libc::EIO,
            Reason::Usage => libc::EINVAL,
            Reason::Unsupported => libc::ENODEV,
            Reason::Calibration => libc::ESTALE,
            Reason::Permission => libc::EACCES,
            Reason::NotNow => libc::EBUSY,
        })
    }
}

impl From<io::Error> for Errno {
    fn from(error: io::Error) -> Self {
        let refusal = error.get_ref().and_then(|inner| inner.downcast_ref::<Refusal>());
        Self(refusal.map(|refusal| refusal.errno).or(error.raw_os_error()).unwrap_or(match error.kind() {
            io::ErrorKind::InvalidData => libc::EBADMSG,
            io::ErrorKind::PermissionDenied => libc::EACCES,
            _ => libc::EIO,
        }))
    }
}

/// [`Counts::state`]: the kernel's own governor decides.
const HANDED_BACK: u32 = 2;

/// [`Counts::state`]: the daemon has gone, and is looked for.
const NO_DAEMON: u32 = 3;

/// [`Counts::state`]: whoever measures the program has the clock.
const MEASURED: u32 = 4;

/// A boxed one of each: they are large.
pub enum Backend {
    /// Nothing is followed; the names of blocks that were asked for, by their numbers.
    Off(Vec<String>),
    Daemon(Box<Link>),
    Machine(Box<Follow<BoardClock<SysfsRoot, Monotonic>>>),
    #[cfg(feature = "sim")]
    Virtual(Box<Follow<BoardClock<VirtualNodes, VirtualTimer>>>),
}

/// The same for both kinds of board.
macro_rules! each {
    ($self:expr, off => $off:expr, $remote:ident => $daemon:expr, $follow:ident => $direct:expr) => {
        match $self {
            Backend::Off(_) => $off,
            Backend::Daemon($remote) => $daemon,
            Backend::Machine($follow) => $direct,
            #[cfg(feature = "sim")]
            Backend::Virtual($follow) => $direct,
        }
    };
}

impl Backend {
    /// Through the daemon where one listens, else on the nodes.
    pub fn open(table: Option<&str>, options: &Options) -> Result<Self, Errno> {
        let placed = options.socket.is_some() || options.board.is_some();
        if is_set(OFF_VARIABLE) && !placed {
            return Ok(Self::Off(Vec::new()));
        }
        let Target { socket, image, kept, only_there } = Target::of_environment(table.map(Path::new))?;
        if only_there {
            return Ok(Self::Daemon(Box::new(Link::open(socket, image)?)));
        }
        // A board that is named is meant to be driven from here, unless a socket is named, too.
        let socket = match (&options.socket, &options.board) {
            (Some(path), _) if path.is_empty() => None,
            (Some(path), _) => Some(PathBuf::from(path)),
            (None, Some(board)) if board != "auto" => None,
            (None, _) => Some(socket),
        };
        if let Some(socket) = socket {
            match Link::open(socket, image.clone()) {
                Ok(link) => return Ok(Self::Daemon(Box::new(link.keeping_to(kept)))),
                Err(e) if options.socket.is_none() && is_absent(&e) => {}
                Err(e) => return Err(e.into()),
            }
        }
        Self::direct(&image, kept, options)
    }

    fn direct(image: &[u8], kept: Option<Kept>, options: &Options) -> Result<Self, Errno> {
        if image.is_empty() {
            return Err(Errno(libc::ENOENT));
        }
        let table = Box::new(image::decode(image).map_err(|_| Errno(libc::EBADMSG))?);
        match options.board.as_deref().unwrap_or("auto") {
            #[cfg(feature = "sim")]
            board if board.starts_with("sim:") => {
                let name = board.trim_start_matches("sim:");
                let board = jetpace_devfreq::sim::Board::new(name, 1).map_err(|_| Errno(libc::ENODEV))?;
                Ok(Self::Virtual(follow(board.nodes(), board.timer(), (table, kept), options)?))
            }
            board if board.starts_with("sim:") => Err(Errno(libc::EOPNOTSUPP)),
            board => {
                let root = if board == "auto" { "/" } else { board };
                Ok(Self::Machine(follow(SysfsRoot::new(root), Monotonic::new(), (table, kept), options)?))
            }
        }
    }

    /// A block by its name.
    pub fn find(&mut self, name: &str) -> Option<u32> {
        if let Self::Off(names) = self {
            let at = names.iter().position(|known| known == name).unwrap_or_else(|| {
                names.push(name.to_owned());
                names.len() - 1
            });
            return u32::try_from(at).ok();
        }
        let found =
            each!(self, off => None, remote => remote.find(name), follow => follow.governor().table().find(name));
        found.map(|block| u32::from(block.0))
    }

    /// How many blocks a frame has, as far as that is known.
    pub fn blocks(&self) -> u32 {
        match self {
            Self::Off(names) => names.len() as u32,
            _ => each!(self, off => 0, remote => remote.blocks() as u32,
                       follow => follow.governor().table().blocks() as u32),
        }
    }

    #[inline]
    pub fn frame_start(&mut self) -> Result<(), Errno> {
        each!(self, off => Ok(()), remote => tell(remote, What::FrameStart), follow => { follow.frame_start(); Ok(()) })
    }

    /// A block that no table can have is told as one that this table has not.
    #[inline]
    pub fn block_start(&mut self, block: u32, size: u32) -> Result<(), Errno> {
        let (block, size) = (number(block), Size(size.max(1)));
        each!(self, off => Ok(()), remote => tell(remote, What::BlockStart(block, size)),
              follow => { follow.block_start(block, size); Ok(()) })
    }

    /// Whether the block that ran is to run again, for being measured.
    pub fn block_again(&mut self, block: u32) -> Result<bool, Errno> {
        each!(self, off => Ok(false), remote => remote.again(number(block)).map_err(|_| Errno(libc::ECONNRESET)),
              _follow => Ok(false))
    }

    /// How long the block took by the GPU's clock; only whoever measures wants to know.
    pub fn block_took(&mut self, block: u32, time: Nanos) -> Result<(), Errno> {
        each!(self, off => Ok(()), remote => tell(remote, What::Took(number(block), time)), _follow => Ok(()))
    }

    /// The size that this frame should have, where one is to be measured.
    pub fn size(&self) -> Option<u32> {
        each!(self, off => None, remote => remote.size().map(|size| size.0), _follow => None)
    }

    #[inline]
    pub fn frame_end(&mut self) -> Result<(), Errno> {
        each!(self, off => Ok(()), remote => tell(remote, What::FrameEnd), follow => { follow.frame_end(); Ok(()) })
    }

    pub fn counts(&self) -> Counts {
        each!(self, off => Counts { state: HANDED_BACK, ..Counts::default() }, remote => {
            let figures = remote.figures();
            Counts {
                frames: figures.frames,
                missed: figures.missed,
                switches: figures.switches,
                faults: figures.faults,
                shared_frames: figures.shared,
                lost_events: remote.lost(),
                clock_hz: figures.clock.get(),
                state: match remote.peer() {
                    Some(Peer::Daemon(_)) => figures.state,
                    Some(Peer::Measures(_)) => MEASURED,
                    None => NO_DAEMON,
                },
                by_daemon: true,
                reconnects: remote.reconnects(),
            }
        }, follow => direct_counts(follow))
    }

    /// Puts back what was found.
    pub fn close(self) -> Result<(), Errno> {
        each!(self, off => Ok(()), remote => { drop(remote); Ok(()) }, follow => follow.stop().map_err(|e| Failure::from(e).into()))
    }
}

/// A block that no table can have where the number is none.
fn number(block: u32) -> BlockId {
    BlockId(u16::try_from(block).unwrap_or(u16::MAX))
}

fn tell(remote: &mut Link, what: What) -> Result<(), Errno> {
    remote.tell(what).map_err(|_| Errno(libc::ECONNRESET))
}

fn is_absent(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused)
        && !error.get_ref().is_some_and(|inner| inner.is::<Refusal>())
}

fn follow<N, T>(
    nodes: N,
    timer: T,
    (table, kept): (Box<Table>, Option<Kept>),
    options: &Options,
) -> Result<Box<Follow<BoardClock<N, T>>>, Errno>
where
    N: Nodes + Store + Clone + Send + Sync + 'static,
    N::Handle: Send,
    N::Lock: Send + Sync,
    T: Timer + Send + 'static,
{
    let way = options.way.as_deref().map(str::parse::<Way>).transpose().map_err(|_| Errno(libc::EINVAL))?;
    let (mut clock, board) = open::take(nodes, timer, way)?;
    agent::files::table::check(&table, &board)?;
    // Where the table does not tell what a write takes, a few are timed.
    let writer = match Writer::choose(options.writer, &table) {
        Some(writer) => writer,
        None => Writer::by_cost(clock.write_cost().map_err(Failure::from)?),
    };
    let follow = Box::new(Follow::start(table, clock, writer, options.schedule)?.keeping_to(kept));
    follow.lock_in_memory();
    Ok(follow)
}

fn direct_counts<N, T>(follow: &Follow<BoardClock<N, T>>) -> Counts
where
    N: Nodes + Store + Clone + Send + Sync + 'static,
    N::Handle: Send,
    N::Lock: Send + Sync,
    T: Timer + Send + 'static,
{
    let governor = follow.governor();
    let counters = governor.counters();
    let clock = follow.desk().written.clock();
    let listed = |index| governor.table().clocks().iter().find(|c| c.index == index);
    Counts {
        frames: counters.frames,
        missed: counters.missed,
        switches: counters.writes,
        faults: counters.made(),
        shared_frames: 0,
        lost_events: 0,
        clock_hz: clock.and_then(listed).map_or(0, |c| c.clock.get()),
        state: state_code(governor.state()),
        by_daemon: false,
        reconnects: 0,
    }
}

fn state_code(state: State) -> u32 {
    agent::runtime::status::state_code(state)
}
