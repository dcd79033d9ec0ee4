//! The list of clocks of several size classes: where its frames start and idle is chosen by rehearsal.

use super::{REHEARSAL, rehearse, with_bursts};
use crate::plan::sizes::SizeClass;
use crate::plan::table::{Holds, listed};
use crate::table::{Table, TableError};

/// The table that follows the plans' lists of clocks. Frames of all classes start at one clock and idle at one, as
/// nobody knows the size of the next one: those of the plan with which all of them take the least energy in rehearsal.
pub fn list_table(classes: &[SizeClass<'_>], holds: &Holds<'_>) -> Result<Table, TableError> {
    let mut best = listed(classes, 0, holds)?;
    if classes.len() > 1 {
        let with_bursts = with_bursts(classes);
        let order = |table: &Table| {
            let found = rehearse(&with_bursts, table, REHEARSAL);
            (found.miss > f64::from(table.risk_ppm) * 1e-6, found.energy_j)
        };
        let mut least = order(&best);
        for like in 1..classes.len() {
            let table = listed(classes, like, holds)?;
            if table.gap != best.gap {
                let found = order(&table);
                if found < least {
                    (best, least) = (table, found);
                }
            }
        }
    }
    Ok(best)
}
