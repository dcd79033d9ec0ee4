//! What holding a deadline came to.

use std::fmt;

use jetpace_tables::hw::PowerOf;
use jetpace_tables::units::{Hertz, Microjoules, Nanos};
use serde::Serialize;

/// A stretch of time under one kind of control.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Stretch {
    /// Seconds.
    pub time_s: f64,
    /// Frames that ended in it.
    pub frames: u64,
    /// Frames of them that took longer than the deadline, where their times are told.
    pub late: Option<u64>,
    /// Energy of the module, where its rails tell.
    pub energy_j: Option<f64>,
}

impl Stretch {
    /// With what the rails told.
    #[must_use]
    pub fn with(mut self, energy: Option<Microjoules>) -> Self {
        self.energy_j = energy.map(Microjoules::as_joules_f64);
        self
    }

    fn watts(&self) -> Option<f64> {
        self.energy_j.filter(|_| self.time_s > 0.0).map(|joules| joules / self.time_s)
    }
}

/// The whole run, also for `--json`.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// The document's version.
    pub format: u32,
    /// The deadline in seconds.
    pub deadline_s: f64,
    /// Accepted share of late frames.
    pub risk: f64,
    /// Whose energy it is.
    pub power_of: PowerOf,
    /// With the bounds left alone, where that was asked for.
    pub before: Option<Stretch>,
    /// With the clock held.
    pub held: Stretch,
    /// How long each clock ran.
    pub clocks: Vec<Ran>,
}

/// Time at a clock.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Ran {
    /// In hertz.
    pub clock_hz: u64,
    /// In seconds.
    pub time_s: f64,
}

impl Report {
    /// Adds time at a clock.
    pub fn ran(&mut self, clock: Hertz, time: Nanos) {
        let time = time.as_secs_f64();
        match self.clocks.iter_mut().find(|ran| ran.clock_hz == clock.get()) {
            Some(ran) => ran.time_s += time,
            None => self.clocks.push(Ran { clock_hz: clock.get(), time_s: time }),
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        line(f, "held", &self.held)?;
        if let Some(before) = &self.before {
            line(f, "bounds left alone", before)?;
            if let (Some(held), Some(before)) = (self.held.watts(), before.watts()) {
                writeln!(f, "power by the rails: {:+.1} %", (held / before - 1.0) * 100.0)?;
            }
        } else if self.held.energy_j.is_some() {
            writeln!(f, "--before 10s compares with the bounds left alone")?;
        }
        let all: f64 = self.clocks.iter().map(|ran| ran.time_s).sum();
        let mut clocks = self.clocks.clone();
        clocks.sort_unstable_by_key(|ran| ran.clock_hz);
        for ran in clocks.iter().filter(|ran| ran.time_s >= all * 0.01) {
            writeln!(f, "  {}: {:.0} % of the time", Hertz::new(ran.clock_hz), ran.time_s / all * 100.0)?;
        }
        Ok(())
    }
}

fn line(f: &mut fmt::Formatter<'_>, what: &str, stretch: &Stretch) -> fmt::Result {
    write!(f, "{what}: {:.1} s, {} frames", stretch.time_s, stretch.frames)?;
    if let Some(late) = stretch.late {
        write!(f, ", {late} late")?;
    }
    if let (Some(watts), Some(joules)) = (stretch.watts(), stretch.energy_j) {
        write!(f, ", {watts:.2} W")?;
        if stretch.frames > 0 {
            write!(f, ", {:.3} J a frame", joules / stretch.frames as f64)?;
        }
    }
    writeln!(f)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_says_what_was_saved_and_which_clocks_ran() {
        let before = Stretch { time_s: 2.0, frames: 20, late: Some(0), energy_j: None };
        let before = before.with(Some(Microjoules::from_joules_f64(16.0)));
        let held = Stretch { time_s: 10.0, frames: 100, late: Some(1), energy_j: Some(60.0) };
        let mut report = Report {
            format: 1,
            deadline_s: 0.08,
            risk: 0.01,
            power_of: PowerOf::Module,
            before: Some(before),
            held,
            clocks: Vec::new(),
        };
        report.ran(Hertz::new(612_000_000), Nanos::from_millis(1_000));
        report.ran(Hertz::new(408_000_000), Nanos::from_millis(9_000));
        assert_eq!(
            report.to_string(),
            "held: 10.0 s, 100 frames, 1 late, 6.00 W, 0.600 J a frame\n\
             bounds left alone: 2.0 s, 20 frames, 0 late, 8.00 W, 0.800 J a frame\n\
             power by the rails: -25.0 %\n  408 MHz: 90 % of the time\n  612 MHz: 10 % of the time\n"
        );
    }
}
