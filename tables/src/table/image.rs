//! The table as a file: a fail-safe frame around the table's bytes.
//!
//! Little endian: magic `JPT1`, version u16, length of the body u32, digest of the board, digest of the model, the
//! body (postcard; from version 2 on with what a write takes its writer behind the rest, in nanoseconds, in version 3
//! with whose power it was planned by behind that), CRC32 of everything before it. Version 3 is written only where that
//! is not the module's, so that readers of version 2 never take a GPU's plan for the module's; version 4, where the table
//! tells what its blocks take, has both and that behind them. Frozen bytes of every version stay readable: a test holds them.

use crc::{CRC_32_ISO_HDLC, Crc};

use crate::table::{
    Digest, MAX_BLOCKS, MAX_CLASSES, MAX_CLOCKS, MAX_LEADS, NAME_BYTES, NETWORK_BYTES, Table, TableError,
};

/// The first bytes of every image.
pub const MAGIC: [u8; 4] = *b"JPT1";
/// The version written for the module's power; readers know the one before, too.
pub const VERSION: u16 = 2;
/// With whose power it was planned by.
const VERSION_3: u16 = 3;
/// With whose power it was planned by, and what blocks take.
const VERSION_4: u16 = 4;
/// Without a write's time.
const VERSION_1: u16 = 1;

const HEADER: usize = 4 + 2 + 4 + 32 + 32;
const CRC: usize = 4;

/// Thresholds of one size class.
pub const THRESHOLD_BYTES: usize = MAX_BLOCKS * MAX_CLOCKS * 8;

/// What every block takes at every clock, of one size class: a frame's time, and shares of it.
pub const EXPECTED_BYTES: usize = 7 + 2 + MAX_BLOCKS * MAX_CLOCKS * 3;

/// Everything else of a table of one size class, with every number as long as it can get.
pub const OTHER_BYTES: usize = HEADER
    + CRC
    + (10 + 10 + 5 + 11) // deadline, period, risk, EMC clock
    + (1 + 12 + 1 + 1 + 1) // safe clock, gap, slack unit, blocks, no class sizes
    + (1 + MAX_CLOCKS * (1 + 5 + 3))
    + (2 + MAX_CLOCKS * MAX_CLOCKS) // settle times
    + (1 + MAX_LEADS * (1 + 1 + 1 + 5))
    + (1 + NETWORK_BYTES)
    + (2 + NAME_BYTES)
    + 2 // how many entries
    + 5 // a write's time
    + 1; // whose power

/// The largest image.
pub const MAX_BYTES: usize = OTHER_BYTES + EXPECTED_BYTES + MAX_CLASSES * (THRESHOLD_BYTES + 5);

const _: () = assert!(THRESHOLD_BYTES <= 8 * 1024, "thresholds of 64 blocks x 16 clocks");
const _: () = assert!(OTHER_BYTES <= 2 * 1024, "names and header");

/// Why an image was refused, or could not be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ImageError {
    /// It does not start as a table does.
    #[error("not a jetpace table: it does not start with JPT1; make one with `jetpace plan`")]
    NotATable,
    /// A version that is not known here.
    #[error("version {0} of the table format is not known; this jetpace reads versions 1 to 4: plan again")]
    Version(u16),
    /// Bytes are missing.
    #[error("cut off: {found} bytes of {expected}; plan again")]
    Truncated {
        /// Bytes that are there.
        found: usize,
        /// Bytes that its header promises.
        expected: usize,
    },
    /// Bytes follow that do not belong to it.
    #[error("{0} bytes follow behind the table; plan again")]
    Trailing(usize),
    /// The checksum does not match.
    #[error("damaged: the checksum does not match; plan again")]
    Damaged,
    /// The body is not a table's.
    #[error("damaged: the body does not read as a table; plan again")]
    Body,
    /// The body reads, and says what cannot be.
    #[error(transparent)]
    Table(#[from] TableError),
    /// The buffer to write to is too small.
    #[error("the buffer is too small for the table")]
    NoRoom,
}

/// Writes the image of a table and gives its length; [`MAX_BYTES`] are always enough.
pub fn encode(table: &Table, out: &mut [u8]) -> Result<usize, ImageError> {
    table.check()?;
    let (header, rest) = out.split_at_mut_checked(HEADER).ok_or(ImageError::NoRoom)?;
    let mut body = postcard::to_slice(&(table, table.write_ns), rest).map_err(|_| ImageError::NoRoom)?.len();
    let mut version = VERSION;
    if !table.power_of.is_module() || table.expected.is_some() {
        let behind = rest.get_mut(body..).ok_or(ImageError::NoRoom)?;
        body += postcard::to_slice(&table.power_of, behind).map_err(|_| ImageError::NoRoom)?.len();
        version = VERSION_3;
    }
    if let Some(expected) = &table.expected {
        let behind = rest.get_mut(body..).ok_or(ImageError::NoRoom)?;
        body += postcard::to_slice(expected, behind).map_err(|_| ImageError::NoRoom)?.len();
        version = VERSION_4;
    }
    let length = u32::try_from(body).map_err(|_| ImageError::NoRoom)?;
    let parts: [&[u8]; 5] = [&MAGIC, &version.to_le_bytes(), &length.to_le_bytes(), &table.board, &table.model];
    let mut at = 0;
    for part in parts {
        header.get_mut(at..at + part.len()).ok_or(ImageError::NoRoom)?.copy_from_slice(part);
        at += part.len();
    }
    let end = HEADER + body;
    let checksum = checksum(out.get(..end).ok_or(ImageError::NoRoom)?);
    out.get_mut(end..end + CRC).ok_or(ImageError::NoRoom)?.copy_from_slice(&checksum.to_le_bytes());
    Ok(end + CRC)
}

/// Reads an image; whatever the bytes, it gives a sound table or says what is wrong.
pub fn decode(bytes: &[u8]) -> Result<Table, ImageError> {
    let start = bytes.get(..4).unwrap_or(bytes);
    if !MAGIC.starts_with(start) || start.is_empty() {
        return Err(ImageError::NotATable);
    }
    let missing = |expected| ImageError::Truncated { found: bytes.len(), expected };
    let header = bytes.get(..HEADER).ok_or(missing(HEADER + CRC))?;
    let version = u16::from_le_bytes(array(header, 4));
    if !(VERSION_1..=VERSION_4).contains(&version) {
        return Err(ImageError::Version(version));
    }
    let length = u32::from_le_bytes(array(header, 6)) as usize;
    let end = HEADER.saturating_add(length);
    let expected = end.saturating_add(CRC);
    if bytes.len() < expected {
        return Err(missing(expected));
    }
    if bytes.len() > expected {
        return Err(ImageError::Trailing(bytes.len() - expected));
    }
    let framed = bytes.get(..end).ok_or(missing(expected))?;
    if checksum(framed) != u32::from_le_bytes(array(bytes, end)) {
        return Err(ImageError::Damaged);
    }
    let body = framed.get(HEADER..).ok_or(missing(expected))?;
    let (mut table, mut rest) = postcard::take_from_bytes::<Table>(body).map_err(|_| ImageError::Body)?;
    if version > VERSION_1 {
        (table.write_ns, rest) = postcard::take_from_bytes(rest).map_err(|_| ImageError::Body)?;
    }
    if version >= VERSION_3 {
        (table.power_of, rest) = postcard::take_from_bytes(rest).map_err(|_| ImageError::Body)?;
    }
    if version >= VERSION_4 {
        let (expected, behind) = postcard::take_from_bytes(rest).map_err(|_| ImageError::Body)?;
        (table.expected, rest) = (Some(expected), behind);
    }
    if !rest.is_empty() {
        return Err(ImageError::Trailing(rest.len()));
    }
    table.board = array::<{ size_of::<Digest>() }>(header, 10);
    table.model = array::<{ size_of::<Digest>() }>(header, 42);
    table.check()?;
    Ok(table)
}

/// `N` bytes from `at`; zeros where they are not there, which the callers have ruled out.
fn array<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    bytes.get(at..at + N).and_then(|b| b.try_into().ok()).unwrap_or([0; N])
}

fn checksum(bytes: &[u8]) -> u32 {
    const CRC32: Crc<u32> = Crc::<u32>::new(&CRC_32_ISO_HDLC);
    CRC32.checksum(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hw::PowerOf;
    use crate::table::tests::small;
    use crate::table::{Entry, Expected, Lead, Rung};
    use crate::table::{MAX_NUMBER, MAX_PERIOD};
    use crate::units::{Hertz, Nanos};
    use crate::work::{BlockId, ClockIndex};
    use std::vec;
    use std::vec::Vec;

    fn image(table: &Table) -> Vec<u8> {
        let mut bytes = vec![0; MAX_BYTES];
        let length = encode(table, &mut bytes).unwrap();
        bytes.truncate(length);
        bytes
    }

    fn with_lead() -> Table {
        let mut table = small(2);
        let delay = Nanos::from_micros(1500);
        table.leads.push(Lead { block: BlockId(1), from: Rung(1), to: Rung(0), delay }).unwrap();
        table.emc = Some(Hertz::new(2_133_000_000));
        table.write_ns = 38_000;
        table
    }

    /// A table that takes as many bytes as a table of one size class can.
    fn largest() -> Table {
        let mut table = small(1);
        table.deadline = MAX_PERIOD;
        table.period = MAX_PERIOD;
        table.slack_shift = Table::shift_for(MAX_PERIOD);
        table.write_ns = u32::MAX;
        table.power_of = PowerOf::GpuShared;
        table.risk_ppm = 1_000_000;
        table.emc = Some(Hertz::MAX);
        table.gap.wake_lead = MAX_PERIOD;
        table.blocks = MAX_BLOCKS as u8;
        table.network = heapless::String::try_from("n".repeat(NETWORK_BYTES).as_str()).unwrap();
        table.names.clear();
        for _ in 0..MAX_BLOCKS {
            table.names.push_str("seventeen letters\n").unwrap();
        }
        table.clocks.clear();
        for i in 0..MAX_CLOCKS as u8 {
            let clock = Hertz::new(MAX_NUMBER - 20 + u64::from(i));
            table
                .clocks
                .push(crate::table::TableClock { index: ClockIndex(i + 200), clock, relative_time: 65535 })
                .unwrap();
        }
        table.settle.resize(MAX_CLOCKS * MAX_CLOCKS, 255).unwrap();
        let lead = Lead { block: BlockId(63), from: Rung(15), to: Rung(15), delay: Nanos::new(MAX_NUMBER - 1) };
        table.leads.resize(MAX_LEADS, lead).unwrap();
        table.entries.resize(MAX_BLOCKS * MAX_CLOCKS, Entry::always(Rung(15))).unwrap();
        let mut shares = heapless::Vec::new();
        shares.resize(MAX_BLOCKS * MAX_CLOCKS, u16::MAX).unwrap();
        table.expected = Some(Expected { longest: MAX_PERIOD, shares });
        table
    }

    #[test]
    fn what_is_written_reads_back() {
        for table in [small(1), with_lead(), largest(), small(1).with_power_of(PowerOf::GpuShared)] {
            assert_eq!(decode(&image(&table)).unwrap(), table);
        }
    }

    #[test]
    fn the_largest_table_fits_its_bounds() {
        let bytes = image(&largest()).len();
        let most = THRESHOLD_BYTES + OTHER_BYTES + EXPECTED_BYTES;
        assert!(bytes <= most, "{bytes}");
        assert!(bytes > most - 48, "{bytes}: the bound is not loose");
    }

    /// Versions 1 and 2, as they were first written. Not to be changed: files of these versions lie on someone's board.
    const FROZEN_1: &[u8] = include_bytes!("frozen/table-1.jpt");
    const FROZEN_2: &[u8] = include_bytes!("frozen/table-2.jpt");
    /// And version 4.
    const FROZEN_4: &[u8] = include_bytes!("frozen/table-4.jpt");

    fn with_times() -> Table {
        let mut table = with_lead();
        table.power_of = PowerOf::GpuShared;
        table.expected = Expected::new(0.012, [0.006, 0.004, 0.0035, 0.006, 0.0055, 0.0].into_iter());
        table
    }

    #[test]
    fn every_version_reads_as_ever() {
        assert_eq!(image(&with_lead()), FROZEN_2, "what is written");
        assert_eq!(decode(FROZEN_2).unwrap(), with_lead());
        assert_eq!(image(&with_times()), FROZEN_4);
        assert_eq!(decode(FROZEN_4).unwrap(), with_times());
        let first = decode(FROZEN_1).unwrap();
        assert_eq!(first.write_time(), None);
        assert_eq!(first.with_write_time(Nanos::from_micros(38)), with_lead());
    }

    #[test]
    fn a_flipped_bit_anywhere_is_refused() {
        let good = image(&with_lead());
        for bit in 0..good.len() * 8 {
            let mut bytes = good.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert!(decode(&bytes).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn truncated_longer_and_foreign_bytes_are_refused_by_name() {
        let good = image(&with_lead());
        for length in 0..good.len() {
            assert!(decode(&good[..length]).is_err(), "{length}");
        }
        assert!(matches!(decode(&good[..50]), Err(ImageError::Truncated { found: 50, .. })));
        assert_eq!(decode(&[&good[..], &[0]].concat()), Err(ImageError::Trailing(1)));
        assert_eq!(decode(b"kind,block"), Err(ImageError::NotATable));
        assert_eq!(decode(b""), Err(ImageError::NotATable));
        let mut newer = good;
        newer[4] = 5;
        assert_eq!(decode(&newer), Err(ImageError::Version(5)));
    }

    #[test]
    fn a_sound_checksum_does_not_make_a_table() {
        let mut bytes = image(&small(2));
        // The safe clock's rung: the byte behind deadline (4), period (4), risk (2) and EMC (1) of the body.
        let safe = HEADER + 4 + 4 + 2 + 1;
        bytes[safe] = 9;
        let end = bytes.len() - CRC;
        let sum = checksum(&bytes[..end]).to_le_bytes();
        bytes[end..].copy_from_slice(&sum);
        assert_eq!(decode(&bytes), Err(ImageError::Table(TableError::Unsound("clock of the table"))));
    }
    proptest::proptest! {
        #[test]
        fn any_body_under_a_sound_frame_is_read_or_refused(body in proptest::collection::vec(proptest::num::u8::ANY, 0..400)) {
            let mut bytes = image(&small(1));
            bytes.truncate(HEADER);
            bytes[6..10].copy_from_slice(&(body.len() as u32).to_le_bytes());
            bytes.extend(&body);
            let sum = checksum(&bytes).to_le_bytes();
            bytes.extend(sum);
            if let Ok(table) = decode(&bytes) {
                proptest::prop_assert!(table.check().is_ok());
            }
        }
    }
}
