//! The files that commands read and write: sweeps, models, tables, and what is written through a rename.

pub mod kind;
pub mod model;
pub mod output;
pub mod sweep;
pub mod table;
