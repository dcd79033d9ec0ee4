//! Which power monitors are the module's own, by their place in the device tree, and what their rails add up to. Carrier
//! boards carry more of the same chips, with labels of the same names.

use std::fmt;

use jetpace_tables::hw::RailRole;

use super::Rail;
use super::find::Monitor;

/// How the module's total power comes about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Total {
    /// One rail is the module's input.
    Rail(String),
    /// No rail is; these add up to it.
    Sum(Vec<String>),
    /// It is not known, and why.
    Unknown(String),
}

impl fmt::Display for Total {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rail(name) => write!(f, "{name}, the module's input"),
            Self::Sum(names) => write!(f, "the sum of {}", names.join(" + ")),
            Self::Unknown(why) => write!(f, "not known: {why}"),
        }
    }
}

/// Where a module carries a monitor, and what it measures there. From L4T's device trees (powermon); Thor's place is not
/// known, there the labels alone tell.
struct Place {
    soc: &'static str,
    controller: Option<&'static str>,
    /// Bus and address, as the I2C core names the device.
    device: Option<&'static str>,
    labels: &'static [&'static str],
}

const fn at(
    soc: &'static str,
    controller: &'static str,
    device: &'static str,
    labels: &'static [&'static str],
) -> Place {
    Place { soc, controller: Some(controller), device: Some(device), labels }
}

const PLACES: [Place; 12] = [
    at("tegra210", "546c0000.i2c", "6-0040", &["POM_5V_GPU", "POM_5V_IN", "POM_5V_CPU"]),
    at("tegra186", "3160000.i2c", "0-0040", &["VDD_SYS_GPU", "VDD_SYS_SOC", "VDD_4V0_WIFI"]),
    at("tegra186", "3160000.i2c", "0-0041", &["VDD_IN", "VDD_SYS_CPU", "VDD_SYS_DDR"]),
    at("tegra186", "3180000.i2c", "2-0040", &["VDD_IN", "VDD_CPU_GPU", "VDD_SOC"]),
    at("tegra194", "c240000.i2c", "1-0040", &["GPU", "CPU", "SOC"]),
    at("tegra194", "c240000.i2c", "1-0041", &["CV", "VDDRQ", "SYS5V"]),
    at("tegra194", "c250000.i2c", "7-0040", &["VDD_IN", "VDD_CPU_GPU_CV", "VDD_SOC"]),
    at("tegra234", "c240000.i2c", "1-0040", &["VDD_GPU_SOC", "VDD_CPU_CV", "VIN_SYS_5V0"]),
    at("tegra234", "c240000.i2c", "1-0041", &["VDDQ_VDD2_1V8AO"]),
    at("tegra234", "c240000.i2c", "1-0040", &["VDD_IN", "VDD_CPU_GPU_CV", "VDD_SOC"]),
    Place { soc: "tegra264", controller: None, device: None, labels: &["VDD_GPU", "VDD_CPU_SOC_MSS", "VIN_SYS_5V0"] },
    Place { soc: "tegra264", controller: None, device: None, labels: &["VIN"] },
];

/// Totals that are one rail.
const INPUTS: [&str; 3] = ["VDD_IN", "POM_5V_IN", "VIN"];

/// Totals that are a sum. AGX Orin's fourth rail, VDDQ_VDD2_1V8AO, is fed from VIN_SYS_5V0, which is counted.
const SUMS: [&[&str]; 2] =
    [&["VDD_GPU_SOC", "VDD_CPU_CV", "VIN_SYS_5V0"], &["GPU", "CPU", "SOC", "CV", "VDDRQ", "SYS5V"]];

/// Labels whose power adds up to the module's, out of those that are there.
pub fn module_total(there: impl Fn(&str) -> bool) -> Option<Vec<&'static str>> {
    let input = INPUTS.into_iter().find(|label| there(label)).map(|input| vec![input]);
    input.or_else(|| SUMS.iter().find(|sum| sum.iter().all(|label| there(label))).map(|sum| sum.to_vec()))
}

impl Place {
    fn is_here(&self, monitor: &Monitor, soc: Option<&str>) -> bool {
        let address = |device: &str| device.split_once('-').map(|(_, address)| address.to_owned());
        let of_soc = soc.is_none_or(|soc| soc == self.soc);
        let here = match (self.controller, self.device, monitor.device()) {
            (Some(controller), Some(place), Some(device)) => match monitor.controller() {
                // The bus's number is Linux's; the controller is the board's.
                Some(found) => found == controller && address(place) == address(device),
                None => place == device,
            },
            (None, ..) => true,
            _ => false,
        };
        of_soc && here && self.labels.iter().any(|label| monitor.has(label))
    }
}

/// The module's rails with their roles, and its total.
pub(super) fn of_module(
    monitors: Vec<Monitor>,
    soc: Option<&str>,
    hidden: bool,
    missing: &mut Vec<String>,
) -> (Vec<Rail>, Total) {
    let known = soc.is_none_or(|soc| PLACES.iter().any(|place| place.soc == soc));
    let (own, others): (Vec<Monitor>, Vec<Monitor>) = monitors.into_iter().partition(|monitor| {
        let any_label = INPUTS.iter().chain(SUMS.concat().iter()).any(|label| monitor.has(label));
        let here = PLACES.iter().any(|place| place.is_here(monitor, soc));
        here || !known && any_label
    });
    // Two monitors with one label: neither is taken for the module's.
    let twice = own.iter().flat_map(|monitor| &monitor.rails).find_map(|rail| {
        let count = own.iter().filter(|monitor| monitor.has(&rail.name)).count();
        (count > 1).then(|| rail.name.clone())
    });
    if let Some(label) = twice {
        let names: Vec<String> = own.iter().filter(|monitor| monitor.has(&label)).map(Monitor::name).collect();
        let why = format!("{label} is measured by {}, and nothing tells which is the module's", names.join(" and "));
        missing.push(format!("power rails: {why}"));
        return (Vec::new(), Total::Unknown(why));
    }
    for monitor in &others {
        let why = match monitor.nameless {
            0 => "not where this module carries one, so its power is not the module's",
            _ => "its channels have no labels, so nothing tells what they measure",
        };
        missing.push(format!("power monitor {}: left out, {why}", monitor.name()));
    }
    let total = total(&own, hidden, !others.is_empty());
    let mut rails: Vec<Rail> = own.into_iter().flat_map(|monitor| monitor.rails).collect();
    for rail in &mut rails {
        rail.role = role(&rail.name, &total);
    }
    let has = |role| rails.iter().any(|rail| rail.role == role);
    if !rails.is_empty() && !has(RailRole::Gpu) {
        let what = if has(RailRole::GpuShared) { "it shares one with other parts" } else { "none is named after it" };
        missing.push(format!("a rail of the GPU alone: {what}"));
    }
    if let Total::Unknown(why) = &total {
        missing.push(format!("the module's power: not known, {why}"));
    }
    (rails, total)
}

fn total(own: &[Monitor], hidden: bool, others: bool) -> Total {
    let read = |label: &str| own.iter().any(|monitor| monitor.rails.iter().any(|rail| rail.name == label));
    let silent = |label: &str| {
        own.iter().flat_map(|monitor| &monitor.silent).find(|(name, _)| name == label).map(|(_, why)| *why)
    };
    if let Some(input) = INPUTS.into_iter().find(|label| read(label)) {
        return Total::Rail(input.to_owned());
    }
    if let Some((input, why)) = INPUTS.into_iter().find_map(|label| Some((label, silent(label)?))) {
        return Total::Unknown(format!("{input} is its input, but {why}"));
    }
    let Some(sum) = SUMS.iter().find(|sum| sum.iter().any(|label| read(label) || silent(label).is_some())) else {
        return Total::Unknown(if hidden {
            "the rails are readable by root alone".to_owned()
        } else if others {
            "no monitor lies where this module carries its own with a label".to_owned()
        } else {
            "no power monitor was found".to_owned()
        });
    };
    match sum.iter().find(|label| !read(label)) {
        None => Total::Sum(sum.iter().map(|&label| label.to_owned()).collect()),
        Some(lacks) => {
            let why = silent(lacks).unwrap_or("no monitor reads it");
            Total::Unknown(format!("it is the sum of {}, but of {lacks} {why}", sum.join(" + ")))
        }
    }
}

/// A rail's role, by its label. Where one rail is the module's input all others are parts of it and are only reported.
fn role(name: &str, total: &Total) -> RailRole {
    let part = matches!(total, Total::Sum(parts) if parts.iter().any(|part| part == name));
    match name {
        name if matches!(total, Total::Rail(input) if input == name) => RailRole::Total,
        "POM_5V_GPU" | "VDD_SYS_GPU" | "GPU" | "VDD_GPU" => RailRole::Gpu,
        name if name.contains("GPU") => RailRole::GpuShared,
        _ if part => RailRole::Part,
        _ => RailRole::Other,
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::super::RailSource;
    use super::*;

    fn monitor(dir: &str, labels: &[&str]) -> Monitor {
        let rail = |name: &&str| Rail::new((*name).to_owned(), RailSource::Power(PathBuf::new()));
        let rails = labels.iter().map(rail).collect();
        Monitor { kind: "ina3221".to_owned(), dir: PathBuf::from(dir), rails, silent: Vec::new(), nameless: 0 }
    }

    fn roles(soc: &str, monitors: Vec<Monitor>) -> (Vec<RailRole>, Total) {
        let (rails, total) = of_module(monitors, Some(soc), false, &mut Vec::new());
        (rails.iter().map(|rail| rail.role).collect(), total)
    }

    #[test]
    fn a_sum_of_parts_stands_in_where_no_rail_is_the_input() {
        use RailRole::{Gpu, GpuShared, Other, Part, Total};
        let c24 = "/sys/devices/platform/c240000.i2c/i2c-1/1-0040/hwmon/hwmon1";
        let second = "/sys/devices/platform/c240000.i2c/i2c-1/1-0041/hwmon/hwmon2";
        let (found, total) = roles("tegra234", vec![monitor(c24, &["VDD_IN", "VDD_CPU_GPU_CV", "VDD_SOC"])]);
        assert_eq!(
            (found, total.to_string()),
            (vec![Total, GpuShared, Other], "VDD_IN, the module's input".to_owned())
        );
        let orin =
            || vec![monitor(c24, &["VDD_GPU_SOC", "VDD_CPU_CV", "VIN_SYS_5V0"]), monitor(second, &["VDDQ_VDD2_1V8AO"])];
        assert_eq!(roles("tegra234", orin()).0, [GpuShared, Part, Part, Other]);
        let xavier = vec![monitor(c24, &["GPU", "CPU", "SOC"]), monitor(second, &["CV", "VDDRQ", "SYS5V"])];
        assert_eq!(roles("tegra194", xavier).0, [Gpu, Part, Part, Part, Part, Part]);
        let thor = ["/x/i2c-2/2-0040/hwmon/hwmon1", "/x/i2c-2/2-0044/hwmon/hwmon2"];
        let thor = vec![monitor(thor[0], &["VDD_GPU", "VDD_CPU_SOC_MSS", "VIN_SYS_5V0"]), monitor(thor[1], &["VIN"])];
        assert_eq!(roles("tegra264", thor).0, [Gpu, Other, Other, Total]);
    }

    #[test]
    fn a_sum_without_one_of_its_parts_is_no_total() {
        let c24 = "/sys/devices/platform/c240000.i2c/i2c-1/1-0040/hwmon/hwmon1";
        let (found, total) = roles("tegra234", vec![monitor(c24, &["VDD_GPU_SOC", "VDD_CPU_CV"])]);
        assert_eq!(found, [RailRole::GpuShared, RailRole::Other]);
        assert!(total.to_string().contains("but of VIN_SYS_5V0 no monitor reads it"), "{total}");
    }
}
