//! How soon a change of frames' times is found, and how seldom one that is not there.

use jetpace_tables::governor::Drift;
use jetpace_tables::units::Nanos;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

/// Frames a second, and a year of them.
const RATE: f64 = 30.0;
const YEAR: f64 = RATE * 365.25 * 86_400.0;

/// What varies without a change: the harsh profile of the virtual boards, as frames see it. A deviation that is forgotten over
/// half a second, one of each frame's own, and bursts of a quarter of a second every four seconds that slow a frame by up
/// to 12 %: 22 % of the bandwidth, for frames that wait for memory four tenths of their time.
const SLOW_SD: f64 = 0.010;
const SLOW_S: f64 = 0.5;
const OWN_SD: f64 = 0.004;
const BURST_S: f64 = 0.25;
const BURST_EVERY_S: f64 = 4.0;
const BURST: f64 = 0.12;

/// By how much the model of an honest sweep is off: more than any of the tables in RESULTS.
const BIAS: f64 = 0.01;

struct Frames {
    random: StdRng,
    slow: f64,
    burst: Option<f64>,
}

impl Frames {
    fn new(seed: u64) -> Self {
        Self { random: StdRng::seed_from_u64(seed), slow: 0.0, burst: None }
    }

    fn normal(&mut self) -> f64 {
        // Twelve uniforms have the variance of one; their tails are cut at six, which matters to no sum of hundreds.
        (0..12).map(|_| self.random.random::<f64>()).sum::<f64>() - 6.0
    }

    /// The next frame's deviation.
    fn next(&mut self) -> f64 {
        let keep = (-1.0 / (RATE * SLOW_S)).exp();
        self.slow = keep * self.slow + (1.0 - keep * keep).sqrt() * SLOW_SD * self.normal();
        let turns = if self.burst.is_some() { BURST_S } else { BURST_EVERY_S };
        if self.random.random_bool(1.0 / (RATE * turns)) {
            self.burst = match self.burst {
                None => Some(self.random.random_range(0.0..BURST)),
                Some(_) => None,
            };
        }
        self.slow + OWN_SD * self.normal() + self.burst.unwrap_or(0.0)
    }
}

/// A frame that takes so much longer than ten milliseconds.
fn take(drift: &mut Drift, longer: f64) -> bool {
    drift.take(Nanos::from_secs_f64(0.010 * (1.0 + longer)), Nanos::from_millis(10))
}

/// Frames until a lasting change is found, behind a thousand without one.
fn found_after(seed: u64, change: f64) -> (usize, f64) {
    let (mut frames, mut drift) = (Frames::new(seed), Drift::default());
    for _ in 0..1_000 {
        assert!(!take(&mut drift, frames.next()), "seed {seed}");
    }
    let after = (1..10_000).find(|_| take(&mut drift, (1.0 + frames.next()) * (1.0 + change) - 1.0));
    (after.unwrap_or_else(|| panic!("seed {seed}: {change} is not found")), drift.share())
}

#[test]
fn a_lasting_change_is_found_soon_and_its_size_is_known() {
    // Frames that take less miss no deadline: there is time.
    for (change, within) in [(0.05, 1_000), (0.20, 50), (-0.05, 1_000), (-0.20, 1_000)] {
        let found: Vec<(usize, f64)> = (0..100).map(|seed| found_after(seed, change)).collect();
        let latest = found.iter().max_by_key(|(after, _)| *after).unwrap();
        let (least, most) = found.iter().fold((1.0_f64, -1.0_f64), |(a, b), (_, s)| (a.min(*s), b.max(*s)));
        println!("{change:+}: within {} frames of {within}; taken for {least:+.3} to {most:+.3}", latest.0);
        assert!(latest.0 <= within, "{change}: {latest:?}");
        assert!((least - change).abs() < 0.06 && (most - change).abs() < 0.06, "{change}: {least} to {most}");
    }
}

#[test]
fn ten_million_frames_without_a_change_raise_no_alarm() {
    for bias in [BIAS, -BIAS] {
        let (mut frames, mut drift) = (Frames::new(7), Drift::default());
        for frame in 0..5_000_000 {
            assert!(!take(&mut drift, frames.next() + bias), "frame {frame}, {bias:+}");
        }
    }
}

#[test]
fn what_ends_is_no_longer_allowed_for() {
    let (mut frames, mut drift) = (Frames::new(3), Drift::default());
    while !take(&mut drift, frames.next() + 0.08) {}
    assert!(drift.share() > 0.05, "{}", drift.share());
    let back = (1..2_000).find(|_| take(&mut drift, frames.next()));
    assert!(back.is_some_and(|frames| frames < 1_000) && drift.off_ppm() == 0, "{back:?}: {}", drift.share());
}

/// A chart's allowance, the most that it takes of a frame, and its alarm, as `tables/src/governor/drift.rs` has them.
const CHARTS: [(f64, f64, f64); 2] = [(0.02, 0.05, 8.0), (0.14, 0.20, 2.0)];

/// Alarms a year at most, where frames vary as [`Frames`] do about a bias.
///
/// A chart's sum over frames that depend on a Markov chain exceeds `h` with probability `C exp(-theta h)` at most, from any
/// frame on, where `theta` makes the greatest eigenvalue of the chain's transitions, weighed with `exp(theta x)`, one, and `C`
/// is the ratio of its eigenvector's parts (the exponential martingale; Asmussen, "Ruin Probabilities", on Markov-modulated
/// walks). The chain has the slow deviation on a grid of 25 points, times none and one of four strengths of a burst.
fn alarms_a_year((allowed, most, alarm): (f64, f64, f64), bias: f64) -> f64 {
    const GRID: usize = 25;
    const BURSTS: usize = 5;
    let keep = (-1.0 / (RATE * SLOW_S)).exp();
    let step = 12.0 / (GRID - 1) as f64;
    let at = |i: usize| -6.0 + step * i as f64;
    let density = |x: f64, sd: f64| (-0.5 * (x / sd).powi(2)).exp();
    let slow: Vec<Vec<f64>> = (0..GRID)
        .map(|i| {
            let row: Vec<f64> = (0..GRID).map(|j| density(at(j) - keep * at(i), (1.0 - keep * keep).sqrt())).collect();
            let sum: f64 = row.iter().sum();
            row.iter().map(|p| p / sum).collect()
        })
        .collect();
    // A burst counts as the strongest of its quarter.
    let strength = |burst: usize| BURST * burst as f64 / (BURSTS - 1) as f64;
    let (begins, ends) = (1.0 / (RATE * BURST_EVERY_S), 1.0 / (RATE * BURST_S));
    let turn = |from: usize, to: usize| match (from, to) {
        (0, 0) => 1.0 - begins,
        (0, _) => begins / (BURSTS - 1) as f64,
        (_, 0) => ends,
        _ => f64::from(u8::from(from == to)) * (1.0 - ends),
    };
    let states = GRID * BURSTS;
    let moves = |s: usize, t: usize| slow[s / BURSTS][t / BURSTS] * turn(s % BURSTS, t % BURSTS);
    // How often the chain is where.
    let mut often = vec![1.0 / states as f64; states];
    for _ in 0..1_000 {
        often = (0..states).map(|t| (0..states).map(|s| often[s] * moves(s, t)).sum()).collect();
    }
    // The greatest eigenvalue and the spread of its eigenvector, by powers.
    let eigen = |theta: f64| {
        let own: Vec<f64> = (0..states)
            .map(|s| {
                let mean = bias + SLOW_SD * at(s / BURSTS) + strength(s % BURSTS);
                let of = |i: i32| {
                    let x = f64::from(i) * 0.25;
                    let taken = (mean + OWN_SD * x).clamp(-most, most) - allowed;
                    (density(x, 1.0), density(x, 1.0) * (theta * taken).exp())
                };
                let (all, weighed) = (-24..=24).map(of).fold((0.0, 0.0), |(a, b), (c, d)| (a + c, b + d));
                weighed / all
            })
            .collect();
        let (mut vector, mut value) = (vec![1.0; states], 1.0);
        for _ in 0..400 {
            let next: Vec<f64> =
                (0..states).map(|s| (0..states).map(|t| moves(s, t) * own[t] * vector[t]).sum()).collect();
            value = next.iter().copied().fold(0.0, f64::max);
            vector = next.iter().map(|v| v / value).collect();
        }
        let rises = |s: usize| bias + SLOW_SD * at(s / BURSTS) + strength(s % BURSTS) + 6.0 * OWN_SD > allowed;
        let least = (0..states).filter(|s| rises(*s)).map(|s| vector[s]).fold(f64::INFINITY, f64::min);
        let mean: f64 = vector.iter().zip(&often).map(|(v, p)| v * p).sum();
        (value, mean / least)
    };
    let (mut low, mut high) = (0.0, 100.0);
    for _ in 0..16 {
        let middle = 0.5 * (low + high);
        if eigen(middle).0 < 1.0 { low = middle } else { high = middle }
    }
    let (value, spread) = eigen(low);
    assert!(value <= 1.0 && low > 0.0);
    YEAR * spread * (-low * alarm).exp()
}

#[test]
fn less_than_one_false_alarm_a_year_by_theory() {
    for chart in CHARTS {
        for bias in [-BIAS, 0.0, BIAS] {
            let alarms = alarms_a_year(chart, bias);
            println!("{chart:?}, bias {bias:+}: {alarms:.1e} alarms a year at most");
            assert!(alarms < 1.0, "{chart:?}, bias {bias}: {alarms}");
        }
    }
}
