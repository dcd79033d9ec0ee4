//! Why there is no plan.

use std::string::String;

/// Why there is no plan.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum PlanError {
    /// The problem contradicts itself.
    #[error("{0}")]
    Invalid(String),
    /// The model has no such network.
    #[error("the model has no such network")]
    NoNetwork,
    /// The sweep lacks what planning needs.
    #[error("the model has no {what}: {remedy}")]
    NotMeasured {
        /// What is missing.
        what: &'static str,
        /// Where to get it.
        remedy: &'static str,
    },
    /// No clock is fast enough.
    #[error(
        "no plan meets the deadline of {deadline_ms:.3} ms at the risk of {risk}: the least reachable one is \
         {least_ms:.3} ms; ask for that or more, accept more risk, or raise the power mode",
        deadline_ms = .deadline_s * 1e3, least_ms = .least_s * 1e3
    )]
    Unreachable {
        /// Asked for.
        deadline_s: f64,
        /// The accepted probability of a miss.
        risk: f64,
        /// The least deadline that can be met.
        least_s: f64,
    },
    /// Nothing is frugal enough.
    #[error("no plan stays within {asked_j:.6} J a period: the least possible is {least_j:.6} J")]
    TooLittleEnergy {
        /// Asked for.
        asked_j: f64,
        /// The least energy of any plan that fits into the period.
        least_j: f64,
    },
}
