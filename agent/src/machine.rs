//! `--board` as a machine whose nodes are files: this one, a tree on disk, or a virtual board that this process keeps
//! alive on disk (`live:NAME`).

use std::path::{Path, PathBuf};

use jetpace_devfreq::board::Board;

use crate::args::BoardArg;
use crate::dry_run::ThisMachine;
use crate::failure::Failure;
use crate::runtime::wire;

/// Where programs that work on a board kept alive on disk find its stand-in GPU.
pub const GPU_VARIABLE: &str = "JETPACE_GPU";

/// A machine on disk. A board that this process keeps alive lives as long as this.
#[derive(Debug)]
pub struct OnDisk {
    root: PathBuf,
    #[cfg(feature = "sim")]
    _alive: Option<live::Alive>,
}

impl OnDisk {
    /// The root of its tree.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Its nodes.
    pub fn nodes(&self) -> ThisMachine {
        ThisMachine::at(&self.root)
    }
}

impl BoardArg {
    /// The machine, started where it is one to be kept alive.
    ///
    /// # Errors
    /// For a virtual board in memory, and where a live one has no such name or cannot be laid out.
    pub fn on_disk(&self) -> Result<OnDisk, Failure> {
        let at = |root: &Path| OnDisk {
            root: root.to_owned(),
            #[cfg(feature = "sim")]
            _alive: None,
        };
        match self {
            Self::Auto => Ok(at(Path::new("/"))),
            Self::Tree(root) => Ok(at(root)),
            Self::Sim(name) => Err(Failure::usage(format_args!(
                "sim:{name} is in this process's memory, where no program of yours finds it; live:{name} is the same \
                 board on disk"
            ))),
            #[cfg(feature = "sim")]
            Self::Live(name) => live::start(name),
            #[cfg(not(feature = "sim"))]
            Self::Live(_) => Err(crate::args::no_sim()),
        }
    }

    /// What is found on it. A virtual board is found fresh from boot.
    ///
    /// # Errors
    /// Where there is no such board, or no GPU.
    pub fn discover(&self) -> Result<Board, Failure> {
        match self {
            #[cfg(feature = "sim")]
            Self::Sim(name) => {
                let board = jetpace_devfreq::sim::Board::new(name, 1).map_err(Failure::usage)?;
                Ok(Board::discover(&board.nodes())?)
            }
            other => Ok(Board::discover(&other.on_disk()?.nodes())?),
        }
    }

    /// Where programs look for the daemon of this machine; `None` for a tree or a board in memory, which have none.
    pub fn socket(&self) -> Option<PathBuf> {
        match self {
            Self::Auto => Some(PathBuf::from(wire::SOCKET)),
            #[cfg(feature = "sim")]
            Self::Live(name) => Some(live::home().join(name).join("jetpace.sock")),
            _ => None,
        }
    }

    /// Where the daemon is looked for that this machine's clock can be leased from.
    pub fn daemon(&self) -> Option<PathBuf> {
        std::env::var_os(wire::SOCKET_VARIABLE).map(PathBuf::from).or_else(|| self.socket())
    }

    /// What programs that run on this machine are to find in their environment.
    pub fn environment(&self) -> Vec<(&'static str, PathBuf)> {
        match self {
            #[cfg(feature = "sim")]
            Self::Live(name) => {
                vec![(GPU_VARIABLE, jetpace_devfreq::sim::disk::Live::gpu_of(&live::home().join(name)))]
            }
            _ => Vec::new(),
        }
    }
}

#[cfg(feature = "sim")]
mod live {
    use std::fs::{self, DirBuilder, OpenOptions};
    use std::io;
    use std::os::unix::fs::{DirBuilderExt, MetadataExt};
    use std::path::{Path, PathBuf};
    use std::thread::sleep;
    use std::time::Duration;

    use jetpace_devfreq::sim;
    use jetpace_devfreq::sim::disk::Live;
    use nix::errno::Errno;
    use nix::fcntl::{Flock, FlockArg};

    use super::OnDisk;
    use crate::failure::Failure;

    /// How long another process may take to lay a board out.
    const PATIENCE: Duration = Duration::from_secs(5);

    /// A board that this process keeps alive. Its files go with it.
    #[derive(Debug)]
    pub(super) struct Alive {
        board: Option<Live>,
        folder: PathBuf,
        _lock: Flock<fs::File>,
    }

    impl Drop for Alive {
        fn drop(&mut self) {
            self.board = None;
            // What is left, as by a daemon that may no longer remove anything, is removed by the next that starts this board.
            let _ = fs::remove_dir_all(&self.folder);
        }
    }

    /// The board that another process of this user keeps alive, or one that this process does from now on.
    pub(super) fn start(name: &str) -> Result<OnDisk, Failure> {
        let board = sim::Board::new(name, 1).map_err(Failure::usage)?;
        let home = own_home()?;
        let folder = home.join(name);
        let named = |e: io::Error| Failure::file(&folder, &e);
        let path = home.join(format!("{name}.lock"));
        let mut options = OpenOptions::new();
        let lock =
            options.write(true).create(true).truncate(false).open(&path).map_err(|e| Failure::file(&path, &e))?;
        match Flock::lock(lock, FlockArg::LockExclusiveNonblock) {
            Ok(lock) => {
                match fs::remove_dir_all(&folder) {
                    Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(named(e)),
                    _ => {}
                }
                let live = Live::start(&board, &folder).map_err(named)?;
                log::info!("{name} lives in {}; its GPU takes work at {}", folder.display(), live.gpu().display());
                let alive = Alive { board: Some(live), folder: folder.clone(), _lock: lock };
                Ok(OnDisk { root: folder, _alive: Some(alive) })
            }
            Err((_, Errno::EWOULDBLOCK)) => {
                wait_for(&Live::gpu_of(&folder)).map_err(named)?;
                Ok(OnDisk { root: folder, _alive: None })
            }
            Err((_, e)) => Err(Failure::file(&path, &e.into())),
        }
    }

    /// Where this user's live boards lie.
    pub(super) fn home() -> PathBuf {
        std::env::temp_dir().join(format!("jetpace-live-{}", nix::unistd::geteuid()))
    }

    /// That folder, this user's own: nobody else may lay links there.
    fn own_home() -> Result<PathBuf, Failure> {
        let home = home();
        let named = |e: &io::Error| Failure::file(&home, e);
        match DirBuilder::new().mode(0o700).create(&home) {
            Err(e) if e.kind() != io::ErrorKind::AlreadyExists => return Err(named(&e)),
            _ => {}
        }
        let found = fs::symlink_metadata(&home).map_err(|e| named(&e))?;
        if !found.is_dir() || found.uid() != nix::unistd::geteuid().as_raw() {
            return Err(Failure::failed(format_args!("{} is not this user's folder; remove it", home.display())));
        }
        Ok(home)
    }

    fn wait_for(socket: &Path) -> io::Result<()> {
        let started = std::time::Instant::now();
        while !socket.exists() {
            if started.elapsed() > PATIENCE {
                return Err(io::Error::other("another process began to lay this board out and did not end"));
            }
            sleep(Duration::from_millis(5));
        }
        Ok(())
    }
}
