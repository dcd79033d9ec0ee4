//! Networks on this machine's GPU.

use std::path::{Path, PathBuf};

use jetpace_devfreq::timer::Monotonic;
use jetpace_kernels::Error;
use jetpace_kernels::cuda::CudaRunner;
use jetpace_kernels::launch::LaunchPlan;
use jetpace_kernels::net;
use jetpace_kernels::weights::Weights;
use jetpace_tables::work::Network;

use crate::failure::{Failure, Reason};

/// Options that name a network which is not built in.
#[derive(Debug, clap::Args)]
pub struct Precompiled {
    /// Run this launch plan (kernels/PLANS.md) in place of a built-in network, with the --weights that belong to it
    #[arg(long, value_name = "FILE", requires = "weights", conflicts_with = "net")]
    plan: Option<PathBuf>,
    /// The kernels of --plan as a cubin of one's own; by default jetpace's
    #[arg(long, value_name = "FILE", requires = "plan")]
    cubin: Option<PathBuf>,
}

impl Precompiled {
    /// The launch plan's network; nothing where there is no plan.
    pub fn network(&self) -> Result<Option<Network>, Failure> {
        let Some(path) = &self.plan else { return Ok(None) };
        let (name, plan) = LaunchPlan::read(path)?;
        Ok(Some(plan.network(&name)))
    }

    /// Opens the GPU and puts the launch plan on it, or else the network: see [`runner`].
    pub fn runner(
        &self,
        network: &str,
        weights: Option<&Path>,
        seed: u64,
        timer: Monotonic,
    ) -> Result<CudaRunner<Monotonic>, Failure> {
        match (&self.plan, weights) {
            (Some(plan), Some(weights)) => {
                Ok(CudaRunner::from_plan(plan, weights, self.cubin.as_deref(), seed, timer)?)
            }
            _ => runner(network, weights, seed, timer),
        }
    }
}

/// Opens the GPU and puts a network on it, with weights from a safetensors file or random ones from `seed`; the
/// network's input is random in any case. `timer` should be the one that everything else on this machine goes by.
pub fn runner(
    network: &str,
    weights: Option<&Path>,
    seed: u64,
    timer: Monotonic,
) -> Result<CudaRunner<Monotonic>, Failure> {
    let blocks = net::ops(network).ok_or_else(|| {
        Failure::usage(format_args!(
            "{network} has no CUDA kernels; there are {}",
            net::NAMES.into_iter().filter(|name| net::ops(name).is_some()).collect::<Vec<_>>().join(", ")
        ))
    })?;
    let weights = match weights {
        None => Weights::random(seed),
        Some(path) => Weights::open(path, network, &blocks)?,
    };
    Ok(CudaRunner::new(blocks, &weights, seed, timer)?)
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let reason = match &error {
            Error::File { path, source } => return Self::file(path, source),
            Error::Weights { .. }
            | Error::Plan { .. }
            | Error::NoKernel { .. }
            | Error::Image { .. }
            | Error::TooLarge { .. } => Reason::Usage,
            Error::NoLibrary
            | Error::StubLibrary { .. }
            | Error::OldDriver { .. }
            | Error::NoDevice { .. }
            | Error::Capability { .. } => Reason::Unsupported,
            Error::Permission { .. } => Reason::Permission,
            Error::OutOfMemory { .. } | Error::Driver { .. } => Reason::Failed,
        };
        Self::new(reason, error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fails(network: &str, weights: Option<&Path>) -> (Reason, String) {
        match runner(network, weights, 1, Monotonic::new()) {
            Ok(_) => panic!("there is a GPU here"),
            Err(failure) => (failure.reason(), failure.to_string()),
        }
    }

    #[test]
    fn networks_without_kernels_and_missing_weights_are_named() {
        let (reason, message) = fails("robot-frame", None);
        assert_eq!(reason, Reason::Usage);
        assert!(message.ends_with("alexnet-32, vgg19-32, resnet152-32"), "{message}");
        let (_, message) = fails("alexnet", Some(Path::new("/no/such.safetensors")));
        assert!(message.starts_with("/no/such.safetensors: No such file"), "{message}");
    }
}
