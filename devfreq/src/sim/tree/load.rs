//! Reading a recorded board's folder.

use std::fs;
use std::path::{Path, PathBuf};

use jetpace_tables::units::{Hertz, Nanos};

use super::files::{Files, Node};
use super::{Device, Inner, kernel_of};
use crate::error::Error;
use crate::sim::rules::{Devfreq, Kernel};
use crate::text::parse_hertz;

pub(super) fn load(folder: &Path) -> Result<Inner, Error> {
    let wrong = |what: String| Error::Board { board: folder.display().to_string(), what };
    let kernel = fs::read_to_string(folder.join("kernel")).map_err(|e| wrong(format!("kernel: {e}")))?;
    let kernel = kernel_of(kernel.trim()).ok_or_else(|| wrong(format!("no rules for kernel {}", kernel.trim())))?;
    let mut files = Files::default();
    for top in ["sys", "proc", "etc", "var", "run"] {
        walk(folder, Path::new(top), &mut files).map_err(|e| wrong(format!("{top}: {e}")))?;
    }
    for line in fs::read_to_string(folder.join("modes")).unwrap_or_default().lines() {
        let mode = line.split_once(' ').and_then(|(mode, path)| Some((u32::from_str_radix(mode, 8).ok()?, path)));
        let (mode, path) = mode.ok_or_else(|| wrong(format!("modes: {line:?}")))?;
        files.set_mode(Path::new(path), mode);
    }
    let devices = devices(&files, kernel);
    Ok(Inner {
        files,
        devices,
        log: Vec::new(),
        due: Vec::new(),
        writes: 0,
        faults: None,
        life: 0,
        locked_by: None,
        written: crate::guard::Written::memory(),
        dies_at: None,
        operations: 0,
        now: Nanos::ZERO,
    })
}

fn walk(root: &Path, relative: &Path, files: &mut Files) -> std::io::Result<()> {
    let place = root.join(relative);
    let Ok(kind) = fs::symlink_metadata(&place).map(|meta| meta.file_type()) else { return Ok(()) };
    let path = Path::new("/").join(relative);
    if kind.is_symlink() {
        let to = fs::read_link(&place)?;
        // Relative to the link's own folder; the links of recorded boards stay inside.
        files.insert(path.clone(), Node::Link(path.parent().unwrap_or(&path).join(to)));
    } else if kind.is_dir() {
        for entry in fs::read_dir(&place)? {
            walk(root, &relative.join(entry?.file_name()), files)?;
        }
    } else {
        let text = String::from_utf8_lossy(&fs::read(&place)?).into_owned();
        files.insert(path, Node::File { text, mode: 0o644 });
    }
    Ok(())
}

/// Every devfreq device of a GPU gets the kernel's rules; the GPU that is set comes first.
fn devices(files: &Files, kernel: Kernel) -> Vec<Device> {
    let class = Path::new("/sys/class/devfreq");
    let names = files.list(class).unwrap_or_default();
    let mut devices: Vec<Device> = names
        .iter()
        .filter(|name| *name != "bwmgr")
        .filter_map(|name| device(files, kernel, &class.join(name)))
        .collect();
    devices.sort_by_key(|device| !device.devfreq.ends_with("gpu-gpc-0"));
    devices
}

fn device(files: &Files, kernel: Kernel, link: &Path) -> Option<Device> {
    let devfreq = files.resolve(link).ok()?;
    let device: PathBuf = files.resolve(&devfreq.join("device")).ok()?;
    let text = |file: &str| files.read(&devfreq.join(file)).ok();
    let table: Option<Vec<Hertz>> = text("available_frequencies")?.split_ascii_whitespace().map(parse_hertz).collect();
    let table = table.filter(|table| !table.is_empty())?;
    let governors = text("available_governors")?;
    let governors: Vec<&str> = governors.split_ascii_whitespace().collect();
    let governor = text("governor")?;
    let bound = |file: &str| text(file).and_then(|text| parse_hertz(&text));
    let rules = Devfreq::new(kernel, &table, &governors, governor.trim());
    let rules = rules.with_bounds(bound("min_freq")?, bound("max_freq")?);
    Some(Device { devfreq, device, fresh: rules.clone(), rules, sleeps: false, binding: 0, bound: true })
}
