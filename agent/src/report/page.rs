//! One HTML file with text, tables and charts, readable offline.

use std::fmt::Write;

use super::chart::Chart;
use crate::failure::Failure;

const STYLE: &str = "body{font:15px/1.5 system-ui,sans-serif;color:#222;max-width:62rem;margin:2rem auto;padding:0 1rem}\
h1{font-size:1.6rem}h2{font-size:1.2rem;margin-top:2.2rem;border-bottom:1px solid #ccc}\
table{border-collapse:collapse;margin:1rem 0}td,th{padding:.25rem .8rem;border-bottom:1px solid #ddd;text-align:right}\
th:first-child,td:first-child{text-align:left}th{background:#f4f4f4}.note{color:#555}\
.charts{display:flex;flex-wrap:wrap;gap:1rem}svg{max-width:100%;height:auto}";

/// A page in the making.
#[derive(Debug)]
pub struct Page {
    body: String,
    title: String,
}

impl Page {
    /// A page with its title as the first heading.
    pub fn new(title: &str) -> Self {
        Self { body: format!("<h1>{}</h1>\n", escape(title)), title: title.to_owned() }
    }

    /// A section's heading.
    pub fn heading(&mut self, text: &str) {
        self.push(format_args!("<h2>{}</h2>\n", escape(text)));
    }

    /// A paragraph.
    pub fn text(&mut self, text: &str) {
        self.push(format_args!("<p>{}</p>\n", escape(text)));
    }

    /// A paragraph in the margin's tone: evidence, conditions.
    pub fn note(&mut self, text: &str) {
        self.push(format_args!("<p class=\"note\">{}</p>\n", escape(text)));
    }

    /// A table; the first row holds the headings.
    pub fn table(&mut self, rows: &[Vec<String>]) {
        self.push(format_args!("<table>\n"));
        for (i, row) in rows.iter().enumerate() {
            let tag = if i == 0 { "th" } else { "td" };
            self.push(format_args!("<tr>"));
            for cell in row {
                self.push(format_args!("<{tag}>{}</{tag}>", escape(cell)));
            }
            self.push(format_args!("</tr>\n"));
        }
        self.push(format_args!("</table>\n"));
    }

    /// Charts side by side where the window is wide enough.
    pub fn charts(&mut self, charts: &[(Chart, u32, u32)]) -> Result<(), Failure> {
        self.push(format_args!("<div class=\"charts\">\n"));
        for (chart, width, height) in charts {
            let svg = chart.svg(*width, *height)?;
            self.push(format_args!("{svg}\n"));
        }
        self.push(format_args!("</div>\n"));
        Ok(())
    }

    /// The whole file.
    pub fn html(self) -> String {
        format!(
            "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>{}</title>\
             <meta name=\"viewport\" content=\"width=device-width\"><style>{STYLE}</style></head>\n<body>\n{}</body></html>\n",
            escape(&self.title),
            self.body
        )
    }

    fn push(&mut self, text: std::fmt::Arguments<'_>) {
        // Writing to a String cannot fail.
        let _ = self.body.write_fmt(text);
    }
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_escaped() {
        let mut page = Page::new("a < b");
        page.table(&[vec!["<script>".into()]]);
        let html = page.html();
        assert!(html.contains("a &lt; b") && !html.contains("<script>"));
    }
}
