//! The GPU that devfreq scales: which of the devices is a Jetson's, and who bounds its clock.

use std::path::{Path, PathBuf};

use jetpace_tables::units::Hertz;

use super::bound::Bound;
use super::nvpmodel::PowerMode;
use super::{DEVFREQ, Identity, STOCK};
use crate::error::Error;
use crate::nodes::Nodes;
use crate::text;
use crate::thermal::{self, Cooling};

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
    /// The governor found.
    pub governor: String,
    /// `enable_3d_scaling`, where there is such a node: switched off, the stock governor holds the highest clock.
    pub scaling: Option<bool>,
    /// What `min_freq` reads.
    pub min: Bound,
    /// What `max_freq` reads. From kernel 5.10 on this is the effective bound, heat's among them.
    pub max: Bound,
    /// The user's bound: nvpmodel's, or one written by hand. Heat's and over-current's are not in it, and neither are ours.
    pub user: Bound,
    /// The highest listed clock within the user's bound; where that is not known within what `max_freq` reads, or else
    /// nvpmodel's mode has.
    pub cap: Hertz,
    /// Whether a cooling device holds the GPU's clock down now.
    pub throttled: bool,
    /// Whether such a device shows in `max_freq`: from kernel 5.10 on.
    pub shows_heat: bool,
    /// `tpc_pg_mask`: the parts of the GPU that the power mode switched off.
    pub tpc_mask: Option<String>,
    /// The `power/control` of the device that sleeps; `None` where none is found.
    pub sleep: Option<PathBuf>,
}

impl Gpu {
    /// Every node of it that is ever written.
    pub fn writable(&self) -> Vec<PathBuf> {
        let of_devfreq = ["governor", "min_freq", "max_freq", "userspace/set_freq"].map(|node| self.node(node));
        let of_device = ["user", "freq_request"].map(|node| self.device.join(node));
        of_devfreq.into_iter().chain(of_device).chain(self.sleep.clone()).collect()
    }

    /// A node of the devfreq folder.
    pub fn node(&self, name: &str) -> PathBuf {
        self.devfreq.join(name)
    }

    /// Floor and bound are one: the clock does not follow the load.
    pub fn is_locked(&self) -> bool {
        self.clocks.len() > 1 && self.min.at().is_some() && self.min == self.max
    }

    /// Why the user's bound cannot be known, where it cannot.
    pub fn why_unknown(&self) -> &'static str {
        if self.throttled { "while heat holds the clock down" } else { "as max_freq does not tell it" }
    }

    /// Why the governor found is not the stock governor at work; `None` where it is.
    pub fn fixed_governor(&self) -> Option<String> {
        match self.governor.as_str() {
            name @ ("performance" | "powersave" | "userspace") => Some(format!("governor {name}")),
            name if self.scaling == Some(false) => Some(format!("governor {name} with enable_3d_scaling 0")),
            _ => None,
        }
    }

    /// The stock governor, where it is at work.
    pub fn stock_governor(&self) -> Option<&str> {
        let other = self.governor != STOCK && self.governors.iter().any(|governor| governor == STOCK);
        (!self.governor.is_empty() && !other && self.fixed_governor().is_none()).then_some(self.governor.as_str())
    }

    /// Where nvpmodel's claim and the hardware differ: both. Bounds that jetpace or jetson_clocks hold now say nothing.
    pub(super) fn differs(&self, mode: Option<&PowerMode>) -> Option<String> {
        let mode = mode.filter(|mode| mode.applied && mode.gpu_max != Bound::Unknown && self.max != Bound::Unknown)?;
        let claimed = highest_below(&self.clocks, mode.gpu_max.at());
        let allowed = highest_below(&self.clocks, self.max.at());
        let lower_by_hand = !self.throttled && !self.is_locked() && self.fixed_governor().is_none();
        let differs = allowed > claimed || allowed < claimed && lower_by_hand;
        differs.then(|| format!("status says {mode} ({claimed}), the hardware allows {allowed}"))
    }

    pub(super) fn read<N: Nodes>(
        nodes: &N,
        name: &str,
        identity: &Identity,
        mode: Option<&PowerMode>,
        cooling: &[Cooling],
        missing: &mut Vec<String>,
    ) -> Result<Self, Error> {
        let link = Path::new(DEVFREQ).join(name);
        let devfreq = nodes.canonical(&link).map_err(|e| Error::read(&link, e))?;
        let device = nodes.canonical(&link.join("device")).unwrap_or_else(|_| parent_of_devfreq(&devfreq));
        let list = devfreq.join("available_frequencies");
        let (clocks, left_out) = text::clock_list(nodes, &list)?;
        if !left_out.is_empty() {
            missing.push(format!("{}: left out, no clocks: {}", list.display(), left_out.join(" ")));
        }
        // One node that is gone or holds garbage does not discard the rest: it is named, and unknown.
        let mut known = |read: Result<Bound, Error>| {
            read.unwrap_or_else(|e| {
                missing.push(e.to_string());
                Bound::Unknown
            })
        };
        let governors = text::word(nodes, &devfreq.join("available_governors")).unwrap_or_default();
        let min = known(text::bound(nodes, &devfreq.join("min_freq")).map(Bound::from));
        // Looked at before and after: a device that let go, or took hold, in between must not be missed.
        let before = thermal::gpu_throttled(nodes, cooling);
        let max = known(text::bound(nodes, &devfreq.join("max_freq")).map(Bound::from));
        let throttled = before || thermal::gpu_throttled(nodes, cooling);
        let shows_heat = shows_heat(nodes, identity);
        let user = user_bound(&clocks, max, throttled && shows_heat, mode);
        let claimed = mode.filter(|mode| mode.applied).and_then(|mode| mode.gpu_max.at());
        let cap = highest_below(&clocks, if user == Bound::Unknown { max.at().or(claimed) } else { user.at() });
        let governor = text::word(nodes, &devfreq.join("governor")).unwrap_or_else(|e| {
            missing.push(e.to_string());
            String::new()
        });
        if governor.is_empty() {
            missing.push(format!(
                "governor: {} names none, so none could be put back",
                devfreq.join("governor").display()
            ));
        }
        Ok(Self {
            governors: governors.split_ascii_whitespace().map(str::to_owned).collect(),
            scaling: text::word(nodes, &device.join("enable_3d_scaling")).ok().map(|on| on != "0"),
            tpc_mask: text::word_if_there(nodes, &device.join("tpc_pg_mask")),
            sleep: sleep_control(nodes, &device, name),
            device,
            devfreq,
            clocks,
            governor,
            min,
            max,
            user,
            cap,
            throttled,
            shows_heat,
        })
    }
}

/// `reads` is what `max_freq` says; `hot` that a cooling device is at work and shows in it. Then the mode that nvpmodel
/// says it has set is the user's bound, unless the hardware allows more than that.
fn user_bound(clocks: &[Hertz], reads: Bound, hot: bool, mode: Option<&PowerMode>) -> Bound {
    if reads == Bound::Unknown {
        return Bound::Unknown;
    }
    let top = clocks.last().copied().unwrap_or(Hertz::ZERO);
    let reads = reads.at().filter(|reads| *reads < top);
    match (reads, hot) {
        (None, _) => Bound::Open,
        (Some(reads), false) => Bound::At(reads),
        (Some(reads), true) => match mode.filter(|mode| mode.applied).map(|mode| mode.gpu_max) {
            Some(Bound::Open) => Bound::Open,
            Some(Bound::At(bound)) if bound >= top => Bound::Open,
            Some(Bound::At(bound)) if reads <= bound => Bound::At(bound),
            _ => Bound::Unknown,
        },
    }
}

/// Up to 4.9 `max_freq` reads what was stored in it; from 5.10 on the effective bound.
fn shows_heat<N: Nodes>(nodes: &N, identity: &Identity) -> bool {
    match text::word_if_there(nodes, Path::new("/proc/sys/kernel/osrelease")) {
        Some(kernel) => !kernel.starts_with("4."),
        None => identity.l4t.as_deref().is_none_or(|l4t| !l4t.starts_with("R32")),
    }
}

/// The GPU's names below [`DEVFREQ`]: the one that is set, and others.
///
/// # Errors
/// Where there is no GPU, or it is not a Jetson's.
pub(super) fn find<N: Nodes>(nodes: &N) -> Result<(String, Vec<PathBuf>), Error> {
    let names = nodes.list(Path::new(DEVFREQ)).unwrap_or_default();
    // Thor's GPU is a PCI child without a device-tree node: known by name. Its shader clock is the GPC's; the other
    // (nvd) clocks the video engines.
    let on_pci = names.iter().filter(|name| name.starts_with("gpu-gpc"));
    let in_tree = names.iter().filter(|name| {
        let node = Path::new(DEVFREQ).join(name).join("device/of_node/name");
        text::word(nodes, &node).is_ok_and(|of| ["gpu", "gv11b", "gp10b", "ga10b", "gb10b"].contains(&of.as_str()))
    });
    let by_name = names.iter().filter(|name| is_known(name) || name.ends_with(".gpu"));
    let mut foreign = None;
    for name in on_pci.chain(in_tree).chain(by_name) {
        match not_of_a_jetson(nodes, name) {
            None => {
                let others = names.iter().filter(|other| *other != name && other.starts_with("gpu-"));
                return Ok((name.clone(), others.map(|other| Path::new(DEVFREQ).join(other)).collect()));
            }
            Some(why) => foreign = foreign.or(Some(Error::ForeignGpu { name: name.clone(), why })),
        }
    }
    let present = if names.is_empty() { "nothing".to_owned() } else { names.join(", ") };
    Err(foreign.unwrap_or(Error::NoGpu { present }))
}

/// The names that nvgpu's devices have on every release.
fn is_known(name: &str) -> bool {
    const KNOWN: [&str; 5] = ["57000000.gpu", "17000000.gp10b", "17000000.gv11b", "17000000.ga10b", "17000000.gpu"];
    KNOWN.contains(&name) || name.starts_with("gpu-gpc")
}

/// Other vendors' GPUs are called `gpu` in their device trees, too, and so is a discrete one's clock.
fn not_of_a_jetson<N: Nodes>(nodes: &N, name: &str) -> Option<String> {
    let device = Path::new(DEVFREQ).join(name).join("device");
    let of_nvidia = |list: &[String]| list.iter().any(|entry| entry.starts_with("nvidia,"));
    let compatible = text::nul_list(nodes, &device.join("of_node/compatible"));
    if !compatible.is_empty() && !of_nvidia(&compatible) {
        return Some(format!("it is compatible with {}", compatible.join(", ")));
    }
    let machine = text::nul_list(nodes, Path::new("/proc/device-tree/compatible"));
    if !machine.is_empty() && !of_nvidia(&machine) {
        return Some(format!("this machine is a {}", machine.join(", ")));
    }
    let driver = nodes.canonical(&device.join("driver")).ok();
    let driver = driver.as_deref().and_then(Path::file_name).and_then(|name| name.to_str());
    let of_nvgpu = driver.is_some_and(|driver| ["gk20a", "nvgpu", "nvhost", "nvidia"].contains(&driver));
    // Where the machine says nothing of itself a name is all there is, and Thor's is also one that a driver may give.
    let unknown = machine.is_empty() && name.starts_with("gpu-gpc") && driver.is_some_and(|_| !of_nvgpu);
    if unknown || !is_known(name) && !of_nvgpu {
        let driver = driver.unwrap_or("unknown");
        return Some(format!("neither its name nor its driver ({driver}) is nvgpu's"));
    }
    None
}

/// A platform device sleeps itself. Thor's devfreq devices are children of the PCI device that does: every device has a
/// `power/control`, and theirs does nothing.
fn sleep_control<N: Nodes>(nodes: &N, device: &Path, name: &str) -> Option<PathBuf> {
    let child = name.starts_with("gpu-");
    let skip = usize::from(child);
    let above = device.ancestors().skip(skip).take_while(|dir| dir.starts_with("/sys/devices"));
    above.map(|dir| dir.join("power/control")).find(|node| nodes.mode(node).is_ok())
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_throttled_reading_is_never_the_users_bound() {
        use Bound::{At, Open, Unknown};
        let mhz = |mhz: u64| Hertz::new(mhz * 1_000_000);
        let clocks = [306, 510, 612, 918, 1020].map(mhz);
        let mode = |gpu_max| PowerMode { id: 1, name: None, applied: true, gpu_min: Open, gpu_max };
        for (reads, hot, claim, user) in [
            (None, false, None, Open),
            (Some(mhz(1020)), true, Some(Open), Open),
            (Some(mhz(612)), false, Some(Open), At(mhz(612))),
            (Some(mhz(510)), true, Some(Open), Open),
            (Some(mhz(510)), true, Some(At(mhz(918))), At(mhz(918))),
            (Some(mhz(918)), true, Some(At(mhz(612))), Unknown),
            (Some(mhz(510)), true, Some(Unknown), Unknown),
            (Some(mhz(510)), true, None, Unknown),
        ] {
            let mode = claim.map(mode);
            assert_eq!(user_bound(&clocks, reads.into(), hot, mode.as_ref()), user, "{reads:?} {hot} {claim:?}");
            let default = mode.map(|mode| PowerMode { applied: false, ..mode });
            let unset = if hot && reads < Some(mhz(1020)) { Unknown } else { user };
            assert_eq!(user_bound(&clocks, reads.into(), hot, default.as_ref()), unset, "a mode that was never set");
        }
    }
}
