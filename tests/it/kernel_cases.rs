//! The fake answers as the kernel does: the cases of `tests/kernel/cases.txt`, which `./ci.sh kernel` runs on a real
//! one.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use jetpace_devfreq::sim::tree::Tree;
use jetpace_kernel_cases::{CASES, Machine, parse, run};
use jetpace_tables::units::Hertz;
use tempfile::TempDir;

const GPU: &str = "/sys/class/devfreq/17000000.gpu";

/// The guest's GPU as a recorded board: what its nodes hold on a fresh device.
fn recorded() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let gpu = folder.path().join(GPU.trim_start_matches('/'));
    fs::create_dir_all(gpu.join("device")).unwrap();
    fs::write(folder.path().join("kernel"), "6.1\n").unwrap();
    for (node, text) in [
        ("available_frequencies", "306000000 408000000 510000000 612000000 624750000"),
        ("available_governors", "powersave performance userspace simple_ondemand"),
        ("governor", "simple_ondemand"),
        ("cur_freq", "306000000"),
        ("target_freq", "306000000"),
        ("min_freq", "306000000"),
        ("max_freq", "624750000"),
        ("device/modalias", "of:Ngpu"),
    ] {
        fs::write(gpu.join(node), text).unwrap();
    }
    folder
}

struct Fake {
    recorded: TempDir,
    tree: Tree,
}

impl Fake {
    fn new() -> Self {
        let recorded = recorded();
        let tree = Tree::load(recorded.path()).unwrap();
        Self { recorded, tree }
    }
}

impl Machine for Fake {
    type Nodes = Tree;

    fn nodes(&self) -> &Tree {
        &self.tree
    }

    fn path(&self, node: &str) -> PathBuf {
        Path::new(GPU).join(node)
    }

    fn reset(&mut self) -> io::Result<()> {
        self.tree = Tree::load(self.recorded.path()).map_err(io::Error::other)?;
        Ok(())
    }

    fn knob(&mut self, name: &str, value: Option<u64>) -> io::Result<u64> {
        let given = value.unwrap_or_default();
        let mut counted = 0;
        self.tree.outside(|outside| {
            outside.gpu(|rules| match name {
                "fail_errno" => rules.set_failing((given != 0).then_some(given as i32)),
                "cap_hz" => rules.set_hidden_cap((given != 0).then_some(Hertz::new(given))),
                "transitions" => counted = rules.take_transitions(),
                other => panic!("the fake has no knob {other}"),
            });
        });
        Ok(if name == "transitions" && value.is_none() { counted } else { given })
    }

    fn unbind(&mut self) -> io::Result<()> {
        self.tree.outside(|outside| outside.unbind());
        Ok(())
    }

    fn shell(&mut self, _: &str) -> io::Result<String> {
        Err(io::Error::other("the fake has no shell"))
    }
}

#[test]
fn the_fake_answers_as_the_kernel_does() {
    let points = parse(CASES).unwrap();
    let mut differ = Vec::new();
    let mut cases = 0;
    let common = points.iter().filter(|point| !point.kernel_only);
    run(&mut Fake::new(), common, |outcome| {
        cases += 1;
        if !outcome.agrees() {
            let (point, case) = (outcome.point, outcome.case);
            differ.push(format!(
                "cases.txt:{} ({}): {} -> {}, the kernel says {}",
                case.line, point.title, case.text, outcome.got, case.answer
            ));
        }
    })
    .unwrap();
    assert!(differ.is_empty(), "{} of {cases} cases differ:\n{}", differ.len(), differ.join("\n"));
    assert!(cases > 200, "only {cases} cases were run");
}
