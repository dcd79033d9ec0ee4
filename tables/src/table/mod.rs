//! The table that runs: a feedback policy of fixed capacity, looked up once per block.
//!
//! For a block, a size class and the clock in effect, an [`Entry`] gives the next clock by slack: little slack, a
//! high clock; much slack, a low one. A change that is still pending is looked up as the clock that it leads to,
//! with the slack corrected for the time that the old clock may still cost ([`Table::pending_loss`]).

pub mod image;
mod plain;

use heapless::{String, Vec};
use serde::{Deserialize, Serialize};

use crate::hw::PowerOf;
use crate::names;
use crate::units::{Hertz, Nanos};
use crate::work::{BlockId, ClockIndex, Size};

/// The most blocks a table holds.
pub const MAX_BLOCKS: usize = 64;
/// The most clocks a table chooses among.
pub const MAX_CLOCKS: usize = 16;
/// The most size classes.
pub const MAX_CLASSES: usize = 4;
/// The most changes that are written a lead before a boundary: one lands in every second block at most.
pub const MAX_LEADS: usize = MAX_BLOCKS / 2;
/// Clocks in hertz and leads in nanoseconds lie below this: five bytes in the image.
pub const MAX_NUMBER: u64 = 1 << 35;
/// All block names together, with a line feed behind each.
pub const NAME_BYTES: usize = 1152;

/// The longest period. Frames that are further apart are no frames, and a governor that waits for three of them in vain must
/// not wait for ever.
pub const MAX_PERIOD: Nanos = Nanos::from_millis(3_600_000);

/// The network's name.
pub const NETWORK_BYTES: usize = 32;

const MAX_ENTRIES: usize = MAX_BLOCKS * MAX_CLOCKS * MAX_CLASSES;

/// Settle times are stored in steps of this.
const SETTLE_STEP: Nanos = Nanos::from_micros(100);

/// SHA-256 of what a file holds for.
pub type Digest = [u8; 32];

/// Position of a clock in the table's own ascending list, which may leave out some of the board's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Rung(pub u8);

impl Rung {
    /// For indexing arrays.
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

/// A clock that the table chooses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableClock {
    /// Its position in the board's list.
    pub index: ClockIndex,
    /// Its frequency.
    pub clock: Hertz,
    /// How long a frame takes at it, as 1/65535 of the frame at the table's lowest clock.
    pub relative_time: u16,
}

/// Up to four clocks by slack, in eight bytes: three thresholds, then four rungs of four bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Entry([u8; 8]);

/// A threshold that no slack reaches.
const NEVER: u16 = u16::MAX;

impl Entry {
    /// The same clock whatever the slack.
    pub const fn always(rung: Rung) -> Self {
        let pair = (rung.0 & 15) * 17;
        Self([255, 255, 255, 255, 255, 255, pair, pair])
    }

    /// `first` below the first threshold, and behind each threshold (slack in units, ascending) its rung. More
    /// than three thresholds, one out of order, or a rung above the one before it give `None`.
    pub fn new(first: Rung, steps: &[(u16, Rung)]) -> Option<Self> {
        if steps.len() > 3 || first.index() >= MAX_CLOCKS {
            return None;
        }
        let (mut rungs, mut thresholds) = ([first.0; 4], [NEVER; 3]);
        let mut before = (0, first);
        for (i, &(threshold, rung)) in steps.iter().enumerate() {
            if threshold < before.0 || threshold == NEVER || rung > before.1 {
                return None;
            }
            before = (threshold, rung);
            *thresholds.get_mut(i)? = threshold;
            rungs.get_mut(i + 1..)?.fill(rung.0);
        }
        let [a, b, c] = thresholds.map(u16::to_le_bytes);
        Some(Self([a[0], a[1], b[0], b[1], c[0], c[1], rungs[0] | rungs[1] << 4, rungs[2] | rungs[3] << 4]))
    }

    /// The three thresholds, ascending; `u16::MAX` where there are fewer.
    pub const fn thresholds(self) -> [u16; 3] {
        let b = self.0;
        [u16::from_le_bytes([b[0], b[1]]), u16::from_le_bytes([b[2], b[3]]), u16::from_le_bytes([b[4], b[5]])]
    }

    /// The rung for each step of slack, from none to most.
    pub const fn rungs(self) -> [Rung; 4] {
        let b = self.0;
        [Rung(b[6] & 15), Rung(b[6] >> 4), Rung(b[7] & 15), Rung(b[7] >> 4)]
    }

    /// The rung for a slack in units.
    const fn choose(self, slack: u16) -> Rung {
        let [a, b, c] = self.thresholds();
        let step = (slack >= a) as u32 + (slack >= b) as u32 + (slack >= c) as u32;
        let rungs = u16::from_le_bytes([self.0[6], self.0[7]]);
        Rung((rungs >> (4 * step)) as u8 & 15)
    }

    fn is_sound(self, clocks: usize) -> bool {
        let (t, r) = (self.thresholds(), self.rungs());
        t.is_sorted() && r.is_sorted_by(|a, b| a >= b) && r[0].index() < clocks
    }
}

/// A change written within a block, so that it is in effect at a later boundary.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lead {
    /// The block in which it is written.
    pub block: BlockId,
    /// Only where this clock is in effect and the look-up keeps it.
    pub from: Rung,
    /// The clock written.
    pub to: Rung,
    /// From the block's start to the write.
    pub delay: Nanos,
}

/// What the blocks take, as planned: for one size class.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Expected {
    /// A frame at the table's lowest clock.
    pub(crate) longest: Nanos,
    /// By block and clock, as 1/65535 of that.
    pub(crate) shares: Vec<u16, { MAX_BLOCKS * MAX_CLOCKS }>,
}

impl Expected {
    /// From what the blocks take (seconds, by block and clock) and a frame at the lowest clock. `None` where there are more than
    /// a table holds.
    pub(crate) fn new(longest_s: f64, times_s: impl Iterator<Item = f64>) -> Option<Self> {
        let mut shares = Vec::new();
        for time_s in times_s {
            shares.push(share(time_s, longest_s)).ok()?;
        }
        Some(Self { longest: Nanos::from_secs_f64(longest_s), shares })
    }
}

/// What shares of the longest frame are counted in.
const WHOLE: u64 = 65_535;

/// A time as a share of the longest frame, rounded to the nearest; it is never negative.
pub(crate) fn share(time_s: f64, longest_s: f64) -> u16 {
    (time_s / longest_s * WHOLE as f64 + 0.5).clamp(0.0, WHOLE as f64) as u16
}

/// What happens between frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gap {
    /// The clock between frames.
    pub idle: Rung,
    /// The clock in effect when a frame starts.
    pub first: Rung,
    /// How long before the next frame `first` is written; zero where the frame starts at `idle`.
    pub wake_lead: Nanos,
}

/// A feedback policy with all that the governor needs. Made by the planner or read from an image, always sound.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Table {
    #[serde(skip)]
    pub(crate) board: Digest,
    #[serde(skip)]
    pub(crate) model: Digest,
    /// Behind the rest in an image: the first version has none. Four seconds at most.
    #[serde(skip)]
    pub(crate) write_ns: u32,
    /// Behind that in an image, where it is not the module's.
    #[serde(skip)]
    pub(crate) power_of: PowerOf,
    /// Behind that, where it is known.
    #[serde(skip)]
    pub(crate) expected: Option<Expected>,
    pub(crate) deadline: Nanos,
    pub(crate) period: Nanos,
    pub(crate) risk_ppm: u32,
    pub(crate) emc: Option<Hertz>,
    pub(crate) safe: Rung,
    pub(crate) gap: Gap,
    pub(crate) slack_shift: u8,
    pub(crate) blocks: u8,
    /// The largest size of every class but the last.
    pub(crate) class_sizes: Vec<u32, { MAX_CLASSES - 1 }>,
    pub(crate) clocks: Vec<TableClock, MAX_CLOCKS>,
    /// Late settle time from one rung (row) to another, in steps of 100 us.
    pub(crate) settle: Vec<u8, { MAX_CLOCKS * MAX_CLOCKS }>,
    pub(crate) leads: Vec<Lead, MAX_LEADS>,
    pub(crate) network: String<NETWORK_BYTES>,
    pub(crate) names: String<NAME_BYTES>,
    /// By class, block and clock in effect.
    pub(crate) entries: Vec<Entry, MAX_ENTRIES>,
}

/// Why a table was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TableError {
    /// More than fits.
    #[error("{what}: {found}, and a table holds at most {most}")]
    TooMany {
        /// Of what.
        what: &'static str,
        /// How many there are.
        found: usize,
        /// How many fit.
        most: usize,
    },
    /// Its parts contradict one another.
    #[error("the table contradicts itself: {0}")]
    Unsound(&'static str),
}

impl Table {
    /// The board it holds for.
    pub fn board(&self) -> &Digest {
        &self.board
    }

    /// The model file it was planned from.
    pub fn model(&self) -> &Digest {
        &self.model
    }

    /// The latest end of a frame, from its start.
    pub fn deadline(&self) -> Nanos {
        self.deadline
    }

    /// Between frame starts.
    pub fn period(&self) -> Nanos {
        self.period
    }

    /// Without an event for so long nobody follows the table any more: three periods.
    pub fn silence(&self) -> Nanos {
        Nanos::new(self.period.get().saturating_mul(3))
    }

    /// What is left of a frame's deadline so long after its start, in nanoseconds.
    pub fn slack(&self, elapsed: Nanos) -> i64 {
        // A deadline is an hour at most; what lies further back than the numbers reach is as late as can be.
        i64::try_from(elapsed.get()).map_or(i64::MIN, |elapsed| self.deadline.get() as i64 - elapsed)
    }

    /// The accepted probability of a miss.
    pub fn risk(&self) -> f64 {
        f64::from(self.risk_ppm) / 1e6
    }

    /// The same in millionths.
    pub fn risk_ppm(&self) -> u32 {
        self.risk_ppm
    }

    /// The EMC clock it holds for; `None` where the sweep did not tell.
    pub fn emc(&self) -> Option<Hertz> {
        self.emc
    }

    /// What calibration found a write of a clock to take its writer; `None` where it did not tell.
    pub fn write_time(&self) -> Option<Nanos> {
        (self.write_ns > 0).then_some(Nanos::new(u64::from(self.write_ns)))
    }

    /// With what a write takes its writer.
    #[must_use]
    pub fn with_write_time(self, write_time: Nanos) -> Self {
        Self { write_ns: u32::try_from(write_time.get()).unwrap_or(u32::MAX), ..self }
    }

    /// Whose energy it was planned to keep low.
    pub fn power_of(&self) -> PowerOf {
        self.power_of
    }

    /// Planned by this power.
    #[must_use]
    pub fn with_power_of(self, power_of: PowerOf) -> Self {
        Self { power_of, ..self }
    }

    /// What a block takes at a clock that it runs at from its start to its end, as planned; `None` where the table does not
    /// tell.
    #[inline]
    pub fn expected(&self, block: BlockId, rung: Rung) -> Option<Nanos> {
        let expected = self.expected.as_ref()?;
        let share = expected.shares.get(block.index() * self.clocks.len() + rung.index())?;
        Some(Nanos::new(expected.longest.get() * u64::from(*share) / WHOLE))
    }

    /// Of how much of a frame times have to be known for it to be compared: half of the shortest.
    pub(crate) fn least_to_compare(&self) -> Nanos {
        let shortest = self.clocks.last().map_or(0, |clock| u64::from(clock.relative_time));
        let longest = self.expected.as_ref().map_or(0, |expected| expected.longest.get());
        // One nanosecond at least: a table that tells nothing compares nothing.
        Nanos::new((longest * shortest / WHOLE / 2).max(1))
    }

    /// The lowest clock that is faster than a rung's by so many millionths, for whole frames; the highest where none is.
    pub(crate) fn faster_by(&self, rung: Rung, margin_ppm: u32) -> Rung {
        let time = |c: &TableClock| u64::from(c.relative_time) * (1_000_000 + u64::from(margin_ppm));
        let wanted = self.clocks.get(rung.index()).map_or(0, |c| u64::from(c.relative_time) * 1_000_000);
        let above = self.clocks.iter().enumerate().skip(rung.index());
        let found = above.filter(|(_, c)| time(c) <= wanted).map(|(i, _)| i).next();
        Rung(found.unwrap_or(self.clocks.len().saturating_sub(1)) as u8)
    }

    /// For this EMC clock.
    #[must_use]
    pub fn with_emc(self, emc: Hertz) -> Self {
        Self { emc: Some(emc), ..self }
    }

    /// How many blocks a frame has.
    pub fn blocks(&self) -> usize {
        usize::from(self.blocks)
    }

    /// How many size classes it tells apart.
    pub fn classes(&self) -> usize {
        self.class_sizes.len() + 1
    }

    /// The clocks it chooses among, ascending; a [`Rung`] is a position in this list.
    pub fn clocks(&self) -> &[TableClock] {
        &self.clocks
    }

    /// The clock held when the table may not be followed.
    pub fn safe(&self) -> Rung {
        self.safe
    }

    /// What happens between frames.
    pub fn gap(&self) -> Gap {
        self.gap
    }

    /// The changes written within a block.
    pub fn leads(&self) -> &[Lead] {
        &self.leads
    }

    /// The network that it was planned for, by the name that the sweep gave it.
    pub fn network(&self) -> &str {
        &self.network
    }

    /// The names of the blocks, in order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.names.lines()
    }

    /// A block by its name.
    pub fn find(&self, name: &str) -> Option<BlockId> {
        self.names().position(|n| n == name).map(|i| BlockId(i as u16))
    }

    /// The board's index of a rung.
    pub fn clock(&self, rung: Rung) -> ClockIndex {
        self.clocks.get(rung.index()).map_or_else(ClockIndex::default, |c| c.index)
    }

    /// The highest rung whose clock is at most the board's clock `index`, if any is.
    pub fn rung_below(&self, index: ClockIndex) -> Option<Rung> {
        self.clocks.iter().rposition(|c| c.index <= index).map(|i| Rung(i as u8))
    }

    /// Time from a write until it is in effect even where it is late, to the nearest 100 us, at most 25.5 ms.
    pub fn settle(&self, from: Rung, to: Rung) -> Nanos {
        let steps = self.settle.get(from.index() * self.clocks.len() + to.index()).copied().unwrap_or(0);
        Nanos::new(u64::from(steps) * SETTLE_STEP.get())
    }

    /// The time that a pending change from `from` to `to` still costs against `to` being in effect now, when it takes
    /// effect in `remaining`: remaining * (1 - t(to) / t(from)), in nanoseconds. A fall costs nothing: it may be in
    /// effect already, so what the old clock saves is not counted on.
    pub fn pending_loss(&self, from: Rung, to: Rung, remaining: Nanos) -> i64 {
        let time = |r: Rung| self.clocks.get(r.index()).map_or(1, |c| i64::from(c.relative_time.max(1)));
        let remaining = i64::try_from(remaining.get()).unwrap_or(i64::MAX).min(i64::MAX >> 17);
        (remaining - remaining * time(to) / time(from)).max(0)
    }

    /// The size class of a size: the first whose largest size it does not exceed, else the last.
    pub fn class(&self, size: Size) -> usize {
        self.class_sizes.iter().position(|largest| size.0 <= *largest).unwrap_or(self.class_sizes.len())
    }

    /// The entry of a block at a clock in effect.
    pub fn entry(&self, class: usize, block: BlockId, in_effect: Rung) -> Option<Entry> {
        let i = (class * self.blocks() + block.index()) * self.clocks.len() + in_effect.index();
        self.entries.get(i).copied()
    }

    /// The clock for a block, by the clock in effect and the slack in nanoseconds; the safe clock for what the
    /// table does not hold.
    pub fn look_up(&self, class: usize, block: BlockId, in_effect: Rung, slack: i64) -> Rung {
        let units = (slack.max(0) as u64 >> self.slack_shift).min(u64::from(NEVER - 1)) as u16;
        self.entry(class, block, in_effect).map_or(self.safe, |entry| entry.choose(units))
    }

    /// A slack in the units of the thresholds.
    pub fn slack_units(&self, slack: Nanos) -> u16 {
        (slack.get() >> self.slack_shift).min(u64::from(NEVER - 1)) as u16
    }

    /// A threshold as a time.
    pub fn threshold(&self, units: u16) -> Nanos {
        Nanos::new(u64::from(units) << self.slack_shift)
    }

    /// How far a slack is shifted down to be compared with thresholds: the least shift at which the deadline fits.
    pub const fn shift_for(deadline: Nanos) -> u8 {
        let mut shift = 0;
        while deadline.get() >> shift >= NEVER as u64 {
            shift += 1;
        }
        shift
    }

    /// A settle time as it is stored: rounded to 100 us, at most 25.5 ms.
    pub fn settle_steps(settle: Nanos) -> u8 {
        (settle.saturating_add(Nanos::new(SETTLE_STEP.get() / 2)).get() / SETTLE_STEP.get()).min(255) as u8
    }

    /// Refuses a table whose parts do not fit together, so that the governor need not ask again.
    pub(crate) fn check(&self) -> Result<(), TableError> {
        let clocks = self.clocks.len();
        let sound = |ok: bool, what| if ok { Ok(()) } else { Err(TableError::Unsound(what)) };
        sound((1..=MAX_BLOCKS).contains(&self.blocks()), "number of blocks")?;
        sound(self.names.lines().count() == self.blocks(), "a name for every block")?;
        sound(clocks > 0 && self.clocks.is_sorted_by(|a, b| a.index < b.index && a.clock < b.clock), "clocks ascend")?;
        sound(self.clocks.iter().all(|c| c.clock.get() < MAX_NUMBER), "clock in hertz")?;
        sound(self.settle.len() == clocks * clocks, "a settle time for every pair of clocks")?;
        sound(self.deadline > Nanos::ZERO && self.deadline <= self.period, "0 < deadline <= period")?;
        sound(self.period <= MAX_PERIOD, "a period of an hour at most")?;
        sound(names::is_plain(&self.network) && self.names.lines().all(names::is_plain), "names of plain characters")?;
        sound(self.risk_ppm <= 1_000_000, "risk is a probability")?;
        sound(self.slack_shift == Self::shift_for(self.deadline), "slack unit")?;
        sound(self.class_sizes.is_sorted_by(|a, b| a < b), "size classes ascend")?;
        let rungs = [self.safe, self.gap.idle, self.gap.first];
        sound(rungs.iter().all(|r| r.index() < clocks), "clock of the table")?;
        sound(self.gap.wake_lead <= self.period, "lead before the next frame")?;
        sound(
            self.leads.iter().all(|l| {
                l.block.index() < self.blocks()
                    && l.from.index() < clocks
                    && l.to.index() < clocks
                    && l.delay <= self.period
                    && l.delay.get() < MAX_NUMBER
            }),
            "leads",
        )?;
        let times = self.expected.as_ref();
        sound(times.is_none_or(|e| e.shares.len() == self.blocks() * clocks), "a time for every block and clock")?;
        sound(times.is_none_or(|e| e.longest > Nanos::ZERO && e.longest <= MAX_PERIOD), "a frame of an hour at most")?;
        sound(self.entries.len() == self.classes() * self.blocks() * clocks, "an entry for every block and clock")?;
        sound(self.entries.iter().all(|e| e.is_sound(clocks)), "thresholds ascend and clocks fall with slack")
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A table of three clocks (board indices 1, 3, 4) and `blocks` blocks `b0`, `b1`, ...: rung 1 at ease, rung 2
    /// below a slack of 5 ms, deadline 20 ms, period 40 ms, settle 2 ms.
    pub(crate) fn small(blocks: u8) -> Table {
        let deadline = Nanos::from_millis(20);
        let shift = Table::shift_for(deadline);
        let units = (Nanos::from_millis(5).get() >> shift) as u16;
        let clock = |index, mhz: u64, relative_time| TableClock {
            index: ClockIndex(index),
            clock: Hertz::from_khz(mhz * 1000),
            relative_time,
        };
        let mut names = String::new();
        let mut entries = Vec::new();
        for block in 0..blocks {
            core::fmt::Write::write_fmt(&mut names, format_args!("b{block}\n")).unwrap();
            for _ in 0..3 {
                entries.push(Entry::new(Rung(2), &[(units, Rung(1))]).unwrap()).unwrap();
            }
        }
        let table = Table {
            board: [1; 32],
            model: [2; 32],
            write_ns: 0,
            power_of: PowerOf::Module,
            expected: None,
            deadline,
            period: Nanos::from_millis(40),
            risk_ppm: 10_000,
            emc: None,
            safe: Rung(1),
            gap: Gap { idle: Rung(0), first: Rung(1), wake_lead: Nanos::from_millis(3) },
            slack_shift: shift,
            blocks,
            class_sizes: Vec::new(),
            clocks: Vec::from_slice(&[clock(1, 300, 65535), clock(3, 500, 40000), clock(4, 600, 33000)]).unwrap(),
            settle: Vec::from_slice(&[0, 20, 20, 20, 0, 20, 20, 20, 0]).unwrap(),
            leads: Vec::new(),
            network: String::try_from("net").unwrap(),
            names,
            entries,
        };
        table.check().unwrap();
        table
    }

    #[test]
    fn an_entry_gives_its_clocks_by_slack() {
        let entry = Entry::new(Rung(15), &[(10, Rung(9)), (20, Rung(3))]).unwrap();
        let got = [0, 9, 10, 19, 20, 65534].map(|s| entry.choose(s).0);
        assert_eq!(got, [15, 15, 9, 9, 3, 3]);
        assert_eq!(Entry::always(Rung(7)).choose(65534), Rung(7));
    }

    #[test]
    fn an_entry_that_rises_with_slack_is_refused() {
        assert!(Entry::new(Rung(3), &[(10, Rung(4))]).is_none());
        assert!(Entry::new(Rung(3), &[(10, Rung(2)), (9, Rung(1))]).is_none());
        assert!(Entry::new(Rung(3), &[(1, Rung(2)); 4]).is_none());
        assert!(!Entry([0, 0, 0, 0, 0, 0, 0x10, 0x11]).is_sound(16));
    }

    #[test]
    fn a_slack_below_zero_reads_as_none() {
        let table = small(2);
        assert_eq!(table.look_up(0, BlockId(0), Rung(0), -1), Rung(2));
        assert_eq!(table.look_up(0, BlockId(1), Rung(0), 20_000_000), Rung(1));
        assert_eq!(table.look_up(0, BlockId(2), Rung(0), 20_000_000), table.safe(), "no such block");
    }

    #[test]
    fn a_pending_rise_costs_and_a_pending_fall_saves() {
        let table = small(1);
        // 2 ms at the lowest clock do 2 ms * 33000/65535 of the work of the highest: 0.993 ms lost.
        let loss = table.pending_loss(Rung(0), Rung(2), Nanos::from_millis(2));
        assert!((loss - 992_905).abs() < 100, "{loss}");
        // A fall may be in effect already: what its old clock saves is not counted on.
        assert_eq!(table.pending_loss(Rung(2), Rung(0), Nanos::from_millis(2)), 0);
        assert_eq!(table.pending_loss(Rung(1), Rung(1), Nanos::MAX), 0);
    }

    #[test]
    fn sizes_fall_into_classes() {
        let mut table = small(1);
        table.class_sizes = Vec::from_slice(&[8, 64]).unwrap();
        assert_eq!([1, 8, 9, 64, 65].map(|s| table.class(Size(s))), [0, 0, 1, 1, 2]);
    }

    #[test]
    fn contradictions_are_refused() {
        let broken: [fn(&mut Table); 9] = [
            |t| t.safe = Rung(3),
            |t| t.blocks = 3,
            |t| t.slack_shift += 1,
            |t| t.deadline = Nanos::from_millis(41),
            |t| t.period = Nanos::new(MAX_PERIOD.get() + 1),
            |t| t.network = String::try_from("net\nclient 7: process 1").unwrap(),
            |t| t.names = String::try_from("b0\n\u{1b}[2J\n").unwrap(),
            |t| t.clocks[0].clock = Hertz::from_khz(900_000),
            |t| t.entries[4] = Entry([1, 0, 0, 0, 0, 0, 0, 0]),
        ];
        for (i, make) in broken.iter().enumerate() {
            let mut table = small(2);
            make(&mut table);
            assert!(table.check().is_err(), "{i}");
        }
    }
}
