//! SVG as text: escaping, how wide words are, and the document around a picture.

use std::fmt::Write as _;

/// The size of all words in pictures, in pixels of their own width.
pub const FONT: f64 = 12.0;
/// From one line of words to the next.
pub const LINE: f64 = 16.0;

/// The looks of pictures, the same alone and on a page.
const STYLE: &str = include_str!("chart.css");

/// Text for HTML and SVG. What XML forbids, as control characters in a foreign file's names, becomes U+FFFD.
pub fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            '\n' | '\t' => out.push(' '),
            c if c.is_control()
                || matches!(c, '\u{fffe}' | '\u{ffff}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}') =>
            {
                out.push('\u{fffd}');
            }
            c => out.push(c),
        }
    }
    out
}

/// How wide a text is at most, in the widest of the usual sans-serif fonts (DejaVu Sans, by its tables).
pub fn width(text: &str) -> f64 {
    let em = |c: char| match c {
        'i' | 'j' | 'l' | '.' | ',' | ':' | ';' | '\'' | '|' | '!' => 0.36,
        ' ' | 'f' | 't' | 'r' | '(' | ')' | '-' | '/' | 'I' => 0.44,
        'm' | 'w' | 'M' | 'W' | '%' | '@' => 1.0,
        c if c.is_ascii_uppercase() => 0.76,
        c if c.is_ascii() => 0.64,
        _ => 1.1,
    };
    FONT * text.chars().map(em).sum::<f64>()
}

/// The text, cut so that it is at most this wide.
pub fn fit(text: &str, most: f64) -> String {
    if width(text) <= most {
        return text.to_owned();
    }
    let mut cut = String::new();
    for c in text.chars() {
        if width(&cut) + width(&format!("{c}…")) > most {
            break;
        }
        cut.push(c);
    }
    cut + "…"
}

/// Words in lines, none wider than this; a longer word is cut.
pub fn wrap(text: &str, most: f64) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split(' ') {
        let word = fit(word, most);
        match lines.last_mut() {
            Some(line) if width(line) + width(&format!(" {word}")) <= most => *line += &format!(" {word}"),
            _ => lines.push(word),
        }
    }
    lines
}

/// Where a text hangs on its point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Anchor {
    Start,
    Middle,
    End,
}

/// A picture in the making.
#[derive(Debug, Default)]
pub struct Svg {
    body: String,
}

impl Svg {
    /// Adds an element.
    pub fn push(&mut self, text: std::fmt::Arguments<'_>) {
        // Writing to a String cannot fail.
        let _ = self.body.write_fmt(text);
        self.body.push('\n');
    }

    /// Adds words whose baseline begins, or ends, at a point.
    pub fn text(&mut self, (x, y): (f64, f64), anchor: Anchor, class: &str, text: &str) {
        let anchor = match anchor {
            Anchor::Start => "start",
            Anchor::Middle => "middle",
            Anchor::End => "end",
        };
        self.push(format_args!(
            "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\" class=\"{class}\">{}</text>",
            escape(text)
        ));
    }

    /// The picture as an element of a page: `id` is its own on that page, `data` what a script may want.
    pub fn element(&self, (width, height): (f64, f64), id: &str, (title, text): (&str, &str), data: &str) -> String {
        format!(
            "<svg viewBox=\"0 0 {width:.0} {height:.0}\" role=\"img\" aria-labelledby=\"{id}-t {id}-d\"{data}>\n\
             <title id=\"{id}-t\">{}</title>\n<desc id=\"{id}-d\">{}</desc>\n{}</svg>\n",
            escape(title),
            escape(text),
            self.body
        )
    }
}

/// An element as a file of its own, as it looks on a page of its width.
pub fn alone(element: &str, (width, height): (f64, f64)) -> String {
    let begin = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width:.0}\" height=\"{height:.0}\" class=\"alone\" "
    );
    let style = format!("<style>{STYLE}</style>\n<rect class=\"paper\" width=\"100%\" height=\"100%\"/>\n");
    let text = element.replacen("<svg ", &begin, 1);
    // Behind the title and the description, which have to come first.
    text.replacen("</desc>\n", &format!("</desc>\n{style}"), 1)
}

/// The style that a page with such elements needs.
pub fn style() -> &'static str {
    STYLE
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hostile_text_stays_text() {
        assert_eq!(escape("<a b='\"&\u{7}\u{202e}"), "&lt;a b=&#39;&quot;&amp;\u{fffd}\u{fffd}");
    }

    #[test]
    fn what_is_too_wide_is_cut_and_wrapped() {
        assert_eq!(fit("short", 100.0), "short");
        let cut = fit(&"x".repeat(200), 100.0);
        assert!(cut.ends_with('…') && width(&cut) <= 100.0 && cut.len() > 8, "{cut}");
        let lines = wrap("one two three four five six", 60.0);
        assert!(lines.len() > 2 && lines.iter().all(|line| width(line) <= 60.0), "{lines:?}");
        assert_eq!(lines.join(" "), "one two three four five six");
    }
}
