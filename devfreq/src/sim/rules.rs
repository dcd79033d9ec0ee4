//! What the kernel does with reads and writes of a GPU's devfreq nodes, release by release: the order and the errno
//! of writes are behaviour. Used by the virtual boards and by the recorded trees.
//!
//! Sources: the devfreq core of kernels 4.9 and 5.10 and nvgpu's `scale.c` up to R35. That nvgpu's own copy of a bound
//! is stale while that bound is written is derived by reading the two notifiers, not measured. [`Kernel::Mainline`] is
//! held to what a real kernel answers: `tests/kernel/cases.txt` drives both.

use std::io;

use jetpace_tables::units::Hertz;

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

    fn write_min(&mut self, value: u64) -> io::Result<()> {
        if self.kernel == Kernel::V4_9 {
            if value != 0 && self.user_max != 0 && value > self.user_max {
                return Err(errno(libc::EINVAL));
            }
            self.user_min = value.max(self.table[0]);
            self.update();
            return Ok(());
        }
        let before = self.user_min;
        self.user_min = from_khz((value / 1000) as i32);
        self.notify(before != self.user_min);
        Ok(())
    }

    fn write_max(&mut self, value: u64) -> io::Result<()> {
        if self.kernel == Kernel::V4_9 {
            if value != 0 && self.user_min != 0 && value < self.user_min {
                return Err(errno(libc::EINVAL));
            }
            self.user_max = value.min(self.table[self.table.len() - 1]);
            self.update();
            return Ok(());
        }
        let before = self.user_max;
        self.user_max = if value == 0 { u64::MAX } else { from_khz(value.div_ceil(1000) as i32) };
        self.notify(before != self.user_max);
        Ok(())
    }

    /// A PM QoS request changed: devfreq's notifier updates the clock first, nvgpu's takes its copies after that. A
    /// request that did not change notifies nobody.
    fn notify(&mut self, changed: bool) {
        if changed {
            self.update();
            self.copies = self.range_of_copies();
        }
    }

    fn write_governor(&mut self, name: &str) -> io::Result<()> {
        if !self.governors.iter().any(|known| known == name) {
            return Err(errno(if self.kernel == Kernel::Mainline { libc::ENOENT } else { libc::EINVAL }));
        }
        if self.failing.is_some() && matches!(name, PERFORMANCE | POWERSAVE) && name != self.governor {
            // These set a clock to start and cannot. The old one is started again and nobody is told.
            self.generation += 1;
            self.userspace_freq = None;
            return Ok(());
        }
        if name != self.governor {
            self.governor = name.to_owned();
            self.generation += 1;
            self.userspace_freq = None;
            (self.user, self.scaling_enabled) = (false, true);
            self.freq_request = self.table[self.table.len() - 1];
            self.asked = self.programmed;
            self.update();
        }
        Ok(())
    }

    /// The effective range of devfreq's core.
    fn range(&self) -> (u64, u64) {
        let (lowest, highest) = (self.table[0], self.table[self.table.len() - 1]);
        let user_max = match (self.kernel, self.user_max) {
            (Kernel::V4_9, 0) => lowest,
            (_, max) => max,
        };
        // The table's ends are bounds among others: an upper bound below the lowest clock reads back as such.
        let max = user_max.min(self.thermal_max).min(highest);
        (self.user_min.max(lowest).min(max), max)
    }

    /// What nvgpu's notifier copies: the two aggregates, each for itself.
    fn range_of_copies(&self) -> (u64, u64) {
        (self.user_min, self.user_max.min(self.thermal_max))
    }

    /// devfreq's `update_devfreq`.
    fn update(&mut self) {
        if self.suspended && self.kernel == Kernel::V4_9 {
            return;
        }
        self.force_update();
    }

    fn force_update(&mut self) {
        self.transitions += 1;
        if self.failing.is_some() {
            return;
        }
        let (min, max) = self.range();
        let wanted = match self.governor.as_str() {
            PERFORMANCE => max,
            POWERSAVE => min,
            USERSPACE => self.userspace_freq.unwrap_or(self.programmed),
            PODGOV if self.suspended => min,
            PODGOV if !self.scaling_enabled => max,
            PODGOV if self.user => self.freq_request,
            _ => self.asked,
        };
        let mut clock = wanted.clamp(min, max);
        if self.kernel == Kernel::V5_10 {
            // Minimum first, so that the maximum wins where they conflict.
            clock = clock.max(self.copies.0).min(self.copies.1);
        }
        if self.kernel == Kernel::Mainline && wanted > max {
            let below = self.table.iter().rev().find(|&&hz| hz <= clock);
            self.programmed = *below.unwrap_or(&self.table[0]);
            return;
        }
        // An unlisted clock runs as the next higher one.
        let listed = self.table.iter().find(|&&hz| hz >= clock);
        self.programmed = *listed.unwrap_or(&self.table[self.table.len() - 1]);
    }
}

/// A request in kHz back to hertz: a negative one, as a huge write gives by wrapping, becomes huge again.
fn from_khz(khz: i32) -> u64 {
    u64::try_from(khz).map_or(u64::MAX, |khz| khz * 1000)
}

/// `sscanf("%lu")`: leading blanks, digits (the kernel's knows no sign there), whatever after that.
fn scan(text: &str) -> Option<u64> {
    let digits = text.trim_start();
    let end = digits.find(|c: char| !c.is_ascii_digit()).unwrap_or(digits.len());
    digits[..end].parse().ok()
}

/// `kstrtoul` with base 0: a sign `+`, `0x` for hexadecimal, a leading 0 for octal, at most one newline at the end.
fn kstrtoul(text: &str) -> io::Result<u64> {
    let text = text.strip_suffix('\n').unwrap_or(text);
    let text = text.strip_prefix('+').unwrap_or(text);
    let (digits, radix) = match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        Some(digits) => (digits, 16),
        None if text.len() > 1 && text.starts_with('0') => (&text[1..], 8),
        None => (text, 10),
    };
    if digits.is_empty() || !digits.chars().all(|c| c.is_digit(radix)) {
        return Err(errno(libc::EINVAL));
    }
    u64::from_str_radix(digits, radix).map_err(|_| errno(libc::ERANGE))
}

/// `kstrtoul`: a whole number and nothing else but one newline.
fn number(text: &str) -> io::Result<u64> {
    text.strip_suffix('\n').unwrap_or(text).parse().map_err(|_| errno(libc::EINVAL))
}

pub(crate) fn errno(code: i32) -> io::Error {
    io::Error::from_raw_os_error(code)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: [Hertz; 4] =
        [Hertz::from_khz(306_000), Hertz::from_khz(408_000), Hertz::from_khz(510_000), Hertz::from_khz(624_750)];
    const F0: &str = "306000000";
    const F1: &str = "408000000";
    const F2: &str = "624750000\n";

    fn board(kernel: Kernel) -> Devfreq {
        Devfreq::new(kernel, &TABLE, &[PODGOV, USERSPACE, PERFORMANCE], PODGOV)
    }

    fn pinned(kernel: Kernel, clock: &str) -> Devfreq {
        let mut board = board(kernel);
        board.write("min_freq", "306000000").unwrap();
        board.write("max_freq", clock).unwrap();
        board.write("min_freq", clock).unwrap();
        board
    }

    fn after(kernel: Kernel, from: &str, writes: &[(&str, &str)]) -> u64 {
        let mut board = pinned(kernel, from);
        assert_eq!(board.programmed().get(), scan(from).unwrap());
        for (file, text) in writes {
            board.write(file, text).unwrap();
        }
        board.programmed().get()
    }

    #[test]
    fn on_4_9_bounds_in_conflict_are_refused() {
        let mut board = pinned(Kernel::V4_9, F1);
        assert_eq!(board.write("min_freq", F2).unwrap_err().raw_os_error(), Some(libc::EINVAL));
        assert_eq!(board.write("max_freq", F0).unwrap_err().raw_os_error(), Some(libc::EINVAL));
        assert_eq!(board.programmed().get(), 408_000_000);
        board.write("max_freq", F2).unwrap();
        board.write("min_freq", F2).unwrap();
        assert_eq!(board.programmed().get(), 624_750_000);
        assert_eq!(board.read("min_freq").unwrap(), "624750000\n");
    }

    /// The four sequences that the two notifiers of 5.10 decide, and the same on later kernels.
    #[test]
    fn raising_with_the_minimum_first_fails_on_5_10_alone() {
        let raise = [("max_freq", F2), ("min_freq", F2)];
        let raise_wrong = [("min_freq", F2), ("max_freq", F2)];
        let lower = [("min_freq", F0), ("max_freq", F0)];
        let lower_other = [("max_freq", F0), ("min_freq", F0)];
        for kernel in [Kernel::V5_10, Kernel::Direct] {
            assert_eq!(after(kernel, F1, &raise), 624_750_000);
            assert_eq!(after(kernel, F1, &lower), 306_000_000);
            assert_eq!(after(kernel, F1, &lower_other), 306_000_000);
        }
        assert_eq!(after(Kernel::V5_10, F1, &raise_wrong), 408_000_000);
        assert_eq!(after(Kernel::Direct, F1, &raise_wrong), 624_750_000);
        let mut stuck = pinned(Kernel::V5_10, F1);
        for (file, text) in raise_wrong {
            stuck.write(file, text).unwrap();
        }
        stuck.ask(Hertz::new(0));
        assert_eq!(stuck.programmed().get(), 624_750_000, "the next poll puts it right");
    }

    #[test]
    fn reads_on_5_10_give_the_effective_range_in_whole_khz() {
        let mut board = board(Kernel::V5_10);
        board.write("max_freq", "408000999").unwrap();
        assert_eq!(board.read("max_freq").unwrap(), "408001000\n");
        board.write("min_freq", "2000000000").unwrap();
        assert_eq!(board.read("min_freq").unwrap(), "408001000\n", "a minimum above the maximum gives way");
        board.write("max_freq", "9223372036854775807").unwrap();
        assert_eq!(board.read("max_freq").unwrap(), "624750000\n");
        board.set_thermal_max(Some(TABLE[1]));
        assert_eq!(board.read("max_freq").unwrap(), "408000000\n", "a cooling device shows in the maximum");
    }

    #[test]
    fn an_unlisted_clock_runs_as_the_next_higher_one() {
        let mut board = board(Kernel::Direct);
        board.write("min_freq", "450000000").unwrap();
        assert_eq!(board.programmed().get(), 510_000_000);
    }

    #[test]
    fn a_governors_own_nodes_come_and_go_with_it() {
        let mut board = board(Kernel::V5_10);
        assert!(board.exists("user") && !board.exists("userspace/set_freq"));
        board.write("governor", "userspace\n").unwrap();
        assert!(!board.exists("user") && board.exists("userspace/set_freq"));
        assert_eq!(board.generation(), 1);
        assert_eq!(board.read("userspace/set_freq").unwrap(), "undefined\n");
        board.write("userspace/set_freq", F1).unwrap();
        assert_eq!(board.programmed().get(), 408_000_000);
        assert_eq!(board.write("governor", "ondemand").unwrap_err().raw_os_error(), Some(libc::EINVAL));
        assert_eq!(board.write("user", "1").unwrap_err().raw_os_error(), Some(libc::ENOENT));
    }

    #[test]
    fn performance_follows_the_maximum_one_write_late_on_5_10() {
        let mut old = board(Kernel::V5_10);
        old.write("governor", PERFORMANCE).unwrap();
        old.write("max_freq", F1).unwrap();
        assert_eq!(old.programmed().get(), 408_000_000, "lowering: devfreq's own clip does it");
        old.write("max_freq", F2).unwrap();
        assert_eq!(old.programmed().get(), 408_000_000, "raising: nvgpu's copy is stale, and nobody polls");
        let mut new = board(Kernel::Direct);
        new.write("governor", PERFORMANCE).unwrap();
        new.write("max_freq", F1).unwrap();
        new.write("max_freq", F2).unwrap();
        assert_eq!(new.programmed().get(), 624_750_000);
    }

    #[test]
    fn podgovs_user_request_needs_an_awake_gpu() {
        let mut board = board(Kernel::V4_9);
        board.write("user", "1\n").unwrap();
        assert_eq!(board.programmed().get(), 624_750_000, "the request starts as the highest clock");
        board.write("freq_request", F1).unwrap();
        assert_eq!(board.programmed().get(), 408_000_000);
        assert_eq!(board.write("freq_request", "fast").unwrap_err().raw_os_error(), Some(libc::EINVAL));
        board.set_suspended(true);
        board.write("freq_request", F2).unwrap();
        assert_ne!(board.programmed().get(), 624_750_000);
    }

    #[test]
    fn text_is_read_as_the_kernel_reads_it() {
        assert_eq!(scan(" 12\n"), Some(12));
        assert_eq!(scan("12junk"), Some(12));
        assert_eq!(scan("-1"), None);
        assert_eq!(scan("junk"), None);
        assert_eq!(scan(""), None);
        assert!(number("1 \n").is_err());
    }
}
