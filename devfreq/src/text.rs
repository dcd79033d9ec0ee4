//! Reading small nodes: one word, one number, a list of numbers. Nothing here trusts what it reads.

use std::path::Path;

use jetpace_tables::units::Hertz;

use crate::error::Error;
use crate::nodes::Nodes;

/// The clocks that a GPU or a memory can have; anything else is garbage.
const PLAUSIBLE_HZ: core::ops::RangeInclusive<u64> = 1_000..=20_000_000_000;

/// The byte order mark that editors on Windows put in front.
pub(crate) const MARK: char = '\u{feff}';

/// No text of one node is longer: Thor's 183 clocks take 2 KiB.
const LONGEST_WORD: usize = 4096;

/// A node's text without blanks at its ends, the NUL that ends device-tree properties, or an editor's mark at its start.
pub fn word<N: Nodes>(nodes: &N, path: &Path) -> Result<String, Error> {
    let text = nodes.read(path).map_err(|e| Error::read(path, e))?;
    let text = text.trim_start_matches(MARK).trim_end_matches(|c: char| c == '\0' || c.is_whitespace());
    if text.len() > LONGEST_WORD || text.contains('\0') {
        return Err(Error::content(path, text, "a short text"));
    }
    Ok(text.to_owned())
}

/// Like [`word`], where a missing or unreadable node is no error.
pub fn word_if_there<N: Nodes>(nodes: &N, path: &Path) -> Option<String> {
    word(nodes, path).ok().filter(|text| !text.is_empty())
}

/// The entries of a device-tree list, which are ended by NULs.
pub fn nul_list<N: Nodes>(nodes: &N, path: &Path) -> Vec<String> {
    let text = nodes.read(path).unwrap_or_default();
    text.split(['\0', '\n']).map(str::trim).filter(|s| !s.is_empty() && s.len() < 200).map(str::to_owned).collect()
}

/// A signed decimal number.
pub fn integer<N: Nodes>(nodes: &N, path: &Path) -> Result<i64, Error> {
    let text = word(nodes, path)?;
    text.trim().parse().map_err(|_| Error::content(path, &text, "a number"))
}

/// A clock in hertz.
pub fn hertz<N: Nodes>(nodes: &N, path: &Path) -> Result<Hertz, Error> {
    let text = word(nodes, path)?;
    parse_hertz(&text).ok_or_else(|| Error::content(path, &text, "a clock in hertz"))
}

pub(crate) fn parse_hertz(text: &str) -> Option<Hertz> {
    text.trim().parse().ok().filter(|hz| PLAUSIBLE_HZ.contains(hz)).map(Hertz::new)
}

/// A list of clocks, brought into ascending order, each once; and what in it is no clock.
///
/// # Errors
/// Where no clock is left, or more than 255 are: a [`ClockIndex`](jetpace_tables::work::ClockIndex) is a byte. nvgpu lists
/// at most 15 up to R36, and up to 183 on Thor.
pub fn clock_list<N: Nodes>(nodes: &N, path: &Path) -> Result<(Vec<Hertz>, Vec<String>), Error> {
    let text = word(nodes, path)?;
    let (mut clocks, mut left_out) = (Vec::new(), Vec::new());
    for part in text.split_ascii_whitespace() {
        match parse_hertz(part) {
            Some(clock) => clocks.push(clock),
            None => left_out.push(part.chars().take(20).collect()),
        }
    }
    clocks.sort_unstable();
    clocks.dedup();
    if clocks.is_empty() || clocks.len() > 255 {
        return Err(Error::content(path, &text, "a list of 1 to 255 clocks in hertz"));
    }
    Ok((clocks, left_out))
}

/// A bound in hertz; `None` where there is no limit (0, or the largest number of whoever wrote it).
pub fn bound<N: Nodes>(nodes: &N, path: &Path) -> Result<Option<Hertz>, Error> {
    let text = word(nodes, path)?;
    let value: u64 = text.trim().parse().map_err(|_| Error::content(path, &text, "a clock in hertz"))?;
    Ok(parse_hertz(&text).filter(|_| value != u64::from(i32::MAX as u32)))
}
