//! A recorded board in memory: its files, the kernel's rules on its devfreq devices, a log of every write, seeded
//! faults, and other programs that act at a chosen write. What happens on it happens in no time but by
//! [`TreeTimer`], on whose ticks the stock governor polls.

mod faults;
mod files;
mod load;
mod nodes;
mod outside;
mod store;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jetpace_tables::hw::Timer;
use jetpace_tables::units::Nanos;

use super::rules::{Devfreq, Kernel, errno};
use crate::guard::Written;
pub use faults::Faults;
use files::Files;
pub use nodes::TreeHandle;
pub use outside::Outside;
pub use store::TreeLock;

/// The stock governor's tick.
const TICK: Nanos = Nanos::from_millis(25);

/// A recorded board. Clones share it; each belongs to one life of the agent, and [`Tree::kill`] ends that.
#[derive(Clone)]
pub struct Tree {
    inner: Arc<Mutex<Inner>>,
    life: u64,
}

/// One write, as it came and what the kernel answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Logged {
    /// Who wrote: `jetpace`, or another program.
    pub who: &'static str,
    /// The node, behind all links.
    pub path: PathBuf,
    /// What was written.
    pub text: String,
    /// The errno, where it was refused.
    pub error: Option<i32>,
}

/// A devfreq device.
#[derive(Clone)]
struct Device {
    devfreq: PathBuf,
    device: PathBuf,
    rules: Devfreq,
    /// As it was loaded: what a driver that is bound anew begins with.
    fresh: Devfreq,
    /// Whether it sleeps while `power/control` is `auto`.
    sleeps: bool,
    /// Counts bindings of the driver: a handle on an older one is dead.
    binding: u64,
    bound: bool,
}

type Act = Box<dyn FnOnce(&mut Outside<'_>) + Send>;

struct Inner {
    files: Files,
    devices: Vec<Device>,
    log: Vec<Logged>,
    /// Other programs, each due before the agent's write of that number.
    due: Vec<(usize, Act)>,
    writes: usize,
    faults: Option<Faults>,
    life: u64,
    locked_by: Option<u64>,
    written: Written,
    /// The agent dies before its operation of that number.
    dies_at: Option<u64>,
    operations: u64,
    now: Nanos,
}

impl Tree {
    /// Loads a recorded board from its folder.
    ///
    /// # Errors
    /// Where the folder cannot be read or says no kernel.
    pub fn load(folder: &Path) -> Result<Self, crate::Error> {
        let inner = load::load(folder)?;
        Ok(Self { inner: Arc::new(Mutex::new(inner)), life: 0 })
    }

    /// Another board like this one as it is now, without the other programs that were due.
    #[must_use]
    pub fn copy(&self) -> Self {
        let inner = self.lock_inner();
        let copy = Inner {
            files: inner.files.clone(),
            devices: inner.devices.clone(),
            log: inner.log.clone(),
            due: Vec::new(),
            faults: None,
            written: Written::memory(),
            ..*inner
        };
        Self { inner: Arc::new(Mutex::new(copy)), life: self.life }
    }

    /// The clock in which this board lives.
    pub fn timer(&self) -> TreeTimer {
        TreeTimer(self.clone())
    }

    /// All writes so far, by whomever.
    pub fn log(&self) -> Vec<Logged> {
        self.lock_inner().log.clone()
    }

    /// Forgets the writes so far, and counts anew for [`Self::before_write`].
    pub fn clear_log(&self) {
        let mut inner = self.lock_inner();
        inner.log.clear();
        inner.writes = 0;
    }

    /// Lets another program act before the agent's `number`th write from now on, counted from 0.
    pub fn before_write(&self, number: usize, act: impl FnOnce(&mut Outside<'_>) + Send + 'static) {
        self.lock_inner().due.push((number, Box::new(act)));
    }

    /// Lets another program act now.
    pub fn outside<R>(&self, act: impl FnOnce(&mut Outside<'_>) -> R) -> R {
        act(&mut Outside(&mut self.lock_inner()))
    }

    /// Makes reads and writes fail from now on, or no longer.
    pub fn set_faults(&self, faults: Option<Faults>) {
        self.lock_inner().faults = faults;
    }

    /// Lets the agent die before its operation of that number from now on, counted from 0.
    pub fn die_at(&self, operation: u64) {
        let mut inner = self.lock_inner();
        inner.dies_at = Some(inner.operations + operation);
    }

    /// Ends this life of the agent as a kill does: nothing that still holds this handle can do anything more, and its
    /// lock is free. Gives the handle of the next life.
    #[must_use]
    pub fn kill(&self) -> Self {
        let mut inner = self.lock_inner();
        inner.die();
        Self { inner: Arc::clone(&self.inner), life: inner.life }
    }

    /// The content of every node that can be set, for comparing before and after.
    pub fn settings(&self) -> Vec<(PathBuf, String)> {
        let inner = self.lock_inner();
        inner.settings()
    }

    fn lock_inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The inner state, where this life still lasts.
    fn alive(&self) -> io::Result<MutexGuard<'_, Inner>> {
        let mut inner = self.lock_inner();
        if inner.life == self.life && inner.dies_at.is_some_and(|at| inner.operations >= at) {
            inner.die();
        }
        inner.operations += 1;
        match inner.life == self.life {
            true => Ok(inner),
            false => Err(errno(libc::ESRCH)),
        }
    }
}

impl Inner {
    fn die(&mut self) {
        self.life += 1;
        self.dies_at = None;
        self.locked_by = None;
    }

    /// The device and the file's name in it, where rules hold for a node.
    fn ruled<'a>(&self, path: &'a Path) -> Option<(usize, &'a str)> {
        self.devices.iter().enumerate().find_map(|(at, device)| {
            let file = path.strip_prefix(&device.devfreq).or_else(|_| path.strip_prefix(&device.device)).ok()?;
            let file = file.to_str()?;
            let owned = Devfreq::is_of_governor(file) || device.rules.exists(file);
            let in_device = matches!(file, "user" | "freq_request" | "enable_3d_scaling");
            (owned && file != "name" && in_device != path.starts_with(&device.devfreq)).then_some((at, file))
        })
    }

    fn read(&self, path: &Path) -> io::Result<String> {
        match self.ruled(path) {
            Some((at, file)) => match self.devices.get(at) {
                Some(device) if device.bound => device.rules.read(file),
                _ => Err(errno(libc::ENOENT)),
            },
            None => self.files.read(path),
        }
    }

    fn write(&mut self, who: &'static str, path: &Path, text: &str) -> io::Result<()> {
        let result = self.store(path, text);
        let error = result.as_ref().err().and_then(io::Error::raw_os_error);
        self.log.push(Logged { who, path: path.to_owned(), text: text.to_owned(), error });
        result
    }

    fn store(&mut self, path: &Path, text: &str) -> io::Result<()> {
        if let Some((at, file)) = self.ruled(path) {
            return match self.devices.get_mut(at) {
                Some(device) if device.bound => device.rules.write(file, text),
                _ => Err(errno(libc::ENOENT)),
            };
        }
        self.files.write(path, text)?;
        for device in self.devices.iter_mut().filter(|device| path == device.device.join("power/control")) {
            device.rules.set_suspended(device.sleeps && text.trim() == "auto");
        }
        Ok(())
    }

    /// What a handle holds on to: it is dead once either has moved on.
    fn age(&self, path: &Path) -> Option<(u64, u64)> {
        let (at, file) = self.ruled(path)?;
        let device = self.devices.get(at)?;
        let generation = if Devfreq::is_of_governor(file) { device.rules.generation() } else { 0 };
        Some((device.binding, generation))
    }

    fn act_before_write(&mut self) {
        let number = self.writes;
        self.writes += 1;
        let (now, later) = std::mem::take(&mut self.due).into_iter().partition(|(at, _)| *at == number);
        self.due = later;
        let now: Vec<(usize, Act)> = now;
        for (_, act) in now {
            act(&mut Outside(self));
        }
    }

    fn tick(&mut self) {
        for device in self.devices.iter_mut().filter(|device| device.rules.polls()) {
            let asked = device.rules.programmed();
            device.rules.ask(asked);
        }
    }

    fn fault(&mut self, ask: impl FnOnce(&mut Faults) -> Option<i32>) -> io::Result<()> {
        self.faults.as_mut().and_then(ask).map_or(Ok(()), |code| Err(errno(code)))
    }

    fn settings(&self) -> Vec<(PathBuf, String)> {
        const SET: [&str; 12] = [
            "governor",
            "min_freq",
            "max_freq",
            "set_freq",
            "user",
            "freq_request",
            "enable_3d_scaling",
            "control",
            "rate",
            "mrq_rate_locked",
            "state",
            "update_interval",
        ];
        let of_rules = self.devices.iter().flat_map(|device| {
            let below =
                ["governor", "min_freq", "max_freq", "userspace/set_freq"].map(|file| device.devfreq.join(file));
            let beside = ["user", "freq_request", "enable_3d_scaling"].map(|file| device.device.join(file));
            below.into_iter().chain(beside)
        });
        let plain = self.files.paths().filter(|path| {
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            SET.contains(&name) || name.starts_with("clk_") || name == "running_mode"
        });
        let mut paths: Vec<PathBuf> = of_rules.chain(plain.map(Path::to_path_buf)).collect();
        paths.sort();
        paths.dedup();
        paths.into_iter().filter_map(|path| self.read(&path).ok().map(|text| (path, text))).collect()
    }
}

/// The virtual clock of a [`Tree`].
#[derive(Clone)]
pub struct TreeTimer(Tree);

impl Timer for TreeTimer {
    fn now(&self) -> Nanos {
        self.0.lock_inner().now
    }

    fn sleep_until(&mut self, time: Nanos) {
        let mut inner = self.0.lock_inner();
        while inner.now < time {
            let next = Nanos::new((inner.now.get() / TICK.get() + 1) * TICK.get());
            inner.now = next.min(time);
            if inner.now == next {
                inner.tick();
            }
        }
    }
}

/// The kernel that a recorded board's `kernel` file names.
fn kernel_of(name: &str) -> Option<Kernel> {
    Some(match name {
        "4.9" => Kernel::V4_9,
        "5.10" => Kernel::V5_10,
        "5.15" | "6.8" => Kernel::Direct,
        "6.1" => Kernel::Mainline,
        _ => return None,
    })
}
