//! Putting original values back, in an order that is never refused and never passes through a floor above the bound.

use std::io;
use std::path::{Path, PathBuf};

use jetpace_tables::units::Hertz;

use crate::guard::state::{Entry, Kind};
use crate::nodes::Nodes;
use crate::{text, thermal};

/// What became of each node.
#[derive(Debug, Default)]
pub struct Report {
    /// Put back now, or holding the original value already.
    pub restored: Vec<PathBuf>,
    /// Changed by someone else meanwhile, and left: node and what it holds.
    pub foreign: Vec<(PathBuf, String)>,
    /// Gone, with the driver or the governor that they belonged to.
    pub gone: Vec<PathBuf>,
    /// Not put back: node, original value and why.
    pub failed: Vec<(PathBuf, String, String)>,
}

impl Report {
    /// Whether a node has to be put back another time: it failed, or the other half of its pair did, without which a
    /// floor does not show what it really is.
    pub(super) fn is_due(&self, entry: &Entry) -> bool {
        let pair = matches!(entry.kind, Kind::Min | Kind::Max);
        self.failed.iter().any(|(path, ..)| *path == entry.path || pair && path.parent() == entry.path.parent())
    }

    /// The failures as one text, nodes and values named.
    pub fn failures(&self) -> String {
        let each = self.failed.iter().map(|(path, value, why)| format!("{} = {value} ({why})", path.display()));
        each.collect::<Vec<_>>().join("; ")
    }
}

/// Puts back every node of `entries` that still holds a value of ours.
///
/// Governors go first: the stock governor takes over within the narrow bounds, and the clock makes no jump to the
/// top, as `performance` would when its bound is lifted. Bounds follow in pairs, the rest in reverse order.
pub fn put_back<N: Nodes>(nodes: &N, entries: &[Entry]) -> Report {
    let mut report = Report::default();
    let of = |kind: Kind| entries.iter().filter(move |entry| entry.kind == kind);
    for entry in of(Kind::Governor) {
        put_one(nodes, entry, &mut report);
    }
    for max in of(Kind::Max) {
        let min = of(Kind::Min).find(|min| min.path.parent() == max.path.parent());
        put_pair(nodes, min, max, &mut report);
    }
    for entry in of(Kind::Min).filter(|min| !of(Kind::Max).any(|max| min.path.parent() == max.path.parent())) {
        put_one(nodes, entry, &mut report);
    }
    for entry in of(Kind::Plain).collect::<Vec<_>>().into_iter().rev() {
        put_one(nodes, entry, &mut report);
    }
    report
}

/// What a node holds, in view of what it held and what we wrote.
enum Holds {
    Original,
    /// With what it reads.
    Ours(String),
    Foreign(String),
    Gone,
}

fn look<N: Nodes>(nodes: &N, entry: &Entry, report: &mut Report) -> Option<Holds> {
    match text::word(nodes, &entry.path) {
        Ok(now) if now == entry.original => Some(Holds::Original),
        Ok(now) => Some(if entry.ours.contains(&now) { Holds::Ours(now) } else { Holds::Foreign(now) }),
        Err(crate::Error::Read { source, .. }) if is_gone(&source) => Some(Holds::Gone),
        Err(e) => {
            report.failed.push((entry.path.clone(), entry.original.clone(), e.to_string()));
            None
        }
    }
}

fn is_gone(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ENODEV | libc::ENOTDIR))
}

fn put_one<N: Nodes>(nodes: &N, entry: &Entry, report: &mut Report) {
    match look(nodes, entry, report) {
        None => {}
        Some(Holds::Original) => report.restored.push(entry.path.clone()),
        Some(Holds::Gone) => report.gone.push(entry.path.clone()),
        Some(Holds::Foreign(now)) => report.foreign.push((entry.path.clone(), now)),
        Some(Holds::Ours(now)) => write_back(nodes, entry, &now, &entry.original, report),
    }
}

/// Writes and reads back: a write can succeed and do nothing.
fn write_back<N: Nodes>(nodes: &N, entry: &Entry, before: &str, value: &str, report: &mut Report) {
    let why = match nodes.write(&entry.path, value) {
        Err(e) if is_gone(&e) => {
            report.gone.push(entry.path.clone());
            return;
        }
        Err(e) => e.to_string(),
        Ok(()) => match text::word(nodes, &entry.path) {
            Ok(now) if now == value => {
                report.restored.push(entry.path.clone());
                return;
            }
            // A bound reads back as the effective one: a cooling device may hold it below what was just written.
            Ok(now) if matches!(entry.kind, Kind::Min | Kind::Max) && (now != before || is_hot(nodes, &entry.path)) => {
                report.restored.push(entry.path.clone());
                return;
            }
            Ok(now) => format!("the write was taken, but it reads {now}"),
            Err(e) => e.to_string(),
        },
    };
    report.failed.push((entry.path.clone(), value.to_owned(), why));
}

/// A floor and a bound.
fn put_pair<N: Nodes>(nodes: &N, min: Option<&Entry>, max: &Entry, report: &mut Report) {
    let Some(min) = min else {
        return put_one(nodes, max, report);
    };
    let (min_holds, max_holds) = match (look(nodes, min, report), look(nodes, max, report)) {
        (Some(min_holds), Some(max_holds)) => (min_holds, max_holds),
        (Some(_), None) => return put_one(nodes, min, report),
        (None, Some(_)) => return put_one(nodes, max, report),
        (None, None) => return,
    };
    let bound_now = number(nodes, &max.path);
    // From 5.10 on a floor reads as the effective one: held down to a bound that someone lowered, ours is still there.
    let min_holds = match min_holds {
        Holds::Foreign(now) if held_down(min, &now) && text::parse_hertz(&now) == bound_now => Holds::Ours(now),
        other => other,
    };
    // For the same reason a floor that equals the bound may hide a higher one of ours, which would bite once the bound
    // is lifted: it is written even where it reads as the original.
    let min_holds = match min_holds {
        Holds::Original if original(min).is_some() && original(min) == bound_now => Holds::Ours(min.original.clone()),
        other => other,
    };
    // And a bound reads as what a cooling device leaves of it. One that we never wrote is nobody's business.
    let hot = is_hot(nodes, &max.path);
    let max_holds = match max_holds {
        Holds::Foreign(_) if max.ours.is_empty() => Holds::Original,
        Holds::Foreign(now) if held_down(max, &now) && hot => Holds::Ours(now),
        other => other,
    };
    let raise_bound_first = match (original(min), bound_now) {
        (Some(floor), Some(bound)) => floor > bound,
        _ => false,
    };
    let put_max = |report: &mut Report| match &max_holds {
        Holds::Original => report.restored.push(max.path.clone()),
        Holds::Gone => report.gone.push(max.path.clone()),
        Holds::Foreign(now) => report.foreign.push((max.path.clone(), now.clone())),
        Holds::Ours(now) => write_back(nodes, max, now, &max.original, report),
    };
    if raise_bound_first {
        put_max(report);
    }
    match &min_holds {
        Holds::Original => report.restored.push(min.path.clone()),
        Holds::Gone => report.gone.push(min.path.clone()),
        Holds::Foreign(now) => report.foreign.push((min.path.clone(), now.clone())),
        Holds::Ours(now) => {
            match (original(min), number(nodes, &max.path)) {
                (Some(floor), Some(bound)) if floor > bound => {
                    if report.failed.iter().any(|(path, ..)| *path == max.path) {
                        let why = format!("the bound is still {}", bound.get());
                        report.failed.push((min.path.clone(), min.original.clone(), why));
                    } else {
                        // Someone else's bound lies below the original floor: the floor goes as far.
                        write_back(nodes, min, now, &bound.get().to_string(), report);
                    }
                }
                _ => write_back(nodes, min, now, &min.original, report),
            }
        }
    }
    if !raise_bound_first {
        put_max(report);
    }
    // Under the bound that was lifted a floor shows that a write had no effect.
    if report.restored.contains(&min.path)
        && let Some(Holds::Ours(now)) = look(nodes, min, report)
    {
        report.restored.retain(|path| *path != min.path);
        write_back(nodes, min, &now, &min.original, report);
    }
}

/// Whether a cooling device holds the clock of a bound's device down now.
fn is_hot<N: Nodes>(nodes: &N, bound: &Path) -> bool {
    let device = bound.parent().and_then(Path::file_name).and_then(|name| name.to_str()).unwrap_or_default();
    thermal::gpu_throttled(nodes, &thermal::cooling(nodes, device))
}

fn original(entry: &Entry) -> Option<Hertz> {
    text::parse_hertz(&entry.original)
}

fn number<N: Nodes>(nodes: &N, path: &Path) -> Option<Hertz> {
    text::word(nodes, path).ok().and_then(|text| text::parse_hertz(&text))
}

/// Whether a bound lies below one that we may have written.
fn held_down(entry: &Entry, now: &str) -> bool {
    let highest = entry.ours.iter().filter_map(|text| text::parse_hertz(text)).max();
    text::parse_hertz(now).is_some_and(|now| highest > Some(now))
}
