//! What a machine is and has, found by class and content, never by a hard-coded place.

mod emc;
mod ident;
pub(crate) mod nvpmodel;

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use jetpace_tables::units::Hertz;
use sha2::{Digest, Sha256};

pub use emc::{Emc, EmcLock};
pub use ident::Identity;
pub use nvpmodel::PowerMode;

use crate::error::Error;
use crate::nodes::Nodes;
use crate::rails::{self, Rail, Total};
use crate::text;
use crate::thermal::{self, Cooling, OverCurrent, Zone};

/// Where devfreq devices are listed, on every release.
pub const DEVFREQ: &str = "/sys/class/devfreq";

/// The governors under which a clock is fixed by a write: of a request, and of the bound.
pub(crate) const FIXING: [&str; 2] = ["userspace", "performance"];

/// A GPU that devfreq scales.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gpu {
    /// The GPU's device folder, behind all links.
    pub device: PathBuf,
    /// Its devfreq folder, behind all links.
    pub devfreq: PathBuf,
    /// `available_frequencies`, ascending.
    pub clocks: Vec<Hertz>,
    /// `available_governors`.
    pub governors: Vec<String>,
    /// The governor found: the stock governor, unless someone fixed the clock.
    pub governor: String,
    /// The floor found; `None` is no floor.
    pub min: Option<Hertz>,
    /// The bound found; `None` is no bound. Where a cooling device is at work this is its limit, not nvpmodel's.
    pub max: Option<Hertz>,
    /// The highest listed clock that may be asked for.
    pub cap: Hertz,
    /// Whether `cap` was taken from nvpmodel's configuration, because a cooling device held `max_freq` down.
    pub throttled: bool,
    /// `tpc_pg_mask`: the parts of the GPU that the power mode switched off.
    pub tpc_mask: Option<String>,
}

impl Gpu {
    /// Every node of it that is ever written.
    pub fn writable(&self) -> Vec<PathBuf> {
        let of_devfreq = ["governor", "min_freq", "max_freq", "userspace/set_freq"].map(|node| self.node(node));
        let of_device = ["user", "freq_request", "power/control"].map(|node| self.device.join(node));
        of_devfreq.into_iter().chain(of_device).collect()
    }

    /// A node of the devfreq folder.
    pub fn node(&self, name: &str) -> PathBuf {
        self.devfreq.join(name)
    }
}

/// A machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Board {
    /// Names and numbers.
    pub identity: Identity,
    /// nvpmodel's mode, where it is known.
    pub power_mode: Option<PowerMode>,
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
        let cooling = thermal::cooling(nodes);
        let conf = nvpmodel::Conf::read(nodes);
        let power_mode = conf.as_ref().and_then(|conf| conf.mode.clone());
        if power_mode.is_none() {
            missing.push("power mode: neither /var/lib/nvpmodel/status nor nvpmodel.conf tells it".to_owned());
        }
        let (gpu, other_gpus) = find_gpus(nodes)?;
        let throttled = thermal::gpu_throttled(nodes, &cooling);
        let configured = conf.as_ref().and_then(|conf| conf.gpu_max);
        let gpu = read_gpu(nodes, gpu, throttled, configured)?;
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

    /// SHA-256, in hex, of what a calibration holds for: module part number, L4T release, power mode, TPC mask, clock
    /// list and EMC clock (its cap: the clock itself moves with load and with the GPU's clock).
    pub fn digest(&self) -> String {
        hex(&self.digest_bytes())
    }

    /// [`Self::digest`] as tables hold it.
    pub fn digest_bytes(&self) -> [u8; 32] {
        let mut text = String::from("jetpace board 1\n");
        let mode = self.power_mode.as_ref().map(PowerMode::to_string);
        let lines = [
            ("part", self.identity.part.clone()),
            ("l4t", self.identity.l4t.clone()),
            ("power mode", mode),
            ("tpc", self.gpu.tpc_mask.clone()),
            ("emc", self.emc.as_ref().and_then(|emc| emc.cap).map(|hz| hz.get().to_string())),
        ];
        for (name, value) in lines {
            // Writing into a String cannot fail.
            let _ = writeln!(text, "{name} {}", value.as_deref().unwrap_or("-"));
        }
        for clock in &self.gpu.clocks {
            let _ = writeln!(text, "clock {}", clock.get());
        }
        Sha256::digest(text).into()
    }
}

/// Bytes as hexadecimal digits.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// The GPU that is set, and others: both as names below [`DEVFREQ`].
fn find_gpus<N: Nodes>(nodes: &N) -> Result<(String, Vec<PathBuf>), Error> {
    let names = nodes.list(Path::new(DEVFREQ)).unwrap_or_default();
    // Thor's GPU is a PCI child without a device-tree node: known by name. Its shader clock is the GPC's; the other
    // (nvd) clocks the video engines.
    let by_name = |name: &&String| name.starts_with("gpu-gpc");
    let by_tree = |name: &&String| {
        let node = Path::new(DEVFREQ).join(name).join("device/of_node/name");
        text::word(nodes, &node)
            .is_ok_and(|of| ["gv11b", "gp10b", "ga10b", "gb10b"].contains(&of.as_str()) || of == "gpu")
    };
    let gpu = names.iter().find(by_name).or_else(|| names.iter().find(by_tree)).or_else(|| {
        // A tree without device-tree nodes: nvgpu's names end in the chip's or in "gpu".
        names.iter().find(|name| [".gpu", ".gv11b", ".gp10b", ".ga10b"].iter().any(|end| name.ends_with(end)))
    });
    let Some(gpu) = gpu else {
        let present = if names.is_empty() { "nothing".to_owned() } else { names.join(", ") };
        return Err(Error::NoGpu { present });
    };
    let others = names.iter().filter(|name| *name != gpu && name.starts_with("gpu-"));
    Ok((gpu.clone(), others.map(|name| Path::new(DEVFREQ).join(name)).collect()))
}

fn read_gpu<N: Nodes>(nodes: &N, name: String, throttled: bool, configured: Option<Hertz>) -> Result<Gpu, Error> {
    let link = Path::new(DEVFREQ).join(name);
    let devfreq = nodes.canonical(&link).map_err(|e| Error::read(&link, e))?;
    let device = nodes.canonical(&link.join("device")).unwrap_or_else(|_| parent_of_devfreq(&devfreq));
    let clocks = text::clock_list(nodes, &devfreq.join("available_frequencies"))?;
    let governor = text::word(nodes, &devfreq.join("governor"))?;
    let governors = text::word(nodes, &devfreq.join("available_governors")).unwrap_or_default();
    let min = text::bound(nodes, &devfreq.join("min_freq"))?;
    let max = text::bound(nodes, &devfreq.join("max_freq"))?;
    let throttled = throttled && configured.is_some();
    let bound = if throttled { configured } else { max };
    let tpc_mask = text::word_if_there(nodes, &device.join("tpc_pg_mask"));
    let cap = highest_below(&clocks, bound);
    Ok(Gpu {
        governors: governors.split_ascii_whitespace().map(str::to_owned).collect(),
        device,
        devfreq,
        clocks,
        governor,
        min,
        max,
        cap,
        throttled,
        tpc_mask,
    })
}

/// `<device>/devfreq/<name>`, where the `device` link is missing from a copied tree.
fn parent_of_devfreq(devfreq: &Path) -> PathBuf {
    devfreq.ancestors().nth(2).unwrap_or(devfreq).to_owned()
}

/// The highest listed clock within a bound; the lowest of all where the bound lies below it.
pub(crate) fn highest_below(clocks: &[Hertz], bound: Option<Hertz>) -> Hertz {
    let within = clocks.iter().rev().find(|clock| bound.is_none_or(|bound| **clock <= bound));
    within.or(clocks.first()).copied().unwrap_or(Hertz::ZERO)
}

fn cpu_policies<N: Nodes>(nodes: &N) -> Vec<PathBuf> {
    let dir = Path::new("/sys/devices/system/cpu/cpufreq");
    let names = nodes.list(dir).unwrap_or_default();
    names.iter().filter(|name| name.starts_with("policy")).map(|name| dir.join(name)).collect()
}
