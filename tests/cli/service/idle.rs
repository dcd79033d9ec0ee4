//! An idle daemon sleeps.

use std::process::Command;
use std::time::Duration;

use super::client::{FRAMES, line};
use super::daemon::Daemon;
use super::until;

/// How long it is watched.
const WATCHED: Duration = Duration::from_secs(3);

#[test]
fn nothing_wakes_while_no_client_is_connected() {
    let daemon = Daemon::start(&[], &[]);
    let watch = |when: &str| {
        let before = daemon.switches();
        std::thread::sleep(WATCHED);
        assert_eq!(daemon.switches() - before, 0, "{when}: something woke");
    };
    // Until the connection that asked whether it listens is gone.
    std::thread::sleep(Duration::from_millis(200));
    watch("before the first client");
    let said = line(&mut Command::new(std::env::current_exe().unwrap()), &daemon.socket);
    assert_eq!(said, format!("{FRAMES} frames, 0 faults"));
    until("the GPU to be handed back", || daemon.status()["clock_hz"].is_null());
    std::thread::sleep(Duration::from_millis(200));
    watch("after a client has gone");
    daemon.stop();
}
