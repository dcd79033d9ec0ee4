//! Which lines of a command's output are frames.

use std::str::FromStr;

/// So much of a line is looked at.
const LONGEST: usize = 64 * 1024;

/// What a line holds that is a frame: a regular expression. The static release has no room for those and takes plain text.
#[derive(Clone, Debug)]
pub struct Pattern {
    #[cfg(feature = "report")]
    regex: regex::bytes::Regex,
    text: String,
}

impl FromStr for Pattern {
    type Err = String;

    #[cfg(feature = "report")]
    fn from_str(text: &str) -> Result<Self, String> {
        let regex = regex::bytes::Regex::new(text).map_err(|e| e.to_string())?;
        Ok(Self { regex, text: text.to_owned() })
    }

    #[cfg(not(feature = "report"))]
    fn from_str(text: &str) -> Result<Self, String> {
        match text.contains(['\\', '.', '+', '*', '?', '(', ')', '|', '[', ']', '{', '}', '^', '$']) {
            true => Err("a regular expression; this binary takes plain text, the full build both".to_owned()),
            false => Ok(Self { text: text.to_owned() }),
        }
    }
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for Pattern {}

impl Pattern {
    #[cfg(feature = "report")]
    fn is_in(&self, line: &[u8]) -> bool {
        self.regex.is_match(line)
    }

    #[cfg(not(feature = "report"))]
    fn is_in(&self, line: &[u8]) -> bool {
        let text = self.text.as_bytes();
        text.is_empty() || line.windows(text.len()).any(|window| window == text)
    }
}

/// Counts lines as they come in pieces.
#[derive(Debug, Default)]
pub struct Counter {
    pattern: Option<Pattern>,
    line: Vec<u8>,
}

impl Counter {
    /// Of all lines, or of those that hold a pattern.
    pub fn new(pattern: Option<Pattern>) -> Self {
        Self { pattern, line: Vec::new() }
    }

    /// The lines that end in this piece.
    pub fn count(&mut self, piece: &[u8]) -> u64 {
        let Some(pattern) = &self.pattern else {
            return piece.iter().filter(|byte| **byte == b'\n').count() as u64;
        };
        let mut count = 0;
        for part in piece.split_inclusive(|byte| *byte == b'\n') {
            let room = LONGEST.saturating_sub(self.line.len());
            let text = part.strip_suffix(b"\n").unwrap_or(part);
            self.line.extend_from_slice(text.get(..room).unwrap_or(text));
            if text.len() < part.len() {
                count += u64::from(pattern.is_in(&self.line));
                self.line.clear();
            }
        }
        count
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_count_however_they_come_in_pieces() {
        for pieces in [&["frame 1\nlog\nframe 2\nfra"][..], &["fr", "ame 1", "\nlog\n", "frame 2\n"]] {
            let mut all = Counter::default();
            let mut some = Counter::new(Some("frame ".parse().unwrap()));
            let count = |counter: &mut Counter| pieces.iter().map(|piece| counter.count(piece.as_bytes())).sum::<u64>();
            assert_eq!((count(&mut all), count(&mut some)), (3, 2), "{pieces:?}");
        }
        let mut long = Counter::new(Some("end".parse().unwrap()));
        assert_eq!(long.count(&[b"x".repeat(LONGEST).as_slice(), b"end\nend\n"].concat()), 1, "so much is looked at");
    }

    #[test]
    #[cfg(feature = "report")]
    fn a_pattern_is_a_regular_expression() {
        let mut frames = Counter::new(Some(r"^frame \d+".parse().unwrap()));
        assert_eq!(frames.count(b"frame 12\na frame 3\nframe x\n"), 1);
        assert!("(".parse::<Pattern>().unwrap_err().contains("regex"));
    }
}
