//! A virtual board that lies on disk and lives in real time, so that programs of their own meet it: its nodes are files
//! below a folder, its clock settles, its rails follow, its stock governor acts, and its GPU takes work over a socket.
//!
//! What plain files cannot do: refuse a write (a value that the kernel would refuse is put back a moment later), bring a
//! governor's own node at once, and show two writes in a row as two. So the governor `userspace`, whose node is needed in
//! the next instant, is not offered, and nvgpu's stale copies of the bounds up to R35, which a second write brings up to
//! date, are not played; clocks are held by the bounds.

mod clients;
mod gpu;
mod mirror;
#[cfg(test)]
mod tests;

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::thread::JoinHandle;

use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::time::TimeSpec;
use nix::time::{ClockId, clock_gettime};

use super::rules::{Devfreq, Kernel, PODGOV, USERSPACE};
use super::{Board, Shared};
use clients::Clients;
use gpu::Gpu;
use mirror::Mirror;

/// How often the nodes are brought up to date, where nothing calls for it earlier.
const REFRESH_NS: u64 = 5_000_000;

/// A board on disk, alive as long as this is held.
#[derive(Debug)]
pub struct Live {
    folder: PathBuf,
    /// Hung up to end the thread.
    hold: Option<UnixStream>,
    keeper: Option<JoinHandle<()>>,
}

impl Live {
    /// Lays a board out below `folder`, which must be empty or not be there, and keeps it alive. `board` is fresh; what
    /// it draws and runs in truth can go on being asked of it.
    ///
    /// # Errors
    /// Where a file cannot be made.
    pub fn start(board: &Board, folder: &Path) -> io::Result<Self> {
        let folder = std::path::absolute(folder)?;
        by_files_alone(&board.world);
        let mirror = Mirror::lay_out(&board.nodes, &board.world, &folder)?;
        let clients = Clients::listen(&Self::gpu_of(&folder))?;
        let (hold, held) = UnixStream::pair()?;
        let mut keeper =
            Keeper { world: board.world.clone(), gpu: Gpu::default(), mirror, clients, held, base: now()? };
        let keeper = std::thread::Builder::new().name("board".to_owned()).spawn(move || keeper.live())?;
        Ok(Self { folder, hold: Some(hold), keeper: Some(keeper) })
    }

    /// The root of its tree.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The socket of its GPU.
    pub fn gpu(&self) -> PathBuf {
        Self::gpu_of(&self.folder)
    }

    /// The socket of the GPU of a board that lies in a folder.
    pub fn gpu_of(folder: &Path) -> PathBuf {
        folder.join("gpu.sock")
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        self.hold = None;
        if let Some(keeper) = self.keeper.take() {
            // A panic in there was printed there.
            let _ = keeper.join();
        }
    }
}

/// The kernel's rules as far as they can be told from files.
fn by_files_alone(world: &Shared) {
    let mut world = world.lock();
    let spec = world.spec;
    let governors: Vec<&str> = spec.governors.iter().copied().filter(|name| *name != USERSPACE).collect();
    let kernel = if spec.kernel == Kernel::V5_10 { Kernel::Direct } else { spec.kernel };
    world.devfreq = Devfreq::new(kernel, &spec.clocks(), &governors, PODGOV);
}

/// This machine's monotonic time in nanoseconds: the GPU's events are told in it.
fn now() -> io::Result<u64> {
    let time = clock_gettime(ClockId::CLOCK_MONOTONIC)?;
    Ok(time.tv_sec() as u64 * 1_000_000_000 + time.tv_nsec() as u64)
}

/// What keeps a board alive.
struct Keeper {
    world: Shared,
    gpu: Gpu,
    mirror: Mirror,
    clients: Clients,
    held: UnixStream,
    /// The machine's time at the board's time 0.
    base: u64,
}

impl Keeper {
    fn live(&mut self) {
        // Wakes when it asks to: by default a thread's sleeps end up to 50 us late.
        let _ = nix::sys::prctl::set_timerslack(1);
        let mut refreshed = 0;
        loop {
            let Ok(time) = now().map(|now| now - self.base) else { return };
            let wake = {
                let mut world = self.world.lock();
                self.gpu.advance(&mut world, time);
                if self.mirror.take_writes(&mut world) || time >= refreshed + REFRESH_NS {
                    self.mirror.refresh(&world);
                    refreshed = time;
                }
                self.clients.hear(&mut self.gpu);
                let Ok(heard) = now().map(|now| now - self.base) else { return };
                self.gpu.take_up(&mut world, heard);
                world.ends_at().unwrap_or(u64::MAX).min(refreshed + REFRESH_NS)
            };
            self.clients.answer(&mut self.gpu, self.base);
            let Ok(now) = now().map(|now| now - self.base) else { return };
            if self.wait(wake.saturating_sub(now)) {
                return;
            }
        }
    }

    /// Waits until something happens, so many nanoseconds at most; true where the board is to end.
    fn wait(&self, nanos: u64) -> bool {
        let mut fds: Vec<PollFd> = [self.held.as_fd(), self.mirror.as_fd()]
            .into_iter()
            .chain(self.clients.fds())
            .map(|fd: BorrowedFd| PollFd::new(fd, PollFlags::POLLIN))
            .collect();
        let limit = TimeSpec::new((nanos / 1_000_000_000) as i64, (nanos % 1_000_000_000) as i64);
        // Interrupted or not, the loop looks at everything again.
        let _ = ppoll(&mut fds, Some(limit), None);
        fds.first().and_then(PollFd::any).unwrap_or(false)
    }
}
