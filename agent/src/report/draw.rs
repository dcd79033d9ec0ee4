//! Draws charts. Words stand around the curves and never on them: what y is above, the names of vertical lines in rows
//! below that, the legend at the foot.

use std::fmt::Write as _;

use super::axis::{self, Axis};
use super::chart::{Chart, Mark, Series};
use super::svg::{Anchor, FONT, LINE, Svg, alone, fit, width, wrap};
use crate::failure::Failure;

/// A picture's width: what a phone shows without making words too small to read.
pub const WIDTH: f64 = 460.0;
/// The height of the area with the curves.
const HEIGHT: f64 = 210.0;
/// Curves keep this far from the ends of the x axis.
const INSET: f64 = 8.0;
/// The most lines that a legend's entry takes.
const LINES: usize = 6;
/// A sample of the line in the legend.
const KEY: f64 = 22.0;

/// The colour and the dashes of each name; past what can be told apart they come again. An interval has the colour of
/// what follows it.
fn classes(named: &[(String, Vec<&Series>)]) -> Vec<String> {
    let mut n = 0;
    let class = |(_, all): &(String, Vec<&Series>)| {
        let class = format!("k{} j{}", n % 8, n % 5);
        n += usize::from(all.iter().any(|series| series.mark != Mark::Band));
        class
    };
    named.iter().map(class).collect()
}

impl Chart {
    /// The chart as a file of its own. An empty chart is an error.
    pub fn svg(&self) -> Result<String, Failure> {
        let drawn = element(self, "c", true);
        let (element, size) =
            drawn.ok_or_else(|| Failure::failed(format_args!("chart '{}': it has no points", self.title)))?;
        Ok(alone(&element, size))
    }

    /// The chart as an element of a page, on which `id` is its own; `None` where it is empty.
    pub fn element(&self, id: &str) -> Option<String> {
        Some(element(self, id, false)?.0)
    }
}

/// The chart as an element with its size; with its title in it where it stands alone. `None` without points.
fn element(chart: &Chart, id: &str, titled: bool) -> Option<(String, (f64, f64))> {
    let drawn = chart.series.iter().flat_map(|series| &series.points);
    let xs = drawn.clone().map(|p| p.0).chain(chart.marks_x.iter().map(|mark| mark.0));
    let x_range = axis::range(drawn.clone().map(|p| p.0), false).and(chart.x_range.or(axis::range(xs, false)))?;
    let y_range = axis::range(drawn.map(|p| p.1), chart.y_from_zero)?;

    let mut svg = Svg::default();
    let mut y = LINE;
    if titled {
        svg.text((0.0, y), Anchor::Start, "e", &fit(&chart.title, WIDTH));
        y += LINE;
    }
    let y_axis = Axis::new(y_range, (HEIGHT, 0.0), true).rounded();
    let broken = y_axis.range.0 > 0.0;
    let labels = y_axis.ticks();
    let first = labels.first().map_or("", |(_, label)| label.as_str());
    let from = if broken { format!(" – the axis begins at {first}") } else { String::new() };
    for line in wrap(&format!("{}{from}", chart.y), WIDTH) {
        svg.text((0.0, y), Anchor::Start, "f", &line);
        y += LINE;
    }

    let widest = labels.iter().map(|(_, label)| width(label)).fold(0.0, f64::max);
    let (left, right) = chart.margins.unwrap_or((widest + 10.0, 2.0));
    let inset = if chart.margins.is_some() { 0.0 } else { INSET };
    let (low, high) = (left + inset, WIDTH - right - inset);
    let x_axis = Axis::new(x_range, (low, high), false);
    let rows = marks(&mut svg, &chart.marks_x, &x_axis, y);
    let top = y + if rows > 0 { LINE * rows as f64 } else { -6.0 };
    let y_axis = y_axis.moved((top + HEIGHT, top));
    grid(&mut svg, (&x_axis, &y_axis), (left, WIDTH - right), broken);

    let named = chart.named(y_axis.range.1 - y_axis.range.0);
    for ((name, all), class) in named.iter().zip(classes(&named)) {
        svg.push(format_args!("<g class=\"{class}\">"));
        for series in all {
            draw(&mut svg, series, name, (&x_axis, &y_axis));
        }
        svg.push(format_args!("</g>"));
    }
    for (x, _) in &chart.marks_x {
        let x = x_axis.at(*x);
        svg.push(format_args!(
            "<line class=\"mark\" x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{top:.1}\" y2=\"{:.1}\"/>",
            top + HEIGHT
        ));
    }

    let mut y = top + HEIGHT + LINE + FONT + 8.0;
    for line in wrap(&chart.x, WIDTH - left) {
        svg.text((WIDTH - right, y), Anchor::End, "f", &line);
        y += LINE;
    }
    let end = if named.len() > 1 { legend(&mut svg, &named, y + 4.0) } else { y };
    let size = (WIDTH, end - LINE + 8.0);
    let data = format!(" tabindex=\"0\" data-x=\"{} {} {low:.1} {high:.1}\"", x_range.0, x_range.1);
    let text = format!("{}. {} against {}. {}", chart.title, chart.y, chart.x, described(&named));
    Some((svg.element(size, id, (&chart.title, &text), &data), size))
}

/// What the curves do, for who cannot see them.
fn described(named: &[(String, Vec<&Series>)]) -> String {
    let mut text = String::new();
    for (name, all) in named {
        let Some(series) = all.iter().find(|series| series.mark != Mark::Band) else { continue };
        let Some((from, to)) = series.points.first().zip(series.points.last()) else { continue };
        // Writing to a String cannot fail.
        let _ = write!(text, "{name}: from {} at {} to {} at {}. ", sig(from.1), sig(from.0), sig(to.1), sig(to.0));
    }
    text
}

/// A value with five digits that count, for words and scripts.
pub fn sig(value: f64) -> String {
    let decimals = (4.0 - value.abs().max(1e-9).log10().floor()).clamp(0.0, 9.0) as usize;
    let text = format!("{value:.decimals$}");
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
}

/// The names of vertical lines in rows above them, with the line up to each; returns how many rows.
fn marks(svg: &mut Svg, marks: &[(f64, String)], axis: &Axis, top: f64) -> usize {
    // What stands in each row, the lowest first: from, to, and where its line is.
    let mut rows: Vec<Vec<(f64, f64, f64)>> = Vec::new();
    let mut placed = Vec::new();
    for (value, label) in marks {
        let label = fit(label, WIDTH / 2.0);
        let (x, wide) = (axis.at(*value), width(&label));
        let starts = [x - wide / 2.0, x + 2.0, x - wide - 2.0].map(|start| start.clamp(0.0, WIDTH - wide));
        let free = |row: usize, start: f64| {
            let (from, to) = (start - 4.0, start + wide + 4.0);
            let apart = rows.get(row).is_none_or(|row| row.iter().all(|other| to < other.0 || from > other.1));
            // Its line does not cross what stands below, nor a line from above what it says.
            let below = rows.iter().take(row).flatten().all(|other| x < other.0 - 2.0 || x > other.1 + 2.0);
            let above = rows.iter().skip(row + 1).flatten().all(|other| other.2 < from || other.2 > to);
            apart && below && above
        };
        let found =
            (0..=rows.len()).flat_map(|row| starts.map(|start| (row, start))).find(|(row, start)| free(*row, *start));
        let (row, start) = found.unwrap_or((rows.len(), starts[0]));
        if row == rows.len() {
            rows.push(Vec::new());
        }
        rows[row].push((start, start + wide, x));
        placed.push((row, start, x, label, found.is_some()));
    }
    let bottom = top + LINE * rows.len() as f64;
    for (row, start, x, label, line) in placed {
        let y = bottom - LINE * row as f64;
        svg.text((start, y - 10.0), Anchor::Start, "f", &label);
        if line && row > 0 {
            svg.push(format_args!(
                "<line class=\"mark\" x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{y:.1}\" y2=\"{bottom:.1}\"/>"
            ));
        }
    }
    rows.len()
}

fn grid(svg: &mut Svg, (x, y): (&Axis, &Axis), (left, right): (f64, f64), broken: bool) {
    let bottom = y.place.0;
    for (value, label) in y.ticks() {
        let at = y.at(value);
        svg.push(format_args!(
            "<line class=\"grid\" x1=\"{left:.1}\" x2=\"{right:.1}\" y1=\"{at:.1}\" y2=\"{at:.1}\"/>"
        ));
        svg.text((left - 6.0, at + 4.0), Anchor::End, "f", &label);
    }
    for (value, label) in x.ticks() {
        let at = x.at(value);
        svg.push(format_args!(
            "<line class=\"axis\" x1=\"{at:.1}\" x2=\"{at:.1}\" y1=\"{bottom:.1}\" y2=\"{:.1}\"/>",
            bottom + 4.0
        ));
        // The outermost stay within the picture.
        let half = width(&label) / 2.0;
        svg.text((at.clamp(half, WIDTH - half), bottom + FONT + 6.0), Anchor::Middle, "f", &label);
    }
    svg.push(format_args!(
        "<line class=\"axis\" x1=\"{left:.1}\" x2=\"{right:.1}\" y1=\"{bottom:.1}\" y2=\"{bottom:.1}\"/>"
    ));
    if broken {
        // Two strokes through the axis, as for a scale that is cut off.
        for up in [4.0, 9.0] {
            let (y1, y2) = (bottom - up + 3.0, bottom - up - 3.0);
            svg.push(format_args!(
                "<line class=\"axis\" x1=\"{:.1}\" x2=\"{:.1}\" y1=\"{y1:.1}\" y2=\"{y2:.1}\"/>",
                left - 5.0,
                left + 5.0
            ));
        }
    }
}

fn draw(svg: &mut Svg, series: &Series, name: &str, (x, y): (&Axis, &Axis)) {
    let place = |point: &(f64, f64)| (x.at(point.0), y.at(point.1));
    let list = |points: &[(f64, f64)]| {
        points.iter().map(place).map(|(x, y)| format!("{x:.1},{y:.1}")).collect::<Vec<_>>().join(" ")
    };
    if series.mark == Mark::Band {
        return svg.push(format_args!("<polygon class=\"b\" points=\"{}\"/>", list(&series.points)));
    }
    let values: Vec<String> = series.points.iter().map(|p| format!("{},{}", sig(p.0), sig(p.1))).collect();
    let kind = if matches!(series.mark, Mark::Line) {
        "l"
    } else if matches!(series.mark, Mark::Steps | Mark::Bars) {
        "s"
    } else {
        "d"
    };
    let name = super::svg::escape(name);
    svg.push(format_args!("<g data-n=\"{name}\" data-k=\"{kind}\" data-p=\"{}\">", values.join(" ")));
    match series.mark {
        Mark::Band => {}
        Mark::Line => svg.push(format_args!("<polyline class=\"l\" points=\"{}\"/>", list(&series.points))),
        Mark::Steps => svg.push(format_args!("<polyline class=\"l\" points=\"{}\"/>", list(&steps(&series.points)))),
        Mark::Dots | Mark::Rings => series.points.iter().for_each(|p| symbol(svg, series.mark, place(p))),
        Mark::Bars => {
            for pair in series.points.windows(2).filter(|pair| pair[0].1 > 0.0) {
                let (from, to) = (x.at(pair[0].0), x.at(pair[1].0));
                // What is there is seen, if one among a million.
                let tall = (y.at(0.0) - y.at(pair[0].1)).max(2.0);
                let wide = (to - from - 1.0).max(1.0);
                svg.push(format_args!(
                    "<rect class=\"d\" x=\"{from:.1}\" y=\"{:.1}\" width=\"{wide:.1}\" height=\"{tall:.1}\"/>",
                    y.at(0.0) - tall
                ));
            }
        }
    }
    svg.push(format_args!("</g>"));
}

fn symbol(svg: &mut Svg, mark: Mark, (x, y): (f64, f64)) {
    match mark {
        Mark::Rings => svg.push(format_args!("<circle class=\"o\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3.6\"/>")),
        _ => svg.push(format_args!("<circle class=\"d\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"2.8\"/>")),
    }
}

/// The names with samples of how each is drawn; returns where the next line would stand.
fn legend(svg: &mut Svg, named: &[(String, Vec<&Series>)], top: f64) -> f64 {
    let (mut x, mut y) = (0.0, top);
    for ((name, all), class) in named.iter().zip(classes(named)) {
        let mut lines = wrap(name, WIDTH - KEY - 14.0);
        if lines.len() > LINES {
            lines.truncate(LINES);
            lines[LINES - 1] += " …";
        }
        let wide = KEY + 6.0 + lines.iter().map(|line| width(line)).fold(0.0, f64::max);
        if x > 0.0 && x + wide > WIDTH {
            (x, y) = (0.0, y + LINE);
        }
        svg.push(format_args!("<g class=\"{class}\">"));
        key(svg, all, (x, y - 4.0));
        svg.push(format_args!("</g>"));
        for (i, line) in lines.iter().enumerate() {
            svg.text((x + KEY + 6.0, y + LINE * i as f64), Anchor::Start, "", line);
        }
        if lines.len() > 1 {
            (x, y) = (0.0, y + LINE * lines.len() as f64);
        } else {
            x += wide + 16.0;
        }
    }
    if x > 0.0 { y + LINE } else { y }
}

fn key(svg: &mut Svg, all: &[&Series], (x, y): (f64, f64)) {
    for series in all {
        match series.mark {
            Mark::Band => svg.push(format_args!(
                "<rect class=\"b\" x=\"{x:.1}\" y=\"{:.1}\" width=\"{KEY}\" height=\"10\"/>",
                y - 5.0
            )),
            Mark::Line | Mark::Steps => {
                let to = x + KEY;
                svg.push(format_args!("<polyline class=\"l\" points=\"{x:.1},{y:.1} {to:.1},{y:.1}\"/>"));
            }
            Mark::Bars => svg.push(format_args!(
                "<rect class=\"d\" x=\"{:.1}\" y=\"{:.1}\" width=\"10\" height=\"10\"/>",
                x + 6.0,
                y - 5.0
            )),
            mark => symbol(svg, mark, (x + KEY / 2.0, y)),
        }
    }
}

/// The corners of a line that holds each value until the next point.
fn steps(points: &[(f64, f64)]) -> Vec<(f64, f64)> {
    let mut path = Vec::with_capacity(2 * points.len());
    for pair in points.windows(2) {
        path.extend([pair[0], (pair[1].0, pair[0].1)]);
    }
    path.extend(points.last());
    path
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_hold_a_value_until_the_next() {
        assert_eq!(steps(&[(0.0, 1.0), (2.0, 3.0)]), [(0.0, 1.0), (2.0, 1.0), (2.0, 3.0)]);
    }

    #[test]
    fn values_keep_the_digits_that_count() {
        assert_eq!(
            ["5.8294", "779.5", "0.0042", "12345678", "0"],
            [5.829_442, 779.5, 0.0042, 12_345_678.4, 0.0].map(sig)
        );
    }

    /// The boxes of all texts, with the widths that they are laid out by.
    fn boxes(svg: &str) -> Vec<(f64, f64, f64, String)> {
        let value = |tag: &str, name: &str| {
            let from = tag.find(&format!("{name}=\"")).unwrap() + name.len() + 2;
            tag[from..].split('"').next().unwrap().to_owned()
        };
        let texts = svg.split("<text ").skip(1).map(|tag| {
            let word = tag.split('>').nth(1).unwrap().split('<').next().unwrap().to_owned();
            let (x, y): (f64, f64) = (value(tag, "x").parse().unwrap(), value(tag, " y").parse().unwrap());
            let wide = width(&word);
            let from = match value(tag, "text-anchor").as_str() {
                "start" => x,
                "middle" => x - wide / 2.0,
                _ => x - wide,
            };
            (from, from + wide, y, word)
        });
        texts.collect()
    }

    #[test]
    fn words_never_touch_however_close_the_lines_are() {
        for gap in [0.0, 0.5, 3.0, 20.0] {
            let line = |name: &str, up: f64| Series::new(name, Mark::Line, vec![(0.0, up), (100.0, 2.0 * up)]);
            let marks = (0..9).map(|i| (90.0 + gap * f64::from(i - 5), format!("a mark of some length, {i}")));
            let chart = Chart {
                title: "t".into(),
                x: "x".into(),
                y: "y".into(),
                series: vec![line("first", 1.0), line(&"long words ".repeat(60), 3.0), line("third", 5.0)],
                marks_x: marks.collect(),
                ..Chart::default()
            };
            let (svg, (wide, high)) = element(&chart, "c", true).unwrap();
            let boxes = boxes(&svg);
            assert!(boxes.len() > 20);
            for (i, a) in boxes.iter().enumerate() {
                assert!(a.0 > -1.0 && a.1 < wide + 1.0 && a.2 < high, "{a:?} leaves {wide} x {high}");
                for b in &boxes[i + 1..] {
                    assert!((a.2 - b.2).abs() > FONT - 1.0 || a.1 <= b.0 || b.1 <= a.0, "{a:?} lies on {b:?}");
                }
            }
        }
    }
}
