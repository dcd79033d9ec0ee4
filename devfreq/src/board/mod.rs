//! What a machine is and has, found by class and content, never by a hard-coded place.

mod bound;
mod digest;
mod emc;
mod gpu;
mod ident;
pub(crate) mod nvpmodel;
mod telling;

use std::path::{Path, PathBuf};

pub use bound::Bound;
pub use digest::{Digests, hex};
pub use emc::{Emc, EmcLock, EmcRange};
pub use gpu::Gpu;
pub(crate) use gpu::highest_below;
pub use ident::Identity;
pub use nvpmodel::PowerMode;

use crate::error::Error;
use crate::nodes::Nodes;
use crate::rails::{self, Rail, Total};
use crate::thermal::{self, Cooling, OverCurrent, Zone};

/// Where devfreq devices are listed, on every release.
pub const DEVFREQ: &str = "/sys/class/devfreq";

/// nvgpu's own governor on every release.
pub(crate) const STOCK: &str = "nvhost_podgov";

/// The governors under which a clock is fixed by a write: of a request, and of the bound.
pub(crate) const FIXING: [&str; 2] = ["userspace", "performance"];

/// A machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Board {
    /// Names and numbers.
    pub identity: Identity,
    /// nvpmodel's mode, where it is known.
    pub power_mode: Option<PowerMode>,
    /// Where nvpmodel's claim and the hardware's bound differ: both. The hardware counts.
    pub differs: Option<String>,
    /// The GPU whose clock is set.
    pub gpu: Gpu,
    /// Other clocks of the GPU that are scaled by themselves (Thor's video engines), not touched.
    pub other_gpus: Vec<PathBuf>,
    /// The memory's clock.
    pub emc: Option<Emc>,
    /// Power rails of the module.
    pub rails: Vec<Rail>,
    /// How the module's total power comes about.
    pub total: Total,
    /// Thermal zones.
    pub zones: Vec<Zone>,
    /// Cooling devices that throttle a clock.
    pub cooling: Vec<Cooling>,
    /// Over-current counters.
    pub over_current: Vec<OverCurrent>,
    /// CPU frequency policies.
    pub cpus: Vec<PathBuf>,
    /// What was looked for and not found, or could not be read.
    pub missing: Vec<String>,
}

impl Board {
    /// Looks at a machine. Reads only.
    ///
    /// # Errors
    /// Where no GPU with a clock is found, or its nodes hold garbage. Everything else that lacks is said in `missing`.
    pub fn discover<N: Nodes>(nodes: &N) -> Result<Self, Error> {
        let mut missing = Vec::new();
        let identity = Identity::read(nodes, &mut missing);
        let power_mode = nvpmodel::mode(nodes, &mut missing);
        match &power_mode {
            None => missing.push("power mode: neither /var/lib/nvpmodel/status nor nvpmodel.conf tells it".to_owned()),
            Some(mode) if !mode.applied => missing.push(format!(
                "power mode: {mode} is configured, and nothing says that it was ever set: it does not count"
            )),
            Some(_) => {}
        }
        let applied = power_mode.as_ref().filter(|mode| mode.applied);
        let lacks = [
            ("/etc/nv_tegra_release", identity.l4t.is_none()),
            ("/etc/nvpmodel.conf", power_mode.as_ref().is_none_or(|mode| mode.name.is_none())),
            ("/var/lib/nvpmodel", applied.is_none()),
        ];
        let lacks: Vec<&str> = lacks.into_iter().filter(|(_, lacks)| *lacks).map(|(path, _)| path).collect();
        if !lacks.is_empty() {
            missing.push(format!(
                "identity: the digest hangs on release and power mode, so it is another where these files are there; in \
                 a container mount {} into it, read-only",
                lacks.join(", ")
            ));
        }
        let (name, other_gpus) = gpu::find(nodes)?;
        let cooling = thermal::cooling(nodes, &name);
        let gpu = Gpu::read(nodes, &name, &identity, power_mode.as_ref(), &cooling, &mut missing)?;
        let differs = gpu.differs(power_mode.as_ref());
        let emc = Emc::find(nodes, &mut missing);
        let (rails, total) = rails::find(nodes, identity.soc.as_deref(), &mut missing);
        let zones = thermal::zones(nodes);
        if zones.is_empty() {
            missing.push("thermal zones: none below /sys/class/thermal".to_owned());
        }
        let over_current = thermal::over_current(nodes);
        let cpus = cpu_policies(nodes);
        Ok(Self {
            identity,
            power_mode,
            differs,
            gpu,
            other_gpus,
            emc,
            rails,
            total,
            zones,
            cooling,
            over_current,
            cpus,
            missing,
        })
    }

    /// Every node that is ever written on this machine: the GPU's, the memory's clock, and the pace of the rails.
    pub fn writable(&self) -> Vec<PathBuf> {
        let of_emc = self.emc.iter().flat_map(Emc::writable);
        let of_rails = self.rails.iter().filter_map(|rail| rails::pace(rail).map(|(node, _)| node));
        self.gpu.writable().into_iter().chain(of_emc).chain(of_rails).collect()
    }

    /// Looks again at a machine whose clock is held: what the hardware allows does not show then, so it counts as it did
    /// before for as long as nvpmodel says the same.
    ///
    /// # Errors
    /// As [`Self::discover`].
    pub fn look_again<N: Nodes>(&self, nodes: &N) -> Result<Self, Error> {
        let now = Self::discover(nodes)?;
        if now.power_mode != self.power_mode {
            return Ok(now);
        }
        let gpu = Gpu { user: self.gpu.user, ..now.gpu };
        Ok(Self { differs: self.differs.clone(), gpu, ..now })
    }
}

fn cpu_policies<N: Nodes>(nodes: &N) -> Vec<PathBuf> {
    let dir = Path::new("/sys/devices/system/cpu/cpufreq");
    let names = nodes.list(dir).unwrap_or_default();
    names.iter().filter(|name| name.starts_with("policy")).map(|name| dir.join(name)).collect()
}
