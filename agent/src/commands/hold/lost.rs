//! A clock that could not be held to the end.

use crate::failure::Failure;

/// Looks at the nodes that failed: told once, counted, and no success at the end.
#[derive(Debug, Default)]
pub struct Lost {
    first: Option<String>,
    looks: u64,
}

impl Lost {
    /// Takes a failure; the first is told.
    pub fn count(&mut self, error: &dyn std::fmt::Display) {
        self.looks += 1;
        if self.first.is_none() {
            log::warn!("{error}; from here on the clock is not known to be held");
            self.first = Some(error.to_string());
        }
    }

    /// What it comes to in the end.
    ///
    /// # Errors
    /// Where there was a failure.
    pub fn judge(&self) -> Result<(), Failure> {
        match &self.first {
            None => Ok(()),
            Some(first) => {
                Err(Failure::failed(format_args!("the clock was not held to the end: {first} ({} looks)", self.looks)))
            }
        }
    }
}
