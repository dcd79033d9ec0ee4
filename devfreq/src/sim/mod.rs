//! The virtual Jetson: boards that exist in memory only, with the node layout, the kernel's rules and the physics of
//! real ones. One seeded generator, one virtual clock; nothing sleeps.
//!
//! The physics is written apart from the models that it judges: nothing in here calls `jetpace_tables::model` or the
//! fits.

pub mod rules;
