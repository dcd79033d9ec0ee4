//! Which clocks hot writes may have left in the nodes: a bit for each, in memory that outlives the process. A write sets
//! its bit beforehand; where a node was read back, the others are cleared. No system call, so a hot write may do it.

#![allow(unsafe_code)]

use std::io;
use std::os::fd::OwnedFd;
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use jetpace_tables::work::ClockIndex;
use nix::sys::mman::{MapFlags, ProtFlags, mlock, mmap};

/// A bit for every clock that a board may list.
type Bits = [AtomicU64; 4];

/// The bits; clones are the same.
#[derive(Clone, Debug)]
pub struct Written(Arc<Place>);

#[derive(Debug)]
enum Place {
    /// As long as the process lives, for virtual boards and dry runs.
    Memory(Bits),
    /// A file's page, shared with whoever opens it later. Mapped to the process's end: a page that is never lost.
    Mapped(NonNull<Bits>),
}

// SAFETY: the page is mapped for good, belongs to the process and not to a thread, and is only ever lent as atomics.
unsafe impl Send for Place {}
// SAFETY: as above.
unsafe impl Sync for Place {}

impl Written {
    /// How long its file is.
    pub const BYTES: usize = size_of::<Bits>();

    /// In memory alone.
    pub fn memory() -> Self {
        Self(Arc::new(Place::Memory(Bits::default())))
    }

    /// In a file of [`Self::BYTES`] bytes, whose blocks are there: on a full disk a store would be a SIGBUS.
    pub(super) fn in_file(file: &OwnedFd) -> io::Result<Self> {
        let length = std::num::NonZeroUsize::MIN.saturating_add(Self::BYTES - 1);
        // SAFETY: a new mapping at an address of the kernel's choice touches no existing memory.
        let at = unsafe {
            mmap(
                None,
                length,
                ProtFlags::PROT_READ | ProtFlags::PROT_WRITE,
                MapFlags::MAP_SHARED | MapFlags::MAP_POPULATE,
                file,
                0,
            )?
        };
        // SAFETY: the range was just mapped; locking changes no byte. Where it is not allowed the page stays as long as
        // the kernel lets it.
        let _ = unsafe { mlock(at, length.get()) };
        Ok(Self(Arc::new(Place::Mapped(at.cast()))))
    }

    /// From a file's bytes; `None` where they are not such a file's.
    pub(super) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let bits: Bits = std::array::from_fn(|_| AtomicU64::new(0));
        let (words, rest) = bytes.as_chunks::<8>();
        if words.len() != bits.len() || !rest.is_empty() {
            return None;
        }
        for (bits, word) in bits.iter().zip(words) {
            bits.store(u64::from_ne_bytes(*word), Ordering::Relaxed);
        }
        Some(Self(Arc::new(Place::Memory(bits))))
    }

    fn bits(&self) -> &Bits {
        match &*self.0 {
            Place::Memory(bits) => bits,
            // SAFETY: mapped for good, readable, writable, page-aligned and as long as the bits; every content of an
            // atomic is a value.
            Place::Mapped(at) => unsafe { at.as_ref() },
        }
    }

    /// This clock is about to be written. For one writer at a time, so that it takes no locked operation.
    #[inline]
    pub fn add(&self, clock: ClockIndex) {
        if let Some(word) = self.bits().get(clock.index() / 64) {
            word.store(word.load(Ordering::Relaxed) | 1 << (clock.index() % 64), Ordering::Relaxed);
        }
    }

    /// The nodes were read, and hold this clock.
    pub fn set(&self, clock: ClockIndex) {
        for (at, word) in self.bits().iter().enumerate() {
            let bit = 1 << (clock.index() % 64);
            word.fetch_and(if at == clock.index() / 64 { bit } else { 0 }, Ordering::Relaxed);
        }
        self.add(clock);
    }

    /// The nodes hold nothing of ours.
    pub fn clear(&self) {
        self.bits().iter().for_each(|word| word.store(0, Ordering::Relaxed));
    }

    /// Whether a node may hold this clock from us.
    pub fn has(&self, clock: ClockIndex) -> bool {
        let word = self.bits().get(clock.index() / 64);
        word.is_some_and(|word| word.load(Ordering::Relaxed) & 1 << (clock.index() % 64) != 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_read_back_is_all_that_is_left() {
        let written = Written::memory();
        let clocks = [0, 63, 64, 255].map(ClockIndex);
        clocks.iter().for_each(|clock| written.add(*clock));
        assert!(clocks.iter().all(|clock| written.has(*clock)) && !written.has(ClockIndex(65)));
        written.set(ClockIndex(64));
        assert_eq!(clocks.map(|clock| written.has(clock)), [false, false, true, false]);
        written.clear();
        assert!(!written.has(ClockIndex(64)));
        assert!(Written::from_bytes(&[0; 31]).is_none() && Written::from_bytes(&[0; 33]).is_none());
    }
}
