//! What a daemon gave up: as the kernel says it, and by trying what is forbidden.

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::net::UnixDatagram;
use std::process::Command;

use jetpace::confine::{self, Needs};

use super::daemon::Daemon;

#[test]
fn every_thread_of_the_daemon_is_confined() {
    let daemon = Daemon::start(&[], &[]);
    let _client = jetpace::runtime::remote::Remote::open(&daemon.socket, &[]).unwrap();
    let mut threads = 0;
    for task in fs::read_dir(format!("/proc/{}/task", daemon.pid())).unwrap() {
        let status = fs::read_to_string(task.unwrap().path().join("status")).unwrap();
        let value = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
            line.map(|value| value.trim().to_owned()).unwrap_or_else(|| panic!("no {name}"))
        };
        let name = value("Name");
        assert_eq!((value("NoNewPrivs"), value("Seccomp")), ("1".to_owned(), "2".to_owned()), "{name}");
        // CAP_IPC_LOCK is bit 14.
        let caps = u64::from_str_radix(&value("CapEff"), 16).unwrap();
        assert_eq!(caps & !(1 << 14), 0, "{name} has {caps:x}");
        assert_eq!(value("CapInh").trim_start_matches('0'), "", "{name}");
        threads += 1;
    }
    assert!(threads >= 3, "main, control and a client's thread; there are {threads}");
    daemon.stop();
}

const FORBIDDEN: &str = "JETPACE_FORBIDDEN";

/// Not a test of its own: the process that gives everything up and tries.
#[test]
#[allow(unsafe_code)]
fn tries() {
    let Some(folder) = std::env::var_os(FORBIDDEN) else { return };
    let folder = std::path::PathBuf::from(folder);
    let [nodes, files] = ["nodes", "files"].map(|name| folder.join(name));
    confine::apply(&Needs { nodes: vec![nodes.clone()], files: vec![files.clone()], caps: Vec::new() });
    let code = |rc: libc::c_long| if rc < 0 { std::io::Error::last_os_error().to_string() } else { "done".to_owned() };
    let io = |result: std::io::Result<()>| result.map_or_else(|e| e.to_string(), |()| "done".to_owned());
    let write =
        |path: std::path::PathBuf| io(File::options().write(true).open(path).and_then(|mut file| file.write_all(b"1")));
    // SAFETY: each of these is refused before it touches anything, or has no effect on memory that is in use: an anonymous
    // mapping at an address of the kernel's choice.
    let [mount, unshare, ptrace, execute] = unsafe {
        [
            code(libc::syscall(libc::SYS_mount, 0, 0, 0, 0, 0)),
            code(libc::syscall(libc::SYS_unshare, libc::CLONE_NEWUSER)),
            code(libc::syscall(libc::SYS_ptrace, 0, 0, 0, 0)),
            code(libc::syscall(libc::SYS_mmap, 0, 4096, libc::PROT_EXEC, libc::MAP_PRIVATE | libc::MAP_ANON, -1, 0)),
        ]
    };
    let seen = [
        ("node", write(nodes.join("max_freq"))),
        ("state", io(fs::write(files.join("state.json"), "x"))),
        ("removed", io(fs::remove_file(files.join("state.json")))),
        ("thread", io(std::thread::spawn(|| ()).join().map_err(|_| std::io::Error::other("no")))),
        ("unix", io(UnixDatagram::unbound().map(drop))),
        ("elsewhere", write(folder.join("elsewhere"))),
        ("new node", io(fs::write(nodes.join("new"), "x"))),
        ("inet", io(std::net::UdpSocket::bind("127.0.0.1:0").map(drop))),
        ("exec", io(Command::new("true").status().map(drop))),
        ("mount", mount),
        ("unshare", unshare),
        ("ptrace", ptrace),
        ("executable memory", execute),
    ];
    for (what, came) in seen {
        println!("tried {what}: {came}");
    }
}

#[test]
fn what_is_forbidden_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["nodes", "files"] {
        fs::create_dir(folder.path().join(name)).unwrap();
    }
    for name in ["nodes/max_freq", "elsewhere"] {
        fs::write(folder.path().join(name), "0").unwrap();
    }
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "service::confined::tries", "--nocapture"])
        .env(FORBIDDEN, folder.path())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    let came = |what: &str| {
        let line = said.lines().find_map(|line| line.split_once(&format!("tried {what}: ")));
        line.map(|(_, came)| came.to_owned()).unwrap_or_else(|| panic!("{what}: {said}"))
    };
    for what in ["node", "state", "removed", "thread", "unix"] {
        assert_eq!(came(what), "done", "{what}");
    }
    for what in ["inet", "exec", "mount", "unshare", "ptrace", "executable memory"] {
        assert!(came(what).contains("Operation not permitted"), "{what}: {}", came(what));
    }
    let landlock = fs::read_to_string("/sys/kernel/security/lsm").is_ok_and(|lsm| lsm.contains("landlock"));
    if !landlock {
        eprintln!("skipped: this kernel does not say that it has Landlock; the one under QEMU does");
        return;
    }
    for what in ["elsewhere", "new node"] {
        assert!(came(what).contains("Permission denied"), "{what}: {}", came(what));
    }
}

/// What `hold` gave up its command has still: a setuid program in it is one.
#[test]
fn the_command_of_hold_is_not_confined() {
    use std::os::unix::fs::PermissionsExt;
    if !super::client::is_root("a setuid program") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let root = folder.path().join("board");
    let recorded = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/boards/agx-orin-r35.4");
    assert!(Command::new("cp").arg("-a").arg(&recorded).arg(&root).status().unwrap().success());
    // Its clock is its bound.
    let gpu = jetpace_devfreq::board::Board::discover(&jetpace_devfreq::nodes::SysfsRoot::new(&root)).unwrap().gpu;
    let devfreq = root.join(gpu.devfreq.strip_prefix("/").unwrap());
    fs::remove_file(devfreq.join("cur_freq")).unwrap();
    std::os::unix::fs::symlink("max_freq", devfreq.join("cur_freq")).unwrap();
    let program = folder.path().join("id");
    fs::copy("/usr/bin/id", &program).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o4755)).unwrap();
    let clock = gpu.clocks[1].get().to_string();
    let script = format!(
        "grep -E '^(NoNewPrivs|Seccomp):' /proc/self/status; echo holder $(grep -E '^(NoNewPrivs|Seccomp):' /proc/$PPID/status); \
         setpriv --reuid=54321 --clear-groups {} -u; sleep 0.2; echo again $(grep -E '^Seccomp:' /proc/$PPID/status)",
        program.display()
    );
    let output = super::jetpace(&["hold", "--board"])
        .arg(&root)
        .args(["--clock", &clock, "--way", "min-max", "--", "sh", "-c", &script])
        .output()
        .unwrap();
    let said = super::printed(&output);
    let lines: Vec<&str> = said.lines().map(str::trim).collect();
    let words = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
    assert_eq!(lines.first().map(|line| words(line)).as_deref(), Some("NoNewPrivs: 0"), "{said}");
    assert_eq!(lines.get(1).map(|line| words(line)).as_deref(), Some("Seccomp: 0"), "{said}");
    assert!(lines.contains(&"0"), "the setuid program is not root: {said}");
    assert_eq!(
        lines.last().map(|line| words(line)).as_deref(),
        Some("again Seccomp: 2"),
        "the holder is not confined: {said}"
    );
    let nodes = ["min_freq", "max_freq"].map(|node| fs::read_to_string(devfreq.join(node)).unwrap().trim().to_owned());
    let found = [gpu.min, gpu.max].map(|bound| bound.at().map(|bound| bound.get().to_string()).unwrap_or_default());
    assert_eq!(nodes, found, "confined, it puts back all the same");
}
