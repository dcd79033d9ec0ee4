//! Faster conversions where the driver permits it; the guard puts the old pace back.

use std::collections::BTreeSet;
use std::path::PathBuf;

use super::{Rail, RailSource};
use crate::error::Error;
use crate::guard::{Guard, Keep, Kind, Store};
use crate::nodes::Nodes;

/// Lets every chip convert as fast as it can: hwmon's `update_interval` at its shortest (0.84 ms for three channels, read
/// back as 1), and R32's iio driver one conversion of 0.84 ms per reading instead of an average over 54 or 430 ms.
/// Whether all chips took it; those whose node is missing, or not this user's to write, stay as they are.
///
/// # Errors
/// Where a node that may be written could not be recorded first, or answers with an error.
pub fn sample_faster<N: Nodes + Store>(nodes: &N, guard: &Guard<N>, rails: &[Rail]) -> Result<bool, Error> {
    let mut chips = BTreeSet::new();
    for rail in rails {
        chips.extend(pace(rail));
    }
    let mut all = !chips.is_empty();
    for (path, value) in chips {
        all &= nodes.mode(&path).is_ok() && set(nodes, guard, path, value)?;
    }
    Ok(all)
}

/// The node that tells a rail's chip how fast to convert, and what makes it fastest.
pub(crate) fn pace(rail: &Rail) -> Option<(PathBuf, &'static str)> {
    let (path, node, value) = match &rail.source {
        RailSource::VoltsAmps { volts, .. } => (volts, "update_interval", "1"),
        RailSource::Power(power) => (power, "running_mode", "0"),
    };
    path.parent().map(|chip| (chip.join(node), value))
}

fn set<N: Nodes + Store>(nodes: &N, guard: &Guard<N>, path: PathBuf, value: &str) -> Result<bool, Error> {
    let keep = Keep::new(path.clone(), Kind::Plain, vec![value.to_owned()]);
    let written =
        guard.keep(&[keep]).and_then(|()| nodes.write(&path, value).map_err(|e| Error::write(&path, value, e)));
    match written {
        Ok(()) => {
            // Read back rounded to what the chip can do: that, too, is ours.
            let reads = crate::text::word(nodes, &path)?;
            guard.keep(&[Keep::new(path, Kind::Plain, vec![reads])])?;
            Ok(true)
        }
        Err(e) if e.is_permission() => Ok(false),
        Err(e) => Err(e),
    }
}
