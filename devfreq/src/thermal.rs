//! Thermal zones, cooling devices and over-current counters.

use std::fmt;
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

/// A cooling device that holds a clock down when it gets too hot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cooling {
    /// Its type: `gpu-throttle-alert`, `17000000.gpu`, `cpu-throttle-alert`, ...
    pub name: String,
    /// Where its state is read; 0 is at rest.
    pub path: PathBuf,
    /// Whether it holds the GPU's clock down, and not another engine's.
    pub of_gpu: bool,
}

/// A cooling device at work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Active {
    /// Its type.
    pub name: String,
    /// Its state, above 0.
    pub state: i64,
    /// Whether it holds the GPU's clock down.
    pub of_gpu: bool,
}

impl fmt::Display for Active {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.name, self.state)
    }
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

/// The cooling devices that hold a clock down: throttle alerts, and devfreq's and cpufreq's own; no fans. `gpu` is the
/// name of the GPU's devfreq device.
pub fn cooling<N: Nodes>(nodes: &N, gpu: &str) -> Vec<Cooling> {
    const CLOCKS: [&str; 8] = ["throttle", "alert", "balanced", "devfreq", "cpufreq", "vic", "nvdec", "dla"];
    typed(nodes, "cooling_device")
        .map(|(name, dir)| Cooling { of_gpu: is_of_gpu(&name, gpu), path: dir.join("cur_state"), name })
        .filter(|device| device.of_gpu || CLOCKS.iter().any(|part| device.name.contains(part)))
        .collect()
}

/// The cooling devices that are at work now.
pub fn active<N: Nodes>(nodes: &N, cooling: &[Cooling]) -> Vec<Active> {
    let state = |device: &Cooling| text::integer(nodes, &device.path).ok().filter(|state| *state > 0);
    let active = cooling.iter().filter_map(|device| Some((device, state(device)?)));
    active.map(|(device, state)| Active { name: device.name.clone(), state, of_gpu: device.of_gpu }).collect()
}

/// Whether a cooling device holds the GPU's clock down now.
pub fn gpu_throttled<N: Nodes>(nodes: &N, cooling: &[Cooling]) -> bool {
    active(nodes, cooling).iter().any(|active| active.of_gpu)
}

/// The GPU's own device or alert. Up to 5.10 devfreq's cooling devices are called `thermal-devfreq-0` whomever they cool;
/// nvgpu's is the only one that L4T registers.
fn is_of_gpu(name: &str, gpu: &str) -> bool {
    let name = name.to_ascii_lowercase();
    let whose = ["gpu", "gv11b", "gp10b", "ga10b", "gb10b"];
    // Thor's other clock of the GPU device is the video engines'.
    let video = name.contains("nvd") && !gpu.contains("nvd");
    let named = name.contains(&gpu.to_ascii_lowercase()) || whose.iter().any(|part| name.contains(part));
    !video && named || name.starts_with("thermal-devfreq")
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_gpus_own_devices_hold_the_gpu_down() {
        for (name, gpu, own) in [
            ("gpu-throttle-alert", "17000000.gpu", true),
            ("devfreq-17000000.gpu", "17000000.gpu", true),
            ("17000000.gv11b", "17000000.gv11b", true),
            ("GPU-balanced", "57000000.gpu", true),
            ("thermal-devfreq-0", "17000000.ga10b", true),
            ("gpu-gpc-0", "gpu-gpc-0", true),
            ("devfreq-gpu-nvd-0", "gpu-gpc-0", false),
            ("cpu-throttle-alert", "17000000.gpu", false),
            ("soc0-throttle-alert", "17000000.gpu", false),
            ("devfreq-15340000.vic", "17000000.gpu", false),
            ("cpufreq-cpu0", "17000000.gpu", false),
        ] {
            assert_eq!(is_of_gpu(name, gpu), own, "{name}");
        }
    }
}
