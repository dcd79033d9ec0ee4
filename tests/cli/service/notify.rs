//! The service manager's side of the daemon: a datagram socket as systemd's.

use std::os::unix::net::UnixDatagram;
use std::time::Duration;

use jetpace::runtime::remote::Remote;

use super::daemon::Daemon;

/// Ten years: the daemon sleeps while nobody is connected.
const NEVER: &str = "WATCHDOG_USEC=315360000000000";

struct Manager {
    socket: UnixDatagram,
    path: String,
    _folder: tempfile::TempDir,
}

impl Manager {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        Self { socket, path: path.to_str().unwrap().to_owned(), _folder: folder }
    }

    /// The next message.
    fn next(&self) -> String {
        self.socket.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        let mut buffer = [0; 4096];
        let length = self.socket.recv(&mut buffer).expect("a message within a minute");
        String::from_utf8_lossy(&buffer[..length]).trim().to_owned()
    }

    /// Whether it stays silent.
    fn is_silent_for(&self, time: Duration) -> bool {
        self.socket.set_read_timeout(Some(time)).unwrap();
        self.socket.recv(&mut [0; 16]).is_err()
    }
}

#[test]
fn readiness_is_told_once_it_listens() {
    let manager = Manager::new();
    let daemon = Daemon::start(&[], &[("NOTIFY_SOCKET", &manager.path)]);
    assert_eq!(manager.next(), "READY=1");
    daemon.stop();
}

#[test]
fn the_watchdog_is_fed_while_a_client_is_connected_and_only_then() {
    let manager = Manager::new();
    // No WATCHDOG_PID: the manager means whoever reads it.
    let daemon = Daemon::start(&[], &[("NOTIFY_SOCKET", &manager.path), ("WATCHDOG_USEC", "300000")]);
    assert_eq!(manager.next(), "READY=1");
    assert_eq!(manager.next(), NEVER);
    assert!(manager.is_silent_for(Duration::from_secs(1)), "an idle daemon sleeps");
    let client = Remote::open(&daemon.socket, &[]).unwrap();
    assert_eq!(manager.next(), "WATCHDOG_USEC=300000");
    for _ in 0..5 {
        assert_eq!(manager.next(), "WATCHDOG=1");
    }
    drop(client);
    let last = std::iter::repeat_with(|| manager.next()).find(|message| message != "WATCHDOG=1");
    assert_eq!(last.as_deref(), Some(NEVER));
    assert!(manager.is_silent_for(Duration::from_secs(1)), "an idle daemon sleeps");
    daemon.stop();
}
