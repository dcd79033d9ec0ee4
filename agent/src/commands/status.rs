//! `jetpace status`: how the daemon and its clients are.

use std::path::{Path, PathBuf};

use jetpace_tables::names::Shown;
use serde_json::Value;

use crate::failure::{Failure, Reason};
use crate::files::output::{print_json, print_text};
use crate::runtime::wire::{self, Request};
use crate::runtime::{remote, status};

/// Options of `status`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The daemon's socket
    #[arg(long, default_value = wire::SOCKET, value_name = "PATH")]
    socket: PathBuf,
    /// Print the JSON document
    #[arg(long)]
    json: bool,
}

/// A document from the daemon.
pub(super) fn ask(socket: &Path, request: &Request) -> Result<Value, Failure> {
    let why = || Failure::failed("the daemon has no such client; `jetpace status` lists those that it has");
    ask_if(socket, request)?.ok_or_else(why)
}

/// The same; `None` where the daemon has not what is asked about.
pub fn ask_if(socket: &Path, request: &Request) -> Result<Option<Value>, Failure> {
    let bytes = match remote::document(socket, request) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound && socket.exists() => return Ok(None),
        answer => answer.map_err(|e| no_daemon(socket, &e))?,
    };
    serde_json::from_slice(&bytes).map(Some).map_err(|e| Failure::failed(format_args!("the daemon's answer: {e}")))
}

fn no_daemon(socket: &Path, error: &std::io::Error) -> Failure {
    use std::io::ErrorKind::{ConnectionRefused, NotFound, PermissionDenied};
    match error.kind() {
        NotFound | ConnectionRefused => Failure::failed(format_args!(
            "{}: nobody listens here; start `jetpace serve`, or a `jetpace run` with a table",
            socket.display()
        )),
        PermissionDenied => {
            Failure::new(Reason::Permission, format_args!("{}: {error}; {}", socket.display(), wire::JOIN))
        }
        _ => Failure::file(socket, error),
    }
}

impl Args {
    /// Prints the status.
    pub fn run(self) -> Result<(), Failure> {
        let status = ask(&self.socket, &Request::Status)?;
        if self.json {
            return print_json(&status);
        }
        let number = |value: &Value| value.as_u64().unwrap_or(0);
        let clock = match status["clock_hz"].as_u64() {
            Some(hz) => format!("{} MHz", hz as f64 / 1e6),
            None => "with the stock governor".to_owned(),
        };
        let mut text = format!(
            "process {}, up {:.0} s, clock {clock}, {} writes, {} refused\n",
            number(&status["pid"]),
            status["uptime_s"].as_f64().unwrap_or(0.0),
            number(&status["writes"]),
            number(&status["write_faults"]),
        );
        if let Some(seconds) = status["hangs_s"].as_f64() {
            text.push_str(&format!("the GPU's driver hangs: a write or a read has not come back for {seconds:.0} s\n"));
        }
        if let Some(by) = status["held_down"].as_str() {
            let seconds = status["held_down_s"].as_f64().unwrap_or(0.0);
            text.push_str(&format!("held down by {}, seen for {seconds:.0} s\n", Shown(by)));
        }
        for client in status["clients"].as_array().into_iter().flatten() {
            text.push_str(&format!(
                "client {}: process {} of user {}, {}: {}{}, {} frames, {} missed, {} shared, {} switches ({}), {} events lost\n",
                number(&client["client"]),
                number(&client["pid"]),
                number(&client["uid"]),
                Shown(client["network"].as_str().filter(|name| !name.is_empty()).unwrap_or("unnamed network")),
                Shown(client["state"].as_str().unwrap_or("?")),
                client["why"].as_str().map(|why| format!(" ({})", Shown(why))).unwrap_or_default(),
                number(&client["frames"]),
                number(&client["missed"]),
                number(&client["shared_frames"]),
                number(&client["switches"]),
                Shown(client["writer"].as_str().unwrap_or("?")),
                number(&client["lost_events"]),
            ));
            if let tries @ 1.. = number(&client["tries"]) {
                text.push_str(&format!("    tries to follow again: {tries}\n"));
            }
            if let Some(drift) = client["drift"].as_f64().filter(|drift| *drift != 0.0) {
                text.push_str(&format!("    {}\n", status::drifted(drift)));
            }
            for (fault, count) in client["faults"].as_object().into_iter().flatten() {
                if number(count) > 0 {
                    text.push_str(&format!("    {}: {}\n", Shown(fault), number(count)));
                }
            }
        }
        print_text(&text)
    }
}
