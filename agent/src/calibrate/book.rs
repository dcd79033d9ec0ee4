//! Where rows go, and which ones are there already.

use std::collections::BTreeSet;

use jetpace_tables::sample::{Key, Kind, Row};
use jetpace_tables::units::Hertz;

use crate::failure::Failure;

/// The rows of a sweep that grows.
pub struct Book<'a> {
    there: BTreeSet<Key>,
    write: &'a mut dyn FnMut(&Row) -> Result<(), Failure>,
    template: Row,
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
        Self { there: there.iter().map(Row::key).collect(), write, template }
    }

    /// The memory's clock for all rows from here on.
    pub fn set_emc(&mut self, emc: Option<Hertz>) {
        self.template.emc_freq = emc;
    }

    /// The memory's clock that rows are written with.
    pub fn emc(&self) -> Option<Hertz> {
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

    /// Whether a row with this key, but for the CPU's clock, is there.
    pub fn has(&self, row: &Row) -> bool {
        let mut low = Row { cpu_freq: None, ..row.clone() }.key();
        let mut high = low.clone();
        // The CPU's clock lies in the middle of the key's clocks, so the range holds other changes' clocks as well.
        (low.clocks[2], high.clocks[2]) = (None, Some(Hertz::MAX));
        self.there.range(low.clone()..=high).any(|key| key.clocks[3..] == low.clocks[3..])
    }

    /// Whether a change was measured.
    pub fn has_change(&self, repeat: u32, from: Hertz, to: Hertz) -> bool {
        self.has(&Row { repeat, from: Some(from), to: Some(to), ..self.row(Kind::Settle) })
    }

    /// Writes a row.
    pub fn add(&mut self, row: &Row) -> Result<(), Failure> {
        (self.write)(row)
    }
}
