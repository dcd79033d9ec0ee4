//! The state file: what the nodes held before the first write.

use std::io;
use std::path::{Path, PathBuf};

use jetpace_tables::work::ClockIndex;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::board::nvpmodel::STATUS;
use crate::error::Error;
use crate::guard::store::Store;
use crate::guard::written::Written;
use crate::nodes::Nodes;

/// Where it lies, below the tree's root. /run does not outlive the machine's run, and neither do sysfs values.
pub const STATE: &str = "/run/jetpace/state.json";

/// Where a state file goes that cannot be used.
pub const ASIDE: &str = "/run/jetpace/state.bad";

/// Which clocks hot writes may have left in the nodes: a bit for each of them, 32 bytes.
pub const WRITTEN: &str = "/run/jetpace/written";

/// The lock that keeps a second instance away.
pub const LOCK: &str = "/run/jetpace/lock";

/// What a node is, for the order in which it is put back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// A devfreq governor.
    Governor,
    /// A floor, with a [`Kind::Max`] in the same folder.
    Min,
    /// A bound, with a [`Kind::Min`] in the same folder.
    Max,
    /// Any other.
    Plain,
}

/// A node that is or was written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// The node.
    pub path: PathBuf,
    /// What it is.
    pub kind: Kind,
    /// What it held before.
    pub original: String,
    /// What was written since.
    pub ours: Vec<String>,
    /// What hot writes may write, by clock; which of it they did stands in [`WRITTEN`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hot: Vec<String>,
}

impl Entry {
    /// With everything in `ours` that it may hold from us. Without the bits that may be all that hot writes write.
    pub fn as_written(&self, written: Option<&Written>) -> Self {
        let may =
            |at: usize| written.is_none_or(|written| u8::try_from(at).is_ok_and(|at| written.has(ClockIndex(at))));
        let hot = self.hot.iter().enumerate().filter(|(at, _)| may(*at)).map(|(_, value)| value.clone());
        Self { ours: self.ours.iter().cloned().chain(hot).collect(), ..self.clone() }
    }
}

/// The state file's content.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// The layout's number.
    pub format: u32,
    /// The run of the machine that it belongs to.
    pub boot_id: String,
    /// The machine that it belongs to.
    pub machine: String,
    /// nvpmodel's status when the originals were read.
    pub power_mode: String,
    /// Who wrote it.
    pub pid: u32,
    /// The nodes, in the order in which they were first written.
    pub nodes: Vec<Entry>,
}

/// The layout that is written.
const FORMAT: u32 = 2;

/// The one before: everything that may have been written stands in `ours`.
const FORMAT_1: u32 = 1;

/// What lies at the state file's place.
#[derive(Debug)]
pub enum Found {
    /// Nothing.
    Nothing,
    /// A state.
    State(State),
    /// Something that cannot be used, and why.
    Bad(String),
}

impl State {
    /// Nothing written yet, on this machine in this run of it.
    ///
    /// # Errors
    /// Where the machine cannot be told: a state file that names another one would never be applied.
    pub fn here<N: Nodes>(nodes: &N) -> Result<Self, Error> {
        Ok(Self {
            format: FORMAT,
            boot_id: read_if_there(nodes, "/proc/sys/kernel/random/boot_id")?.trim().to_owned(),
            machine: machine(nodes)?,
            power_mode: read_if_there(nodes, STATUS)?,
            pid: std::process::id(),
            nodes: Vec::new(),
        })
    }

    /// Reads the state file.
    ///
    /// # Errors
    /// Where it cannot be read: it may be another time.
    pub fn load<S: Store>(store: &S) -> Result<Found, Error> {
        let path = Path::new(STATE);
        match store.load(path) {
            Ok(text) => Ok(Self::parse(&text).map_or_else(Found::Bad, Found::State)),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(Found::Nothing),
            // A link, a FIFO, someone else's, or bytes that are no text.
            Err(e) if is_of_another_kind(&e) => Ok(Found::Bad(e.to_string())),
            Err(source) => Err(Error::State { path: path.to_owned(), what: "cannot be read", source }),
        }
    }

    /// Reads a state file's text.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let state: Self = serde_json::from_str(text).map_err(|e| format!("is not understood ({e})"))?;
        if ![FORMAT_1, FORMAT].contains(&state.format) {
            return Err(format!("has format {}, not {FORMAT}", state.format));
        }
        match state.nodes.iter().find(|entry| !is_plain(&entry.path)) {
            Some(entry) => Err(format!("names {:?}, which is no node of a clock", entry.path)),
            None => Ok(state),
        }
    }

    /// Whether it is of this machine and this run of it. The boot's number proves both, also after an upgrade in place;
    /// a copied tree may lack it.
    pub fn is_of(&self, here: &Self) -> bool {
        self.boot_id == here.boot_id && (!here.boot_id.is_empty() || self.machine == here.machine)
    }

    /// Writes the state file, durable.
    pub fn save<S: Store>(&self, store: &S) -> Result<(), Error> {
        let path = Path::new(STATE);
        let text = serde_json::to_string_pretty(self).unwrap_or_default();
        store.save(path, &text).map_err(|source| Error::State {
            path: path.to_owned(),
            what: "cannot be written",
            source,
        })
    }

    /// Removes the state file.
    pub fn remove<S: Store>(store: &S) -> Result<(), Error> {
        let path = Path::new(STATE);
        store.remove(path).map_err(|source| Error::State { path: path.to_owned(), what: "cannot be removed", source })
    }
}

fn is_of_another_kind(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::InvalidInput | io::ErrorKind::InvalidData)
        || matches!(error.raw_os_error(), Some(libc::ELOOP | libc::ENXIO | libc::EISDIR))
}

/// A file's text; a copied tree may lack it.
fn read_if_there<N: Nodes>(nodes: &N, path: &str) -> Result<String, Error> {
    let path = Path::new(path);
    match nodes.read(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(String::new()),
        read => read.map_err(|e| Error::read(path, e)),
    }
}

/// A digest of the module and its release. Less than a board's digest: the power mode may change while a clock is
/// held, and what was changed has to be put back then, too; and it is the same where the GPU's driver is not loaded.
fn machine<N: Nodes>(nodes: &N) -> Result<String, Error> {
    let mut hash = Sha256::new();
    for path in ["/proc/device-tree/model", "/proc/device-tree/compatible", "/etc/nv_tegra_release"] {
        hash.update(read_if_there(nodes, path)?);
        hash.update([0]);
    }
    Ok(crate::board::hex(&hash.finalize()))
}

/// Only nodes below /sys are put back, and no path that climbs: a forged state file must not make root write
/// elsewhere.
fn is_plain(path: &Path) -> bool {
    use std::path::Component::{Normal, RootDir};
    path.starts_with("/sys") && path.components().all(|part| matches!(part, Normal(_) | RootDir))
}
