//! The Lagrangian dual: the least energy of any path where the deadline is priced, backward over the graph, with the
//! multiplier that gives the highest bound.

use std::rc::Rc;
use std::vec;
use std::vec::Vec;

use super::graph::{Cost, Graph, Tail};
use crate::plan::problem::Problem;

/// Multipliers are good enough where a better one would raise the bound by less than this fraction.
const CLOSE: f64 = 5e-5;

/// A frame with one idle clock: its energy is then a sum over arcs, in which idle power enters as -P_idle per second of
/// busy time.
pub(in crate::plan) struct IdleFrame<'a> {
    pub problem: &'a Problem,
    pub graph: &'a Graph,
    pub idle: usize,
    idle_w: f64,
    /// What each arc adds to the energy, less the idle power of its time.
    arcs_j: Vec<f64>,
    /// From which a frame and the changes around it fit into the period.
    starts: Vec<Start>,
}

/// How a frame starts.
#[derive(Clone, Copy, Debug)]
pub(in crate::plan) struct Start {
    /// The clock in effect.
    pub clock: usize,
    /// What is written before the frame, and how long before.
    pub wake: Option<(usize, f64)>,
    /// The node from which it goes on, and its slot.
    pub node: usize,
    pub slot: usize,
    /// Up to there: energy less the idle power of the time, which includes what waking takes.
    pub net_j: f64,
    pub cost: Cost,
    /// How long the last block took there.
    pub last_s: f64,
}

impl Start {
    pub fn lead_s(&self) -> f64 {
        self.wake.map_or(0.0, |wake| wake.1)
    }
}

/// A limit to a sum over arcs that every plan keeps to: of time, lateness and the changes between frames.
#[derive(Clone, Copy, Debug)]
pub(in crate::plan) struct Cut {
    /// Of lateness.
    late: f64,
    /// Of the changes between frames.
    pub between: f64,
    /// What the sum may come to.
    pub limit_s: f64,
}

impl Cut {
    /// A frame as late as the risk allows meets the deadline.
    pub fn deadline(problem: &Problem) -> Self {
        Self { late: 1.0, between: 0.0, limit_s: problem.deadline_s }
    }

    /// The frame and the changes behind it and before the next one fit into the period.
    pub fn period(problem: &Problem) -> Self {
        Self { late: 0.0, between: 1.0, limit_s: problem.period_s }
    }

    /// The sum over a path, with the time of its changes between frames.
    pub fn of(&self, cost: &Cost, between_s: f64) -> f64 {
        cost.time_s + self.late * cost.late_s + self.between * between_s
    }
}

/// A cut's sums over a frame's arcs.
pub(in crate::plan) struct Sums<'a> {
    pub frame: &'a IdleFrame<'a>,
    pub cut: Cut,
    /// Of each arc; the same for every idle clock.
    arcs_s: Rc<[f64]>,
}

/// Least (net energy + multiplier x cut) from every node to the end.
pub(in crate::plan) struct ToGo {
    pub cut: Cut,
    pub multiplier: f64,
    pub value: Vec<f64>,
}

/// A path as the relaxation sees it: energy less the idle power of the time spent, and what its arcs add up to.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::plan) struct Path {
    pub net_j: f64,
    pub cost: Cost,
    /// The changes between frames: the tail behind the frame, and the lead before the next one.
    pub between_s: f64,
}

/// What a multiplier comes to.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::plan) struct DualBound {
    pub multiplier: f64,
    /// No path that keeps to the limit takes less.
    pub bound_j: f64,
    /// Paths that the multiplier prices about alike: one that is too slow, and one that keeps to the limit.
    slow: Path,
    pub fast: Path,
}

impl<'a> IdleFrame<'a> {
    pub fn new(problem: &'a Problem, graph: &'a Graph, idle: usize) -> Self {
        let idle_w = problem.idle_w[idle];
        let arcs_j = graph.arcs.iter().map(|arc| arc.cost.energy_j - idle_w * arc.cost.time_s).collect();
        let mut frame = Self { problem, graph, idle, idle_w, arcs_j, starts: Vec::new() };
        frame.starts = frame.all_starts();
        let sums = Sums::new(&frame, Cut::period(problem));
        let fastest = sums.to_go(f64::INFINITY);
        let fits = |start: &&Start| {
            fastest.value[start.slot] + sums.start(f64::INFINITY, start) <= problem.period_s * (1.0 + 1e-12)
        };
        frame.starts = frame.starts.iter().filter(fits).copied().collect();
        frame
    }

    /// From every clock with nothing on its way, and from the idle clock with a change on its way to a later boundary.
    fn all_starts(&self) -> Vec<Start> {
        let (problem, graph, idle) = (self.problem, self.graph, self.idle);
        let plain = (0..graph.clocks).map(|clock| {
            let lead_s = problem.wake_lead_s(idle, clock);
            let wakes = clock != idle;
            let early_s = if wakes { lead_s - problem.change(idle, clock).settle_s } else { 0.0 };
            Start {
                clock,
                wake: wakes.then_some((clock, lead_s)),
                node: clock,
                slot: graph.slots_of(clock).start,
                net_j: (problem.idle_w[clock] - self.idle_w) * early_s,
                cost: Cost::default(),
                last_s: 0.0,
            }
        });
        let entries = graph.entries.iter().filter(|entry| entry.from == idle).map(|entry| Start {
            clock: idle,
            wake: Some((entry.next, entry.lead_s)),
            node: entry.arc.node as usize,
            slot: entry.to as usize,
            net_j: entry.arc.cost.energy_j - self.idle_w * entry.arc.cost.time_s,
            cost: entry.arc.cost,
            last_s: entry.arc.last_s,
        });
        plain.chain(entries).collect()
    }

    /// Energy of a whole period in which nothing runs.
    pub fn base_j(&self) -> f64 {
        self.idle_w * self.problem.period_s
    }

    pub fn starts(&self) -> &[Start] {
        &self.starts
    }

    /// The multiplier that prices a second of a frame as another one does with its own idle clock.
    pub fn alike(&self, multiplier: f64, other: &Self) -> f64 {
        if multiplier > 0.0 { (multiplier + self.idle_w - other.idle_w).max(0.0) } else { 0.0 }
    }

    /// The changes between frames may not fit into the period.
    pub fn tight(&self) -> bool {
        let leads = self.starts.iter().map(Start::lead_s).fold(0.0, f64::max);
        let tails = self.graph.tails.iter().filter(|tail| tail.idle == self.idle);
        let changes = tails.map(|tail| tail.settle_s + tail.stall_s).fold(0.0, f64::max);
        self.problem.deadline_s + leads + changes > self.problem.period_s
    }

    /// What an arc adds to the frame's energy, less the idle power of its time.
    pub fn arc_j(&self, arc: usize) -> f64 {
        self.arcs_j[arc]
    }

    /// What the change to the idle clock adds behind the frame's end.
    pub fn tail(&self, tail: &Tail) -> Option<f64> {
        (tail.idle == self.idle).then(|| (self.problem.idle_w[tail.from] - self.idle_w) * tail.settle_s)
    }

    /// The tail behind the last block at a clock, with its index.
    pub fn end(&self, clock: usize) -> (usize, &'a Tail) {
        let index = clock * self.graph.clocks + self.idle;
        (index, &self.graph.tails[index])
    }
}

impl<'a> Sums<'a> {
    pub fn new(frame: &'a IdleFrame<'a>, cut: Cut) -> Self {
        Self { frame, cut, arcs_s: frame.graph.arcs.iter().map(|arc| cut.of(&arc.cost, 0.0)).collect() }
    }

    /// The same cut with another idle clock.
    pub fn with<'b>(&self, frame: &'b IdleFrame<'b>) -> Sums<'b> {
        Sums { frame, cut: self.cut, arcs_s: Rc::clone(&self.arcs_s) }
    }

    /// Priced by a multiplier; an infinite one counts the cut alone.
    pub fn to_go(&self, multiplier: f64) -> ToGo {
        let (frame, graph) = (self.frame, self.frame.graph);
        let from = graph.tails_from();
        let (energy, price) = weights(multiplier);
        let mut value = vec![f64::INFINITY; from + graph.tails.len()];
        for (value, tail) in value[from..].iter_mut().zip(&graph.tails) {
            if let Some(net_j) = frame.tail(tail) {
                *value = energy * net_j + price * self.cut.between * (tail.settle_s + tail.stall_s);
            }
        }
        let ends: Vec<f64> = (0..graph.clocks).map(|clock| value[from + frame.end(clock).0]).collect();
        let arcs = frame.arcs_j.iter().zip(&*self.arcs_s);
        let adds: Vec<f64> = arcs.map(|(net_j, sum_s)| energy * net_j + price * sum_s).collect();
        graph.backward(&mut value, &adds, &ends);
        ToGo { cut: self.cut, multiplier, value }
    }

    /// What a start adds to the value of its slot.
    fn start(&self, multiplier: f64, start: &Start) -> f64 {
        let (energy, price) = weights(multiplier);
        energy * start.net_j + price * self.cut.of(&start.cost, start.lead_s())
    }

    /// The best path over all starts, with its value.
    fn best(&self, to_go: &ToGo) -> (f64, Path) {
        let (frame, graph) = (self.frame, self.frame.graph);
        let starts =
            frame.starts.iter().map(|start| (to_go.value[start.slot] + self.start(to_go.multiplier, start), start));
        let Some((value, start)) = starts.min_by(|a, b| a.0.total_cmp(&b.0)).filter(|best| best.0.is_finite()) else {
            return (f64::INFINITY, Path::default());
        };
        let (energy, price) = weights(to_go.multiplier);
        let mut path = Path { net_j: start.net_j, cost: start.cost, between_s: start.lead_s() };
        let (mut node, mut slot) = (start.node, start.slot);
        let tail = loop {
            let (own, leads) = graph.arcs_of(node);
            let level = slot - graph.slots_of(node).start;
            let through = |index: usize| {
                energy * frame.arcs_j[index] + price * self.arcs_s[index] + to_go.value[graph.to[index] as usize]
            };
            let arcs = own.chain(leads.take(level)).map(|index| (through(index), index));
            let best = arcs.min_by(|a, b| a.0.total_cmp(&b.0));
            if let Some(clock) = node.checked_sub(graph.inner()) {
                let (end, tail) = frame.end(clock);
                if best.is_none_or(|(value, _)| to_go.value[graph.tails_from() + end] <= value) {
                    break tail;
                }
            }
            let Some((_, index)) = best else { return (f64::INFINITY, Path::default()) };
            path.net_j += frame.arcs_j[index];
            path.cost.add(graph.arcs[index].cost);
            (node, slot) = (graph.arcs[index].node as usize, graph.to[index] as usize);
            if let Some(tail) = slot.checked_sub(graph.tails_from()) {
                break &graph.tails[tail];
            }
        };
        path.net_j += frame.tail(tail).unwrap_or_default();
        path.between_s += tail.settle_s + tail.stall_s;
        (value, path)
    }

    /// What no path takes less than that keeps to the cut's limit, by one multiplier; and that multiplier's path.
    pub fn bound(&self, multiplier: f64) -> (f64, Path) {
        let (value, path) = self.best(&self.to_go(multiplier));
        (value - multiplier * self.cut.limit_s + self.frame.base_j(), path)
    }

    /// The multiplier of the highest bound, that bound, and the paths on both sides of the limit; `None` where no path
    /// keeps to it. Starts from the multiplier and the paths of a cut like this one. Bounds above `enough_j` are not
    /// raised any further.
    pub fn price(&self, from: DualBound, enough_j: f64) -> Option<DualBound> {
        let cut = self.cut;
        let over = |path: &Path| cut.of(&path.cost, path.between_s) - cut.limit_s;
        let DualBound { mut multiplier, mut slow, mut fast, .. } = from;
        let mut best_j = f64::NEG_INFINITY;
        if multiplier > 0.0 {
            let (bound_j, path) = self.bound(multiplier);
            best_j = bound_j;
            if bound_j >= enough_j {
                return Some(DualBound { bound_j, ..from });
            }
            *(if over(&path) > 0.0 { &mut slow } else { &mut fast }) = path;
        }
        if fast.cost.time_s <= 0.0 || over(&fast) > 0.0 {
            fast = self.best(&self.to_go(f64::INFINITY)).1;
            if fast.cost.time_s <= 0.0 || over(&fast) > cut.limit_s * 1e-12 {
                return None;
            }
        }
        if over(&slow) <= 0.0 {
            let (free_j, frugal) = self.bound(0.0);
            if over(&frugal) <= 0.0 {
                return Some(DualBound { multiplier: 0.0, bound_j: free_j, slow: frugal, fast: frugal });
            }
            slow = frugal;
            if free_j > best_j {
                (multiplier, best_j) = (0.0, free_j);
            }
        }
        // The next multiplier is the one that prices the two paths alike.
        for _ in 0..40 {
            // Below zero where a path of an earlier cut is both faster and more frugal.
            let alike = ((fast.net_j - slow.net_j) / (over(&slow) - over(&fast))).max(0.0);
            let highest_j = slow.net_j + alike * over(&slow) + self.frame.base_j();
            if best_j >= enough_j || highest_j - best_j <= CLOSE * highest_j.abs() {
                break;
            }
            let (bound_j, path) = self.bound(alike);
            if bound_j > best_j {
                (multiplier, best_j) = (alike, bound_j);
            }
            if over(&path) > 0.0 {
                slow = path;
            } else {
                fast = path;
            }
            let free = alike <= 0.0 && over(&path) <= 0.0;
            if free || over(&slow) - over(&fast) <= 1e-15 {
                break;
            }
        }
        Some(DualBound { multiplier, bound_j: best_j, slow, fast })
    }
}

impl DualBound {
    /// Whether one of its paths, with the changes between frames, does not fit into the period.
    pub fn outlasts(&self, period_s: f64) -> bool {
        [self.slow, self.fast].iter().any(|path| path.cost.time_s + path.between_s > period_s)
    }

    /// Nothing but a guess of the multiplier.
    pub fn guess(multiplier: f64) -> Self {
        Self { multiplier, ..Self::default() }
    }
}

/// Of energy and of the cut's sum, at a multiplier.
fn weights(multiplier: f64) -> (f64, f64) {
    if multiplier.is_finite() { (1.0, multiplier) } else { (0.0, 1.0) }
}

impl ToGo {
    /// What the best path through an arc is worth.
    pub fn through(&self, frame: &IdleFrame, index: usize) -> f64 {
        let priced = self.multiplier * self.cut.of(&frame.graph.arcs[index].cost, 0.0);
        frame.arcs_j[index] + priced + self.value[frame.graph.to[index] as usize]
    }

    /// What no plan takes less than that goes on from a slot: the path up to there adds net energy and a sum.
    pub fn bound_j(&self, frame: &IdleFrame, slot: usize, net_j: f64, spent_s: f64) -> f64 {
        net_j + self.value[slot] + self.multiplier * (spent_s - self.cut.limit_s) + frame.base_j()
    }
}
