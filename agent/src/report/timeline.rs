//! A frame as it runs: a row for each block with its name, its bar and its clock.

use super::draw::WIDTH;
use super::svg::{Anchor, FONT, Svg, escape, fit};

/// Room for names at the left and for clocks at the right; a chart below with these margins has the same time axis.
pub const MARGINS: (f64, f64) = (118.0, 70.0);
const ROW: f64 = 18.0;

/// A stretch of time with a name.
#[derive(Clone, Debug, PartialEq)]
pub struct Bar {
    /// At the left of its row.
    pub name: String,
    /// At the right of its row.
    pub note: String,
    /// From and to, in the axis' unit.
    pub span: (f64, f64),
    /// Bars of one group share a colour.
    pub group: usize,
}

/// Rows of bars over one time axis.
#[derive(Clone, Debug)]
pub struct Timeline {
    /// Above it.
    pub title: String,
    /// The end of the axis, which begins at zero.
    pub end: f64,
    /// From the top.
    pub bars: Vec<Bar>,
    /// A vertical line through all rows: the deadline.
    pub mark: Option<f64>,
}

impl Timeline {
    /// The picture as an element of a page, on which `id` is its own; `None` without bars.
    pub fn element(&self, id: &str) -> Option<String> {
        let last = self.bars.last()?;
        let mut svg = Svg::default();
        let (left, right) = (MARGINS.0, WIDTH - MARGINS.1);
        let end = self.end.max(last.span.1).max(f64::MIN_POSITIVE);
        let at = |value: f64| left + (right - left) * (value / end).clamp(0.0, 1.0);
        let high = ROW * self.bars.len() as f64;
        svg.push(format_args!(
            "<rect class=\"grid\" x=\"{left:.1}\" y=\"2\" width=\"{:.1}\" height=\"{high:.1}\"/>",
            right - left
        ));
        for (i, bar) in self.bars.iter().enumerate() {
            let y = 2.0 + ROW * i as f64;
            let (from, to) = (at(bar.span.0), at(bar.span.1));
            let word = format!("{}: {:.3} to {:.3} ms, {}", bar.name, bar.span.0, bar.span.1, bar.note);
            svg.push(format_args!(
                "<g class=\"k{}\"><title>{}</title><rect class=\"d\" x=\"{from:.1}\" y=\"{:.1}\" width=\"{:.1}\" height=\"{:.1}\"/></g>",
                bar.group % 8,
                escape(&word),
                y + 3.0,
                (to - from).max(1.0),
                ROW - 6.0
            ));
            svg.text((left - 6.0, y + FONT + 1.0), Anchor::End, "", &fit(&bar.name, left - 8.0));
            svg.text((right + 6.0, y + FONT + 1.0), Anchor::Start, "f", &fit(&bar.note, MARGINS.1 - 6.0));
        }
        if let Some(mark) = self.mark {
            let x = at(mark);
            svg.push(format_args!(
                "<line class=\"mark\" x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"2\" y2=\"{:.1}\"/>",
                high + 2.0
            ));
        }
        let text = self.bars.iter().map(|bar| format!("{} until {:.3} ms at {}", bar.name, bar.span.1, bar.note));
        let text = format!("{}. {}.", self.title, text.collect::<Vec<_>>().join(", "));
        Some(svg.element((WIDTH, high + 6.0), id, (&self.title, &text), ""))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_block_has_a_row_and_its_name() {
        let bar = |i: usize| Bar {
            name: format!("block {i} <b>"),
            note: "306 MHz".into(),
            span: (i as f64, i as f64 + 1.0),
            group: i,
        };
        let timeline =
            Timeline { title: "a frame".into(), end: 50.0, bars: (0..40).map(bar).collect(), mark: Some(45.0) };
        let svg = timeline.element("t").unwrap();
        assert_eq!(svg.matches("<text").count(), 80);
        assert!(svg.contains("block 39 &lt;b&gt;") && !svg.contains("<b>"), "{svg}");
        assert_eq!(Timeline { bars: Vec::new(), ..timeline }.element("t"), None);
    }
}
