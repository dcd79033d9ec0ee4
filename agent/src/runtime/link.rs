//! A daemon that may go away and come back, behind one handle: without it the kernel's governor has the clock, and the
//! program runs on.

use std::env;
use std::fs;
use std::io;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use jetpace_tables::table::{Table, image};
use jetpace_tables::work::{BlockId, Size};

use super::page::{Figures, What};
use super::remote::Gone;
use super::swept::Peer;
use super::{sys, wire};
use crate::files::table::{Kept, same_blocks};

/// How often a daemon that has gone away is looked for.
const AGAIN: Duration = Duration::from_secs(1);

/// Names the table to programs that name none themselves.
const TABLE_VARIABLE: &str = "JETPACE_TABLE";

/// `1` lets programs run as if they knew nothing of jetpace.
pub const OFF_VARIABLE: &str = "JETPACE_OFF";

/// Where a program's environment sends it.
#[derive(Debug)]
pub struct Target {
    /// The daemon's socket, or that of whoever measures.
    pub socket: PathBuf,
    /// The table's image; empty for the daemon's own.
    pub image: Vec<u8>,
    /// The file that it is from.
    pub kept: Option<Kept>,
    /// Nobody but who listens there is asked for.
    pub only_there: bool,
}

impl Target {
    /// By $JETPACE_SWEEP, $JETPACE_SOCKET and $JETPACE_TABLE; `table` is the one that the program names itself.
    ///
    /// # Errors
    /// Where the table cannot be read.
    pub fn of_environment(table: Option<&Path>) -> io::Result<Self> {
        let named = |name: &str| env::var_os(name).filter(|path| !path.is_empty()).map(PathBuf::from);
        let table = table.map(Path::to_owned).or_else(|| named(TABLE_VARIABLE));
        let socket = named(wire::SOCKET_VARIABLE).unwrap_or_else(|| PathBuf::from(wire::SOCKET));
        if is_set(wire::SWEEP_VARIABLE) {
            // Where there is a table already, its numbers of blocks are what the program may go by.
            let image = table.and_then(|path| fs::read(path).ok()).filter(|image| image::decode(image).is_ok());
            return Ok(Self { socket, image: image.unwrap_or_default(), kept: None, only_there: true });
        }
        let is_socket = |path: &PathBuf| fs::metadata(path).is_ok_and(|found| found.file_type().is_socket());
        if let Some(path) = table.clone().filter(is_socket) {
            return Ok(Self { socket: path, image: Vec::new(), kept: None, only_there: true });
        }
        let (kept, image) = table.as_deref().map(Kept::open).transpose()?.unzip();
        Ok(Self { socket, image: image.unwrap_or_default(), kept, only_there: false })
    }
}

/// Whether a variable of the environment is `1`.
pub fn is_set(name: &str) -> bool {
    env::var_os(name).is_some_and(|value| value == "1")
}

/// A client of the daemon, as long as there is one.
#[derive(Debug)]
pub struct Link {
    socket: PathBuf,
    image: Vec<u8>,
    /// Where the table lies, if it is to be exchanged with the file there.
    kept: Option<Kept>,
    /// The blocks by their numbers: those of the table that this was opened with, or as they are named while it is measured.
    names: Vec<String>,
    peer: Option<Peer>,
    /// By the table before, until the first frame by the new one has ended: its clock is held that long.
    retired: Option<Peer>,
    search: Option<Search>,
    /// What daemons counted that have gone since.
    before: Figures,
    lost: u64,
    reconnects: u64,
}

impl Link {
    /// Opens it where someone listens.
    ///
    /// # Errors
    /// As [`Peer::open`].
    pub fn open(socket: PathBuf, image: Vec<u8>) -> io::Result<Self> {
        let peer = Peer::open(&socket, &image)?;
        let names = match &peer {
            Peer::Daemon(remote) => remote.table().names().map(str::to_owned).collect(),
            // A program may know its blocks by the numbers of the table that it brings.
            Peer::Measures(swept) => {
                let own = image::decode(&image).ok();
                let names: Vec<String> = own.iter().flat_map(|table| table.names()).map(str::to_owned).collect();
                names.iter().try_for_each(|name| swept.name(name).map(drop))?;
                names
            }
        };
        let before = Figures::default();
        let (peer, kept, retired, search) = (Some(peer), None, None, None);
        Ok(Self { socket, image, kept, names, peer, retired, search, before, lost: 0, reconnects: 0 })
    }

    /// Brings the daemon whatever table lies in this file from now on: another one between two frames.
    pub fn keeping_to(self, kept: Option<Kept>) -> Self {
        Self { kept, ..self }
    }

    /// How many blocks are known.
    pub fn blocks(&self) -> usize {
        self.names.len()
    }

    /// The blocks by their numbers; an empty name is of one that was not asked for.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// A block's number. One that is new while the program is measured gets the next.
    pub fn find(&mut self, name: &str) -> Option<BlockId> {
        let known = |names: &[String]| names.iter().position(|known| known == name);
        let at = known(&self.names).or_else(|| match &self.peer {
            Some(Peer::Measures(swept)) => {
                let at = swept.name(name).ok()?.index();
                // Those between were named by someone else: this program has no use for them.
                if at >= self.names.len() {
                    self.names.resize(at + 1, String::new());
                }
                name.clone_into(self.names.get_mut(at)?);
                Some(at)
            }
            _ => None,
        })?;
        u16::try_from(at).ok().map(BlockId)
    }

    /// Whether a block that ran is to run once more.
    ///
    /// # Errors
    /// As [`Self::tell`].
    pub fn again(&mut self, block: BlockId) -> Result<bool, Gone> {
        let Some(Peer::Measures(swept)) = &mut self.peer else { return Ok(false) };
        let again = swept.again(block);
        if again.is_err() {
            self.lose();
        }
        again
    }

    /// The size that this frame should have, where someone measures and asks for one.
    pub fn size(&self) -> Option<Size> {
        match &self.peer {
            Some(Peer::Measures(swept)) => swept.size(),
            _ => None,
        }
    }

    /// Tells the daemon. [`Gone`] once, when it is found to have gone; from then on what is told is lost and counted, until
    /// it is back at a frame's start. No system call is made for it but the one of [`super::remote::Remote::tell`], and those
    /// of a thread that is started once to look for it.
    ///
    /// # Errors
    /// [`Gone`].
    #[inline]
    pub fn tell(&mut self, what: What) -> Result<(), Gone> {
        if what == What::FrameStart && self.search.is_some() {
            self.take_found();
        }
        let told = match (&mut self.peer, what) {
            (Some(Peer::Daemon(_)), What::Took(..)) => Ok(()),
            (Some(Peer::Daemon(remote)), what) => remote.tell(what),
            (Some(Peer::Measures(swept)), what) => swept.tell(what),
            (None, _) => {
                self.lost += 1;
                return Ok(());
            }
        };
        if told.is_err() {
            self.lose();
        }
        if what == What::FrameEnd {
            self.retired = None;
            let fits = |table: &Table| same_blocks(table, self.names.iter().map(String::as_str));
            if let Some((image, _)) = self.kept.as_mut().and_then(|kept| kept.exchanged(sys::now(), fits)) {
                self.exchange(image);
            }
        }
        told
    }

    /// Another table lies where this one did.
    #[cold]
    fn exchange(&mut self, image: Vec<u8>) {
        self.image = image;
        if self.peer.is_some() {
            self.search = self.look_for(Tries::Once);
        }
    }

    fn look_for(&self, tries: Tries) -> Option<Search> {
        // Without a thread nobody looks for it: the program runs on all the same.
        Search::start(self.socket.clone(), self.image.clone(), self.names.clone(), tries).ok()
    }

    /// Counts what was told to a peer that is told no more.
    fn count(&mut self, peer: &Peer) {
        if let Peer::Daemon(remote) = peer {
            self.before = sum(self.before, remote.page().figures());
            self.lost += remote.lost();
        }
    }

    #[cold]
    fn lose(&mut self) {
        let Some(peer) = self.peer.take() else { return };
        self.count(&peer);
        self.lost += 1;
        self.search = self.look_for(Tries::UntilFound);
    }

    #[cold]
    fn take_found(&mut self) {
        let Some(found) = self.search.as_ref().and_then(Search::found) else { return };
        self.search = None;
        match self.peer.replace(found) {
            Some(before) => {
                self.count(&before);
                self.retired = Some(before);
            }
            None => self.reconnects += 1,
        }
    }

    /// What was counted, over all daemons.
    pub fn figures(&self) -> Figures {
        let now = match &self.peer {
            Some(Peer::Daemon(remote)) => remote.figures(),
            _ => Figures::default(),
        };
        sum(self.before, now)
    }

    /// Who is told, where there is one.
    pub fn peer(&self) -> Option<&Peer> {
        self.peer.as_ref()
    }

    /// Events that nobody took.
    pub fn lost(&self) -> u64 {
        self.lost
            + match &self.peer {
                Some(Peer::Daemon(remote)) => remote.lost(),
                _ => 0,
            }
    }

    /// How often a daemon was found again.
    pub fn reconnects(&self) -> u64 {
        self.reconnects
    }
}

fn sum(before: Figures, now: Figures) -> Figures {
    Figures {
        frames: before.frames + now.frames,
        missed: before.missed + now.missed,
        switches: before.switches + now.switches,
        faults: before.faults + now.faults,
        shared: before.shared + now.shared,
        ..now
    }
}

/// Whether a peer's blocks have the numbers that the program knows them by.
fn agrees(peer: &Peer, names: &[String]) -> bool {
    // A name that is empty is of a block that the program never asked for.
    let mut asked = names.iter().enumerate().filter(|(_, name)| !name.is_empty());
    match peer {
        Peer::Daemon(remote) => {
            let table = remote.table();
            asked.all(|(at, name)| table.find(name).is_some_and(|block| block.index() == at))
                && table.blocks() == names.len()
        }
        Peer::Measures(swept) => asked.all(|(at, name)| swept.name(name).is_ok_and(|block| block.index() == at)),
    }
}

/// How often the daemon is looked for.
#[derive(Clone, Copy, PartialEq)]
enum Tries {
    UntilFound,
    /// One that is there, for another table: it may refuse that.
    Once,
}

/// A thread that looks for the daemon until it is there again or nobody wants it any more.
#[derive(Debug)]
struct Search(Arc<State>);

#[derive(Debug, Default)]
struct State {
    found: Mutex<Found>,
    wake: Condvar,
}

#[derive(Debug, Default)]
struct Found {
    peer: Option<Peer>,
    unwanted: bool,
}

impl Search {
    fn start(socket: PathBuf, image: Vec<u8>, names: Vec<String>, tries: Tries) -> io::Result<Self> {
        let state = Arc::<State>::default();
        let shared = Arc::clone(&state);
        std::thread::Builder::new().name("jetpace-search".into()).spawn(move || {
            loop {
                let found = shared.found.lock().unwrap_or_else(PoisonError::into_inner);
                let waited = shared.wake.wait_timeout_while(found, AGAIN, |found| !found.unwanted);
                if waited.unwrap_or_else(PoisonError::into_inner).0.unwanted {
                    return;
                }
                if let Some(peer) = Peer::open(&socket, &image).ok().filter(|peer| agrees(peer, &names)) {
                    shared.found.lock().unwrap_or_else(PoisonError::into_inner).peer = Some(peer);
                    return;
                }
                if tries == Tries::Once {
                    return;
                }
            }
        })?;
        Ok(Self(state))
    }

    /// What it has found; never waits.
    fn found(&self) -> Option<Peer> {
        self.0.found.try_lock().ok()?.peer.take()
    }
}

impl Drop for Search {
    fn drop(&mut self) {
        // Not waited for: it may be in the middle of asking. What it still finds is closed with it.
        self.0.found.lock().unwrap_or_else(PoisonError::into_inner).unwanted = true;
        self.0.wake.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::listen::Listener;
    use crate::runtime::map::Mapping;
    use crate::runtime::page::Page;
    use jetpace_tables::table::TableClock;
    use jetpace_tables::units::{Hertz, Nanos};
    use jetpace_tables::work::ClockIndex;
    use std::os::fd::{AsFd, OwnedFd};
    use std::path::Path;
    use std::time::Instant;

    fn image_of(block: &str) -> Vec<u8> {
        image_at(block, 1)
    }

    fn image_at(block: &str, seconds: u64) -> Vec<u8> {
        let clock = TableClock { index: ClockIndex(0), clock: Hertz::new(1), relative_time: 1 };
        let pace = (Nanos::from_millis(1_000), Nanos::from_millis(1_000 * seconds));
        let table = Table::plain([0; 32], &[clock], &[(block, ClockIndex(0))], pace, Nanos::ZERO).unwrap();
        let mut bytes = vec![0; image::MAX_BYTES];
        let length = image::encode(&table, &mut bytes).unwrap();
        bytes.truncate(length);
        bytes
    }

    /// A daemon that answers one client and then does nothing; dropped, it is as if it was killed: the page says nothing.
    struct Fake {
        listener: Listener,
        client: Option<(OwnedFd, Mapping<Page>)>,
    }

    impl Fake {
        fn new(path: &Path) -> Self {
            Self { listener: Listener::open(path, None).unwrap(), client: None }
        }

        fn serve(mut self, image: &[u8]) -> Self {
            self.client = Some(self.take(image));
            self
        }

        fn take(&mut self, image: &[u8]) -> (OwnedFd, Mapping<Page>) {
            let started = Instant::now();
            let socket = loop {
                assert!(started.elapsed() < Duration::from_secs(60), "nobody comes");
                match self.listener.accept() {
                    Ok(socket) => break socket,
                    Err(_) => std::thread::sleep(Duration::from_millis(1)),
                }
            };
            let mut buffer = vec![0; wire::LONGEST];
            while wire::next_request(&socket, &mut buffer).is_err() {
                assert!(started.elapsed() < Duration::from_secs(60), "it asks for nothing");
            }
            let (page, memory) = Mapping::<Page>::create().unwrap();
            wire::answer(&socket, 0, image, Some(memory.as_fd())).unwrap();
            (socket, page)
        }
    }

    #[test]
    fn a_daemon_that_dies_is_noticed_told_once_and_found_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("jetpace.sock");
        let image = image_of("a");
        let open = |fake: Fake, image: &[u8]| {
            std::thread::scope(|scope| {
                let serving = scope.spawn(|| fake.serve(image));
                (Link::open(path.clone(), Vec::new()).unwrap(), serving.join().unwrap())
            })
        };
        let (mut link, fake) = open(Fake::new(&path), &image);
        let mut frame = || [What::FrameStart, What::FrameEnd].map(|what| link.tell(what).is_ok());
        assert_eq!([frame(), frame()], [[true; 2]; 2]);
        drop(fake);
        // Within two frames, by one call that fails; then the program runs on.
        let told: Vec<bool> = (0..5).flat_map(|_| frame()).collect();
        assert_eq!(told.iter().filter(|told| !**told).count(), 1, "{told:?}");
        assert!(told[..4].contains(&false), "{told:?}");
        assert!(link.peer().is_none() && link.lost() >= 6);
        // One with other blocks is not what the program's numbers mean.
        drop(Fake::new(&path).serve(&image_of("b")));
        let fake = Fake::new(&path);
        let started = Instant::now();
        let serving = std::thread::scope(|scope| {
            let serving = scope.spawn(|| fake.serve(&image));
            while link.peer().is_none() {
                assert!(started.elapsed() < Duration::from_secs(60), "it is not found again");
                assert!(link.tell(What::FrameStart).is_ok());
                std::thread::sleep(Duration::from_millis(5));
            }
            serving.join().unwrap()
        });
        assert_eq!((link.reconnects(), link.figures().frames), (1, 0));
        assert!(link.tell(What::FrameStart).is_ok());
        drop(serving);
    }

    #[test]
    fn another_table_is_brought_to_the_daemon_between_two_frames() {
        let folder = tempfile::tempdir().unwrap();
        let (path, file) = (folder.path().join("jetpace.sock"), folder.path().join("table.jpt"));
        let put = |image: &[u8]| {
            std::fs::write(folder.path().join("new"), image).unwrap();
            std::fs::rename(folder.path().join("new"), &file).unwrap();
        };
        let (first, second) = (image_of("a"), image_at("a", 7));
        put(&first);
        let (kept, bytes) = Kept::open(&file).unwrap();
        let mut listener = Fake::new(&path);
        let (mut link, serving) = std::thread::scope(|scope| {
            let serving = scope.spawn(|| listener.take(&first));
            (Link::open(path.clone(), bytes).unwrap().keeping_to(Some(kept)), serving.join().unwrap())
        });
        let table_of = |link: &Link| match link.peer() {
            Some(Peer::Daemon(remote)) => remote.table().period(),
            _ => panic!("the daemon is there"),
        };
        let frame = |link: &mut Link| {
            assert!(link.tell(What::FrameStart).is_ok() && link.tell(What::FrameEnd).is_ok());
        };
        frame(&mut link);
        let before = table_of(&link);
        put(&second);
        let started = Instant::now();
        let newer = std::thread::scope(|scope| {
            let newer = scope.spawn(|| listener.take(&second));
            while table_of(&link) == before {
                assert!(started.elapsed() < Duration::from_secs(60), "it is not exchanged");
                frame(&mut link);
                std::thread::sleep(Duration::from_millis(20));
            }
            newer.join().unwrap()
        });
        // The one before has heard every frame until now, and has been hung up on behind the first frame of the new one.
        assert_eq!((link.lost(), link.reconnects(), link.retired.is_none()), (0, 0, true));
        assert!(!crate::runtime::remote::is_connected(&serving.0));
        frame(&mut link);
        drop((serving, newer));
    }
}
