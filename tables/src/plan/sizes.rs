//! Frames of several sizes under one table: the size of a frame is known when it starts, that of the next one is not.

use super::problem::Problem;
use super::schedule::Plan;
use crate::work::Size;

/// Frames up to a size: what they cost at that size, and the plan for them alone. A table is made for a slice of these,
/// ascending in size and [`crate::table::MAX_CLASSES`] at most; of one where all frames are alike.
#[derive(Clone, Copy, Debug)]
pub struct SizeClass<'a> {
    /// The largest size.
    pub largest: Size,
    /// How many of all frames are of this class: a fraction.
    pub share: f64,
    /// What its frames cost, with the clocks, deadline, period and risk of the other classes.
    pub problem: &'a Problem,
    /// Its plan.
    pub plan: &'a Plan,
}

impl<'a> SizeClass<'a> {
    /// Where all frames are alike.
    pub fn only(problem: &'a Problem, plan: &'a Plan) -> [Self; 1] {
        [Self { largest: Size::default(), share: 1.0, problem, plan }]
    }
}
