//! Finding power monitors: the INA3221 as hwmon (L4T R34 and later) and as iio (R32), and Thor's INA238.

use std::io;
use std::path::{Path, PathBuf};

use super::module;
use super::{Rail, RailSource};
use crate::nodes::Nodes;
use crate::text;

const HWMON: &str = "/sys/class/hwmon";
const IIO: &str = "/sys/bus/i2c/drivers/ina3221x";

/// A chip that measures power, with the channels that can be read.
#[derive(Debug)]
pub(super) struct Monitor {
    /// Its driver's name for it: `ina3221`, `ina238`, ...
    pub kind: String,
    /// Its folder behind all links; on a real tree its path names the I2C controller, the bus and the address.
    pub dir: PathBuf,
    pub rails: Vec<Rail>,
    /// Labelled channels without a reading, and why.
    pub silent: Vec<(String, &'static str)>,
    /// Channels that say nothing of what they measure.
    pub nameless: usize,
}

impl Monitor {
    /// The I2C device's name: `1-0040`.
    pub fn device(&self) -> Option<&str> {
        self.dir.iter().filter_map(|part| part.to_str()).find(|part| {
            part.split_once('-').is_some_and(|(bus, address)| {
                bus.parse::<u16>().is_ok() && address.len() == 4 && u16::from_str_radix(address, 16).is_ok()
            })
        })
    }

    /// The I2C controller's name: `c240000.i2c`.
    pub fn controller(&self) -> Option<&str> {
        self.dir.iter().filter_map(|part| part.to_str()).find(|part| part.ends_with(".i2c"))
    }

    /// For people.
    pub fn name(&self) -> String {
        let place = self.device().map_or_else(|| self.dir.display().to_string(), str::to_owned);
        let labels: Vec<&str> = self.rails.iter().map(|rail| rail.name.as_str()).collect();
        if labels.is_empty() {
            return format!("{} at {place}", self.kind);
        }
        format!("{} at {place} ({})", self.kind, labels.join(", "))
    }

    /// A channel by its label, of which there is a reading or not.
    pub fn has(&self, label: &str) -> bool {
        self.rails.iter().any(|rail| rail.name == label) || self.silent.iter().any(|(name, _)| name == label)
    }

    fn add<N: Nodes>(&mut self, nodes: &N, channel: &Channel, missing: &mut Vec<String>) {
        let label = match text::word(nodes, &channel.label) {
            Ok(label) => label.trim().to_owned(),
            Err(crate::Error::Read { source, .. }) if source.kind() == io::ErrorKind::PermissionDenied => {
                missing.push(format!("{}: readable by root alone", channel.label.display()));
                return;
            }
            // Without labels in the device tree the driver makes none.
            Err(_) => String::new(),
        };
        if label.contains("NC") {
            return;
        }
        let there = channel.source.nodes().iter().all(|node| nodes.mode(node).is_ok());
        let off = channel.enable.as_ref().is_some_and(|node| text::word(nodes, node).is_ok_and(|on| on.trim() == "0"));
        match (label.is_empty(), off, there) {
            (true, false, true) => self.nameless += 1,
            (true, ..) => {}
            (false, true, _) => self.silent.push((label, "its channel is switched off")),
            (false, false, false) => self.silent.push((label, "its channel has no nodes to read")),
            (false, false, true) => self.rails.push(Rail::new(label, channel.source.clone())),
        }
    }
}

struct Channel {
    label: PathBuf,
    enable: Option<PathBuf>,
    source: RailSource,
}

/// All rails of a machine, with their roles, and how its total comes about. What cannot be read, and monitors that are
/// not the module's, are said in `missing`.
pub fn find<N: Nodes>(nodes: &N, soc: Option<&str>, missing: &mut Vec<String>) -> (Vec<Rail>, super::Total) {
    let before = missing.len();
    let mut monitors = hwmon(nodes, missing);
    monitors.extend(iio(nodes, missing));
    let hidden = missing.len() > before;
    let (rails, total) = module::of_module(monitors, soc, hidden, missing);
    if rails.is_empty() {
        missing.push("power rails: no readable INA3221 or INA238 of the module".to_owned());
    }
    (rails, total)
}

fn hwmon<N: Nodes>(nodes: &N, missing: &mut Vec<String>) -> Vec<Monitor> {
    let mut found = Vec::new();
    for entry in nodes.list(Path::new(HWMON)).unwrap_or_default() {
        let link = Path::new(HWMON).join(&entry);
        let Some(kind) = text::word_if_there(nodes, &link.join("name")).filter(|kind| kind.starts_with("ina")) else {
            continue;
        };
        let dir = nodes.canonical(&link).unwrap_or_else(|_| link.clone());
        let mut monitor = Monitor { kind, dir, rails: Vec::new(), silent: Vec::new(), nameless: 0 };
        for channel in channels(nodes, &monitor.kind, &link) {
            monitor.add(nodes, &channel, missing);
        }
        found.push(monitor);
    }
    found
}

/// Channels 4 to 7 of an INA3221 are the shunts' own voltages and their sum, not rails.
fn channels<N: Nodes>(nodes: &N, kind: &str, dir: &Path) -> Vec<Channel> {
    let source = |channel: u8| RailSource::VoltsAmps {
        volts: dir.join(format!("in{channel}_input")),
        amps: dir.join(format!("curr{channel}_input")),
    };
    match kind {
        "ina3221" => (1..=3)
            .map(|channel| Channel {
                label: dir.join(format!("in{channel}_label")),
                enable: Some(dir.join(format!("in{channel}_enable"))),
                source: source(channel),
            })
            .collect(),
        "ina238" => {
            let label = ["label", "in1_label"].map(|node| dir.join(node));
            let label = label.into_iter().find(|path| text::word_if_there(nodes, path).is_some());
            let label = label.unwrap_or_else(|| dir.join("label"));
            vec![Channel { label, enable: None, source: source(1) }]
        }
        _ => Vec::new(),
    }
}

fn iio<N: Nodes>(nodes: &N, missing: &mut Vec<String>) -> Vec<Monitor> {
    let mut found = Vec::new();
    for chip in nodes.list(Path::new(IIO)).unwrap_or_default() {
        let chip = Path::new(IIO).join(chip);
        for device in nodes.list(&chip).unwrap_or_default().iter().filter(|name| name.starts_with("iio:device")) {
            let link = chip.join(device);
            let dir = nodes.canonical(&link).unwrap_or_else(|_| link.clone());
            let kind = "ina3221".to_owned();
            let mut monitor = Monitor { kind, dir, rails: Vec::new(), silent: Vec::new(), nameless: 0 };
            for channel in 0..3 {
                let node = |what: &str| link.join(format!("{what}{channel}"));
                let source = RailSource::Power(link.join(format!("in_power{channel}_input")));
                let channel = Channel { label: node("rail_name_"), enable: None, source };
                monitor.add(nodes, &channel, missing);
            }
            found.push(monitor);
        }
    }
    found
}
