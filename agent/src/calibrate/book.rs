//! Where rows go, and which ones are there already.

use std::collections::{BTreeMap, BTreeSet};

use jetpace_tables::sample::{Key, Kind, Row};
use jetpace_tables::units::Hertz;

use crate::failure::Failure;

/// The rows of a sweep that grows.
pub struct Book<'a> {
    there: BTreeSet<Key>,
    idle: BTreeMap<Hertz, Row>,
    write: &'a mut dyn FnMut(&Row) -> Result<(), Failure>,
    template: Row,
    emc_locked: bool,
    emc_expected: bool,
}

impl std::fmt::Debug for Book<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Book").field("there", &self.there.len()).field("template", &self.template).finish()
    }
}

impl<'a> Book<'a> {
    /// A book for rows of one device and model. `there` are the rows of a sweep that was cut off.
    pub fn new(
        device: &str,
        model: &str,
        there: &[Row],
        write: &'a mut dyn FnMut(&Row) -> Result<(), Failure>,
    ) -> Self {
        let template = Row { device: device.to_owned(), model: model.to_owned(), ..Row::default() };
        let keys = there.iter().map(Row::key).collect();
        let idle = BTreeMap::new();
        let mut book = Self { there: keys, idle, write, template, emc_locked: false, emc_expected: false };
        there.iter().for_each(|row| book.remember(row));
        book
    }

    /// Keeps what the GPU draws awake at a clock when it has nothing to do.
    fn remember(&mut self, row: &Row) {
        if let (Kind::Idle, Some(clock), true) =
            (row.kind, row.gpu_freq, row.block.is_empty() && row.rejected.is_empty())
        {
            self.idle.insert(clock, row.clone());
        }
    }

    /// The row of a GPU that is awake and has nothing to do at a clock.
    pub fn idle(&self, clock: Hertz) -> Option<&Row> {
        self.idle.get(&clock)
    }

    /// The memory's clock for all rows from here on.
    pub fn set_emc(&mut self, emc: Option<Hertz>) {
        self.template.emc_freq = emc;
    }

    /// The memory's clock is locked at this one.
    pub fn lock_emc(&mut self, emc: Hertz) {
        (self.emc_locked, self.emc_expected) = (true, true);
        self.set_emc(Some(emc));
    }

    /// Whether the memory's clock is locked.
    pub fn is_emc_locked(&self) -> bool {
        self.emc_locked
    }

    /// What comes now may have another clock of the memory than what was before, where that is not locked.
    pub fn expect_no_emc(&mut self) {
        self.emc_expected = self.emc_locked;
    }

    /// The memory's clock that rows are written with: what it is now, where none was expected.
    pub fn expect_emc(&mut self, now: Option<Hertz>) -> Option<Hertz> {
        if !std::mem::replace(&mut self.emc_expected, true) {
            self.template.emc_freq = now;
        }
        self.template.emc_freq
    }

    /// The CPU's clock for all rows from here on.
    pub fn set_cpu(&mut self, cpu: Option<Hertz>) {
        self.template.cpu_freq = cpu;
    }

    /// An empty row of a kind.
    pub fn row(&self, kind: Kind) -> Row {
        Row { kind, ..self.template.clone() }
    }

    /// Whether a row with this key, but for the CPU's clock and for a clock of the memory that is not locked, is there.
    pub fn has(&self, row: &Row) -> bool {
        let (mut low, mut high) = (row.key(), row.key());
        // They lie in the middle of the key's clocks, so the range holds other changes' clocks as well.
        for free in if self.emc_locked { 2..3 } else { 1..3 } {
            (low.clocks[free], high.clocks[free]) = (None, Some(Hertz::MAX));
        }
        self.there.range(low.clone()..=high).any(|key| key.clocks[3..] == low.clocks[3..])
    }

    /// Whether a change was measured.
    pub fn has_change(&self, repeat: u32, from: Hertz, to: Hertz) -> bool {
        self.has(&Row { repeat, from: Some(from), to: Some(to), ..self.row(Kind::Settle) })
    }

    /// Takes a row of an earlier sweep over, where there is none like it.
    pub fn take_over(&mut self, row: &Row) -> Result<(), Failure> {
        let row = Row { device: self.template.device.clone(), model: self.template.model.clone(), ..row.clone() };
        self.remember(&row);
        if self.there.insert(row.key()) { (self.write)(&row) } else { Ok(()) }
    }

    /// Writes a row, with the memory's clock that it was measured at.
    pub fn add(&mut self, row: &Row) -> Result<(), Failure> {
        self.remember(row);
        let row = Row { emc_freq: self.template.emc_freq, ..row.clone() };
        self.there.insert(row.key());
        (self.write)(&row)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOW: Option<Hertz> = Some(Hertz::new(665_600_000));
    const HIGH: Option<Hertz> = Some(Hertz::new(2_133_000_000));

    #[test]
    fn the_memorys_clock_is_taken_anew_where_it_may_have_moved() {
        let mut written = Vec::new();
        let mut write = |row: &Row| {
            written.push(row.emc_freq);
            Ok(())
        };
        let mut book = Book::new("d", "m", &[], &mut write);
        book.set_emc(LOW);
        let row = book.row(Kind::Block);
        // What the next clock of the GPU brings about is no fault; what comes in the middle of a visit is.
        book.expect_no_emc();
        assert_eq!(book.expect_emc(HIGH), HIGH);
        book.add(&row).unwrap();
        assert_eq!(book.expect_emc(LOW), HIGH);
        book.lock_emc(Hertz::new(665_600_000));
        book.expect_no_emc();
        assert_eq!(book.expect_emc(HIGH), LOW, "locked, it may not move at all");
        book.add(&row).unwrap();
        assert_eq!(written, [HIGH, LOW]);
    }

    #[test]
    fn a_row_is_there_at_any_clock_of_a_memory_that_is_not_locked() {
        let there = Row { emc_freq: HIGH, ..Row::default() };
        let mut write = |_: &Row| Ok(());
        let mut book = Book::new("", "", std::slice::from_ref(&there), &mut write);
        let at = |emc_freq| Row { emc_freq, ..Row::default() };
        assert!(book.has(&at(LOW)) && book.has(&at(None)) && book.has(&at(HIGH)));
        book.lock_emc(Hertz::new(665_600_000));
        assert!(!book.has(&at(LOW)));
        assert!(book.has(&at(HIGH)));
    }
}
