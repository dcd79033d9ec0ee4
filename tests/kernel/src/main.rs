//! What runs inside the guest of `./ci.sh kernel` beside the agent. Exit code 1 where the kernel answers otherwise.
//!
//! - `jetpace-kernel-cases`: the cases, on the real devfreq core and the test module, one line each.
//! - `jetpace-kernel-cases orders WAY`: every clock after every other by one way of fixing the clock.
//! - `jetpace-kernel-cases rails`: every rail as the agent reads it.
//! - `jetpace-kernel-cases panic WAY`: takes the clock as `jetpace hold` does, says which, and panics when its input ends.
//! - `jetpace-kernel-cases confined`: holds a clock, gives up what the agent does, and tries what is forbidden, one line each.
//! - `jetpace-kernel-cases bench NODE`: `jetpace bench switch`, which the static release leaves out.

mod guest;

use std::error::Error;
use std::io;
use std::path::Path;
use std::process::ExitCode;

use clap::Parser;
use jetpace::commands;
use jetpace::confine::{self, Needs};
use jetpace_devfreq::board::Board;
use jetpace_devfreq::gpu::{GpuNode, Way};
use jetpace_devfreq::guard::{self, Guard};
use jetpace_devfreq::nodes::{Nodes, SysfsRoot};
use jetpace_devfreq::rails::{self, Rails};
use jetpace_devfreq::timer::Monotonic;
use jetpace_kernel_cases::{CASES, parse, run};
use jetpace_tables::hw::{GpuClock, PowerRails, RailSample};
use jetpace_tables::work::ClockIndex;

const USAGE: &str = "usage: jetpace-kernel-cases [orders WAY | rails | panic WAY | bench NODE | confined]";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let done = match arguments[..] {
        [] => cases(),
        ["orders", way] => orders(way),
        ["rails"] => print_rails(),
        ["panic", way] => panic(way),
        ["bench", node] => bench(node),
        ["confined"] => confined(),
        _ => Err(io::Error::other(USAGE).into()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            println!("{e}");
            ExitCode::FAILURE
        }
    }
}

fn cases() -> Result<(), Box<dyn Error>> {
    let points = parse(CASES)?;
    let (mut count, mut differ) = (0, 0);
    let mut title = "";
    run(&mut guest::Guest::new(), &points, |outcome| {
        if title != outcome.point.title {
            title = &outcome.point.title;
            println!("point {title}");
        }
        let case = outcome.case;
        count += 1;
        if outcome.agrees() {
            println!("  ok      {} -> {}", case.text, outcome.got);
        } else {
            differ += 1;
            println!("  DIFFERS {} -> {}; cases.txt:{} says {}", case.text, outcome.got, case.line, case.answer);
        }
    })?;
    println!("{} points, {count} cases, {differ} differ", points.len());
    if differ == 0 { Ok(()) } else { Err("the kernel is not what cases.txt says".into()) }
}

/// After every write the clock that runs is the one that was asked for, and the bounds enclose it.
fn orders(way: &str) -> Result<(), Box<dyn Error>> {
    let nodes = SysfsRoot::new("/");
    let board = Board::discover(&nodes)?;
    let (guard, _) = Guard::take(nodes.clone())?;
    let mut gpu = GpuNode::open(nodes.clone(), Monotonic::new(), &board, &guard, Some(way.parse::<Way>()?))?;
    let clocks = gpu.clocks().to_vec();
    let mut changes = 0;
    for from in 0..clocks.len() {
        for to in 0..clocks.len() {
            gpu.pin(ClockIndex(from as u8))?;
            gpu.set(ClockIndex(to as u8))?;
            let read = |node: &str| nodes.read(&board.gpu.node(node)).map(|text| text.trim().to_owned());
            let (runs, min, max) = (read("cur_freq")?, read("min_freq")?, read("max_freq")?);
            let wanted = clocks[to].get();
            if runs != wanted.to_string() || min.parse::<u64>()? > wanted || max.parse::<u64>()? < wanted {
                return Err(format!("{} -> {wanted}: runs {runs} in {min}..{max}", clocks[from].get()).into());
            }
            changes += 1;
        }
    }
    gpu.release()?;
    guard.restore()?;
    println!("{changes} changes by {way}");
    Ok(())
}

/// With the hook that every command of the agent sets, in a binary of the same profile: nothing is dropped on the way out.
fn panic(way: &str) -> Result<(), Box<dyn Error>> {
    let nodes = SysfsRoot::new("/");
    guard::restore_on_panic(nodes.clone());
    let board = Board::discover(&nodes)?;
    let (guard, _) = Guard::take(nodes.clone())?;
    let mut gpu = GpuNode::open(nodes, Monotonic::new(), &board, &guard, Some(way.parse::<Way>()?))?;
    println!("{}", gpu.pin(ClockIndex(2))?.get());
    io::stdin().read_line(&mut String::new())?;
    panic!("on purpose");
}

/// What is left to do, and what no longer can be done: as root, with the clock held.
fn confined() -> Result<(), Box<dyn Error>> {
    let nodes = SysfsRoot::new("/");
    let board = Board::discover(&nodes)?;
    let (guard, _) = Guard::take(nodes.clone())?;
    let mut gpu = GpuNode::open(nodes.clone(), Monotonic::new(), &board, &guard, None)?;
    gpu.pin(ClockIndex(1))?;
    confine::apply(&Needs::of_board(Path::new("/"), &board));
    let say = |what: &str, came: io::Result<()>| match came {
        Ok(()) => println!("{what}: done"),
        Err(e) => println!("{what}: {}", e.raw_os_error().unwrap_or(-1)),
    };
    let write = |path: &str, text: &str| {
        io::Write::write_all(&mut std::fs::File::options().write(true).open(path)?, text.as_bytes())
    };
    say("another clock", gpu.pin(ClockIndex(2)).map(drop).map_err(io::Error::other));
    say("another node of /sys", write("/sys/kernel/mm/ksm/sleep_millisecs", "20"));
    say("a node of /proc", write("/proc/sys/kernel/hostname", "x"));
    say("a file", std::fs::write("/etc/evil", "x"));
    say("a file in /tmp", std::fs::write("/tmp/evil", "x"));
    say("a folder in the agent's own", std::fs::create_dir("/run/jetpace/evil"));
    say("a program", std::process::Command::new("/bin/true").status().map(drop));
    say("a socket of the network", std::net::UdpSocket::bind("127.0.0.1:0").map(drop));
    say(
        "a mount",
        nix::mount::mount(Some("x"), "/mnt", Some("tmpfs"), nix::mount::MsFlags::empty(), None::<&str>)
            .map_err(Into::into),
    );
    say("another user", nix::unistd::setuid(nix::unistd::Uid::from_raw(1)).map_err(Into::into));
    gpu.release()?;
    guard.restore()?;
    println!("put back");
    Ok(())
}

/// The agent's `bench`, which its static release is without.
#[derive(clap::Parser)]
struct Bench {
    #[command(flatten)]
    args: commands::bench::Args,
}

fn bench(node: &str) -> Result<(), Box<dyn Error>> {
    Bench::try_parse_from(["bench", "switch", "--node", node])?.args.run().map_err(Into::into)
}

fn print_rails() -> Result<(), Box<dyn Error>> {
    let nodes = SysfsRoot::new("/");
    let (found, _) = rails::find(&nodes, None, &mut Vec::new());
    let mut samples = vec![RailSample::default(); found.len()];
    let mut rails = Rails::new(nodes, Monotonic::new(), found);
    rails.sample(&mut samples)?;
    for (rail, sample) in rails.list().iter().zip(&samples) {
        println!("{} {} {} {}", rail.name, sample.voltage.get(), sample.current.get(), sample.power.get());
    }
    Ok(())
}
