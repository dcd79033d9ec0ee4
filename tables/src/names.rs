//! Names and other texts from outside: what may stand in a name, and how a text is shown.
//!
//! A name that reaches an administrator's terminal must not be able to write to it: no control characters, and none
//! that turn or hide what stands beside them.

use core::fmt::{self, Write as _};

/// Whether every character of a text stands for itself on a terminal.
pub fn is_plain(text: &str) -> bool {
    text.chars().all(is_plain_char)
}

fn is_plain_char(c: char) -> bool {
    // Invisible ones, line and paragraph ends, and what changes the direction of writing.
    let turns = matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}');
    !c.is_control() && !turns
}

/// A text of whatever origin, for one line of a terminal or a log: what does not stand for itself is escaped.
#[derive(Clone, Copy, Debug)]
pub struct Shown<'a>(pub &'a str);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0
            .chars()
            .try_for_each(|c| if is_plain_char(c) { f.write_char(c) } else { write!(f, "{}", c.escape_unicode()) })
    }
}

#[cfg(all(test, feature = "std"))]
mod tests {
    use super::*;
    use std::string::ToString as _;

    #[test]
    fn what_could_write_to_a_terminal_is_escaped() {
        for name in ["resnet152", "fc8: läuft", "a b", ""] {
            assert!(is_plain(name), "{name}");
            assert_eq!(Shown(name).to_string(), name);
        }
        for (bad, shown) in [
            ("x\nclient 7: process 1", "x\\u{a}client 7: process 1"),
            ("\u{1b}[2J", "\\u{1b}[2J"),
            ("\u{9b}31m", "\\u{9b}31m"),
            ("\u{202e}gnp.x", "\\u{202e}gnp.x"),
        ] {
            assert!(!is_plain(bad), "{shown}");
            assert_eq!(Shown(bad).to_string(), shown);
        }
    }
}
