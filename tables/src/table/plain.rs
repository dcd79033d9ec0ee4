//! Tables that are told every clock: for measuring the runtime, and for those who know what they want.

use heapless::{String, Vec};

use super::{Digest, Entry, Gap, Rung, Table, TableClock, TableError};
use crate::hw::PowerOf;
use crate::units::Nanos;
use crate::work::ClockIndex;

impl Table {
    /// A table that gives block `i` the board's clock `wanted[i]`, whatever the slack and the clock in effect. Between
    /// frames it stays where it is; the safe clock is the highest. Settle times are `settle` for every change.
    ///
    /// # Errors
    /// Where there are more blocks, clocks or name bytes than fit, or a block wants a clock that is not listed.
    pub fn plain(
        board: Digest,
        clocks: &[TableClock],
        wanted: &[(&str, ClockIndex)],
        (deadline, period): (Nanos, Nanos),
        settle: Nanos,
    ) -> Result<Self, TableError> {
        let too_many = |what, found, most| TableError::TooMany { what, found, most };
        let listed: Vec<TableClock, { super::MAX_CLOCKS }> =
            Vec::from_slice(clocks).map_err(|_| too_many("clocks", clocks.len(), super::MAX_CLOCKS))?;
        let mut names = String::new();
        let mut entries = Vec::new();
        let mut first = None;
        for (name, clock) in wanted {
            let rung = clocks.iter().position(|c| c.index == *clock).ok_or(TableError::Unsound("clock of a block"))?;
            let rung = Rung(rung as u8);
            first = first.or(Some(rung));
            let fits = names.push_str(name).and_then(|()| names.push('\n'));
            fits.map_err(|_| too_many("bytes of names", names.len() + name.len(), super::NAME_BYTES))?;
            for _ in clocks {
                let room = entries.push(Entry::always(rung));
                room.map_err(|_| too_many("blocks", wanted.len(), super::MAX_BLOCKS))?;
            }
        }
        let first = first.unwrap_or_default();
        let steps = Self::settle_steps(settle);
        let count = listed.len();
        let table = Self {
            board,
            model: [0; 32],
            write_ns: 0,
            power_of: PowerOf::Module,
            expected: None,
            deadline,
            period,
            risk_ppm: 0,
            emc: None,
            safe: Rung(count.saturating_sub(1) as u8),
            gap: Gap { idle: first, first, wake_lead: Nanos::ZERO },
            slack_shift: Self::shift_for(deadline),
            blocks: u8::try_from(wanted.len()).map_err(|_| too_many("blocks", wanted.len(), super::MAX_BLOCKS))?,
            class_sizes: Vec::new(),
            clocks: listed,
            settle: (0..count * count).map(|i| if i % (count + 1) == 0 { 0 } else { steps }).collect(),
            leads: Vec::new(),
            network: String::new(),
            names,
            entries,
        };
        table.check()?;
        Ok(table)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::Hertz;
    use crate::work::BlockId;

    #[test]
    fn every_block_gets_the_clock_it_wants() {
        let clocks: std::vec::Vec<_> = (0..3)
            .map(|i| TableClock { index: ClockIndex(2 * i), clock: Hertz::new(1 + u64::from(i)), relative_time: 1 })
            .collect();
        let pace = (Nanos::from_millis(10), Nanos::from_millis(20));
        let wanted = [("a", ClockIndex(4)), ("b", ClockIndex(0))];
        let table = Table::plain([7; 32], &clocks, &wanted, pace, Nanos::from_millis(1)).unwrap();
        for rung in 0..3 {
            assert_eq!(table.clock(table.look_up(0, BlockId(0), Rung(rung), 1)), ClockIndex(4));
            assert_eq!(table.clock(table.look_up(0, BlockId(1), Rung(rung), i64::MAX)), ClockIndex(0));
        }
        assert_eq!(table.settle(Rung(0), Rung(2)), Nanos::from_millis(1));
        let unlisted = [("a", ClockIndex(1))];
        assert!(Table::plain([7; 32], &clocks, &unlisted, pace, Nanos::ZERO).is_err());
        let many = std::vec![("x", ClockIndex(0)); 65];
        assert!(Table::plain([7; 32], &clocks, &many, pace, Nanos::ZERO).is_err());
    }
}
