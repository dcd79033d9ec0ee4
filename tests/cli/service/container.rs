//! A container that has the daemon's socket mounted and nothing else of this machine.

use std::fs;
use std::path::Path;
use std::process::Command;

use super::client::{FRAMES, copy, is_root, line};
use super::daemon::Daemon;

/// The shared libraries that a program needs go into the container with it.
fn add_libraries(program: &Path, root: &Path) {
    let output = Command::new("ldd").arg(program).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let libraries = text.split_ascii_whitespace().filter(|word| word.starts_with('/'));
    for library in libraries {
        let place = root.join(library.trim_start_matches('/'));
        fs::create_dir_all(place.parent().unwrap()).unwrap();
        fs::copy(library, place).unwrap();
    }
}

#[test]
fn a_container_needs_the_socket_alone() {
    if !is_root("a container") {
        return;
    }
    // Namespaces as a container's; where this process may not make them, neither may a container's engine.
    let namespaces = ["--mount", "--pid", "--fork", "--net", "--ipc", "--uts"];
    let may = Command::new("unshare").args(namespaces).arg("true").status();
    if !may.is_ok_and(|status| status.success()) {
        eprintln!("skipped: this process may not make namespaces");
        return;
    }
    let gid = nix::unistd::Group::from_name("games").unwrap().expect("the group games").gid.as_raw();
    let daemon = Daemon::start(&["--group", "games"], &[]);
    let root = tempfile::tempdir().unwrap();
    add_libraries(&copy(root.path()), root.path());
    fs::create_dir_all(root.path().join("run/jetpace-clients")).unwrap();

    let script = "mount --bind \"$1\" \"$2/run/jetpace-clients\" && mount -o remount,bind,ro \"$2/run/jetpace-clients\" && shift && \
                  root=$1 && shift && exec chroot --userspec=\"$1\" --groups= \"$root\" /client \"${@:2}\"";
    let mut contained = Command::new("unshare");
    contained.args(namespaces).args(["bash", "-c", script, "container"]);
    contained.arg(daemon.folder.path()).arg(root.path()).arg(format!("10001:{gid}"));
    let said = line(&mut contained, Path::new("/run/jetpace-clients/jetpace.sock"));
    assert_eq!(said, format!("{FRAMES} frames, 0 faults"));
    // Nothing of this machine was in it.
    assert!(
        !root.path().join("sys").exists() && !root.path().join("proc").exists() && !root.path().join("dev").exists()
    );
    daemon.stop();
}
