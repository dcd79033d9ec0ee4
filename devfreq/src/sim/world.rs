//! One virtual board: its state, and how time passes on it.

use std::sync::Arc;

use jetpace_tables::units::Hertz;
use jetpace_tables::work::{Network, Size};

use super::boards::Spec;
use super::ina::{self, IIO_AVERAGE_S};
use super::measured::Measured;
use super::meter::{Meter, Split};
use super::noise::{Noise, Profile};
use super::physics::{Costs, SLOW};
use super::podgov::{POLL_NS, Podgov};
use super::rules::Devfreq;
use super::settle::{ClockPath, mean_s};
use super::thermal::Heat;

/// The railgate's default delay.
const RAILGATE_NS: u64 = 500_000_000;
/// No step of time is longer, so that heat and voltage follow.
const LONGEST_STEP_NS: u64 = 100_000_000;
/// Heat is brought up to date this often.
const HEAT_STEP_S: f64 = 0.01;
/// What accesses cost their caller. Assumed, as nobody has published it: a register read on the I2C bus, a call to
/// the firmware that sets a clock, and the rest.
const I2C_READ_NS: f64 = 120_000.0;
const CLOCK_WRITE_NS: f64 = 40_000.0;
const ACCESS_NS: u64 = 4_000;
/// The cooling device never takes more than this many clocks.
const MOST_THROTTLED: usize = 6;

/// A block that runs, over and over.
#[derive(Clone, Debug)]
struct Job {
    costs: Arc<Costs>,
    block: usize,
    started: u64,
    /// Part of the current execution that is left.
    left: f64,
    /// This execution's noise.
    factor: f64,
    repeats: usize,
}

/// The memory's clock.
#[derive(Clone, Debug)]
pub(super) struct Emc {
    pub clocks: Vec<Hertz>,
    pub cap: Hertz,
    pub rate: Hertz,
    pub locked: bool,
    pub state: bool,
}

impl Emc {
    /// The clock in effect: the highest allowed, unless it is locked. The real one follows the load where it is not
    /// locked; while the GPU works on a network that is the highest.
    pub fn current(&self) -> Hertz {
        let free = self.cap.min(*self.clocks.last().unwrap_or(&self.cap));
        if self.locked && self.state { self.rate.min(free) } else { free }
    }

    /// Asks for a rate. The firmware ignores one that it cannot give, without an error.
    pub fn ask(&mut self, rate: Hertz) {
        if self.clocks.contains(&rate) {
            self.rate = rate;
        }
    }

    /// Caps the clock at the highest one that is not above; 0 takes the cap away.
    pub fn set_cap(&mut self, cap: u64) {
        let below = self.clocks.iter().rev().find(|clock| cap == 0 || clock.get() <= cap);
        if let Some(&clock) = below.or(self.clocks.first()) {
            self.cap = clock;
        }
    }
}

/// The state of a virtual board.
#[derive(Debug)]
pub(super) struct World {
    pub spec: &'static Spec,
    /// Where it is made of measurements.
    measured: Option<&'static Measured>,
    pub seed: u64,
    now: u64,
    clocks_hz: Vec<f64>,
    pub devfreq: Devfreq,
    path: ClockPath,
    pub noise: Noise,
    podgov: Podgov,
    next_poll: u64,
    busy_ns: u64,
    polled_at: u64,
    /// Busy share between the last two polls, in thousandths: the node `load`.
    pub load: u64,
    job: Option<Job>,
    finished: Vec<u64>,
    idle_since: u64,
    pub gated: bool,
    pub railgate: bool,
    pub railgate_ns: u64,
    pub power_on: bool,
    pub emc: Emc,
    pub heat: Heat,
    heat_s: f64,
    heat_j: f64,
    pub meter: Meter,
    pub ina: Vec<ina::Settings>,
}

impl World {
    /// A board made of measurements.
    pub fn measured(measured: &'static Measured, seed: u64) -> Self {
        let noise = Noise::new(seed, measured.profile);
        Self { measured: Some(measured), noise, ..Self::new(&measured.spec, seed) }
    }

    pub fn new(spec: &'static Spec, seed: u64) -> Self {
        let clocks = spec.clocks();
        let emc_clocks = spec.emc_clocks();
        let top = emc_clocks.last().copied().unwrap_or(Hertz::ZERO);
        let gated = [spec.energy.gated_w, 0.0, 0.0, 0.0];
        Self {
            spec,
            measured: None,
            seed,
            now: 0,
            clocks_hz: clocks.iter().map(|clock| clock.as_f64()).collect(),
            devfreq: Devfreq::new(spec.kernel, &clocks, spec.governors, super::rules::PODGOV),
            path: ClockPath::new(0),
            noise: Noise::new(seed, Profile::CALM),
            podgov: Podgov::default(),
            next_poll: POLL_NS,
            busy_ns: 0,
            polled_at: 0,
            load: 0,
            job: None,
            finished: Vec::new(),
            idle_since: 0,
            gated: false,
            railgate: true,
            railgate_ns: RAILGATE_NS,
            power_on: false,
            emc: Emc { clocks: emc_clocks, cap: top, rate: top, locked: false, state: false },
            heat: Heat::new(spec.cooling, spec.energy.gated_w),
            heat_s: 0.0,
            heat_j: 0.0,
            meter: Meter::new(gated, IIO_AVERAGE_S),
            ina: spec.chips.iter().map(|_| ina::Settings::new(spec.ina)).collect(),
        }
    }

    pub fn now(&self) -> u64 {
        self.now
    }

    /// The clock in effect.
    pub fn running(&self) -> usize {
        self.path.running()
    }

    /// Costs of a network's blocks at the EMC clock of now.
    pub fn costs(&self, network: &Network, size: Size) -> Costs {
        let highest = self.emc.clocks.last().map_or(1.0, |hz| hz.as_f64());
        let emc = self.emc.current().as_f64() / highest;
        if let Some(measured) = self.measured {
            return measured.costs(network, size, emc);
        }
        Costs::new(&self.spec.speed, &self.spec.energy, network, size, &self.clocks_hz, emc)
    }

    /// Queues a block on the GPU; `repeats` executions, of which the durations are then in [`Self::finished`].
    pub fn start(&mut self, costs: Arc<Costs>, block: usize, repeats: usize) {
        self.wake();
        self.finished.clear();
        if repeats > 0 {
            let factor = self.noise.execution(self.now);
            self.job = Some(Job { costs, block, started: self.now, left: 1.0, factor, repeats });
        }
    }

    /// `power/control`: keeps the GPU from being railgated, and wakes it.
    pub fn set_power_on(&mut self, on: bool) {
        self.power_on = on;
        if on {
            self.wake();
        }
        // From here the delay starts anew.
        self.idle_since = self.now;
    }

    fn wake(&mut self) {
        if self.gated {
            self.gated = false;
            self.devfreq.set_suspended(false);
            self.path.restart(self.programmed());
            self.after_write();
        }
    }

    /// Whether the queued block has run to its end.
    pub fn done(&self) -> bool {
        self.job.is_none()
    }

    /// When the queued block will have ended if nothing changes until then.
    pub fn ends_at(&self) -> Option<u64> {
        let job = self.job.as_ref()?;
        let stalled = self.path.next(self.now).saturating_sub(self.now);
        let stall = if self.path.stalled(self.now) { stalled } else { 0 };
        Some(self.now + stall + (job.left * self.execution_s(job) * 1e9).ceil() as u64)
    }

    /// Durations of the executions since [`Self::start`], in nanoseconds.
    pub fn finished(&self) -> &[u64] {
        &self.finished
    }

    /// Lets time pass until the queued block is done, or until `limit`.
    pub fn run_until(&mut self, limit: u64) {
        while self.job.is_some() && self.now < limit {
            self.step(limit);
        }
    }

    /// Lets time pass. What is queued on the GPU goes on.
    pub fn advance(&mut self, until: u64) {
        while self.now < until {
            self.step(until);
        }
    }

    /// The module's power now.
    pub fn watts(&self) -> Split {
        let energy = &self.spec.energy;
        let leak = energy.leak_w_per_k * (self.heat.chip_c() - 45.0);
        if self.gated {
            return [energy.gated_w + leak, 0.0, 0.0, 0.0];
        }
        let clock = energy.clock_w(self.fraction(self.path.running()));
        match &self.job {
            None => [energy.idle_base_w + leak, clock * energy.idle_clock_share, 0.0, 0.0],
            Some(_) if self.path.stalled(self.now) => [energy.busy_base_w + leak, clock, 0.0, 0.0],
            Some(job) => {
                let cost = job.costs.at(job.block, self.path.running());
                let seconds = self.execution_s(job);
                [energy.busy_base_w + leak, clock, cost.flop_j / seconds, cost.byte_j / seconds]
            }
        }
    }

    /// What the mean settle time to a clock is multiplied with.
    pub fn settle_scale(&self, to: usize) -> f64 {
        self.measured.map_or(1.0, |measured| measured.settle_scale(to))
    }

    /// A clock as a fraction of the highest.
    pub fn fraction(&self, clock: usize) -> f64 {
        let highest = self.clocks_hz.last().copied().unwrap_or(1.0);
        self.clocks_hz.get(clock).copied().unwrap_or(highest) / highest
    }

    /// What reading a plain node costs.
    pub fn spend_access(&mut self) {
        self.advance(self.now + ACCESS_NS);
    }

    /// What reading a rail costs: the transfer, and the conversion where the driver waits for one.
    pub fn spend_rail(&mut self, chip: usize) {
        let conversion = self.ina.get(chip).and_then(ina::Settings::triggered_ns).unwrap_or(0);
        let transfer = I2C_READ_NS * self.noise.spread(0.1);
        self.advance(self.now + transfer as u64 + conversion);
    }

    /// What a write that sets a clock costs.
    pub fn spend_clock_write(&mut self) {
        let cost = CLOCK_WRITE_NS * self.noise.spread(0.3);
        self.advance(self.now + cost as u64);
    }

    /// Brings the GPU's clock in line with what the kernel now wants. Called behind everything that may change it.
    pub fn after_write(&mut self) {
        self.follow();
        if !self.devfreq.polls() {
            self.next_poll = u64::MAX;
        } else if self.next_poll == u64::MAX {
            self.restart_polls();
        }
    }

    fn restart_polls(&mut self) {
        self.next_poll = self.now + POLL_NS;
        (self.busy_ns, self.polled_at) = (0, self.now);
    }

    fn programmed(&self) -> usize {
        let running = self.devfreq.running().as_f64();
        self.clocks_hz.iter().position(|&hz| hz >= running).unwrap_or(self.clocks_hz.len() - 1)
    }

    fn follow(&mut self) {
        let to = self.programmed();
        if self.gated {
            self.path.restart(to);
            return;
        }
        let highest = self.clocks_hz.last().copied().unwrap_or(1.0);
        let (clocks, scale) = (&self.clocks_hz, self.settle_scale(to));
        let settle_s = |from: usize| scale * mean_s(clocks[from] / highest, clocks[to] / highest);
        self.path.ask(to, self.now, settle_s, &mut self.noise);
    }

    fn execution_s(&self, job: &Job) -> f64 {
        let cost = job.costs.at(job.block, self.path.running());
        let contention = self.noise.taken() / (1.0 - SLOW) * cost.slower_s;
        // An empty block still takes a nanosecond.
        ((cost.time_s + contention) * job.factor * (1.0 + self.noise.spike())).max(1e-9)
    }

    /// Passes time up to the next thing that happens, at most to `limit`, and lets it happen.
    fn step(&mut self, limit: u64) {
        let gate = self.gates_at();
        let next = limit
            .min(self.now + LONGEST_STEP_NS)
            .min(self.path.next(self.now))
            .min(self.noise.next_turn())
            .min(self.next_poll)
            .min(gate);
        let stalled = self.path.stalled(self.now);
        let mut ends = false;
        let mut to = next.max(self.now);
        if let (Some(job), false) = (&self.job, stalled) {
            let seconds = self.execution_s(job);
            let end = self.now + (job.left * seconds * 1e9).ceil().max(1.0) as u64;
            ends = end <= to;
            to = to.min(end);
            let part = (to - self.now) as f64 / 1e9 / seconds;
            self.pass(to);
            if let Some(job) = &mut self.job {
                job.left -= part;
            }
        } else {
            self.pass(to);
        }
        if ends {
            self.finish_execution();
        }
        self.happen(gate);
    }

    /// Time passes at even power.
    fn pass(&mut self, to: u64) {
        let span = to - self.now;
        if span == 0 {
            return;
        }
        let watts = self.watts();
        let seconds = span as f64 / 1e9;
        if self.job.is_some() {
            self.busy_ns += span;
        }
        self.now = to;
        self.meter.pass(to, seconds, &watts);
        self.heat_s += seconds;
        self.heat_j += seconds * watts.iter().sum::<f64>();
        if self.heat_s >= HEAT_STEP_S {
            let most = MOST_THROTTLED.min(self.clocks_hz.len() - 1);
            let changed = self.heat.pass(self.heat_s, self.heat_j / self.heat_s, most);
            (self.heat_s, self.heat_j) = (0.0, 0.0);
            if changed {
                let steps = self.heat.steps();
                let allowed = self.clocks_hz[self.clocks_hz.len() - 1 - steps.min(most)];
                self.devfreq.set_thermal_max((steps > 0).then_some(Hertz::new(allowed as u64)));
                self.follow();
            }
        }
    }

    fn finish_execution(&mut self) {
        let now = self.now;
        let Some(job) = &mut self.job else { return };
        self.finished.push(now - job.started);
        job.repeats -= 1;
        if job.repeats == 0 {
            self.job = None;
            self.idle_since = now;
        } else {
            job.started = now;
            job.left = 1.0;
            job.factor = self.noise.execution(now);
        }
    }

    /// When the GPU will be railgated if nothing comes.
    fn gates_at(&self) -> u64 {
        let may = self.job.is_none() && self.railgate && !self.power_on && !self.gated;
        if may { (self.idle_since + self.railgate_ns).max(self.now) } else { u64::MAX }
    }

    fn happen(&mut self, gate: u64) {
        let now = self.now;
        self.path.turn(now);
        if now >= self.noise.next_turn() {
            self.noise.turn(now);
        }
        if now >= gate && self.job.is_none() {
            self.gated = true;
            self.podgov.suspend(now);
            self.devfreq.set_suspended(true);
            self.after_write();
        }
        if now >= self.next_poll {
            self.poll();
        }
    }

    /// The stock governor's poll.
    fn poll(&mut self) {
        let span = (self.now - self.polled_at).max(1);
        self.load = (1000 * self.busy_ns / span).min(1000);
        let current = self.devfreq.programmed();
        let max = self.devfreq.bounds().1;
        let asked = self.podgov.poll(self.now, self.load as i64, current.get(), max.get());
        // Asked or not, a poll applies the bounds once more.
        self.devfreq.ask(asked.map_or(current, Hertz::new));
        if asked.is_some() && self.devfreq.programmed() != current {
            self.podgov.changed(self.now);
        }
        self.follow();
        self.restart_polls();
    }
}
