//! The system calls that neither the standard library nor nix has a safe form of. The only unsafe code of the runtime
//! besides the shared mappings.

#![allow(unsafe_code)]

use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::sync::atomic::AtomicU32;
use std::time::Duration;

use jetpace_tables::units::Nanos;
use nix::sys::time::TimeSpec;
use nix::time::{ClockId, clock_gettime};

use super::doorbell::{Doorbell, Scope};

/// The monotonic clock, read through the vDSO: no system call.
pub fn now() -> Nanos {
    // The kernel has had this clock since 2.6; there is nothing to do about its absence but to stand still.
    clock_gettime(ClockId::CLOCK_MONOTONIC)
        .map(|t| Nanos::new(t.tv_sec() as u64 * 1_000_000_000 + t.tv_nsec() as u64))
        .unwrap_or(Nanos::ZERO)
}

/// Sleeps while `word` holds `expected`, until woken, until the monotonic time `until`, or for no reason.
pub fn futex_wait(word: &AtomicU32, expected: u32, scope: Scope, until: Option<Nanos>) {
    let until = until.map(|at| TimeSpec::from_duration(Duration::from_nanos(at.get())));
    let deadline =
        until.as_ref().map_or(std::ptr::null(), |until| std::ptr::from_ref::<libc::timespec>(until.as_ref()));
    // The bitset form takes an absolute time on the monotonic clock.
    let operation = libc::FUTEX_WAIT_BITSET | private(scope);
    // SAFETY: `word` is a live, aligned u32; `deadline` is null or points to `until`, which outlives the call. The
    // kernel writes to neither.
    unsafe {
        libc::syscall(
            libc::SYS_futex,
            word.as_ptr(),
            operation,
            expected,
            deadline,
            std::ptr::null::<u32>(),
            libc::FUTEX_BITSET_MATCH_ANY,
        );
    }
    // EAGAIN, EINTR and ETIMEDOUT all mean that the caller looks again, which it does anyway.
}

/// Wakes the one thread that sleeps on `word`.
pub fn futex_wake(word: &AtomicU32, scope: Scope) {
    // SAFETY: `word` is a live, aligned u32; a wake only uses its address.
    unsafe {
        libc::syscall(libc::SYS_futex, word.as_ptr(), libc::FUTEX_WAKE | private(scope), 1);
    }
}

fn private(scope: Scope) -> libc::c_int {
    match scope {
        Scope::Process => libc::FUTEX_PRIVATE_FLAG,
        Scope::Shared => 0,
    }
}

/// Keeps all of this process in memory, now and later: the agent's way. The library locks only what is its own.
pub fn lock_all() -> io::Result<()> {
    use nix::sys::mman::{MlockAllFlags, mlockall};
    Ok(mlockall(MlockAllFlags::MCL_CURRENT | MlockAllFlags::MCL_FUTURE)?)
}

/// Keeps the pages that `value` lies on in memory, as far as the limit on locked memory allows.
pub fn lock_in_memory<T: ?Sized>(value: &T) -> io::Result<()> {
    // SAFETY: the range is that of a live value; locking changes none of its bytes.
    let rc = unsafe { libc::mlock(std::ptr::from_ref(value).cast(), size_of_val(value)) };
    if rc == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// How far from the runtime its own code may lie. More would be the program's that the library is linked into.
const NEAR: usize = 512 * 1024;

/// Brings the runtime's code into memory and, as far as the limit on locked memory allows, keeps it there: the first run
/// of a rare path, such as the one past a refused write, would be a page fault in the middle of a frame.
pub fn keep_code_in_memory() -> io::Result<()> {
    // libc's part: all that a wake calls there.
    Doorbell::default().ring_anyway(Scope::Process);
    let here = now as *const () as usize;
    let maps = std::fs::read_to_string("/proc/self/maps")?;
    let Some(mapped) = maps.lines().filter_map(readable).find(|range| range.contains(&here)) else { return Ok(()) };
    let near = mapped.start.max(here.saturating_sub(NEAR))..mapped.end.min(here + NEAR);
    // SAFETY: locking changes no byte, and the range lies within a mapping that holds running code.
    if unsafe { libc::mlock(near.start as *const libc::c_void, near.len()) } == 0 {
        return Ok(());
    }
    for at in near.step_by(4096) {
        // SAFETY: readable by the kernel's own word, and mapped as long as this code is.
        unsafe { std::ptr::read_volatile(at as *const u8) };
    }
    Ok(())
}

/// The addresses of a line of `/proc/self/maps` (`start-end rwxp ...`) whose bytes may be read.
fn readable(line: &str) -> Option<std::ops::Range<usize>> {
    let (addresses, rest) = line.split_once(' ')?;
    let (start, end) = addresses.split_once('-')?;
    let range = usize::from_str_radix(start, 16).ok()?..usize::from_str_radix(end, 16).ok()?;
    rest.starts_with('r').then_some(range)
}

/// Gives the calling thread a real-time priority (`SCHED_FIFO`, 1 to 99). Needs CAP_SYS_NICE or RLIMIT_RTPRIO.
pub fn schedule_fifo(priority: u8) -> io::Result<()> {
    // The kernel's own sched_param; musl's has more fields, and its sched_setscheduler only answers ENOSYS.
    let param = libc::c_int::from(priority);
    let policy = libc::SCHED_FIFO | libc::SCHED_RESET_ON_FORK;
    // SAFETY: 0 is the calling thread; the kernel reads one int from `param`, which is live.
    let rc = unsafe { libc::syscall(libc::SYS_sched_setscheduler, 0, policy, &raw const param) };
    if rc == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// The groups of the process at the other end of a unix socket, as the kernel noted them when it connected.
pub fn peer_groups(socket: impl AsFd) -> io::Result<Vec<libc::gid_t>> {
    // More than a process may have on most systems; the kernel answers ERANGE beyond.
    let mut groups = vec![0 as libc::gid_t; 1024];
    let mut bytes = size_of_val(groups.as_slice()) as libc::socklen_t;
    // SAFETY: the buffer has `bytes` bytes and lives through the call; the kernel writes at most that and says how
    // many in `bytes`.
    let rc = unsafe {
        libc::getsockopt(
            socket.as_fd().as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_PEERGROUPS,
            groups.as_mut_ptr().cast(),
            &raw mut bytes,
        )
    };
    if rc != 0 {
        return Err(io::Error::last_os_error());
    }
    groups.truncate(bytes as usize / size_of::<libc::gid_t>());
    Ok(groups)
}
