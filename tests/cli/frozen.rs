//! Samples of released versions (`tests/frozen`): what went over the daemon's socket is understood as it was meant, and
//! what a later program prints of it is what it printed then.

use std::fs;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use jetpace::runtime::map::Mapping;
use jetpace::runtime::page::{Event, Figures, Page, Reader, State, What};
use jetpace::runtime::wire::{self, Request};
use jetpace_tables::table::image;
use jetpace_tables::units::{Hertz, Nanos};
use jetpace_tables::work::{BlockId, Size};
use nix::fcntl::{FcntlArg, SealFlag, fcntl};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::socket::{
    AddressFamily, Backlog, MsgFlags, SockFlag, SockType, UnixAddr, accept, bind, listen, recv, send, socket,
    socketpair,
};
use serde_json::Value;

fn place(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/frozen/0.1").join(name)
}

fn sample(name: &str) -> Vec<u8> {
    fs::read(place(name)).unwrap()
}

/// Two ends; what is sent into the first comes out of the second.
fn pair() -> (OwnedFd, OwnedFd) {
    socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC).unwrap()
}

#[test]
fn requests_are_understood() {
    let trace = Request::Trace { client: 0, from: 0 };
    for (name, meant) in [
        ("open-own.bin", Request::Open(Vec::new())),
        ("open-table.bin", Request::Open(sample("table.jpt"))),
        ("status-request.bin", Request::Status),
        ("trace-request.bin", trace),
    ] {
        let (client, daemon) = pair();
        send(client.as_raw_fd(), &sample(name), MsgFlags::empty()).unwrap();
        let mut buffer = vec![0; wire::LONGEST];
        assert_eq!(wire::next_request(&daemon, &mut buffer).unwrap(), Some(meant), "{name}");
    }
}

/// What a client makes of a daemon's answer.
fn reply(name: &str) -> wire::Reply {
    let (daemon, client) = pair();
    send(daemon.as_raw_fd(), &sample(name), MsgFlags::empty()).unwrap();
    wire::reply(&client).unwrap()
}

#[test]
fn replies_are_understood() {
    let opened = reply("open-reply.bin");
    assert_eq!((opened.errno, opened.payload), (0, sample("table.jpt")));
    assert_eq!(image::decode(&sample("table.jpt")).unwrap().network(), "alexnet");

    let status: Value = serde_json::from_slice(&reply("status-reply.bin").payload).unwrap();
    let client = &status["clients"][0];
    assert_eq!((&status["format"], &status["writes"], &status["cap_hz"]), (&1.into(), &8.into(), &624_750_000.into()));
    assert_eq!((&client["network"], &client["state"]), (&"alexnet".into(), &"handed back".into()));
    assert_eq!((&client["frames"], &client["missed"], &client["blocks"]), (&2.into(), &2.into(), &15.into()));
    assert_eq!(client["faults"]["block out of order"], 1);
}

/// The page as it was when its client ended.
fn page() -> Mapping<Page> {
    let text = String::from_utf8(sample("page.txt")).unwrap();
    let mut bytes = vec![0; 16_768];
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let (at, word) = line.split_once(' ').unwrap();
        let at: usize = at.parse().unwrap();
        bytes[at..at + 8].copy_from_slice(&word.parse::<u64>().unwrap().to_le_bytes());
    }
    let fd = memfd_create(c"frozen", MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING).unwrap();
    fs::write(format!("/proc/self/fd/{}", fd.as_raw_fd()), bytes).unwrap();
    fcntl(&fd, FcntlArg::F_ADD_SEALS(SealFlag::F_SEAL_SHRINK | SealFlag::F_SEAL_GROW)).unwrap();
    Mapping::open(&fd).unwrap()
}

#[test]
fn a_page_is_read() {
    let page = page();
    let mut reader = Reader::default();
    let events: Vec<Event> = std::iter::from_fn(|| reader.next(&page).unwrap()).collect();
    assert_eq!(events.len(), 19);
    assert_eq!(events[0], Event { at: Nanos::new(3_746_874_304_763), what: What::FrameStart });
    assert_eq!(events[2].what, What::BlockStart(BlockId(1), Size(1)));
    assert_eq!(events[9].what, What::FrameEnd);
    let second = [0, 2, 3, 4, 5, 6, 7].map(|block| What::BlockStart(BlockId(block), Size(256)));
    assert!(events[11..18].iter().map(|event| event.what).eq(second), "{events:?}");
    assert_eq!(events[18], Event { at: Nanos::new(3_746_918_204_993), what: What::FrameEnd });

    let clock = Hertz::new(306_000_000);
    let figures = Figures { clock, frames: 2, missed: 2, switches: 2, faults: 3, shared: 0, state: 2, taken: 19 };
    assert_eq!((page.figures(), page.state(), page.lost()), (figures, State::Served, 0));
}

/// What `jetpace trace` prints where a daemon answers with the sample.
fn trace(options: &[&str]) -> String {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("daemon.sock");
    let daemon = socket(AddressFamily::Unix, SockType::SeqPacket, SockFlag::SOCK_CLOEXEC, None).unwrap();
    bind(daemon.as_raw_fd(), &UnixAddr::new(&path).unwrap()).unwrap();
    listen(&daemon, Backlog::new(1).unwrap()).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_jetpace"));
    let asking = command.args(["trace", "--socket"]).arg(&path).args(options).stdout(Stdio::piped()).spawn().unwrap();
    let client = accept(daemon.as_raw_fd()).unwrap();
    let mut request = [0; 64];
    let length = recv(client, &mut request, MsgFlags::empty()).unwrap();
    assert_eq!(request[..length], sample("trace-request.bin"), "it asks as ever");
    send(client, &sample("trace-reply.bin"), MsgFlags::empty()).unwrap();
    let output = asking.wait_with_output().unwrap();
    nix::unistd::close(client).unwrap();
    assert!(output.status.success());
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn a_trace_prints_as_it_did() {
    assert_eq!(trace(&[]), String::from_utf8(sample("trace.txt")).unwrap());
    let events = |text: &str| text.lines().map(|line| serde_json::from_str(line).unwrap()).collect::<Vec<Value>>();
    assert_eq!(events(&trace(&["--json"])), events(&String::from_utf8(sample("trace.jsonl")).unwrap()));
}

/// A table and a sweep of then were made for a board that later versions know by another digest.
#[test]
fn the_board_is_still_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let fitted = folder.path().join("model.json");
    let jetpace = |args: &[&Path]| {
        let output = Command::new(env!("CARGO_BIN_EXE_jetpace")).args(args).output().unwrap();
        assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    };
    let [run, frames, table, fit, plan, on, o, deadline] =
        ["run", "--frames=3", "--table", "fit", "plan", "--board=sim:orin-nano", "-o", "--deadline=60ms"]
            .map(Path::new);
    jetpace(&[run, on, frames, table, &place("table.jpt")]);
    jetpace(&[fit, &place("sweep.csv"), o, &fitted]);
    jetpace(&[plan, &fitted, on, deadline]);
}
