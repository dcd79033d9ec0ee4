//! Charts with two axes: what they show; `draw` draws them.

/// How a series is drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mark {
    /// The area within a line there and back: an interval.
    Band,
    /// A line through the points.
    Line,
    /// A line that holds each value until the next point: a clock over time.
    Steps,
    /// A dot at every point: measured values.
    Dots,
    /// A ring at every point: measured values that a fit did not see.
    Rings,
    /// A bar from zero that reaches from each point to the next one's x; the last one only ends it.
    Bars,
}

/// One named series of points in the chart's axes.
#[derive(Clone, Debug)]
pub struct Series {
    /// What the legend calls it.
    pub name: String,
    /// How it is drawn.
    pub mark: Mark,
    /// The points, by ascending x; of a band there and back.
    pub points: Vec<(f64, f64)>,
}

impl Series {
    /// A series of a name, a mark and its points. Points that are no numbers are left out.
    pub fn new(name: impl Into<String>, mark: Mark, points: Vec<(f64, f64)>) -> Self {
        let points = points.into_iter().filter(|(x, y)| x.is_finite() && y.is_finite()).collect();
        Self { name: name.into(), mark, points }
    }
}

/// A chart with two axes.
#[derive(Clone, Debug, Default)]
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
    /// Whether y starts at zero, for quantities whose ratio matters; else the axis shows that it does not.
    pub y_from_zero: bool,
    /// Room at the left and the right, where the chart stands below one that has it.
    pub margins: Option<(f64, f64)>,
    /// The ends of x, where the points do not say them.
    pub x_range: Option<(f64, f64)>,
}

/// Values closer than this share of the chart's height are the same to the eye: lines are nearly as thick.
const SAME: f64 = 0.012;

impl Chart {
    /// What is drawn under each name: curves that coincide are drawn once, with all their names.
    pub(super) fn named(&self, height: f64) -> Vec<(String, Vec<&Series>)> {
        let mut groups: Vec<(Vec<&str>, Vec<&Series>)> = Vec::new();
        for series in self.series.iter().filter(|series| !series.points.is_empty()) {
            match groups.iter_mut().find(|(names, _)| names[0] == series.name) {
                Some((_, of)) => of.push(series),
                None => groups.push((vec![&series.name], vec![series])),
            }
        }
        let mut merged: Vec<(Vec<&str>, Vec<&Series>)> = Vec::new();
        for (names, series) in groups {
            match merged.iter_mut().find(|(_, other)| coincide(other, &series, height * SAME)) {
                Some((all, _)) => all.extend(names),
                None => merged.push((names, series)),
            }
        }
        merged.into_iter().map(|(names, series)| (names.join(" = "), series)).collect()
    }
}

/// Whether two curves would lie on one another. Dots alone do not: each is a measurement of its own.
fn coincide(a: &[&Series], b: &[&Series], within: f64) -> bool {
    let line = |of: &[&Series]| of.iter().any(|series| matches!(series.mark, Mark::Line | Mark::Steps));
    let near = |(a, b): (&(f64, f64), &(f64, f64))| {
        (a.0 - b.0).abs() <= 1e-6 * a.0.abs().max(1e-9) && (a.1 - b.1).abs() <= within
    };
    let same = |(a, b): (&&Series, &&Series)| {
        a.mark == b.mark && a.points.len() == b.points.len() && a.points.iter().zip(&b.points).all(near)
    };
    line(a) && line(b) && a.len() == b.len() && a.iter().zip(b).all(same)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chart(series: Vec<Series>) -> Chart {
        Chart {
            title: "time".into(),
            x: "clock (MHz)".into(),
            y: "ms".into(),
            series,
            y_from_zero: true,
            ..Chart::default()
        }
    }

    fn line(name: &str, points: &[(f64, f64)]) -> Series {
        Series::new(name, Mark::Line, points.to_vec())
    }

    #[test]
    fn a_chart_is_an_svg_with_its_words() {
        let svg = chart(vec![line("a", &[(306.0, 2.0), (612.0, 1.0)])]).svg().unwrap();
        assert!(svg.starts_with("<svg xmlns") && svg.contains("clock (MHz)") && svg.contains("polyline"), "{svg}");
        assert!(svg.contains("role=\"img\"") && svg.contains("<title id=\"c-t\">time</title>"), "{svg}");
        assert!(svg.contains("prefers-color-scheme:dark"), "{svg}");
    }

    #[test]
    fn an_empty_chart_says_so() {
        assert!(chart(vec![]).svg().unwrap_err().to_string().contains("no points"));
        assert!(chart(vec![line("a", &[(f64::NAN, 1.0), (1.0, f64::INFINITY)])]).svg().is_err());
    }

    #[test]
    fn curves_that_coincide_are_drawn_once_with_all_names() {
        let points = [(1.0, 2.0), (2.0, 5.0)];
        let near = [(1.0, 2.01), (2.0, 5.0)];
        let apart = [(1.0, 2.5), (2.0, 5.0)];
        let chart = chart(vec![line("a", &points), line("b", &near), line("c", &apart), line("d", &points)]);
        let names: Vec<String> = chart.named(5.0).into_iter().map(|(name, _)| name).collect();
        assert_eq!(names, ["a = b = d", "c"]);
        assert_eq!(chart.svg().unwrap().matches("<polyline").count(), 2 + 2, "two curves and their two keys");
    }

    #[test]
    fn a_name_cannot_break_out() {
        let svg = chart(vec![line("</svg><script>alert(1)</script>", &[(1.0, 2.0), (2.0, 1.0)])]).svg().unwrap();
        assert!(!svg.contains("<script"), "{svg}");
    }
}
