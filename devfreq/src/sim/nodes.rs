//! A virtual board's tree: which node lies where, and what it reads and takes.

use std::collections::BTreeMap;
use std::io;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use jetpace_tables::units::Hertz;

use super::Shared;
use super::boards::Spec;
use super::ina;
use super::layout;
use super::rules::{Devfreq, errno};
use super::store::Files;
use super::world::World;
use crate::nodes::{NodeHandle, Nodes};

/// What stands behind a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Entry {
    /// Text that never changes and takes no writes.
    Text(String),
    /// A file of the GPU's devfreq directory or of podgov.
    Devfreq(&'static str),
    /// The GPU device's own.
    Device(Device),
    /// The memory's clock.
    Emc(Emc),
    /// An INA3221, by position among the board's.
    Rail { chip: usize, channel: usize, quantity: Quantity },
    /// Settings of an INA3221.
    Chip { chip: usize, setting: Setting },
    /// A thermal zone: degrees that it lies above or below the chip, or `None` for one that answers `EAGAIN`.
    Zone(Option<i64>),
    /// The GPU's cooling device.
    Throttle,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Device {
    Load,
    Railgate,
    RailgateDelay,
    IsRailgated,
    Control,
    RuntimeStatus,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Emc {
    Rate,
    Locked,
    State,
    Cap,
    Min,
    Max,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Quantity {
    Millivolts,
    Milliamps,
    Milliwatts,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Setting {
    Samples,
    Interval,
    RunningMode,
}

/// Paths and links of one board.
#[derive(Debug, Default)]
pub(super) struct Tree {
    pub files: BTreeMap<PathBuf, (Entry, u32)>,
    pub links: BTreeMap<PathBuf, PathBuf>,
}

impl Tree {
    /// Follows every link on the way.
    fn canonical(&self, path: &Path) -> PathBuf {
        let mut real = PathBuf::from("/");
        for component in path.components() {
            match component {
                Component::Normal(name) => {
                    real.push(name);
                    // A chain of links is never longer than the number of links.
                    for _ in 0..self.links.len() {
                        let Some(target) = self.links.get(&real) else { break };
                        real = self.canonical(target);
                    }
                }
                Component::ParentDir => {
                    real.pop();
                }
                _ => {}
            }
        }
        real
    }

    fn is_dir(&self, dir: &Path) -> bool {
        let below = |path: &Path| path != dir && path.starts_with(dir);
        self.files.keys().any(|path| below(path)) || self.links.keys().any(|path| below(path))
    }
}

/// The nodes of a virtual board; clones share it.
#[derive(Clone, Debug)]
pub struct VirtualNodes {
    tree: Arc<Tree>,
    world: Shared,
    pub(super) store: Files,
}

impl VirtualNodes {
    pub(super) fn new(spec: &'static Spec, world: Shared) -> Self {
        Self { tree: Arc::new(layout::tree(spec)), world, store: Files::default() }
    }

    /// All paths and links, for laying them out elsewhere.
    pub(super) fn tree(&self) -> &Tree {
        &self.tree
    }

    fn find(&self, path: &Path) -> io::Result<(&Entry, u32)> {
        let real = self.tree.canonical(path);
        match self.tree.files.get(&real) {
            Some((Entry::Devfreq(file), _)) if !self.world.lock().devfreq.exists(file) => Err(errno(libc::ENOENT)),
            Some((entry, mode)) => Ok((entry, *mode)),
            None if self.tree.is_dir(&real) => Err(errno(libc::EISDIR)),
            None => Err(errno(libc::ENOENT)),
        }
    }
}

impl Nodes for VirtualNodes {
    type Handle = VirtualHandle;

    fn read(&self, path: &Path) -> io::Result<String> {
        let (entry, _) = self.find(path)?;
        read(&mut self.world.lock(), entry)
    }

    fn open(&self, path: &Path) -> io::Result<VirtualHandle> {
        let (entry, mode) = self.find(path)?;
        if mode & 0o222 == 0 {
            return Err(errno(libc::EACCES));
        }
        Ok(VirtualHandle::new(entry, &self.world))
    }

    fn open_to_read(&self, path: &Path) -> io::Result<VirtualHandle> {
        let (entry, _) = self.find(path)?;
        Ok(VirtualHandle::new(entry, &self.world))
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let real = self.tree.canonical(dir);
        if self.tree.files.contains_key(&real) {
            return Err(errno(libc::ENOTDIR));
        }
        let world = self.world.lock();
        let there = |entry: &Entry| !matches!(entry, Entry::Devfreq(file) if !world.devfreq.exists(file));
        let files = self.tree.files.iter().filter(|(_, (entry, _))| there(entry)).map(|(path, _)| path);
        let name = |path: &PathBuf| {
            let below = path.strip_prefix(&real).ok()?.components().next()?;
            Some(below.as_os_str().to_string_lossy().into_owned())
        };
        let mut names: Vec<String> = files.chain(self.tree.links.keys()).filter_map(name).collect();
        names.sort();
        names.dedup();
        if names.is_empty() { Err(errno(libc::ENOENT)) } else { Ok(names) }
    }

    fn canonical(&self, path: &Path) -> io::Result<PathBuf> {
        let real = self.tree.canonical(path);
        if self.tree.files.contains_key(&real) || self.tree.is_dir(&real) { Ok(real) } else { Err(errno(libc::ENOENT)) }
    }

    fn mode(&self, path: &Path) -> io::Result<u32> {
        match self.find(path) {
            Ok((_, mode)) => Ok(0o100_000 | mode),
            Err(e) if e.raw_os_error() == Some(libc::EISDIR) => Ok(0o040_755),
            Err(e) => Err(e),
        }
    }
}

/// An open node of a virtual board.
#[derive(Clone, Debug)]
pub struct VirtualHandle {
    entry: Entry,
    /// Which governor's node it is, where it is a governor's.
    generation: Option<u64>,
    world: Shared,
}

impl VirtualHandle {
    fn new(entry: &Entry, world: &Shared) -> Self {
        let of_governor = matches!(entry, Entry::Devfreq(file) if Devfreq::is_of_governor(file));
        let generation = of_governor.then(|| world.lock().devfreq.generation());
        Self { entry: entry.clone(), generation, world: world.clone() }
    }

    /// A node that went away with its governor stays away for this handle, even if its like comes back.
    fn alive(&self, world: &World) -> io::Result<()> {
        match self.generation {
            Some(generation) if generation != world.devfreq.generation() => Err(errno(libc::ENODEV)),
            _ => Ok(()),
        }
    }
}

impl NodeHandle for VirtualHandle {
    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        let mut world = self.world.lock();
        self.alive(&world)?;
        let text = std::str::from_utf8(bytes).map_err(|_| errno(libc::EINVAL))?;
        write(&mut world, &self.entry, text)
    }

    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut world = self.world.lock();
        self.alive(&world)?;
        let text = read(&mut world, &self.entry)?;
        let length = text.len().min(buffer.len());
        buffer[..length].copy_from_slice(&text.as_bytes()[..length]);
        Ok(length)
    }
}

fn read(world: &mut World, entry: &Entry) -> io::Result<String> {
    match entry {
        Entry::Rail { chip, .. } => world.spend_rail(*chip),
        Entry::Text(_) => {}
        _ => world.spend_access(),
    }
    text(world, entry)
}

/// What a node reads, in no time.
pub(super) fn text(world: &World, entry: &Entry) -> io::Result<String> {
    let line = |value: &dyn std::fmt::Display| format!("{value}\n");
    Ok(match entry {
        Entry::Text(text) => text.clone(),
        Entry::Devfreq("name") => line(&world.spec.gpu),
        Entry::Devfreq(file) => world.devfreq.read(file)?,
        Entry::Device(Device::Load) => line(if world.gated { &0 } else { &world.load }),
        Entry::Device(Device::Railgate) => line(&u8::from(world.railgate)),
        Entry::Device(Device::RailgateDelay) => line(&(world.railgate_ns / 1_000_000)),
        Entry::Device(Device::IsRailgated) => line(if world.gated { &"yes" } else { &"no" }),
        Entry::Device(Device::Control) => line(if world.power_on { &"on" } else { &"auto" }),
        Entry::Device(Device::RuntimeStatus) => line(if world.gated { &"suspended" } else { &"active" }),
        Entry::Emc(Emc::Rate) => line(&world.emc.current().get()),
        Entry::Emc(Emc::Locked) => line(&u8::from(world.emc.locked)),
        Entry::Emc(Emc::State) => line(&u8::from(world.emc.state)),
        Entry::Emc(Emc::Cap) => line(&world.emc.cap.get()),
        Entry::Emc(Emc::Min) => line(&world.emc.clocks.first().map_or(0, |hz| hz.get())),
        Entry::Emc(Emc::Max) => line(&world.emc.clocks.last().map_or(0, |hz| hz.get())),
        Entry::Rail { chip, channel, quantity } => line(&read_rail(world, *chip, *channel, *quantity)?),
        Entry::Chip { chip, setting } => {
            let settings = world.ina.get(*chip).ok_or_else(|| errno(libc::ENODEV))?;
            match setting {
                Setting::Samples => line(&settings.samples()),
                Setting::Interval => line(&settings.interval_ms()),
                Setting::RunningMode => line(&settings.running_mode),
            }
        }
        Entry::Zone(None) => return Err(errno(libc::EAGAIN)),
        Entry::Zone(Some(above)) => {
            // Zones read in steps of half a degree.
            let milli = (world.heat.chip_c() * 2.0).round() * 500.0;
            line(&(milli as i64 + above * 1000))
        }
        Entry::Throttle => line(&world.heat.steps()),
    })
}

fn read_rail(world: &World, chip: usize, channel: usize, quantity: Quantity) -> io::Result<i64> {
    let found = world.spec.chips.get(chip).and_then(|chip| chip.channels.get(channel)).zip(world.ina.get(chip));
    let (rail, settings) = found.ok_or_else(|| errno(libc::ENODEV))?;
    let place = (world.seed, chip as u64, channel as u64);
    let (mv, ma) = ina::read(rail, settings, &world.meter, world.now(), place);
    Ok(match quantity {
        Quantity::Millivolts => mv,
        Quantity::Milliamps => ma,
        Quantity::Milliwatts => mv * ma / 1000,
    })
}

fn write(world: &mut World, entry: &Entry, text: &str) -> io::Result<()> {
    match entry {
        Entry::Devfreq(_) => world.spend_clock_write(),
        _ => world.spend_access(),
    }
    take(world, entry, text)
}

/// What a write does, in no time.
pub(super) fn take(world: &mut World, entry: &Entry, text: &str) -> io::Result<()> {
    let number = || text.trim().parse::<u64>().map_err(|_| errno(libc::EINVAL));
    let switch = || number().map(|value| value != 0);
    match entry {
        Entry::Devfreq(file) => {
            let written = world.devfreq.write(file, text);
            world.after_write();
            return written;
        }
        Entry::Device(Device::Railgate) => world.railgate = switch()?,
        Entry::Device(Device::RailgateDelay) => world.railgate_ns = number()?.saturating_mul(1_000_000),
        Entry::Device(Device::Control) => match text.trim() {
            "on" => world.set_power_on(true),
            "auto" => world.set_power_on(false),
            _ => return Err(errno(libc::EINVAL)),
        },
        Entry::Emc(Emc::Rate) => world.emc.ask(Hertz::new(number()?)),
        Entry::Emc(Emc::Locked) => world.emc.locked = switch()?,
        Entry::Emc(Emc::State) => world.emc.state = switch()?,
        Entry::Emc(Emc::Cap) => world.emc.set_cap(number()?),
        Entry::Chip { chip, setting } => {
            let settings = world.ina.get_mut(*chip).ok_or_else(|| errno(libc::ENODEV))?;
            match setting {
                Setting::Samples => settings.set_samples(number()?),
                Setting::Interval => settings.set_interval_ms(number()?),
                Setting::RunningMode => settings.running_mode = text.trim().parse().map_err(|_| errno(libc::EINVAL))?,
            }
        }
        _ => return Err(errno(libc::EACCES)),
    }
    Ok(())
}
