//! The planner against an enumeration of all schedules.

pub(super) mod oracle;
