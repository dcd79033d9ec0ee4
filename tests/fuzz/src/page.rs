//! The page that a client shares with the daemon, whatever it holds.

use jetpace::runtime::map::Mapping;
use jetpace::runtime::page::{Page, Reader, SLOTS};

/// The bytes from the page's start on: events come, a ring's length of them at most, or a lie is seen. Whether any came.
pub fn page(data: &[u8]) -> bool {
    let (page, memory) = Mapping::<Page>::create().unwrap_or_else(|e| panic!("{e}"));
    let data = &data[..data.len().min(size_of::<Page>())];
    std::os::unix::fs::FileExt::write_all_at(&std::fs::File::from(memory), data, 0).unwrap_or_else(|e| panic!("{e}"));
    let mut reader = Reader::default();
    let mut events = 0;
    while let Ok(Some(_)) = reader.next(&page) {
        events += 1;
        assert!(events <= SLOTS, "more than a ring holds");
    }
    events > 0
}
