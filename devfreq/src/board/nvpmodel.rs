//! nvpmodel's mode and its cap on the GPU, from its own files (the tool itself is not run: it may write).

use std::fmt;
use std::path::Path;

use jetpace_tables::units::Hertz;

use crate::nodes::Nodes;
use crate::text;

/// A power mode.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PowerMode {
    /// Its number.
    pub id: u32,
    /// Its name, where the configuration tells it.
    pub name: Option<String>,
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

/// The text of [`STATUS`]; empty where there is none, or where it cannot be read.
pub(crate) fn status<N: Nodes>(nodes: &N) -> String {
    nodes.read(Path::new(STATUS)).unwrap_or_default()
}

/// What nvpmodel's files say.
pub(crate) struct Conf {
    pub mode: Option<PowerMode>,
    /// The mode's GPU MAX_FREQ; `None` where it is unlimited or not told.
    pub gpu_max: Option<Hertz>,
}

impl Conf {
    /// `None` where this machine has no nvpmodel.
    pub fn read<N: Nodes>(nodes: &N) -> Option<Self> {
        let conf = nodes.read(Path::new("/etc/nvpmodel.conf")).ok();
        let status = text::word_if_there(nodes, Path::new(STATUS));
        if conf.is_none() && status.is_none() {
            return None;
        }
        let conf = conf.unwrap_or_default();
        let id = status.as_deref().and_then(status_mode).or_else(|| default_mode(&conf));
        let mut section = id.map(|id| mode_section(&conf, id)).unwrap_or_default();
        let mode = id.map(|id| PowerMode { id, name: section.name.take() });
        Some(Self { mode, gpu_max: section.gpu_max })
    }
}

/// `pmode:0002 fmode:fan_mode_quiet`
fn status_mode(status: &str) -> Option<u32> {
    status.split_ascii_whitespace().find_map(|word| word.strip_prefix("pmode:")?.parse().ok())
}

/// `< PM_CONFIG DEFAULT=2 >`
fn default_mode(conf: &str) -> Option<u32> {
    conf.lines().find_map(|line| attribute(tag(line, "PM_CONFIG")?, "DEFAULT")?.parse().ok())
}

#[derive(Default)]
struct Section {
    name: Option<String>,
    gpu_max: Option<Hertz>,
}

/// `< POWER_MODEL ID=2 NAME=15W >` and the lines up to the next tag; the attributes come in either order.
fn mode_section(conf: &str, id: u32) -> Section {
    let mut lines = conf.lines();
    let name = lines.find_map(|line| {
        let inside = tag(line, "POWER_MODEL")?;
        let found: u32 = attribute(inside, "ID")?.parse().ok()?;
        (found == id).then(|| attribute(inside, "NAME").map(str::to_owned))
    });
    let body = lines.take_while(|line| !line.trim_start().starts_with('<'));
    let gpu_max = body.filter_map(|line| {
        let mut words = line.split_ascii_whitespace();
        let value = (words.next()? == "GPU" && words.next()? == "MAX_FREQ").then(|| words.next())??;
        text::parse_hertz(value).filter(|hz| hz.get() != i32::MAX as u64)
    });
    Section { name: name.flatten(), gpu_max: gpu_max.last() }
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
    use super::*;

    #[test]
    fn modes_are_found_whatever_the_order_and_the_gaps() {
        let conf = "< PARAM TYPE=CLOCK NAME=GPU >\nFREQ_TABLE /x\n< POWER_MODEL ID=0 NAME=15W >\nGPU MAX_FREQ 612000000\n\
                    < POWER_MODEL NAME=MAXN ID=2 >\nGPU MIN_FREQ 0\nGPU MAX_FREQ -1\n< PM_CONFIG DEFAULT=0 >\n";
        assert_eq!(default_mode(conf), Some(0));
        assert_eq!(mode_section(conf, 0).gpu_max, Some(Hertz::new(612_000_000)));
        assert_eq!(mode_section(conf, 2).name.as_deref(), Some("MAXN"));
        assert_eq!(mode_section(conf, 2).gpu_max, None);
        assert_eq!(mode_section(conf, 1).name, None);
        assert_eq!(status_mode("pmode:0002 fmode:fan_mode_quiet"), Some(2));
    }
}
