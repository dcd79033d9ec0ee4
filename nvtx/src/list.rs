//! Ranges as a list, for `jetpace nvtx`: a file for each process, written anew while it runs, as a program may be killed.

use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::process;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use agent::nvtx::list::{ENDING, Kind, Tally};
use agent::runtime::fork;

use crate::names::{self, Domain, Name, Range};
use crate::quiet::{self, Errno};

/// How often the file is written, where something has changed.
const WRITE_EVERY: Duration = Duration::from_millis(200);

/// So many names are listed; those beyond are not.
const MOST_ROWS: usize = 4096;

/// So many times are kept of each, at most: of more every other one goes.
const MOST_SAMPLES: usize = 512;

/// A pushed range of a thread.
struct Open {
    domain: Domain,
    row: Option<usize>,
    since: Instant,
}

thread_local! {
    static STACK: RefCell<Vec<Open>> = const { RefCell::new(Vec::new()) };
    static THREAD: u32 = {
        static LAST: AtomicU32 = AtomicU32::new(0);
        LAST.fetch_add(1, Ordering::Relaxed)
    };
}

/// The list of this process.
pub struct List {
    folder: PathBuf,
    /// The process that the rows are of.
    generation: AtomicU32,
    rows: Mutex<Rows>,
    last: AtomicU64,
}

#[derive(Default)]
struct Rows {
    places: HashMap<(Domain, Box<[u8]>, Kind), usize>,
    rows: Vec<Row>,
    started: HashMap<u64, (usize, Instant)>,
    changed: bool,
}

struct Row {
    tally: Tally,
    threads: HashSet<u32>,
    /// `None` as long as nothing was seen, `Some(None)` where it is not always the same.
    within: Option<Option<usize>>,
    /// Every so many-th time is kept.
    stride: u64,
}

impl List {
    pub fn new(folder: PathBuf) -> Self {
        let generation = AtomicU32::new(fork::generation());
        Self { folder, generation, rows: Mutex::default(), last: AtomicU64::new(0) }
    }

    /// Has the file written from now on, and at the process's end.
    pub fn begin(&'static self) {
        quiet::at_exit();
        self.write_often();
    }

    fn write_often(&'static self) {
        // Without a thread it is written at the end alone.
        let _ = quiet::thread("jetpace-nvtx", move || {
            loop {
                thread::sleep(WRITE_EVERY);
                self.write();
            }
        });
    }

    /// Writes the file, where something has changed.
    pub fn write(&self) {
        // A forked child that has begun no range has its parent's list, and perhaps its parent's lock.
        if self.generation.load(Ordering::Relaxed) != fork::generation() {
            return;
        }
        let tallies = {
            let mut rows = self.rows.lock().unwrap_or_else(PoisonError::into_inner);
            if !std::mem::take(&mut rows.changed) {
                return;
            }
            rows.tallies()
        };
        let path = self.folder.join(format!("{}.{ENDING}", process::id()));
        let beside = path.with_extension("new");
        // Where it cannot be written the program runs on.
        if let Ok(text) = serde_json::to_vec(&tallies) {
            let _ = fs::write(&beside, text).and_then(|()| fs::rename(&beside, &path));
        }
    }

    /// Does something with the rows. A forked child begins a list of its own.
    fn with<T>(&'static self, run: impl FnOnce(&mut Rows) -> T) -> Option<T> {
        let _errno = Errno::keep();
        let now = fork::generation();
        let mut rows = if self.generation.load(Ordering::Relaxed) == now {
            self.rows.lock().ok()?
        } else {
            // At the fork another thread may have had the lock, which nobody gives back in the child.
            let mut rows = self.rows.try_lock().ok()?;
            *rows = Rows::default();
            self.generation.store(now, Ordering::Relaxed);
            STACK.with_borrow_mut(Vec::clear);
            self.write_often();
            rows
        };
        rows.changed = true;
        catch_unwind(AssertUnwindSafe(|| run(&mut rows))).ok()
    }

    pub fn push(&'static self, range: Range<'_>) {
        self.with(|rows| {
            STACK.with_borrow_mut(|stack| {
                let around = stack.last().and_then(|open| open.row);
                let row = rows.begin(&range, Kind::Push, Some((stack.len(), around)));
                stack.push(Open { domain: range.domain, row, since: Instant::now() });
            });
        });
    }

    pub fn pop(&'static self, domain: Domain) {
        let now = Instant::now();
        self.with(|rows| {
            STACK.with_borrow_mut(|stack| {
                let Some(at) = stack.iter().rposition(|open| open.domain == domain) else { return };
                let open = stack.remove(at);
                rows.end(open.row, now - open.since);
            });
        });
    }

    pub fn start(&'static self, range: Range<'_>) -> u64 {
        let id = self.last.fetch_add(1, Ordering::Relaxed) + 1;
        self.with(|rows| {
            if let Some(row) = rows.begin(&range, Kind::Start, None) {
                rows.started.insert(id, (row, Instant::now()));
            }
        });
        id
    }

    pub fn end(&'static self, id: u64) {
        let now = Instant::now();
        self.with(|rows| {
            if let Some((row, since)) = rows.started.remove(&id) {
                rows.end(Some(row), now - since);
            }
        });
    }

    pub fn mark(&'static self, range: Range<'_>) {
        self.with(|rows| rows.begin(&range, Kind::Mark, None));
    }
}

impl Rows {
    /// Counts a range that begins; `pushed` says how deep, and right within which.
    fn begin(&mut self, range: &Range<'_>, kind: Kind, pushed: Option<(usize, Option<usize>)>) -> Option<usize> {
        let name: Box<[u8]> = match range.name {
            Name::None => Box::default(),
            Name::Registered(handle) => names::registered(handle).unwrap_or_default(),
            Name::Text(text) => text.into(),
        };
        let key = (range.domain, name, kind);
        let at = match self.places.get(&key) {
            Some(at) => *at,
            None if self.rows.len() == MOST_ROWS => return None,
            None => {
                let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
                let tally = Tally {
                    domain: text(&names::domain_name(range.domain)),
                    name: text(&key.1),
                    kind,
                    count: 0,
                    total_ns: 0,
                    ended: 0,
                    samples_ns: Vec::new(),
                    threads: 0,
                    depth: u32::MAX,
                    within: None,
                    payloads: None,
                };
                self.rows.push(Row { tally, threads: HashSet::new(), within: None, stride: 1 });
                self.places.insert(key, self.rows.len() - 1);
                self.rows.len() - 1
            }
        };
        let row = self.rows.get_mut(at)?;
        let (depth, around) = pushed.unwrap_or_default();
        row.tally.count += 1;
        row.tally.depth = row.tally.depth.min(depth as u32);
        row.within = match row.within {
            None => Some(around),
            Some(before) => Some(before.filter(|_| before == around)),
        };
        row.threads.insert(THREAD.with(|number| *number));
        if let Some(payload) = range.payload {
            let [least, most] = row.tally.payloads.unwrap_or([payload; 2]);
            row.tally.payloads = Some([least.min(payload), most.max(payload)]);
        }
        Some(at)
    }

    fn end(&mut self, row: Option<usize>, took: Duration) {
        let Some(row) = row.and_then(|at| self.rows.get_mut(at)) else { return };
        let took = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        let tally = &mut row.tally;
        if tally.ended % row.stride == 0 {
            if tally.samples_ns.len() == MOST_SAMPLES {
                let mut keep = false;
                tally.samples_ns.retain(|_| {
                    keep = !keep;
                    keep
                });
                row.stride *= 2;
            }
            tally.samples_ns.push(took);
        }
        tally.ended += 1;
        tally.total_ns = tally.total_ns.saturating_add(took);
    }

    fn tallies(&self) -> Vec<Tally> {
        let tally =
            |row: &Row| Tally { threads: row.threads.len() as u32, within: row.within.flatten(), ..row.tally.clone() };
        self.rows.iter().map(tally).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(name: &'static str, payload: Option<i64>) -> Range<'static> {
        Range { domain: Domain(0), name: Name::Text(name.as_bytes()), payload }
    }

    #[test]
    fn ranges_are_counted_with_what_is_around_them() {
        let folder = tempfile::tempdir().unwrap();
        let list: &'static List = Box::leak(Box::new(List::new(folder.path().to_owned())));
        for n in 0..3_i64 {
            list.push(range("frame", Some(64 << n)));
            list.push(range("block", None));
            list.pop(Domain(0));
            list.pop(Domain(0));
            // One too many is nothing.
            list.pop(Domain(0));
        }
        list.push(range("block", None));
        let id = list.start(range("load", None));
        list.end(id);
        list.end(id);
        thread::spawn(|| list.mark(range("here", None))).join().unwrap();
        list.mark(range("here", None));
        list.write();
        let text = fs::read(folder.path().join(format!("{}.json", process::id()))).unwrap();
        let tallies: Vec<Tally> = serde_json::from_slice(&text).unwrap();
        let seen = tallies.iter().map(|it| (&*it.name, it.kind, it.count, it.ended, it.threads, it.depth, it.within));
        assert_eq!(
            seen.collect::<Vec<_>>(),
            [
                ("frame", Kind::Push, 3, 3, 1, 0, None),
                ("block", Kind::Push, 4, 3, 1, 0, None),
                ("load", Kind::Start, 1, 1, 1, 0, None),
                ("here", Kind::Mark, 2, 0, 2, 0, None)
            ]
        );
        assert_eq!(tallies[0].payloads, Some([64, 256]));
    }

    #[test]
    fn what_is_always_around_is_known_and_samples_are_of_all_times() {
        let mut rows = Rows::default();
        let around = rows.begin(&range("frame", None), Kind::Push, Some((0, None)));
        for took in 0..5000_u64 {
            let at = rows.begin(&range("block", None), Kind::Push, Some((1, around)));
            rows.end(at, Duration::from_nanos(took));
        }
        let tallies = rows.tallies();
        assert_eq!((tallies[1].within, tallies[1].depth, tallies[1].ended), (Some(0), 1, 5000));
        assert!((256..=MOST_SAMPLES).contains(&tallies[1].samples_ns.len()));
        let median = tallies[1].median().unwrap().get();
        assert!((2400..2600).contains(&median), "{median}");
        assert_eq!(tallies[1].mean().unwrap().get(), 2499);
    }
}
