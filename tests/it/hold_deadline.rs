//! `hold --deadline` in virtual time: twelve programs whose whole frames have a deadline, beside `hold --fps`, the stock
//! governor and the best fixed clock of each phase.

use jetpace::commands::hold::deadline::chooser::{Chooser, Goal};
use jetpace::commands::hold::deadline::source::{Frame, Heard};
use jetpace::commands::hold::pace::Pace;
use jetpace_devfreq::board::Board;
use jetpace_devfreq::gpu::{GpuNode, Way};
use jetpace_devfreq::guard::Guard;
use jetpace_devfreq::sim::{self, VirtualNodes, VirtualTimer};
use jetpace_tables::hw::{BlockRunner, GpuClock, Timer};
use jetpace_tables::units::Nanos;
use jetpace_tables::work::{Block, BlockId, ClockIndex, Layer, Network, Size};
use rand::{RngExt, SeedableRng};

const BOARD: &str = "orin-nano-super";
const RISK: f64 = 0.01;
/// As often as `hold` looks.
const LOOK: Nanos = Nanos::from_millis(20);
/// A frame's work is this many parts, so that it can vary.
const PARTS: f64 = 1000.0;

/// Frames of one kind: milliseconds of computing at the highest clock, and of memory traffic.
#[derive(Clone, Copy)]
struct Phase {
    frames: usize,
    compute_ms: f64,
    memory_ms: f64,
}

/// A user's program.
struct Program {
    name: &'static str,
    fps: f64,
    deadline_ms: f64,
    /// Standard deviation of a frame's work.
    jitter: f64,
    /// Time until the first frame.
    loads_s: f64,
    /// Whether it tells frames' times, or prints so many lines a frame.
    lines: Option<u64>,
    phases: &'static [Phase],
}

const fn steady(compute_ms: f64, memory_ms: f64) -> [Phase; 1] {
    [Phase { frames: 700, compute_ms, memory_ms }]
}

const fn part(frames: usize, compute_ms: f64) -> Phase {
    Phase { frames, compute_ms, memory_ms: compute_ms / 3.0 }
}

const PROGRAMS: [Program; 12] = {
    const USUAL: Program =
        Program { name: "", fps: 10.0, deadline_ms: 80.0, jitter: 0.01, loads_s: 0.0, lines: None, phases: &[] };
    [
        Program { name: "survey 5/s", fps: 5.0, deadline_ms: 180.0, phases: &steady(40.0, 10.0), ..USUAL },
        Program { name: "memory-bound 10/s", phases: &steady(22.0, 40.0), ..USUAL },
        Program { name: "camera 13/s", fps: 13.0, deadline_ms: 70.0, phases: &steady(35.0, 12.0), ..USUAL },
        Program { name: "detector 15/s", fps: 15.0, deadline_ms: 60.0, phases: &steady(18.0, 10.0), ..USUAL },
        Program { name: "tracker 20/s", fps: 20.0, deadline_ms: 45.0, phases: &steady(25.0, 5.0), ..USUAL },
        Program { name: "full 25/s", fps: 25.0, deadline_ms: 39.0, phases: &steady(34.0, 8.0), ..USUAL },
        Program { name: "light 30/s", fps: 30.0, deadline_ms: 30.0, phases: &steady(7.0, 4.0), ..USUAL },
        Program { name: "radar 60/s", fps: 60.0, deadline_ms: 15.0, phases: &steady(7.5, 3.0), ..USUAL },
        Program { name: "loads 5 s", loads_s: 5.0, phases: &steady(40.0, 10.0), ..USUAL },
        Program {
            name: "jitter 20/s",
            fps: 20.0,
            deadline_ms: 48.0,
            jitter: 0.12,
            phases: &steady(22.0, 6.0),
            ..USUAL
        },
        Program {
            name: "phases 15/s",
            fps: 15.0,
            deadline_ms: 60.0,
            phases: &[part(400, 14.0), part(400, 36.0), part(400, 14.0)],
            ..USUAL
        },
        Program { name: "prints lines 10/s", lines: Some(5), phases: &steady(35.0, 10.0), ..USUAL },
    ]
};

#[derive(Clone, Copy, PartialEq)]
enum Policy {
    Deadline,
    Fps,
    Stock,
    Fixed(u8),
}

#[derive(Default)]
struct Outcome {
    late: Vec<bool>,
    joules: f64,
    /// The clocks' positions, frame by frame.
    clocks: Vec<u8>,
    /// What the deadline's holder saw: frames' times at each clock.
    seen: Vec<(usize, Vec<Nanos>)>,
}

impl Outcome {
    fn late(&self, frames: std::ops::RangeFrom<usize>) -> u64 {
        self.late.get(frames).unwrap_or_default().iter().filter(|late| **late).count() as u64
    }
}

/// What holds the clock.
struct Holder {
    gpu: GpuNode<VirtualNodes, VirtualTimer>,
    policy: Policy,
    chooser: Chooser,
    pace: Pace,
    window: (Nanos, u64),
    lines: u64,
}

impl Holder {
    fn look(&mut self, now: Nanos, frames: Vec<Frame>, ends: u64) {
        let cap = self.gpu.cap();
        match self.policy {
            Policy::Deadline => {
                let before = self.chooser.wanted();
                let heard = Heard { frames, ends };
                let wanted = self.chooser.take(now, &heard, self.gpu.load().unwrap(), cap);
                if wanted != before {
                    self.gpu.set(wanted).unwrap();
                    self.chooser.changed(now);
                }
            }
            Policy::Fps => {
                let lines = if ends > 0 { ends * self.lines } else { frames.len() as u64 };
                self.window.1 += lines;
                // 100 frames, and at least 2 s, as `hold --fps` counts by default.
                let span = now.saturating_sub(self.window.0).as_secs_f64();
                if span >= 2.0 && self.window.1 as f64 >= 100.0 {
                    let wanted = self.pace.judge(self.window.1 as f64 / span, cap);
                    self.gpu.pin(wanted).unwrap();
                    self.window = (now, 0);
                }
            }
            Policy::Stock | Policy::Fixed(_) => {}
        }
    }
}

fn network(phase: &Phase) -> Network {
    // 6553.6 operations a clock at 1020 MHz, and 65 % of 102 GB/s: the virtual board's.
    let flops = (phase.compute_ms * 1e-3 * 6553.6 * 1.02e9 / PARTS) as u64;
    let bytes = (phase.memory_ms * 1e-3 * 66.3e9 / PARTS) as u64;
    let layer = Layer { flops, weight_bytes: 0, activation_bytes: bytes };
    Network { name: "program".into(), blocks: vec![Block { name: "frame".into(), layers: vec![layer] }] }
}

fn run(program: &Program, phases: &[Phase], policy: Policy) -> Outcome {
    run_knowing(&[], program, phases, policy)
}

/// With what an earlier run saw.
fn run_knowing(known: &[(usize, Vec<Nanos>)], program: &Program, phases: &[Phase], policy: Policy) -> Outcome {
    let board = sim::Board::new(BOARD, 7).unwrap();
    let (nodes, mut timer) = (board.nodes(), board.timer());
    let found = Board::discover(&nodes).unwrap();
    let (guard, _) = Guard::take(nodes.clone()).unwrap();
    let period = Nanos::from_secs_f64(1.0 / program.fps);
    let deadline = Nanos::from_secs_f64(program.deadline_ms * 1e-3);
    let mut holder = (policy != Policy::Stock).then(|| {
        let mut gpu = GpuNode::open(nodes.clone(), timer.clone(), &found, &guard, Some(Way::MinMax)).unwrap();
        let start = if let Policy::Fixed(clock) = policy { ClockIndex(clock) } else { gpu.cap() };
        gpu.pin(start).unwrap();
        let goal = Goal { deadline, period: Some(period), risk: RISK };
        let mut chooser = Chooser::new(goal, gpu.clocks(), start, timer.now());
        if !known.is_empty() {
            chooser.remember(known, start);
            gpu.set(chooser.wanted()).unwrap();
        }
        let (pace, window) = (Pace::new(program.fps, start), (timer.now(), 0));
        Holder { gpu, policy, chooser, pace, window, lines: program.lines.unwrap_or(1) }
    });
    let mut rng = rand::rngs::StdRng::seed_from_u64(11);
    let begun = (timer.now(), board.energy());
    let mut outcome = Outcome::default();
    let mut due = timer.now().saturating_add(Nanos::from_secs_f64(program.loads_s));
    for phase in phases {
        let mut runner = board.runner(network(phase));
        for _ in 0..phase.frames {
            while timer.now() < due {
                let next = due.min(timer.now().saturating_add(LOOK));
                timer.sleep_until(next);
                holder.iter_mut().for_each(|holder| holder.look(timer.now(), Vec::new(), 0));
            }
            // Twelve evenly drawn parts make a bell.
            let bell = (0..12).map(|_| rng.random_range(-0.5..0.5)).sum::<f64>();
            let size = Size((PARTS * (1.0 + program.jitter * bell)).max(1.0) as u32);
            let start = timer.now();
            let looked = &mut holder;
            let mut meanwhile = |now: Nanos| {
                if now > start {
                    looked.iter_mut().for_each(|holder| holder.look(now, Vec::new(), 0));
                }
                Some(now.saturating_add(LOOK))
            };
            outcome.clocks.push(board.clock().0);
            runner.run(BlockId(0), size, &mut [Nanos::ZERO], &mut meanwhile).unwrap();
            let busy = timer.now().saturating_sub(start);
            outcome.late.push(busy > deadline);
            if let Some(holder) = &mut holder {
                match program.lines {
                    None => holder.look(timer.now(), vec![Frame { start, busy }], 0),
                    Some(_) => holder.look(timer.now(), Vec::new(), 1),
                }
            }
            due = due.saturating_add(period).max(timer.now());
        }
    }
    let span = timer.now().saturating_sub(begun.0).as_secs_f64();
    outcome.joules = board.energy().as_joules_f64() - begun.1.as_joules_f64();
    assert!(span > 0.0);
    outcome.seen = holder.map(|holder| holder.chooser.seen().collect()).unwrap_or_default();
    outcome
}

/// Energy of the best fixed clock of each phase, at which frames are late no more often than they may.
fn best(program: &Program) -> f64 {
    let mut joules = 0.0;
    for (at, phase) in program.phases.iter().enumerate() {
        let alone = Program { loads_s: if at == 0 { program.loads_s } else { 0.0 }, phases: &[], ..*program };
        let outcomes = (0..8).map(|clock| run(&alone, &[*phase], Policy::Fixed(clock)));
        let allowed = (phase.frames as f64 * RISK) as u64;
        let fits = outcomes.filter(|outcome| outcome.late(0..) <= allowed).map(|outcome| outcome.joules);
        joules += fits.min_by(f64::total_cmp).unwrap_or_else(|| panic!("{}: no clock keeps it", program.name));
    }
    joules
}

/// The probability of at least `count` events where `mean` are expected (Poisson).
fn at_least(mean: f64, count: u64) -> f64 {
    let mut term = (-mean).exp();
    let below: f64 = (0..count)
        .map(|k| {
            let now = term;
            term *= mean / (k + 1) as f64;
            now
        })
        .sum();
    1.0 - below
}

#[test]
fn twelve_programs_end_in_time_near_the_best_fixed_clock() {
    let mut wrong = Vec::new();
    println!(
        "program | late before 100 | late after | energy over best | hold --fps: late, energy | stock: late, energy"
    );
    for program in &PROGRAMS {
        let best = best(program);
        let held = run(program, program.phases, Policy::Deadline);
        let (fps, stock) = (run(program, program.phases, Policy::Fps), run(program, program.phases, Policy::Stock));
        let over = |outcome: &Outcome| (outcome.joules / best - 1.0) * 100.0;
        let (early, later) = (held.late(0..) - held.late(100..), held.late(100..));
        println!(
            "{} | {early} | {later} | {:+.1} % | {}, {:+.1} % | {}, {:+.1} %",
            program.name,
            over(&held),
            fps.late(0..),
            over(&fps),
            stock.late(0..),
            over(&stock)
        );
        let expected = (held.late.len() - 100) as f64 * RISK;
        let most = if program.lines.is_some() { 8.0 } else { 3.0 };
        if early > 3 || at_least(expected, later) < 0.05 || over(&held) > most {
            wrong.push(format!("{}: {early} and {later} late, {:+.1} %, {:?}", program.name, over(&held), held.clocks));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn what_one_run_saw_is_where_the_next_begins() {
    let program = &PROGRAMS[2];
    let first = run(program, program.phases, Policy::Deadline);
    let next = run_knowing(&first.seen, program, program.phases, Policy::Deadline);
    let (top, found) = (*first.clocks.iter().max().unwrap(), *first.clocks.last().unwrap());
    assert!(found < top, "{:?}", first.clocks);
    // Until the clock has settled the lowest one runs, where finding out the way has left it.
    assert!(next.clocks.iter().all(|clock| *clock <= found), "{:?}", next.clocks);
    assert!(next.late(0..) <= 7 && next.joules < first.joules, "{} late", next.late(0..));
}
