//! The way to the server: a rate that is given, or that of a radio channel.

use std::str::FromStr;

use jetpace_tables::plan::cooperative::rate_bps;

use crate::args::above_zero;

/// A radio channel, as the command line gives it.
#[derive(Clone, Copy, Debug)]
pub struct Channel {
    bandwidth_hz: f64,
    gain: f64,
    noise_w_per_hz: f64,
}

impl Channel {
    /// Its rate, for a transmitter of this power.
    pub fn rate_bps(&self, transmit_w: f64) -> f64 {
        rate_bps(self.bandwidth_hz, transmit_w, self.gain, self.noise_w_per_hz)
    }

    /// Where the rate comes from.
    pub fn origin(&self, transmit_w: f64) -> String {
        let Self { bandwidth_hz, gain, noise_w_per_hz } = self;
        format!(
            "B log2(1 + p h / (N0 B)) with B = {bandwidth_hz:e} Hz, p = {transmit_w} W, h = {gain:e} and N0 = \
             {noise_w_per_hz:e} W/Hz, all as given"
        )
    }
}

impl FromStr for Channel {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let numbers: Result<Vec<f64>, String> = text.split(':').map(above_zero).collect();
        match numbers?.as_slice() {
            &[bandwidth_hz, gain, noise_w_per_hz] => Ok(Self { bandwidth_hz, gain, noise_w_per_hz }),
            _ => Err("not bandwidth:gain:noise, such as 1e6:1e-9:4e-21".to_owned()),
        }
    }
}
