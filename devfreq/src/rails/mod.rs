//! Power rails: the INA3221 as hwmon (L4T R34 and later) and as iio (R32), and Thor's INA238.

mod faster;
mod find;
mod fresh;
mod module;
mod pace;
mod period;

use std::path::{Path, PathBuf};

use jetpace_tables::hw::{PowerRails, RailRole, RailSample, Timer};
use jetpace_tables::units::{Milliamps, Millivolts, Milliwatts, Nanos};

pub(crate) use faster::pace;
pub use faster::sample_faster;
pub use find::find;
pub use module::{Total, module_total};
pub use pace::PowerPace;
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

impl RailSource {
    /// The nodes that are read.
    pub fn nodes(&self) -> Vec<&Path> {
        match self {
            Self::VoltsAmps { volts, amps } => vec![volts, amps],
            Self::Power(power) => vec![power],
        }
    }
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

impl Rail {
    fn new(name: String, source: RailSource) -> Self {
        Self { name, role: RailRole::Other, source }
    }
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
        let (voltage, current, power) = match (&rail.source, &mut open) {
            (RailSource::VoltsAmps { volts, amps }, Open::VoltsAmps(v, a)) => {
                let (mv, ma) = (number(v, volts)?, number(a, amps)?);
                // mV x mA is uW; a sum of two 20-bit readings cannot overflow.
                (mv, ma, mv.saturating_mul(ma) / 1000)
            }
            (RailSource::Power(power), Open::Power(p)) => (0, 0, number(p, power)?),
            // What is open is what the source names; spelled out, so that a new kind of source is asked for.
            (RailSource::VoltsAmps { .. }, Open::Power(_)) | (RailSource::Power(_), Open::VoltsAmps(..)) => (0, 0, 0),
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
