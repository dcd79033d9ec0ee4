//! A client as another process: this test program, called once more with a socket to speak to.

use std::env;
use std::io::Read as _;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use jetpace::runtime::daemon::MAX_CLIENTS;
use jetpace::runtime::page::What;
use jetpace::runtime::remote::{Remote, dial};
use jetpace_tables::work::{BlockId, Size};

const SOCKET: &str = "JETPACE_TEST_SOCKET";
const WAITS: &str = "JETPACE_TEST_WAITS";

/// Frames that a client runs.
pub const FRAMES: u64 = 20;

/// Not a test by itself: the client's side of the others.
#[test]
fn client() {
    let Some(socket) = env::var_os(SOCKET) else { return };
    let mut remote = match Remote::open(Path::new(&socket), &[]) {
        Ok(remote) => remote,
        Err(e) => {
            println!("client: refused: {e}");
            return;
        }
    };
    let blocks = remote.table().blocks() as u16;
    for _ in 0..FRAMES {
        remote.tell(What::FrameStart).unwrap();
        for block in 0..blocks {
            remote.tell(What::BlockStart(BlockId(block), Size(1))).unwrap();
        }
        remote.tell(What::FrameEnd).unwrap();
    }
    println!("client: {} frames, {} faults", remote.figures().frames, remote.figures().faults);
    if env::var_os(WAITS).is_some() {
        // To the end of its input.
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
    }
}

/// The client's command line, for one that stays connected until its input ends.
pub fn waiting<'a>(command: &'a mut Command, socket: &Path) -> &'a mut Command {
    command.args(["--exact", "service::client::client", "--nocapture"]).env(SOCKET, socket).env(WAITS, "1")
}

const FLOOD: &str = "JETPACE_TEST_FLOOD";

/// Not a test by itself: a user that takes what it can get, and says how many clients it got.
#[test]
fn flood() {
    let Some(socket) = env::var_os(FLOOD) else { return };
    let socket = Path::new(&socket);
    let silent: Vec<_> = (0..40).filter_map(|_| dial(socket).ok()).collect();
    let served: Vec<_> = (0..MAX_CLIENTS + 4).filter_map(|_| Remote::open(socket, &[]).ok()).collect();
    println!("client: {} served", served.len());
    let more: Vec<_> = (0..40).filter_map(|_| dial(socket).ok()).collect();
    // To the end of its input.
    let _ = std::io::stdin().read_to_end(&mut Vec::new());
    drop((silent, more));
}

/// The command line of one that takes what it can get and keeps it until its input ends.
pub fn flooding<'a>(command: &'a mut Command, socket: &Path) -> &'a mut Command {
    command.args(["--exact", "service::client::flood", "--nocapture"]).env(FLOOD, socket)
}

/// What a command line that ends in the client's comes to, as its one line.
pub fn line(command: &mut Command, socket: &Path) -> String {
    command.args(["--exact", "service::client::client", "--nocapture"]).env(SOCKET, socket);
    let output = command.output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let said = text.lines().find_map(|line| line.split_once("client: ").map(|(_, said)| said.to_owned()));
    said.unwrap_or_else(|| panic!("{}: {text}{}", output.status, String::from_utf8_lossy(&output.stderr)))
}

/// This program where everybody may read it.
pub fn copy(folder: &Path) -> PathBuf {
    use std::os::unix::fs::PermissionsExt;
    let path = folder.join("client");
    std::fs::copy(env::current_exe().unwrap(), &path).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o755)).unwrap();
    path
}

/// As another user, with one group and no other.
pub fn as_user(program: &Path, uid: u32, gid: u32) -> Command {
    let mut command = Command::new(program);
    command.uid(uid).gid(gid).current_dir("/");
    command
}

/// Whether this is root, without whom there are no other users; says so where it is not.
pub fn is_root(what: &str) -> bool {
    let root = nix::unistd::geteuid().is_root();
    if !root {
        eprintln!("skipped: {what} needs root");
    }
    root
}
