//! `jetpace bench`: what the runtime costs on this machine.

mod clock;
mod compare;
mod daemon;
mod follow;
mod measure;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::failure::Failure;
use crate::files::output::{print_json, print_text};
use clock::FileClock;
use measure::{Figures, Stopwatch};

/// Options of `bench`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// Time what a block boundary costs, beside what people use today
    Switch(Switch),
}

/// Options of `bench switch`.
#[derive(Debug, clap::Args)]
struct Switch {
    /// The node to write, as .../userspace/set_freq; by default a file in memory
    #[arg(long, value_name = "PATH")]
    node: Option<PathBuf>,
    /// Print the JSON document
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Document {
    format: u32,
    timer_overhead_ns: f64,
    #[serde(flatten)]
    operations: BTreeMap<&'static str, Option<Figures>>,
}

impl Args {
    /// Measures and prints.
    pub fn run(self) -> Result<(), Failure> {
        let What::Switch(switch) = self.what;
        switch.run()
    }
}

impl Switch {
    fn run(self) -> Result<(), Failure> {
        // Where locking is not allowed the figures hold all the same, with a longer tail.
        let _ = crate::runtime::sys::lock_all();
        let scratch = Scratch::new(self.node.as_deref())?;
        let node = self.node.as_deref().unwrap_or(&scratch.file);
        let document = measure(node, &scratch.folder).map_err(|e| Failure::file(node, &e))?;
        if self.json {
            return print_json(&document);
        }
        let mut text =
            format!("{:22} {:>10} {:>12} {:>12} {:>12}\n", "operation", "count", "p50 ns", "p99 ns", "p99.9 ns");
        for (name, figures) in &document.operations {
            match figures {
                Some(f) => {
                    let line =
                        format!("{name:22} {:10} {:12.1} {:12.1} {:12.1}\n", f.count, f.p50_ns, f.p99_ns, f.p999_ns);
                    text.push_str(&line);
                }
                None => text.push_str(&format!("{name:22} not measured: what it needs is not here\n")),
            }
        }
        print_text(&text)
    }
}

fn measure(node: &Path, folder: &Path) -> std::io::Result<Document> {
    let watch = Stopwatch::new();
    let values = clock::values(node);
    let clock = || FileClock::open(node, &values);
    let mut operations = BTreeMap::new();
    operations.insert("lookup", Some(follow::lookup(&watch)?));
    operations.insert("block_start_hold", Some(follow::hold(&watch, clock()?)?));
    let (set, bare) = follow::set(&watch, clock()?, &compare::BarePwrite::open(node, &values)?)?;
    operations.insert("block_start_set", Some(set));
    operations.insert("bare_pwrite", Some(bare));
    let (caller, written) = follow::mailbox(&watch, clock()?)?;
    operations.insert("mailbox_caller", Some(caller));
    operations.insert("mailbox_written", Some(written));
    let socket = folder.join("bench.sock");
    operations.insert("daemon_caller_awake", daemon::caller_awake(&watch, clock()?, &socket)?);
    let (caller, written) = daemon::caller_asleep(&watch, clock()?, &socket)?;
    operations.insert("daemon_caller_asleep", Some(caller));
    operations.insert("daemon_written", Some(written));
    operations.insert("futex_wake_bare", Some(daemon::futex_wake_bare(&watch)));
    operations.insert("reopen_write", Some(compare::reopen_write(&watch, node, &values)?));
    operations.insert("shell_echo", compare::shell_echo(node, &values));
    operations.insert("python_write", compare::python_write(node, &values));
    Ok(Document { format: 1, timer_overhead_ns: watch.overhead_ns(), operations })
}

/// A folder for the socket and, without a node, for the file that stands for one; in memory where there is such a place.
struct Scratch {
    folder: PathBuf,
    file: PathBuf,
}

impl Scratch {
    fn new(node: Option<&Path>) -> Result<Self, Failure> {
        let shm = Path::new("/dev/shm");
        let base = if shm.is_dir() { shm.to_path_buf() } else { std::env::temp_dir() };
        let folder = base.join(format!("jetpace-bench-{}", std::process::id()));
        fs::create_dir(&folder).map_err(|e| Failure::file(&folder, &e))?;
        let scratch = Self { file: folder.join("set_freq"), folder };
        if node.is_none() {
            fs::write(&scratch.file, "306000000\n").map_err(|e| Failure::file(&scratch.file, &e))?;
        }
        Ok(scratch)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // In memory and small; a left one is gone with the next boot.
        let _ = fs::remove_dir_all(&self.folder);
    }
}
