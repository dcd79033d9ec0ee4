//! Readings that contradict each other or the board. What most rows share is a wrong unit, and the sweep is refused with
//! the question; what single rows have is a bad reading, and costs their power.

use jetpace_tables::sample::{Kind, Row, Sweep};
use jetpace_tables::stats::median;
use jetpace_tables::units::{Microjoules, Milliwatts};

/// Energy has to be power times time; further apart than this, one of the three is wrong.
const ENERGY_TOLERANCE: f64 = 2.0;

/// What modules draw at most, in watts, by a part of the device's name; the first that fits counts. From NVIDIA's module
/// data sheets and nvpmodel tables (the highest mode), times three for a carrier's share and peaks.
const MOST_W: [(&str, f64); 8] = [
    ("thor", 390.0),
    ("agx-orin", 180.0),
    ("orin-nx", 120.0),
    ("orin-nano", 75.0),
    ("agx-xavier", 120.0),
    ("xavier-nx", 60.0),
    ("tx2", 60.0),
    ("nano", 45.0),
];

/// What anything else draws at most.
const ANY_W: f64 = 1000.0;

/// Judges every row's power and energy, leaves out what is wrong in single rows, and takes power from energy where only
/// that was measured.
///
/// # Errors
/// A line and a question, where most rows share the contradiction.
pub fn judge(sweep: &mut Sweep) -> Result<(), (u64, String)> {
    energy(&mut sweep.rows)?;
    plausible(&mut sweep.rows)?;
    for row in &mut sweep.rows {
        if !row.power_rejected.is_empty() {
            (row.power, row.energy) = (None, None);
            if row.kind == Kind::Idle && row.rejected.is_empty() {
                row.rejected.clone_from(&row.power_rejected);
            }
        } else if let (None, Some(latency), Some(energy)) = (row.power, row.latency_s(), row.energy) {
            row.power = Some(Milliwatts::from_watts_f64(energy.as_joules_f64() / latency));
        }
    }
    Ok(())
}

fn energy(rows: &mut [Row]) -> Result<(), (u64, String)> {
    let ratio = |row: &Row| {
        let all = row.latency_s().zip(row.power_w()).zip(row.energy.map(Microjoules::as_joules_f64));
        all.map(|((latency, power), energy)| energy / (latency * power))
    };
    let is_wrong = |ratio: f64| !(ENERGY_TOLERANCE.recip()..=ENERGY_TOLERANCE).contains(&ratio);
    let ratios: Vec<f64> = rows.iter().filter_map(ratio).collect();
    let wrong: Vec<f64> = ratios.iter().copied().filter(|ratio| is_wrong(*ratio)).collect();
    if 2 * wrong.len() > ratios.len() {
        let line = rows.iter().find(|row| ratio(row).is_some_and(is_wrong)).map_or(0, |row| row.line);
        let why = format!(
            "energy_j is {:.4} times power_w x latency_s, here and in {} of {} rows: is one of them in another unit?",
            median(&wrong),
            wrong.len(),
            ratios.len()
        );
        return Err((line, why.replace(".0000 times", " times")));
    }
    for row in rows {
        if let Some(ratio) = ratio(row).filter(|ratio| is_wrong(*ratio)) {
            row.power_rejected =
                format!("power left out: energy_j is {ratio:.2} times power_w x latency_s, unlike other rows'");
        }
    }
    Ok(())
}

fn plausible(rows: &mut [Row]) -> Result<(), (u64, String)> {
    let most = |row: &Row| {
        let name = row.device.to_ascii_lowercase().replace(['_', ' '], "-");
        MOST_W.iter().find(|(part, _)| name.contains(part)).map_or(ANY_W, |(_, most)| *most)
    };
    let too_much = |row: &Row| row.power_w().filter(|power| *power > most(row));
    let all = rows.iter().filter(|row| row.power.is_some()).count();
    let wrong = rows.iter().filter(|row| too_much(row).is_some()).count();
    if 2 * wrong > all {
        let first = rows.iter().find_map(|row| too_much(row).map(|power| (row.line, power, whose(&row.device))));
        let (line, power, device) = first.unwrap_or_default();
        return Err((
            line,
            format!(
                "power_w {power} is more than {device} can draw, as in {wrong} of {all} rows: is it in milliwatts?"
            ),
        ));
    }
    for row in rows {
        if let Some(power) = too_much(row) {
            row.power_rejected = format!("power left out: {power} W is more than {} can draw", whose(&row.device));
        }
    }
    Ok(())
}

fn whose(device: &str) -> String {
    if device.is_empty() { "a machine".to_owned() } else { format!("`{device}`") }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: &str = "device,model,block,gpu_freq_hz,repeat,latency_s,power_w,energy_j\n";

    fn parsed(rows: &str) -> Result<Sweep, String> {
        let text = format!("{HEADER}{rows}");
        super::super::parse(text.as_bytes(), std::path::Path::new("s.csv")).map_err(|failure| failure.to_string())
    }

    fn rows(device: &str, power: f64, energy: impl Fn(usize) -> f64) -> String {
        (0..5).map(|i| format!("{device},n,b,{}00000000,0,0.1,{power},{}\n", i + 3, energy(i))).collect()
    }

    #[test]
    fn one_energy_that_contradicts_costs_its_rows_power() {
        let sweep = parsed(&rows("tx2", 5.0, |i| if i == 2 { 1.7 } else { 0.5 })).unwrap();
        let left: Vec<usize> = (0..5).filter(|i| sweep.rows[*i].power.is_none()).collect();
        assert_eq!(left, [2]);
        assert!(sweep.rows[2].power_rejected.contains("3.40 times"), "{}", sweep.rows[2].power_rejected);
        assert_eq!(sweep.rows[2].latency_s(), Some(0.1));
    }

    #[test]
    fn what_all_rows_share_is_a_unit() {
        let why = parsed(&rows("tx2", 5.0, |_| 500.0)).unwrap_err();
        assert!(why.contains("line 2: energy_j is 1000 times") && why.contains("5 of 5 rows"), "{why}");
    }

    #[test]
    fn energy_alone_gives_the_power() {
        let sweep = parsed("tx2,n,b,300000000,0,0.1,,0.5\n").unwrap();
        assert_eq!(sweep.rows[0].power_w(), Some(5.0));
    }

    #[test]
    fn watts_that_no_such_board_draws_are_asked_about() {
        for device in ["jetson-nano", "Jetson TX2", "sim:orin-nano", "jetson_xavier_nx"] {
            let why = parsed(&rows(device, 983.0, |_| 98.3)).unwrap_err();
            assert!(why.contains("983 is more than `") && why.contains("milliwatts?"), "{why}");
        }
        assert!(parsed(&rows("a100-pcie", 250.0, |_| 25.0)).is_ok());
        assert!(parsed(&rows("a100-pcie", 250_000.0, |_| 25_000.0)).unwrap_err().contains("milliwatts?"));
        let one = rows("jetson-nano", 9.0, |_| 0.9) + "jetson-nano,n,b,900000000,0,0.1,983,98.3\n";
        let sweep = parsed(&one).unwrap();
        assert!(sweep.rows[5].power.is_none() && sweep.rows[5].power_rejected.contains("983"), "{sweep:?}");
    }
}
