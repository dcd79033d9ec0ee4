//! Thermal zones, cooling devices and over-current counters.

use std::path::{Path, PathBuf};

use jetpace_tables::units::MilliCelsius;

use crate::nodes::Nodes;
use crate::text;

const THERMAL: &str = "/sys/class/thermal";

/// A thermal zone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Zone {
    /// Its type: `gpu-thermal`, or `GPU-therm` up to R35.
    pub name: String,
    /// Where its temperature is read.
    pub path: PathBuf,
}

impl Zone {
    /// Its temperature, or `None`: a gated part (cv0 to cv2, the GPU) answers EAGAIN or -256 degrees.
    pub fn read<N: Nodes>(&self, nodes: &N) -> Option<MilliCelsius> {
        let value = text::integer(nodes, &self.path).ok()?;
        (-100_000..200_000).contains(&value).then(|| MilliCelsius::new(value))
    }
}

/// A cooling device that throttles a clock when it gets too hot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cooling {
    /// Its type: `gpu-throttle-alert`, `17000000.gpu`, ...
    pub name: String,
    /// Where its state is read; 0 is at rest.
    pub path: PathBuf,
}

/// A counter of over-current events, cumulative since the start of the machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OverCurrent {
    /// `oc1` (under-voltage), `oc2` (average), `oc3` (instantaneous).
    pub name: String,
    /// Where it is read.
    pub path: PathBuf,
}

/// All thermal zones, in the kernel's order.
pub fn zones<N: Nodes>(nodes: &N) -> Vec<Zone> {
    typed(nodes, "thermal_zone").map(|(name, dir)| Zone { name, path: dir.join("temp") }).collect()
}

/// The cooling devices that hold a clock down: throttle alerts, and devfreq's own.
pub fn cooling<N: Nodes>(nodes: &N) -> Vec<Cooling> {
    typed(nodes, "cooling_device")
        .filter(|(name, _)| name.contains("throttle") || is_gpu(name) || name.contains("devfreq"))
        .map(|(name, dir)| Cooling { name, path: dir.join("cur_state") })
        .collect()
}

/// Whether a cooling device holds the GPU's clock down now.
pub fn gpu_throttled<N: Nodes>(nodes: &N, cooling: &[Cooling]) -> bool {
    let of_gpu = cooling.iter().filter(|device| is_gpu(&device.name) || device.name.contains("devfreq"));
    of_gpu.into_iter().any(|device| text::integer(nodes, &device.path).is_ok_and(|state| state > 0))
}

fn is_gpu(name: &str) -> bool {
    ["gpu", "gv11b", "gp10b", "ga10b"].iter().any(|part| name.to_ascii_lowercase().contains(part))
}

/// `<kind><n>` folders with their type, in the order of n.
fn typed<N: Nodes>(nodes: &N, kind: &str) -> impl Iterator<Item = (String, PathBuf)> {
    let names = nodes.list(Path::new(THERMAL)).unwrap_or_default();
    let mut numbered: Vec<(u32, String)> =
        names.into_iter().filter_map(|name| Some((name.strip_prefix(kind)?.parse().ok()?, name))).collect();
    numbered.sort();
    numbered.into_iter().filter_map(|(_, name)| {
        let dir = Path::new(THERMAL).join(name);
        Some((text::word_if_there(nodes, &dir.join("type"))?, dir))
    })
}

/// Over-current counters: the hwmon device `soctherm_oc` (Orin from R36 on).
pub fn over_current<N: Nodes>(nodes: &N) -> Vec<OverCurrent> {
    let class = Path::new("/sys/class/hwmon");
    let mut counters = Vec::new();
    for name in nodes.list(class).unwrap_or_default() {
        let dir = class.join(name);
        if text::word(nodes, &dir.join("name")).is_ok_and(|name| name == "soctherm_oc") {
            for counter in ["oc1", "oc2", "oc3"] {
                let path = dir.join(format!("{counter}_event_cnt"));
                if text::integer(nodes, &path).is_ok() {
                    counters.push(OverCurrent { name: counter.to_owned(), path });
                }
            }
        }
    }
    counters
}
