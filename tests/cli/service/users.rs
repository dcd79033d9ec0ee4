//! Other users: by the group's permission, and by nothing else.

use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};

use super::client::{FRAMES, as_user, copy, flooding, is_root, line};
use super::daemon::Daemon;
use super::until;

const UID: u32 = 54_321;
const STRANGER: u32 = 54_322;

/// A group that every Debian has and nobody of consequence is in.
const GROUP: &str = "games";

#[test]
fn members_of_the_group_are_served_and_strangers_are_not() {
    if !is_root("being another user") {
        return;
    }
    let gid = nix::unistd::Group::from_name(GROUP).unwrap().expect("the group games").gid.as_raw();
    let daemon = Daemon::start(&["--group", GROUP], &[]);
    let program = copy(daemon.folder.path());
    let frames = format!("{FRAMES} frames, 0 faults");

    assert_eq!(line(&mut as_user(&program, UID, gid), &daemon.socket), frames);
    // The kernel refuses by the socket's mode.
    let refused = line(&mut as_user(&program, STRANGER, STRANGER), &daemon.socket);
    assert!(refused.contains("Permission denied"), "{refused}");
    // Where somebody opened the socket up the daemon itself refuses.
    std::fs::set_permissions(&daemon.socket, std::fs::Permissions::from_mode(0o666)).unwrap();
    let refused = line(&mut as_user(&program, STRANGER, STRANGER), &daemon.socket);
    assert!(refused.contains("not in the group"), "{refused}");
    // A member by a supplementary group is a member.
    let mut member = Command::new("setpriv");
    member
        .args([format!("--reuid={STRANGER}"), format!("--regid={STRANGER}"), format!("--groups={gid}")])
        .arg(&program);
    assert_eq!(line(member.current_dir("/"), &daemon.socket), frames);
    daemon.stop();
}

#[test]
fn without_a_group_only_root_is_served() {
    if !is_root("being another user") {
        return;
    }
    let daemon = Daemon::start(&[], &[]);
    let program = copy(daemon.folder.path());
    std::fs::set_permissions(&daemon.socket, std::fs::Permissions::from_mode(0o666)).unwrap();
    let refused = line(&mut as_user(&program, UID, UID), &daemon.socket);
    assert!(refused.contains("not in the group"), "{refused}");
    assert_eq!(line(&mut Command::new(&program), &daemon.socket), format!("{FRAMES} frames, 0 faults"));
    daemon.stop();
}

/// One user's clients and silent connections leave room for another's.
#[test]
fn one_user_keeps_nobody_out() {
    if !is_root("being another user") {
        return;
    }
    let gid = nix::unistd::Group::from_name(GROUP).unwrap().expect("the group games").gid.as_raw();
    let daemon = Daemon::start(&["--group", GROUP], &[]);
    let program = copy(daemon.folder.path());
    let mut flood = as_user(&program, UID, gid);
    flooding(&mut flood, &daemon.socket).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut flood = flood.spawn().unwrap();
    let mut said = BufReader::new(flood.stdout.take().unwrap()).lines();
    let got = said.find_map(|line| line.unwrap().split_once("client: ").map(|(_, got)| got.to_owned()));
    assert_eq!(got.as_deref(), Some("8 served"), "half of all places are one user's");
    let frames = format!("{FRAMES} frames, 0 faults");
    assert_eq!(line(&mut as_user(&program, STRANGER, gid), &daemon.socket), frames);
    assert_eq!(line(&mut Command::new(&program), &daemon.socket), frames, "root");
    drop(flood.stdin.take());
    flood.wait().unwrap();
    until("the places to be free", || daemon.status()["clients"].as_array().is_some_and(Vec::is_empty));
    daemon.stop();
}
