//! `jetpace metrics`: what the daemon and the kept tables have to say, as Prometheus reads it.

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use serde_json::Value;

use super::recalibrate::config::{self, Config};
use super::status;
use crate::failure::{Failure, Reason};
use crate::files::output::{print_text, write_file};
use crate::runtime::wire::{self, Request};

/// Options of `metrics`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The daemon's socket
    #[arg(long, default_value = wire::SOCKET, value_name = "PATH")]
    socket: PathBuf,
    /// The folder with a file NAME.toml for every table that is kept
    #[arg(long, default_value = config::FOLDER, value_name = "FOLDER")]
    config: PathBuf,
    /// Replace this file, such as /var/lib/prometheus/node-exporter/jetpace.prom, as a whole; by default they are printed
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
}

impl Args {
    /// Prints or writes them. That no daemon runs is something to be told, not a failure; that this user may not ask it is
    /// one.
    pub fn run(self) -> Result<(), Failure> {
        let status = match status::ask(&self.socket, &Request::Status) {
            Ok(status) => Some(status),
            Err(e) if e.reason() == Reason::Permission => return Err(e),
            Err(_) => None,
        };
        let mut page = Page::default();
        page.daemon(status.as_ref());
        page.tables(&self.config);
        match &self.output {
            Some(path) => write_file(path, page.0.as_bytes()),
            None => print_text(&page.0),
        }
    }
}

/// Prometheus' text format, version 0.0.4.
#[derive(Default)]
struct Page(String);

/// Labels of a value.
type Labels<'a> = &'a [(&'a str, &'a str)];

impl Page {
    /// A metric with its values; nothing where there are none.
    fn metric(&mut self, name: &str, kind: &str, help: &str, values: &[(Labels<'_>, f64)]) {
        if values.is_empty() {
            return;
        }
        // Writing to a String cannot fail.
        let _ = writeln!(self.0, "# HELP jetpace_{name} {help}\n# TYPE jetpace_{name} {kind}");
        for (labels, value) in values {
            let labels: Vec<String> = labels.iter().map(|(key, text)| format!("{key}=\"{}\"", escaped(text))).collect();
            let labels = if labels.is_empty() { String::new() } else { format!("{{{}}}", labels.join(",")) };
            let _ = writeln!(self.0, "jetpace_{name}{labels} {value}");
        }
    }

    fn daemon(&mut self, status: Option<&Value>) {
        let up = f64::from(u8::from(status.is_some()));
        self.metric("up", "gauge", "Whether the daemon answers.", &[(&[], up)]);
        let Some(status) = status else { return };
        let mut one = |name, kind, help, key: &str| {
            let value = status[key].as_f64();
            self.metric(name, kind, help, &value.map(|value| (&[][..], value)).into_iter().collect::<Vec<_>>());
        };
        one("uptime_seconds", "gauge", "How long the daemon has run.", "uptime_s");
        one("clock_hertz", "gauge", "The clock that is held; none while the stock governor has the GPU.", "clock_hz");
        one("clock_cap_hertz", "gauge", "The highest clock that is allowed now.", "cap_hz");
        one("writes_total", "counter", "Writes of the clock.", "writes");
        one("write_faults_total", "counter", "Writes that the kernel refused.", "write_faults");
        one("driver_hang_seconds", "gauge", "For how long a write or a read has not come back.", "hangs_s");
        let held_down = status["held_down"].as_str().map(|by| [("by", by)]);
        let seconds = status["held_down_s"].as_f64().unwrap_or(0.0);
        let values: Vec<(Labels<'_>, f64)> = held_down.iter().map(|by| (&by[..], seconds)).collect();
        self.metric(
            "held_down_seconds",
            "gauge",
            "For how long heat or over-current has held the clock down.",
            &values,
        );
        self.clients(status["clients"].as_array().map_or(&[], Vec::as_slice));
    }

    fn clients(&mut self, clients: &[Value]) {
        let numbers: Vec<String> = clients.iter().map(|client| client["client"].to_string()).collect();
        let label = |(number, client)| [("client", String::as_str(number)), ("network", network_of(client))];
        let labels: Vec<[(&str, &str); 2]> = numbers.iter().zip(clients).map(label).collect();
        let mut each = |name, kind, help, value: &dyn Fn(&Value) -> Option<f64>| {
            let all = labels.iter().zip(clients);
            let values: Vec<_> = all.filter_map(|(labels, client)| Some((&labels[..], value(client)?))).collect();
            self.metric(name, kind, help, &values);
        };
        each("frames_total", "counter", "Frames of a client.", &|c| c["frames"].as_f64());
        each("frames_missed_total", "counter", "Frames that ended behind their deadline.", &|c| c["missed"].as_f64());
        each("frames_shared_total", "counter", "Frames beside another client's.", &|c| c["shared_frames"].as_f64());
        each("switches_total", "counter", "Changes of the clock for a client.", &|c| c["switches"].as_f64());
        each("following", "gauge", "Whether a client's table is followed.", &|c| {
            Some(f64::from(u8::from(c["state"] == "following")))
        });
        each("drift_ratio", "gauge", "By what share frames take longer than planned; negative: shorter.", &|c| {
            c["drift"].as_f64()
        });
        each("faults_total", "counter", "Faults of all kinds; `jetpace status` tells them apart.", &|c| {
            c["faults"].as_object().map(|faults| faults.values().filter_map(Value::as_f64).sum())
        });
    }

    /// Of each table that is kept, when it was measured and when the table was made: its age is Prometheus' `time()` less that.
    /// What cannot be read is not in use either.
    fn tables(&mut self, folder: &Path) {
        let configs: Vec<Config> =
            config::files(folder).unwrap_or_default().iter().filter_map(|file| Config::read(file).ok()).collect();
        let since = |path: &Path| {
            let modified = path.metadata().and_then(|found| found.modified()).ok()?;
            Some(modified.duration_since(UNIX_EPOCH).ok()?.as_secs_f64())
        };
        let labels: Vec<[(&str, &str); 1]> = configs.iter().map(|config| [("table", &*config.name)]).collect();
        let mut each = |name, help, file: &dyn Fn(&Config) -> PathBuf| {
            let values: Vec<(Labels<'_>, f64)> = configs
                .iter()
                .zip(&labels)
                .filter_map(|(config, labels)| Some((&labels[..], since(&file(config))?)))
                .collect();
            self.metric(name, "gauge", help, &values);
        };
        each("measured_timestamp_seconds", "When a kept table's sweep was measured.", &Config::sweep);
        each("planned_timestamp_seconds", "When a kept table was planned.", &Config::table);
    }
}

fn network_of(client: &Value) -> &str {
    client["network"].as_str().unwrap_or("")
}

fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_have_their_labels_escaped_and_what_is_not_there_is_left_out() {
        let mut page = Page::default();
        page.daemon(Some(&serde_json::json!({
            "uptime_s": 3.5, "clock_hz": null, "cap_hz": 1_020_000_000, "writes": 7, "write_faults": 0, "held_down": "heat",
            "held_down_s": 2.0,
            "clients": [{"client": 4, "network": "a\"b\\", "frames": 10, "missed": 1, "state": "following",
                         "faults": {"x": 2, "y": 3}}],
        })));
        let has = |line: &str| page.0.lines().any(|found| found == line);
        assert!(has("jetpace_up 1") && has("jetpace_uptime_seconds 3.5") && has("jetpace_clock_cap_hertz 1020000000"));
        assert!(has("# TYPE jetpace_writes_total counter") && has("jetpace_writes_total 7"));
        assert!(has("jetpace_held_down_seconds{by=\"heat\"} 2"));
        let labels = "{client=\"4\",network=\"a\\\"b\\\\\"}";
        assert!(
            has(&format!("jetpace_frames_total{labels} 10")) && has(&format!("jetpace_frames_missed_total{labels} 1"))
        );
        assert!(has(&format!("jetpace_following{labels} 1")) && has(&format!("jetpace_faults_total{labels} 5")));
        assert!(!page.0.contains("clock_hertz ") && !page.0.contains("switches"), "{}", page.0);
    }
}
