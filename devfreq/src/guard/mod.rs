//! Leaving no trace. Before a node is first written its value goes to a state file; on every way out the nodes that
//! still hold our last value get it back: by [`Guard::restore`] and Drop, after a kill by [`restore`] from the file.

mod mode;
mod put_back;
mod state;
mod store;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

pub use put_back::Report;
pub use state::{Kind, LOCK, STATE};
pub use store::{FileLock, Store};

use crate::error::Error;
use crate::nodes::Nodes;
use crate::text;
use mode::put_back_in_mode;
use state::{Entry, State};

/// A node that is about to be written.
#[derive(Clone, Debug)]
pub struct Keep {
    /// The node.
    pub path: PathBuf,
    /// What it is.
    pub kind: Kind,
    /// Everything that may be written to it.
    pub ours: Vec<String>,
}

/// What was found at the start.
#[derive(Debug)]
pub enum Leftover {
    /// Nothing.
    None,
    /// The state of an earlier run of the machine: worth nothing, removed.
    OtherBoot,
    /// An instance was killed; its nodes were put back.
    Restored(Report),
}

/// The originals of all nodes that are written, and the lock. A handle: clones share one guard, and the last one to
/// go puts everything back. A forked child's copy does nothing.
pub struct Guard<N: Nodes + Store>(Arc<Inner<N>>);

impl<N: Nodes + Store> Clone for Guard<N> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

struct Inner<N: Nodes + Store> {
    nodes: N,
    pid: u32,
    kept: Mutex<Kept>,
    _lock: N::Lock,
}

struct Kept {
    state: State,
}

impl<N: Nodes + Store> Guard<N> {
    /// Takes the lock, and puts back and reports what a killed instance left.
    ///
    /// # Errors
    /// Where another instance runs, where /run/jetpace cannot be written, or where leftovers cannot be put back.
    pub fn take(nodes: N) -> Result<(Self, Leftover), Error> {
        let lock = lock(&nodes)?;
        let leftover = restore_locked(&nodes)?;
        if let Leftover::Restored(report) = &leftover {
            log::warn!("a killed instance left clocks changed; they were put back first");
            log_foreign(report);
        }
        let kept = Mutex::new(Kept { state: State::here(&nodes)? });
        let inner = Inner { nodes, pid: std::process::id(), kept, _lock: lock };
        Ok((Self(Arc::new(inner)), leftover))
    }

    /// Records what nodes hold now and makes that durable. To be called before they are first written; a node that is
    /// recorded already keeps its first original and may get more values of ours.
    pub fn keep(&self, nodes: &[Keep]) -> Result<(), Error> {
        let mut kept = self.0.kept();
        let mut state = kept.state.clone();
        for keep in nodes {
            if let Some(entry) = state.nodes.iter_mut().find(|entry| entry.path == keep.path) {
                let new = keep.ours.iter().filter(|value| !entry.ours.contains(value)).cloned().collect::<Vec<_>>();
                entry.ours.extend(new);
                continue;
            }
            let original = text::word(&self.0.nodes, &keep.path)?;
            let (path, ours) = (keep.path.clone(), keep.ours.clone());
            state.nodes.push(Entry { path, kind: keep.kind, original, ours });
        }
        if state != kept.state {
            if let Err(e) = state.save(&self.0.nodes) {
                // What may have got there says no more than is true, but nothing of it will be written now.
                let _ = match kept.state.nodes.is_empty() {
                    true => State::remove(&self.0.nodes),
                    false => kept.state.save(&self.0.nodes),
                };
                return Err(e);
            }
            kept.state = state;
        }
        Ok(())
    }

    /// What a recorded node held before the first write.
    pub fn original(&self, path: &Path) -> Option<String> {
        self.0.kept().state.nodes.iter().find(|entry| entry.path == path).map(|entry| entry.original.clone())
    }

    /// Someone else has set a node that we write, too: theirs is what it gets back.
    pub fn adopt(&self, path: &Path, value: &str) -> Result<(), Error> {
        let mut kept = self.0.kept();
        let mut state = kept.state.clone();
        if let Some(entry) = state.nodes.iter_mut().find(|entry| entry.path == path) {
            entry.original = value.to_owned();
            state.save(&self.0.nodes)?;
            kept.state = state;
        }
        Ok(())
    }

    /// Puts back the recorded nodes that are chosen, and forgets them once they are.
    pub fn restore_where(&self, chosen: impl Fn(&Path) -> bool) -> Result<Report, Error> {
        self.0.put_back(|entry| chosen(&entry.path))
    }

    /// Puts everything back and removes the state file.
    ///
    /// # Errors
    /// Where nodes could not be put back: they are named, and stay in the state file for `jetpace restore`.
    pub fn restore(&self) -> Result<Report, Error> {
        self.0.put_back(|_| true)
    }
}

impl<N: Nodes + Store> Inner<N> {
    fn put_back(&self, chosen: impl Fn(&Entry) -> bool) -> Result<Report, Error> {
        if std::process::id() != self.pid {
            return Ok(Report::default());
        }
        let mut kept = self.kept();
        let entries: Vec<Entry> = kept.state.nodes.iter().filter(|entry| chosen(entry)).cloned().collect();
        if entries.is_empty() {
            return Ok(Report::default());
        }
        let report = put_back_in_mode(&self.nodes, &kept.state, &entries);
        let left = |entry: &Entry| !entries.iter().any(|e| e.path == entry.path) || report.is_due(entry);
        let state =
            State { nodes: kept.state.nodes.iter().filter(|e| left(e)).cloned().collect(), ..kept.state.clone() };
        let saved = match state.nodes.is_empty() {
            true => State::remove(&self.nodes),
            false => state.save(&self.nodes),
        };
        kept.state = state;
        if !report.failed.is_empty() {
            return Err(Error::NotRestored { nodes: report.failures(), path: PathBuf::from(STATE) });
        }
        saved.map(|()| report)
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        // Poisoned or not, the originals are what has to be put back.
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<N: Nodes + Store> Drop for Inner<N> {
    fn drop(&mut self) {
        match self.put_back(|_| true) {
            Ok(report) => log_foreign(&report),
            Err(e) => log::error!("{e}"),
        }
    }
}

/// Says which nodes were left to someone else.
pub fn log_foreign(report: &Report) {
    for (path, now) in &report.foreign {
        log::warn!("{}: left at {now}, which someone else has set meanwhile", path.display());
    }
}

fn lock<N: Nodes + Store>(nodes: &N) -> Result<N::Lock, Error> {
    let path = Path::new(LOCK);
    let taken =
        nodes.lock(path).map_err(|source| Error::State { path: path.to_owned(), what: "cannot be locked", source })?;
    taken.map_err(|holder| Error::Busy { path: path.to_owned(), holder })
}

/// Puts back what a killed instance left. Refused while another one runs.
///
/// # Errors
/// Where an instance runs, the file is not understood or of another board, or nodes could not be put back; then the
/// file is kept.
pub fn restore<N: Nodes + Store>(nodes: &N) -> Result<Leftover, Error> {
    // Without a state file there is nothing to lock for: nothing is written then, not even the lock.
    if State::load(nodes)?.is_none() {
        return Ok(Leftover::None);
    }
    let _lock = lock(nodes)?;
    restore_locked(nodes)
}

/// As [`restore`], from within the process that holds the lock and is about to abort: the panic hook.
pub fn restore_own<N: Nodes + Store>(nodes: &N) -> Result<Leftover, Error> {
    match State::load(nodes)? {
        Some(state) if state.pid == std::process::id() => restore_locked(nodes),
        _ => Ok(Leftover::None),
    }
}

/// Where a panic aborts, nothing is dropped: the panic hook puts the originals back. Where it unwinds, Drop does.
pub fn restore_on_panic<N: Nodes + Store + Send + Sync + 'static>(nodes: N) {
    if cfg!(not(panic = "abort")) {
        return;
    }
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        before(info);
        if let Err(e) = restore_own(&nodes) {
            log::error!("{e}");
        }
    }));
}

fn restore_locked<N: Nodes + Store>(nodes: &N) -> Result<Leftover, Error> {
    let Some(state) = State::load(nodes)? else {
        return Ok(Leftover::None);
    };
    let here = State::here(nodes)?;
    if state.boot_id != here.boot_id {
        State::remove(nodes)?;
        return Ok(Leftover::OtherBoot);
    }
    if state.machine != here.machine {
        let what = "holds the values of another board or release".to_owned();
        return Err(Error::StateContent { path: PathBuf::from(STATE), what });
    }
    let report = put_back_in_mode(nodes, &state, &state.nodes);
    if !report.failed.is_empty() {
        let due = state.nodes.iter().filter(|entry| report.is_due(entry)).cloned();
        let left = State { nodes: due.collect(), ..state.clone() };
        left.save(nodes)?;
        return Err(Error::NotRestored { nodes: report.failures(), path: PathBuf::from(STATE) });
    }
    State::remove(nodes)?;
    Ok(Leftover::Restored(report))
}
