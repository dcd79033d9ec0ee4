//! A machine's nodes, for real or for a dry run: there writes are noted in order and not made.

use std::fmt::Write as _;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jetpace_devfreq::board::Gpu;
use jetpace_devfreq::guard::{Store, Written};
use jetpace_devfreq::needs;
use jetpace_devfreq::nodes::{Access, NodeHandle, Nodes, SysfsRoot};
use jetpace_tables::units::Hertz;

/// A machine whose writes may be noted only. Each is then taken to succeed and the GPU's clock to follow, so the
/// command goes on as it would; a state file that is there is read, and none is written or removed.
///
/// One type for both, so that the static agent holds the code of every command once.
#[derive(Debug)]
pub struct DryRun<N> {
    inner: N,
    /// `None` where everything is real.
    notes: Option<Arc<Mutex<Notes>>>,
}

/// The machine that this runs on, or a copy of its tree.
pub type ThisMachine = DryRun<SysfsRoot>;

impl ThisMachine {
    /// The tree below `root`, for real.
    pub fn at(root: impl Into<PathBuf>) -> Self {
        Self::real(SysfsRoot::new(root))
    }
}

#[derive(Debug, Default)]
struct Notes {
    /// The GPU's devfreq directory.
    devfreq: PathBuf,
    nodes: Vec<(PathBuf, String)>,
    /// State files as they would be by now; `None` where one would be removed.
    files: Vec<(PathBuf, Option<String>)>,
    clock: Option<String>,
    /// What heat lets the clock be at most.
    heat: Option<u64>,
    text: String,
}

impl<N: Clone> Clone for DryRun<N> {
    fn clone(&self) -> Self {
        Self { inner: self.inner.clone(), notes: self.notes.clone() }
    }
}

impl<N: Clone> DryRun<N> {
    /// Everything is real.
    pub fn real(inner: N) -> Self {
        Self { inner, notes: None }
    }

    /// Over a machine's nodes, without a write; `devfreq` is the GPU's devfreq directory.
    pub fn new(inner: N, devfreq: &Path) -> Self {
        let notes = Notes { devfreq: devfreq.to_owned(), ..Notes::default() };
        Self { inner, notes: Some(Arc::new(Mutex::new(notes))) }
    }

    /// The same machine, without a write.
    #[must_use]
    pub fn dry(&self, devfreq: &Path) -> Self {
        Self::new(self.inner.clone(), devfreq)
    }

    /// The same on a GPU that is hot: no write of ours lifts the clock or the bound above what heat allows.
    #[must_use]
    pub fn under_heat(self, gpu: &Gpu) -> Self {
        if let Some(mut notes) = self.notes() {
            notes.heat = gpu.max.at().filter(|_| gpu.throttled && gpu.shows_heat).map(Hertz::get);
        }
        self
    }

    /// A line about what the next writes are for.
    pub fn comment(&self, what: &str) {
        if let Some(mut notes) = self.notes() {
            // Writing into a String cannot fail.
            let _ = writeln!(notes.text, "# {what}");
        }
    }

    /// All writes so far, `path <- value`, one a line.
    pub fn text(&self) -> String {
        self.notes().map(|notes| notes.text.clone()).unwrap_or_default()
    }

    fn notes(&self) -> Option<MutexGuard<'_, Notes>> {
        self.notes.as_ref().map(|notes| notes.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl<N: Nodes + Clone> DryRun<N> {
    /// What opening a node for writing would answer; one that comes with its governor is root's as those beside it are.
    fn may_write(&self, path: &Path) -> io::Result<()> {
        let there = self.inner.mode(path).is_ok() || self.noted(path).is_none();
        let asked = if there {
            path.to_owned()
        } else {
            self.notes().map(|notes| notes.devfreq.join("governor")).unwrap_or_default()
        };
        self.inner.access(&asked, Access::Write)
    }

    /// What a node would hold by now, where that is known.
    fn noted(&self, path: &Path) -> Option<String> {
        let notes = self.notes()?;
        let noted = notes.noted(path)?;
        let (clock, bound) = (notes.devfreq.join("cur_freq"), notes.devfreq.join("max_freq"));
        if path == clock {
            // A node that is gone is gone in a dry run, too.
            self.inner.read(path).ok()?;
        } else if path != bound {
            return Some(noted);
        }
        let within = notes.heat.zip(noted.parse::<u64>().ok()).map(|(heat, noted)| heat.min(noted).to_string());
        Some(within.unwrap_or(noted))
    }
}

impl Notes {
    fn note(&mut self, path: &Path, value: &str) {
        let _ = writeln!(self.text, "{} <- {value}", path.display());
        let name = path.file_name().unwrap_or_default();
        if ["set_freq", "max_freq", "min_freq", "freq_request"].iter().any(|node| name == *node) {
            self.clock = Some(value.to_owned());
        }
        put(&mut self.nodes, path, value.to_owned());
    }

    /// What a node would hold by now. Also one that the real tree lacks because its governor was not really chosen.
    fn noted(&self, path: &Path) -> Option<String> {
        if path == self.devfreq.join("cur_freq") {
            return self.clock.clone();
        }
        let there = || {
            let governor = get(&self.nodes, &self.devfreq.join("governor"));
            let comes =
                path == self.devfreq.join("userspace/set_freq") && governor.is_some_and(|now| now == "userspace");
            comes.then(|| "undefined".to_owned())
        };
        get(&self.nodes, path).cloned().or_else(there)
    }
}

fn get<'a, V>(list: &'a [(PathBuf, V)], path: &Path) -> Option<&'a V> {
    list.iter().find(|(noted, _)| noted == path).map(|(_, value)| value)
}

fn put<V>(list: &mut Vec<(PathBuf, V)>, path: &Path, value: V) {
    match list.iter_mut().find(|(noted, _)| noted == path) {
        Some((_, old)) => *old = value,
        None => list.push((path.to_owned(), value)),
    }
}

impl<N: Nodes + Clone> Nodes for DryRun<N> {
    type Handle = Handle<N>;

    fn read(&self, path: &Path) -> io::Result<String> {
        match self.noted(path) {
            Some(value) => Ok(value + "\n"),
            None => self.inner.read(path),
        }
    }

    fn open(&self, path: &Path) -> io::Result<Handle<N>> {
        if self.notes.is_none() {
            return self.inner.open(path).map(Handle::Real);
        }
        self.may_write(path)?;
        Ok(Handle::Dry(self.clone(), path.to_owned()))
    }

    fn open_to_read(&self, path: &Path) -> io::Result<Handle<N>> {
        if self.notes.is_none() {
            return self.inner.open_to_read(path).map(Handle::Real);
        }
        self.mode(path)?;
        Ok(Handle::Dry(self.clone(), path.to_owned()))
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        self.inner.list(dir)
    }

    fn canonical(&self, path: &Path) -> io::Result<PathBuf> {
        self.inner.canonical(path)
    }

    fn mode(&self, path: &Path) -> io::Result<u32> {
        if self.noted(path).is_some() { Ok(0o100_644) } else { self.inner.mode(path) }
    }

    fn access(&self, path: &Path, access: Access) -> io::Result<()> {
        self.inner.access(path, access)
    }

    fn is_read_only(&self, path: &Path) -> bool {
        self.inner.is_read_only(path)
    }
}

impl<N: Nodes + Store + Clone> Store for DryRun<N> {
    type Lock = Option<N::Lock>;

    fn load(&self, path: &Path) -> io::Result<String> {
        match self.notes().and_then(|notes| get(&notes.files, path).cloned()) {
            Some(noted) => noted.ok_or_else(|| io::ErrorKind::NotFound.into()),
            None => self.inner.load(path),
        }
    }

    fn save(&self, path: &Path, text: &str) -> io::Result<()> {
        let Some(mut notes) = self.notes() else { return self.inner.save(path, text) };
        put(&mut notes.files, path, Some(text.to_owned()));
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let Some(mut notes) = self.notes() else { return self.inner.remove(path) };
        put(&mut notes.files, path, None);
        Ok(())
    }

    fn set_aside(&self, path: &Path, to: &Path) -> io::Result<()> {
        let Some(mut notes) = self.notes() else { return self.inner.set_aside(path, to) };
        put(&mut notes.files, path, None);
        Ok(())
    }

    fn written(&self, path: &Path) -> io::Result<Written> {
        if self.notes.is_some() { Ok(Written::memory()) } else { self.inner.written(path) }
    }

    fn written_before(&self, path: &Path) -> Option<Written> {
        self.inner.written_before(path)
    }

    /// The machine's own lock also in a dry run, so that what another instance, or a missing permission, would make fail
    /// fails there, too. But a lock file that is not there yet is not made.
    fn lock(&self, path: &Path) -> io::Result<Result<Self::Lock, u32>> {
        if self.notes.is_some() {
            needs::may_keep_state(&self.inner)?;
            if self.inner.load(path).is_err() {
                return Ok(Ok(None));
            }
        }
        Ok(self.inner.lock(path)?.map(Some))
    }

    fn is_held(&self, lock: &Self::Lock) -> io::Result<bool> {
        lock.as_ref().map_or(Ok(true), |lock| self.inner.is_held(lock))
    }
}

/// A node that is kept open, for real or for nothing.
#[derive(Debug)]
pub enum Handle<N: Nodes> {
    /// For real.
    Real(N::Handle),
    /// In a dry run.
    Dry(DryRun<N>, PathBuf),
}

impl<N: Nodes + Clone> NodeHandle for Handle<N> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::Real(handle) => handle.write(bytes),
            Self::Dry(nodes, path) => {
                if let Some(mut notes) = nodes.notes() {
                    notes.note(path, String::from_utf8_lossy(bytes).trim_end());
                }
                Ok(())
            }
        }
    }

    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Real(handle) => handle.read(buffer),
            Self::Dry(nodes, path) => {
                let text = nodes.read(path)?;
                let length = text.len().min(buffer.len());
                buffer[..length].copy_from_slice(&text.as_bytes()[..length]);
                Ok(length)
            }
        }
    }
}

#[cfg(all(test, feature = "sim"))]
mod tests {
    use super::*;
    use jetpace_devfreq::board::Board;
    use jetpace_devfreq::gpu::GpuNode;
    use jetpace_devfreq::guard::Guard;
    use jetpace_devfreq::sim;
    use jetpace_tables::hw::GpuClock;
    use jetpace_tables::work::ClockIndex;

    #[test]
    fn writes_are_noted_in_their_order_and_nothing_changes() {
        for name in sim::NAMES {
            let virtual_board = sim::Board::new(name, 1).unwrap();
            let board = Board::discover(&virtual_board.nodes()).unwrap();
            let state = || {
                ["governor", "min_freq", "max_freq", "cur_freq"]
                    .map(|file| virtual_board.nodes().read(&board.gpu.node(file)).unwrap())
            };
            let before = state();
            let dry = DryRun::new(virtual_board.nodes(), &board.gpu.devfreq);
            let (guard, _) = Guard::take(dry.clone()).unwrap();
            let mut gpu = GpuNode::open(dry.clone(), virtual_board.timer(), &board, &guard, None).unwrap();
            dry.comment("the clock");
            assert_eq!(gpu.pin(ClockIndex(3)).unwrap(), board.gpu.clocks[3]);
            gpu.release().unwrap();
            drop(gpu);
            guard.restore().unwrap();
            assert_eq!(state(), before);
            let text = dry.text();
            let held = format!(
                "# the clock\n{}/userspace/set_freq <- {}\n",
                board.gpu.devfreq.display(),
                board.gpu.clocks[3].get()
            );
            assert!(text.contains(&held), "{text}");
            let back = format!("{}/governor <- nvhost_podgov\n", board.gpu.devfreq.display());
            assert!(text.contains(&back), "{text}");
        }
    }
}
