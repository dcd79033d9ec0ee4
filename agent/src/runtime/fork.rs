//! Knowing that this process is a forked child: without a system call per block.

#![allow(unsafe_code)]

use std::sync::Once;
use std::sync::atomic::{AtomicU32, Ordering};

static GENERATION: AtomicU32 = AtomicU32::new(0);
static WATCH: Once = Once::new();

extern "C" fn in_child() {
    GENERATION.fetch_add(1, Ordering::Relaxed);
}

/// Counts up in every forked child, once [`watch`] was called.
pub fn generation() -> u32 {
    GENERATION.load(Ordering::Relaxed)
}

/// Has forks counted from here on.
pub fn watch() {
    WATCH.call_once(|| {
        // SAFETY: the handler only adds to an atomic, which is allowed in a child of a threaded process. Where there
        // is no memory to register it the pid is checked on every way that restores, all the same.
        unsafe {
            libc::pthread_atfork(None, None, Some(in_child));
        }
    });
}
