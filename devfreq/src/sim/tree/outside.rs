//! What acts on a [`Tree`](super::Tree) beside the agent.

use std::io;
use std::path::Path;

use jetpace_tables::units::Hertz;

use super::{Devfreq, Inner};

/// Another program, or the machine itself, acting on the tree.
pub struct Outside<'a>(pub(super) &'a mut Inner);

impl Outside<'_> {
    /// Writes a node as some other program; logged, never failing by fault.
    pub fn write(&mut self, who: &'static str, path: &Path, text: &str) -> io::Result<()> {
        let path = self.0.files.resolve(path)?;
        self.0.write(who, &path, text)
    }

    /// Replaces a file that is no node, such as nvpmodel's own.
    pub fn put(&mut self, path: &str, text: &str) {
        self.0.files.put(Path::new(path), text);
    }

    /// Reads a node.
    pub fn read(&self, path: &Path) -> io::Result<String> {
        self.0.files.resolve(path).and_then(|path| self.0.read(&path))
    }

    /// A cooling device takes the GPU's bound down, or lets go.
    pub fn throttle(&mut self, max: Option<Hertz>) {
        let cooling = Path::new("/sys/class/thermal/cooling_device0/cur_state");
        self.0.files.put(cooling, if max.is_some() { "1\n" } else { "0\n" });
        self.gpu(|rules| rules.set_thermal_max(max));
    }

    /// The GPU falls asleep when it has nothing to do.
    pub fn let_sleep(&mut self) {
        if let Some(device) = self.0.devices.first_mut() {
            device.sleeps = true;
            device.rules.set_suspended(true);
        }
    }

    /// Works on the rules of the GPU's device.
    pub fn gpu(&mut self, work: impl FnOnce(&mut Devfreq)) {
        if let Some(device) = self.0.devices.first_mut() {
            work(&mut device.rules);
        }
    }

    /// The GPU's driver is unbound: its nodes are gone.
    pub fn unbind(&mut self) {
        if let Some(device) = self.0.devices.first_mut() {
            (device.bound, device.binding) = (false, device.binding + 1);
        }
    }

    /// It is bound again: another device of the same name, as new.
    pub fn bind(&mut self) {
        if let Some(device) = self.0.devices.first_mut() {
            (device.bound, device.binding) = (true, device.binding + 1);
            device.rules = device.fresh.clone();
        }
    }
}
