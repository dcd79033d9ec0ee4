//! A network's weights: from a safetensors file with torchvision's names, or random ones from a seed.
//!
//! They are read one layer at a time, so that a network of 575 MB (VGG19 in f32) never lies in memory as a whole
//! beside its copy on the GPU, which on a Jetson is the same memory.

mod file;
mod names;

use std::path::Path;

use rand::{RngExt, SeedableRng};
use rand_distr::{Distribution, StandardNormal};
use rand_pcg::Pcg64Mcg;

use crate::error::Error;
use crate::net::{Op, OpBlock};
pub(crate) use file::TensorFile;
use file::WeightsFile;

/// One layer's weights in f32, batch norm folded in.
#[derive(Clone, Debug, PartialEq)]
pub struct Params {
    /// `[outputs][inputs][row][column]` of a convolution; `[outputs][inputs]` of a fully connected layer, whose
    /// inputs are flattened in torch's order: channel, row, column.
    pub weight: Vec<f32>,
    /// One per output.
    pub bias: Vec<f32>,
}

/// Where a network's weights come from.
#[derive(Debug)]
pub struct Weights(Source);

#[derive(Debug)]
enum Source {
    File(WeightsFile),
    Random(u64),
}

impl Weights {
    /// From a safetensors file with torchvision's names, in f32, f16 or bf16.
    ///
    /// # Errors
    /// The file cannot be read or is not safetensors; tensors are missing, left over, or of another shape or type:
    /// all of them are named.
    pub fn open(path: &Path, network: &str, blocks: &[OpBlock]) -> Result<Self, Error> {
        Ok(Self(Source::File(WeightsFile::open(path, network, blocks)?)))
    }

    /// From a safetensors file whose tensors are called `layerN.weight` and `layerN.bias`, N counting the network's ops.
    ///
    /// # Errors
    /// As [`Weights::open`].
    pub fn open_numbered(path: &Path, network: &str, blocks: &[OpBlock]) -> Result<Self, Error> {
        Ok(Self(Source::File(WeightsFile::open_numbered(path, network, blocks)?)))
    }

    /// Random weights, the same ones for the same seed: normal, scaled as He et al. (2015) so that activations keep
    /// their magnitude from layer to layer. A residual branch is scaled by 0.2, so that fifty units do not overflow
    /// fp16. There are no zeros: a GPU multiplying zeros draws less power than one at work.
    pub fn random(seed: u64) -> Self {
        Self(Source::Random(seed))
    }

    /// The weights of layer `index`, counted over all ops of the network.
    ///
    /// # Errors
    /// The file cannot be read any more.
    pub fn params(&self, index: usize, op: &Op) -> Result<Params, Error> {
        match &self.0 {
            Source::File(file) => file.params(index),
            Source::Random(seed) => Ok(random(*seed, index, op)),
        }
    }
}

/// Standard deviation of random biases: small beside activations of magnitude one, yet not zero.
const BIAS_SD: f32 = 0.05;

fn random(seed: u64, index: usize, op: &Op) -> Params {
    let (outputs, fan_in, gain) = match *op {
        Op::Conv(c) => (c.outputs, c.inputs * c.kernel * c.kernel, if c.residual { 0.2 } else { gain(c.relu) }),
        Op::Shortcut(c) => (c.outputs, c.inputs * c.kernel * c.kernel, gain(c.relu)),
        Op::Linear(l) => (l.outputs, l.inputs, gain(l.relu)),
    };
    let mut rng = Pcg64Mcg::seed_from_u64(seed ^ (index as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    let sd = gain / (fan_in as f32).sqrt();
    Params {
        weight: normal(&mut rng, sd, outputs as usize * fan_in as usize),
        bias: normal(&mut rng, BIAS_SD, outputs as usize),
    }
}

/// He et al. (2015): rectifying halves the second moment, which the weights make up for.
fn gain(relu: bool) -> f32 {
    if relu { std::f32::consts::SQRT_2 } else { 1.0 }
}

/// Normal numbers, for weights and for a network's input.
pub(crate) fn normal(rng: &mut impl RngExt, sd: f32, count: usize) -> Vec<f32> {
    let mut draw = || -> f32 { StandardNormal.sample(rng) };
    (0..count).map(|_| sd * draw()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net;

    #[test]
    fn random_weights_are_he_scaled_and_repeatable() {
        let blocks = net::ops("resnet152-32").unwrap();
        let unit = &blocks[2].ops;
        let sd = |op: &Op, i| {
            let w = random(7, i, op).weight;
            assert!(w.iter().all(|x| *x != 0.0));
            (w.iter().map(|x| x * x).sum::<f32>() / w.len() as f32).sqrt()
        };
        // 3x3 over 64 channels: sqrt(2 / 576); the widening 1x1 over 64 is a residual branch: 0.2 / 8.
        assert!((sd(&unit[1], 1) / 0.058_93 - 1.0).abs() < 0.02);
        assert!((sd(&unit[2], 2) / 0.025 - 1.0).abs() < 0.02);
        assert_eq!(random(7, 1, &unit[1]), random(7, 1, &unit[1]));
        assert_ne!(random(7, 1, &unit[1]), random(8, 1, &unit[1]));
        assert_ne!(random(7, 1, &unit[1]).weight, random(7, 4, &unit[1]).weight);
    }
}
