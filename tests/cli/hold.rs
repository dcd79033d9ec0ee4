//! `hold -- COMMAND` as a wrapper that nobody notices: status, signals and output are the command's, and whatever happens the
//! clock is put back.

use std::fs;
use std::io::Read;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::on_disk::{GPU, board, node};
use crate::service::until;

const JETPACE: &str = env!("CARGO_BIN_EXE_jetpace");

struct Board {
    folder: tempfile::TempDir,
    root: PathBuf,
}

impl Board {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let root = board(folder.path());
        Self { folder, root }
    }

    /// `hold` at 510 MHz around a shell's script, whose `$1` is a folder of the test's.
    fn hold(&self, options: &[&str], script: &str) -> Command {
        let mut command = Command::new(JETPACE);
        command.args(["hold", "--clock", "510MHz", "--board"]).arg(&self.root).args(options);
        self.around(command, script)
    }

    fn around(&self, mut command: Command, script: &str) -> Command {
        command.args(["--", "sh", "-c", script, "sh"]).arg(self.folder.path());
        command
    }

    fn start(&self, script: &str) -> Child {
        let child = self.hold(&[], script).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        self.ready();
        child
    }

    /// Waits for the script to say that it runs, and sees that the clock is held.
    fn ready(&self) {
        until("the command to run", || self.folder.path().join("ready").exists());
        assert_eq!(node(&self.root, "min_freq"), "510000000");
    }

    fn is_put_back(&self) -> bool {
        node(&self.root, "min_freq") == "306000000"
            && node(&self.root, "max_freq") == "1300500000"
            && node(&self.root, "governor") == "nvhost_podgov"
            && !self.root.join("run/jetpace/state.json").exists()
    }
}

fn tell(child: &Child, signal: Signal) {
    kill(Pid::from_raw(child.id() as i32), signal).unwrap();
}

fn said(child: &mut Child) -> String {
    let mut text = String::new();
    child.stderr.take().unwrap().read_to_string(&mut text).unwrap();
    text
}

#[test]
fn the_status_is_the_commands() {
    let board = Board::new();
    for (script, status) in [("exit 0", 0), ("exit 7", 7), ("kill -9 $$", 137), ("kill -TERM $$", 143)] {
        let ended = board.hold(&[], script).output().unwrap();
        assert_eq!(ended.status.code(), Some(status), "{script}: {}", String::from_utf8_lossy(&ended.stderr));
        assert!(board.is_put_back(), "{script}");
    }
    let plain = board.folder.path().join("plain");
    fs::write(&plain, "no program").unwrap();
    for (program, status) in [(Path::new("/nowhere/program"), 127), (&plain, 126)] {
        let mut command = Command::new(JETPACE);
        command.args(["hold", "--clock", "510MHz", "--board"]).arg(&board.root).arg("--").arg(program);
        assert_eq!(command.output().unwrap().status.code(), Some(status), "{}", program.display());
        assert!(board.is_put_back());
    }
}

#[test]
fn signals_reach_the_command_and_every_end_puts_back() {
    // Said to be meant for the command: passed on, and no end.
    let board = Board::new();
    for signal in [Signal::SIGUSR1, Signal::SIGUSR2] {
        let name = signal.as_str().trim_start_matches("SIG");
        let mut child = board.start(&format!("trap 'exit 3' {name}; touch $1/ready; while :; do sleep 0.02; done"));
        tell(&child, signal);
        assert_eq!(child.wait().unwrap().code(), Some(3), "{signal}");
        fs::remove_file(board.folder.path().join("ready")).unwrap();
        assert!(board.is_put_back(), "{signal}");
    }
    for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP, Signal::SIGQUIT, Signal::SIGALRM, Signal::SIGXCPU] {
        if jetpace::signals::is_ignored(signal as i32) {
            eprintln!("skipped: {signal} is ignored here, as in a shell's background job");
            continue;
        }
        let name = signal.as_str().trim_start_matches("SIG");
        let script = format!("trap 'touch $1/told; exit 0' {name}; touch $1/ready; while :; do sleep 0.02; done");
        let mut child = board.start(&script);
        tell(&child, signal);
        // As a program that does not catch it ends.
        assert_eq!(child.wait().unwrap().signal(), Some(signal as i32), "{signal}: {}", said(&mut child));
        assert!(board.folder.path().join("told").exists(), "{signal} did not reach the command");
        for name in ["ready", "told"] {
            fs::remove_file(board.folder.path().join(name)).unwrap();
        }
        assert!(board.is_put_back(), "{signal}");
    }
}

#[test]
fn what_was_ignored_at_the_start_stays_ignored() {
    let board = Board::new();
    let inner = board.hold(&[], "touch $1/ready; while [ ! -e $1/end ]; do sleep 0.02; done; exit 5");
    let mut shell = Command::new("sh");
    shell.args(["-c", "trap '' HUP INT; exec \"$@\"", "sh"]).arg(inner.get_program()).args(inner.get_args());
    let mut child = shell.stderr(Stdio::piped()).spawn().unwrap();
    board.ready();
    for signal in [Signal::SIGHUP, Signal::SIGINT] {
        tell(&child, signal);
    }
    // Stopped and continued as a shell's job is.
    for signal in [Signal::SIGTSTP, Signal::SIGCONT] {
        tell(&child, signal);
    }
    fs::write(board.folder.path().join("end"), "").unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(5), "{}", said(&mut child));
    assert!(board.is_put_back());
}

#[test]
fn no_output_is_lost_however_long_the_line_and_closed_streams_are_no_matter() {
    let board = Board::new();
    // With --fps the output goes through this program; one line of 20 MB.
    let mut command = Command::new(JETPACE);
    command.args(["hold", "--fps", "1", "--board"]).arg(&board.root);
    let socket = board.folder.path().join("socket");
    command.arg("--socket").arg(&socket);
    let output = board.around(command, "head -c 20000000 /dev/zero | tr '\\0' x; printf end").output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.stdout.iter().filter(|byte| **byte == b'x').count(), 20_000_000);
    assert!(output.stdout.ends_with(b"end"));
    assert!(board.is_put_back());

    let inner = board.hold(&[], "echo to nobody; exit 4");
    let mut shell = Command::new("sh");
    shell.args(["-c", "exec \"$@\" <&- >&- 2>&-", "sh"]).arg(inner.get_program()).args(inner.get_args());
    // The shell's echo has nowhere to go, which is its affair and not an end of ours.
    assert_eq!(shell.status().unwrap().code(), Some(4));
    assert!(board.is_put_back());
}

#[test]
fn a_node_that_goes_is_told_once_and_is_no_success() {
    let board = Board::new();
    let mut child = board.start("touch $1/ready; while [ ! -e $1/end ]; do sleep 0.02; done");
    let bound = board.root.join(GPU).join("max_freq");
    let held = fs::read(&bound).unwrap();
    fs::remove_file(&bound).unwrap();
    std::thread::sleep(std::time::Duration::from_millis(200));
    fs::write(&bound, held).unwrap();
    fs::write(board.folder.path().join("end"), "").unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(1));
    let said = said(&mut child);
    assert_eq!(said.matches("not known to be held").count(), 1, "{said}");
    assert!(said.contains("was not held to the end"), "{said}");
    assert!(board.is_put_back());
}

#[test]
fn a_mode_that_nvpmodel_sets_meanwhile_is_followed_and_is_what_is_put_back() {
    let board = Board::new();
    let conf = board.root.join("etc/nvpmodel.conf");
    let modes = "< POWER_MODEL ID=0 NAME=MAXN >\nGPU MIN_FREQ 0\nGPU MAX_FREQ -1\n< POWER_MODEL ID=2 NAME=15W >\nGPU MIN_FREQ 0\n\
                 GPU MAX_FREQ 408000000\n< PM_CONFIG DEFAULT=0 >\n";
    fs::write(conf, modes).unwrap();
    let mut child = board.start("touch $1/ready; while [ ! -e $1/end ]; do sleep 0.02; done");
    fs::write(board.root.join("var/lib/nvpmodel/status"), "pmode:0002\n").unwrap();
    until("the mode's cap to be obeyed", || node(&board.root, "min_freq") == "408000000");
    fs::write(board.folder.path().join("end"), "").unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0));
    let said = said(&mut child);
    assert!(said.contains("the cap went from 1300.5 MHz to 408 MHz"), "{said}");
    assert_eq!(
        (node(&board.root, "max_freq"), node(&board.root, "min_freq")),
        ("408000000".into(), "306000000".into())
    );
}
