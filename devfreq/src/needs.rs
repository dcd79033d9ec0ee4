//! What the caller may not do of what the agent does on this machine, as the kernel answers it, and how to grant it.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use nix::unistd::geteuid;
use serde::Serialize;

use crate::board::Board;
use crate::error::{LEASE, READ_ONLY};
use crate::guard::STATE;
use crate::nodes::{Access, Nodes};

const ROOT: &str = "run as root: debugfs cannot be given to a group; nothing but --emc needs it";
const RAILS: &str = "run as root, or chmod a+r the rail's nodes from a udev rule";

/// Something that the caller may not do.
#[derive(Debug, Serialize)]
pub struct Need {
    /// What it is for, and the node.
    pub what: String,
    /// What the kernel answers.
    pub permission: String,
    /// How to grant it.
    pub remedy: String,
}

impl fmt::Display for Need {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.what, self.permission)
    }
}

/// What the calling process may not do. Reads and asks only.
pub fn needs(nodes: &impl Nodes, board: &Board) -> Vec<Need> {
    let gpu = &board.gpu;
    let mut asked = Asked { nodes, needs: Vec::new() };
    if nodes.is_read_only(&gpu.devfreq) {
        let what = format!("fixing the GPU's clock ({})", gpu.devfreq.display());
        let (permission, remedy) = ("/sys is mounted read-only".to_owned(), READ_ONLY.to_owned());
        asked.needs.push(Need { what, permission, remedy });
    } else {
        let written = ["governor", "min_freq", "max_freq"].map(|node| gpu.node(node));
        for node in written.into_iter().chain(gpu.sleep.clone()) {
            asked.ask("fixing the GPU's clock", node, Access::Write, LEASE);
        }
    }
    let folder = state_folder();
    if let Err((path, access, e)) = ask_for_state(nodes) {
        let mut remedy = format!("{LEASE}, or give {} to this user alone (mode 0700)", folder.display());
        if geteuid().is_root() {
            remedy = format!("remove {}, or give it to root alone (mode 0700)", folder.display());
        }
        asked.refused("keeping the original values", &path, &e, access, &remedy);
    }
    match &board.emc {
        Some(emc) => {
            for node in ["mrq_rate_locked", "clk_update_rate"] {
                asked.ask("locking the EMC clock", emc.dir.join(node), Access::Write, ROOT);
            }
        }
        None => asked.ask("locking the EMC clock", PathBuf::from("/sys/kernel/debug"), Access::Read, ROOT),
    }
    for entry in hidden_rails(nodes) {
        asked.ask("reading power rails", entry, Access::Read, RAILS);
    }
    asked.needs
}

struct Asked<'a, N> {
    nodes: &'a N,
    needs: Vec<Need>,
}

impl<N: Nodes> Asked<'_, N> {
    fn ask(&mut self, what: &str, path: PathBuf, access: Access, remedy: &str) {
        if let Err(e) = self.nodes.access(&path, access) {
            self.refused(what, &path, &e, access, remedy);
        }
    }

    fn refused(&mut self, what: &str, path: &Path, error: &io::Error, access: Access, remedy: &str) {
        let (permission, remedy) = match (error.kind(), access) {
            (io::ErrorKind::ReadOnlyFilesystem, _) => ("mounted read-only", READ_ONLY),
            (io::ErrorKind::PermissionDenied, Access::Read) => ("may not be read", remedy),
            (io::ErrorKind::PermissionDenied, Access::Write) => ("may not be written", remedy),
            (io::ErrorKind::PermissionDenied, Access::Own) => ("belongs to another user", remedy),
            // A node that is not there is no question of permission.
            _ => return,
        };
        self.needs.push(Need {
            what: format!("{what} ({})", path.display()),
            permission: permission.to_owned(),
            remedy: remedy.to_owned(),
        });
    }
}

fn state_folder() -> &'static Path {
    Path::new(STATE).parent().unwrap_or(Path::new("/run"))
}

/// Whether the caller may have the folder that holds the original values and the lock: its owner's alone, and made where it
/// is missing.
///
/// # Errors
/// What the kernel answers.
pub fn may_keep_state(nodes: &impl Nodes) -> io::Result<()> {
    ask_for_state(nodes).map_err(|(_, _, e)| e)
}

fn ask_for_state(nodes: &impl Nodes) -> Result<(), (PathBuf, Access, io::Error)> {
    let mut access = Access::Own;
    for path in state_folder().ancestors() {
        match nodes.access(path, access) {
            // What is above must let it be made.
            Err(e) if e.kind() == io::ErrorKind::NotFound => access = Access::Write,
            answer => return answer.map_err(|e| (path.to_owned(), access, e)),
        }
    }
    Ok(())
}

/// Label nodes of INA3221 chips, whose mode tells whether users may read the rails.
fn hidden_rails(nodes: &impl Nodes) -> Vec<PathBuf> {
    let hwmon = Path::new("/sys/class/hwmon");
    let iio = Path::new("/sys/bus/i2c/drivers/ina3221x");
    let below =
        |dir: &Path| nodes.list(dir).unwrap_or_default().into_iter().map(|name| dir.join(name)).collect::<Vec<_>>();
    let mut found: Vec<PathBuf> = below(hwmon).iter().map(|dir| dir.join("in1_label")).collect();
    let devices = below(iio).into_iter().flat_map(|chip| below(&chip));
    found.extend(devices.map(|device| device.join("rail_name_0")));
    found
}
