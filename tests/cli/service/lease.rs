//! An ordinary user's clock: by the lines that `probe --fix` prints, from the daemon, and by nothing else.

use std::fs;
use std::process::Command;

use super::JETPACE;
use super::client::is_root;
use crate::on_disk::board;

/// In a mount namespace of its own, with `/run`, `/etc` and `/usr/lib` as copies: the printed lines, with the recorded board
/// for this machine's; then a user of the group, and one outside it.
const SCRIPT: &str = r#"
set -e
mount --make-rprivate /
cp -a /etc "$1/etc"
mount --bind "$1/etc" /etc
mount -t tmpfs none /run
mount -t tmpfs none /mnt
mkdir /mnt/upper /mnt/work
mount -t overlay overlay -o lowerdir=/usr/lib,upperdir=/mnt/upper,workdir=/mnt/work /usr/lib
export JETPACE_SOCKET=/run/jetpace-clients/jetpace.sock
as() { setpriv --reuid="$1" --regid="$1" --init-groups "${@:2}"; }
floor() { printf '%s: %s\n' "$1" "$(cat "$2/sys/class/devfreq/17000000.ga10b/min_freq" | head -n 1)"; }
"$3" probe --fix --as daemon | sed "s:serve --group:serve --board $2 --socket $JETPACE_SOCKET --group:" > "$1/fix.sh"
echo "before: $(as daemon "$3" hold --board "$2" --clock 510MHz -- true 2> "$1/before" && echo held || echo $?)"
sh "$1/fix.sh"
for i in $(seq 600); do [ -S $JETPACE_SOCKET ] && break; sleep 0.1; done
as daemon "$3" probe --board "$2" | grep '^lease'
as daemon "$3" hold --board "$2" --clock 510MHz -- cat "$2/sys/class/devfreq/17000000.ga10b/min_freq" > "$1/held"
echo "held: $(head -n 1 "$1/held")"
as daemon "$3" hold --board "$2" --clock 510MHz --dry-run
as daemon "$3" hold --board "$2" --clock 510MHz -- sh -c 'exit 7' || echo "status: $?"
echo "stranger: $(as games "$3" hold --board "$2" --clock 510MHz -- true 2> "$1/stranger" && echo held || echo $?)"
# The client has gone: within its three frames at the latest.
for i in $(seq 200); do floor after "$2" | grep -q 306000000 && break; sleep 0.1; done
floor after "$2"
"#;

#[test]
fn the_printed_lines_let_a_user_have_the_clock() {
    if !is_root("other users and a namespace") {
        return;
    }
    let may = "mount -t tmpfs none /mnt && mkdir /mnt/u /mnt/w && mount -t overlay o -o lowerdir=/usr/lib,upperdir=/mnt/u,workdir=/mnt/w /usr/lib";
    if !Command::new("unshare").args(["--mount", "sh", "-c", may]).status().is_ok_and(|status| status.success()) {
        eprintln!("skipped: this process may not mount in a namespace");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let board = board(folder.path());
    let program = folder.path().join("jetpace");
    fs::copy(JETPACE, &program).unwrap();
    // With the namespace's first process every other in it ends, the daemon too.
    let namespaces = ["--mount", "--pid", "--fork", "--kill-child", "--mount-proc"];
    let mut script = Command::new("unshare");
    script.args(namespaces).args(["bash", "-c", SCRIPT, "fix"]).arg(folder.path()).arg(&board).arg(&program);
    let output = script.env("RUST_LOG", "warn").output().unwrap();
    let (said, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{said}\n{errors}");
    for wanted in [
        "before: 5",
        "lease       the daemon at /run/jetpace-clients/jetpace.sock sets the clock for daemon",
        "held: 510000000",
        "is asked for 510 MHz; no node is written here",
        "status: 7",
        "stranger: 5",
        "after: 306000000",
    ] {
        assert!(said.contains(wanted), "no {wanted:?} in\n{said}\n{errors}");
    }
    let why = |name: &str| fs::read_to_string(folder.path().join(name)).unwrap();
    for refused in [why("before"), why("stranger")] {
        assert!(refused.contains("probe --fix"), "no remedy: {refused}");
    }
}
