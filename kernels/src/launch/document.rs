//! A launch plan as a JSON document, so that a network that jetpace does not know can run on its kernels. The format is
//! described in kernels/PLANS.md. What is read is checked by [`super::check`] before anything is launched.

use std::collections::BTreeMap;
use std::path::Path;

use jetpace_tables::work::{Block, Layer, Network};
use serde::{Deserialize, Serialize};

use super::{Activation, BlockPlan, Buffer, Launch, LaunchPlan, Work};
use crate::abi::{ConvShape, Kernel, LinearShape, PoolShape};
use crate::error::Error;

const FORMAT: u32 = 1;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    format: u32,
    network: String,
    batch: u32,
    buffers: BTreeMap<String, u64>,
    workspace_bytes: u64,
    blocks: Vec<BlockDocument>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct BlockDocument {
    name: String,
    input: ActivationDocument,
    output: ActivationDocument,
    launches: Vec<LaunchDocument>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ActivationDocument {
    buffer: String,
    side: u32,
    channels: u32,
    pitch: u32,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct LaunchDocument {
    kernel: String,
    grid: [u32; 3],
    threads: u32,
    shared_bytes: u32,
    work: WorkName,
    input: String,
    output: String,
    residual: Option<String>,
    layer: Option<usize>,
    ints: Vec<u32>,
}

#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum WorkName {
    Conv,
    Pool,
    Linear,
}

impl LaunchPlan {
    /// The plan as JSON; `network` is for people.
    pub fn to_json(&self, network: &str) -> String {
        let document = Document {
            format: FORMAT,
            network: network.to_owned(),
            batch: self.batch,
            buffers: self.buffers.iter().map(|(buffer, bytes)| (name(*buffer), *bytes)).collect(),
            workspace_bytes: self.workspace_bytes,
            blocks: self.blocks.iter().map(write_block).collect(),
        };
        // Strings and numbers only, which always can be written.
        serde_json::to_string_pretty(&document).unwrap_or_default()
    }

    /// The plan as a network of so much work: every layer reads its input and its weights and writes its output once.
    pub fn network(&self, name: &str) -> Network {
        let blocks = self
            .blocks
            .iter()
            .map(|block| Block { name: block.name.clone(), layers: block.launches.iter().filter_map(layer).collect() });
        Network { name: name.to_owned(), blocks: blocks.collect() }
    }

    /// Reads a plan, with its network's name. It means what it says, but may ask for anything:
    /// [`LaunchPlan::check`] comes next.
    ///
    /// # Errors
    /// The file cannot be read, is no such document, or names what there is not.
    pub fn read(path: &Path) -> Result<(String, Self), Error> {
        Self::parse(&std::fs::read(path).map_err(|e| Error::file(path, e))?, path)
    }

    /// The same of bytes; the path is for messages.
    ///
    /// # Errors
    /// As [`LaunchPlan::read`].
    pub fn parse(bytes: &[u8], path: &Path) -> Result<(String, Self), Error> {
        let document: Document = serde_json::from_slice(bytes).map_err(|e| Error::plan(path, e))?;
        if document.format != FORMAT {
            return Err(Error::plan(path, format_args!("format {}, not {FORMAT}", document.format)));
        }
        let plan = plan(&document).map_err(|why| Error::plan(path, why))?;
        Ok((document.network, plan))
    }
}

/// A launch's work; a reduction is part of the convolution in front of it.
fn layer(launch: &Launch) -> Option<Layer> {
    let product = |sides: [u32; 4]| sides.iter().map(|side| u64::from(*side)).product::<u64>();
    let (sums, terms, weights, read) = match launch.work {
        Work::Conv { .. } if launch.kernel == Kernel::ConvReduce => return None,
        Work::Conv { shape: s, residual, .. } => {
            let computed = product([s.batch, s.out_height, s.out_width, s.out_channels]);
            let terms = product([s.kernel, s.kernel, s.channels, 1]);
            let again = if residual.is_some() { computed } else { 0 };
            (
                computed,
                terms,
                terms * u64::from(s.out_channels),
                product([s.batch, s.height, s.width, s.channels]) + again,
            )
        }
        Work::Pool { shape: s, .. } => {
            let written = product([s.batch, s.out_height, s.out_width, s.channels]);
            (written, 0, 0, product([s.batch, s.height, s.width, s.channels]))
        }
        Work::Linear { shape: s, .. } => {
            (s.outputs.into(), s.inputs.into(), product([s.inputs, s.outputs, 1, 1]), s.inputs.into())
        }
    };
    Some(Layer { flops: 2 * sums * terms, weight_bytes: 2 * weights, activation_bytes: 2 * (read + sums) })
}

fn plan(document: &Document) -> Result<LaunchPlan, String> {
    let buffers: Result<_, String> = document.buffers.iter().map(|(name, bytes)| Ok((buffer(name)?, *bytes))).collect();
    let blocks: Result<_, String> = document
        .blocks
        .iter()
        .map(|block| read_block(block).map_err(|why| format!("block {}: {why}", block.name)))
        .collect();
    Ok(LaunchPlan {
        batch: document.batch,
        blocks: blocks?,
        buffers: buffers?,
        workspace_bytes: document.workspace_bytes,
    })
}

fn name(buffer: Buffer) -> String {
    match buffer {
        Buffer::Image => "image".to_owned(),
        Buffer::Between(i) => format!("between{i}"),
        Buffer::Scratch(i) => format!("scratch{i}"),
    }
}

fn buffer(text: &str) -> Result<Buffer, String> {
    let number = |prefix: &str| text.strip_prefix(prefix).and_then(|digits| digits.parse().ok());
    let found = if text == "image" {
        Some(Buffer::Image)
    } else {
        number("between").map(Buffer::Between).or_else(|| number("scratch").map(Buffer::Scratch))
    };
    found
        .filter(|found| name(*found) == text)
        .ok_or_else(|| format!("{text:?} is no buffer: image, between0, scratch0"))
}

fn write_activation(activation: &Activation) -> ActivationDocument {
    let Activation { buffer, side, channels, pitch } = *activation;
    ActivationDocument { buffer: name(buffer), side, channels, pitch }
}

fn read_activation(document: &ActivationDocument) -> Result<Activation, String> {
    let ActivationDocument { side, channels, pitch, .. } = *document;
    Ok(Activation { buffer: buffer(&document.buffer)?, side, channels, pitch })
}

fn write_block(block: &BlockPlan) -> BlockDocument {
    BlockDocument {
        name: block.name.clone(),
        input: write_activation(&block.input),
        output: write_activation(&block.output),
        launches: block.launches.iter().map(write_launch).collect(),
    }
}

fn read_block(document: &BlockDocument) -> Result<BlockPlan, String> {
    let launches: Result<_, String> = document
        .launches
        .iter()
        .enumerate()
        .map(|(i, launch)| read_launch(launch).map_err(|why| format!("launch {i}: {why}")))
        .collect();
    Ok(BlockPlan {
        name: document.name.clone(),
        input: read_activation(&document.input)?,
        output: read_activation(&document.output)?,
        launches: launches?,
    })
}

fn write_launch(launch: &Launch) -> LaunchDocument {
    let (work, input, output, residual, layer, ints) = match launch.work {
        Work::Conv { input, layer, residual, output, shape } => {
            (WorkName::Conv, input, output, residual, Some(layer), shape.ints().to_vec())
        }
        Work::Pool { input, output, shape } => (WorkName::Pool, input, output, None, None, shape.ints().to_vec()),
        Work::Linear { input, layer, output, shape } => {
            (WorkName::Linear, input, output, None, Some(layer), shape.ints().to_vec())
        }
    };
    LaunchDocument {
        kernel: launch.kernel.name(),
        grid: launch.grid,
        threads: launch.kernel.threads(),
        shared_bytes: launch.shared_bytes,
        work,
        input: name(input),
        output: name(output),
        residual: residual.map(name),
        layer,
        ints,
    }
}

fn read_launch(document: &LaunchDocument) -> Result<Launch, String> {
    let kernel = Kernel::all().find(|kernel| kernel.name() == document.kernel);
    let kernel = kernel.ok_or_else(|| format!("there is no kernel {}", document.kernel))?;
    if document.threads != kernel.threads() {
        return Err(format!("{} has {} threads, not {}", document.kernel, kernel.threads(), document.threads));
    }
    let (input, output) = (buffer(&document.input)?, buffer(&document.output)?);
    let residual = document.residual.as_deref().map(buffer).transpose()?;
    let layer = || document.layer.ok_or("it names no layer");
    let work = match document.work {
        WorkName::Conv => {
            let shape = ConvShape::from_ints(ints(document)?);
            Work::Conv { input, layer: layer()?, residual, output, shape }
        }
        WorkName::Pool => Work::Pool { input, output, shape: PoolShape::from_ints(ints(document)?) },
        WorkName::Linear => {
            let shape = LinearShape::from_ints(ints(document)?);
            Work::Linear { input, layer: layer()?, output, shape }
        }
    };
    Ok(Launch { kernel, grid: document.grid, shared_bytes: document.shared_bytes, work })
}

fn ints<const N: usize>(document: &LaunchDocument) -> Result<[u32; N], String> {
    let ints = document.ints.as_slice();
    ints.try_into().map_err(|_| format!("{} ints instead of {N}, which cu/abi.h lists", ints.len()))
}
