//! A page of text, tables and pictures: as one HTML file that is readable offline, and as text for a terminal.

use std::fmt::Write as _;

use super::chart::Chart;
use super::svg::{self, escape};
use super::timeline::Timeline;

const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("hover.js");

/// The most rows of a picture's table that a terminal shows.
const ROWS: usize = 14;

/// Rows of cells; the first row holds the headings.
pub type Rows = Vec<Vec<String>>;

#[derive(Debug)]
enum Part {
    /// A section's heading.
    Heading(String),
    Text(String),
    /// In the margin's tone: evidence, conditions.
    Note(String),
    List(Vec<String>),
    Table(Rows),
    /// A table that is there for who asks.
    More(String, Rows),
    /// A picture, and its values for who does not see it.
    Figure {
        title: String,
        svg: String,
        rows: Rows,
    },
    /// Figures that follow stand side by side until the next one begins.
    Figures,
}

/// A page in the making.
#[derive(Debug)]
pub struct Page {
    title: String,
    /// Below the title, in large letters.
    headlines: Vec<String>,
    parts: Vec<Part>,
}

impl Page {
    /// A page with its title as the first heading.
    pub fn new(title: &str) -> Self {
        Self { title: title.to_owned(), headlines: Vec::new(), parts: Vec::new() }
    }

    /// What the whole page comes to, above everything else.
    pub fn headline(&mut self, text: impl Into<String>) {
        self.headlines.push(text.into());
    }

    /// A section's heading.
    pub fn heading(&mut self, text: impl Into<String>) {
        self.parts.push(Part::Heading(text.into()));
    }

    /// A paragraph.
    pub fn text(&mut self, text: impl Into<String>) {
        self.parts.push(Part::Text(text.into()));
    }

    /// A paragraph in the margin's tone: evidence, conditions.
    pub fn note(&mut self, text: impl Into<String>) {
        self.parts.push(Part::Note(text.into()));
    }

    /// Short lines of equal rank; nothing where there is none.
    pub fn list(&mut self, lines: Vec<String>) {
        if !lines.is_empty() {
            self.parts.push(Part::List(lines));
        }
    }

    /// A table; the first row holds the headings, and without another one there is nothing to show.
    pub fn table(&mut self, rows: Rows) {
        if rows.len() > 1 {
            self.parts.push(Part::Table(rows));
        }
    }

    /// A table for who asks: folded away on a page, and of long ones some rows on a terminal.
    pub fn more(&mut self, title: &str, rows: Rows) {
        if rows.len() > 1 {
            self.parts.push(Part::More(title.to_owned(), rows));
        }
    }

    /// The next pictures stand in a row of their own, side by side where the window is wide enough.
    pub fn figures(&mut self) {
        self.parts.push(Part::Figures);
    }

    /// A chart with its values; one without points is left out.
    pub fn chart(&mut self, chart: &Chart, rows: Rows) {
        self.figure(&chart.title, chart.element(&self.id()), rows);
    }

    /// A timeline with a chart below it on the same time axis, and their values.
    pub fn timeline(&mut self, timeline: &Timeline, below: &Chart, rows: Rows) {
        let id = self.id();
        let both = timeline.element(&id).zip(below.element(&format!("{id}b"))).map(|(above, below)| above + &below);
        self.figure(&timeline.title, both, rows);
    }

    fn id(&self) -> String {
        format!("p{}", self.parts.len())
    }

    fn figure(&mut self, title: &str, svg: Option<String>, rows: Rows) {
        if let Some(svg) = svg {
            self.parts.push(Part::Figure { title: title.to_owned(), svg, rows });
        }
    }

    /// The whole file.
    pub fn html(&self) -> String {
        let mut body = String::new();
        let mut open = false;
        for part in &self.parts {
            // Only figures stand in a row of figures.
            if open && !matches!(part, Part::Figure { .. }) {
                body += "</div>\n";
                open = false;
            }
            if !open && matches!(part, Part::Figure { .. } | Part::Figures) {
                body += "<div class=\"figures\">\n";
                open = true;
            }
            part.html(&mut body);
        }
        if open {
            body += "</div>\n";
        }
        let lead: String =
            self.headlines.iter().map(|text| format!("<p class=\"lead\">{}</p>\n", escape(text))).collect();
        let title = escape(&self.title);
        format!(
            "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>{title}</title>\n\
             <meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\n\
             <meta name=\"color-scheme\" content=\"light dark\">\n<link rel=\"icon\" href=\"data:,\">\n\
             <style>{}{STYLE}</style></head>\n<body><main>\n<h1>{title}</h1>\n{lead}{body}</main>\n\
             <script>{SCRIPT}</script></body></html>\n",
            svg::style()
        )
    }

    /// The same for a terminal; of long tables of values some rows.
    pub fn terminal(&self) -> String {
        let mut text = format!("{}\n", self.title);
        // Writing to a String cannot fail.
        for headline in &self.headlines {
            let _ = writeln!(text, "\n{}", plain(headline));
        }
        for part in &self.parts {
            let _ = match part {
                Part::Heading(heading) => writeln!(text, "\n== {}\n", plain(heading)),
                Part::Text(line) | Part::Note(line) => writeln!(text, "{}", plain(line)),
                Part::List(lines) => lines.iter().try_for_each(|line| writeln!(text, "  - {}", plain(line))),
                Part::Table(rows) => writeln!(text, "\n{}", aligned(rows, usize::MAX)),
                Part::More(title, rows) | Part::Figure { title, rows, .. } if rows.len() > 1 => {
                    writeln!(text, "\n{}\n{}", plain(title), aligned(rows, ROWS))
                }
                Part::More(..) | Part::Figure { .. } | Part::Figures => Ok(()),
            };
        }
        text
    }
}

impl Part {
    fn html(&self, out: &mut String) {
        // Writing to a String cannot fail.
        let _ = match self {
            Self::Heading(text) => writeln!(out, "<h2>{}</h2>", escape(text)),
            Self::Text(text) => writeln!(out, "<p>{}</p>", escape(text)),
            Self::Note(text) => writeln!(out, "<p class=\"note\">{}</p>", escape(text)),
            Self::List(lines) => {
                let lines: String = lines.iter().map(|line| format!("<li>{}</li>\n", escape(line))).collect();
                writeln!(out, "<ul>\n{lines}</ul>")
            }
            Self::Table(rows) => writeln!(out, "{}", table(rows)),
            Self::More(title, rows) => writeln!(out, "{}", folded(title, rows)),
            Self::Figure { title, svg, rows } => {
                let values = if rows.len() > 1 { folded("Values", rows) } else { String::new() };
                let title = escape(title);
                writeln!(out, "<figure><figcaption>{title}</figcaption>\n{svg}<output></output>\n{values}</figure>")
            }
            Self::Figures => Ok(()),
        };
    }
}

fn folded(title: &str, rows: &Rows) -> String {
    format!("<details><summary>{}</summary>\n{}</details>\n", escape(title), table(rows))
}

/// A table that scrolls by itself where the window is too narrow for it, by the keyboard too.
fn table(rows: &Rows) -> String {
    let mut out = "<div class=\"table\" tabindex=\"0\"><table>\n".to_owned();
    let numbers = numbers(rows);
    for (i, row) in rows.iter().enumerate() {
        let (tag, scope) = if i == 0 { ("th", " scope=\"col\"") } else { ("td", "") };
        out += "<tr>";
        for (cell, number) in row.iter().zip(&numbers) {
            let class = if *number { " class=\"n\"" } else { "" };
            out += &format!("<{tag}{scope}{class}>{}</{tag}>", escape(cell));
        }
        out += "</tr>\n";
    }
    out + "</table></div>\n"
}

/// Which columns hold numbers, and stand to the right: the others hold words.
fn numbers(rows: &Rows) -> Vec<bool> {
    let number = |cell: &String| cell.is_empty() || cell.starts_with(|c: char| c.is_ascii_digit() || "+-".contains(c));
    // A list of numbers, or a sentence that begins with one, is words.
    let short = |cell: &String| cell.chars().count() < 16;
    let column =
        |i: usize| i > 0 && rows.iter().skip(1).filter_map(|row| row.get(i)).all(|cell| number(cell) && short(cell));
    (0..rows.iter().map(Vec::len).max().unwrap_or(0)).map(column).collect()
}

/// Text that does nothing to a terminal.
fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

/// Columns below one another, numbers to the right; of more than `most` rows some, evenly.
fn aligned(rows: &Rows, most: usize) -> String {
    let shown: Vec<&Vec<String>> = match rows.split_first() {
        Some((head, rest)) if rest.len() > most => {
            let step = |i: usize| &rest[i * (rest.len() - 1) / (most - 1)];
            std::iter::once(head).chain((0..most).map(step)).collect()
        }
        _ => rows.iter().collect(),
    };
    let columns = shown.iter().map(|row| row.len()).max().unwrap_or(0);
    let wide = |column: usize| shown.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max();
    let wide: Vec<usize> = (0..columns).map(|column| wide(column).unwrap_or(0)).collect();
    let numbers = numbers(rows);
    let mut text = String::new();
    for row in &shown {
        for ((cell, wide), number) in row.iter().zip(&wide).zip(&numbers) {
            let cell = plain(cell);
            text += &if *number { format!("  {cell:>wide$}") } else { format!("  {cell:<wide$}") };
        }
        text.truncate(text.trim_end().len());
        text.push('\n');
    }
    if shown.len() < rows.len() {
        text += &format!("  ({} of {} rows; -o writes all)\n", shown.len() - 1, rows.len() - 1);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::super::chart::{Mark, Series};
    use super::*;

    fn rows(count: usize) -> Rows {
        (0..=count).map(|i| vec![format!("row {i}"), format!("{}", i * 100)]).collect()
    }

    #[test]
    fn text_is_escaped() {
        let mut page = Page::new("a < b");
        page.headline("<script>1</script>");
        page.heading("<script>2</script>");
        page.list(vec!["<script>3</script>".into()]);
        page.table(vec![vec!["<script>4</script>".into()], vec!["<script>5</script>".into()]]);
        let html = page.html();
        assert!(html.contains("a &lt; b"), "{html}");
        assert_eq!(html.matches("<script").count(), 1, "its own");
    }

    #[test]
    fn figures_stand_side_by_side_and_are_closed() {
        let series = vec![Series::new("a", Mark::Line, vec![(1.0, 1.0), (2.0, 2.0)])];
        let chart = Chart { title: "t".into(), series, ..Chart::default() };
        let mut page = Page::new("p");
        page.chart(&chart, rows(3));
        page.chart(&chart, Vec::new());
        page.text("behind");
        page.chart(&Chart::default(), rows(3));
        let html = page.html();
        assert_eq!((html.matches("<div class=\"figures\">").count(), html.matches("<figure>").count()), (1, 2));
        assert_eq!(html.matches("<div").count(), html.matches("</div>").count());
        assert!(html.contains("id=\"p0-t\"") && html.contains("id=\"p1-t\""), "ids are each their own");
    }

    #[test]
    fn a_terminal_gets_the_same_in_columns() {
        let mut page = Page::new("p");
        page.headline("18 % less\u{1b}[31m");
        page.table(rows(2));
        let text = page.terminal();
        assert_eq!(text, "p\n\n18 % less\u{fffd}[31m\n\n  row 0    0\n  row 1  100\n  row 2  200\n\n");
        assert!(aligned(&rows(100), 14).ends_with("(14 of 100 rows; -o writes all)\n"));
        assert_eq!(aligned(&rows(100), 14).lines().count(), 16);
    }
}
