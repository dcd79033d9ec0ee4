//! `jetpace trace`: what a client's governor did, while it runs and until it goes.

use std::env;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use super::client::{self, FRAMES};
use super::daemon::Daemon;
use super::{jetpace, printed, until};

#[test]
fn a_client_is_followed_until_it_goes_and_one_that_is_not_there_is_said_to_be() {
    let daemon = Daemon::start(&[], &[]);
    let trace = |options: &[&str]| {
        let mut command = jetpace(&["trace", "--socket"]);
        command.arg(&daemon.socket).args(options);
        command
    };
    let none = trace(&[]).output().unwrap();
    let said = String::from_utf8_lossy(&none.stderr);
    assert!(none.status.code() == Some(1) && said.contains("no such client; `jetpace status` lists"), "{said}");

    let mut command = Command::new(env::current_exe().unwrap());
    let mut client = client::waiting(&mut command, &daemon.socket).stdin(Stdio::piped()).spawn().unwrap();
    until("the client's frames", || daemon.status()["clients"][0]["frames"] == FRAMES);
    let events = printed(&trace(&["--json"]).output().unwrap());
    let ends = events.lines().filter(|line| line.contains("\"frame end\"")).count();
    assert!(ends > 0 && ends <= FRAMES as usize, "{events}");

    let mut follower = trace(&["--follow"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(follower.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
    assert!(line.contains("frame start"), "{line}");
    drop(client.stdin.take());
    assert!(client.wait().unwrap().success());
    let followed = follower.wait_with_output().unwrap();
    assert!(followed.status.success() && followed.stderr.is_empty(), "{}", String::from_utf8_lossy(&followed.stderr));
}
