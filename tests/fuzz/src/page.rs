//! The page that a client shares with the daemon, whatever it holds.

use jetpace::calibrate::own::Told;
use jetpace::runtime::map::Mapping;
use jetpace::runtime::page::{Page, Reader, SLOTS};
use jetpace_tables::units::Nanos;

/// Runs of a block that were asked for.
const RUNS: u32 = 3;

/// When the events are read.
const NOW: Nanos = Nanos::from_millis(2_000);

/// The bytes from the page's start on: events come, a ring's length of them at most, or a lie is seen; they make frames of a
/// program that is measured, or what it does wrong is said. Whether any came.
pub fn page(data: &[u8]) -> bool {
    let (page, memory) = Mapping::<Page>::create().unwrap_or_else(|e| panic!("{e}"));
    let data = &data[..data.len().min(size_of::<Page>())];
    std::os::unix::fs::FileExt::write_all_at(&std::fs::File::from(memory), data, 0).unwrap_or_else(|e| panic!("{e}"));
    let mut reader = Reader::default();
    let mut events = 0;
    let mut told = Told::new(RUNS);
    while let Ok(Some(event)) = reader.next(&page) {
        events += 1;
        assert!(events <= SLOTS, "more than a ring holds");
        match told.take(event, NOW) {
            Ok(Some(frame)) => {
                let whole = frame.end.saturating_sub(frame.start);
                assert!(frame.end <= NOW && frame.blocks.iter().flat_map(|ran| ran.apart()).all(|time| time <= whole));
            }
            Ok(None) => {}
            Err(_) => told = Told::new(RUNS),
        }
    }
    events > 0
}
