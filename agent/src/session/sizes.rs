//! `--sizes`: how large frames are, and how often.

use std::str::FromStr;

use jetpace_tables::table::MAX_CLASSES;
use jetpace_tables::work::Size;
use serde::Serialize;

use crate::failure::Failure;

/// A size and the share of all frames that are of it, or between the next smaller one and it.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct SizeShare {
    /// The size.
    pub size: Size,
    /// A fraction above 0.
    pub share: f64,
}

impl FromStr for SizeShare {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (size, share) = text.split_once(':').ok_or("give a size and its share, as 64:0.5")?;
        let size: u32 = size.parse().map_err(|_| format!("`{size}` is no size: a whole number above 0"))?;
        let share: f64 = share.parse().map_err(|_| format!("`{share}` is no share: a number such as 0.5"))?;
        if size == 0 || !(share > 0.0 && share <= 1.0) {
            return Err("a size is at least 1, a share above 0 and at most 1".to_owned());
        }
        Ok(Self { size: Size(size), share })
    }
}

/// Refuses sizes that do not ascend, shares that do not sum up to 1, and more than a table holds.
pub fn check(sizes: &[SizeShare]) -> Result<(), Failure> {
    let sum: f64 = sizes.iter().map(|size| size.share).sum();
    if sizes.len() > MAX_CLASSES {
        return Err(Failure::usage(format_args!("--sizes: {} sizes, and a table holds {MAX_CLASSES}", sizes.len())));
    }
    ascending(sizes.iter().map(|size| size.size))?;
    if !sizes.is_empty() && (sum - 1.0).abs() > 1e-6 {
        return Err(Failure::usage(format_args!("--sizes: the shares come to {sum}, not to 1")));
    }
    Ok(())
}

/// Refuses sizes that do not ascend.
pub fn ascending(sizes: impl Iterator<Item = Size>) -> Result<(), Failure> {
    if sizes.is_sorted_by(|a, b| a < b) {
        return Ok(());
    }
    Err(Failure::usage("--sizes: give them in ascending order, each once"))
}

/// The size of a frame: drawn by its number, so that every policy gets the same ones.
pub fn of_frame(sizes: &[SizeShare], index: u64) -> Size {
    // splitmix64
    let mixed = index.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    let mut drawn = ((mixed ^ mixed >> 31) >> 11) as f64 / (1u64 << 53) as f64;
    let found = sizes.iter().find(|size| {
        drawn -= size.share;
        drawn < 0.0
    });
    found.or(sizes.last()).map_or(Size::default(), |size| size.size)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_as_large_as_often_as_said() {
        let sizes: Vec<SizeShare> = ["64:0.5", "256:0.3", "1024:0.2"].iter().map(|s| s.parse().unwrap()).collect();
        let count = |size: u32| (0..10_000).filter(|i| of_frame(&sizes, *i) == Size(size)).count();
        for (size, wanted) in [(64, 5000), (256, 3000), (1024, 2000)] {
            assert!(count(size).abs_diff(wanted) < 150, "{size}: {}", count(size));
        }
        assert_eq!(of_frame(&[], 7), Size::default());
    }

    #[test]
    fn sizes_are_read_and_refused() {
        let read = |text: &str| text.split(',').map(str::parse).collect::<Result<Vec<SizeShare>, _>>();
        let sizes = read("64:0.5,256:0.3,1024:0.2").unwrap();
        assert_eq!(sizes[1], SizeShare { size: Size(256), share: 0.3 });
        assert!(check(&sizes).is_ok() && check(&[]).is_ok());
        for bad in ["64", "0:1", "64:0", "64:1.5", "x:0.5", "64:y"] {
            assert!(read(bad).is_err(), "{bad}");
        }
        for bad in ["64:0.5,64:0.5", "256:0.5,64:0.5", "64:0.5", "1:0.2,2:0.2,3:0.2,4:0.2,5:0.2"] {
            assert!(check(&read(bad).unwrap()).is_err(), "{bad}");
        }
    }
}
