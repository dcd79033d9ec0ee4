//! What is to be said of a sweep as a whole, besides what each row says.

use std::collections::{BTreeMap, BTreeSet};

use jetpace_tables::sample::{Kind, Sweep};
use jetpace_tables::units::Hertz;

/// Remarks, one a line: columns that mean nothing to jetpace, an interrupted calibration, too few clocks.
pub fn remarks(sweep: &Sweep) -> Vec<String> {
    [unknown_columns(sweep), unfinished(sweep), two_clocks(sweep)].into_iter().flatten().collect()
}

fn unknown_columns(sweep: &Sweep) -> Option<String> {
    let extra = &sweep.rows.first()?.extra;
    let names: Vec<&str> = extra.iter().map(|(name, _)| name.as_str()).collect();
    (!names.is_empty()).then(|| format!("columns that jetpace does not know, and leaves aside: {}", names.join(", ")))
}

/// `calibrate` writes in its first line how much it is going to measure; changes of the clock come last.
fn unfinished(sweep: &Sweep) -> Option<String> {
    let number = |field: &str| sweep.field(field)?.parse::<usize>().ok();
    let (passes, changes) = (number("passes")?, number("changes")?);
    let of = |kind| sweep.rows.iter().filter(move |row| row.kind == kind);
    let clocks: BTreeSet<Hertz> = of(Kind::Block).chain(of(Kind::Idle)).filter_map(|row| row.gpu_freq).collect();
    let goes_on = "`jetpace calibrate` with the same options and file goes on from there";
    // A calibration for a deadline makes changes between some clocks only.
    let changed: BTreeSet<Hertz> = of(Kind::Settle).flat_map(|row| [row.from, row.to]).flatten().collect();
    let changed = if changed.is_empty() { clocks.len() } else { changed.len() };
    let pairs = changed * changed.saturating_sub(1);
    let made: BTreeSet<_> = of(Kind::Settle).map(|row| (row.repeat, row.from, row.to)).collect();
    if made.len() < changes * pairs {
        let (done, all) = (made.len(), changes * pairs);
        return Some(format!("interrupted: {done} of {all} changes of the clock were measured; {goes_on}"));
    }
    // Without changes the power of blocks and of idling comes last.
    let idle: BTreeSet<Hertz> = of(Kind::Idle).filter_map(|row| row.gpu_freq).collect();
    let missing = clocks.difference(&idle).count();
    (passes > 0 && missing > 0)
        .then(|| format!("interrupted: {missing} of {} clocks have no idle power; {goes_on}", clocks.len()))
}

/// Two clocks show that a block depends on its clock, and not how.
fn two_clocks(sweep: &Sweep) -> Option<String> {
    let mut clocks: BTreeMap<(&str, &str), BTreeSet<Hertz>> = BTreeMap::new();
    for row in sweep.rows.iter().filter(|row| row.kind == Kind::Block && row.rejected.is_empty()) {
        clocks.entry((&row.model, &row.block)).or_default().extend(row.gpu_freq);
    }
    let few = clocks.values().filter(|clocks| clocks.len() == 2).count();
    let (_, example) = clocks.iter().find(|(_, clocks)| clocks.len() == 2)?;
    let named: Vec<String> = example.iter().map(Hertz::to_string).collect();
    Some(format!(
        "{few} of {} blocks were measured at two clocks only ({}): how their time bends between and beyond is a guess; \
         measure at four or more",
        clocks.len(),
        named.join(", ")
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(text: &str) -> String {
        remarks(&super::super::parse(text.as_bytes(), std::path::Path::new("s.csv")).unwrap()).join("\n")
    }

    const HEAD: &str = "kind,device,model,block,repeat,gpu_freq_hz,latency_s,power_w,from_hz,to_hz";

    #[test]
    fn a_calibrations_sweep_that_lacks_what_it_set_out_for_says_so() {
        let rows: String =
            [3, 6, 9].map(|hz| format!("block,d,n,b,0,{hz}00000000,0.01,5,,\nidle,d,,,0,{hz}00000000,,1,,\n")).concat();
        let change = |from, to| format!("settle,d,,,0,,0.005,,{from}00000000,{to}00000000\n");
        let changes = [(3, 6), (6, 3), (3, 9), (9, 3), (6, 9), (9, 6)].map(|(from, to)| change(from, to));
        let own = |rows: &str| said(&format!("# jetpace-sweep 1 board=00 passes=1 changes=1\n{HEAD}\n{rows}"));
        assert_eq!(own(&(rows.clone() + &changes.concat())), "");
        let message = own(&(rows.clone() + &changes[..4].concat()));
        assert!(message.contains("interrupted: 4 of 6 changes") && message.contains("jetpace calibrate"), "{message}");
        assert_eq!(own(&(rows.clone() + &changes[..2].concat())), "", "as for a deadline: between two of three clocks");
        assert!(own(&rows).contains("interrupted: 0 of 6 changes"));
        let none = said(&format!(
            "# jetpace-sweep 1 board=00 passes=1 changes=0\n{HEAD}\n{}",
            rows.replace("idle,d,,,0,9", "idle,d,,,1,6")
        ));
        assert!(none.contains("1 of 3 clocks have no idle power"), "{none}");
    }

    #[test]
    fn unknown_columns_and_two_clocks_are_named_once() {
        let text = "device,model,block,gpu_freq_hz,latency_s,note,weather\n\
                    d,n,b,300000000,0.02,x,sun\nd,n,b,600000000,0.01,y,rain\n";
        let message = said(text);
        assert_eq!(message.matches("note, weather").count(), 1, "{message}");
        assert!(message.contains("1 of 1 blocks were measured at two clocks only (300 MHz, 600 MHz)"), "{message}");
    }
}
