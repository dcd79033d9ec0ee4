//! Where what was found before is not known any more: the GPU's bounds as nvpmodel's mode has them.

use jetpace_tables::names::Shown;

use super::put_back::{Report, put_back};
use super::state::{ASIDE, Entry, Kind, STATE};
use crate::board::{Board, Bound, FIXING, STOCK, highest_below};
use crate::error::Error;
use crate::nodes::Nodes;
use crate::text;

/// The stock governors, as releases name them.
const STOCKS: [&str; 2] = [STOCK, "simple_ondemand"];

/// Puts nvpmodel's bounds in, and a stock governor in the place of one that a killed instance may have left; `None` where
/// nvpmodel tells nothing, or there is no GPU. Nothing else is touched.
///
/// # Errors
/// Where the GPU cannot be looked at.
pub(super) fn bounds_by_nvpmodel<N: Nodes>(nodes: &N) -> Result<Option<Report>, Error> {
    let board = match Board::discover(nodes) {
        Ok(board) => board,
        Err(Error::NoGpu { .. } | Error::ForeignGpu { .. }) => return Ok(None),
        Err(e) => return Err(e),
    };
    let gpu = board.gpu;
    let mode = board.power_mode.filter(|mode| mode.gpu_max != Bound::Unknown);
    let (Some(mode), Some(lowest)) = (mode, gpu.clocks.first()) else { return Ok(None) };
    let entry = |node: &str, kind, original: String| -> Result<Entry, Error> {
        let path = gpu.node(node);
        let ours = vec![text::word(nodes, &path)?];
        Ok(Entry { path, kind, original, ours, hot: Vec::new() })
    };
    let mut entries = Vec::new();
    let stock = STOCKS.iter().find(|stock| gpu.governors.iter().any(|governor| governor == *stock));
    let is_ours = FIXING.contains(&gpu.governor.as_str());
    if let Some(stock) = stock.filter(|_| is_ours) {
        entries.push(entry("governor", Kind::Governor, (*stock).to_owned())?);
    }
    entries.push(entry("min_freq", Kind::Min, lowest.get().to_string())?);
    entries.push(entry("max_freq", Kind::Max, highest_below(&gpu.clocks, mode.gpu_max.at()).get().to_string())?);
    Ok(Some(put_back(nodes, &entries)))
}

/// What was done with a state file that cannot be used, in words.
pub fn words(why: &str, bounds: Option<&Report>) -> String {
    let bounds = match bounds {
        None => "nvpmodel tells no bounds, so the nodes are left as they are: look at them".to_owned(),
        Some(report) if report.failed.is_empty() => "the GPU's bounds are nvpmodel's now".to_owned(),
        Some(report) => format!("nvpmodel's bounds could not be put in: {}", report.failures()),
    };
    format!("{STATE} {}; it is kept as {ASIDE}; {bounds}", Shown(why))
}
