//! A sweep in words: what was measured, where, and what ails it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use jetpace_tables::sample::{Kind, Sweep};
use jetpace_tables::units::Hertz;
use serde::Serialize;

use crate::files::sweep::remarks;

/// A sweep as JSON.
#[derive(Serialize)]
pub struct Document<'a> {
    format: u32,
    board: Option<&'a str>,
    /// The other fields of its first line.
    fields: BTreeMap<&'a str, &'a str>,
    device: Option<&'a str>,
    /// How many rows of each kind, and how many of them calibration rejected.
    rows: BTreeMap<&'static str, usize>,
    rejected: usize,
    networks: Vec<Network<'a>>,
    remarks: Vec<String>,
}

#[derive(Serialize)]
struct Network<'a> {
    network: &'a str,
    blocks: usize,
    sizes: BTreeSet<u32>,
    clocks_hz: BTreeSet<Hertz>,
    emc_clocks_hz: BTreeSet<Hertz>,
}

impl<'a> Document<'a> {
    pub fn new(sweep: &'a Sweep) -> Self {
        let mut rows = BTreeMap::new();
        let mut blocks: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
        let mut networks: Vec<Network<'_>> = Vec::new();
        for row in &sweep.rows {
            *rows.entry(row.kind.word()).or_default() += 1;
            if row.kind != Kind::Block {
                continue;
            }
            blocks.entry(&row.model).or_default().insert(&row.block);
            let at = networks.iter().position(|network| network.network == row.model).unwrap_or_else(|| {
                let (sizes, clocks_hz, emc_clocks_hz) = Default::default();
                networks.push(Network { network: &row.model, blocks: 0, sizes, clocks_hz, emc_clocks_hz });
                networks.len() - 1
            });
            let network = &mut networks[at];
            network.sizes.insert(row.size.0);
            network.clocks_hz.extend(row.gpu_freq);
            network.emc_clocks_hz.extend(row.emc_freq);
        }
        for network in &mut networks {
            network.blocks = blocks.get(network.network).map_or(0, BTreeSet::len);
        }
        Self {
            format: 1,
            board: sweep.board.as_deref(),
            fields: sweep.fields.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect(),
            device: sweep.rows.first().map(|row| row.device.as_str()),
            rows,
            rejected: sweep.rows.iter().filter(|row| !row.rejected.is_empty()).count(),
            networks,
            remarks: remarks(sweep),
        }
    }

    pub fn text(&self) -> String {
        let mut text = format!("sweep of {}\n", self.device.unwrap_or("no device"));
        // Writing to a String cannot fail.
        let _ = match self.board {
            Some(board) => writeln!(text, "board {board}"),
            None => writeln!(text, "it names no board"),
        };
        if let Some(evidence) = self.fields.get("evidence") {
            let _ = writeln!(text, "evidence: {evidence}");
        }
        let rows: Vec<String> = self.rows.iter().map(|(kind, count)| format!("{count} {kind}")).collect();
        let _ = writeln!(text, "rows: {}; rejected: {}", rows.join(", "), self.rejected);
        for network in &self.networks {
            let list = |clocks: &BTreeSet<Hertz>| clocks.iter().map(Hertz::to_string).collect::<Vec<_>>().join(", ");
            let _ = writeln!(text, "{}: {} blocks at {}", network.network, network.blocks, list(&network.clocks_hz));
            if !network.emc_clocks_hz.is_empty() {
                let _ = writeln!(text, "  EMC at {}", list(&network.emc_clocks_hz));
            }
            if network.sizes.len() > 1 {
                let sizes: Vec<String> = network.sizes.iter().map(u32::to_string).collect();
                let _ = writeln!(text, "  sizes {}", sizes.join(", "));
            }
        }
        for remark in &self.remarks {
            let _ = writeln!(text, "warning: {remark}");
        }
        text
    }
}
