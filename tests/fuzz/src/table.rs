//! The table image, and the governor that follows whatever table was read.

use crc::{CRC_32_ISO_HDLC, Crc};
use jetpace_tables::governor::{Action, Governor};
use jetpace_tables::table::Table;
use jetpace_tables::table::image::{self, MAX_BYTES};
use jetpace_tables::units::Nanos;
use jetpace_tables::work::{BlockId, Size};

/// Bytes of the frame before the body.
const HEADER: usize = 4 + 2 + 4 + 32 + 32;

/// The bytes are tried as they are, and as the body of a frame whose checksum is right: the checksum turns away nearly
/// everything else. Whether either read.
pub fn table(data: &[u8]) -> bool {
    let read = use_table(data);
    let mut framed = vec![0; HEADER];
    framed[..4].copy_from_slice(&image::MAGIC);
    framed[4..6].copy_from_slice(&image::VERSION.to_le_bytes());
    framed[6..10].copy_from_slice(&(data.len() as u32).to_le_bytes());
    framed.extend(data);
    let checksum = Crc::<u32>::new(&CRC_32_ISO_HDLC).checksum(&framed);
    framed.extend(checksum.to_le_bytes());
    use_table(&framed) || read
}

fn use_table(bytes: &[u8]) -> bool {
    let Ok(table) = image::decode(bytes) else { return false };
    let mut again = vec![0; MAX_BYTES];
    let length = image::encode(&table, &mut again).unwrap_or_else(|e| panic!("read, but cannot be written: {e}"));
    assert_eq!(image::decode(&again[..length]).as_ref(), Ok(&table));
    follow(table);
    true
}

/// Two frames, the second one late: every clock that is written is one of the table's.
fn follow(table: Table) {
    let (blocks, step) = (table.blocks(), table.deadline().get() / 16);
    let mut governor = Governor::new(&table);
    let mut now = 1_000_000_000_u64;
    for frame in 1..=2 {
        check(&table, governor.frame_start(Nanos::new(now)));
        for block in 0..blocks {
            check(&table, governor.block_start(BlockId(block as u16), Size(frame), Nanos::new(now)));
            now = now.saturating_add(step.saturating_mul(u64::from(frame)));
        }
        check(&table, governor.frame_end(Nanos::new(now)));
        check(&table, governor.tick(Nanos::new(now)));
    }
}

fn check(table: &Table, action: Action) {
    let written = match action {
        Action::Hold | Action::Look | Action::Release => [None, None],
        Action::Set(clock) | Action::SetAt(clock, _) => [Some(clock), None],
        Action::SetThenAt(first, second, _) => [Some(first), Some(second)],
    };
    for clock in written.into_iter().flatten() {
        assert!(table.clocks().iter().any(|listed| listed.index == clock), "{clock:?} is not in the table");
    }
}
