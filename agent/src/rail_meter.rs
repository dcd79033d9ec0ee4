//! A session's energy from the board's own rails.

use jetpace_devfreq::energy::Energy;
use jetpace_tables::hw::{PowerRails, RailRole, RailSample};
use jetpace_tables::units::{Microjoules, Milliwatts, Nanos};

use crate::session::Meter;

/// How often the rails are read: an INA3221 as Linux sets it up has a new value every 6.6 ms.
const EVERY: Nanos = Nanos::from_millis(7);
/// The longest gap between samples that is still integrated over.
const LONGEST_GAP: Nanos = Nanos::from_millis(200);

/// Integrates the module's power.
#[derive(Debug)]
pub struct RailMeter<R> {
    rails: R,
    /// Which samples add up to the module's power; empty where no rail tells.
    total: Vec<usize>,
    samples: Vec<RailSample>,
    energy: Energy,
    failed: bool,
}

impl<R: PowerRails> RailMeter<R> {
    /// Over the `total` rail, or where there is none over the sum of the rails that are parts of it.
    pub fn new(rails: R) -> Self {
        let roles: Vec<RailRole> = rails.rails().map(|(_, role)| role).collect();
        let with = |wanted: &[RailRole]| -> Vec<usize> {
            roles.iter().enumerate().filter(|(_, role)| wanted.contains(role)).map(|(i, _)| i).collect()
        };
        let mut total = with(&[RailRole::Total]);
        if total.is_empty() && roles.contains(&RailRole::Part) {
            total = with(&[RailRole::Gpu, RailRole::GpuShared, RailRole::Part]);
        }
        let samples = vec![RailSample::default(); roles.len()];
        Self { rails, total, samples, energy: Energy::new(LONGEST_GAP), failed: false }
    }
}

impl<R: PowerRails> Meter for RailMeter<R> {
    fn sample(&mut self, now: Nanos) -> Option<Nanos> {
        if self.total.is_empty() || self.failed {
            return None;
        }
        match self.rails.sample(&mut self.samples) {
            Ok(()) => {
                let of_total = || self.total.iter().filter_map(|i| self.samples.get(*i));
                let power = of_total().map(|s| s.power.get()).sum();
                let at = of_total().map(|s| s.at).max().unwrap_or(now);
                self.energy.add(at, Milliwatts::new(power));
            }
            Err(error) => {
                log::warn!("{error}: no energy in the report");
                self.failed = true;
            }
        }
        Some(now.saturating_add(EVERY))
    }

    fn energy(&mut self) -> Option<Microjoules> {
        let known = !self.total.is_empty() && !self.failed && self.energy.covered() > Nanos::ZERO;
        if known && self.energy.left_out() > Nanos::ZERO {
            log::warn!("{} without samples of power are not in the energy", self.energy.left_out());
        }
        known.then(|| self.energy.energy())
    }

    fn restart(&mut self) {
        self.energy = Energy::new(LONGEST_GAP);
    }
}
