//! The readers of what other tools measured.

use jetpace::commands::import::{edge_llm, monitor, profile, table, times};

/// The first byte names the tool. What is accepted is within FORMATS' ranges. Whether it was accepted.
pub fn import(data: &[u8]) -> bool {
    let Some((tool, bytes)) = data.split_first() else { return false };
    match tool % 5 {
        0 => profile::parse(bytes).is_ok(),
        1 => edge_llm::request(bytes).is_ok(),
        2 => times::parse(bytes).is_ok(),
        3 => monitor::parse(bytes).is_ok_and(|log| {
            assert!(log.watts.is_finite() && log.readings > 0, "{log:?}");
            true
        }),
        _ => table::rows(bytes).is_ok_and(|(rows, _)| {
            assert!(rows.iter().all(|row| row.gpu_freq.is_some() && row.latency.is_some()), "{rows:?}");
            true
        }),
    }
}
