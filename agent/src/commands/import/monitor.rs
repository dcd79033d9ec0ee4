//! Logs of tegrastats, jtop and nvidia-smi: the mean power while the program ran.

use jetpace_devfreq::rails::module_total;
use jetpace_tables::hw::PowerOf;
use jetpace_tables::stats;

use super::table_units::{What, number};

/// A GPU this busy, in percent, is running the program. What lies before the first such reading and behind the last is
/// its start and its end.
const BUSY: f64 = 50.0;

/// What a log says.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Log {
    /// Mean power in watts.
    pub watts: f64,
    /// Whose.
    pub of: PowerOf,
    /// Readings behind it.
    pub readings: usize,
}

/// A line of a log: watts, and the GPU's load in percent where it is told.
type Reading = (f64, Option<f64>);

/// Reads a log.
///
/// # Errors
/// What is wrong, without the file's name.
pub fn parse(bytes: &[u8]) -> Result<Log, String> {
    let text = String::from_utf8_lossy(bytes);
    let text = text.trim_start_matches('\u{feff}').trim();
    if text.is_empty() {
        return Err("empty".to_owned());
    }
    let (readings, of) = match text.lines().any(|line| line.contains("RAM ") && line.contains("MB")) {
        true => (tegrastats(text)?, PowerOf::Module),
        false => table(text)?,
    };
    let is_busy = |reading: &Reading| reading.1.is_some_and(|load| load >= BUSY);
    let first = readings.iter().position(is_busy).unwrap_or(0);
    let last = readings.iter().rposition(is_busy).map_or(readings.len(), |at| at + 1);
    let watts: Vec<f64> = readings.get(first..last).unwrap_or_default().iter().map(|(watts, _)| *watts).collect();
    if watts.is_empty() {
        return Err("no reading of power".to_owned());
    }
    Ok(Log { watts: stats::mean(&watts), of, readings: watts.len() })
}

/// tegrastats: `NAME now/mean` in milliwatts, with `mW` from L4T R32.6 on; a line that is cut off lacks rails.
fn tegrastats(text: &str) -> Result<Vec<Reading>, String> {
    let mut labels = Vec::new();
    let mut readings = Vec::new();
    for line in text.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        let rails: Vec<(&str, f64)> = words
            .iter()
            .zip(words.iter().skip(1))
            .filter_map(|(name, value)| Some((*name, milliwatts(value)?)))
            .collect();
        let load = words.iter().zip(words.iter().skip(1)).find(|(name, _)| **name == "GR3D_FREQ");
        let load = load.and_then(|(_, value)| value.split('%').next()?.parse().ok());
        if labels.is_empty() {
            labels = module_total(|label| rails.iter().any(|(name, _)| *name == label)).unwrap_or_default();
        }
        let of = |label: &&str| rails.iter().find(|(name, _)| name == label).map(|(_, mw)| *mw);
        let parts: Option<Vec<f64>> = labels.iter().map(of).collect();
        readings.extend(parts.filter(|parts| !parts.is_empty()).map(|parts| (parts.iter().sum::<f64>() / 1e3, load)));
    }
    match labels.is_empty() {
        true => Err("no rail of tegrastats is the module's input: a sweep needs the module's power".to_owned()),
        false => Ok(readings),
    }
}

fn milliwatts(value: &str) -> Option<f64> {
    let (now, mean) = value.split_once('/')?;
    let of = |text: &str| text.strip_suffix("mW").unwrap_or(text).parse::<u32>().ok();
    of(mean)?;
    of(now).map(f64::from)
}

/// jtop's and nvidia-smi's: a row for each reading.
fn table(text: &str) -> Result<(Vec<Reading>, PowerOf), String> {
    let mut reader = csv::ReaderBuilder::new().flexible(true).trim(csv::Trim::All).from_reader(text.as_bytes());
    let headers: Vec<String> = reader.headers().map_err(|e| e.to_string())?.iter().map(str::to_owned).collect();
    let find = |wanted: &[&str]| headers.iter().position(|header| wanted.contains(&header.as_str()));
    // jtop writes milliwatts, of the module's input; what nvidia-smi draws is the GPU's.
    let (power, scale, of) = match (find(&["Power TOT", "power cur"]), headers.iter().position(|h| draws(h))) {
        (Some(at), _) => (at, Some(1e-3), PowerOf::Module),
        (None, Some(at)) => {
            (at, headers.get(at).and_then(|header| What::of(header)).and_then(|(_, unit)| unit), PowerOf::Gpu)
        }
        (None, None) => {
            return Err("no log of tegrastats, jtop (`Power TOT`) or nvidia-smi (`power.draw`)".to_owned());
        }
    };
    let load = headers.iter().position(|header| header == "GPU" || header.starts_with("utilization.gpu"));
    let mut readings = Vec::new();
    for record in reader.records() {
        let record = record.map_err(|e| e.to_string())?;
        let line = record.position().map_or(0, |position| position.line());
        // A last line that is cut off before its power says nothing.
        let Some(cell) = record.get(power) else { continue };
        let watts = number(What::Power, cell, scale, false).map_err(|why| format!("line {line}: {why}"))?;
        let Some(watts) = watts else { continue };
        if !(0.0..=1e3).contains(&watts) {
            return Err(format!("line {line}: {watts} W is outside 0..1000 W"));
        }
        let load = load.and_then(|at| record.get(at)?.split(['%', ' ']).next()?.parse().ok());
        readings.push((watts, load));
    }
    Ok((readings, of))
}

fn draws(header: &str) -> bool {
    header.starts_with("power.draw")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_monitors_log_reads_from_the_first_busy_reading_to_the_last() {
        for (text, watts, of, readings) in [
            (
                "RAM 9/10MB CPU [1%@2,off] GR3D_FREQ 0% GPU@50C VDD_IN 4000mW/4000mW VDD_SOC 900mW/900mW\n\
                 RAM 9/10MB CPU [1%@2,off] GR3D_FREQ 99%@[305] GPU@50C VDD_IN 8000mW/6000mW VDD_SOC 900mW/900mW\n\
                 RAM 9/10MB CPU [1%@2,off] GR3D_FREQ 20%@[305] GPU@50C VDD_IN 6000mW/6000mW VDD_SOC 900mW/900mW\n\
                 RAM 9/10MB CPU [1%@2,off] GR3D_FREQ 98%@[305] GPU@50C VDD_IN 10000mW/7000mW VDD_SOC 900mW/9\n\
                 RAM 9/10MB CPU [1%@2,off] GR3D_FREQ 98%@[305] GPU@5",
                8.0,
                PowerOf::Module,
                3,
            ),
            // An older release, and a module whose input is a sum.
            (
                "RAM 9/10MB GR3D_FREQ 99%@114 GPU 2000/1 CPU 1000/1 SOC 500/1 CV 0/0 VDDRQ 250/1 SYS5V 1250/1\n",
                5.0,
                PowerOf::Module,
                1,
            ),
            (
                "time,uptime,GPU,Power VDD_SOC,Power TOT\n1,2,3,900,5000\n1,2,97,900,7000\n1,2,97,900,8000\n",
                7.5,
                PowerOf::Module,
                2,
            ),
            (
                "timestamp, power.draw [W], utilization.gpu [%]\nx, 78.2 W, 90 %\nx, [N/A], 90 %\nx, 80.2 W, 95 %\n",
                79.2,
                PowerOf::Gpu,
                2,
            ),
        ] {
            let log = parse(text.as_bytes()).unwrap();
            assert_eq!((log.of, log.readings), (of, readings), "{text}");
            assert!((log.watts - watts).abs() < 1e-9, "{text}: {log:?}");
        }
    }

    #[test]
    fn what_is_no_log_is_said() {
        for (text, said) in [
            ("", "empty"),
            ("RAM 9/10MB VDD_SOC 900mW/900mW\n", "module's input"),
            ("a,b\n1,2\n", "no log of tegrastats"),
            ("power.draw [W]\n[N/A]\n", "no reading"),
            ("power.draw [W]\nfast\n", "line 2: `fast`"),
            ("power.draw [W]\n7800\n", "line 2: 7800 W"),
        ] {
            let why = parse(text.as_bytes()).unwrap_err();
            assert!(why.contains(said), "{text:?}: {why}");
        }
    }
}
