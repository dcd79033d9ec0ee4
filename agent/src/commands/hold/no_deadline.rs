//! `hold --deadline` where there is no room for it, as in the static release: an option that is never given.

use std::path::PathBuf;

use jetpace_devfreq::Error;
use jetpace_devfreq::board::Board;
use jetpace_devfreq::gpu::{GpuNode, Way};
use jetpace_devfreq::guard::Store;
use jetpace_devfreq::nodes::Nodes;
use jetpace_tables::hw::Timer;
use jetpace_tables::work::ClockIndex;

use super::events::Events;
use crate::failure::Failure;

/// None.
#[derive(Debug, clap::Args)]
pub struct Options {}

impl Options {
    /// Never.
    pub fn is_wanted(&self) -> bool {
        false
    }

    /// None that it needs.
    pub fn way(&self) -> Option<Way> {
        None
    }

    /// Nothing to refuse.
    pub fn check(&self) -> Result<(), Failure> {
        Ok(())
    }

    /// No lines are its frames.
    pub fn counter(&self) -> Option<super::lines::Counter> {
        None
    }

    /// None.
    pub fn folders(&self) -> impl Iterator<Item = PathBuf> {
        std::iter::empty()
    }

    /// Nothing begins.
    pub fn start<N: Nodes + Store + Clone, T: Timer, R>(
        &self,
        _: &mut GpuNode<N, T>,
        _: Option<f64>,
        _: R,
        _: &Board,
        _: &str,
    ) -> Result<Option<Held<R>>, Failure> {
        Ok(None)
    }
}

/// There is none.
#[derive(Debug)]
pub enum Held<R> {
    #[doc(hidden)]
    Never(std::convert::Infallible, R),
}

impl<R> Held<R> {
    /// Never called.
    pub fn wanted(&self) -> ClockIndex {
        let Self::Never(never, _) = self;
        match *never {}
    }

    /// Never called.
    pub fn look<N: Nodes + Store + Clone, T: Timer>(
        &mut self,
        _: &mut GpuNode<N, T>,
        _: u64,
        _: Option<&mut Events>,
    ) -> Result<(), Error> {
        let Self::Never(never, _) = self;
        match *never {}
    }

    /// Never called.
    pub fn end(self) -> Result<(), Failure> {
        let Self::Never(never, _) = self;
        match never {}
    }
}
