//! From a plan to a table: the fixed list, which asks for the planned clocks whatever the slack.

use heapless::{String, Vec};

use super::fixed;
use super::problem::Problem;
use super::schedule::Plan;
use super::sizes::SizeClass;
use crate::hw::PowerOf;
use crate::table::{
    Digest, Entry, Expected, Gap, Lead, MAX_BLOCKS, MAX_CLASSES, MAX_CLOCKS, MAX_LEADS, NAME_BYTES, NETWORK_BYTES,
    Rung, Table, TableClock, TableError, share,
};
use crate::units::{Hertz, Nanos};
use crate::work::{BlockId, ClockIndex};

/// What a table holds for.
#[derive(Clone, Copy, Debug)]
pub struct Holds<'a> {
    /// Digest of the board.
    pub board: Digest,
    /// Digest of the model file.
    pub model: Digest,
    /// The network's name.
    pub network: &'a str,
    /// The EMC clock.
    pub emc: Option<Hertz>,
    /// All clocks of the board, ascending.
    pub board_clocks: &'a [Hertz],
}

/// The table that follows the plans' lists of clocks, with the start and the idle clock of one class's plan.
pub(super) fn listed(classes: &[SizeClass<'_>], like: usize, holds: &Holds<'_>) -> Result<Table, TableError> {
    let Some(SizeClass { problem, .. }) = classes.last() else {
        return Err(TableError::Unsound("no size class"));
    };
    let blocks = problem.blocks.len();
    let clocks = problem.clocks.len();
    let fits = |what, found, most| if found <= most { Ok(()) } else { Err(TableError::TooMany { what, found, most }) };
    fits("blocks", blocks, MAX_BLOCKS)?;
    fits("clocks", clocks, MAX_CLOCKS)?;
    let names: usize = problem.blocks.iter().map(|b| b.name.len() + 1).sum();
    fits("bytes of block names", names, NAME_BYTES)?;
    fits("bytes of the network's name", holds.network.len(), NETWORK_BYTES)?;
    fits("size classes", classes.len(), MAX_CLASSES)?;
    let leads = classes.iter().flat_map(|class| &class.plan.schedule.writes).filter(|w| w.delay_s > 0.0).count();
    fits("changes a lead before a boundary", leads, MAX_LEADS)?;

    let deadline = Nanos::from_secs_f64(problem.deadline_s);
    let mut table = Table {
        board: holds.board,
        model: holds.model,
        write_ns: 0,
        power_of: PowerOf::Module,
        expected: None,
        deadline,
        period: Nanos::from_secs_f64(problem.period_s),
        risk_ppm: (problem.risk * 1e6).round() as u32,
        emc: holds.emc,
        safe: safe(problem),
        gap: gap(problem, classes[like].plan),
        slack_shift: Table::shift_for(deadline),
        blocks: blocks as u8,
        class_sizes: Vec::new(),
        clocks: Vec::new(),
        settle: Vec::new(),
        leads: Vec::new(),
        network: String::new(),
        names: String::new(),
        entries: Vec::new(),
    };
    // None of these can run out of room: the counts were compared above.
    let _ = table.network.push_str(holds.network);
    for block in &problem.blocks {
        let _ = table.names.push_str(&block.name).and_then(|()| table.names.push('\n'));
    }
    // Once, and before the loop below: rustc 1.95 with thin LTO has called `frame` there with one clock more than there is.
    let times: std::vec::Vec<f64> = (0..clocks).map(|c| fixed::frame(problem, c).time_s).collect();
    let longest = times.iter().copied().fold(0.0, f64::max);
    for (i, (clock, time)) in problem.clocks.iter().zip(&times).enumerate() {
        let index = holds.board_clocks.iter().position(|c| c == clock).unwrap_or(i);
        let relative_time = share(*time, longest).max(1);
        let _ = table.clocks.push(TableClock { index: ClockIndex(index as u8), clock: *clock, relative_time });
    }
    // Of a frame of several sizes it is not known which part was of which.
    if classes.len() == 1 {
        let times = problem.blocks.iter().flat_map(|block| &block.time_s[..clocks]).copied();
        table.expected = Expected::new(longest, times);
    }
    for change in &problem.changes {
        // Late ones: a write that comes before the last change has taken effect takes that change's place.
        let late_s = change.settle_late_s.max(change.settle_s);
        let _ = table.settle.push(Table::settle_steps(Nanos::from_secs_f64(late_s)));
    }
    for class in &classes[..classes.len() - 1] {
        let _ = table.class_sizes.push(class.largest.0);
    }
    let plans = classes.iter().map(|class| class.plan);
    for (plan, block) in plans.flat_map(|plan| (0..blocks).map(move |block| (plan, block))) {
        let target = plan.schedule.asked(block);
        let mut writes = plan.schedule.writes.iter().filter(|w| w.block == block);
        for _ in 0..clocks {
            let _ = table.entries.push(Entry::always(Rung(target as u8)));
        }
        if let Some(write) = writes.find(|w| w.delay_s > 0.0) {
            let _ = table.leads.push(Lead {
                block: BlockId(block as u16),
                from: Rung(target as u8),
                to: Rung(write.to as u8),
                delay: Nanos::from_secs_f64(write.delay_s),
            });
        }
    }
    table.check()?;
    Ok(table)
}

/// The lowest clock at which a fixed clock meets the deadline at the risk; the highest where none does.
fn safe(problem: &Problem) -> Rung {
    let meets = |clock: &usize| problem.bound_s(&fixed::frame(problem, *clock)) <= problem.deadline_s;
    let clocks = problem.clocks.len();
    Rung((0..clocks).find(meets).unwrap_or(clocks - 1) as u8)
}

fn gap(problem: &Problem, plan: &Plan) -> Gap {
    let schedule = &plan.schedule;
    let last = schedule.writes.last().map_or(schedule.start, |w| w.to);
    let wake_lead = schedule.wake.map_or(Nanos::ZERO, |(_, lead_s)| Nanos::from_secs_f64(lead_s));
    debug_assert!(wake_lead <= Nanos::from_secs_f64(problem.period_s));
    Gap { idle: Rung(schedule.idle.unwrap_or(last) as u8), first: Rung(schedule.first() as u8), wake_lead }
}
