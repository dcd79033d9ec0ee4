//! Heat: one resistance and one capacity, and the cooling device that lowers the highest clock when it gets too hot.

/// The heat path of a module in its box.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cooling {
    /// Temperature around it.
    pub ambient_c: f64,
    /// Of the chip above the ambient, per watt of the module.
    pub kelvin_per_w: f64,
    /// How long a change of power takes to show.
    pub tau_s: f64,
    /// From here on one clock less every second.
    pub trip_c: f64,
    /// Below this one clock more every second.
    pub release_c: f64,
}

/// Time between looks at the temperature.
const POLL_S: f64 = 1.0;

/// A module's temperature, and how many clocks the cooling device takes away.
#[derive(Clone, Debug)]
pub(super) struct Heat {
    cooling: Cooling,
    chip_c: f64,
    since_poll_s: f64,
    steps: usize,
}

impl Heat {
    /// Warm from standing for a while at a power.
    pub fn new(cooling: Cooling, power_w: f64) -> Self {
        let chip_c = cooling.ambient_c + cooling.kelvin_per_w * power_w;
        Self { cooling, chip_c, since_poll_s: 0.0, steps: 0 }
    }

    pub fn set_ambient(&mut self, celsius: f64) {
        self.cooling.ambient_c = celsius;
    }

    /// Temperature of the chip.
    pub fn chip_c(&self) -> f64 {
        self.chip_c
    }

    /// The state of the cooling device: clocks taken away from the top.
    pub fn steps(&self) -> usize {
        self.steps
    }

    /// A stretch of time at a mean power, short beside `tau_s`. True where the cooling device changed its state; it
    /// never takes more than `most` clocks.
    pub fn pass(&mut self, seconds: f64, power_w: f64, most: usize) -> bool {
        let settled = self.cooling.ambient_c + self.cooling.kelvin_per_w * power_w;
        self.chip_c += (settled - self.chip_c) * (seconds / self.cooling.tau_s).min(1.0);
        self.since_poll_s += seconds;
        if self.since_poll_s < POLL_S {
            return false;
        }
        self.since_poll_s = 0.0;
        let before = self.steps;
        if self.chip_c >= self.cooling.trip_c {
            self.steps = (self.steps + 1).min(most);
        } else if self.chip_c < self.cooling.release_c {
            self.steps = self.steps.saturating_sub(1);
        }
        self.steps != before
    }
}
