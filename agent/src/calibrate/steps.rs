//! The order of work.

use jetpace_tables::work::ClockIndex;

use super::Settings;

/// One step of a calibration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Whole frames at a clock.
    Frames {
        /// Which visit of the clock.
        pass: u32,
        /// The clock.
        clock: ClockIndex,
    },
    /// Many whole frames at a clock, for how late rare ones are.
    Late {
        /// Which visit of the clock.
        pass: u32,
        /// The clock.
        clock: ClockIndex,
    },
    /// Every block over and over at a clock, for its power.
    Power {
        /// Which visit of the clock.
        pass: u32,
        /// The clock.
        clock: ClockIndex,
    },
    /// Nothing at all at a clock, awake and railgated.
    Idle {
        /// Which visit of the clock.
        pass: u32,
        /// The clock.
        clock: ClockIndex,
    },
    /// One change of the clock under load.
    Change {
        /// Which change of this pair.
        repeat: u32,
        /// The clock before.
        from: ClockIndex,
        /// The clock after.
        to: ClockIndex,
    },
}

impl Step {
    /// The clocks that it writes, in order.
    pub fn writes(&self) -> impl Iterator<Item = ClockIndex> {
        let (first, second) = match *self {
            Self::Frames { clock, .. }
            | Self::Late { clock, .. }
            | Self::Power { clock, .. }
            | Self::Idle { clock, .. } => (clock, None),
            Self::Change { from, to, .. } => (from, Some(to)),
        };
        std::iter::once(first).chain(second)
    }
}

/// All steps. Each pass visits every clock, in an order of its own; so do the repeats of the changes with the pairs.
pub fn steps(settings: &Settings, clocks: &[ClockIndex]) -> Vec<Step> {
    let mut steps = visits(settings, clocks);
    steps.extend(changes(settings, clocks));
    steps
}

/// The visits of clocks, without any change between them that is measured.
pub fn visits(settings: &Settings, clocks: &[ClockIndex]) -> Vec<Step> {
    let mut steps = Vec::new();
    for pass in 0..settings.passes {
        for clock in shuffled(clocks, u64::from(pass)) {
            steps.push(Step::Frames { pass, clock });
            if settings.late > 0 {
                steps.push(Step::Late { pass, clock });
            }
            if pass < settings.power.passes {
                steps.push(Step::Power { pass, clock });
                steps.push(Step::Idle { pass, clock });
            }
        }
    }
    steps
}

/// The changes between clocks.
pub(super) fn changes(settings: &Settings, clocks: &[ClockIndex]) -> Vec<Step> {
    let mut steps = Vec::new();
    let mut pairs = Vec::new();
    for (i, &low) in clocks.iter().enumerate() {
        pairs.extend(clocks[i + 1..].iter().map(|&high| (low, high)));
    }
    for repeat in 0..settings.changes {
        for (low, high) in shuffled(&pairs, u64::from(repeat)) {
            steps.push(Step::Change { repeat, from: low, to: high });
            steps.push(Step::Change { repeat, from: high, to: low });
        }
    }
    steps
}

/// The same for the same seed, on every machine: a sweep that goes on has to agree with its beginning.
fn shuffled<T: Copy>(items: &[T], seed: u64) -> Vec<T> {
    let mut items = items.to_vec();
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    for end in (1..items.len()).rev() {
        // xorshift64
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        items.swap(end, (state % (end as u64 + 1)) as usize);
    }
    items
}

#[cfg(test)]
mod tests {
    use super::*;
    use jetpace_devfreq::rails::PowerPace;

    #[test]
    fn every_clock_and_every_change_has_its_turn_in_every_pass() {
        let clocks: Vec<ClockIndex> = (0..5).map(ClockIndex).collect();
        let settings = Settings { passes: 3, changes: 2, ..Settings::usual(PowerPace::HWMON) };
        let steps = steps(&settings, &clocks);
        for pass in 0..3 {
            let visited: Vec<ClockIndex> = steps
                .iter()
                .filter_map(|step| match step {
                    Step::Frames { pass: p, clock } if *p == pass => Some(*clock),
                    _ => None,
                })
                .collect();
            let mut sorted = visited.clone();
            sorted.sort();
            assert_eq!(sorted, clocks);
        }
        let changes = steps.iter().filter(|step| matches!(step, Step::Change { .. })).count();
        assert_eq!(changes, 2 * 5 * 4);
        let order = |pass| shuffled(&clocks, pass);
        assert_ne!(order(0), order(1));
        assert_eq!(order(1), order(1));
    }
}
