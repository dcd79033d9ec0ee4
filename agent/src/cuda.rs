//! Networks on this machine's GPU.

use std::path::Path;

use jetpace_devfreq::timer::Monotonic;
use jetpace_kernels::Error;
use jetpace_kernels::cuda::CudaRunner;
use jetpace_kernels::net;
use jetpace_kernels::weights::Weights;

use crate::failure::{Failure, Reason};

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
            Error::Weights { .. } | Error::NoKernel { .. } | Error::Image { .. } | Error::TooLarge { .. } => {
                Reason::Usage
            }
            Error::NoLibrary | Error::StubLibrary { .. } | Error::OldDriver { .. } | Error::NoDevice { .. } | Error::Capability { .. } => {
                Reason::Unsupported
            }
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
