//! Capabilities, by the system calls themselves: no library is needed for two of them.

#![allow(unsafe_code)]

use std::io;

/// A capability that somebody keeps, by its number in `linux/capability.h`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Cap {
    /// Writing files of other users.
    DacOverride = 1,
    /// Telling a command of another user to stop.
    Kill = 5,
    /// Locked memory beyond the limit.
    IpcLock = 14,
    /// Real-time threads.
    SysNice = 23,
}

/// The highest number that a kernel may know: two words hold them.
const LAST: u8 = 63;

#[repr(C)]
struct Header {
    version: u32,
    pid: i32,
}

#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Data {
    effective: u32,
    permitted: u32,
    inheritable: u32,
}

const VERSION_3: u32 = 0x2008_0522;

/// Keeps of this thread's capabilities those named, as far as it has them, and bars the way back.
pub(super) fn drop_all_but(keep: &[Cap]) -> io::Result<()> {
    let header = Header { version: VERSION_3, pid: 0 };
    let mut data = [Data::default(); 2];
    // SAFETY: the header and the two words are live, and as the kernel's version 3 has them.
    if unsafe { libc::syscall(libc::SYS_capget, &raw const header, data.as_mut_ptr()) } != 0 {
        return Err(io::Error::last_os_error());
    }
    if data.iter().all(|word| word.permitted == 0) {
        return Ok(());
    }
    for cap in 0..=LAST {
        // SAFETY: changes this thread's bounding set alone. Refused for numbers that the kernel does not know, and where
        // CAP_SETPCAP is missing, in which case nothing can be gained by them either.
        unsafe { libc::prctl(libc::PR_CAPBSET_DROP, libc::c_ulong::from(cap), 0, 0, 0) };
    }
    let kept = keep.iter().fold(0_u64, |bits, cap| bits | 1 << *cap as u8);
    for (word, kept) in data.iter_mut().zip([kept as u32, (kept >> 32) as u32]) {
        let kept = word.permitted & kept;
        *word = Data { effective: kept, permitted: kept, inheritable: 0 };
    }
    // SAFETY: as above; it can only take away.
    if unsafe { libc::syscall(libc::SYS_capset, &raw const header, data.as_ptr()) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}
