//! `jetpace compare`: what planning with each kind of model comes to.

pub mod measured;

use std::path::PathBuf;

use jetpace_tables::units::Hertz;

use crate::failure::Failure;

/// Options of `compare`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// A measured sweep; each policy learns from some of its clocks and is judged by all of them
    sweep: PathBuf,
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
    /// Print JSON on stdout
    #[arg(long)]
    json: bool,
}

impl Args {
    /// Compares and prints.
    pub fn run(self) -> Result<(), Failure> {
        measured::run(&self)
    }
}

fn factor(text: &str) -> Result<f64, String> {
    let value: f64 = text.parse().map_err(|_| "not a number")?;
    // At factor 1 only the top clock is left to choose, below it nothing.
    if value.is_finite() && value >= 1.0 { Ok(value) } else { Err("not a factor of 1 or more".to_owned()) }
}

fn watts(text: &str) -> Result<f64, String> {
    let value: f64 = text.parse().map_err(|_| "not a number")?;
    if (0.0..=1000.0).contains(&value) { Ok(value) } else { Err("outside 0..1000 W".to_owned()) }
}
