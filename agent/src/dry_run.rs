//! Nodes that take writes without making them: what a command would write, in order.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jetpace_devfreq::guard::Store;
use jetpace_devfreq::nodes::{NodeHandle, Nodes};
use jetpace_tables::hw::Timer;
use jetpace_tables::units::Nanos;

/// A machine whose nodes are read, and whose writes are only noted. Each is taken to succeed and the GPU's clock to
/// follow, so the command goes on as it would then. A state file that is there is read; none is written or removed.
#[derive(Debug)]
pub struct DryRun<N> {
    inner: N,
    devfreq: PathBuf,
    notes: Arc<Mutex<Notes>>,
}

#[derive(Debug, Default)]
struct Notes {
    nodes: BTreeMap<PathBuf, String>,
    /// State files as they would be by now; `None` where one would be removed.
    files: BTreeMap<PathBuf, Option<String>>,
    clock: Option<String>,
    text: String,
}

impl<N: Clone> Clone for DryRun<N> {
    fn clone(&self) -> Self {
        Self { inner: self.inner.clone(), devfreq: self.devfreq.clone(), notes: Arc::clone(&self.notes) }
    }
}

impl<N: Nodes> DryRun<N> {
    /// Over a machine's nodes; `devfreq` is the GPU's devfreq directory.
    pub fn new(inner: N, devfreq: &Path) -> Self {
        Self { inner, devfreq: devfreq.to_owned(), notes: Arc::default() }
    }

    /// A line about what the next writes are for.
    pub fn comment(&self, what: &str) {
        // Writing into a String cannot fail.
        let _ = writeln!(self.notes().text, "# {what}");
    }

    /// All writes so far, `path <- value`, one a line.
    pub fn text(&self) -> String {
        self.notes().text.clone()
    }

    fn notes(&self) -> MutexGuard<'_, Notes> {
        self.notes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note(&self, path: &Path, value: &str) {
        let mut notes = self.notes();
        let _ = writeln!(notes.text, "{} <- {value}", path.display());
        let name = path.file_name().unwrap_or_default();
        if ["set_freq", "max_freq", "min_freq", "freq_request"].iter().any(|node| name == *node) {
            notes.clock = Some(value.to_owned());
        }
        notes.nodes.insert(path.to_owned(), value.to_owned());
    }

    /// What a node would hold by now, where that is known.
    fn noted(&self, path: &Path) -> Option<String> {
        let notes = self.notes();
        if path == self.devfreq.join("cur_freq") {
            return notes.clock.clone();
        }
        notes.nodes.get(path).cloned()
    }

    /// A node that the real tree lacks because its governor was not really chosen.
    fn would_be_there(&self, path: &Path) -> bool {
        let governor = self.noted(&self.devfreq.join("governor"));
        path == self.devfreq.join("userspace/set_freq") && governor.as_deref() == Some("userspace")
    }
}

impl<N: Nodes + Clone> Nodes for DryRun<N> {
    type Handle = DryHandle<N>;

    fn read(&self, path: &Path) -> io::Result<String> {
        match self.noted(path) {
            Some(value) => Ok(value + "\n"),
            None if self.would_be_there(path) => Ok("undefined\n".to_owned()),
            None => self.inner.read(path),
        }
    }

    fn open(&self, path: &Path) -> io::Result<DryHandle<N>> {
        self.mode(path)?;
        Ok(DryHandle { nodes: self.clone(), path: path.to_owned() })
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        self.inner.list(dir)
    }

    fn canonical(&self, path: &Path) -> io::Result<PathBuf> {
        self.inner.canonical(path)
    }

    fn mode(&self, path: &Path) -> io::Result<u32> {
        if self.would_be_there(path) { Ok(0o100_644) } else { self.inner.mode(path) }
    }
}

impl<N: Nodes + Store + Clone> Store for DryRun<N> {
    type Lock = Option<N::Lock>;

    fn load(&self, path: &Path) -> io::Result<String> {
        match self.notes().files.get(path) {
            Some(noted) => noted.clone().ok_or_else(|| io::ErrorKind::NotFound.into()),
            None => self.inner.load(path),
        }
    }

    fn save(&self, path: &Path, text: &str) -> io::Result<()> {
        self.notes().files.insert(path.to_owned(), Some(text.to_owned()));
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.notes().files.insert(path.to_owned(), None);
        Ok(())
    }

    /// The machine's own lock, so that what another instance would make fail fails here, too. A lock file that is not
    /// there yet, or not this user's to open, is left alone.
    fn lock(&self, path: &Path) -> io::Result<Result<Self::Lock, u32>> {
        match self.inner.load(path) {
            Ok(_) => Ok(self.inner.lock(path)?.map(Some)),
            Err(_) => Ok(Ok(None)),
        }
    }
}

/// A node that is kept open, for nothing.
#[derive(Debug)]
pub struct DryHandle<N> {
    nodes: DryRun<N>,
    path: PathBuf,
}

impl<N: Nodes + Clone> NodeHandle for DryHandle<N> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.nodes.note(&self.path, String::from_utf8_lossy(bytes).trim_end());
        Ok(())
    }

    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let text = self.nodes.read(&self.path)?;
        let length = text.len().min(buffer.len());
        buffer[..length].copy_from_slice(&text.as_bytes()[..length]);
        Ok(length)
    }
}

/// Time that passes at once.
#[derive(Clone, Debug, Default)]
pub struct DryTimer(Arc<Mutex<Nanos>>);

impl Timer for DryTimer {
    fn now(&self) -> Nanos {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn sleep_until(&mut self, time: Nanos) {
        let mut now = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *now = time.max(*now);
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
            let mut gpu = GpuNode::open(dry.clone(), DryTimer::default(), &board, &guard, None).unwrap();
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
