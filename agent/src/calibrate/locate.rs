//! Finding a change of the clock in the times of a short block that runs over and over.

/// What was seen around one write.
#[derive(Clone, Debug)]
pub struct Seen {
    /// When the first execution began, in seconds.
    pub start_s: f64,
    /// When the write was begun.
    pub written_s: f64,
    /// Durations of the executions, back to back.
    pub durations_s: Vec<f64>,
}

/// What the write brought about.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Trial {
    /// From the write until the new clock was in effect.
    pub settle_s: f64,
    /// Time in which nothing was computed.
    pub stall_s: f64,
}

/// Executions at either end that tell the old and the new duration.
const SIDE: usize = 6;
/// A change that moves durations by less, and stalls for less than half a duration, is not seen.
const SEEN: f64 = 0.03;
/// Durations beside the change that differ by more, on average, from what they should be: something else happened.
const DISTURBED: f64 = 0.05;

/// Where the change lies: one execution straddles it; those before take the old time, those after the new one.
///
/// The straddling execution did a part p of its work at the old clock, took `p old + stall + (1 - p) new`, and p is
/// not known: it is taken as one half, which is right on average. The shorter the block, the less this matters.
/// `None` where no change shows, or where something else disturbed the times.
pub fn locate(seen: &Seen) -> Option<Trial> {
    let times = &seen.durations_s;
    let mut ends = Vec::with_capacity(times.len());
    let mut end = seen.start_s;
    for time in times {
        end += time;
        ends.push(end);
    }
    let before = ends.partition_point(|&end| end <= seen.written_s);
    if before < SIDE || times.len() < before + SIDE {
        return None;
    }
    let (old, new) = (median(&times[..before]), median(&times[times.len() - SIDE..]));

    // Cost of every place for the straddling execution, by sums over those before and those after it.
    let from_old = |time: f64| (time / old - 1.0).abs();
    let from_new = |time: f64| (time / new - 1.0).abs();
    let mut cost: f64 = times[..before].iter().map(|&t| from_old(t)).sum::<f64>()
        + times[before + 1..].iter().map(|&t| from_new(t)).sum::<f64>();
    let mut best = (cost, before);
    for place in before + 1..times.len() {
        cost += from_old(times[place - 1]) - from_new(times[place]);
        if cost < best.0 {
            best = (cost, place);
        }
    }
    let (cost, place) = best;
    let straddling = times[place];
    let stall_s = straddling - (old + new) / 2.0;
    let shows = (new / old - 1.0).abs() > SEEN || stall_s > old.max(new) / 2.0;
    let at_the_end = place + 2 >= times.len();
    if !shows || at_the_end || cost / times.len() as f64 > DISTURBED {
        return None;
    }
    let began = ends[place] - straddling;
    Some(Trial { settle_s: (began + old / 2.0 - seen.written_s).max(0.0), stall_s })
}

fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or(f64::NAN)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Executions of `old` seconds, then `new`, with the change `settle` after a write at 2 ms and a stall.
    fn seen(old: f64, new: f64, settle: f64, stall: f64) -> Seen {
        let (mut now, mut durations_s) = (0.0, vec![]);
        let change = 0.002 + settle;
        while now < 0.009 {
            let time = if now + old <= change {
                old
            } else if now >= change {
                new
            } else {
                let part = (change - now) / old;
                part * old + stall + (1.0 - part) * new
            };
            // A wobble, as real times have.
            let wobble = 1.0 + 0.004 * ((durations_s.len() * 7) as f64).sin();
            durations_s.push(time * wobble);
            now += time * wobble;
        }
        Seen { start_s: 0.0, written_s: 0.002, durations_s }
    }

    #[test]
    fn a_change_is_found_where_it_is() {
        for (old, new) in [(50e-6, 20e-6), (20e-6, 50e-6), (8e-6, 8.2e-6)] {
            let found = locate(&seen(old, new, 0.0031, 100e-6)).unwrap();
            assert!((found.settle_s - 0.0031).abs() < 60e-6, "{old} to {new}: {found:?}");
            assert!((found.stall_s - 100e-6).abs() < 20e-6, "{old} to {new}: {found:?}");
        }
    }

    #[test]
    fn without_a_stall_the_times_alone_tell() {
        let found = locate(&seen(50e-6, 40e-6, 0.004, 0.0)).unwrap();
        assert!((found.settle_s - 0.004).abs() < 100e-6 && found.stall_s.abs() < 10e-6, "{found:?}");
    }

    #[test]
    fn what_cannot_be_seen_is_not_made_up() {
        assert_eq!(locate(&seen(50e-6, 50.2e-6, 0.004, 0.0)), None);
        let mut disturbed = seen(50e-6, 40e-6, 0.004, 100e-6);
        for time in &mut disturbed.durations_s[60..160] {
            *time *= 1.4;
        }
        assert_eq!(locate(&disturbed), None);
        let late = seen(50e-6, 40e-6, 1.0, 100e-6);
        assert_eq!(locate(&late), None, "the change came after the last execution");
        assert_eq!(locate(&Seen { start_s: 0.0, written_s: 0.0, durations_s: vec![] }), None);
    }
}
