//! A daemon of the program, ended with the test.

use std::fs;
use std::path::PathBuf;
use std::process::{Child, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use super::{jetpace, printed, table, until};

/// `jetpace serve` on a virtual board.
pub struct Daemon {
    pub folder: tempfile::TempDir,
    pub socket: PathBuf,
    child: Child,
}

impl Daemon {
    /// Starts one with these options and environment besides, and waits until it listens.
    pub fn start(options: &[&str], environment: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("jetpace.sock");
        let mut command = jetpace(&["serve", "--board", "sim:tx2", "--table"]);
        command.arg(table()).arg("--socket").arg(&socket).args(options);
        command.envs(environment.iter().copied()).stderr(Stdio::piped());
        let child = command.spawn().unwrap();
        let daemon = Self { folder, socket, child };
        until("the daemon to listen", || {
            jetpace(&["status", "--socket"]).arg(&daemon.socket).output().unwrap().status.success()
        });
        daemon
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn status(&self) -> Value {
        let output = jetpace(&["status", "--json", "--socket"]).arg(&self.socket).output().unwrap();
        serde_json::from_str(&printed(&output)).unwrap()
    }

    /// Told to stop, it ends well.
    pub fn stop(mut self) {
        kill(Pid::from_raw(self.pid() as i32), Signal::SIGTERM).unwrap();
        assert!(self.child.wait().unwrap().success());
        assert!(!self.socket.exists());
    }

    /// Voluntary and other switches of all its threads.
    pub fn switches(&self) -> u64 {
        let tasks = fs::read_dir(format!("/proc/{}/task", self.pid())).unwrap();
        let of_task = |task: PathBuf| {
            let status = fs::read_to_string(task.join("status")).unwrap();
            let lines = status.lines().filter(|line| line.contains("ctxt_switches"));
            lines.map(|line| line.rsplit(char::is_whitespace).next().unwrap().parse::<u64>().unwrap()).sum::<u64>()
        };
        tasks.map(|task| of_task(task.unwrap().path())).sum()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // Ended already, or the test failed.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
