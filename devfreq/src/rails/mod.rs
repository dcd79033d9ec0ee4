//! Power rails: the INA3221 as hwmon (L4T R34 and later) and as iio (R32), and Thor's INA238.

mod faster;
mod fresh;
mod period;

use std::io;
use std::path::{Path, PathBuf};

use jetpace_tables::hw::{PowerRails, RailRole, RailSample, Timer};
use jetpace_tables::units::{Milliamps, Millivolts, Milliwatts, Nanos};

pub use faster::sample_faster;
pub use period::conversion_period;

use crate::error::Error;
use crate::nodes::{NodeHandle, Nodes};
use crate::text;
use fresh::Fresh;

/// Where a rail's power is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RailSource {
    /// Millivolts times milliamperes, read one after the other: neither the INA3221's hwmon driver nor its chip gives
    /// power.
    VoltsAmps {
        /// Bus voltage in mV.
        volts: PathBuf,
        /// Current in mA.
        amps: PathBuf,
    },
    /// Power in milliwatts, as the iio driver gives it.
    Power(PathBuf),
}

/// A power rail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rail {
    /// Its label.
    pub name: String,
    /// What its power stands for.
    pub role: RailRole,
    /// Where it is read.
    pub source: RailSource,
}

const HWMON: &str = "/sys/class/hwmon";
const IIO: &str = "/sys/bus/i2c/drivers/ina3221x";

/// All rails of a machine, with their roles. What cannot be read is said in `missing`.
pub fn find<N: Nodes>(nodes: &N, missing: &mut Vec<String>) -> Vec<Rail> {
    let mut found = hwmon(nodes, missing);
    found.extend(iio(nodes, missing));
    if found.is_empty() {
        missing.push("power rails: no readable INA3221 or INA238".to_owned());
    }
    assign_roles(&mut found);
    let has = |role| found.iter().any(|rail| rail.role == role);
    if !found.is_empty() && !has(RailRole::Gpu) {
        let what = if has(RailRole::GpuShared) { "it shares one with other parts" } else { "none is named after it" };
        missing.push(format!("a rail of the GPU alone: {what}"));
    }
    found
}

fn rail(name: String, source: RailSource) -> Rail {
    Rail { name, role: RailRole::Other, source }
}

fn hwmon<N: Nodes>(nodes: &N, missing: &mut Vec<String>) -> Vec<Rail> {
    let mut found = Vec::new();
    for entry in nodes.list(Path::new(HWMON)).unwrap_or_default() {
        let dir = Path::new(HWMON).join(&entry);
        match text::word(nodes, &dir.join("name")).as_deref() {
            Ok("ina3221") => found.extend((1..=3).filter_map(|channel| ina3221_channel(nodes, &dir, channel, missing))),
            Ok("ina238") => found.extend(ina238(nodes, &dir)),
            _ => {}
        }
    }
    found
}

/// Channels 4 to 7 are the shunts' own voltages and their sum, not rails.
fn ina3221_channel<N: Nodes>(nodes: &N, dir: &Path, channel: u8, missing: &mut Vec<String>) -> Option<Rail> {
    let node = |what: &str| dir.join(format!("in{channel}_{what}"));
    let label = match nodes.read(&node("label")) {
        Ok(text) => text.trim().to_owned(),
        Err(e) if e.kind() == io::ErrorKind::PermissionDenied => {
            missing.push(format!("{}: readable by root alone", node("label").display()));
            return None;
        }
        // Without labels in the device tree the driver makes none.
        Err(_) => format!("ch{channel}"),
    };
    if label.is_empty() || label.contains("NC") || text::word(nodes, &node("enable")).is_ok_and(|on| on == "0") {
        return None;
    }
    let amps = dir.join(format!("curr{channel}_input"));
    nodes.mode(&amps).ok()?;
    Some(rail(label, RailSource::VoltsAmps { volts: node("input"), amps }))
}

fn ina238<N: Nodes>(nodes: &N, dir: &Path) -> Option<Rail> {
    let label = ["label", "in1_label"].iter().find_map(|node| text::word_if_there(nodes, &dir.join(node)));
    let (volts, amps) = (dir.join("in1_input"), dir.join("curr1_input"));
    nodes.mode(&volts).and(nodes.mode(&amps)).ok()?;
    // On Thor this chip measures the module's input.
    Some(rail(label.unwrap_or_else(|| "VIN".to_owned()), RailSource::VoltsAmps { volts, amps }))
}

fn iio<N: Nodes>(nodes: &N, missing: &mut Vec<String>) -> Vec<Rail> {
    let mut found = Vec::new();
    for chip in nodes.list(Path::new(IIO)).unwrap_or_default() {
        let chip = Path::new(IIO).join(chip);
        let devices = nodes.list(&chip).unwrap_or_default();
        for device in devices.iter().filter(|name| name.starts_with("iio:device")) {
            for channel in 0..3 {
                let name = chip.join(device).join(format!("rail_name_{channel}"));
                let power = chip.join(device).join(format!("in_power{channel}_input"));
                match nodes.read(&name) {
                    Ok(label) if label.trim().is_empty() || label.contains("NC") => {}
                    Ok(label) if nodes.mode(&power).is_ok() => {
                        found.push(rail(label.trim().to_owned(), RailSource::Power(power)));
                    }
                    Err(e) if e.kind() == io::ErrorKind::PermissionDenied => {
                        missing.push(format!("{}: readable by root alone", name.display()));
                    }
                    _ => {}
                }
            }
        }
    }
    found
}

/// Roles by label. Where one rail is the module's input all others are parts of it and are only reported; where none
/// is (AGX Xavier, AGX Orin), the total is the sum of the parts.
fn assign_roles(rails: &mut [Rail]) {
    let has_total = rails.iter().any(|rail| is_total(&rail.name));
    for rail in rails {
        rail.role = match rail.name.as_str() {
            name if is_total(name) => RailRole::Total,
            "POM_5V_GPU" | "VDD_SYS_GPU" | "GPU" | "VDD_GPU" => RailRole::Gpu,
            name if name.contains("GPU") => RailRole::GpuShared,
            // Fed from VIN_SYS_5V0, which is counted.
            "VDDQ_VDD2_1V8AO" => RailRole::Other,
            name if has_total || is_unlabelled(name) => RailRole::Other,
            _ => RailRole::Part,
        };
    }
}

fn is_total(name: &str) -> bool {
    matches!(name, "VDD_IN" | "POM_5V_IN" | "VIN")
}

fn is_unlabelled(name: &str) -> bool {
    name.strip_prefix("ch").is_some_and(|rest| rest.parse::<u8>().is_ok())
}

/// How often a rail has a new value by what its driver says: hwmon's `update_interval` in milliseconds, which leaves
/// averaging out on L4T and is multiplied by `samples` therefore. `None` where it does not say; R32's driver averages
/// over 54 or 430 ms, but with a new value every 0.84 ms.
pub fn stated_period<N: Nodes>(nodes: &N, rail: &Rail) -> Option<Nanos> {
    let RailSource::VoltsAmps { volts, .. } = &rail.source else { return None };
    let node = |name: &str| text::integer(nodes, &volts.parent()?.join(name)).ok();
    let interval = u64::try_from(node("update_interval")?).ok().filter(|ms| (1..100_000).contains(ms))?;
    let samples = node("samples").and_then(|samples| u64::try_from(samples).ok()).filter(|n| (1..=1024).contains(n));
    Some(Nanos::from_millis(interval * samples.unwrap_or(1)))
}

/// Kept nodes of one rail.
enum Open<H> {
    VoltsAmps(H, H),
    Power(H),
}

/// The rails of a machine, sampled through nodes that are kept open.
pub struct Rails<N: Nodes, T> {
    nodes: N,
    timer: T,
    rails: Vec<Rail>,
    open: Vec<Option<Open<N::Handle>>>,
    fresh: Vec<Option<Fresh>>,
}

impl<N: Nodes, T: Timer> Rails<N, T> {
    /// Opens nothing yet: a rail's nodes are opened at its first sample, and anew after they went away.
    pub fn new(nodes: N, timer: T, rails: Vec<Rail>) -> Self {
        let open = rails.iter().map(|_| None).collect();
        let fresh = rails.iter().map(|_| None).collect();
        Self { nodes, timer, rails, open, fresh }
    }

    /// The rails.
    pub fn list(&self) -> &[Rail] {
        &self.rails
    }

    /// How often a rail has a new value, as found from the samples so far or as its driver says.
    pub fn period(&self, rail: usize) -> Option<Nanos> {
        self.fresh.get(rail)?.as_ref()?.period()
    }

    fn sample_one(&mut self, at: usize) -> Result<RailSample, Error> {
        let (Some(rail), Some(slot)) = (self.rails.get(at), self.open.get_mut(at)) else {
            return Ok(RailSample::default());
        };
        let mut open = match slot.take() {
            Some(open) => open,
            None => open_rail(&self.nodes, &rail.source)?,
        };
        let before = self.timer.now();
        let (voltage, current, power) = match (&mut open, &rail.source) {
            (Open::VoltsAmps(v, a), RailSource::VoltsAmps { volts, amps }) => {
                let (mv, ma) = (number(v, volts)?, number(a, amps)?);
                // mV x mA is uW; a sum of two 20-bit readings cannot overflow.
                (mv, ma, mv.saturating_mul(ma) / 1000)
            }
            (Open::Power(p), RailSource::Power(power)) => (0, 0, number(p, power)?),
            _ => (0, 0, 0),
        };
        // A read takes an I2C transfer or two; the value is of somewhere between.
        let middle = Nanos::new(before.get() / 2 + self.timer.now().get() / 2);
        *slot = Some(open);
        // What the chip gives; the power alone may be the same for another pair.
        let value = if voltage == 0 && current == 0 { power } else { (voltage << 32) ^ current };
        let repeated = self.fresh.get_mut(at).map(|fresh| {
            fresh.get_or_insert_with(|| Fresh::new(stated_period(&self.nodes, rail))).is_repeat(middle, value)
        });
        Ok(RailSample {
            at: middle,
            voltage: Millivolts::new(voltage),
            current: Milliamps::new(current),
            power: Milliwatts::new(power),
            repeated: repeated.unwrap_or(false),
        })
    }
}

impl<N: Nodes, T: Timer> PowerRails for Rails<N, T> {
    type Error = Error;

    fn rails(&self) -> impl Iterator<Item = (&str, RailRole)> {
        self.rails.iter().map(|rail| (rail.name.as_str(), rail.role))
    }

    fn sample(&mut self, out: &mut [RailSample]) -> Result<(), Error> {
        for (at, out) in out.iter_mut().enumerate().take(self.rails.len()) {
            *out = self.sample_one(at)?;
        }
        Ok(())
    }
}

fn open_rail<N: Nodes>(nodes: &N, source: &RailSource) -> Result<Open<N::Handle>, Error> {
    let open = |path: &Path| nodes.open_to_read(path).map_err(|e| Error::read(path, e));
    Ok(match source {
        RailSource::VoltsAmps { volts, amps } => Open::VoltsAmps(open(volts)?, open(amps)?),
        RailSource::Power(power) => Open::Power(open(power)?),
    })
}

fn number(handle: &mut impl NodeHandle, path: &Path) -> Result<i64, Error> {
    let mut buffer = [0; 32];
    let length = handle.read(&mut buffer).map_err(|e| Error::read(path, e))?;
    let text = std::str::from_utf8(buffer.get(..length).unwrap_or_default()).unwrap_or_default();
    // No rail of a module carries more than a kilowatt; more is garbage.
    let value: Option<i64> = text.trim().parse().ok().filter(|value: &i64| value.unsigned_abs() < 1_000_000);
    value.ok_or_else(|| Error::content(path, text, "a number"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn roles(names: &[&str]) -> Vec<RailRole> {
        let source = || RailSource::Power(PathBuf::new());
        let mut rails: Vec<Rail> = names.iter().map(|name| rail((*name).to_owned(), source())).collect();
        assign_roles(&mut rails);
        rails.iter().map(|rail| rail.role).collect()
    }

    #[test]
    fn a_sum_of_parts_stands_in_where_no_rail_is_the_input() {
        use RailRole::{Gpu, GpuShared, Other, Part, Total};
        assert_eq!(roles(&["POM_5V_GPU", "POM_5V_IN", "POM_5V_CPU"]), [Gpu, Total, Other]);
        assert_eq!(roles(&["VDD_IN", "VDD_CPU_GPU_CV", "VDD_SOC"]), [Total, GpuShared, Other]);
        assert_eq!(
            roles(&["VDD_GPU_SOC", "VDD_CPU_CV", "VIN_SYS_5V0", "VDDQ_VDD2_1V8AO"]),
            [GpuShared, Part, Part, Other]
        );
        assert_eq!(roles(&["GPU", "CPU", "SOC", "CV", "VDDRQ", "SYS5V"]), [Gpu, Part, Part, Part, Part, Part]);
        assert_eq!(roles(&["VIN", "VDD_GPU", "VDD_CPU_SOC_MSS", "VIN_SYS_5V0"]), [Total, Gpu, Other, Other]);
        assert_eq!(roles(&["ch1", "ch2"]), [Other, Other]);
    }
}
