//! Shared mappings of sealed memory.

#![allow(unsafe_code)]

use std::io;
use std::ops::Deref;
use std::os::fd::OwnedFd;
use std::ptr::NonNull;

use nix::fcntl::{FcntlArg, SealFlag, fcntl};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::mman::{MapFlags, ProtFlags, mmap, munmap};

use super::page::Page;

/// What may lie in memory that another process writes at any time.
///
/// # Safety
/// Every bit pattern is a valid value, and every field that the other side may write is an atomic.
pub unsafe trait Shared: Sync {}

// SAFETY: a page is made of integer atomics and padding only.
unsafe impl Shared for Page {}

/// Sealed against shrinking, so that a read can never meet the end of the file (SIGBUS), against growing, so that a
/// client cannot use the daemon's memory, and against other seals.
const SEALS: SealFlag = SealFlag::F_SEAL_SHRINK.union(SealFlag::F_SEAL_GROW).union(SealFlag::F_SEAL_SEAL);

/// A `T` in memory that is shared with another process.
#[derive(Debug)]
pub struct Mapping<T: Shared> {
    at: NonNull<T>,
}

// SAFETY: the mapping belongs to the process, not to a thread, and `T` is only ever lent as `&T`, which is `Sync`.
unsafe impl<T: Shared> Send for Mapping<T> {}
// SAFETY: as above.
unsafe impl<T: Shared> Sync for Mapping<T> {}

impl<T: Shared> Mapping<T> {
    /// New memory, all zero, and the descriptor to hand to the other side.
    pub fn create() -> io::Result<(Self, OwnedFd)> {
        let fd = memfd_create(c"jetpace", MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING)?;
        nix::unistd::ftruncate(&fd, size_of::<T>() as i64)?;
        fcntl(&fd, FcntlArg::F_ADD_SEALS(SEALS))?;
        Ok((Self::map(&fd)?, fd))
    }

    /// The memory behind a descriptor that another process sent; refused if it is not sealed or of another size.
    pub fn open(fd: &OwnedFd) -> io::Result<Self> {
        let seals = SealFlag::from_bits_truncate(fcntl(fd, FcntlArg::F_GET_SEALS)?);
        if !seals.contains(SealFlag::F_SEAL_SHRINK) {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "the shared memory is not sealed"));
        }
        let size = nix::sys::stat::fstat(fd)?.st_size;
        if size != size_of::<T>() as i64 {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                format!("the shared memory has {size} bytes instead of {}", size_of::<T>()),
            ));
        }
        Self::map(fd)
    }

    fn map(fd: &OwnedFd) -> io::Result<Self> {
        const { assert!(size_of::<T>() > 0 && align_of::<T>() <= 4096) };
        let length = std::num::NonZeroUsize::MIN.saturating_add(size_of::<T>() - 1);
        // SAFETY: a new mapping at an address of the kernel's choice touches no existing memory.
        let at = unsafe {
            // Populated, so that no later access faults.
            mmap(
                None,
                length,
                ProtFlags::PROT_READ | ProtFlags::PROT_WRITE,
                MapFlags::MAP_SHARED | MapFlags::MAP_POPULATE,
                fd,
                0,
            )?
        };
        let mapping = Self { at: at.cast() };
        // Locked where the limit allows; elsewhere the pages stay in memory as long as the kernel lets them.
        let _ = super::sys::lock_in_memory(&*mapping);
        Ok(mapping)
    }
}

impl<T: Shared> Deref for Mapping<T> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: the mapping is readable and writable, as long as `T`, page-aligned, and lives until drop; the file
        // behind it cannot shrink (sealed), and `T: Shared` makes every content a valid value.
        unsafe { self.at.as_ref() }
    }
}

impl<T: Shared> Drop for Mapping<T> {
    fn drop(&mut self) {
        // SAFETY: the range is exactly what `map` mapped, and no reference outlives `self`. It cannot fail for a
        // range that is mapped.
        let _ = unsafe { munmap(self.at.cast(), size_of::<T>()) };
    }
}

#[cfg(test)]
mod tests {
    use super::super::page::{Event, Reader, What, Writer};
    use super::*;
    use jetpace_tables::units::Nanos;

    #[test]
    fn two_mappings_of_one_descriptor_share_the_page() {
        let (daemon, fd) = Mapping::<Page>::create().unwrap();
        let client = Mapping::<Page>::open(&fd).unwrap();
        let event = Event { at: Nanos::new(5), what: What::FrameStart };
        assert!(Writer::default().post(&client, event));
        assert_eq!(Reader::default().next(&daemon), Ok(Some(event)));
    }

    #[test]
    fn the_memory_can_be_neither_shrunk_nor_grown() {
        let (_page, fd) = Mapping::<Page>::create().unwrap();
        assert_eq!(nix::unistd::ftruncate(&fd, 0), Err(nix::Error::EPERM));
        assert_eq!(nix::unistd::ftruncate(&fd, 1 << 20), Err(nix::Error::EPERM));
        assert_eq!(fcntl(&fd, FcntlArg::F_ADD_SEALS(SealFlag::F_SEAL_WRITE)), Err(nix::Error::EPERM));
    }

    #[test]
    fn unsealed_and_foreign_memory_is_refused() {
        let unsealed = memfd_create(c"x", MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING).unwrap();
        nix::unistd::ftruncate(&unsealed, size_of::<Page>() as i64).unwrap();
        assert!(Mapping::<Page>::open(&unsealed).unwrap_err().to_string().contains("not sealed"));
        let short = memfd_create(c"x", MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING).unwrap();
        fcntl(&short, FcntlArg::F_ADD_SEALS(SEALS)).unwrap();
        assert!(Mapping::<Page>::open(&short).unwrap_err().to_string().contains("0 bytes"));
    }
}
