//! A feedback policy: a partially observed average-cost problem, solved by relative value iteration (White, J. Math.
//! Anal. Appl. 6, 1963; Puterman, Markov Decision Processes, 1994, chapter 8), each iteration backward over the frame.
//!
//! The belief is not carried along: of what slows blocks, a governor knows the time elapsed, and what follows from that
//! is worked out once, forward over the frame under the plan.
//!
//! What varies is taken apart into bursts (hidden, in units of the blocks' standard deviations, see [`crate::plan::rehearsal::bursts`])
//! and each block's own part. The state at a block's start is the clock in effect and the time elapsed; how likely each
//! burst is follows from the time elapsed. The policy minimises expected energy + price x P(miss). What a clock costs at
//! a block is summed over a change's settle time, so that a change is weighed with all that it takes.
//!
//! Each state's choices are cut to the form of an [`Entry`] (at most four clocks, falling with slack) while the
//! values are computed, so the values are those of the table that runs.

pub mod feedback;

use core::ops::Range;
use std::vec;
use std::vec::Vec;

use crate::math;
use crate::plan::rehearsal::bursts::MatchedBursts;
use crate::plan::schedule::graph::{Cost, Graph};
use crate::plan::{Noise, Plan, Problem, SizeClass};
use crate::table::{Entry, Rung, Table};
use crate::units::Nanos;
use feedback::Expected;

/// Elapsed times distinguished at a block's start.
const BINS: usize = 160;
/// They go from this fraction of the planned start time ...
const EARLY: f64 = 0.85;
/// ... to this one.
const LATE: f64 = 1.30;
/// Relative spread of the time elapsed at a given deviation that is always allowed for.
const BLUR: f64 = 0.004;

/// A deviation that is this much less likely than the likeliest one does not count.
const NEGLIGIBLE: f64 = 1e-7;
/// Frames looked back over, at most, and what they stand still by: a probability of a miss.
const FRAMES: usize = 8;
const STILL: f64 = 1e-3;
/// Part of what a start cost before that is kept from frame to frame.
const KEPT: f64 = 0.3;

/// What follows from a block's start at one clock: for each level of the burst that it starts in, and within it for each
/// bin. Behind the levels stands their mean: what follows where another burst begins.
#[derive(Clone, Debug, Default)]
struct CostToGo {
    energy: Vec<f64>,
    miss: Vec<f64>,
    /// Energy and the price of misses together.
    cost: Vec<f64>,
}

/// A choice at a block's start at one deviation: where in the bins of the next block's start one comes out, early and
/// late by what does not depend on the frame; a bin further on here is `slope` bins there.
#[derive(Clone, Copy, Debug)]
struct Landing {
    energy_j: f64,
    early: f64,
    late: f64,
}

/// A choice at a block's start: the node that it leads to, and its landings, one per deviation.
#[derive(Clone, Debug)]
struct Transition {
    to: usize,
    slope: f64,
    /// How likely the burst still lasts there.
    stays: f64,
    landings: Vec<Landing>,
}

impl Transition {
    /// What follows behind it from a level, by bin: of that level's values, or of their mean where the burst has ended.
    /// Behind the frame's end it is the same for all.
    fn next(&self, values: &[f64], level: usize) -> Vec<f64> {
        if values.len() == BINS {
            return values.to_vec();
        }
        let (of, mean) = (&values[level * BINS..(level + 1) * BINS], &values[values.len() - BINS..]);
        of.iter().zip(mean).map(|(of, mean)| self.stays * of + (1.0 - self.stays) * mean).collect()
    }
}

/// The bin below a place between bins, and how far from it to the next one the place is.
#[inline]
fn between(place: f64) -> (usize, f64) {
    let place = place.clamp(0.0, (BINS - 1) as f64 - 1e-9);
    let bin = place as usize;
    (bin, place - bin as f64)
}

/// The value at a place between bins.
fn at(values: &[f64], place: f64) -> f64 {
    let (bin, part) = between(place);
    values[bin] + part * (values[bin + 1] - values[bin])
}

/// What is asked of a policy.
#[derive(Clone, Copy)]
pub(in crate::plan) struct Choices {
    /// Of a miss, in joules.
    pub price: f64,
    /// Without the form of an entry.
    pub free: bool,
}

/// The program of one size class.
pub(in crate::plan) struct Program<'a> {
    share: f64,
    problem: &'a Problem,
    bursts: &'a MatchedBursts<'a>,
    /// Of changes that take the mean settle time, a short one and a long one: a standard deviation to either side.
    graphs: [Graph; 3],
    plan: &'a Plan,
    /// A burst's deviation at each clock, and how likely it is.
    levels: Vec<(Vec<f64>, f64)>,
    /// Mean and standard deviation of the levels' deviations at each clock.
    moments: Vec<(f64, f64)>,
    /// What a standard deviation is at each clock in the graph's costs, see [`Problem::spread_s`].
    units: Vec<f64>,
    /// Start of each block under the plan, and the frame's end.
    starts: Vec<f64>,
    /// For each block, level by level: the bins at which the level counts, and how likely it is together with the time
    /// elapsed, for each bin.
    beliefs: Vec<Vec<(Range<usize>, Vec<f64>)>>,
}

/// A distribution of a frame's deviation in a few levels, finer towards late frames.
fn levels(bursts: &MatchedBursts<'_>) -> Vec<(Vec<f64>, f64)> {
    const EDGES: [f64; 10] = [0.0, 0.25, 0.5, 0.75, 0.9, 0.96, 0.985, 0.995, 0.999, 1.0];
    EDGES
        .windows(2)
        .map(|edge| {
            const STEPS: usize = 8;
            let p = |i: usize| edge[0] + (edge[1] - edge[0]) * (i as f64 + 0.5) / STEPS as f64;
            let at = |clock| (0..STEPS).map(|i| bursts.deviation(clock, p(i))).sum::<f64>() / STEPS as f64;
            ((0..bursts.problem.clocks.len()).map(at).collect(), edge[1] - edge[0])
        })
        .collect()
}

/// What the policy of all size classes comes to per frame in the long run, and its entries: backward over the frame
/// again and again until what a frame costs more for starting at another clock stands still (relative value iteration).
/// `starts` is that, from clock (row) to clock on its way; what it holds before, from another price, is a start.
///
/// Part of what was there is kept: frames that start well and badly by turns would never stand still.
pub(in crate::plan) fn run(
    programs: &[Program<'_>],
    table: &Table,
    choices: Choices,
    starts: &mut Vec<Expected>,
) -> (Expected, Vec<Entry>) {
    let clocks = table.clocks.len();
    let Some(program) = programs.last() else { return (Expected::default(), Vec::new()) };
    starts.resize(clocks * clocks, Expected::default());
    let mut last = (Expected::default(), Vec::new());
    for _ in 0..FRAMES {
        let (mut found, mut entries) = (vec![Expected::default(); starts.len()], Vec::new());
        for program in programs {
            let (of_class, more) = program.frame(table, choices, starts);
            entries.extend(more);
            for (found, of_class) in found.iter_mut().zip(of_class) {
                found.energy_j += program.share * of_class.energy_j;
                found.miss += program.share * of_class.miss;
            }
        }
        last = (program.planned(table, &found), entries);
        let mut moved: f64 = 0.0;
        for (start, found) in starts.iter_mut().zip(&found) {
            let more = |of: f64, planned: f64, before: f64| (1.0 - KEPT) * (of - planned) + KEPT * before;
            let next = Expected {
                energy_j: more(found.energy_j, last.0.energy_j, start.energy_j),
                miss: more(found.miss, last.0.miss, start.miss),
            };
            let by = next.energy_j - start.energy_j + choices.price * (next.miss - start.miss);
            moved = moved.max(by.abs());
            *start = next;
        }
        if moved <= STILL * choices.price {
            break;
        }
    }
    last
}

/// For each level the bins at which it counts, and how likely it is at each bin.
fn counting(weights: &[f64]) -> Vec<(Range<usize>, Vec<f64>)> {
    let weights: Vec<&[f64]> = weights.chunks(BINS).collect();
    let most: Vec<f64> = (0..BINS).map(|bin| weights.iter().map(|of| of[bin]).fold(0.0, f64::max)).collect();
    let of = |level: &&[f64]| {
        let counts = |bin: &usize| level[*bin] > NEGLIGIBLE * most[*bin];
        let first = (0..BINS).find(counts).unwrap_or(BINS);
        let behind = (first..BINS).rfind(counts).map_or(first, |bin| bin + 1);
        (first..behind, level.to_vec())
    };
    weights.iter().map(of).collect()
}

impl<'a> Program<'a> {
    pub fn new((class, bursts): &'a (SizeClass<'a>, MatchedBursts<'a>)) -> Self {
        let (problem, plan, share) = (class.problem, class.plan, class.share);
        let mut starts = plan.block_starts_s.clone();
        starts.push(plan.outcome.time_s);
        let unit = |clock| match &problem.noise {
            Noise::Frames { .. } => problem.deviation(clock, 1.0 - problem.risk).max(1e-6),
            Noise::Moments { .. } => 1.0,
        };
        let units = (0..problem.clocks.len()).map(unit).collect();
        let levels = levels(bursts);
        let moment = |clock: usize| {
            let sum = |power| levels.iter().map(|(of, share)| share * of[clock].powi(power)).sum::<f64>();
            let mean = sum(1);
            (mean, (sum(2) - mean * mean).max(0.0).sqrt())
        };
        let moments = (0..problem.clocks.len()).map(moment).collect();
        let graphs = [0.0, -1.0, 1.0].map(|sign| match sign {
            0.0 => Graph::new(problem, 0.0),
            sign => {
                let mut other = problem.clone();
                for change in &mut other.changes {
                    change.settle_s = (change.settle_s + sign * change.settle_sd_s).max(0.1 * change.settle_s);
                    (change.settle_sd_s, change.settle_late_s) = (0.0, change.settle_s);
                }
                Graph::new(&other, 0.0)
            }
        });
        let mut program =
            Self { share, problem, bursts, graphs, plan, levels, moments, units, starts, beliefs: Vec::new() };
        program.beliefs = program.forward().iter().map(|weights| counting(weights)).collect();
        program
    }

    /// The elapsed time of a bin at a block's start.
    fn elapsed(&self, block: usize, bin: usize) -> f64 {
        let planned = self.starts[block];
        planned * (EARLY + (LATE - EARLY) * bin as f64 / (BINS - 1) as f64)
    }

    /// By how much a stretch of the frame deviates that starts in a burst of a level: its mean and what varies about it,
    /// in standard deviations, and how likely the burst outlasts it.
    fn stretch(&self, clock: usize, level: usize, time_s: f64) -> (f64, f64, f64) {
        let x = (time_s / self.bursts.length_s).max(1e-9);
        let stays = math::exp(-x);
        // Of the stretch, the part that the first burst takes; the variance of the mean over all bursts in it.
        let first = (1.0 - stays) / x;
        let variance = 2.0 / x * (1.0 - first);
        let (mean, sd) = self.moments[clock];
        let deviation = first * self.levels[level].0[clock] + (1.0 - first) * mean;
        (deviation, (variance - first * first).max(0.0).sqrt() * sd, stays)
    }

    /// How likely each level is at each block's start together with each time elapsed, while the plan is followed.
    fn forward(&self) -> Vec<Vec<f64>> {
        let levels = self.levels.len();
        let prior = |weight: f64| self.levels.iter().flat_map(move |level| vec![weight * level.1; BINS]);
        let mut found: Vec<Vec<f64>> = vec![prior(1.0).collect()];
        // Of the first block, all bins are its start.
        let mut here: Vec<f64> = prior(1.0 / BINS as f64).collect();
        for (i, (block, clock)) in self.problem.blocks.iter().zip(&self.plan.block_clocks).enumerate() {
            let Some(next_s) = self.starts.get(i + 1).filter(|_| i + 1 < self.problem.blocks.len()) else { break };
            let (time_s, sd_s) = (next_s - self.starts[i], block.time_sd_s[*clock]);
            let mut next = vec![0.0; levels * BINS];
            let mut stays = 1.0;
            for level in 0..levels {
                let (deviation, varies, lasts) = self.stretch(*clock, level, time_s);
                stays = lasts;
                let own = math::hypot(math::hypot(self.bursts.own, varies) * sd_s, BLUR * next_s);
                for bin in 0..BINS {
                    let weight = here[level * BINS + bin];
                    let mean_s = self.elapsed(i, bin) + time_s + deviation * sd_s;
                    for time_s in [mean_s - own, mean_s + own] {
                        let (low, part) = between(self.place(i + 1, time_s));
                        next[level * BINS + low] += 0.5 * weight * (1.0 - part);
                        next[level * BINS + low + 1] += 0.5 * weight * part;
                    }
                }
            }
            for bin in 0..BINS {
                let all: f64 = (0..levels).map(|level| next[level * BINS + bin]).sum();
                for (level, (_, share)) in self.levels.iter().enumerate() {
                    let at = &mut next[level * BINS + bin];
                    *at = stays * *at + (1.0 - stays) * share * all;
                }
            }
            // A time that the plan does not lead to says nothing of the burst.
            found.push(next.iter().zip(prior(1e-9)).map(|(weight, floor)| weight + floor).collect());
            here = next;
        }
        found
    }

    /// The place among the bins of a block's start.
    fn place(&self, block: usize, elapsed_s: f64) -> f64 {
        (elapsed_s / self.starts[block].max(1e-12) - EARLY) / (LATE - EARLY) * (BINS - 1) as f64
    }

    fn clocks(&self) -> usize {
        self.problem.clocks.len()
    }

    /// What follows a choice: two arcs that are equally likely, each with the node or the tail behind it. A change
    /// takes a short time or a long one, and may land in another block for it.
    fn arcs(&self, block: usize, clock: usize, choice: usize) -> [(Cost, usize); 2] {
        let lead = self.plan.schedule.writes.iter().find(|w| w.block == block && w.delay_s > 0.0);
        // As the governor does it: only from the clock that the plan has there.
        let lead = lead.filter(|_| self.planned_clock(block) == choice);
        let find = |of: usize| {
            let (graph, before) = (&self.graphs[of], &self.graphs[..of]);
            let plain = graph.choose(block, clock, choice);
            let arc = lead.map_or(*plain, |lead| graph.then(plain, lead));
            // The tails of the graphs stand one behind the other.
            let tails: usize = before.iter().map(|graph| graph.tails.len()).sum();
            let to = arc.node as usize;
            (arc.cost, if to < graph.nodes() { to } else { to + tails })
        };
        if choice == clock { [find(0); 2] } else { [find(1), find(2)] }
    }

    /// The clock that the plan has in effect or on its way at a block's start.
    fn planned_clock(&self, block: usize) -> usize {
        let schedule = &self.plan.schedule;
        let before = schedule.writes.iter().rfind(|w| w.block < block || (w.block == block && w.delay_s == 0.0));
        before.map_or(schedule.first(), |w| w.to)
    }

    /// Costs to go behind the frame's end, by bin, whatever the burst: the gap, and what the next frame costs more where it
    /// does not start as planned. `clock` is in effect once a change from another one is, which takes the given time.
    fn end(
        &self,
        table: &Table,
        clock: usize,
        change: Option<(usize, f64)>,
        starts: &[Expected],
        price: f64,
    ) -> CostToGo {
        let problem = self.problem;
        let (idle, first) = (table.gap.idle.index(), table.gap.first.index());
        let settle = if clock == idle { 0.0 } else { problem.change(clock, idle).settle_s };
        let wake_lead_s = table.gap.wake_lead.as_secs_f64();
        let start = |from: usize, to: usize| starts[from * self.clocks() + to];
        let planned = self.planned(table, starts);
        let mut values = CostToGo::default();
        for bin in 0..BINS {
            let elapsed = self.elapsed(self.problem.blocks.len(), bin);
            let left = (problem.period_s - elapsed).max(0.0);
            // As the governor does it: the idle clock where there is time to.
            let worth = clock != idle && settle < left - wake_lead_s;
            let (idles, changes) = if worth { (idle, settle) } else { (clock, 0.0) };
            let mut energy = problem.idle_w[idles] * left + (problem.idle_w[clock] - problem.idle_w[idles]) * changes;
            let mut miss = f64::from(elapsed > problem.deadline_s);
            if !worth {
                // The clock of the next frame, and what may still be on its way to it there.
                let woken = wake_lead_s > 0.0 && clock != first;
                let (next, on_its_way) = if woken {
                    (first, Some((clock, problem.change(clock, first).settle_s - left.min(wake_lead_s))))
                } else {
                    (clock, change.map(|(from, takes)| (from, takes - left)))
                };
                let found = self.started(next, on_its_way, start);
                energy += found.energy_j - planned.energy_j;
                miss += found.miss - planned.miss;
            }
            // A frame that outlasts its period delays the next one, at the price of what it draws meanwhile.
            energy += problem.idle_w[clock] * (elapsed - problem.period_s).max(0.0);
            values.energy.push(energy);
            values.miss.push(miss);
        }
        values.price(price);
        values
    }

    /// What a frame costs that starts as the table has it, of what it costs from clock to clock.
    fn planned(&self, table: &Table, starts: &[Expected]) -> Expected {
        let (idle, first) = (table.gap.idle.index(), table.gap.first.index());
        let lead_s = table.gap.wake_lead.as_secs_f64();
        let wakes = idle != first && lead_s > 0.0;
        let change = wakes.then(|| (idle, self.problem.change(idle, first).settle_s - lead_s));
        self.started(first, change, |from, to| starts[from * self.clocks() + to])
    }

    /// What a frame costs at whose start a clock is in effect, or on its way from another one for so long: between a
    /// change that is done and one written at the start.
    fn started(
        &self,
        clock: usize,
        change: Option<(usize, f64)>,
        start: impl Fn(usize, usize) -> Expected,
    ) -> Expected {
        let plain = start(clock, clock);
        let Some((from, left_s)) = change else { return plain };
        let part = (left_s / self.problem.change(from, clock).settle_s.max(1e-12)).clamp(0.0, 1.0);
        let late = start(from, clock);
        Expected {
            energy_j: plain.energy_j + part * (late.energy_j - plain.energy_j),
            miss: plain.miss + part * (late.miss - plain.miss),
        }
    }

    /// Where a choice leads, with equal likelihood.
    fn transitions(&self, block: usize, clock: usize, choice: usize) -> [Transition; 2] {
        self.arcs(block, clock, choice).map(|arc| self.transition(block, clock, arc))
    }

    fn transition(&self, block: usize, clock: usize, (cost, to): (Cost, usize)) -> Transition {
        let next = (to / self.clocks()).min(self.problem.blocks.len());
        let sd_s = cost.sd_s / self.units[clock];
        let mut stays = 1.0;
        let landing = |level| {
            let (deviation, varies, lasts) = self.stretch(clock, level, cost.time_s);
            stays = lasts;
            // A block's own part, bursts that begin in it, and a lead's settle time.
            let own = math::hypot(math::hypot(self.bursts.own, varies) * sd_s, cost.var_s2.sqrt());
            let mean_s = (cost.time_s + deviation * sd_s).max(0.0);
            let energy_j = cost.energy_j * mean_s / cost.time_s;
            let at = |time_s: f64| self.place(next, self.elapsed(block, 0) + time_s);
            Landing { energy_j, early: at(mean_s - own), late: at(mean_s + own) }
        };
        let landings = (0..self.levels.len()).map(landing).collect();
        Transition { to, slope: self.starts[block] / self.starts[next].max(1e-12), stays, landings }
    }

    /// Backward over one frame: what it costs from each clock (row) with a change to each other one just written, and
    /// its entries.
    fn frame(&self, table: &Table, choices: Choices, next_frame: &[Expected]) -> (Vec<Expected>, Vec<Entry>) {
        let (blocks, clocks) = (self.problem.blocks.len(), self.clocks());
        let mut values = vec![CostToGo::default(); blocks * clocks];
        let end = |clock, change| self.end(table, clock, change, next_frame, choices.price);
        values.extend((0..clocks).map(|clock| end(clock, None)));
        values.extend(self.graphs.iter().flat_map(|graph| &graph.tails).map(|tail| match tail.written_at_end {
            true => CostToGo::default(),
            false => end(tail.idle, Some((tail.from, tail.settle_s))),
        }));
        let mut starts = vec![Expected::default(); clocks * clocks];
        let mut entries = vec![Entry::always(table.safe); blocks * clocks];
        for block in (0..blocks).rev() {
            let beliefs = &self.beliefs[block];
            for clock in 0..clocks {
                let node = block * clocks + clock;
                // Anew for every frame: kept for all nodes they are no faster, as they fall out of the cache.
                let transitions: Vec<_> = (0..clocks).map(|choice| self.transitions(block, clock, choice)).collect();
                let mut costs = vec![f64::INFINITY; BINS * clocks];
                for (choice, transition) in transitions.iter().enumerate() {
                    let mut sums = [0.0; BINS];
                    let both = transition
                        .iter()
                        .flat_map(|transition| (0..beliefs.len()).map(move |level| (transition, level)));
                    for (transition, level) in both {
                        let (landing, (bins, weights)) = (&transition.landings[level], &beliefs[level]);
                        let next = transition.next(&values[transition.to].cost, level);
                        for bin in bins.clone() {
                            let here = transition.slope * bin as f64;
                            let both = at(&next, here + landing.early) + at(&next, here + landing.late);
                            sums[bin] += weights[bin] * (landing.energy_j + 0.5 * both);
                        }
                    }
                    for (bin, sum) in sums.iter().enumerate() {
                        costs[bin * clocks + choice] = *sum;
                    }
                }
                let chosen = if choices.free { cheapest(&costs, clocks) } else { falling(&costs, clocks) };
                entries[node] = self.entry(table, block, &chosen);
                values[node] = self.follow(&transitions, &chosen, &values, choices.price);
                if block == 0 {
                    let start = |values: &CostToGo| Expected {
                        energy_j: values.energy[self.levels.len() * BINS],
                        miss: values.miss[self.levels.len() * BINS],
                    };
                    for (choice, transition) in transitions.iter().enumerate() {
                        let with = |transitions| self.begun(transitions, &values);
                        starts[node * clocks + choice] =
                            if choice == clock { start(&values[node]) } else { with(transition) };
                    }
                }
            }
        }
        (starts, entries)
    }

    /// What a frame comes to that starts with a choice.
    fn begun(&self, transitions: &[Transition; 2], values: &[CostToGo]) -> Expected {
        let mut found = Expected::default();
        for (transition, (level, (_, share))) in
            transitions.iter().flat_map(|transition| self.levels.iter().enumerate().map(move |l| (transition, l)))
        {
            let (landing, values) = (&transition.landings[level], &values[transition.to]);
            let mean = |of: &[f64]| {
                let mean = &of[of.len() - BINS..];
                let of = of.chunks(BINS).nth(level).unwrap_or(mean);
                let both = |of: &[f64]| 0.5 * (at(of, landing.early) + at(of, landing.late));
                transition.stays * both(of) + (1.0 - transition.stays) * both(mean)
            };
            found.energy_j += 0.5 * share * (landing.energy_j + mean(&values.energy));
            found.miss += 0.5 * share * mean(&values.miss);
        }
        found
    }

    /// The values of a block's start at which these choices are made, one per bin.
    fn follow(&self, transitions: &[[Transition; 2]], chosen: &[usize], values: &[CostToGo], price: f64) -> CostToGo {
        let mut found = CostToGo::default();
        let mut mean = (vec![0.0; BINS], vec![0.0; BINS]);
        for (level, (_, share)) in self.levels.iter().enumerate() {
            let behind = |transition: &Transition| {
                let values = &values[transition.to];
                (transition.next(&values.energy, level), transition.next(&values.miss, level))
            };
            let next: Vec<_> = transitions
                .iter()
                .enumerate()
                .map(|(choice, transitions)| chosen.contains(&choice).then(|| transitions.each_ref().map(behind)))
                .collect();
            for (bin, choice) in chosen.iter().enumerate() {
                let (mut energy, mut miss) = (0.0, 0.0);
                for (transition, next) in transitions[*choice].iter().zip(next[*choice].iter().flatten()) {
                    let (landing, here) = (&transition.landings[level], transition.slope * bin as f64);
                    let mean = |of: &[f64]| 0.5 * (at(of, here + landing.early) + at(of, here + landing.late));
                    energy += 0.5 * (landing.energy_j + mean(&next.0));
                    miss += 0.5 * mean(&next.1);
                }
                found.energy.push(energy);
                found.miss.push(miss);
                mean.0[bin] += share * energy;
                mean.1[bin] += share * miss;
            }
        }
        found.energy.extend(mean.0);
        found.miss.extend(mean.1);
        found.price(price);
        found
    }

    /// Choices by bin, the earliest first, as an entry by slack.
    fn entry(&self, table: &Table, block: usize, chosen: &[usize]) -> Entry {
        let first = Rung(chosen[BINS - 1] as u8);
        let mut steps: Vec<(u16, Rung)> = Vec::new();
        for bin in (0..BINS - 1).rev() {
            if chosen[bin] != chosen[bin + 1] {
                let between = 0.5 * (self.elapsed(block, bin) + self.elapsed(block, bin + 1));
                let slack = Nanos::from_secs_f64(self.problem.deadline_s - between);
                steps.push((table.slack_units(slack), Rung(chosen[bin] as u8)));
            }
        }
        Entry::new(first, &steps).unwrap_or(Entry::always(first))
    }
}

impl CostToGo {
    fn price(&mut self, price: f64) {
        self.cost = self.energy.iter().zip(&self.miss).map(|(energy, miss)| energy + price * miss).collect();
    }
}

/// The cheapest choice of each bin.
fn cheapest(costs: &[f64], clocks: usize) -> Vec<usize> {
    let least = |row: &[f64]| (0..clocks).min_by(|a, b| row[*a].total_cmp(&row[*b])).unwrap_or(0);
    costs.chunks(clocks).map(least).collect()
}

/// The choices of least total cost among those that an entry can hold: rising with time elapsed, four at most.
fn falling(costs: &[f64], clocks: usize) -> Vec<usize> {
    const RUNS: usize = 4;
    let states = RUNS * clocks;
    let mut total = vec![f64::INFINITY; states];
    let mut came = vec![0u8; costs.len() / clocks * states];
    for (bin, row) in costs.chunks(clocks).enumerate() {
        let before = core::mem::replace(&mut total, vec![f64::INFINITY; states]);
        for run in 0..RUNS {
            // The cheapest lower clock with one run fewer.
            let mut lower = (f64::INFINITY, 0);
            for (clock, cost) in row.iter().enumerate() {
                let state = run * clocks + clock;
                let stay = if bin == 0 && run == 0 { 0.0 } else { before[state] };
                let (least, from) = if lower.0 < stay { lower } else { (stay, state) };
                if bin > 0 || run == 0 {
                    total[state] = least + cost;
                    came[bin * states + state] = from as u8;
                }
                if bin > 0 && run > 0 {
                    let state = (run - 1) * clocks + clock;
                    if before[state] < lower.0 {
                        lower = (before[state], state);
                    }
                }
            }
        }
    }
    let mut state = (0..states).min_by(|a, b| total[*a].total_cmp(&total[*b])).unwrap_or(0);
    let mut chosen = vec![0; costs.len() / clocks];
    for bin in (0..chosen.len()).rev() {
        chosen[bin] = state % clocks;
        state = came[bin * states + state] as usize;
    }
    chosen
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn choices_rise_with_time_and_have_four_runs_at_most() {
        // Two clocks: the lower one is cheaper in bins 0..2, and once again, not worth a step back, in bin 3.
        let costs = [0.0, 1.0, 0.0, 1.0, 2.0, 0.0, 1.0, 1.5, 3.0, 0.0];
        assert_eq!(falling(&costs, 2), [0, 0, 1, 1, 1]);
        assert_eq!(cheapest(&costs, 2), [0, 0, 1, 0, 1]);
    }
}
