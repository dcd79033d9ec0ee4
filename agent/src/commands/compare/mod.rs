//! `jetpace compare`: what planning with each kind of model comes to.

mod adaptive;
mod boards;
mod cooperative;
mod local;
pub mod measured;
mod paper;
pub mod server;
pub mod uplink;

use std::path::{Path, PathBuf};

use jetpace_tables::sample::{Kind, Sweep};
use jetpace_tables::units::Hertz;

use uplink::Channel;

use crate::args::{BoardArg, above_zero, watts};
use crate::failure::{Failure, Reason};

/// Options of `compare`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Everything on the device, or the last blocks on a server
    #[arg(long, value_enum, default_value_t = Case::Local)]
    case: Case,
    /// A measured sweep; each policy learns from some of its clocks and is judged by all of them
    sweep: Option<PathBuf>,
    /// Local: a virtual board as well, sim:NAME, on AlexNet, VGG19 and ResNet152; may be repeated. Without a sweep,
    /// sim:xavier-nx and sim:orin-nano by default
    #[arg(long, value_name = "BOARD")]
    board: Vec<BoardArg>,
    /// Learn from N clocks of each series, evenly spread with both ends in
    #[arg(long, value_name = "N", default_value_t = 4)]
    train: usize,
    /// Leave rows below this clock out, such as 705MHz
    #[arg(long, value_name = "CLOCK")]
    min_clock: Option<Hertz>,
    /// Deadlines, as factors of the measured time at the top clock
    #[arg(long, value_name = "FACTOR,..", value_delimiter = ',', default_value = "1.1,1.26,1.5,2", value_parser = factor)]
    deadlines: Vec<f64>,
    /// Idle power in watts, where the sweep has no rows of kind `idle`
    #[arg(long, value_name = "WATTS", value_parser = watts)]
    idle_w: Option<f64>,
    /// Local: one CPU clock of the sweep only, such as 2201.6MHz
    #[arg(long, value_name = "CLOCK")]
    cpu_clock: Option<Hertz>,
    /// Local: after the first clocks measure up to three more, one at a time, where the decision falls
    #[arg(long)]
    adaptive: bool,
    /// Local: the default policy at one more margin, in per cent of the predicted time
    #[arg(long, value_name = "PERCENT", value_parser = watts)]
    margin: Option<f64>,
    /// Cooperative: the network, where the sweep has several
    #[arg(long, value_name = "NET")]
    net: Option<String>,
    /// Cooperative: the EMC clock, where the sweep has several
    #[arg(long, value_name = "CLOCK")]
    emc: Option<Hertz>,
    /// Cooperative: rates of the uplink in Mbit/s
    #[arg(long, value_name = "RATE,..", value_delimiter = ',', default_value = "1,3,10,30,100", value_parser = above_zero)]
    rates_mbps: Vec<f64>,
    /// Cooperative: the uplink as a channel instead: bandwidth in Hz, gain, noise in W/Hz (thermal noise is 4e-21)
    #[arg(long, value_name = "B:H:N0")]
    channel: Option<Channel>,
    /// Cooperative: power of the transmitter in watts
    #[arg(long, value_name = "WATTS", default_value_t = 1.0, value_parser = watts)]
    transmit_w: f64,
    /// Cooperative: CSV of block, output_bytes, server_s, first row `input`; built in for AlexNet, VGG19, ResNet152
    #[arg(long, value_name = "FILE")]
    server: Option<PathBuf>,
    /// Print JSON on stdout
    #[arg(long)]
    json: bool,
}

/// What is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Case {
    /// Everything on the device.
    Local,
    /// The first blocks on the device, the rest on a server.
    Cooperative,
}

impl Args {
    /// Compares and prints.
    pub fn run(self) -> Result<(), Failure> {
        match self.case {
            Case::Local => local::run(&self),
            Case::Cooperative => cooperative::run(&self),
        }
    }

    /// The virtual boards of the local case.
    fn boards(&self) -> Result<Vec<String>, Failure> {
        let usual = ["xavier-nx", "orin-nano"].map(str::to_owned).to_vec();
        let name = |board: &BoardArg| match board {
            BoardArg::Sim(name) => Ok(name.clone()),
            other => {
                Err(Failure::usage(format_args!("--board {other}: a virtual board is meant, such as sim:orin-nano")))
            }
        };
        match (self.board.as_slice(), &self.sweep) {
            ([], None) => Ok(usual),
            (named, _) => named.iter().map(name).collect(),
        }
    }

    /// Idle power has to come from somewhere.
    fn check_idle(&self, path: &Path, sweep: &Sweep) -> Result<(), Failure> {
        if self.idle_w.is_some() || sweep.rows.iter().any(|row| row.kind == Kind::Idle) {
            return Ok(());
        }
        let path = path.display();
        let why = format!("{path}: no rows of kind `idle`; give the idle power with --idle-w");
        Err(Failure::new(Reason::Calibration, why))
    }
}

/// Where a network is cut, for people: behind its last block here, or not at all.
pub fn where_cut(after: Option<&str>, all_here: bool) -> String {
    match after {
        None => "all on the server".to_owned(),
        Some(_) if all_here => "all on the device".to_owned(),
        Some(last) => format!("cut after {last}"),
    }
}

fn factor(text: &str) -> Result<f64, String> {
    let value: f64 = text.parse().map_err(|_| "not a number")?;
    // At factor 1 only the top clock is left to choose, below it nothing.
    if value.is_finite() && value >= 1.0 { Ok(value) } else { Err("not a factor of 1 or more".to_owned()) }
}
