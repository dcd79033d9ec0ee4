//! The memory's clock in a sweep: locked at several values, moving with the GPU's, or gone astray for a row.

use std::collections::BTreeSet;
use std::string::String;
use std::vec::Vec;

use super::group::{Name, left_out};
use crate::model::Left;
use crate::sample::Row;

/// Puts the rows of each block in order where the memory's clock was not locked.
///
/// Where every GPU clock has exactly one EMC clock and there are several, EMC follows the GPU: those rows are one
/// series without an EMC clock, fitted on what the memory follows to. Otherwise an EMC clock that a block was seen at
/// with a single GPU clock is a memory clock that moved during calibration, and those rows are left out.
pub fn settle_moving(named: &mut Vec<(Name, Vec<&Row>)>, left: &mut Vec<Left>, warnings: &mut Vec<String>) {
    let mut done: Vec<Name> = Vec::new();
    while let Some(whole) = named.iter().map(|(name, _)| all_emc(name)).find(|name| !done.contains(name)) {
        done.push(whole.clone());
        let mine: Vec<usize> = (0..named.len()).filter(|&i| all_emc(&named[i].0) == whole).collect();
        if mine.len() < 2 {
            continue;
        }
        if follows(mine.iter().flat_map(|&i| &named[i].1)) {
            warnings.push(std::format!(
                "{}: the EMC clock follows the GPU clock; its times hold for the EMC clocks that it followed to",
                whole.text()
            ));
            let rows: Vec<&Row> = mine.iter().flat_map(|&i| named[i].1.iter().copied()).collect();
            for &i in mine.iter().skip(1).rev() {
                named.remove(i);
            }
            named[mine[0]] = (whole, rows);
            continue;
        }
        let gpu_clocks = |rows: &[&Row]| rows.iter().map(|row| row.gpu_freq).collect::<BTreeSet<_>>().len();
        let some_are_whole = mine.iter().any(|&i| gpu_clocks(&named[i].1) > 1);
        for &i in mine.iter().rev() {
            if some_are_whole && gpu_clocks(&named[i].1) == 1 {
                let (name, rows) = named.remove(i);
                let emc = name.emc.map_or_else(String::new, |emc| std::format!(" to {emc}"));
                let why = std::format!("EMC moved{emc}, where the block was measured at no other GPU clock");
                left.extend(rows.iter().map(|row| left_out(row, &why)));
            }
        }
    }
}

fn all_emc(name: &Name) -> Name {
    Name { emc: None, ..name.clone() }
}

fn follows<'a>(rows: impl Iterator<Item = &'a &'a Row>) -> bool {
    let pairs: BTreeSet<_> = rows.map(|row| (row.gpu_freq, row.emc_freq)).collect();
    let gpu: BTreeSet<_> = pairs.iter().map(|(gpu, _)| gpu).collect();
    let emc: BTreeSet<_> = pairs.iter().map(|(_, emc)| emc).collect();
    let rises = pairs.iter().zip(pairs.iter().skip(1)).all(|(low, high)| low.1 <= high.1);
    gpu.len() == pairs.len() && emc.len() > 1 && gpu.len() > 2 && rises
}
