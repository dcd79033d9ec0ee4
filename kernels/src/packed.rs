//! Weights as the kernels read them, in a safetensors file: `layerN.weights` in fp16 and `layerN.bias` in fp32, one
//! dimension each, in the layouts of [`crate::pack`]. They belong to a launch plan.

use std::collections::BTreeMap;
use std::path::Path;

use safetensors::tensor::{Dtype, TensorView};

use crate::error::Error;
use crate::launch::LayerSize;
use crate::net::OpBlock;
use crate::pack::{self, Packed};
use crate::weights::{TensorFile, Weights};

/// A launch plan's weights.
#[derive(Debug)]
pub struct PackedWeights(TensorFile);

impl PackedWeights {
    /// Opens the file and compares its tensors with what a plan reads ([`crate::launch::LaunchPlan::check`]).
    ///
    /// # Errors
    /// The file cannot be read or is not safetensors; a tensor is missing, or of another size or type.
    pub fn open(path: &Path, layers: &BTreeMap<usize, LayerSize>) -> Result<Self, Error> {
        let file = TensorFile::open(path)?;
        for (layer, size) in layers {
            for (name, dtype, elements) in
                [(weights_name(*layer), Dtype::F16, size.weights), (bias_name(*layer), Dtype::F32, size.bias)]
            {
                let info = file.info(&name)?;
                let found = info.shape.iter().product::<usize>() as u64;
                // More are there where outputs are padded to a multiple of 8.
                if info.dtype != dtype || found < elements {
                    let why = format!("{name} is {found} of {:?}; the plan reads {elements} of {dtype:?}", info.dtype);
                    return Err(Error::weights(path, why));
                }
            }
        }
        Ok(Self(file))
    }

    /// A layer's weights.
    ///
    /// # Errors
    /// The file cannot be read any more, or has no such layer.
    pub fn layer(&self, layer: usize) -> Result<Packed, Error> {
        let weights = self.0.bytes(&weights_name(layer))?;
        let bias = self.0.bytes(&bias_name(layer))?;
        Ok(Packed {
            weights: weights.chunks_exact(2).map(|b| u16::from_le_bytes([b[0], b[1]])).collect(),
            bias: bias.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect(),
        })
    }

    /// Writes a network's weights so that a plan of it finds them; all of them lie in memory meanwhile.
    ///
    /// # Errors
    /// A weight is beyond fp16, or a file cannot be read or written.
    pub fn write(path: &Path, blocks: &[OpBlock], weights: &Weights) -> Result<(), Error> {
        let mut tensors = Vec::new();
        for (layer, (op, layout)) in pack::layouts(blocks).into_iter().enumerate() {
            let Packed { weights, bias } = pack::pack(&op, layout, &weights.params(layer, &op)?)?;
            let weights: Vec<u8> = weights.iter().flat_map(|half| half.to_le_bytes()).collect();
            let bias: Vec<u8> = bias.iter().flat_map(|float| float.to_le_bytes()).collect();
            tensors.push((weights_name(layer), Dtype::F16, weights));
            tensors.push((bias_name(layer), Dtype::F32, bias));
        }
        let views: Result<Vec<_>, _> = tensors
            .iter()
            .map(|(name, dtype, bytes)| {
                let elements = bytes.len() * 8 / dtype.bitsize();
                TensorView::new(*dtype, vec![elements], bytes).map(|view| (name.clone(), view))
            })
            .collect();
        let written = views.and_then(|views| safetensors::serialize_to_file(views, None, path));
        written.map_err(|e| Error::weights(path, e))
    }
}

fn weights_name(layer: usize) -> String {
    format!("layer{layer}.weights")
}

fn bias_name(layer: usize) -> String {
    format!("layer{layer}.bias")
}
