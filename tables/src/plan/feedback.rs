//! The feedback policy, by dynamic programming backward over the frame.
//!
//! What varies is taken apart into a deviation that a whole frame has in common (hidden, in units of the blocks'
//! standard deviations; its distribution is the measured frames', or a normal one) and each block's own part. The
//! state at a block's start is the clock in effect and the time elapsed; how likely each deviation is follows from
//! the time elapsed. The policy
//! minimises expected energy + price x P(miss). What a clock costs at a block is summed over a change's settle time, so that a change is weighed with all
//! that it takes.
//!
//! Several prices are tried; every table is rehearsed with the real governor, and the one of least energy among those
//! that miss no more often than the list is taken, or the list itself.
//!
//! Each state's choices are cut to the form of an [`Entry`] (at most four clocks, falling with slack) while the
//! values are computed, so the values are those of the table that runs.

use std::vec;
use std::vec::Vec;

use super::graph::{Cost, Graph};
use super::rehearse::{REHEARSAL, rehearse};
use super::{Noise, Plan, Problem};
use crate::math;
use crate::table::{Entry, Rung, Table, TableError};
use crate::units::Nanos;

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
/// Frames looked back over, at most.
const FRAMES: usize = 4;
/// Prices of a miss that are tried: from half a period's energy, each twice the one before.
const PRICES: usize = 13;
/// A plan that switches is trusted where it misses at most this share of the accepted probability in rehearsal: on the
/// virtual boards more frames are late than in rehearsal, and at three quarters some plans missed more than accepted.
pub(super) const SAFE: f64 = 0.5;
/// A table is taken for a saving of at least this fraction.
const WORTH: f64 = 2e-4;

/// One that saves at least this fraction may miss more often than the list, up to this share of the accepted
/// probability: the list may be at a clock too high because the one below missed the risk by little.
const MUCH: f64 = 1e-2;
const RARE: f64 = 0.1;

/// What a policy comes to in the planner's own terms.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Expected {
    /// Energy of a period.
    pub energy_j: f64,
    /// Probability of a miss.
    pub miss: f64,
}

/// A table with feedback, beside the list that it replaces.
#[derive(Clone, Debug, PartialEq)]
pub struct Feedback {
    /// The table.
    pub table: Table,
    /// What following it comes to.
    pub expected: Expected,
    /// What following the list comes to.
    pub list: Expected,
    /// What the form of an entry costs: energy over that of the free policy at the same price, as a fraction.
    pub form_cost: f64,
}

/// What follows from a block's start at one clock: for each deviation, and within it for each bin.
#[derive(Clone, Debug, Default)]
struct Values {
    energy: Vec<f64>,
    miss: Vec<f64>,
    /// Energy and the price of misses together.
    cost: Vec<f64>,
}

/// A choice at a block's start at one deviation: where in the bins of the next block's start one comes out, early and
/// late by what does not depend on the frame; a bin further on here is `slope` bins there.
#[derive(Clone, Copy, Debug)]
struct Path {
    energy_j: f64,
    early: f64,
    late: f64,
}

/// A choice at a block's start: the node that it leads to, and its paths, one per deviation.
#[derive(Clone, Debug)]
struct Way {
    to: usize,
    slope: f64,
    paths: Vec<Path>,
}

/// The value at a place between bins.
fn at(values: &[f64], place: f64) -> f64 {
    let place = place.clamp(0.0, (BINS - 1) as f64 - 1e-9);
    let bin = place as usize;
    values[bin] + (place - bin as f64) * (values[bin + 1] - values[bin])
}

/// What is asked of a policy.
#[derive(Clone, Copy)]
struct Choices {
    /// Of a miss, in joules.
    price: f64,
    /// Without the form of an entry.
    free: bool,
}

struct Program<'a> {
    problem: &'a Problem,
    graph: &'a Graph,
    plan: &'a Plan,
    /// The frame's deviation at each clock, and how likely it is.
    levels: Vec<(Vec<f64>, f64)>,
    /// What a standard deviation is at each clock in the graph's costs, see [`Problem::spread_s`].
    units: Vec<f64>,
    /// Share of a block's standard deviation that is its own.
    own: f64,
    /// Start of each block under the plan, and the frame's end.
    starts: Vec<f64>,
    /// Sum of the standard deviations of the blocks before each of these.
    spreads: Vec<f64>,
}

/// A table that was tried.
struct Tried {
    price: f64,
    /// By the program.
    expected: Expected,
    table: Table,
    /// By the governor.
    rehearsed: Expected,
}

/// What following a table comes to, by rehearsal.
pub fn expected(problem: &Problem, table: &Table) -> Expected {
    rehearse(problem, table, REHEARSAL)
}

/// Makes the feedback table. `list` is the plan's own table: what it holds besides entries is kept.
pub fn feedback(problem: &Problem, plan: &Plan, list: &Table) -> Result<Feedback, TableError> {
    let graph = Graph::new(problem, 0.0);
    let program = Program::new(problem, &graph, plan);
    let as_listed = rehearse(problem, list, REHEARSAL);
    // As rarely as the list, and well below what is accepted: what was measured is not what will be.
    let most = as_listed.miss.min(SAFE * problem.risk);
    // One clock that meets the risk by the frames measured at it needs no catching up.
    let trusted = plan.one_clock_is_best() && problem.bound_s(&plan.outcome) <= problem.deadline_s;
    let mut best = Feedback { table: list.clone(), expected: as_listed, list: as_listed, form_cost: 0.0 };
    for tried in program.tried(list) {
        let over = |other: &Expected| 1.0 - tried.rehearsed.energy_j / other.energy_j;
        let much = tried.rehearsed.miss <= RARE * problem.risk && over(&as_listed) > MUCH;
        let better = over(&best.expected) > WORTH || (best.expected.miss > most && !trusted);
        if (much || tried.rehearsed.miss <= most) && better {
            let (free, _) = program.run(list, Choices { price: tried.price, free: true });
            let cost = |e: &Expected| e.energy_j + tried.price * e.miss;
            let form_cost = ((cost(&tried.expected) - cost(&free)) / tried.expected.energy_j).max(0.0);
            best = Feedback { table: tried.table, expected: tried.rehearsed, list: as_listed, form_cost };
        }
    }
    best.table.check()?;
    Ok(best)
}

/// A distribution of a frame's deviation in a few levels, finer towards late frames.
fn levels(problem: &Problem) -> Vec<(Vec<f64>, f64)> {
    const EDGES: [f64; 13] = [0.0, 0.15, 0.35, 0.55, 0.75, 0.88, 0.94, 0.965, 0.98, 0.988, 0.994, 0.998, 1.0];
    EDGES
        .windows(2)
        .map(|edge| {
            const STEPS: usize = 8;
            let p = |i: usize| edge[0] + (edge[1] - edge[0]) * (i as f64 + 0.5) / STEPS as f64;
            let at = |clock| (0..STEPS).map(|i| problem.deviation(clock, p(i))).sum::<f64>() / STEPS as f64;
            ((0..problem.clocks.len()).map(at).collect(), edge[1] - edge[0])
        })
        .collect()
}

impl<'a> Program<'a> {
    fn new(problem: &'a Problem, graph: &'a Graph, plan: &'a Plan) -> Self {
        let correlation = match &problem.noise {
            Noise::Moments { correlation } | Noise::Frames { correlation, .. } => *correlation,
        };
        let mut starts = plan.block_starts_s.clone();
        starts.push(plan.outcome.time_s);
        let mut spreads = vec![0.0];
        let mut spread = 0.0;
        for (block, clock) in problem.blocks.iter().zip(&plan.block_clocks) {
            spread += block.time_sd_s[*clock];
            spreads.push(spread);
        }
        let own = (1.0 - correlation).max(0.0).sqrt();
        let unit = |clock| match &problem.noise {
            Noise::Frames { .. } => problem.deviation(clock, 1.0 - problem.risk).max(1e-6),
            Noise::Moments { .. } => 1.0,
        };
        let units = (0..problem.clocks.len()).map(unit).collect();
        Self { problem, graph, plan, levels: levels(problem), units, own, starts, spreads }
    }

    /// A table for each price, but for those that are the list: side by side, as each takes its time.
    fn tried(&self, list: &Table) -> Vec<Tried> {
        let base = self.plan.outcome.energy_j.max(1e-9);
        let at = |step: usize| {
            let price = 0.5 * base * (1u64 << step) as f64;
            let (expected, entries) = self.run(list, Choices { price, free: false });
            let mut table = list.clone();
            table.entries.clear();
            // As many as the list's.
            let _ = table.entries.extend_from_slice(&entries);
            let rehearsed = (table.entries != list.entries).then(|| rehearse(self.problem, &table, REHEARSAL))?;
            Some(Tried { price, expected, table, rehearsed })
        };
        let threads = std::thread::available_parallelism().map_or(1, |n| n.get().min(PRICES));
        std::thread::scope(|scope| {
            let every = |first: usize| scope.spawn(move || (first..PRICES).step_by(threads).filter_map(at).collect());
            let running: Vec<_> = (0..threads).map(every).collect();
            let mut tried: Vec<Tried> = Vec::new();
            for thread in running {
                let found: Vec<Tried> = thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
                tried.extend(found);
            }
            tried.sort_by(|a, b| a.price.total_cmp(&b.price));
            tried
        })
    }

    /// The elapsed time of a bin at a block's start.
    fn elapsed(&self, block: usize, bin: usize) -> f64 {
        let planned = self.starts[block];
        planned * (EARLY + (LATE - EARLY) * bin as f64 / (BINS - 1) as f64)
    }

    /// How likely each deviation is at an elapsed time, times the likelihood of that time itself.
    fn belief(&self, block: usize, elapsed: f64) -> Vec<f64> {
        let (planned, spread) = (self.starts[block], self.spreads[block]);
        let clock = self.plan.block_clocks[block.saturating_sub(1)];
        if planned <= 0.0 {
            return self.levels.iter().map(|level| level.1).collect();
        }
        let own: f64 = self.problem.blocks[..block]
            .iter()
            .zip(&self.plan.block_clocks)
            .map(|(b, clock)| (self.own * b.time_sd_s[*clock]).powi(2))
            .sum();
        let sd = (own + (BLUR * planned).powi(2)).sqrt();
        let likelihood = |(deviation, share): &(Vec<f64>, f64)| {
            let z = (elapsed - planned - deviation[clock] * spread) / sd;
            share * (math::exp(-0.5 * z * z) + 1e-9)
        };
        self.levels.iter().map(likelihood).collect()
    }

    /// What follows a choice: the arc, and the node behind it.
    fn arc(&self, block: usize, clock: usize, choice: usize) -> Option<(Cost, usize)> {
        let node = block * self.graph.clocks + clock;
        let lead = self.plan.schedule.writes.iter().find(|w| w.block == block && w.delay_s > 0.0);
        let last = self.graph.blocks * self.graph.clocks;
        let arcs = self.graph.arcs_of(node).iter().zip(&self.graph.writes[self.graph.first[node] as usize..]);
        let stays = choice == clock;
        let planned_lead = lead.filter(|_| stays && self.planned_clock(block) == clock);
        let (arc, write) = arcs.into_iter().find(|(_, write)| match (write, planned_lead) {
            (Some(write), Some(lead)) => write == lead,
            (Some(write), None) => !stays && write.delay_s == 0.0 && write.to == choice,
            (None, lead) => stays && lead.is_none(),
        })?;
        // A change that outlasts the frame: the next clock to count with is the new one.
        let to = arc.to as usize;
        let to = if to >= self.graph.tails_from() { last + write.map_or(clock, |w| w.to) } else { to };
        Some((arc.cost, to))
    }

    /// The clock that the plan has in effect or on its way at a block's start.
    fn planned_clock(&self, block: usize) -> usize {
        let schedule = &self.plan.schedule;
        let before = schedule.writes.iter().rfind(|w| w.block < block || (w.block == block && w.delay_s == 0.0));
        before.map_or(schedule.start, |w| w.to)
    }

    /// Values behind the frame's end: the gap, and what the next frame costs more where it does not start as planned.
    fn end(&self, table: &Table, clock: usize, next_frame: &[Expected], price: f64) -> Values {
        let problem = self.problem;
        let (idle, first) = (table.gap.idle.index(), table.gap.first.index());
        let settle = if clock == idle { 0.0 } else { problem.change(clock, idle).settle_s };
        let wake_lead_s = table.gap.wake_lead.as_secs_f64();
        let mut values = Values::default();
        for bin in 0..BINS {
            let elapsed = self.elapsed(self.graph.blocks, bin);
            let left = (problem.period_s - elapsed).max(0.0);
            // As the governor does it: the idle clock where there is time to.
            let worth = settle < left - wake_lead_s;
            let (idles, changes) = if worth { (idle, settle) } else { (clock, 0.0) };
            let mut energy = problem.idle_w[idles] * left + (problem.idle_w[clock] - problem.idle_w[idles]) * changes;
            let mut miss = f64::from(elapsed > problem.deadline_s);
            if !worth && clock != first {
                energy += next_frame[clock].energy_j - next_frame[first].energy_j;
                miss += next_frame[clock].miss - next_frame[first].miss;
            }
            // A frame that outlasts its period delays the next one, at the price of what it draws meanwhile.
            energy += problem.idle_w[clock] * (elapsed - problem.period_s).max(0.0);
            values.energy.push(energy);
            values.miss.push(miss);
        }
        values.price(price);
        Values {
            energy: values.energy.repeat(self.levels.len()),
            miss: values.miss.repeat(self.levels.len()),
            cost: values.cost.repeat(self.levels.len()),
        }
    }

    /// Where a choice leads.
    fn way(&self, block: usize, clock: usize, choice: usize) -> Option<Way> {
        let (cost, to) = self.arc(block, clock, choice)?;
        let next_s = self.starts[to / self.graph.clocks].max(1e-12);
        let sd_s = cost.sd_s / self.units[clock];
        // A block's own part and the settle time's.
        let own = math::hypot(self.own * sd_s, cost.var_s2.sqrt());
        let place =
            |time_s: f64| ((self.elapsed(block, 0) + time_s) / next_s - EARLY) / (LATE - EARLY) * (BINS - 1) as f64;
        let path = |(deviation, _): &(Vec<f64>, f64)| {
            let mean_s = (cost.time_s + deviation[clock] * sd_s).max(0.0);
            let energy_j = cost.energy_j * mean_s / cost.time_s;
            Path { energy_j, early: place(mean_s - own), late: place(mean_s + own) }
        };
        Some(Way { to, slope: self.starts[block] / next_s, paths: self.levels.iter().map(path).collect() })
    }

    /// For each deviation the bins at which it counts, and how likely it is at each bin.
    fn beliefs(&self, block: usize) -> Vec<(core::ops::Range<usize>, Vec<f64>)> {
        let by_bin: Vec<Vec<f64>> = (0..BINS).map(|bin| self.belief(block, self.elapsed(block, bin))).collect();
        let counts = |bin: usize, level: usize| {
            by_bin[bin][level] > NEGLIGIBLE * by_bin[bin].iter().copied().fold(0.0, f64::max)
        };
        let of = |level: usize| {
            let first = (0..BINS).find(|bin| counts(*bin, level)).unwrap_or(BINS);
            let behind = (first..BINS).rfind(|bin| counts(*bin, level)).map_or(first, |bin| bin + 1);
            (first..behind, by_bin.iter().map(|weights| weights[level]).collect())
        };
        (0..self.levels.len()).map(of).collect()
    }

    /// What the policy comes to per frame in the long run, and its entries: backward over the frame again and again
    /// until what a frame costs more for starting at another clock stands still (relative value iteration).
    fn run(&self, table: &Table, choices: Choices) -> (Expected, Vec<Entry>) {
        let first = table.gap.first.index();
        let mut starts = vec![Expected::default(); self.graph.clocks];
        let mut entries = Vec::new();
        for _ in 0..FRAMES {
            let before = core::mem::take(&mut starts);
            (starts, entries) = self.frame(table, choices, &before);
            let more = |of: &[Expected], clock: usize| {
                of[clock].energy_j - of[first].energy_j + choices.price * (of[clock].miss - of[first].miss)
            };
            let still = |clock| (more(&starts, clock) - more(&before, clock)).abs() <= 1e-9 * choices.price;
            if (0..self.graph.clocks).all(still) {
                break;
            }
        }
        (starts[first], entries)
    }

    /// Backward over one frame: what it costs from each clock that it may start at, and its entries.
    fn frame(&self, table: &Table, choices: Choices, next_frame: &[Expected]) -> (Vec<Expected>, Vec<Entry>) {
        let (blocks, clocks) = (self.graph.blocks, self.graph.clocks);
        let mut values = vec![Values::default(); (blocks + 1) * clocks];
        for clock in 0..clocks {
            values[blocks * clocks + clock] = self.end(table, clock, next_frame, choices.price);
        }
        let mut entries = vec![Entry::always(table.safe); blocks * clocks];
        for block in (0..blocks).rev() {
            let beliefs = self.beliefs(block);
            for clock in 0..clocks {
                let ways: Vec<_> = (0..clocks).map(|choice| self.way(block, clock, choice)).collect();
                let mut costs = vec![f64::INFINITY; BINS * clocks];
                for (choice, way) in ways.iter().enumerate() {
                    let Some(way) = way else { continue };
                    let mut sums = [0.0; BINS];
                    let next = values[way.to].cost.chunks(BINS);
                    for ((path, next), (bins, weights)) in way.paths.iter().zip(next).zip(&beliefs) {
                        for bin in bins.clone() {
                            let here = way.slope * bin as f64;
                            let both = at(next, here + path.early) + at(next, here + path.late);
                            sums[bin] += weights[bin] * (path.energy_j + 0.5 * both);
                        }
                    }
                    for (bin, sum) in sums.iter().enumerate() {
                        costs[bin * clocks + choice] = *sum;
                    }
                }
                let chosen = if choices.free { cheapest(&costs, clocks) } else { falling(&costs, clocks) };
                let node = block * clocks + clock;
                entries[node] = self.entry(table, block, &chosen);
                values[node] = self.follow(&ways, &chosen, &values, choices.price);
            }
        }
        let from = |clock: usize| {
            let (start, mut expected) = (&values[clock], Expected::default());
            for (i, (_, weight)) in self.levels.iter().enumerate() {
                expected.energy_j += weight * start.energy[i * BINS];
                expected.miss += weight * start.miss[i * BINS];
            }
            expected
        };
        ((0..clocks).map(from).collect(), entries)
    }

    /// The values of a block's start at which these choices are made, one per bin.
    fn follow(&self, ways: &[Option<Way>], chosen: &[usize], values: &[Values], price: f64) -> Values {
        let mut found = Values::default();
        for level in 0..self.levels.len() {
            let of = level * BINS..(level + 1) * BINS;
            for (bin, choice) in chosen.iter().enumerate() {
                // What has no way costs infinitely much and is not chosen.
                let (energy, miss) = ways[*choice].as_ref().map_or((0.0, 0.0), |way| {
                    let (path, next) = (&way.paths[level], &values[way.to]);
                    let here = way.slope * bin as f64;
                    let mean = |of: &[f64]| 0.5 * (at(of, here + path.early) + at(of, here + path.late));
                    (path.energy_j + mean(&next.energy[of.clone()]), mean(&next.miss[of.clone()]))
                });
                found.energy.push(energy);
                found.miss.push(miss);
            }
        }
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

impl Values {
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
    use super::super::oracle::{Random, random_problem};
    use super::super::{Holds, list_table, plan};
    use super::*;

    #[test]
    fn choices_rise_with_time_and_have_four_runs_at_most() {
        // Two clocks: the lower one is cheaper in bins 0..2, and once again, not worth a step back, in bin 3.
        let costs = [0.0, 1.0, 0.0, 1.0, 2.0, 0.0, 1.0, 1.5, 3.0, 0.0];
        assert_eq!(falling(&costs, 2), [0, 0, 1, 1, 1]);
        assert_eq!(cheapest(&costs, 2), [0, 0, 1, 0, 1]);
    }

    #[test]
    fn feedback_costs_and_misses_no_more_than_the_list() {
        let mut better = 0;
        for seed in 0..8 {
            let mut random = Random(seed);
            let mut problem = random_problem(&mut random, 12, 4);
            problem.risk = 0.05;
            let Ok(plan) = plan(&problem) else { continue };
            let clocks = problem.clocks.clone();
            let holds = Holds { board: [0; 32], model: [0; 32], network: "n", emc: None, board_clocks: &clocks };
            let list = list_table(&problem, &plan, &holds).unwrap();
            let made = feedback(&problem, &plan, &list).unwrap();
            let (f, l) = (made.expected, made.list);
            assert!(f.miss <= l.miss, "seed {seed}: {f:?} {l:?}");
            assert!(f.energy_j <= l.energy_j || f.miss < l.miss, "seed {seed}: {f:?} {l:?}");
            better += u32::from(f.energy_j < l.energy_j * 0.999);
        }
        assert!(better > 0);
    }
}
