//! Where the memory's (EMC) clock is read and, where the board lets it, locked.

use std::path::{Path, PathBuf};

use jetpace_tables::units::Hertz;

use crate::nodes::Nodes;
use crate::text;

/// How the EMC clock is locked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EmcLock {
    /// R38 and later: floor and bound of the devfreq device `bwmgr`.
    Devfreq,
    /// TX2 to Orin: `mrq_rate_locked`, `state`, `rate` in the BPMP's debugfs folder.
    Bpmp,
    /// Nano and TX1: `clk_update_rate`, `clk_state` of the clock `override.emc`.
    Override,
}

/// The memory's clock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Emc {
    /// The folder with its nodes.
    pub dir: PathBuf,
    /// Where the clock now is read.
    pub rate: PathBuf,
    /// The available clocks, ascending; empty where they are not listed.
    pub clocks: Vec<Hertz>,
    /// Its bound: nvpmodel's cap where that is readable, else the highest clock.
    pub cap: Option<Hertz>,
    /// The clock when the board was looked at.
    pub current: Option<Hertz>,
    /// How it can be locked; `None` where nodes for it are missing.
    pub lock: Option<EmcLock>,
}

const BWMGR: &str = "/sys/class/devfreq/bwmgr";
const BPMP: &str = "/sys/kernel/debug/bpmp/debug";
const OVERRIDE: &str = "/sys/kernel/debug/clk/override.emc";

impl Emc {
    pub(super) fn find<N: Nodes>(nodes: &N, missing: &mut Vec<String>) -> Option<Self> {
        let found = devfreq(nodes).or_else(|| bpmp(nodes)).or_else(|| by_override(nodes));
        if found.is_none() {
            let hint = match nodes.list(Path::new("/sys/kernel/debug")) {
                Err(e) if e.kind() == std::io::ErrorKind::PermissionDenied => "debugfs is root's alone",
                _ => "none of bwmgr, BPMP's debugfs and override.emc is here",
            };
            missing.push(format!("EMC clock: {hint}"));
        }
        found.map(|emc| Self { cap: configured_cap(nodes).or(emc.cap), ..emc })
    }
}

impl Emc {
    /// The nodes by which it is locked.
    pub(super) fn writable(&self) -> Vec<PathBuf> {
        let nodes: &[&str] = match self.lock {
            None => &[],
            Some(EmcLock::Devfreq) => &["min_freq", "max_freq"],
            Some(EmcLock::Bpmp) => &["mrq_rate_locked", "state", "rate"],
            Some(EmcLock::Override) => &["clk_update_rate", "clk_state"],
        };
        nodes.iter().map(|node| self.dir.join(node)).collect()
    }

    /// nvpmodel's cap as it is now, or the one found at first where that is not readable.
    fn cap_now<N: Nodes>(&self, nodes: &N) -> Option<Hertz> {
        configured_cap(nodes).or(self.cap)
    }

    /// The clock that the memory is locked at.
    pub fn locked<N: Nodes>(&self, nodes: &N) -> Option<Hertz> {
        let number = |name: &str| number(nodes, &self.dir.join(name));
        match self.lock.as_ref()? {
            EmcLock::Devfreq => number("min_freq").filter(|floor| number("max_freq") == Some(*floor)).map(Hertz::new),
            EmcLock::Bpmp if number("mrq_rate_locked")? == 1 && number("state")? == 1 => number("rate").map(Hertz::new),
            EmcLock::Override if number("clk_state")? == 1 => number("clk_update_rate").map(Hertz::new),
            EmcLock::Bpmp | EmcLock::Override => None,
        }
    }

    /// The clock that the memory is held at: locked above the cap it runs at the cap. `None` where it follows the load,
    /// or where nobody may look.
    pub fn held<N: Nodes>(&self, nodes: &N) -> Option<Hertz> {
        match self.range(nodes) {
            EmcRange::Held(held) => Some(held),
            EmcRange::AtMost(_) | EmcRange::Free => None,
        }
    }

    /// What the memory may run at now.
    pub fn range<N: Nodes>(&self, nodes: &N) -> EmcRange {
        match (self.locked(nodes), self.cap_now(nodes)) {
            (Some(locked), cap) => EmcRange::Held(cap.map_or(locked, |cap| cap.min(locked))),
            (None, Some(cap)) => EmcRange::AtMost(cap),
            (None, None) => EmcRange::Free,
        }
    }

    /// The clock that speaks against `planned`: the one that the memory is held at, a cap below it, or one above it that
    /// runs now. Below it an unlocked clock may be at any time: then nothing asks for more.
    pub fn other_than<N: Nodes>(&self, nodes: &N, planned: Hertz) -> Option<Hertz> {
        let range = self.range(nodes);
        let runs = || number(nodes, &self.rate).map(Hertz::new).filter(|rate| *rate > planned);
        match range {
            EmcRange::Held(_) => range.other_than(planned),
            EmcRange::AtMost(_) | EmcRange::Free => range.other_than(planned).or_else(runs),
        }
    }
}

/// What the memory may run at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum EmcRange {
    /// Anything, or nobody may look.
    #[default]
    Free,
    /// Anything up to this cap.
    AtMost(Hertz),
    /// This clock alone.
    Held(Hertz),
}

impl EmcRange {
    /// The clock that speaks against `planned`: the one that is held where it is another, or a cap below it.
    pub fn other_than(self, planned: Hertz) -> Option<Hertz> {
        match self {
            Self::Free => None,
            Self::AtMost(cap) => Some(cap).filter(|cap| *cap < planned),
            Self::Held(held) => Some(held).filter(|held| *held != planned),
        }
    }
}

fn number<N: Nodes>(nodes: &N, path: &Path) -> Option<u64> {
    nodes.read(path).ok()?.trim().parse().ok()
}

/// nvpmodel's cap; 0 and unbounded values mean none.
fn configured_cap<N: Nodes>(nodes: &N) -> Option<Hertz> {
    ["/sys/kernel/nvpmodel_clk_cap/emc", "/sys/kernel/nvpmodel_emc_cap/emc_iso_cap"]
        .iter()
        .find_map(|path| text::hertz(nodes, Path::new(path)).ok())
}

fn devfreq<N: Nodes>(nodes: &N) -> Option<Emc> {
    let dir = nodes.canonical(Path::new(BWMGR)).ok()?;
    let rate = dir.join("cur_freq");
    let current = text::hertz(nodes, &rate).ok();
    let lockable = ["min_freq", "max_freq"].iter().all(|node| nodes.mode(&dir.join(node)).is_ok());
    let clocks =
        text::clock_list(nodes, &dir.join("available_frequencies")).map(|(clocks, _)| clocks).unwrap_or_default();
    let cap = text::hertz(nodes, &dir.join("max_freq")).ok();
    Some(Emc { rate, clocks, cap, current, lock: lockable.then_some(EmcLock::Devfreq), dir })
}

fn bpmp<N: Nodes>(nodes: &N) -> Option<Emc> {
    let dir = Path::new(BPMP).join("clk/emc");
    let rate = dir.join("rate");
    let current = Some(text::hertz(nodes, &rate).ok()?);
    let lockable = ["mrq_rate_locked", "state"].iter().all(|node| nodes.mode(&dir.join(node)).is_ok());
    let cap = text::hertz(nodes, &dir.join("max_rate")).ok();
    let clocks = possible_rates(nodes).unwrap_or_default();
    Some(Emc { rate, clocks, cap, current, lock: lockable.then_some(EmcLock::Bpmp), dir })
}

/// `204000 665600 2133000 (kHz)`
fn possible_rates<N: Nodes>(nodes: &N) -> Option<Vec<Hertz>> {
    let text = text::word(nodes, &Path::new(BPMP).join("emc/possible_rates")).ok()?;
    let rates = text.strip_suffix("(kHz)")?;
    let rates: Option<Vec<Hertz>> =
        rates.split_ascii_whitespace().map(|khz| text::parse_hertz(&format!("{khz}000"))).collect();
    let mut rates = rates?;
    rates.sort_unstable();
    rates.dedup();
    Some(rates)
}

fn by_override<N: Nodes>(nodes: &N) -> Option<Emc> {
    let dir = PathBuf::from(OVERRIDE);
    let rate = dir.join("clk_rate");
    let current = Some(text::hertz(nodes, &rate).ok()?);
    let lockable = ["clk_update_rate", "clk_state"].iter().all(|node| nodes.mode(&dir.join(node)).is_ok());
    let cap = text::hertz(nodes, Path::new("/sys/kernel/debug/tegra_bwmgr/emc_max_rate")).ok();
    Some(Emc { rate, clocks: Vec::new(), cap, current, lock: lockable.then_some(EmcLock::Override), dir })
}
