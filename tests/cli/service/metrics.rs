//! `jetpace metrics`: what Prometheus reads, of a daemon with a client and of none.

use std::env;
use std::fs;
use std::process::{Command, Stdio};

use super::client::{self, FRAMES};
use super::daemon::Daemon;
use super::{jetpace, printed, until};

#[test]
fn frames_are_counted_for_prometheus_and_a_file_is_replaced_whole() {
    let daemon = Daemon::start(&[], &[]);
    let mut command = Command::new(env::current_exe().unwrap());
    let mut client = client::waiting(&mut command, &daemon.socket).stdin(Stdio::piped()).spawn().unwrap();
    until("the client's frames", || daemon.status()["clients"][0]["frames"] == FRAMES);

    let config = daemon.folder.path().join("etc");
    fs::create_dir(&config).unwrap();
    let kept = daemon.folder.path().join("kept");
    fs::create_dir(&kept).unwrap();
    fs::write(kept.join("sweep.csv"), "").unwrap();
    let text = format!("network = \"alexnet\"\ndeadline = \"40ms\"\nfolder = \"{}\"\n", kept.display());
    fs::write(config.join("camera.toml"), text).unwrap();
    fs::write(config.join("broken.toml"), "deadline = 3").unwrap();

    let metrics = || {
        let mut command = jetpace(&["metrics", "--socket"]);
        command.arg(&daemon.socket).arg("--config").arg(&config);
        command
    };
    let page = printed(&metrics().output().unwrap());
    let value = |name: &str| {
        let line = page.lines().find(|line| line.starts_with(name)).unwrap_or_else(|| panic!("no {name}: {page}"));
        line.rsplit(' ').next().unwrap().parse::<f64>().unwrap()
    };
    assert_eq!(value("jetpace_up "), 1.0);
    assert_eq!(value("jetpace_frames_total{client=\"0\",network=\"alexnet\"} "), FRAMES as f64);
    assert!(value("jetpace_measured_timestamp_seconds{table=\"camera\"} ") > 1.7e9);
    assert!(!page.contains("planned_timestamp") && !page.contains("broken"), "{page}");

    let file = daemon.folder.path().join("jetpace.prom");
    printed(&metrics().arg("-o").arg(&file).output().unwrap());
    assert!(fs::read_to_string(&file).unwrap().contains("jetpace_up 1"));
    drop(client.stdin.take());
    assert!(client.wait().unwrap().success());

    // Nobody there is something to be told.
    let nobody = jetpace(&["metrics", "--socket", "/nowhere", "--config", "/nowhere"]).output().unwrap();
    let lines: Vec<String> = printed(&nobody).lines().map(str::to_owned).collect();
    assert_eq!(lines.last().map(String::as_str), Some("jetpace_up 0"));
    assert_eq!(lines.len(), 3, "{lines:?}");
    daemon.stop();
}
