//! What the kernel does with reads and writes of a GPU's devfreq nodes, release by release: the order and the errno
//! of writes are behaviour. Used by the virtual boards and by the recorded trees.
//!
//! Sources: the devfreq core of kernels 4.9 and 5.10 and nvgpu's `scale.c` up to R35. That nvgpu's own copy of a bound
//! is stale while that bound is written is derived by reading the two notifiers, not measured. [`Kernel::Mainline`] is
//! held to what a real kernel answers: `tests/kernel/cases.txt` drives both.

mod parse;
#[cfg(test)]
mod tests;
mod update;

use std::io;

use jetpace_tables::units::Hertz;

pub(crate) use parse::errno;
use parse::{kstrtoul, number, scan};

/// Which kernel's rules hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kernel {
    /// 4.9 (L4T R32): bounds in conflict are refused with `EINVAL`; reads give what was stored.
    V4_9,
    /// 5.10 (L4T R34, R35): bounds are PM QoS requests in kHz, reads give the effective range, and nvgpu clips once
    /// more with copies of the bounds that are one write old.
    V5_10,
    /// Later nvgpu (L4T R36 and newer): as 5.10, but without the second clip.
    Direct,
    /// Mainline 6.1 (since 6.1.147 or so, August 2025) and a driver that takes the core's clock as it is: `set_freq` is
    /// parsed strictly, a clock clamped by the upper bound is rounded down, and the driver can fail.
    Mainline,
}

/// The stock governor of every nvgpu board.
pub const PODGOV: &str = "nvhost_podgov";
/// Takes the clock from `userspace/set_freq`.
pub const USERSPACE: &str = "userspace";
/// Runs the upper bound.
pub const PERFORMANCE: &str = "performance";
/// Runs the lower bound.
pub const POWERSAVE: &str = "powersave";

/// State of one GPU's devfreq device.
#[derive(Clone, Debug)]
pub struct Devfreq {
    kernel: Kernel,
    table: Vec<u64>,
    governors: Vec<String>,
    governor: String,
    /// Counts governor switches: a handle on a governor's own node is dead once this has moved on.
    generation: u64,
    podgov_nodes: bool,
    scaling_node: bool,
    user_min: u64,
    /// Zero is no limit on 5.10 and later, and the lowest clock on 4.9.
    user_max: u64,
    thermal_max: u64,
    /// nvgpu's copies of the bounds.
    copies: (u64, u64),
    userspace_freq: Option<u64>,
    user: bool,
    freq_request: u64,
    scaling_enabled: bool,
    /// What the polling governor last asked for.
    asked: u64,
    suspended: bool,
    programmed: u64,
    /// What the hardware really gives at most, whatever is programmed; a cap that no node shows.
    hidden_cap: Option<u64>,
    /// The errno with which the driver refuses transitions.
    failing: Option<i32>,
    /// How often the driver was asked for a clock.
    transitions: u64,
}

impl Devfreq {
    /// A device as it is after boot: all of the table allowed, the stock governor at the lowest clock.
    ///
    /// `table` ascends and is not empty; `governors` is `available_governors`.
    pub fn new(kernel: Kernel, table: &[Hertz], governors: &[&str], governor: &str) -> Self {
        let table: Vec<u64> = table.iter().map(|clock| clock.get()).collect();
        let (lowest, highest) = (table.first().copied().unwrap_or(0), table.last().copied().unwrap_or(0));
        Self {
            kernel,
            governors: governors.iter().map(|&name| name.to_owned()).collect(),
            governor: governor.to_owned(),
            generation: 0,
            podgov_nodes: matches!(kernel, Kernel::V4_9 | Kernel::V5_10),
            scaling_node: kernel != Kernel::Mainline,
            user_min: lowest,
            user_max: highest,
            thermal_max: u64::MAX,
            copies: (lowest, highest),
            userspace_freq: None,
            user: false,
            freq_request: highest,
            scaling_enabled: true,
            asked: lowest,
            suspended: false,
            programmed: lowest,
            hidden_cap: None,
            failing: None,
            transitions: 0,
            table,
        }
    }

    /// The same with the bounds that were found in a recorded tree.
    #[must_use]
    pub fn with_bounds(mut self, min: Hertz, max: Hertz) -> Self {
        (self.user_min, self.user_max) = (min.get(), max.get());
        self.copies = self.range();
        self.update();
        self
    }

    /// Whether a file of the device or its devfreq directory exists now. The governor's own come and go with it.
    pub fn exists(&self, file: &str) -> bool {
        match file {
            "governor"
            | "available_governors"
            | "available_frequencies"
            | "cur_freq"
            | "target_freq"
            | "min_freq"
            | "max_freq"
            | "polling_interval" => true,
            "name" => self.kernel != Kernel::V4_9,
            "userspace/set_freq" => self.governor == USERSPACE,
            "user" | "freq_request" => self.podgov_nodes && self.governor == PODGOV,
            "enable_3d_scaling" => self.scaling_node && self.governor == PODGOV,
            _ => false,
        }
    }

    /// Whether the file belongs to the running governor, so that handles on it die when the governor is switched.
    pub fn is_of_governor(file: &str) -> bool {
        matches!(file, "userspace/set_freq" | "user" | "freq_request" | "enable_3d_scaling")
    }

    /// How often the governor has been switched.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// Reads a file that [`Self::exists`]; `name` is left to the caller, who knows the device.
    ///
    /// # Errors
    /// `ENOENT` for any other file.
    pub fn read(&self, file: &str) -> io::Result<String> {
        if !self.exists(file) {
            return Err(errno(libc::ENOENT));
        }
        Ok(match file {
            "governor" => format!("{}\n", self.governor),
            "available_governors" => format!("{}\n", self.governors.join(" ")),
            "available_frequencies" => {
                let list: Vec<String> = self.table.iter().map(u64::to_string).collect();
                format!("{}\n", list.join(" "))
            }
            "cur_freq" if self.kernel == Kernel::Mainline => format!("{}\n", self.running().get()),
            "cur_freq" => format!("{}\n", self.programmed),
            "target_freq" => format!("{}\n", self.programmed),
            "polling_interval" => "25\n".to_owned(),
            "min_freq" if self.kernel == Kernel::V4_9 => format!("{}\n", self.user_min),
            "max_freq" if self.kernel == Kernel::V4_9 => format!("{}\n", self.user_max),
            "min_freq" => format!("{}\n", self.range().0),
            "max_freq" => format!("{}\n", self.range().1),
            "userspace/set_freq" => match self.userspace_freq {
                Some(hz) => format!("{hz}\n"),
                None => "undefined\n".to_owned(),
            },
            "user" => format!("{}\n", u8::from(self.user)),
            "freq_request" => format!("{}\n", self.freq_request),
            "enable_3d_scaling" => format!("{}\n", u8::from(self.scaling_enabled)),
            _ => return Err(errno(libc::ENOENT)),
        })
    }

    /// Writes a file that [`Self::exists`], as one `store`. The text ends at a NUL; no text at all does nothing.
    ///
    /// # Errors
    /// `EINVAL` for text that the kernel refuses or, on 4.9, for bounds in conflict; `EACCES` for a file that is not
    /// writable; `ENOENT` for any other file; what [`Self::set_failing`] was given.
    pub fn write(&mut self, file: &str, text: &str) -> io::Result<()> {
        if !self.exists(file) {
            return Err(errno(libc::ENOENT));
        }
        if text.is_empty() {
            return Ok(());
        }
        let text = text.split('\0').next().unwrap_or_default();
        match file {
            "min_freq" => self.write_min(scan(text).ok_or_else(|| errno(libc::EINVAL))?),
            "max_freq" => self.write_max(scan(text).ok_or_else(|| errno(libc::EINVAL))?),
            "governor" => self.write_governor(text.split_whitespace().next().unwrap_or("")),
            "userspace/set_freq" => {
                self.userspace_freq = Some(match self.kernel {
                    Kernel::Mainline => kstrtoul(text)?,
                    _ => scan(text).ok_or_else(|| errno(libc::EINVAL))?,
                });
                self.update();
                self.failing.map_or(Ok(()), |code| Err(errno(code)))
            }
            "user" => {
                self.user = number(text)? != 0;
                if self.user && !self.suspended {
                    self.update();
                }
                Ok(())
            }
            "freq_request" => {
                self.freq_request = number(text)?;
                if self.user && !self.suspended {
                    self.update();
                }
                Ok(())
            }
            "enable_3d_scaling" => {
                self.scaling_enabled = number(text)? != 0;
                if !self.scaling_enabled {
                    self.update();
                }
                Ok(())
            }
            "polling_interval" => number(text).map(drop),
            _ => Err(errno(libc::EACCES)),
        }
    }

    /// The clock that the GPU was told to run.
    pub fn programmed(&self) -> Hertz {
        Hertz::new(self.programmed)
    }

    /// The clock that the GPU will run once a change has settled: what is programmed, below a hidden cap.
    pub fn running(&self) -> Hertz {
        let cap = self.hidden_cap.unwrap_or(u64::MAX);
        if self.programmed <= cap {
            return Hertz::new(self.programmed);
        }
        let below = self.table.iter().rev().find(|&&hz| hz <= cap);
        Hertz::new(*below.unwrap_or(&self.table[0]))
    }

    /// The governor's name.
    pub fn governor(&self) -> &str {
        &self.governor
    }

    /// Whether the stock governor decides on its polls: it runs, scaling is on, and no user took its place.
    pub fn polls(&self) -> bool {
        self.governor == PODGOV && self.scaling_enabled && !self.user && !self.suspended
    }

    /// The polling governor asks for a clock, which need not be a listed one. Also called with the clock in effect on
    /// every poll: a poll re-applies bounds that a stale copy kept from taking effect.
    pub fn ask(&mut self, clock: Hertz) {
        self.asked = clock.get();
        self.update();
    }

    /// The GPU is railgated, or wakes up. On the way down and up the stock governor falls to the lowest allowed clock.
    pub fn set_suspended(&mut self, suspended: bool) {
        self.suspended = suspended;
        if self.governor == PODGOV && !self.user {
            self.asked = 0;
        }
        self.force_update();
    }

    /// A cooling device's bound, or `None` when it lets go.
    pub fn set_thermal_max(&mut self, max: Option<Hertz>) {
        self.thermal_max = max.map_or(u64::MAX, Hertz::get);
        self.update();
        self.copies = self.range_of_copies();
    }

    /// A cap that no node shows, as power limits impose.
    pub fn set_hidden_cap(&mut self, cap: Option<Hertz>) {
        self.hidden_cap = cap.map(Hertz::get);
    }

    /// From now on the driver refuses every transition with this errno, or no more.
    pub fn set_failing(&mut self, code: Option<i32>) {
        self.failing = code;
    }

    /// How often the driver was asked for a clock since this was last called.
    pub fn take_transitions(&mut self) -> u64 {
        std::mem::take(&mut self.transitions)
    }

    /// The range in which governors may choose: table ends, the user's bounds and the cooling device's.
    pub fn bounds(&self) -> (Hertz, Hertz) {
        let (min, max) = self.range();
        (Hertz::new(min), Hertz::new(max))
    }
}
