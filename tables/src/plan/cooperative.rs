//! Cooperative inference: the first blocks run on the device, what they give is sent to a server, and the rest runs
//! there. Cut and clock are chosen together by looking at every pair, of which there are few.
//!
//! With the cut after block s and the local blocks at one clock f:
//! T = sum of t_k(f) for k <= s, + d_s / R, + sum of the server's times for k > s;
//! E = sum of P_k(f) t_k(f) for k <= s, + p d_s / R, + idle power (f) x (period - local time), with the period as long
//! as the deadline. After the last block nothing is sent; before the first the input is.

use std::string::String;
use std::vec::Vec;

/// A block on both sides.
#[derive(Clone, Debug, PartialEq)]
pub struct Block {
    /// Its name.
    pub name: String,
    /// Seconds on the device, per clock.
    pub time_s: Vec<f64>,
    /// Watts of the module meanwhile, per clock.
    pub power_w: Vec<f64>,
    /// What it gives, in bytes: what a cut behind it sends.
    pub output_bytes: f64,
    /// Seconds on the server.
    pub server_s: f64,
}

/// What to cut, and what the link and waiting cost.
#[derive(Clone, Debug, PartialEq)]
pub struct Problem {
    /// In the order in which they run; every one with as many clocks as `idle_w`.
    pub blocks: Vec<Block>,
    /// What a cut before the first block sends.
    pub input_bytes: f64,
    /// Rate of the uplink in bits per second.
    pub rate_bps: f64,
    /// Power of the transmitter while it sends, over idle power.
    pub transmit_w: f64,
    /// Power of the module while its GPU has nothing to do, per clock.
    pub idle_w: Vec<f64>,
    /// Latest end, and the period of which the energy is counted.
    pub deadline_s: f64,
    /// By how much of itself the local time may grow without missing the deadline.
    pub margin: f64,
}

/// A cut, a clock, and what they come to.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Choice {
    /// How many blocks run on the device: 0 none, all of them nothing is sent.
    pub cut: usize,
    /// Position of the clock.
    pub clock: usize,
    /// Seconds on the device.
    pub local_s: f64,
    /// Seconds of sending.
    pub upload_s: f64,
    /// Seconds on the server.
    pub server_s: f64,
    /// Joules of the module in one period.
    pub energy_j: f64,
}

impl Choice {
    /// From the start to the result.
    pub fn time_s(&self) -> f64 {
        self.local_s + self.upload_s + self.server_s
    }
}

/// The rate of a channel by Shannon's formula, B log2(1 + p h / (N0 B)): bandwidth in hertz, transmit power in watts,
/// channel gain as a ratio of powers, noise in watts per hertz.
pub fn rate_bps(bandwidth_hz: f64, transmit_w: f64, gain: f64, noise_w_per_hz: f64) -> f64 {
    bandwidth_hz * (1.0 + transmit_w * gain / (noise_w_per_hz * bandwidth_hz)).log2()
}

impl Problem {
    /// What a cut and a clock come to.
    pub fn judge(&self, cut: usize, clock: usize) -> Choice {
        let (local, remote) = self.blocks.split_at(cut);
        // Folded from 0.0, as the sum of nothing is -0.0.
        let local_s = local.iter().fold(0.0, |sum, block| sum + block.time_s[clock]);
        let busy_j = local.iter().fold(0.0, |sum, block| sum + block.power_w[clock] * block.time_s[clock]);
        let sent = match local.last() {
            _ if remote.is_empty() => 0.0,
            Some(block) => block.output_bytes,
            None => self.input_bytes,
        };
        let upload_s = 8.0 * sent / self.rate_bps;
        let waiting_j = self.idle_w[clock] * (self.deadline_s - local_s).max(0.0);
        Choice {
            cut,
            clock,
            local_s,
            upload_s,
            server_s: remote.iter().fold(0.0, |sum, block| sum + block.server_s),
            energy_j: busy_j + self.transmit_w * upload_s + waiting_j,
        }
    }

    /// Every cut and clock.
    pub fn all(&self) -> impl Iterator<Item = Choice> + '_ {
        (0..=self.blocks.len()).flat_map(move |cut| (0..self.idle_w.len()).map(move |clock| self.judge(cut, clock)))
    }

    /// The one of least energy that meets the deadline, the margin included; `None` where none does.
    pub fn best(&self) -> Option<Choice> {
        let meets = |choice: &Choice| choice.time_s() + self.margin * choice.local_s <= self.deadline_s;
        self.all().filter(meets).min_by(|a, b| a.energy_j.total_cmp(&b.energy_j))
    }

    /// The fastest one, margin included: what is left to do where no other meets the deadline.
    pub fn fastest(&self) -> Option<Choice> {
        let time = |choice: &Choice| choice.time_s() + self.margin * choice.local_s;
        self.all().min_by(|a, b| time(a).total_cmp(&time(b)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::ToString;
    use std::vec;

    fn problem(rate_bps: f64) -> Problem {
        let block = |name: &str, time: f64, output_bytes| Block {
            name: name.to_string(),
            time_s: vec![2.0 * time, time],
            power_w: vec![4.0, 10.0],
            output_bytes,
            server_s: time / 10.0,
        };
        Problem {
            blocks: vec![block("a", 0.010, 1000.0), block("b", 0.020, 100.0)],
            input_bytes: 10_000.0,
            rate_bps,
            transmit_w: 1.0,
            idle_w: vec![2.0, 3.0],
            deadline_s: 0.065,
            margin: 0.0,
        }
    }

    #[test]
    fn a_cut_by_hand() {
        // Block a at the low clock: 20 ms; 8000 bit at 1 Mbit/s: 8 ms; block b on the server: 2 ms.
        let choice = problem(1e6).judge(1, 0);
        assert!((choice.time_s() - 0.030).abs() < 1e-12, "{choice:?}");
        // 4 W x 20 ms + 1 W x 8 ms + 2 W x 45 ms
        assert!((choice.energy_j - (0.080 + 0.008 + 0.090)).abs() < 1e-12, "{choice:?}");
        // Everything on the device sends nothing.
        assert_eq!(problem(1e6).judge(2, 1).upload_s, 0.0);
        // Everything on the server sends the input: 80 ms.
        assert!((problem(1e6).judge(0, 0).upload_s - 0.080).abs() < 1e-12);
    }

    #[test]
    fn a_faster_link_moves_the_cut_forward() {
        assert_eq!(problem(1e9).best().map(|choice| choice.cut), Some(0));
        assert_eq!(problem(1e6).best().map(|choice| choice.cut), Some(1));
        assert_eq!(problem(1e3).best().map(|choice| (choice.cut, choice.clock)), Some((2, 0)));
        let tight = Problem { deadline_s: 0.035, ..problem(1e3) };
        assert_eq!(tight.best().map(|choice| (choice.cut, choice.clock)), Some((2, 1)));
        let wary = Problem { margin: 0.2, ..tight.clone() };
        assert_eq!(wary.best(), None);
        assert_eq!(wary.fastest().map(|choice| (choice.cut, choice.clock)), Some((2, 1)));
    }

    #[test]
    fn shannon_by_hand() {
        // A signal 15 times the noise carries 4 bits per hertz.
        assert!((rate_bps(1e6, 1.5, 1e-9, 1e-16) - 4e6).abs() < 1e-3);
    }
}
