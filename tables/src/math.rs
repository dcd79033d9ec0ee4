//! Elementary functions. The platform's where there is one; libm's without std, and on musl, so that a static binary does
//! not carry both.

#[cfg(all(feature = "std", not(target_env = "musl")))]
mod functions {
    pub fn exp(x: f64) -> f64 {
        x.exp()
    }
    pub fn ln(x: f64) -> f64 {
        x.ln()
    }
    pub fn ln_1p(x: f64) -> f64 {
        x.ln_1p()
    }
    pub fn pow(x: f64, y: f64) -> f64 {
        x.powf(y)
    }
    pub fn cbrt(x: f64) -> f64 {
        x.cbrt()
    }
    pub fn hypot(x: f64, y: f64) -> f64 {
        x.hypot(y)
    }
}

#[cfg(not(all(feature = "std", not(target_env = "musl"))))]
mod functions {
    pub use libm::{cbrt, exp, hypot, log as ln, log1p as ln_1p, pow};
}

pub use functions::*;
