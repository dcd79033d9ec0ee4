//! A clock that is a single node, written as the GPU's is: a kept descriptor, prepared bytes, one write at offset 0.

use std::io;
use std::path::Path;

use jetpace_devfreq::board::EmcRange;
use jetpace_devfreq::nodes::{NodeHandle, Nodes, OpenNode, SysfsRoot};
use jetpace_tables::hw::GpuClock;
use jetpace_tables::table::{Digest, MAX_CLOCKS, Table, TableClock};
use jetpace_tables::units::{Hertz, Nanos};
use jetpace_tables::work::ClockIndex;

use crate::runtime::control::{Look, WatchedClock};

/// The clocks that are written: those that the node's driver lists, else any two.
pub fn values(node: &Path) -> Vec<Hertz> {
    let folders = node.ancestors().skip(1).take(2);
    let listed = folders.filter_map(|folder| std::fs::read_to_string(folder.join("available_frequencies")).ok()).next();
    let mut clocks: Vec<Hertz> = listed
        .unwrap_or_default()
        .split_ascii_whitespace()
        .filter_map(|word| word.parse().ok().map(Hertz::new))
        .take(MAX_CLOCKS)
        .collect();
    clocks.sort_unstable();
    if clocks.len() < 2 { vec![Hertz::new(306_000_000), Hertz::new(624_750_000)] } else { clocks }
}

/// The node.
pub struct FileClock {
    node: OpenNode,
    clocks: Vec<Hertz>,
    texts: Vec<String>,
}

impl FileClock {
    pub fn open(node: &Path, clocks: &[Hertz]) -> io::Result<Self> {
        let node = SysfsRoot::new("/").open(&node.canonicalize()?)?;
        let texts = clocks.iter().map(|clock| clock.get().to_string()).collect();
        Ok(Self { node, clocks: clocks.to_vec(), texts })
    }
}

impl GpuClock for FileClock {
    type Error = io::Error;

    fn clocks(&self) -> &[Hertz] {
        &self.clocks
    }

    #[inline]
    fn set(&mut self, clock: ClockIndex) -> io::Result<()> {
        match self.texts.get(clock.index()) {
            Some(text) => self.node.write(text.as_bytes()),
            None => Err(io::ErrorKind::InvalidInput.into()),
        }
    }

    fn pin(&mut self, clock: ClockIndex) -> io::Result<Hertz> {
        self.set(clock)?;
        self.current()
    }

    fn current(&mut self) -> io::Result<Hertz> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn release(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl WatchedClock for FileClock {
    fn look(&mut self, _: bool) -> io::Result<Look> {
        Ok(Look { cap: ClockIndex(u8::MAX), board: BOARD.into(), emc: EmcRange::Free })
    }
}

/// There is none.
const BOARD: Digest = [0; 32];

/// Blocks in a frame.
pub const BLOCKS: u16 = 50;

/// A frame of [`BLOCKS`] blocks, of which every other one wants the lowest clock and the rest what `odd` says.
pub fn table(clocks: &[Hertz], odd: ClockIndex) -> io::Result<Box<Table>> {
    let listed: Vec<TableClock> = clocks
        .iter()
        .enumerate()
        .map(|(i, clock)| TableClock { index: ClockIndex(i as u8), clock: *clock, relative_time: 1 })
        .collect();
    let names: Vec<String> = (0..BLOCKS).map(|i| format!("b{i}")).collect();
    let wanted: Vec<(&str, ClockIndex)> = names
        .iter()
        .enumerate()
        .map(|(i, name)| (name.as_str(), if i % 2 == 0 { ClockIndex(0) } else { odd }))
        .collect();
    let pace = (Nanos::from_millis(60_000), Nanos::from_millis(60_000));
    Table::plain(BOARD, &listed, &wanted, pace, Nanos::ZERO).map(Box::new).map_err(io::Error::other)
}
