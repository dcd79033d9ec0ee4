//! Pictures and pages: charts and timelines as SVG, and one HTML file, or text, that carries them.

pub mod axis;
pub mod chart;
mod draw;
pub mod page;
mod svg;
pub mod timeline;
