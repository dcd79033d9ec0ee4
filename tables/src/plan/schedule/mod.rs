//! The search for the schedule of least energy: a resource-constrained shortest path (the resource is time, with its
//! spread) through a graph of what may be written when; bounds by a Lagrangian dual (Handler and Zang, Networks 10, 1980),
//! labels kept by dominance (Desrochers and Soumis, INFOR 26, 1988) and taken up best first.

pub(super) mod cut;
pub(super) mod dual;
pub(super) mod graph;
pub(super) mod labels;
pub(super) mod search;
