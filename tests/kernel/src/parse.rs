//! Reading `cases.txt`; its head describes the format.

use std::fmt;

/// One semantic point: cases that start from a fresh device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Point {
    /// The kernel's manner that the cases pin down.
    pub title: String,
    /// Whether the fake need not know it.
    pub kernel_only: bool,
    /// In order; each goes on from what the one before left.
    pub cases: Vec<Case>,
}

/// One thing done, and its answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Case {
    /// Line in the file, counted from 1.
    pub line: usize,
    /// The line itself, without the answer.
    pub text: String,
    /// What is done.
    pub step: Step,
    /// `ok`, the text that is read, or the name of an errno.
    pub answer: String,
}

/// What a case does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Opens, writes, closes.
    Write {
        /// Below the device's devfreq folder.
        node: String,
        /// What is written.
        text: String,
    },
    /// Reads a node to its end.
    Read {
        /// Below the device's devfreq folder.
        node: String,
    },
    /// Opens a node and keeps it.
    Keep {
        /// Below the device's devfreq folder.
        node: String,
    },
    /// Writes through the kept node.
    KeptWrite {
        /// As it was given to [`Step::Keep`].
        node: String,
        /// What is written.
        text: String,
    },
    /// Reads through the kept node.
    KeptRead {
        /// As it was given to [`Step::Keep`].
        node: String,
    },
    /// Changes what the hardware does behind the kernel's back.
    Knob {
        /// `fail_errno`, `cap_hz`, `busy_pct`, `delay_us` or `transitions`.
        name: String,
        /// The value; none reads it.
        value: Option<u64>,
    },
    /// Takes the device from its driver.
    Unbind,
    /// A shell command in the guest; its first line of output is the answer.
    Shell {
        /// With `$gpu` and `$rail` set to the devfreq and hwmon folders.
        command: String,
    },
}

/// A line of `cases.txt` that is not understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParseError {
    line: usize,
    what: String,
}

impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cases.txt:{}: {}", self.line, self.what)
    }
}

impl std::error::Error for ParseError {}

/// Reads the cases.
pub fn parse(text: &str) -> Result<Vec<Point>, ParseError> {
    let mut points: Vec<Point> = Vec::new();
    for (index, whole) in text.lines().enumerate() {
        let line = index + 1;
        let content = whole.trim();
        if content.is_empty() || content.starts_with('#') {
            continue;
        }
        let fail = |what: &str| ParseError { line, what: format!("{what}: {content}") };
        if let Some(title) = content.strip_prefix("==") {
            let (title, kernel_only) = match title.strip_suffix("[kernel only]") {
                Some(rest) => (rest, true),
                None => (title, false),
            };
            points.push(Point { title: title.trim().to_owned(), kernel_only, cases: Vec::new() });
            continue;
        }
        let point = points.last_mut().ok_or_else(|| fail("a case before the first point"))?;
        let (text, answer) = content.split_once("->").ok_or_else(|| fail("no answer (->)"))?;
        let words = words(text).ok_or_else(|| fail("a quote is not closed"))?;
        let step = step(&words).ok_or_else(|| fail("not a step"))?;
        point.cases.push(Case { line, text: text.trim().to_owned(), step, answer: answer.trim().to_owned() });
    }
    Ok(points)
}

fn step(words: &[String]) -> Option<Step> {
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    Some(match words[..] {
        ["write", node, text] => Step::Write { node: node.into(), text: text.into() },
        ["read", node] => Step::Read { node: node.into() },
        ["keep", node] => Step::Keep { node: node.into() },
        ["kept-write", node, text] => Step::KeptWrite { node: node.into(), text: text.into() },
        ["kept-read", node] => Step::KeptRead { node: node.into() },
        ["knob", name] => Step::Knob { name: name.into(), value: None },
        ["knob", name, value] => Step::Knob { name: name.into(), value: Some(value.parse().ok()?) },
        ["unbind"] => Step::Unbind,
        ["sh", command] => Step::Shell { command: command.into() },
        _ => return None,
    })
}

/// Splits at blanks; `"..."` is one word with `\n`, `\0`, `\"` and `\\` inside.
fn words(text: &str) -> Option<Vec<String>> {
    let mut words = Vec::new();
    let mut chars = text.trim().chars().peekable();
    while let Some(first) = chars.next() {
        if first.is_whitespace() {
            continue;
        }
        let mut word = String::new();
        if first == '"' {
            loop {
                word.push(match chars.next()? {
                    '"' => break,
                    '\\' => match chars.next()? {
                        'n' => '\n',
                        '0' => '\0',
                        other => other,
                    },
                    other => other,
                });
            }
        } else {
            word.push(first);
            while let Some(c) = chars.next_if(|c| !c.is_whitespace()) {
                word.push(c);
            }
        }
        words.push(word);
    }
    Some(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_is_understood() {
        let points = parse(crate::CASES).unwrap();
        assert!(points.iter().all(|point| !point.cases.is_empty()));
        assert!(points.iter().filter(|point| !point.kernel_only).count() >= 10);
    }

    #[test]
    fn quotes_hold_what_a_shell_would_mangle() {
        let points = parse("== p\nwrite set_freq \"5 1\\n\\n\" -> EINVAL").unwrap();
        let step = Step::Write { node: "set_freq".into(), text: "5 1\n\n".into() };
        assert_eq!((&points[0].cases[0].step, points[0].cases[0].line), (&step, 2));
    }

    #[test]
    fn a_wrong_line_is_named() {
        for (text, message) in [
            ("write a b -> ok", "cases.txt:1: a case before the first point: write a b -> ok"),
            ("== p\n\nwrite a b", "cases.txt:3: no answer (->): write a b"),
            ("== p\nwrite a \"b -> ok", "cases.txt:2: a quote is not closed: write a \"b -> ok"),
            ("== p\nknob cap_hz low -> ok", "cases.txt:2: not a step: knob cap_hz low -> ok"),
        ] {
            assert_eq!(parse(text).unwrap_err().to_string(), message);
        }
    }
}
