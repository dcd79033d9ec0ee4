//! The entries. The header's words are these comments.

#![allow(unsafe_code)]

use std::ffi::{CStr, c_char, c_int};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Mutex, TryLockError};

use agent::runtime::control::Schedule;
use agent::runtime::fork;
use agent::runtime::writer::{Asked, Writer};
use jetpace_tables::units::Nanos;

use crate::backend::{Backend, Counts, Errno, Options};

/// The ABI's version: the soname's number in the upper half, additions in the lower one.
pub const JETPACE_ABI_VERSION: u32 = 0x0000_0004;

/// jetpace_options.writer: the cheaper one for the caller, by what a write costs on this board.
pub const JETPACE_WRITER_AUTO: u32 = 0;
/// jetpace_options.writer: the calling thread writes at the boundary.
pub const JETPACE_WRITER_INLINE: u32 = 1;
/// jetpace_options.writer: a thread of the library writes.
pub const JETPACE_WRITER_THREAD: u32 = 2;

/// jetpace_stats.state: the table decides.
pub const JETPACE_FOLLOWING: u32 = 0;
/// jetpace_stats.state: the safe clock is held to the end of the frame.
pub const JETPACE_SAFE: u32 = 1;
/// jetpace_stats.state: the kernel's own governor decides.
pub const JETPACE_HANDED_BACK: u32 = 2;
/// jetpace_stats.state: the daemon has gone; the kernel's own governor decides, and the daemon is looked for once a second.
pub const JETPACE_NO_DAEMON: u32 = 3;
/// jetpace_stats.state: `jetpace calibrate` measures the program: its frames wait for their turn.
pub const JETPACE_MEASURED: u32 = 4;

/// A table that is followed.
pub struct jetpace {
    generation: u32,
    backend: Mutex<Backend>,
}

/// How to open. Set all to zero, then size to sizeof(struct jetpace_options), then what is wanted.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct jetpace_options {
    /// sizeof(struct jetpace_options).
    pub size: usize,
    /// "auto" or NULL for this machine, "sim:NAME" for a virtual board, else the root of a sysfs tree.
    pub board: *const c_char,
    /// The daemon's socket. NULL: $JETPACE_SOCKET or the usual one if a daemon listens there, else the nodes. "": never
    /// a daemon.
    pub socket: *const c_char,
    /// A way of fixing the clock, as `jetpace probe` names them; NULL: the cheapest that works.
    pub way: *const c_char,
    /// JETPACE_WRITER_...
    pub writer: u32,
    /// SCHED_FIFO priority of the library's thread, 1 to 99; 0: the usual scheduling.
    pub fifo: u32,
    /// The CPU of the library's thread, counted from 1; 0: any.
    pub cpu_plus_one: u32,
    /// Zero.
    pub reserved: u32,
}

/// What happened so far.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct jetpace_stats {
    /// Set by the caller to sizeof(struct jetpace_stats); no more is written.
    pub size: usize,
    /// Frames started.
    pub frames: u64,
    /// Frames that ended behind their deadline.
    pub missed: u64,
    /// Clock changes asked for.
    pub switches: u64,
    /// Things that went wrong; the clock was held or handed back.
    pub faults: u64,
    /// Frames in which another client of the daemon was busy, too: their times are not the network's own.
    pub shared_frames: u64,
    /// Events that the daemon was too far behind to take, or that nobody was there to take.
    pub lost_events: u64,
    /// The clock written last; 0 while the kernel's own governor decides.
    pub clock_hz: u64,
    /// JETPACE_FOLLOWING, JETPACE_SAFE, JETPACE_HANDED_BACK, JETPACE_NO_DAEMON or JETPACE_MEASURED.
    pub state: u32,
    /// 1 where the daemon writes, 0 where this process does.
    pub by_daemon: u32,
    /// How often a daemon was found again, after the one before had gone.
    pub reconnects: u64,
}

fn code(result: Result<(), Errno>) -> c_int {
    match result {
        Ok(()) => 0,
        Err(Errno(errno)) => -errno,
    }
}

/// Runs an entry behind a wall that no panic passes.
fn walled(run: impl FnOnce() -> Result<(), Errno>) -> c_int {
    // What a panic may leave half done lies behind the handle's mutex, which is then poisoned.
    code(catch_unwind(AssertUnwindSafe(run)).unwrap_or(Err(Errno(libc::EIO))))
}

/// Runs an entry of a handle: one thread at a time, in the process that opened it.
///
/// # Safety
/// `handle` is NULL or came from jetpace_open and was not closed.
#[inline]
pub(crate) unsafe fn enter(handle: *const jetpace, run: impl FnOnce(&mut Backend) -> Result<(), Errno>) -> c_int {
    walled(|| {
        // SAFETY: the caller's promise; the handle is only ever lent as shared.
        let handle = unsafe { handle.as_ref() }.ok_or(Errno(libc::EINVAL))?;
        if handle.generation != fork::generation() {
            return Err(Errno(libc::ECHILD));
        }
        match handle.backend.try_lock() {
            Ok(mut backend) => run(&mut backend),
            Err(TryLockError::WouldBlock) => Err(Errno(libc::EBUSY)),
            Err(TryLockError::Poisoned(_)) => Err(Errno(libc::ENOTRECOVERABLE)),
        }
    })
}

/// # Safety
/// `text` is NULL or a string that ends in a zero byte.
unsafe fn text<'a>(text: *const c_char) -> Result<Option<&'a str>, Errno> {
    if text.is_null() {
        return Ok(None);
    }
    // SAFETY: the caller's promise.
    unsafe { CStr::from_ptr(text) }.to_str().map(Some).map_err(|_| Errno(libc::EINVAL))
}

/// # Safety
/// `options` is NULL or points to as many bytes as its size field says, with strings as [`text`] wants them.
unsafe fn read_options(options: *const jetpace_options) -> Result<Options, Errno> {
    if options.is_null() {
        return Ok(Options::default());
    }
    // SAFETY: the size field is the first and always there.
    let size = unsafe { options.cast::<usize>().read() };
    if size < size_of::<usize>() || size > 4096 {
        return Err(Errno(libc::EINVAL));
    }
    // SAFETY: all-zero is a valid jetpace_options: null pointers and zeros.
    let mut given: jetpace_options = unsafe { std::mem::zeroed() };
    let known = size.min(size_of::<jetpace_options>());
    // SAFETY: `known` bytes are there (the caller's promise) and fit into `given`; the two do not overlap.
    unsafe { options.cast::<u8>().copy_to_nonoverlapping((&raw mut given).cast::<u8>(), known) };
    let writer = match given.writer {
        JETPACE_WRITER_AUTO => Asked(None),
        JETPACE_WRITER_INLINE => Asked(Some(Writer::Inline)),
        JETPACE_WRITER_THREAD => Asked(Some(Writer::Thread)),
        _ => return Err(Errno(libc::EINVAL)),
    };
    let fifo = match given.fifo {
        0 => None,
        priority @ 1..=99 => Some(priority as u8),
        _ => return Err(Errno(libc::EINVAL)),
    };
    // SAFETY: the caller's promise for the strings.
    let [board, socket, way] = unsafe { [text(given.board)?, text(given.socket)?, text(given.way)?] };
    Ok(Options {
        board: board.map(str::to_owned),
        socket: socket.map(str::to_owned),
        way: way.map(str::to_owned),
        writer,
        schedule: Schedule { fifo, cpu: given.cpu_plus_one.checked_sub(1).map(|cpu| cpu as usize) },
    })
}

/// The library's JETPACE_ABI_VERSION; another upper half than the header's is another ABI.
#[unsafe(no_mangle)]
pub extern "C" fn jetpace_abi_version() -> u32 {
    JETPACE_ABI_VERSION
}

/// Follows a table: through the daemon where one listens, else on this machine's nodes, which needs the permission.
///
/// table: a file that `jetpace plan` made, or the daemon's socket; NULL: $JETPACE_TABLE or the daemon's own table. options
/// may be NULL. With JETPACE_OFF=1 nothing is followed, unless the options name a board or a socket. With JETPACE_SWEEP=1,
/// as `jetpace calibrate --cmd` sets it, the program is measured: the table need not be there yet. A file that takes the table's
/// place later is followed from the next frame on, if its blocks are the same. -ESTALE: the table is for another board,
/// power mode or release. -EACCES: neither the daemon nor the nodes are
/// for this user. -EBADMSG: not a table.
///
/// # Safety
/// Pointers are NULL or valid, strings end in a zero byte, options->size is true.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn jetpace_open(
    table: *const c_char,
    options: *const jetpace_options,
    handle: *mut *mut jetpace,
) -> c_int {
    walled(|| {
        if handle.is_null() {
            return Err(Errno(libc::EINVAL));
        }
        // SAFETY: not null, and the caller's promise: room for a pointer.
        unsafe { handle.write(std::ptr::null_mut()) };
        fork::watch();
        // SAFETY: the caller's promise.
        let (table, options) = unsafe { (text(table)?, read_options(options)?) };
        let backend = Mutex::new(Backend::open(table, &options)?);
        let opened = Box::new(jetpace { generation: fork::generation(), backend });
        // SAFETY: as above.
        unsafe { handle.write(Box::into_raw(opened)) };
        Ok(())
    })
}

/// A block's number by its name; not for the hot path. -ENOENT: the table has no such block. While the program is measured,
/// every name is one.
///
/// # Safety
/// As jetpace_open.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn jetpace_block_find(handle: *mut jetpace, name: *const c_char, id: *mut u32) -> c_int {
    // SAFETY: the caller's promise.
    unsafe {
        enter(handle, |backend| {
            let name = text(name)?.ok_or(Errno(libc::EINVAL))?;
            if id.is_null() {
                return Err(Errno(libc::EINVAL));
            }
            let found = backend.find(name).ok_or(Errno(libc::ENOENT))?;
            id.write(found);
            Ok(())
        })
    }
}

/// How many blocks a frame has; their numbers are 0 and up. While the program is measured: how many were asked for.
///
/// # Safety
/// As jetpace_open.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn jetpace_block_count(handle: *mut jetpace, count: *mut u32) -> c_int {
    // SAFETY: the caller's promise.
    unsafe {
        enter(handle, |backend| {
            if count.is_null() {
                return Err(Errno(libc::EINVAL));
            }
            count.write(backend.blocks());
            Ok(())
        })
    }
}

/// A frame starts. -ECONNRESET, once: the daemon has gone or serves this handle no more. The kernel's own governor has the
/// clock then, further calls give 0 and are counted in lost_events, and the handle goes on by itself once a daemon serves it
/// again, which is tried once a second. While the program is measured, it waits here for its turn.
///
/// # Safety
/// As jetpace_open.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn jetpace_frame_start(handle: *mut jetpace) -> c_int {
    // SAFETY: the caller's promise.
    unsafe { enter(handle, Backend::frame_start) }
}

/// A block starts; blocks come in the table's order. Its size (batch, tokens; 0 counts as 1) is the frame's, in the sizes
/// that the table was planned for. Allocates nothing and waits for nothing.
///
/// # Safety
/// As jetpace_open.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn jetpace_block_start(handle: *mut jetpace, id: u32, size: u32) -> c_int {
    // SAFETY: the caller's promise.
    unsafe { enter(handle, |backend| backend.block_start(id, size)) }
}

/// Whether a block that has just run is to run once more: 1 or 0. Without a calibration always 0; with it power and settle
/// times are measured best where blocks are repeated: `do run(); while (jetpace_block_again(j, id) > 0);`
///
/// # Safety
/// As jetpace_open.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn jetpace_block_again(handle: *mut jetpace, id: u32) -> c_int {
    let mut again = false;
    // SAFETY: the caller's promise.
    let entered = unsafe {
        enter(handle, |backend| {
            again = backend.block_again(id)?;
            Ok(())
        })
    };
    if entered == 0 { c_int::from(again) } else { entered }
}

/// How long a block took by the GPU's own events, in nanoseconds, told once for every run of it before the frame's end.
/// Calibration then goes by it instead of by the times of the calls; without a calibration it does nothing.
///
/// # Safety
/// As jetpace_open.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn jetpace_block_took(handle: *mut jetpace, id: u32, nanoseconds: u64) -> c_int {
    // SAFETY: the caller's promise.
    unsafe { enter(handle, |backend| backend.block_took(id, Nanos::new(nanoseconds))) }
}

/// The size (batch, tokens) that this frame should have: the one that `jetpace calibrate --sizes` wants measured, else `own`.
/// Asked between a frame's start and its first block.
///
/// # Safety
/// As jetpace_open; size has room.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn jetpace_frame_size(handle: *mut jetpace, own: u32, size: *mut u32) -> c_int {
    // SAFETY: the caller's promise.
    unsafe {
        enter(handle, |backend| {
            if size.is_null() {
                return Err(Errno(libc::EINVAL));
            }
            size.write(backend.size().unwrap_or(own));
            Ok(())
        })
    }
}

/// The frame's last block has ended.
///
/// # Safety
/// As jetpace_open.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn jetpace_frame_end(handle: *mut jetpace) -> c_int {
    // SAFETY: the caller's promise.
    unsafe { enter(handle, Backend::frame_end) }
}

/// What happened so far, as much of it as stats->size has room for.
///
/// # Safety
/// As jetpace_open; stats->size is true.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn jetpace_stats(handle: *mut jetpace, stats: *mut jetpace_stats) -> c_int {
    // SAFETY: the caller's promise.
    unsafe {
        enter(handle, |backend| {
            if stats.is_null() {
                return Err(Errno(libc::EINVAL));
            }
            let size = stats.cast::<usize>().read();
            if size < size_of::<usize>() {
                return Err(Errno(libc::EINVAL));
            }
            let Counts {
                frames,
                missed,
                switches,
                faults,
                shared_frames,
                lost_events,
                clock_hz,
                state,
                by_daemon,
                reconnects,
            } = backend.counts();
            let by_daemon = u32::from(by_daemon);
            let full = jetpace_stats {
                size,
                frames,
                missed,
                switches,
                faults,
                shared_frames,
                lost_events,
                clock_hz,
                state,
                by_daemon,
                reconnects,
            };
            let known = size.min(size_of::<jetpace_stats>());
            (&raw const full).cast::<u8>().copy_to_nonoverlapping(stats.cast::<u8>(), known);
            Ok(())
        })
    }
}

/// An error of this library in words: of a function's result, negative or not. Never NULL, never to be freed.
#[unsafe(no_mangle)]
pub extern "C" fn jetpace_strerror(error: c_int) -> *const c_char {
    let words = match error.unsigned_abs().cast_signed() {
        0 => c"no error",
        libc::EINVAL => c"an argument is wrong",
        libc::ENOENT => c"there is no such table, socket or block",
        libc::EACCES | libc::EPERM => c"this user may neither use the daemon nor write the clock's nodes",
        libc::ESTALE => c"the table is for another board, power mode or release: calibrate and plan again",
        libc::EBADMSG => c"the file is not a whole jetpace table",
        libc::ENODEV => c"no GPU whose clock can be set was found",
        libc::EOPNOTSUPP => c"this library was built without virtual boards",
        libc::EBUSY => c"another thread is in this handle, or the daemon has too many clients",
        libc::ECHILD => c"this process is a forked child of the one that opened the handle",
        libc::ECONNRESET => c"the daemon has gone: the kernel has the clock until one serves this handle again",
        libc::ECONNREFUSED => c"no daemon listens there",
        libc::ENOTRECOVERABLE => c"the library failed earlier: close the handle",
        libc::EIO => c"the clock could not be taken or put back",
        libc::EAGAIN => c"the daemon did not answer in time",
        _ => c"an error of the operating system",
    };
    words.as_ptr()
}

/// Puts back what was found, and frees the handle, whatever it returns but -EBUSY. NULL is no error.
///
/// # Safety
/// As jetpace_open; the handle is not used afterwards.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn jetpace_close(handle: *mut jetpace) -> c_int {
    walled(|| {
        // SAFETY: the caller's promise.
        let Some(open) = (unsafe { handle.as_ref() }) else { return Ok(()) };
        if open.generation != fork::generation() {
            // The parent's: it alone restores. What the copy holds goes with the child.
            return Ok(());
        }
        if matches!(open.backend.try_lock(), Err(TryLockError::WouldBlock)) {
            return Err(Errno(libc::EBUSY));
        }
        // SAFETY: made by Box::into_raw in jetpace_open, and closed once: the caller's promise.
        let handle = unsafe { Box::from_raw(handle) };
        handle.backend.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner).close()
    })
}
