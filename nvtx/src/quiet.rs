//! Work of ours in a foreign process that it does not notice.

#![allow(unsafe_code)]

use std::ffi::c_int;
use std::io;
use std::mem::MaybeUninit;
use std::thread::Builder;

use crate::Use;

/// The program's errno, put back on every way out.
pub struct Errno(c_int);

impl Errno {
    pub fn keep() -> Self {
        // SAFETY: this thread's own.
        Self(unsafe { *libc::__errno_location() })
    }
}

impl Drop for Errno {
    fn drop(&mut self) {
        // SAFETY: this thread's own.
        unsafe { *libc::__errno_location() = self.0 };
    }
}

/// A thread that takes no signal: they are the program's.
pub fn thread(name: &str, run: impl FnOnce() + Send + 'static) -> io::Result<()> {
    let mut before = MaybeUninit::<libc::sigset_t>::uninit();
    let mut all = MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: both have room for a set; a thread begins with its maker's, who gets the old one back.
    let spawned = unsafe {
        libc::sigfillset(all.as_mut_ptr());
        libc::pthread_sigmask(libc::SIG_SETMASK, all.as_ptr(), before.as_mut_ptr());
        let spawned = Builder::new().name(name.into()).spawn(run);
        libc::pthread_sigmask(libc::SIG_SETMASK, before.as_ptr(), std::ptr::null_mut());
        spawned
    };
    spawned.map(drop)
}

extern "C" fn write() {
    if let Some(Use::List(list)) = crate::used() {
        list.write();
    }
}

/// Has the list written when the process ends by itself.
pub fn at_exit() {
    // SAFETY: a function that lives as long as this library, which NVTX never unloads once it is in use.
    unsafe {
        libc::atexit(write);
    }
}
