//! The sweep reader.

use std::path::Path;

use jetpace_tables::units::Hertz;

/// A sweep that is accepted keeps FORMATS' ranges. Whether it was.
pub fn sweep(data: &[u8]) -> bool {
    let Ok(sweep) = jetpace::files::sweep::parse(data, Path::new("sweep.csv")) else { return false };
    for row in &sweep.rows {
        let clocks = [row.gpu_freq, row.emc_freq, row.from, row.to].into_iter().flatten();
        for clock in clocks {
            assert!((Hertz::new(10_000_000)..=Hertz::new(10_000_000_000)).contains(&clock), "{clock}");
        }
    }
    true
}
