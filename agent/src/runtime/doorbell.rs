//! How one side sleeps until the other has posted: a futex word that says whether anyone sleeps.
//!
//! The poster stores what it has to say, then looks whether the other side sleeps; the sleeper says that it sleeps,
//! then looks once more whether something was posted. With a full fence between the two steps on both sides one of
//! them always sees the other, so a post costs a system call only when there is someone to wake.

use super::sync::{AtomicU32, Ordering, fence};
use jetpace_tables::units::Nanos;

/// Nobody sleeps; all-zero memory is a doorbell.
const AWAKE: u32 = 0;
const ASLEEP: u32 = 1;

/// Who may ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Threads of this process.
    Process,
    /// Every process that maps the page.
    Shared,
}

/// The futex word of one sleeper and any number of posters.
#[derive(Debug)]
#[repr(C)]
pub struct Doorbell {
    asleep: AtomicU32,
    /// The CPU that the last wake came from, plus one.
    woken_from: AtomicU32,
    #[cfg(loom)]
    bed: loom::sync::Mutex<()>,
    #[cfg(loom)]
    wake: loom::sync::Condvar,
}

impl Default for Doorbell {
    fn default() -> Self {
        Self {
            asleep: AtomicU32::new(AWAKE),
            woken_from: AtomicU32::new(0),
            #[cfg(loom)]
            bed: loom::sync::Mutex::new(()),
            #[cfg(loom)]
            wake: loom::sync::Condvar::new(),
        }
    }
}

impl Doorbell {
    /// Called after a post: wakes the sleeper if there is one, and says whether it had to.
    pub fn ring(&self, scope: Scope) -> bool {
        fence(Ordering::SeqCst);
        if self.asleep.load(Ordering::Relaxed) == AWAKE {
            return false;
        }
        self.wake(scope);
        true
    }

    /// Wakes the sleeper whatever the word says: a poster that died, or one that lies, may have cleared it.
    pub fn ring_anyway(&self, scope: Scope) {
        fence(Ordering::SeqCst);
        self.wake(scope);
    }

    fn wake(&self, scope: Scope) {
        self.woken_from.store(cpu_plus_one(), Ordering::Relaxed);
        // A swap, as the sleeper's: then the kernel's comparison sees the later of the two.
        self.asleep.swap(AWAKE, Ordering::AcqRel);
        self.futex_wake(scope);
    }

    /// Sleeps until rung, until the monotonic time `until`, or for no reason at all; `posted` is asked once more after
    /// the word says that this side sleeps.
    pub fn sleep(&self, scope: Scope, until: Option<Nanos>, posted: impl FnOnce() -> bool) {
        self.asleep.swap(ASLEEP, Ordering::AcqRel);
        fence(Ordering::SeqCst);
        if !posted() {
            self.futex_wait(scope, until);
        }
        self.asleep.store(AWAKE, Ordering::Relaxed);
    }

    /// Whether the last wake came from the CPU that this thread runs on: then every look for more is taken from the
    /// poster's own time.
    pub fn is_woken_from_here(&self) -> bool {
        self.woken_from.load(Ordering::Relaxed) == cpu_plus_one()
    }

    /// Whether the other side sleeps now, for measuring; a caller never needs to ask.
    pub fn is_asleep(&self) -> bool {
        self.asleep.load(Ordering::Relaxed) == ASLEEP
    }

    #[cfg(not(loom))]
    fn futex_wait(&self, scope: Scope, until: Option<Nanos>) {
        super::sys::futex_wait(&self.asleep, ASLEEP, scope, until);
    }

    #[cfg(not(loom))]
    fn futex_wake(&self, scope: Scope) {
        super::sys::futex_wake(&self.asleep, scope);
    }

    /// The kernel compares the word and goes to sleep under one lock that a wake takes as well.
    #[cfg(loom)]
    fn futex_wait(&self, _: Scope, until: Option<Nanos>) {
        assert!(until.is_none(), "loom has no time");
        let bed = self.bed.lock().expect("not poisoned");
        if self.asleep.load(Ordering::Relaxed) == ASLEEP {
            drop(self.wake.wait(bed).expect("not poisoned"));
        }
    }

    #[cfg(loom)]
    fn futex_wake(&self, _: Scope) {
        let _bed = self.bed.lock().expect("not poisoned");
        self.wake.notify_one();
    }
}

/// The CPU of this thread, counted from one; a guess by the time that it is used, and used as one.
#[cfg(not(loom))]
fn cpu_plus_one() -> u32 {
    nix::sched::sched_getcpu().map_or(0, |cpu| cpu as u32 + 1)
}

#[cfg(loom)]
fn cpu_plus_one() -> u32 {
    1
}
