//! The planner against an enumeration of all schedules, judged by the evaluator alone.

mod enumeration;

use std::string::String;
use std::vec;
use std::vec::Vec;

use self::enumeration::{Which, carried_over, enumerate};
use crate::plan::*;
use crate::stats::LEVELS;
use crate::units::Hertz;

/// A small generator of numbers, so that instances can be named by their seed.
pub(in crate::plan) struct Random(pub u64);

impl Random {
    pub(in crate::plan) fn unit(&mut self) -> f64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let mixed = (self.0 ^ self.0 >> 33).wrapping_mul(0xff51_afd7_ed55_8ccd);
        ((mixed ^ mixed >> 33) >> 11) as f64 / (1u64 << 53) as f64
    }

    fn between(&mut self, low: f64, high: f64) -> f64 {
        low + (high - low) * self.unit()
    }

    fn below(&mut self, n: usize) -> usize {
        (self.unit() * n as f64) as usize
    }
}

/// A problem of `blocks` blocks of about 10 ms and `clocks` clocks. Blocks differ in how far they follow the clock;
/// settle times go from none to several blocks.
pub(in crate::plan) fn random_problem(random: &mut Random, blocks: usize, clocks: usize) -> Problem {
    let relative: Vec<f64> = (0..clocks).map(|i| 0.3 + 0.7 * (i + 1) as f64 / clocks as f64).collect();
    // Where whole frames were measured, they vary.
    let frames = random.below(3) == 2;
    let sd = if frames { random.between(0.01, 0.02) } else { [0.0, 0.0, random.between(0.0, 0.02)][random.below(3)] };
    let block = |random: &mut Random, i: usize| {
        let (w, m) = (random.between(0.001, 0.015), random.between(0.0, 0.012));
        let (base, dynamic) = (random.between(3.0, 5.0), random.between(4.0, 14.0));
        let time_s: Vec<f64> = relative.iter().map(|f| ((w / f).powi(4) + m.powi(4)).powf(0.25) + 1e-5).collect();
        BlockCost {
            name: std::format!("b{i}"),
            time_sd_s: time_s.iter().map(|t| t * sd * random.between(0.5, 1.5)).collect(),
            time_s,
            power_w: relative.iter().map(|f| base + dynamic * f * (1.0 + (f - 0.58).max(0.0)).powi(2)).collect(),
        }
    };
    let blocks: Vec<_> = (0..blocks).map(|i| block(random, i)).collect();
    let idle_spread = [0.0, 0.5, 2.0][random.below(3)];
    let settle = [0.0, 0.001, 0.005, 0.02][random.below(4)];
    let settle_sd = [0.0, 0.2][random.below(2)];
    let stall_s = [0.0, 1e-4, 2e-3][random.below(3)];
    let changes = (0..clocks * clocks)
        .map(|_| {
            let settle_s = settle * random.between(0.5, 1.5);
            ChangeCost {
                settle_s,
                settle_sd_s: settle_s * settle_sd * random.unit(),
                settle_late_s: settle_s * random.between(1.0, 2.0),
                stall_s,
            }
        })
        .collect();
    let at = |clock: usize| blocks.iter().map(|b| b.time_s[clock]).sum::<f64>();
    let deadline_s = random.between(0.95 * at(clocks - 1), 1.1 * at(0));
    let noise = match (frames, random.below(2)) {
        (false, 0) => Noise::Moments { correlation: 1.0 },
        (false, _) => Noise::Moments { correlation: random.unit() },
        (true, _) => {
            // Late frames are later at high clocks, where memory bounds them.
            let mut at_top = LEVELS.map(|_| random.between(-1.5, 3.0));
            at_top.sort_by(f64::total_cmp);
            let of = |f: &f64| at_top.map(|deviation| deviation * f);
            Noise::Frames { deviations: relative.iter().map(of).collect(), correlation: 1.0, bursts: None }
        }
    };
    Problem {
        clocks: (1..=clocks as u64).map(|i| Hertz::new(i * 100_000_000)).collect(),
        idle_w: relative.iter().map(|f| 2.0 + idle_spread * f * random.between(0.8, 1.2)).collect(),
        changes,
        deadline_s,
        period_s: deadline_s * [1.0, 1.0, random.between(1.0, 2.0)][random.below(3)],
        risk: [0.01, 0.1, 0.5][random.below(3)],
        noise,
        leads: true,
        blocks,
    }
}

/// Small sizes, blocks and clocks.
const SIZES: [(usize, usize); 12] =
    [(1, 2), (2, 2), (3, 2), (4, 2), (5, 2), (6, 2), (1, 3), (2, 3), (3, 3), (4, 3), (2, 4), (3, 4)];

fn instance(seed: u64, sizes: &[(usize, usize)]) -> Problem {
    let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    let (blocks, clocks) = sizes[random.below(sizes.len())];
    random_problem(&mut random, blocks, clocks)
}

/// Plans and enumerates one instance. Gives the plan where there is one, or how the two differ.
fn compare(seed: u64, sizes: &[(usize, usize)], which: Which) -> Result<Option<Plan>, String> {
    let problem = instance(seed, sizes);
    let (planned, enumerated) = (plan(&problem), enumerate(&problem, which));
    let agree = match (&planned, &enumerated) {
        (Ok(plan), Some((energy, _))) => (plan.outcome.energy_j / energy - 1.0).abs() <= 1e-9 && plan.gap_bound <= 1e-9,
        (Err(PlanError::Unreachable { .. }), None) => true,
        _ => false,
    };
    if agree {
        return Ok(planned.ok());
    }
    let planned = planned.map(|plan| (plan.outcome.energy_j, plan.gap_bound, plan.schedule));
    Err(std::format!("seed {seed}: planned {planned:?}, enumerated {enumerated:?}, {problem:?}"))
}

/// How many instances to try: `PLAN_EXACT`, which `./ci.sh plan-exact` sets.
fn instances(otherwise: u64) -> u64 {
    std::env::var("PLAN_EXACT").ok().and_then(|n| n.parse().ok()).unwrap_or(otherwise)
}

#[test]
fn the_planner_and_an_enumeration_agree() {
    let (mut wrong, mut switching, mut in_one_block, mut on_the_way) = (Vec::new(), 0, 0, 0);
    let instances = instances(1000);
    for seed in 0..instances {
        match compare(seed, &SIZES, Which::NoneReplaced) {
            Ok(Some(plan)) => {
                let Schedule { start, writes, wake, .. } = &plan.schedule;
                switching += u64::from(!writes.is_empty());
                on_the_way += u64::from(wake.is_some_and(|(to, _)| to != *start));
                // A change is written in the block in which another one took effect.
                let lands_here = |w: &Write| w.delay_s > 0.0 && plan.block_clocks[w.block] != before(&plan, w.block);
                in_one_block += u64::from(writes.iter().any(lands_here));
            }
            Ok(None) => {}
            Err(how) => wrong.push(how),
        }
    }
    std::eprintln!(
        "{instances} instances, {} disagreements; {switching} plans switch, {in_one_block} write where a change took \
         effect, {on_the_way} start with one on its way",
        wrong.len()
    );
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(switching > instances / 10, "the instances are to make switching worth while often enough");
    assert!(in_one_block > 0 && on_the_way > 0, "the instances are to make every kind of schedule worth while");
}

/// The clock at the end of the block before.
fn before(plan: &Plan, block: usize) -> usize {
    block.checked_sub(1).map_or(plan.schedule.start, |before| plan.block_clocks[before])
}

#[test]
fn writes_that_replace_others_gain_nothing() {
    let mut wrong = Vec::new();
    let instances = instances(1000) / 5;
    let sizes = [(1, 2), (2, 2), (3, 2), (1, 3), (2, 3)];
    for seed in 0..instances {
        wrong.extend(compare(seed, &sizes, Which::All).err());
    }
    std::eprintln!("{instances} instances with replaced writes, {} disagreements", wrong.len());
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// What the domain leaves out on purpose, writes whose effect lies in the next frame: seldom worth having.
#[test]
fn changes_carried_over_the_frames_end_seldom_gain() {
    let (mut better, mut most) = (0, 0.0f64);
    let instances = instances(1000) / 5;
    for seed in 0..instances {
        let problem = instance(seed, &[(1, 2), (2, 2), (3, 2), (2, 3), (3, 3)]);
        let (Ok(plan), Some(carried)) = (plan(&problem), carried_over(&problem)) else { continue };
        let gain = 1.0 - carried / plan.outcome.energy_j;
        better += u64::from(gain > 1e-9);
        most = most.max(gain);
    }
    std::eprintln!("{instances} instances: carried over, {better} would be better, by {:.2} % at most", most * 1e2);
    assert!(better * 100 <= instances, "one in a hundred at most");
}

#[test]
fn above_twelve_blocks_the_gap_is_small() {
    let mut worst: f64 = 0.0;
    let instances = instances(1000) / 50;
    for seed in 0..instances {
        let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let (blocks, clocks) = (13 + random.below(52), 2 + random.below(15));
        let problem = random_problem(&mut random, blocks, clocks);
        let Ok(plan) = plan(&problem) else { continue };
        worst = worst.max(plan.gap_bound);
    }
    std::eprintln!("{instances} instances of 13 to 64 blocks, largest gap {:.4} %", worst * 100.0);
    assert!(worst <= 1e-3, "{worst}");
}

#[test]
fn a_plan_fits_into_a_table_however_often_it_switches() {
    // Pairs of blocks that follow the clock and pairs that do not, at a deadline that needs the high clock for the first.
    let mut problem = random_problem(&mut Random(1), 64, 2);
    problem.noise = Noise::Moments { correlation: 1.0 };
    problem.idle_w = vec![1.0, 1.0];
    problem.changes.fill(ChangeCost { settle_s: 1e-3, settle_sd_s: 0.0, settle_late_s: 1e-3, stall_s: 0.0 });
    (problem.deadline_s, problem.period_s) = (0.6401, 0.6401);
    for (i, block) in problem.blocks.iter_mut().enumerate() {
        let (low_s, low_w) = if i / 2 % 2 == 0 { (0.020, 6.0) } else { (0.010, 3.0) };
        (block.time_s, block.time_sd_s, block.power_w) = (vec![low_s, 0.010], vec![0.0, 0.0], vec![low_w, 10.0]);
    }
    let plan = plan(&problem).unwrap();
    let clocks = problem.clocks.clone();
    let holds = Holds { board: [0; 32], model: [0; 32], network: "n", emc: None, board_clocks: &clocks };
    let table = list_table(&SizeClass::only(&problem, &plan), &holds).unwrap();
    assert!(table.leads().len() >= 30, "{}", table.leads().len());
}

#[test]
fn laws_that_every_plan_keeps() {
    for seed in 0..200 {
        let mut random = Random(seed);
        let (blocks, clocks) = (1 + random.below(12), 2 + random.below(4));
        let mut problem = random_problem(&mut random, blocks, clocks);
        problem.period_s = 2.0 * problem.deadline_s;
        let Ok(tight) = plan(&problem) else { continue };
        assert!(
            problem.bound_s(&tight.outcome) <= problem.deadline_s * (1.0 + 1e-9),
            "seed {seed}: the deadline is met"
        );
        if let Some((_, _, fixed)) = &tight.best_fixed {
            assert!(tight.outcome.energy_j <= fixed.energy_j, "seed {seed}: never worse than the best fixed clock");
        }
        let near = |a: f64, b: f64| a <= b * (1.0 + 1e-9);
        let mut easier = problem.clone();
        easier.deadline_s *= 1.1;
        assert!(near(plan(&easier).unwrap().outcome.energy_j, tight.outcome.energy_j), "seed {seed}: more time");
        let mut riskier = problem.clone();
        riskier.risk = 0.5 + 0.5 * problem.risk;
        assert!(near(plan(&riskier).unwrap().outcome.energy_j, tight.outcome.energy_j), "seed {seed}: more risk");
        let mut thirstier = problem.clone();
        thirstier.blocks.iter_mut().for_each(|b| b.power_w.iter_mut().for_each(|p| *p *= 1.1));
        assert!(near(tight.outcome.energy_j, plan(&thirstier).unwrap().outcome.energy_j), "seed {seed}: more power");
    }
}

#[test]
fn an_unreachable_deadline_is_named_with_the_least_that_is_reachable() {
    let mut problem = random_problem(&mut Random(3), 4, 3);
    problem.deadline_s = 1e-3;
    let Err(PlanError::Unreachable { least_s, .. }) = plan(&problem) else { panic!("reached") };
    problem.deadline_s = least_s * (1.0 + 1e-12);
    problem.period_s = problem.period_s.max(problem.deadline_s);
    assert!(plan(&problem).is_ok());
}
