//! The guest's GPU: the test module's device on the real devfreq core.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use jetpace_devfreq::nodes::{Nodes, SysfsRoot};
use jetpace_kernel_cases::Machine;

const GPU: &str = "/sys/class/devfreq/17000000.gpu";
const DRIVER: &str = "/sys/bus/platform/drivers/jetpace_testgpu";
const PARAMETERS: &str = "/sys/module/jetpace_testgpu/parameters";

/// The machine that this process runs on.
pub struct Guest {
    nodes: SysfsRoot,
}

impl Guest {
    /// Touches nothing yet.
    pub fn new() -> Self {
        Self { nodes: SysfsRoot::new("/") }
    }
}

impl Machine for Guest {
    type Nodes = SysfsRoot;

    fn nodes(&self) -> &SysfsRoot {
        &self.nodes
    }

    fn path(&self, node: &str) -> PathBuf {
        Path::new(GPU).join(node)
    }

    fn reset(&mut self) -> io::Result<()> {
        for name in ["fail_errno", "cap_hz", "busy_pct", "delay_us", "transitions"] {
            self.knob(name, Some(0))?;
        }
        if Path::new(GPU).exists() {
            self.unbind()?;
        }
        fs::write(Path::new(DRIVER).join("bind"), "17000000.gpu")
    }

    fn knob(&mut self, name: &str, value: Option<u64>) -> io::Result<u64> {
        let path = Path::new(PARAMETERS).join(name);
        if let Some(value) = value {
            self.nodes.write(&path, &value.to_string())?;
        }
        let text = self.nodes.read(&path)?;
        text.trim().parse().map_err(|_| io::Error::other(format!("{name} reads {text:?}")))
    }

    fn unbind(&mut self) -> io::Result<()> {
        fs::write(Path::new(DRIVER).join("unbind"), "17000000.gpu")
    }

    fn shell(&mut self, command: &str) -> io::Result<String> {
        let output = Command::new("/bin/sh").args(["-c", command]).env("gpu", GPU).output()?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        Ok(text.lines().next().unwrap_or_default().trim_end().to_owned())
    }
}
