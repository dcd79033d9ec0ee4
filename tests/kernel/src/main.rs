//! Runs the cases inside the guest of `./ci.sh kernel`, on the real devfreq core and the test module. One line per
//! case; exit code 1 where the kernel answers otherwise.

use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use jetpace_devfreq::nodes::{Nodes, SysfsRoot};
use jetpace_kernel_cases::{CASES, Machine, parse, run};

const GPU: &str = "/sys/class/devfreq/17000000.gpu";
const DRIVER: &str = "/sys/bus/platform/drivers/jetpace_testgpu";
const PARAMETERS: &str = "/sys/module/jetpace_testgpu/parameters";

struct Guest {
    nodes: SysfsRoot,
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
        std::fs::write(Path::new(DRIVER).join("bind"), "17000000.gpu")
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
        std::fs::write(Path::new(DRIVER).join("unbind"), "17000000.gpu")
    }

    fn shell(&mut self, command: &str) -> io::Result<String> {
        let output = Command::new("/bin/sh").args(["-c", command]).env("gpu", GPU).output()?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        Ok(text.lines().next().unwrap_or_default().trim_end().to_owned())
    }
}

fn main() -> ExitCode {
    match cases() {
        Ok(0) => ExitCode::SUCCESS,
        Ok(differ) => {
            println!("{differ} cases differ");
            ExitCode::FAILURE
        }
        Err(e) => {
            println!("cases: {e}");
            ExitCode::FAILURE
        }
    }
}

/// How many cases the kernel answers otherwise.
fn cases() -> io::Result<usize> {
    let points = parse(CASES).map_err(io::Error::other)?;
    let mut differ = 0;
    let mut title = "";
    run(&mut Guest { nodes: SysfsRoot::new("/") }, &points, |outcome| {
        if title != outcome.point.title {
            title = &outcome.point.title;
            println!("point {title}");
        }
        let case = outcome.case;
        if outcome.agrees() {
            println!("  ok      {} -> {}", case.text, outcome.got);
        } else {
            differ += 1;
            println!("  DIFFERS {} -> {}; cases.txt:{} says {}", case.text, outcome.got, case.line, case.answer);
        }
    })?;
    println!("{} points, {} cases", points.len(), points.iter().map(|point| point.cases.len()).sum::<usize>());
    Ok(differ)
}
