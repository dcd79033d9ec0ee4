//! The checks of HARDWARE.md that need no write: what a real board shows, to be sent back as one JSON file.

mod rails;

use std::path::Path;

use jetpace_tables::hw::Timer;
use jetpace_tables::units::Hertz;
use serde::Serialize;

use crate::board::{Board, STOCK};
use crate::gpu::Way;
use crate::nodes::Nodes;
use crate::text;

/// One check.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Check {
    /// As in HARDWARE.md.
    pub name: &'static str,
    /// Whether what was assumed is so; `None` where this machine cannot tell.
    pub holds: Option<bool>,
    /// What was seen.
    pub seen: String,
}

/// The result.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Report {
    /// The layout's number.
    pub format: u32,
    /// Module part number.
    pub part: Option<String>,
    /// L4T release.
    pub l4t: Option<String>,
    /// The kernel's own version.
    pub kernel: Option<String>,
    /// The board's digest; `None` where no GPU was found.
    pub digest: Option<String>,
    /// Whether no GPU was found because there is none whose clock could be set, and not because a node is broken.
    #[serde(skip)]
    pub unsupported: bool,
    /// The checks.
    pub checks: Vec<Check>,
}

impl Report {
    /// Checks whose assumption does not hold.
    pub fn broken(&self) -> impl Iterator<Item = &Check> {
        self.checks.iter().filter(|check| check.holds == Some(false))
    }

    /// Those of them that jetpace relies on.
    pub fn serious(&self) -> impl Iterator<Item = &Check> {
        self.broken().filter(|check| RELIED_ON.contains(&check.name))
    }
}

/// Checks without which nothing that jetpace does can be relied on. The others say which way it will go, or what it
/// will not know.
const RELIED_ON: [&str; 7] = [
    "gpu-found",
    "clocks-ascending",
    "floor-below-bound",
    "emc-within-cap",
    "rails-read",
    "rails-not-negative",
    "rails-total-above-gpu",
];

fn check(name: &'static str, holds: impl Into<Option<bool>>, seen: impl Into<String>) -> Check {
    Check { name, holds: holds.into(), seen: seen.into() }
}

/// Makes all checks. Reads only; rails are read `rounds` times.
pub fn run<N: Nodes + Clone>(nodes: &N, timer: impl Timer, rounds: usize) -> Report {
    let kernel = text::word_if_there(nodes, Path::new("/proc/sys/kernel/osrelease"));
    match Board::discover(nodes) {
        Ok(board) => {
            let mut checks = vec![check("gpu-found", true, board.gpu.devfreq.display().to_string())];
            checks.extend(clocks(nodes, &board));
            checks.extend(ways(nodes, &board));
            checks.extend(modes(&board));
            checks.extend(memory(nodes, &board));
            checks.extend(heat(nodes, &board));
            checks.extend(rails::checks(nodes, timer, &board, rounds));
            let identity = board.identity.clone();
            let (part, l4t, digest) = (identity.part, identity.l4t, Some(board.digest()));
            Report { format: 1, part, l4t, kernel, digest, unsupported: false, checks }
        }
        Err(e) => {
            let checks = vec![check("gpu-found", false, e.to_string())];
            let unsupported = e.is_unsupported();
            Report { format: 1, part: None, l4t: None, kernel, digest: None, unsupported, checks }
        }
    }
}

/// A value, or that there is none.
fn said(value: Option<impl std::fmt::Display>) -> String {
    value.map_or_else(|| "unknown".to_owned(), |value| value.to_string())
}

fn megahertz(clocks: &[Hertz]) -> String {
    clocks.iter().map(|clock| format!("{}", clock.get() as f64 / 1e6)).collect::<Vec<_>>().join(" ")
}

fn clocks<N: Nodes>(nodes: &N, board: &Board) -> Vec<Check> {
    let gpu = &board.gpu;
    let raw = text::word(nodes, &gpu.node("available_frequencies")).unwrap_or_default();
    let raw: Vec<Hertz> = raw.split_ascii_whitespace().filter_map(text::parse_hertz).collect();
    let whole = gpu.clocks.iter().all(|clock| clock.get() % 1000 == 0);
    let current = text::hertz(nodes, &gpu.node("cur_freq"));
    let listed = current.as_ref().ok().map(|current| gpu.clocks.contains(current));
    let current = current.map_or_else(|e| e.to_string(), |current| current.to_string());
    let bounds = gpu.min.at().zip(gpu.max.at()).map(|(min, max)| min <= max);
    vec![
        check("clocks-ascending", raw == gpu.clocks, megahertz(&raw)),
        check("clocks-in-whole-khz", whole, format!("{} clocks", gpu.clocks.len())),
        check("current-clock-listed", listed, current),
        check("floor-below-bound", bounds, format!("{} to {}", gpu.min, gpu.max)),
        check(
            "bound-listed",
            gpu.max.at().map(|max| gpu.clocks.contains(&max)),
            format!("{}, the user's bound {}, cap {}", gpu.max, gpu.user, gpu.cap),
        ),
        check(
            "bound-as-claimed",
            board.differs.is_none(),
            board.differs.clone().unwrap_or_else(|| "no difference".to_owned()),
        ),
        check("held-down", None, or_nothing(&board.bounds_in_words(nodes))),
    ]
}

fn or_nothing(said: &[String]) -> String {
    if said.is_empty() { "by nothing".to_owned() } else { said.join("; ") }
}

fn ways<N: Nodes>(nodes: &N, board: &Board) -> Vec<Check> {
    let gpu = &board.gpu;
    let mut checks = vec![
        check(
            "stock-governor",
            gpu.stock_governor() == Some(STOCK),
            gpu.fixed_governor().unwrap_or_else(|| gpu.governor.clone()),
        ),
        check("governors", None, gpu.governors.join(" ")),
    ];
    const NAMES: [&str; Way::ALL.len()] = ["way-userspace", "way-performance", "way-podgov", "way-min-max"];
    for (way, name) in Way::ALL.into_iter().zip(NAMES) {
        let lacks = way.lacks(nodes, gpu);
        checks.push(check(name, lacks.as_ref().map(|_| false), lacks.unwrap_or_else(|| "there, not tried".to_owned())));
    }
    let sleep = gpu.sleep.as_ref().map(|control| match text::word(nodes, control) {
        Ok(now) => format!("{}: {now}", control.display()),
        Err(e) => e.to_string(),
    });
    checks.push(check(
        "sleep-control",
        sleep.is_some(),
        sleep.unwrap_or_else(|| "no power/control above it".to_owned()),
    ));
    let load = text::integer(nodes, &gpu.device.join("load"));
    let permille = load.as_ref().ok().map(|load| (0..=1000).contains(load));
    checks.push(check("load-in-permille", permille, load.map_or_else(|e| e.to_string(), |load| load.to_string())));
    checks
}

fn modes(board: &Board) -> Vec<Check> {
    let mode = board.power_mode.as_ref();
    let named = mode.map(|mode| mode.name.is_some());
    let seen = mode.map_or_else(|| "no nvpmodel".to_owned(), ToString::to_string);
    let tpc = board.gpu.tpc_mask.clone();
    vec![
        check("power-mode-named", named, seen),
        check("module-part", board.identity.part.is_some(), board.identity.part.clone().unwrap_or_default()),
        check("release", board.identity.l4t.is_some(), board.identity.l4t.clone().unwrap_or_default()),
        check("tpc-mask", tpc.is_some(), tpc.unwrap_or_default()),
    ]
}

fn memory<N: Nodes>(nodes: &N, board: &Board) -> Vec<Check> {
    let Some(emc) = &board.emc else {
        return vec![check("emc-found", false, "not found, or not readable by this user")];
    };
    let now = text::hertz(nodes, &emc.rate);
    let within = now.as_ref().ok().and_then(|now| emc.cap.map(|cap| *now <= cap));
    let now = now.map_or_else(|e| e.to_string(), |now| now.to_string());
    vec![
        check("emc-found", true, emc.dir.display().to_string()),
        check("emc-within-cap", within, format!("{now}, cap {}", said(emc.cap))),
        check("emc-clocks", None, megahertz(&emc.clocks)),
        check("emc-lock", None, if emc.lock.is_some() { "nodes are there" } else { "none" }),
    ]
}

fn heat<N: Nodes>(nodes: &N, board: &Board) -> Vec<Check> {
    let each: Vec<String> = board
        .zones
        .iter()
        .map(|zone| match zone.read(nodes) {
            Some(value) => format!("{} {}", zone.name, value.get() as f64 / 1e3),
            None => format!("{} none", zone.name),
        })
        .collect();
    let gpu = board.zones.iter().any(|zone| zone.name.to_ascii_lowercase().starts_with("gpu"));
    let whose = |of_gpu: bool| if of_gpu { "the GPU's" } else { "another's" };
    let cooling: Vec<String> =
        board.cooling.iter().map(|device| format!("{} ({})", device.name, whose(device.of_gpu))).collect();
    let counters: Vec<String> = board
        .over_current
        .iter()
        .map(|counter| {
            let count = text::integer(nodes, &counter.path).map_or_else(|_| "unreadable".to_owned(), |n| n.to_string());
            format!("{} {count}", counter.name)
        })
        .collect();
    vec![
        check("gpu-zone", gpu, each.join(", ")),
        check("throttle-alerts", None, cooling.join(", ")),
        check("over-current-counters", None, counters.join(", ")),
    ]
}
