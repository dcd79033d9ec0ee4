//! The lowest clock at which a program's frames end in time, from how long each was busy.
//!
//! A frame that takes t0 at f0 takes at most t0 f0 / f at a lower f: time grows at most as the clock's cycles do. So a
//! few frames allow one jump down that is safe. With two clocks seen the exponent p of t ~ (1/f)^p is known between
//! them; below both it lies between p and 1, as what is bound by memory becomes bound by the clock, never the other way.

use std::collections::VecDeque;

use jetpace_tables::units::{Hertz, Nanos};
use jetpace_tables::work::ClockIndex;

/// Frames remembered at each clock.
const REMEMBERED: usize = 400;
/// Frames that tell the level of now.
const RECENT: usize = 12;
/// The level of now is another than before from here on, apart from what the spread explains.
const NEW_LEVEL: f64 = 0.05;
/// Two of so many frames late is no bad luck.
const CLOSE: u64 = 10;
/// A clock that once failed is tried again after so many frames.
const FORGET_AFTER: u64 = 1_000;
/// How sure it has to be that a clock misses more than the risk before it is left for that.
const SURE: f64 = 0.1;

/// What is known of a program's frames, and the clock that they call for.
#[derive(Debug)]
pub struct Governor {
    clocks: Vec<f64>,
    deadline: f64,
    risk: f64,
    /// Frames before a step down.
    least: usize,
    at: usize,
    /// Busy times at each clock since the load last changed, oldest first.
    seen: Vec<VecDeque<f64>>,
    /// Frames, and late ones, since the clock is this one.
    here: (u64, u64),
    /// The frame's number at which the last late one came.
    last_late: Option<u64>,
    frames: u64,
    /// A clock that did not do, and the frame at which that was seen.
    failed: Option<(usize, u64)>,
}

impl Governor {
    /// For a machine's clocks, ascending; begins at `at`. `least` frames are seen at a clock before it is left
    /// downwards.
    pub fn new(clocks: &[Hertz], at: ClockIndex, deadline: Nanos, risk: f64, least: usize) -> Self {
        Self {
            clocks: clocks.iter().map(|clock| clock.as_f64()).collect(),
            deadline: deadline.as_secs_f64(),
            risk,
            least: least.max(2),
            at: at.index(),
            seen: vec![VecDeque::new(); clocks.len()],
            here: (0, 0),
            last_late: None,
            frames: 0,
            failed: None,
        }
    }

    /// Takes what is known from an earlier run: the busy times of frames at a clock.
    pub fn know(&mut self, clock: usize, times: &[Nanos]) {
        if let Some(seen) = self.seen.get_mut(clock) {
            seen.extend(times.iter().take(REMEMBERED).map(|time| time.as_secs_f64()));
        }
    }

    /// The clock to begin with: the highest allowed one, or a lower one where what is known allows it.
    pub fn begin(&mut self, cap: ClockIndex) -> ClockIndex {
        self.at = cap.index();
        let known = self.seen.iter().any(|seen| seen.len() >= self.least);
        if known && let Some(lower) = self.lowest(cap.index()) {
            self.at = lower;
        }
        index(self.at)
    }

    /// What was seen at each clock, by its position.
    pub fn seen(&self) -> impl Iterator<Item = (usize, Vec<Nanos>)> {
        let times = |seen: &VecDeque<f64>| seen.iter().map(|time| Nanos::from_secs_f64(*time)).collect();
        self.seen.iter().map(times).enumerate()
    }

    /// Takes a frame that ran as a whole at the clock that was last given, and gives the one for the next.
    pub fn frame(&mut self, busy: Nanos, cap: ClockIndex) -> ClockIndex {
        if self.at > cap.index() {
            self.go(cap.index());
        }
        let busy = busy.as_secs_f64();
        let late = busy > self.deadline;
        self.frames += 1;
        self.here.0 += 1;
        self.here.1 += u64::from(late);
        let again = self.last_late.is_some_and(|at| self.frames - at < CLOSE);
        if late {
            self.last_late = Some(self.frames);
        }
        if let Some(seen) = self.seen.get_mut(self.at) {
            if seen.len() == REMEMBERED {
                seen.pop_front();
            }
            seen.push_back(busy);
        }
        let changed = self.forget_old_load();
        if late && (changed || again || self.is_new_here() || self.misses_too_many()) {
            self.raise(cap.index());
        } else if !late && self.seen.get(self.at).is_some_and(|seen| seen.len() >= self.least) {
            self.lower();
        }
        index(self.at)
    }

    /// A late frame soon after a step down tells of the step.
    fn is_new_here(&self) -> bool {
        self.here.0 <= CLOSE
    }

    /// Whether so many late ones would be unlikely if frames were late as seldom as they may.
    fn misses_too_many(&self) -> bool {
        let (frames, late) = self.here;
        late > 0 && at_least(frames as f64 * self.risk, late) < SURE
    }

    /// Where the frames of now take another time than those before, those before tell nothing any more.
    fn forget_old_load(&mut self) -> bool {
        let Some(seen) = self.seen.get(self.at) else { return false };
        let Some(before) = seen.len().checked_sub(RECENT).filter(|before| *before >= RECENT / 2) else { return false };
        let now: Vec<f64> = seen.iter().skip(before).copied().collect();
        let old: Vec<f64> = seen.iter().take(before).copied().collect();
        let (level, was) = (quantile(&now, 0.5), quantile(&old, 0.5));
        let spread = (quantile(&old, 0.84) - quantile(&old, 0.16)) / 2.0 / was.max(1e-9);
        // A median of so many has about 1.25 / sqrt(n) of the spread of one; three times that is no chance.
        let threshold = NEW_LEVEL + 3.0 * 1.25 * spread / (RECENT as f64).sqrt();
        if (level / was.max(1e-9) - 1.0).abs() < threshold {
            return false;
        }
        for seen in &mut self.seen {
            seen.clear();
        }
        // The change lies somewhere in the last ones: only those that are near the new level are of it.
        let of_now = now.into_iter().filter(|time| (time / level - 1.0).abs() < (time / was.max(1e-9) - 1.0).abs());
        if let Some(seen) = self.seen.get_mut(self.at) {
            seen.extend(of_now);
        }
        self.failed = None;
        self.here = (0, 0);
        true
    }

    /// Up: so far that what was just seen is in time if it goes with the root of the clock, and a step at least.
    fn raise(&mut self, cap: usize) {
        let Some(seen) = self.seen.get(self.at) else { return };
        let longest = seen.iter().rev().take(RECENT / 2).copied().fold(0.0, f64::max);
        let here = self.clock(self.at);
        let enough = (self.at + 1..=cap).find(|&clock| {
            let factor = (here / self.clock(clock)).sqrt();
            longest * factor <= self.deadline
        });
        self.failed = Some((self.at, self.frames));
        self.go(enough.unwrap_or(cap).max((self.at + 1).min(cap)));
    }

    fn lower(&mut self) {
        if let Some(lower) = self.lowest(self.at) {
            self.go(lower);
        }
    }

    /// The lowest clock below `from` at which frames are expected to be in time, if there is one.
    fn lowest(&self, from: usize) -> Option<usize> {
        let bar = self.failed.filter(|(_, when)| self.frames - when < FORGET_AFTER).map_or(0, |(clock, _)| clock + 1);
        let (tail, evidence) = self.tail();
        let goal = self.deadline * (1.0 - margin(evidence));
        (bar..from).find(|&clock| self.expected(clock).is_some_and(|time| time * tail <= goal))
    }

    /// The most that a middling frame is expected to take at a clock.
    fn expected(&self, clock: usize) -> Option<f64> {
        let known = |at: &usize| self.seen.get(*at).is_some_and(|seen| seen.len() >= self.least);
        let above = (clock..self.clocks.len()).find(known)?;
        if above == clock {
            return Some(self.median(clock));
        }
        let safe = self.median(above) * self.clock(above) / self.clock(clock);
        let Some(higher) = (above + 1..self.clocks.len()).find(known) else { return Some(safe) };
        let (low, high) = (self.clock(above), self.clock(higher));
        let exponent = ((self.median(above) / self.median(higher)).ln() / (high / low).ln()).clamp(0.0, 1.0);
        // Between what was seen and the most that there is; and not far beyond what was seen.
        let exponent = if clock + 2 >= above { (1.0 + exponent) / 2.0 } else { 1.0 };
        Some(self.median(above) * (low / self.clock(clock)).powf(exponent))
    }

    /// How much longer than the middling frame of its clock a frame takes that is later than all but the risk; and from
    /// how many frames that is known.
    fn tail(&self) -> (f64, usize) {
        let medians: Vec<f64> = (0..self.clocks.len()).map(|clock| self.median(clock)).collect();
        let ratios: Vec<f64> = self
            .seen
            .iter()
            .zip(&medians)
            .filter(|(seen, _)| seen.len() >= self.least)
            .flat_map(|(seen, median)| seen.iter().map(move |time| time / median.max(1e-9)))
            .collect();
        // Half of the risk, so that the other half is left for what is not known.
        (quantile(&ratios, 1.0 - self.risk / 2.0), ratios.len())
    }

    fn median(&self, clock: usize) -> f64 {
        let times: Vec<f64> = self.seen.get(clock).into_iter().flatten().copied().collect();
        quantile(&times, 0.5)
    }

    fn clock(&self, at: usize) -> f64 {
        self.clocks.get(at).copied().unwrap_or(1.0).max(1.0)
    }

    fn go(&mut self, to: usize) {
        if to != self.at {
            self.at = to;
            self.here = (0, 0);
            self.last_late = None;
        }
    }
}

/// At most 255 clocks are listed.
fn index(at: usize) -> ClockIndex {
    ClockIndex(at as u8)
}

/// How much of the deadline is kept free for what so many frames may not have shown.
fn margin(frames: usize) -> f64 {
    0.01 + 0.4 / frames.max(1) as f64
}

/// A quantile of some times; the highest of them where they are too few for it, 1 where there are none.
fn quantile(times: &[f64], part: f64) -> f64 {
    let mut sorted = times.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    let at = ((sorted.len() as f64 - 1.0) * part).ceil() as usize;
    sorted.get(at).or(sorted.last()).copied().unwrap_or(1.0)
}

/// The probability of at least `count` events where `mean` are expected (Poisson).
fn at_least(mean: f64, count: u64) -> f64 {
    let mut term = (-mean).exp();
    let mut below = 0.0;
    for k in 0..count {
        below += term;
        term *= mean / (k + 1) as f64;
    }
    (1.0 - below).max(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MHZ: [u64; 8] = [306, 408, 510, 612, 714, 816, 918, 1020];

    fn clocks() -> Vec<Hertz> {
        MHZ.iter().map(|mhz| Hertz::new(mhz * 1_000_000)).collect()
    }

    /// Runs frames of `ms(clock in MHz, frame)`; which clocks were taken, and how many frames were late.
    fn run(deadline: u64, frames: usize, ms: impl Fn(f64, usize) -> f64) -> (Vec<u64>, usize) {
        let mut governor = Governor::new(&clocks(), ClockIndex(7), Nanos::from_millis(deadline), 0.01, 8);
        let mut at = governor.begin(ClockIndex(7));
        let mut taken = Vec::new();
        let mut late = 0;
        for frame in 0..frames {
            let time = ms(MHZ[at.index()] as f64, frame);
            late += usize::from(time > deadline as f64);
            at = governor.frame(Nanos::from_secs_f64(time / 1e3), ClockIndex(7));
            taken.push(MHZ[at.index()]);
        }
        (taken, late)
    }

    #[test]
    fn what_the_clock_bounds_goes_down_in_one_safe_jump() {
        // 40 ms at the top: 66.7 ms at 612, 80 ms at 510.
        let (taken, late) = run(75, 100, |mhz, _| 40.0 * 1020.0 / mhz);
        assert_eq!((taken[6], taken[7], taken[99], late), (1020, 612, 612, 0));
    }

    #[test]
    fn what_memory_bounds_goes_further_once_two_clocks_are_seen() {
        let (taken, late) = run(75, 200, |mhz, _| (25.0f64.powi(2) + (25.0 * 1020.0 / mhz).powi(2)).sqrt());
        assert_eq!((taken[199], late), (408, 0), "{taken:?}");
    }

    #[test]
    fn a_step_too_far_costs_one_frame_and_is_not_repeated() {
        // In time at 510 and above; below, a cliff that nothing above foretells.
        let (taken, late) = run(75, 800, |mhz, _| if mhz < 500.0 { 90.0 } else { 40.0 });
        assert_eq!((taken[799], late), (510, 1), "{taken:?}");
    }

    #[test]
    fn a_heavier_load_raises_it_and_a_lighter_one_brings_it_down_again() {
        let load = |frame: usize| if (200..400).contains(&frame) { 60.0 } else { 30.0 };
        let (taken, late) = run(75, 600, |mhz, frame| load(frame) * 1020.0 / mhz);
        assert_eq!((taken[199], taken[399], taken[599]), (510, 816 + 102, 510), "{taken:?}");
        assert!(late <= 3, "{late}");
    }

    #[test]
    fn what_no_clock_keeps_runs_at_the_cap() {
        let (taken, _) = run(75, 50, |mhz, _| 100.0 * 1020.0 / mhz);
        assert!(taken.iter().all(|mhz| *mhz == 1020));
    }

    #[test]
    fn what_an_earlier_run_saw_is_where_the_next_begins() {
        let mut governor = Governor::new(&clocks(), ClockIndex(7), Nanos::from_millis(75), 0.01, 8);
        governor.know(3, &[Nanos::from_millis(66); 100]);
        assert_eq!(governor.begin(ClockIndex(7)), ClockIndex(3));
        assert_eq!(governor.begin(ClockIndex(2)), ClockIndex(2), "never above the cap");
    }

    #[test]
    fn unlikely_counts_are_found_unlikely() {
        assert!((at_least(1.0, 1) - 0.632).abs() < 1e-3);
        assert!((at_least(1.0, 4) - 0.019).abs() < 1e-3);
        assert_eq!(at_least(5.0, 0), 1.0);
    }
}
