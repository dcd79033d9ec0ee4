//! Other users: by the group's permission, and by nothing else.

use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use super::client::{FRAMES, as_user, copy, is_root, line};
use super::daemon::Daemon;

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
