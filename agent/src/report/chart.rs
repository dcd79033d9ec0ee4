//! Line and point charts as SVG text.

use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use crate::failure::Failure;

/// How a series is drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mark {
    /// A line through the points.
    Line,
    /// A line that holds each value until the next point: a clock over time.
    Steps,
    /// A dot at every point: measured values.
    Dots,
}

/// One named series of points in the chart's axes.
#[derive(Clone, Debug)]
pub struct Series {
    /// What the legend calls it.
    pub name: String,
    /// How it is drawn.
    pub mark: Mark,
    /// The points, by ascending x.
    pub points: Vec<(f64, f64)>,
}

impl Series {
    /// A series of a name, a mark and its points.
    pub fn new(name: impl Into<String>, mark: Mark, points: Vec<(f64, f64)>) -> Self {
        Self { name: name.into(), mark, points }
    }
}

/// A chart with two axes.
#[derive(Clone, Debug)]
pub struct Chart {
    /// Above the chart.
    pub title: String,
    /// What x is, with its unit.
    pub x: String,
    /// What y is, with its unit.
    pub y: String,
    /// From the bottom to the top of the drawing order. Series that share a name share a colour and a legend entry.
    pub series: Vec<Series>,
    /// Vertical lines with a label: a deadline, say.
    pub marks_x: Vec<(f64, String)>,
    /// Whether y starts at zero, for quantities whose ratio matters.
    pub y_from_zero: bool,
}

/// Colours that stay apart for colour-blind readers (after Okabe and Ito).
const COLOURS: [RGBColor; 8] = [
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(86, 180, 233),
    RGBColor(230, 159, 0),
    RGBColor(90, 90, 90),
    RGBColor(140, 110, 60),
];

impl Chart {
    /// The chart as an SVG document, `width` x `height` pixels. An empty chart is an error.
    pub fn svg(&self, width: u32, height: u32) -> Result<String, Failure> {
        let mut text = String::new();
        {
            let area = SVGBackend::with_string(&mut text, (width, height)).into_drawing_area();
            self.draw(&area).map_err(|e| Failure::failed(format_args!("chart '{}': {e}", self.title)))?;
        }
        Ok(text)
    }

    fn draw(&self, area: &DrawingArea<SVGBackend<'_>, Shift>) -> Result<(), Box<dyn std::error::Error>> {
        let (x_range, y_range) = self.ranges().ok_or("it has no points")?;
        area.fill(&WHITE)?;
        let mut chart = ChartBuilder::on(area)
            .caption(&self.title, ("sans-serif", 17))
            .margin(10)
            .margin_right(24)
            .x_label_area_size(42)
            .y_label_area_size(58)
            .build_cartesian_2d(x_range.clone(), y_range.clone())?;
        chart
            .configure_mesh()
            .x_desc(&self.x)
            .y_desc(&self.y)
            .x_label_formatter(&|x| tick(*x, &x_range))
            .y_label_formatter(&|y| tick(*y, &y_range))
            .axis_desc_style(("sans-serif", 14))
            .label_style(("sans-serif", 12))
            .light_line_style(WHITE.mix(0.0))
            .bold_line_style(BLACK.mix(0.12))
            .draw()?;
        let step = 0.055 * (y_range.end - y_range.start);
        for (i, (x, label)) in self.marks_x.iter().enumerate() {
            let line = [(*x, y_range.start), (*x, y_range.end)];
            chart.draw_series(std::iter::once(PathElement::new(line.to_vec(), BLACK.mix(0.6).stroke_width(1))))?;
            // A label that would leave the chart goes to the left of its line.
            let near_the_end = (x - x_range.start) > 0.8 * (x_range.end - x_range.start);
            let side = if near_the_end { HPos::Right } else { HPos::Left };
            let style = ("sans-serif", 12).into_text_style(area).pos(Pos::new(side, VPos::Bottom));
            // Above the axis, where no legend is; neighbours at different heights.
            let at = (*x, y_range.start + step * (0.2 + (i % 3) as f64));
            chart.draw_series(std::iter::once(Text::new(format!(" {label} "), at, style)))?;
        }
        let mut named: Vec<&str> = Vec::new();
        for series in &self.series {
            let known = named.iter().position(|name| *name == series.name);
            let colour = COLOURS[known.unwrap_or(named.len()) % COLOURS.len()];
            let drawn = match series.mark {
                Mark::Dots => chart.draw_series(series.points.iter().map(|p| Circle::new(*p, 3, colour.filled())))?,
                Mark::Line => chart.draw_series(LineSeries::new(series.points.clone(), colour.stroke_width(2)))?,
                Mark::Steps => chart.draw_series(LineSeries::new(steps(&series.points), colour.stroke_width(2)))?,
            };
            if known.is_none() {
                named.push(&series.name);
                let dots = series.mark == Mark::Dots;
                drawn.label(&series.name).legend(move |(x, y)| {
                    if dots {
                        EmptyElement::at((x, y)) + Circle::new((9, 0), 3, colour.filled()).into_dyn()
                    } else {
                        EmptyElement::at((x, y))
                            + PathElement::new([(0, 0), (18, 0)], colour.stroke_width(2)).into_dyn()
                    }
                });
            }
        }
        if named.len() > 1 {
            chart
                .configure_series_labels()
                .position(self.emptier_corner(&x_range))
                .background_style(WHITE.mix(0.85))
                .border_style(BLACK.mix(0.3))
                .label_font(("sans-serif", 12))
                .draw()?;
        }
        area.present()?;
        Ok(())
    }

    /// The upper corner in which the legend hides less.
    fn emptier_corner(&self, x_range: &std::ops::Range<f64>) -> SeriesLabelPosition {
        let middle = (x_range.start + x_range.end) / 2.0;
        let highest = |left: bool| {
            let side = self.series.iter().flat_map(|s| &s.points).filter(|p| (p.0 < middle) == left);
            bounds(side.map(|p| p.1)).map_or(f64::MIN, |range| range.1)
        };
        if highest(true) < highest(false) { SeriesLabelPosition::UpperLeft } else { SeriesLabelPosition::UpperRight }
    }

    /// The axes' ranges, a little wider than the points; `None` without points.
    fn ranges(&self) -> Option<(std::ops::Range<f64>, std::ops::Range<f64>)> {
        let points = || self.series.iter().flat_map(|s| &s.points).filter(|(x, y)| x.is_finite() && y.is_finite());
        let xs = points().map(|p| p.0).chain(self.marks_x.iter().map(|m| m.0));
        let (x_low, x_high) = bounds(xs)?;
        let (y_low, y_high) = bounds(points().map(|p| p.1))?;
        let y_low = if self.y_from_zero { y_low.min(0.0) } else { y_low - 0.05 * (y_high - y_low) };
        let x_pad = 0.02 * (x_high - x_low).max(f64::MIN_POSITIVE);
        // Room above for the legend.
        let room = if self.series.len() > 1 { 0.3 } else { 0.12 };
        let y_high = y_high + room * (y_high - y_low).max(1e-9);
        Some((x_low - x_pad..x_high + x_pad, y_low..y_high))
    }
}

/// An axis label with as many decimals as tell neighbours apart.
fn tick(value: f64, range: &std::ops::Range<f64>) -> String {
    let decimals = (1.0 - (range.end - range.start).abs().max(1e-9).log10().floor()).clamp(0.0, 6.0) as usize;
    format!("{value:.decimals$}")
}

fn bounds(values: impl Iterator<Item = f64>) -> Option<(f64, f64)> {
    values.fold(None, |range, v| match range {
        None => Some((v, v)),
        Some((low, high)) => Some((f64::min(low, v), f64::max(high, v))),
    })
}

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

    fn chart(points: Vec<(f64, f64)>) -> Chart {
        Chart {
            title: "time".into(),
            x: "clock (MHz)".into(),
            y: "ms".into(),
            series: vec![Series::new("a", Mark::Line, points)],
            marks_x: vec![],
            y_from_zero: true,
        }
    }

    #[test]
    fn a_chart_is_an_svg_with_its_words() {
        let svg = chart(vec![(306.0, 2.0), (612.0, 1.0)]).svg(600, 400).unwrap();
        assert!(svg.starts_with("<svg") && svg.contains("clock (MHz)") && svg.contains("polyline"));
    }

    #[test]
    fn an_empty_chart_says_so() {
        assert!(chart(vec![]).svg(600, 400).unwrap_err().to_string().contains("no points"));
    }

    #[test]
    fn steps_hold_a_value_until_the_next() {
        assert_eq!(steps(&[(0.0, 1.0), (2.0, 3.0)]), [(0.0, 1.0), (2.0, 1.0), (2.0, 3.0)]);
    }
}
