//! nvpmodel's mode and its bounds on the GPU, from its own files (the tool itself is not run: it may write). They are a
//! claim: where `/sys` was not writable nvpmodel has written its status alone.

use std::fmt;
use std::path::Path;

use super::bound::Bound;
use crate::nodes::Nodes;
use crate::text;

/// A power mode.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PowerMode {
    /// Its number.
    pub id: u32,
    /// Its name, where the configuration tells it.
    pub name: Option<String>,
    /// Whether nvpmodel's status says that it was set; else it is only the configured default.
    pub applied: bool,
    /// The GPU's floor in it.
    pub gpu_min: Bound,
    /// The GPU's bound in it.
    pub gpu_max: Bound,
}

impl fmt::Display for PowerMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.name {
            Some(name) => f.write_str(name),
            None => write!(f, "mode {}", self.id),
        }
    }
}

/// Where nvpmodel says which mode it has set.
pub(crate) const STATUS: &str = "/var/lib/nvpmodel/status";

/// nvpmodel's configuration.
const CONF: &str = "/etc/nvpmodel.conf";

/// The text of [`STATUS`]; empty where there is none, or where it cannot be read.
pub(crate) fn status<N: Nodes>(nodes: &N) -> String {
    nodes.read(Path::new(STATUS)).unwrap_or_default()
}

/// What nvpmodel's files say; `None` where this machine has no nvpmodel, or it names no mode. What is not understood is
/// said in `missing`.
pub(crate) fn mode<N: Nodes>(nodes: &N, missing: &mut Vec<String>) -> Option<PowerMode> {
    let conf = nodes.read(Path::new(CONF)).ok();
    let status = text::word_if_there(nodes, Path::new(STATUS));
    if conf.is_none() && status.is_none() {
        return None;
    }
    let conf = conf.unwrap_or_default();
    let conf = whole_lines(conf.trim_start_matches(text::MARK), missing);
    let set = status.as_deref().and_then(status_mode);
    if let (Some(status), None) = (&status, set) {
        let status: String = status.chars().take(40).collect();
        missing.push(format!("power mode: {STATUS} holds {status:?}, which names none"));
    }
    let id = set.or_else(|| default_mode(conf))?;
    let section = mode_section(conf, id, missing);
    if section.name.is_none() {
        missing.push(format!("power mode {id}: {CONF} does not name it"));
    } else if section.gpu_max == Bound::Unknown {
        missing.push(format!("power mode {id}: {CONF} does not say the GPU's bound in it (GPU MAX_FREQ)"));
    }
    Some(PowerMode {
        id,
        name: section.name,
        applied: set.is_some(),
        gpu_min: section.gpu_min,
        gpu_max: section.gpu_max,
    })
}

/// Without a last line that was not written to its end: half a number is another number.
fn whole_lines<'a>(conf: &'a str, missing: &mut Vec<String>) -> &'a str {
    let (whole, last) = conf.rsplit_once('\n').unwrap_or(("", conf));
    if last.trim().is_empty() || last.trim_end().ends_with('>') {
        return conf;
    }
    missing.push(format!("{CONF}: ends in the middle of a line, which is left out"));
    whole
}

/// `pmode:0002 fmode:fan_mode_quiet`
fn status_mode(status: &str) -> Option<u32> {
    status.split_ascii_whitespace().find_map(|word| word.strip_prefix("pmode:")?.parse().ok())
}

/// `< PM_CONFIG DEFAULT=2 >`
fn default_mode(conf: &str) -> Option<u32> {
    conf.lines().find_map(|line| attribute(tag(line, "PM_CONFIG")?, "DEFAULT")?.parse().ok())
}

struct Section {
    name: Option<String>,
    gpu_min: Bound,
    gpu_max: Bound,
}

/// `< POWER_MODEL ID=2 NAME=15W >` and the lines up to the next tag; the attributes come in either order.
fn mode_section(conf: &str, id: u32, missing: &mut Vec<String>) -> Section {
    let mut section = Section { name: None, gpu_min: Bound::Unknown, gpu_max: Bound::Unknown };
    let mut lines = conf.lines().enumerate();
    let found = lines.find_map(|(_, line)| {
        let inside = tag(line, "POWER_MODEL")?;
        let found: u32 = attribute(inside, "ID")?.parse().ok()?;
        (found == id).then(|| attribute(inside, "NAME").map(str::to_owned))
    });
    section.name = found.flatten();
    for (at, line) in lines.take_while(|(_, line)| !line.trim_start().starts_with('<')) {
        let mut words = line.split_whitespace();
        if words.next() != Some("GPU") {
            continue;
        }
        let (what, value) = (words.next(), words.next().unwrap_or_default());
        let (bound, open) = match what {
            Some("MAX_FREQ") => (&mut section.gpu_max, is_open_bound(value)),
            Some("MIN_FREQ") => (&mut section.gpu_min, value == "0" || is_open_bound(value)),
            _ => continue,
        };
        match (open, text::parse_hertz(value)) {
            (true, _) => *bound = Bound::Open,
            (false, Some(hz)) => *bound = Bound::At(hz),
            (false, None) => {
                let line: String = line.trim().chars().take(60).collect();
                missing.push(format!("{CONF}: line {}: left out, {line:?} names no clock", at + 1));
            }
        }
    }
    section
}

/// `-1`, and what drivers of 32 and 64 bit made of it.
fn is_open_bound(value: &str) -> bool {
    ["-1", "2147483647", "9223372036854775807"].contains(&value)
}

fn tag<'a>(line: &'a str, name: &str) -> Option<&'a str> {
    let inside = line.trim().strip_prefix('<')?.strip_suffix('>')?.trim();
    inside.strip_prefix(name)
}

fn attribute<'a>(inside: &'a str, name: &str) -> Option<&'a str> {
    inside.split_ascii_whitespace().find_map(|word| word.strip_prefix(name)?.strip_prefix('='))
}

#[cfg(test)]
mod tests {
    use jetpace_tables::units::Hertz;

    use super::*;

    #[test]
    fn modes_are_found_whatever_the_order_and_the_gaps() {
        let conf = "< PARAM TYPE=CLOCK NAME=GPU >\nFREQ_TABLE /x\n< POWER_MODEL ID=0 NAME=15W >\nGPU MAX_FREQ 612000000\n\
                    < POWER_MODEL NAME=MAXN ID=2 >\nGPU MIN_FREQ 0\nGPU MAX_FREQ -1\n< PM_CONFIG DEFAULT=0 >\n";
        assert_eq!(default_mode(conf), Some(0));
        let section = |conf, id| mode_section(conf, id, &mut Vec::new());
        assert_eq!(section(conf, 0).gpu_max, Bound::At(Hertz::new(612_000_000)));
        assert_eq!(section(conf, 2).name.as_deref(), Some("MAXN"));
        assert_eq!((section(conf, 2).gpu_max, section(conf, 2).gpu_min), (Bound::Open, Bound::Open));
        assert_eq!(section(conf, 1).name, None);
        assert_eq!(section(conf, 1).gpu_max, Bound::Unknown);
        assert_eq!(status_mode("pmode:0002 fmode:fan_mode_quiet"), Some(2));
    }

    #[test]
    fn an_edited_file_loses_no_more_than_the_bad_line() {
        let conf = "\u{feff}< POWER_MODEL ID=0 NAME=15W >\r\nGPU MIN_FREQ 0\r\n GPU\tMAX_FREQ 612000000 \t\r\nCPU \u{fffd}\r\n\
                    < POWER_MODEL ID=1 NAME=25W >\r\nGPU MIN_FREQ 30600000O\r\nGPU MAX_FREQ 918000000\r\n";
        let mut missing = Vec::new();
        let section = mode_section(conf.trim_start_matches(text::MARK), 0, &mut missing);
        assert_eq!((section.name.as_deref(), section.gpu_max), (Some("15W"), Bound::At(Hertz::new(612_000_000))));
        assert!(missing.is_empty());
        let section = mode_section(conf, 1, &mut missing);
        assert_eq!((section.gpu_min, section.gpu_max), (Bound::Unknown, Bound::At(Hertz::new(918_000_000))));
        assert!(missing[0].contains("line 6") && missing[0].contains("30600000O"), "{missing:?}");
    }
}
