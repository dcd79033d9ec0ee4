//! Which permission the agent's work takes on this machine, and how to grant it.

use std::fmt;
use std::path::{Path, PathBuf};

use crate::board::Board;
use crate::nodes::Nodes;
use serde::Serialize;

/// Something that the agent may want to do.
#[derive(Debug, Serialize)]
pub struct Need {
    /// What it is for, and the node.
    what: String,
    /// Who may do it now.
    permission: String,
    /// How to grant it.
    remedy: String,
}

impl fmt::Display for Need {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}; {}", self.what, self.permission, self.remedy)
    }
}

const OTHERS_WRITE: u32 = 0o002;
const OTHERS_READ: u32 = 0o004;

/// What takes more than an ordinary user's rights.
pub fn needs(nodes: &impl Nodes, board: &Board) -> Vec<Need> {
    let gpu = &board.gpu;
    let mut needs = Vec::new();
    let mut ask = |what: &str, path: PathBuf, bit: u32, remedy: &str| {
        if let Some(mode) = nodes.mode(&path).ok().filter(|mode| mode & bit == 0) {
            let verb = if bit == OTHERS_READ { "read" } else { "written" };
            needs.push(Need {
                what: format!("{what} ({})", path.display()),
                permission: format!("{verb} by root alone, mode {:04o}", mode & 0o7777),
                remedy: remedy.to_owned(),
            });
        }
    };
    let group = "run as root, or let a udev rule give these nodes to a group (chgrp and chmod g+w, again after a change of governor)";
    for node in ["governor", "min_freq", "max_freq"] {
        ask("fixing the GPU's clock", gpu.node(node), OTHERS_WRITE, group);
    }
    let root = "run as root: debugfs cannot be given to a group";
    if let Some(emc) = &board.emc {
        let locked = ["mrq_rate_locked", "clk_update_rate"].iter().map(|node| emc.dir.join(node));
        locked.for_each(|path| ask("locking the EMC clock", path, OTHERS_WRITE, root));
    }
    for entry in hidden_rails(nodes) {
        ask("reading power rails", entry, OTHERS_READ, "run as root, or chmod a+r the rail's nodes from a udev rule");
    }
    needs
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
