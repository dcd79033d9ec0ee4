//! Columns with units in their names (`clock_mhz`, `power.draw [W]`) or in their cells (`78.2 W`, `[N/A]`).

/// What a column measures.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum What {
    /// The GPU's clock, in hertz.
    Clock,
    /// The memory's clock, in hertz.
    Emc,
    /// The CPU's clock, in hertz.
    Cpu,
    /// Time, in seconds.
    Time,
    /// Power, in watts.
    Power,
    /// The program's name.
    Model,
    /// A block's name.
    Block,
    /// A block's amount of work.
    Size,
}

impl What {
    pub const ALL: [Self; 8] =
        [Self::Clock, Self::Emc, Self::Cpu, Self::Time, Self::Power, Self::Model, Self::Block, Self::Size];

    /// As in `--map`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Clock => "clock",
            Self::Emc => "emc",
            Self::Cpu => "cpu",
            Self::Time => "time",
            Self::Power => "power",
            Self::Model => "model",
            Self::Block => "block",
            Self::Size => "size",
        }
    }

    /// A unit's factor to hertz, seconds or watts.
    pub fn scale(self, unit: &str) -> Option<f64> {
        Some(match (self, unit.to_lowercase().as_str()) {
            (Self::Clock | Self::Emc | Self::Cpu, unit) => hertz(unit)?,
            (Self::Time, "s" | "sec" | "seconds") | (Self::Power, "w" | "watt" | "watts") => 1.0,
            (Self::Time, "ms" | "msec" | "milliseconds") | (Self::Power, "mw") => 1e-3,
            // Written with the micro sign, or with the Greek letter.
            (Self::Time, "us" | "usec" | "\u{b5}s" | "\u{3bc}s") => 1e-6,
            (Self::Time, "ns") => 1e-9,
            _ => return None,
        })
    }

    /// What a column of this name measures, and its unit where the name tells it.
    pub fn of(header: &str) -> Option<(Self, Option<f64>)> {
        let parts = parts(header);
        let has = |words: &[&str]| parts.iter().any(|part| words.contains(&part.as_str()));
        let is_clock = has(&["clock", "clocks", "freq", "frequency"]) || parts.iter().any(|part| hertz(part).is_some());
        let what = match () {
            () if has(&["max", "video", "sm", "count"]) => return None,
            () if is_clock && has(&["mem", "memory", "emc", "ram"]) => Self::Emc,
            () if is_clock && has(&["cpu"]) => Self::Cpu,
            () if is_clock => Self::Clock,
            () if has(&["latency", "time", "duration", "runtime"]) => Self::Time,
            () if has(&["power", "watts"]) => Self::Power,
            () if has(&["model", "network", "net"]) => Self::Model,
            () if has(&["block", "layer", "stage"]) => Self::Block,
            () if has(&["size", "batch"]) => Self::Size,
            () => return None,
        };
        Some((what, parts.iter().rev().find_map(|unit| what.scale(unit))))
    }
}

fn hertz(unit: &str) -> Option<f64> {
    Some(match unit {
        "hz" => 1.0,
        "khz" => 1e3,
        "mhz" => 1e6,
        "ghz" => 1e9,
        _ => return None,
    })
}

/// A name's words in small letters: `gpu_freq_hz`, `latency (ms)` and `latencyMs` alike. One small letter is a unit's: `kHz`,
/// `mW`.
fn parts(header: &str) -> Vec<String> {
    let mut spaced = String::new();
    let mut small = 0;
    for c in header.chars() {
        if small > 1 && c.is_uppercase() {
            spaced.push(' ');
        }
        spaced.push(c);
        small = if c.is_lowercase() { small + 1 } else { 0 };
    }
    let words = spaced.split(|c: char| !c.is_alphanumeric()).filter(|part| !part.is_empty());
    words.map(str::to_lowercase).collect()
}

/// A cell's number in hertz, seconds or watts; `Ok(None)` where the tool says that it has none.
///
/// # Errors
/// What is wrong with it.
pub fn number(what: What, cell: &str, scale: Option<f64>, decimal_comma: bool) -> Result<Option<f64>, String> {
    let cell = cell.trim();
    let bare = cell.trim_start_matches('[').trim_end_matches(']').to_ascii_lowercase();
    if ["", "n/a", "na", "nan", "-", "not supported", "unknown error"].contains(&bare.as_str()) {
        return Ok(None);
    }
    let end = cell.find(|c: char| !(c.is_ascii_digit() || "+-.,eE".contains(c))).unwrap_or(cell.len());
    let (digits, unit) = cell.split_at(end);
    let digits = if decimal_comma { digits.replace(',', ".") } else { digits.to_owned() };
    let value: f64 = digits.parse().map_err(|_| format!("`{cell}` is not a number"))?;
    let scale = match (unit.trim(), scale, what) {
        ("", _, What::Size) => Some(1.0),
        ("", scale, _) => scale,
        (unit, _, _) => {
            Some(what.scale(unit).ok_or_else(|| format!("`{cell}`: {unit} is no unit of a {}", what.name()))?)
        }
    };
    let scale = scale.ok_or_else(|| {
        format!("`{cell}` has no unit, nor has its column's name: --map {}=COLUMN:UNIT names it", what.name())
    })?;
    Ok(Some(value * scale).filter(|value| value.is_finite()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_tell_what_and_in_which_unit() {
        for (header, found) in [
            ("clock_mhz", Some((What::Clock, Some(1e6)))),
            ("gpu_freq_hz", Some((What::Clock, Some(1.0)))),
            ("clocks.current.graphics [MHz]", Some((What::Clock, Some(1e6)))),
            ("clocks.current.memory [MHz]", Some((What::Emc, Some(1e6)))),
            ("clocks.max.graphics [MHz]", None),
            ("cpu_freq_hz", Some((What::Cpu, Some(1.0)))),
            ("gpuClockMHz", Some((What::Clock, Some(1e6)))),
            ("clock_kHz", Some((What::Clock, Some(1e3)))),
            ("power [mW]", Some((What::Power, Some(1e-3)))),
            ("latencyMs", Some((What::Time, Some(1e-3)))),
            ("latency [\u{b5}s]", Some((What::Time, Some(1e-6)))),
            ("latency_ms_mean", Some((What::Time, Some(1e-3)))),
            ("Network", Some((What::Model, None))),
            ("power.draw [W]", Some((What::Power, Some(1.0)))),
            ("latency (ms)", Some((What::Time, Some(1e-3)))),
            ("Latency", Some((What::Time, None))),
            ("batch", Some((What::Size, None))),
            ("note", None),
        ] {
            assert_eq!(What::of(header), found, "{header}");
        }
    }

    #[test]
    fn cells_read_with_units_commas_and_gaps() {
        let read = |what, cell, scale, comma| number(what, cell, scale, comma);
        assert_eq!(read(What::Power, "78.2 W", None, false), Ok(Some(78.2)));
        assert_eq!(read(What::Power, "7820mW", Some(1.0), false), Ok(Some(7.82)));
        assert_eq!(read(What::Time, "12,5", Some(1e-3), true), Ok(Some(0.0125)));
        assert_eq!(read(What::Power, "[N/A]", None, false), Ok(None));
        assert!(read(What::Time, "12.5", None, false).unwrap_err().contains("--map time=COLUMN:UNIT"));
        assert!(read(What::Time, "12 W", None, false).unwrap_err().contains("no unit of a time"));
        assert!(read(What::Time, "fast", Some(1.0), false).unwrap_err().contains("not a number"));
        assert_eq!(read(What::Size, "4", None, false), Ok(Some(4.0)));
    }
}
