//! Names and numbers of a module, from the device tree and L4T's own files.

use std::path::Path;

use crate::nodes::Nodes;
use crate::text;

/// Who a machine is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Identity {
    /// The device tree's model.
    pub model: Option<String>,
    /// The module's part number, as `p3767-0005`.
    pub part: Option<String>,
    /// The chip, as `tegra234`.
    pub soc: Option<String>,
    /// The L4T release, as `R36.4.3`.
    pub l4t: Option<String>,
    /// Whether the device tree calls the module Super.
    pub is_super: bool,
}

impl Identity {
    pub(super) fn read<N: Nodes>(nodes: &N, missing: &mut Vec<String>) -> Self {
        let tree = Path::new("/proc/device-tree");
        let compatible = text::nul_list(nodes, &tree.join("compatible"));
        let identity = Self {
            model: text::word_if_there(nodes, &tree.join("model")),
            part: compatible.iter().find_map(|entry| module_part(entry)),
            soc: compatible.iter().find_map(|entry| chip(entry)),
            l4t: release(nodes),
            is_super: compatible.iter().any(|entry| entry.ends_with("-super")),
        };
        let lacks = [
            ("model: no /proc/device-tree/model", identity.model.is_none()),
            ("module part number: /proc/device-tree/compatible names none", identity.part.is_none()),
            (no_release(nodes), identity.l4t.is_none()),
        ];
        missing.extend(lacks.into_iter().filter(|(_, lacks)| *lacks).map(|(what, _)| what.to_owned()));
        identity
    }

    /// The GPU's compute capability as CUDA names it, where the chip is known.
    pub fn compute(&self) -> Option<&'static str> {
        Some(match self.soc.as_deref()? {
            "tegra210" => "sm_53",
            "tegra186" => "sm_62",
            "tegra194" => "sm_72",
            "tegra234" => "sm_87",
            "tegra264" => "sm_110",
            _ => return None,
        })
    }
}

/// `nvidia,p3768-0000+p3767-0005-super` is carrier + module; the module alone stands as `nvidia,p3767-0005`.
fn module_part(entry: &str) -> Option<String> {
    let name = entry.strip_prefix("nvidia,")?;
    let module = match name.split_once('+') {
        Some((_, module)) => module,
        None => name,
    };
    let part = module.get(..10)?;
    let shaped = part.bytes().enumerate().all(|(at, byte)| match at {
        0 => byte == b'p',
        5 => byte == b'-',
        _ => byte.is_ascii_digit(),
    });
    // Carrier boards carry the same kind of number; only modules are wanted where it stands alone.
    const MODULES: [&str; 9] = ["p2180", "p2888", "p3310", "p3448", "p3489", "p3636", "p3668", "p3701", "p3767"];
    let module = name.contains('+') || MODULES.contains(&part.get(..5)?) || part.starts_with("p3834");
    (shaped && module).then(|| part.to_owned())
}

fn chip(entry: &str) -> Option<String> {
    let name = entry.strip_prefix("nvidia,")?;
    let digits = name.strip_prefix("tegra")?;
    (digits.len() == 3 && digits.bytes().all(|b| b.is_ascii_digit())).then(|| name.to_owned())
}

const RELEASE: &str = "/etc/nv_tegra_release";

fn no_release<N: Nodes>(nodes: &N) -> &'static str {
    match nodes.read(Path::new(RELEASE)) {
        Ok(_) => "L4T release: /etc/nv_tegra_release names none (its line begins \"# R36 (release), REVISION: 4.3\")",
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => "L4T release: no /etc/nv_tegra_release",
        Err(_) => "L4T release: /etc/nv_tegra_release cannot be read",
    }
}

/// `# R36 (release), REVISION: 4.3, ...` is R36.4.3.
fn release<N: Nodes>(nodes: &N) -> Option<String> {
    let line = text::word_if_there(nodes, Path::new(RELEASE))?;
    let line = line.lines().find(|line| line.trim_start().starts_with('#'))?.trim_start();
    let major = line.strip_prefix("# R")?.split(' ').next()?;
    let minor = line.split("REVISION: ").nth(1)?.split(',').next()?;
    let plain = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    (plain(major) && plain(minor)).then(|| format!("R{major}.{minor}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_the_modules_and_not_the_carriers() {
        for (entry, part) in [
            ("nvidia,p3768-0000+p3767-0005-super", Some("p3767-0005")),
            ("nvidia,p3737-0000+p3701-0004", Some("p3701-0004")),
            ("nvidia,p3449-0000-b00+p3448-0000-b00", Some("p3448-0000")),
            ("nvidia,p3767-0000", Some("p3767-0000")),
            ("nvidia,p2972-0000", None),
            ("nvidia,jetson-nano", None),
            ("nvidia,tegra234", None),
            ("nvidia,x+", None),
        ] {
            assert_eq!(module_part(entry).as_deref(), part, "{entry}");
        }
        assert_eq!(chip("nvidia,tegra23x"), None);
        assert_eq!(chip("nvidia,tegra264").as_deref(), Some("tegra264"));
    }
}
