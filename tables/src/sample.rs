//! One measurement, and a sweep of them: what calibration writes and fitting reads.

use std::string::String;
use std::vec::Vec;

use serde::{Deserialize, Serialize};

use crate::hw::PowerOf;
use crate::units::{Hertz, Microjoules, MilliCelsius, Milliwatts, Nanos};
use crate::work::Size;

/// What a row measures.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// A block's time, and the power while it ran over and over.
    #[default]
    Block,
    /// A whole frame's time at a clock, for how late rare frames are.
    Frame,
    /// Power while the GPU has nothing to do, at a clock.
    Idle,
    /// Time from the write until the new clock is in effect.
    Settle,
    /// Time in which the GPU does nothing while its clock changes.
    Stall,
    /// Time that the write itself takes the writer.
    Write,
}

impl Kind {
    /// Every kind, in the order of the main job.
    pub const ALL: [Self; 6] = [Self::Block, Self::Frame, Self::Idle, Self::Settle, Self::Stall, Self::Write];

    /// Its word in a sweep's column `kind`.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Block => "block",
            Self::Frame => "frame",
            Self::Idle => "idle",
            Self::Settle => "settle",
            Self::Stall => "stall",
            Self::Write => "write",
        }
    }

    /// The kind of a word, or `None` where there is none.
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.word() == word)
    }
}

/// The block name of idle rows that were measured while the GPU was railgated. Between the frames of a plan it is not,
/// so they are apart from the idle power of a clock.
pub const RAILGATED: &str = "railgated";

/// One measurement. Empty fields are `None`, or empty text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Row {
    /// The line of its file, counted from 1; 0 where it comes from no file.
    pub line: u64,
    /// What it measures.
    pub kind: Kind,
    /// The machine.
    pub device: String,
    /// The network.
    pub model: String,
    /// The block.
    pub block: String,
    /// The block's amount of work.
    pub size: Size,
    /// Tells repeats of one measurement apart.
    pub repeat: u32,
    /// The GPU's clock while it was measured (blocks, frames and idle).
    pub gpu_freq: Option<Hertz>,
    /// The memory's clock.
    pub emc_freq: Option<Hertz>,
    /// The CPU's clock: the part of a block's time that does not depend on the GPU depends on it.
    pub cpu_freq: Option<Hertz>,
    /// CPU cores online.
    pub cpu_cores: Option<u32>,
    /// The block's or frame's time; for settle, stall and write the time of the change.
    pub latency: Option<Nanos>,
    /// Standard deviation of single executions, where the row is a mean of several (`latency_sd_s`).
    pub latency_sd: Option<Nanos>,
    /// Power of the whole module.
    pub power: Option<Milliwatts>,
    /// Energy of one execution.
    pub energy: Option<Microjoules>,
    /// Executions or readings behind the row.
    pub samples: Option<u32>,
    /// The clock before a change.
    pub from: Option<Hertz>,
    /// The clock after a change.
    pub to: Option<Hertz>,
    /// Temperature of the GPU.
    pub temp: Option<MilliCelsius>,
    /// Why calibration holds the row for wrong; empty where it does not.
    pub rejected: String,
    /// Why its power and energy were left out, where the row had them; its time counts.
    pub power_rejected: String,
    /// Power of single rails, by the name in `rail_<name>_w`.
    pub rails: Vec<(String, Milliwatts)>,
    /// Columns that mean nothing to jetpace, kept as they are.
    pub extra: Vec<(String, String)>,
}

/// What tells two rows apart: a second row with the same key is a mistake in the file.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    /// Kind, device, model, block.
    pub what: (Kind, String, String, String),
    /// Size and repeat.
    pub which: (Size, u32),
    /// GPU, EMC and CPU clock, and the two clocks of a change.
    pub clocks: [Option<Hertz>; 5],
}

impl Row {
    /// The row's key.
    pub fn key(&self) -> Key {
        Key {
            what: (self.kind, self.device.clone(), self.model.clone(), self.block.clone()),
            which: (self.size, self.repeat),
            clocks: [self.gpu_freq, self.emc_freq, self.cpu_freq, self.from, self.to],
        }
    }

    /// Time in seconds.
    pub fn latency_s(&self) -> Option<f64> {
        self.latency.map(Nanos::as_secs_f64)
    }

    /// Power in watts.
    pub fn power_w(&self) -> Option<f64> {
        self.power.map(Milliwatts::as_watts_f64)
    }
}

/// The measurements of one file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sweep {
    /// Hex digest of the board that it was measured on; published sweeps have none.
    pub board: Option<String>,
    /// The other `key=value` fields of the first line, in order: `name` (the board's), `clocks` (its available
    /// clocks, in hertz, separated by commas), `repeats=frames` (rows with one `repeat` are one pass through all
    /// blocks), and whatever else the writer noted.
    pub fields: Vec<(String, String)>,
    /// In the order of the file.
    pub rows: Vec<Row>,
}

impl Sweep {
    /// A field of the first line.
    pub fn field(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// Whose power was measured: the module's, unless the first line says otherwise.
    pub fn power_of(&self) -> PowerOf {
        self.field("power_of").and_then(PowerOf::from_word).unwrap_or_default()
    }

    /// The board's available clocks, ascending: those of the first line, else those that blocks were measured at.
    pub fn clocks(&self) -> Vec<Hertz> {
        let mut clocks: Vec<Hertz> = match self.field("clocks") {
            Some(list) => list.split(',').filter_map(|text| text.parse().ok()).collect(),
            None => self.rows.iter().filter(|row| row.kind == Kind::Block).filter_map(|row| row.gpu_freq).collect(),
        };
        clocks.sort_unstable();
        clocks.dedup();
        clocks
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::ToString;
    use std::vec;

    #[test]
    fn the_clock_list_is_the_boards_where_it_is_known() {
        let row = |mhz: u64| Row { gpu_freq: Some(Hertz::new(mhz * 1_000_000)), ..Row::default() };
        let mut sweep = Sweep { rows: vec![row(612), row(306), row(612)], ..Sweep::default() };
        assert_eq!(sweep.clocks(), [Hertz::new(306_000_000), Hertz::new(612_000_000)]);
        sweep.fields.push(("clocks".to_string(), "918MHz,306000000".to_string()));
        assert_eq!(sweep.clocks(), [Hertz::new(306_000_000), Hertz::new(918_000_000)]);
    }

    #[test]
    fn repeats_have_keys_of_their_own() {
        let once = Row { block: "conv1".to_string(), ..Row::default() };
        let again = Row { repeat: 1, ..once.clone() };
        assert_ne!(once.key(), again.key());
        assert_eq!(once.key(), Row { latency: Some(Nanos::new(5)), ..once.clone() }.key());
    }

    #[test]
    fn every_kind_has_a_word() {
        for kind in Kind::ALL {
            assert_eq!(Kind::from_word(kind.word()), Some(kind));
        }
        assert_eq!(Kind::from_word("sleep"), None);
    }
}
