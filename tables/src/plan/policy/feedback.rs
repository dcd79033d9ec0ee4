//! The feedback table: policies for several prices of a miss, rehearsed with the real governor; the one of least energy
//! among those that miss no more often than the list is taken, or the list itself.

use std::vec::Vec;

use super::backup::{Choices, Program};
use super::run;
use crate::plan::rehearsal::bursts::MatchedBursts;
use crate::plan::rehearsal::{Expected, REHEARSAL, WORTH, rehearse, with_bursts};
use crate::plan::sizes::SizeClass;
use crate::table::{Table, TableError};

/// Prices of a miss that are tried: from half a period's energy, each four times the one before.
const PRICES: usize = 8;
/// Side by side, whatever the machine, so that every machine finds the same.
const CHAINS: usize = 4;
/// For a saving it may miss where the list does not, up to this share of the accepted probability: the list may be at a
/// clock too high because the one below missed the risk by little.
const RARE: f64 = 0.05;

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

/// A table that was tried.
struct Tried {
    price: f64,
    /// Per frame, by the program: energy and the price of misses together.
    cost_j: f64,
    table: Table,
    /// By the governor.
    rehearsed: Expected,
}

/// What following a table comes to, by rehearsal.
pub fn expected(classes: &[SizeClass<'_>], table: &Table) -> Expected {
    rehearse(&with_bursts(classes), table, REHEARSAL)
}

/// Makes the feedback table. `list` is the plans' own table: what it holds besides entries is kept.
pub fn feedback(classes: &[SizeClass<'_>], list: &Table) -> Result<Feedback, TableError> {
    let classes = with_bursts(classes);
    let programs: Vec<Program<'_>> = classes.iter().map(Program::new).collect();
    let as_listed = rehearse(&classes, list, REHEARSAL);
    let risk = f64::from(list.risk_ppm) * 1e-6;
    let rare = RARE * risk;
    let most = as_listed.miss.min(risk).max(rare);
    let (mut best, mut expected) = (None, as_listed);
    for tried in tried(&classes, &programs, list) {
        let saved = 1.0 - tried.rehearsed.energy_j / expected.energy_j;
        let rarer = expected.miss > rare && tried.rehearsed.miss < 0.5 * expected.miss;
        let saves = saved > if rarer { 0.0 } else { WORTH };
        if tried.rehearsed.miss <= most && (saves || expected.miss > most) {
            expected = tried.rehearsed;
            best = Some(tried);
        }
    }
    let Some(best) = best else {
        return Ok(Feedback { table: list.clone(), expected, list: as_listed, form_cost: 0.0 });
    };
    let (free_j, _) = run(&programs, list, Choices { price: best.price, free: true }, &mut Vec::new());
    let form_cost = ((best.cost_j - free_j) / expected.energy_j).max(0.0);
    best.table.check()?;
    Ok(Feedback { table: best.table, expected, list: as_listed, form_cost })
}

/// A table for each price, but for those that are the list.
fn tried(classes: &[(SizeClass<'_>, MatchedBursts<'_>)], programs: &[Program<'_>], list: &Table) -> Vec<Tried> {
    let base = classes.iter().map(|(class, _)| class.share * class.plan.outcome.energy_j).sum::<f64>().max(1e-9);
    // Every CHAINS-th price, each starting from what the one before came to.
    let chain = |first: usize| {
        let mut starts = Vec::new();
        let at = |step: usize| {
            let price = 0.5 * base * (1u64 << (2 * step)) as f64;
            let (cost_j, entries) = run(programs, list, Choices { price, free: false }, &mut starts);
            let mut table = list.clone();
            table.entries.clear();
            // As many as the list's.
            let _ = table.entries.extend_from_slice(&entries);
            let rehearsed = (table.entries != list.entries).then(|| rehearse(classes, &table, REHEARSAL))?;
            Some(Tried { price, cost_j, table, rehearsed })
        };
        (first..PRICES).step_by(CHAINS).map(at).collect::<Vec<_>>()
    };
    let threads = std::thread::available_parallelism().map_or(1, |n| n.get().min(CHAINS));
    let mut chains: Vec<Vec<Option<Tried>>> = (0..CHAINS).map(|_| Vec::new()).collect();
    std::thread::scope(|scope| {
        let every = |first: usize| scope.spawn(move || (first..CHAINS).step_by(threads).map(chain).collect::<Vec<_>>());
        let running: Vec<_> = (0..threads).map(every).collect();
        for (first, thread) in running.into_iter().enumerate() {
            let found = thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            for (i, tried) in found.into_iter().enumerate() {
                chains[first + i * threads] = tried;
            }
        }
    });
    (0..PRICES).filter_map(|step| chains[step % CHAINS][step / CHAINS].take()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::tests::oracle::{Random, random_problem};
    use crate::plan::{Holds, list_table, plan};

    #[test]
    fn feedback_costs_and_misses_no_more_than_the_list() {
        let mut better = 0;
        for seed in 0..32 {
            let mut random = Random(seed);
            let mut problem = random_problem(&mut random, 12, 4);
            problem.risk = 0.05;
            let Ok(plan) = plan(&problem) else { continue };
            let clocks = problem.clocks.clone();
            let holds = Holds { board: [0; 32], model: [0; 32], network: "n", emc: None, board_clocks: &clocks };
            let class = SizeClass::only(&problem, &plan);
            let list = list_table(&class, &holds).unwrap();
            let made = feedback(&class, &list).unwrap();
            let (f, l) = (made.expected, made.list);
            assert!(f.miss <= l.miss, "seed {seed}: {f:?} {l:?}");
            assert!(f.energy_j <= l.energy_j || f.miss < l.miss, "seed {seed}: {f:?} {l:?}");
            better += u32::from(f.energy_j < l.energy_j * 0.999);
        }
        assert!(better > 0);
    }
}
