//! Which lines of a command's output are frames.

/// So much of a line is looked at.
const LONGEST: usize = 64 * 1024;

/// What a line holds that is a frame: a regular expression.
#[cfg(feature = "report")]
#[derive(Clone, Debug)]
pub struct Pattern(regex::bytes::Regex);

#[cfg(feature = "report")]
impl std::str::FromStr for Pattern {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        regex::bytes::Regex::new(text).map(Self).map_err(|e| e.to_string())
    }
}

#[cfg(feature = "report")]
impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.0.as_str() == other.0.as_str()
    }
}

#[cfg(feature = "report")]
impl Eq for Pattern {}

#[cfg(feature = "report")]
impl Pattern {
    fn is_in(&self, line: &[u8]) -> bool {
        self.0.is_match(line)
    }
}

/// What a line holds that is a frame. The static release has no room for regular expressions: of those it takes what means
/// itself alone, and refuses the rest.
#[cfg(not(feature = "report"))]
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern(Box<str>);

#[cfg(not(feature = "report"))]
impl std::str::FromStr for Pattern {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.is_empty() || text.contains(|c| r"\.+*?()|[]{}^$".contains(c)) {
            return Err("this build takes plain text, no regular expression; the full build does".to_owned());
        }
        Ok(Self(text.into()))
    }
}

#[cfg(not(feature = "report"))]
impl Pattern {
    fn is_in(&self, line: &[u8]) -> bool {
        line.windows(self.0.len()).any(|part| part == self.0.as_bytes())
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
        if let Some(pattern) = &self.pattern {
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
            return count;
        }
        piece.iter().filter(|byte| **byte == b'\n').count() as u64
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

    #[test]
    #[cfg(not(feature = "report"))]
    fn a_pattern_is_plain_text() {
        let mut frames = Counter::new(Some("frame ".parse().unwrap()));
        assert_eq!(frames.count(b"frame 12\nframes\na frame \n"), 2);
        for regex in ["", "frame.", r"\d", "^frame"] {
            assert!(regex.parse::<Pattern>().unwrap_err().contains("full build"), "{regex}");
        }
    }
}
