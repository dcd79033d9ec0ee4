//! The search for the schedule of least energy: a graph of what may be written when, bounds by a Lagrangian dual, labels
//! searched best first.

pub(super) mod cut;
pub(super) mod dual;
pub(super) mod graph;
pub(super) mod labels;
pub(super) mod search;
