//! Running the cases on a machine, real or fake.

use std::collections::HashMap;
use std::io;
use std::path::PathBuf;

use jetpace_devfreq::nodes::{LONGEST_NODE, NodeHandle, Nodes};
use nix::errno::Errno;

use crate::parse::{Case, Point, Step};

/// A devfreq device that the cases are run on.
pub trait Machine {
    /// Its nodes.
    type Nodes: Nodes;

    /// The nodes, valid until the next reset.
    fn nodes(&self) -> &Self::Nodes;

    /// Where a node of the devfreq device lies.
    fn path(&self, node: &str) -> PathBuf;

    /// A fresh device: lowest clock, no bounds asked for, governor simple_ondemand, all knobs at 0.
    fn reset(&mut self) -> io::Result<()>;

    /// Sets a knob where a value is given; what it reads.
    fn knob(&mut self, name: &str, value: Option<u64>) -> io::Result<u64>;

    /// Takes the device from its driver.
    fn unbind(&mut self) -> io::Result<()>;

    /// Runs a shell command; the first line of its output. Only kernel-only points ask for it.
    fn shell(&mut self, command: &str) -> io::Result<String>;
}

/// What one case gave.
#[derive(Debug)]
pub struct Outcome<'a> {
    /// Its point.
    pub point: &'a Point,
    /// The case.
    pub case: &'a Case,
    /// The machine's answer.
    pub got: String,
}

impl Outcome<'_> {
    /// Whether the machine answered as the case says.
    pub fn agrees(&self) -> bool {
        self.got == self.case.answer
    }
}

/// Runs the points in order and hands each outcome to `report`.
pub fn run<'a, M: Machine>(
    machine: &mut M,
    points: impl IntoIterator<Item = &'a Point>,
    mut report: impl FnMut(&Outcome<'a>),
) -> io::Result<()> {
    for point in points {
        machine.reset()?;
        let mut kept = HashMap::new();
        for case in &point.cases {
            let got = match answer(machine, &mut kept, &case.step) {
                Ok(text) => text,
                Err(e) => errno_name(&e),
            };
            report(&Outcome { point, case, got });
        }
    }
    Ok(())
}

type Kept<M> = HashMap<String, <<M as Machine>::Nodes as Nodes>::Handle>;

fn answer<M: Machine>(machine: &mut M, kept: &mut Kept<M>, step: &Step) -> io::Result<String> {
    match step {
        Step::Write { node, text } => machine.nodes().write(&machine.path(node), text).map(ok),
        Step::Read { node } => machine.nodes().read(&machine.path(node)).map(|text| text.trim_end().to_owned()),
        Step::Keep { node } => {
            let handle = machine.nodes().open(&machine.path(node))?;
            kept.insert(node.clone(), handle);
            Ok("ok".to_owned())
        }
        Step::KeptWrite { node, text } => of(kept, node)?.write(text.as_bytes()).map(ok),
        Step::KeptRead { node } => {
            let mut buffer = vec![0; LONGEST_NODE as usize];
            let length = of(kept, node)?.read(&mut buffer)?;
            Ok(String::from_utf8_lossy(&buffer[..length]).trim_end().to_owned())
        }
        Step::Knob { name, value } => machine.knob(name, *value).map(|reads| reads.to_string()),
        Step::Unbind => machine.unbind().map(ok),
        Step::Shell { command } => machine.shell(command),
    }
}

fn ok((): ()) -> String {
    "ok".to_owned()
}

fn of<'a, H>(kept: &'a mut HashMap<String, H>, node: &str) -> io::Result<&'a mut H> {
    kept.get_mut(node).ok_or_else(|| io::Error::other(format!("{node} is not kept")))
}

/// `EINVAL` and the like; the error's own words where it carries no errno.
fn errno_name(error: &io::Error) -> String {
    error.raw_os_error().map_or_else(|| error.to_string(), |code| format!("{:?}", Errno::from_raw(code)))
}
