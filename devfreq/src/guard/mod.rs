//! Leaving no trace. Before a node is first written its value goes to a state file; on every way out the nodes that
//! still hold our last value get it back: by [`Guard::restore`] and Drop, after a kill by [`restore`] from the file.

mod folder;
mod mode;
mod put_back;
mod state;
mod store;
mod unknown;
mod writable;
mod written;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

pub use put_back::Report;
pub use state::{ASIDE, Entry, Kind, LOCK, STATE, State, WRITTEN};
pub use store::{FileLock, Store};
pub use unknown::words as set_aside_words;
pub use written::Written;

use crate::error::Error;
use crate::nodes::Nodes;
use crate::text;
use mode::put_back_in_mode;
use state::Found;
use writable::Writable;

/// A node that is about to be written.
#[derive(Clone, Debug)]
pub struct Keep {
    /// The node.
    pub path: PathBuf,
    /// What it is.
    pub kind: Kind,
    /// What is to be written to it.
    pub ours: Vec<String>,
    /// What may be written to it by hot writes, by clock; each is noted in [`Guard::written`] before it is.
    pub hot: Vec<String>,
}

impl Keep {
    /// A node to which these values are to be written.
    pub fn new(path: PathBuf, kind: Kind, ours: Vec<String>) -> Self {
        Self { path, kind, ours, hot: Vec::new() }
    }
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
    /// A state file that cannot be used: renamed to [`ASIDE`]. What was found before is not known.
    SetAside {
        /// Why it cannot.
        why: String,
        /// The GPU's bounds as nvpmodel's mode has them, which were put in their place; `None` where it does not tell.
        bounds: Option<Report>,
    },
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
    lock: N::Lock,
}

struct Kept {
    state: State,
    /// Made with the first node that hot writes write.
    written: Option<Written>,
}

impl<N: Nodes + Store> Guard<N> {
    /// Takes the lock, and puts back and reports what a killed instance left.
    ///
    /// # Errors
    /// Where another instance runs, where /run/jetpace cannot be written, or where leftovers cannot be put back.
    pub fn take(nodes: N) -> Result<(Self, Leftover), Error> {
        let lock = lock(&nodes)?;
        let leftover = restore_locked(&nodes)?;
        match &leftover {
            Leftover::None | Leftover::OtherBoot => {}
            Leftover::Restored(report) => {
                log::warn!("a killed instance left clocks changed; they were put back first");
                log_foreign(report);
            }
            Leftover::SetAside { why, bounds } => log::warn!("{}", set_aside_words(why, bounds.as_ref())),
        }
        let kept = Mutex::new(Kept { state: State::here(&nodes)?, written: None });
        let inner = Inner { nodes, pid: std::process::id(), kept, lock };
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
                if entry.hot.is_empty() {
                    entry.hot.clone_from(&keep.hot);
                }
                continue;
            }
            let original = text::word(&self.0.nodes, &keep.path)?;
            let Keep { path, kind, ours, hot } = keep.clone();
            state.nodes.push(Entry { path, kind, original, ours, hot });
        }
        if state != kept.state {
            self.0.prove_lock()?;
            if kept.written.is_none() && state.nodes.iter().any(|entry| !entry.hot.is_empty()) {
                // Before the state, which it belongs to: without it all that may be written counts as written.
                let path = Path::new(WRITTEN);
                let failed = |source| Error::State { path: path.to_owned(), what: "cannot be written", source };
                kept.written = Some(self.0.nodes.written(path).map_err(failed)?);
            }
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

    /// Where hot writes are noted before they are made; `None` where nothing was kept for them.
    pub fn written(&self) -> Option<Written> {
        self.0.kept().written.clone()
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
    /// Another instance may run where someone has removed the lock's file.
    fn prove_lock(&self) -> Result<(), Error> {
        let path = PathBuf::from(LOCK);
        match self.nodes.is_held(&self.lock) {
            Ok(true) => Ok(()),
            Ok(false) => {
                let source = io::Error::other("its file was removed or replaced; start again");
                Err(Error::State { path, what: "is held no more", source })
            }
            Err(source) => Err(Error::State { path, what: "cannot be looked at", source }),
        }
    }

    fn put_back(&self, chosen: impl Fn(&Entry) -> bool) -> Result<Report, Error> {
        if std::process::id() != self.pid {
            return Ok(Report::default());
        }
        let mut kept = self.kept();
        let entries: Vec<Entry> = kept.state.nodes.iter().filter(|entry| chosen(entry)).cloned().collect();
        if entries.is_empty() {
            return Ok(Report::default());
        }
        let written: Vec<Entry> = entries.iter().map(|entry| entry.as_written(kept.written.as_ref())).collect();
        let report = put_back_in_mode(&self.nodes, &kept.state, &written);
        let left = |entry: &Entry| !entries.iter().any(|e| e.path == entry.path) || report.is_due(entry);
        let state =
            State { nodes: kept.state.nodes.iter().filter(|e| left(e)).cloned().collect(), ..kept.state.clone() };
        let saved = match state.nodes.is_empty() {
            true => State::remove(&self.nodes),
            false => state.save(&self.nodes),
        };
        if let Some(written) = kept.written.as_ref().filter(|_| state.nodes.iter().all(|entry| entry.hot.is_empty())) {
            written.clear();
        }
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
/// Where an instance runs, or nodes could not be put back; then the file is kept.
pub fn restore<N: Nodes + Store>(nodes: &N) -> Result<Leftover, Error> {
    // Without a state file there is nothing to lock for: nothing is written then, not even the lock.
    if let Found::Nothing = State::load(nodes)? {
        return Ok(Leftover::None);
    }
    let _lock = lock(nodes)?;
    restore_locked(nodes)
}

/// As [`restore`], from within the process that holds the lock and is about to abort: the panic hook.
pub fn restore_own<N: Nodes + Store>(nodes: &N) -> Result<Leftover, Error> {
    match State::load(nodes)? {
        Found::State(state) if state.pid == std::process::id() => restore_locked(nodes),
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
    let state = match State::load(nodes)? {
        Found::Nothing => return Ok(Leftover::None),
        Found::State(state) => state,
        Found::Bad(why) => return set_aside(nodes, why),
    };
    let here = State::here(nodes)?;
    if state.boot_id != here.boot_id {
        State::remove(nodes)?;
        return Ok(Leftover::OtherBoot);
    }
    if !state.is_of(&here) {
        return set_aside(nodes, "holds the values of another board or release".to_owned());
    }
    // Whoever wrote the file, only what discovery finds is written.
    let known = Writable::find(nodes)?;
    if let Some(entry) = state.nodes.iter().find(|entry| known.is_stranger(nodes, &entry.path)) {
        return set_aside(nodes, format!("names {:?}, which is no node of a clock of this machine", entry.path));
    }
    let written = nodes.written_before(Path::new(WRITTEN));
    let mut entries: Vec<Entry> = state.nodes.iter().map(|entry| entry.as_written(written.as_ref())).collect();
    let unknown = known.take_unknown(nodes, &mut entries);
    let mut report = put_back_in_mode(nodes, &state, &entries);
    report.failed.extend(unknown);
    if !report.failed.is_empty() {
        let due = state.nodes.iter().filter(|entry| report.is_due(entry)).cloned();
        let left = State { nodes: due.collect(), ..state.clone() };
        left.save(nodes)?;
        return Err(Error::NotRestored { nodes: report.failures(), path: PathBuf::from(STATE) });
    }
    State::remove(nodes)?;
    Ok(Leftover::Restored(report))
}

fn set_aside<N: Nodes + Store>(nodes: &N, why: String) -> Result<Leftover, Error> {
    let path = Path::new(STATE);
    let failed = |source| Error::State { path: path.to_owned(), what: "cannot be set aside", source };
    // First the bounds: what fails now is tried again, as long as the file is there.
    let bounds = unknown::bounds_by_nvpmodel(nodes)?;
    nodes.set_aside(path, Path::new(ASIDE)).map_err(failed)?;
    Ok(Leftover::SetAside { why, bounds })
}
