//! The ways of fixing the GPU's clock.

use std::fmt;
use std::path::PathBuf;

use jetpace_tables::units::Hertz;
use serde::{Deserialize, Serialize};

use crate::board::{FIXING, Gpu};
use crate::guard::{Keep, Kind};
use crate::nodes::Nodes;
use crate::text;

/// A way of fixing the GPU's clock, cheapest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Way {
    /// Governor `userspace`, one write to `userspace/set_freq`. The kernel itself keeps it below `max_freq`.
    Userspace,
    /// Governor `performance`, one write to `max_freq`. nvgpu up to R35 keeps a stale copy of the bound; there it may
    /// not follow.
    Performance,
    /// The stock governor nvhost_podgov with `user` = 1, one write to `freq_request`. Not applied while the GPU sleeps.
    Podgov,
    /// `min_freq` and `max_freq` both at the clock: two writes, works everywhere.
    MinMax,
}

impl Way {
    /// In the order in which they are tried.
    pub const ALL: [Self; 4] = [Self::Userspace, Self::Performance, Self::Podgov, Self::MinMax];

    /// As on the command line and in JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::Userspace => "userspace",
            Self::Performance => "performance",
            Self::Podgov => "podgov",
            Self::MinMax => "min-max",
        }
    }

    /// The governor that it needs; `None` leaves the one that is there.
    pub(super) fn governor(self) -> Option<&'static str> {
        let [by_request, by_bound] = FIXING;
        match self {
            Self::Userspace => Some(by_request),
            Self::Performance => Some(by_bound),
            Self::Podgov | Self::MinMax => None,
        }
    }

    /// Whether `max_freq` is ours to write while the clock is held.
    pub(super) fn writes_bound(self) -> bool {
        matches!(self, Self::Performance | Self::MinMax)
    }

    /// The node that is written for every clock.
    pub(super) fn node(self, gpu: &Gpu) -> PathBuf {
        match self {
            Self::Userspace => gpu.node("userspace/set_freq"),
            Self::Performance | Self::MinMax => gpu.node("max_freq"),
            Self::Podgov => gpu.device.join("freq_request"),
        }
    }

    /// All nodes that it writes.
    pub(super) fn nodes(self, gpu: &Gpu) -> Vec<PathBuf> {
        let mut nodes = vec![gpu.node("min_freq"), gpu.node("max_freq"), gpu.node("governor"), self.node(gpu)];
        if self == Self::Podgov {
            nodes.push(gpu.device.join("user"));
        }
        nodes
    }

    /// Why it is not there, or `None` where it can be tried. Reads only.
    pub fn lacks<N: Nodes>(self, nodes: &N, gpu: &Gpu) -> Option<String> {
        match self.governor() {
            Some(name) if self == Self::Userspace && gpu.governor == name && asks_for_nothing(nodes, gpu) => {
                Some(format!("governor {name} is at work and asks for no clock yet, which could not be put back"))
            }
            Some(_) if gpu.governor.is_empty() => {
                Some("the governor at work is not known, so it could not be put back".to_owned())
            }
            Some(name) if gpu.governors.iter().any(|governor| governor == name) || gpu.governor == name => None,
            Some(name) => Some(format!("governor {name} is not among the available ones")),
            None if self == Self::Podgov => {
                let there = ["user", "freq_request"].iter().all(|node| nodes.mode(&gpu.device.join(node)).is_ok());
                (!there).then(|| "the GPU has no nodes user and freq_request".to_owned())
            }
            None => None,
        }
    }

    /// The nodes that it writes, with the values that it writes or may write to them.
    pub(super) fn keeps<N: Nodes>(self, nodes: &N, gpu: &Gpu) -> Vec<Keep> {
        let all = || gpu.clocks.iter().map(|clock| clock.get().to_string()).collect::<Vec<_>>();
        let lowest = gpu.clocks.first().map(|clock| clock.get().to_string()).into_iter().collect::<Vec<_>>();
        let keep = |path: PathBuf, kind, ours| Keep::new(path, kind, ours);
        let hot = |path: PathBuf, kind, ours| Keep { hot: all(), ..Keep::new(path, kind, ours) };
        let mut keeps = Vec::new();
        if let Some(name) = self.governor() {
            keeps.push(keep(gpu.node("governor"), Kind::Governor, vec![name.to_owned()]));
        }
        let of_pair =
            |hotly: bool, path, kind, ours| if hotly { hot(path, kind, ours) } else { keep(path, kind, ours) };
        keeps.push(of_pair(self == Self::MinMax, gpu.node("min_freq"), Kind::Min, lowest));
        // Also where only the floor is written: the pair's order needs both.
        keeps.push(of_pair(self.writes_bound(), gpu.node("max_freq"), Kind::Max, Vec::new()));
        if self == Self::Userspace && nodes.mode(&self.node(gpu)).is_ok() {
            // The stock governor is userspace already: its request is someone's.
            keeps.push(hot(self.node(gpu), Kind::Plain, Vec::new()));
        }
        if self == Self::Podgov {
            // Put back in reverse: podgov decides again before the request, which is the top clock, is.
            keeps.push(hot(self.node(gpu), Kind::Plain, Vec::new()));
            keeps.push(keep(gpu.device.join("user"), Kind::Plain, vec!["1".to_owned()]));
        }
        keeps
    }
}

/// Whether `userspace/set_freq` reads `undefined`, as it does until someone writes it. No write brings that back.
fn asks_for_nothing<N: Nodes>(nodes: &N, gpu: &Gpu) -> bool {
    text::word(nodes, &gpu.node("userspace/set_freq")).is_ok_and(|asked| text::parse_hertz(&asked).is_none())
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl std::str::FromStr for Way {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL.into_iter().find(|way| way.name() == text).ok_or_else(|| {
            let names: Vec<&str> = Self::ALL.iter().map(|way| way.name()).collect();
            format!("not one of {}", names.join(", "))
        })
    }
}

/// A clock as the bytes that are written: plain decimal digits, no leading zero (which newer kernels read as octal),
/// no blank, no line end.
#[derive(Clone, Copy, Debug)]
pub(super) struct Digits {
    bytes: [u8; 20],
    length: u8,
}

impl Digits {
    pub fn new(clock: Hertz) -> Self {
        let text = clock.get().to_string();
        let mut bytes = [0; 20];
        let length = text.len().min(20);
        bytes[..length].copy_from_slice(&text.as_bytes()[..length]);
        Self { bytes, length: length as u8 }
    }

    pub fn bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.length)]
    }

    pub fn text(&self) -> &str {
        std::str::from_utf8(self.bytes()).unwrap_or_default()
    }
}
