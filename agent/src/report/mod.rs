//! Pictures and pages: charts as SVG, and one HTML file that carries them.

pub mod chart;
pub mod page;
