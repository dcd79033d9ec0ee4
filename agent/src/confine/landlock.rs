//! Landlock (Linux 5.13): writing beneath some folders alone. Reading stays free: a board is looked for in many places.

#![allow(unsafe_code)]

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

// The same numbers on every architecture.
const CREATE_RULESET: libc::c_long = 444;
const ADD_RULE: libc::c_long = 445;
const RESTRICT_SELF: libc::c_long = 446;
const ASK_VERSION: u32 = 1;
const PATH_BENEATH: u32 = 1;

const EXECUTE: u64 = 1;
const WRITE_FILE: u64 = 1 << 1;
const REMOVE_FILE: u64 = 1 << 5;
const MAKE_REG: u64 = 1 << 8;
/// Removing and making whatever there is.
const CHANGE_FOLDER: u64 = 0b1_1111_1111 << 4;
/// From the second and third version on.
const REFER: u64 = 1 << 13;
const TRUNCATE: u64 = 1 << 14;

#[repr(C)]
struct Ruleset {
    handled_access_fs: u64,
}

#[repr(C, packed)]
struct PathBeneath {
    allowed_access: u64,
    parent_fd: i32,
}

/// Restricts this thread, and those that it starts from here on.
pub(super) fn restrict(nodes: &[PathBuf], files: &[PathBuf]) -> io::Result<()> {
    // SAFETY: a null ruleset of size 0 with this flag only asks for the version.
    let version = unsafe { libc::syscall(CREATE_RULESET, std::ptr::null::<Ruleset>(), 0, ASK_VERSION) };
    let newer = match version {
        ..=0 => return Err(io::Error::last_os_error()),
        1 => 0,
        2 => REFER,
        _ => REFER | TRUNCATE,
    };
    let attr = Ruleset { handled_access_fs: EXECUTE | WRITE_FILE | CHANGE_FOLDER | newer };
    // SAFETY: `attr` is live and as long as is said; the kernel only reads it.
    let fd = unsafe { libc::syscall(CREATE_RULESET, &raw const attr, size_of::<Ruleset>(), 0) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel made this descriptor for us just now; a descriptor fits an int.
    let ruleset = unsafe { OwnedFd::from_raw_fd(fd as i32) };
    let truncate = attr.handled_access_fs & TRUNCATE;
    for folder in nodes {
        allow(&ruleset, folder, WRITE_FILE | truncate)?;
    }
    for folder in files {
        allow(&ruleset, folder, WRITE_FILE | truncate | MAKE_REG | REMOVE_FILE)?;
    }
    // SAFETY: takes a descriptor and no memory.
    if unsafe { libc::syscall(RESTRICT_SELF, ruleset.as_raw_fd(), 0) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

fn allow(ruleset: &OwnedFd, folder: &Path, access: u64) -> io::Result<()> {
    let open = File::options().read(true).custom_flags(libc::O_PATH | libc::O_CLOEXEC).open(folder);
    let folder = match open {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        opened => opened?,
    };
    let rule = PathBeneath { allowed_access: access, parent_fd: folder.as_raw_fd() };
    // SAFETY: `rule` is live and of the kernel's layout, which is packed; the kernel only reads it.
    if unsafe { libc::syscall(ADD_RULE, ruleset.as_raw_fd(), PATH_BENEATH, &raw const rule, 0) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}
