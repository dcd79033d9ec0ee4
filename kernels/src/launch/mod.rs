//! A network's blocks as kernel launches: which kernel, how large a grid, and which buffers. Computed without a GPU.
//!
//! A block never writes its own input, so that it can be run again and again on the same data: blocks hand their
//! activations over in two buffers in turn, and whatever a block keeps for itself lies in scratch buffers.

mod check;
mod document;
mod grid;
mod tile;

use std::collections::BTreeMap;

use jetpace_tables::work::Size;

use crate::abi::{
    CHANNEL_ALIGN, CONV_KERNEL_MAX, ConvShape, IMAGE_CHANNELS, Kernel, LinearShape, PoolShape, STEM_TILE, STEMS, Tile,
};
use crate::cubin::Capability;
use crate::error::Error;
use crate::net::{Conv, Linear, Op, OpBlock, Pool};
pub use check::LayerSize;
use grid::grid_of;

/// What a plan has to know of the GPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gpu {
    /// Its compute capability.
    pub capability: Capability,
    /// Streaming multiprocessors.
    pub multiprocessors: u32,
}

/// A buffer of fp16 activations.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Buffer {
    /// The network's input, which nothing overwrites.
    Image,
    /// 0 or 1: from a block to the next.
    Between(u8),
    /// Inside a block: what its kernels hand on, and its shortcut.
    Scratch(u8),
}

/// An activation in its buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Activation {
    /// Where it lies.
    pub buffer: Buffer,
    /// Height and width.
    pub side: u32,
    /// Channels that mean something.
    pub channels: u32,
    /// Channels as stored; those behind `channels` are zero.
    pub pitch: u32,
}

impl Activation {
    /// Elements of a batch as stored.
    pub const fn elements(&self, batch: u32) -> u64 {
        batch as u64 * self.side as u64 * self.side as u64 * self.pitch as u64
    }
}

/// What a kernel works on. `layer` counts the network's ops; its weights and bias are meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "cu/abi.h documents them")]
pub enum Work {
    /// `conv_*`, `conv_reduce` and `stem_*`.
    Conv { input: Buffer, layer: usize, residual: Option<Buffer>, output: Buffer, shape: ConvShape },
    /// `max_pool` and `global_average`.
    Pool { input: Buffer, output: Buffer, shape: PoolShape },
    /// `linear_1`.
    Linear { input: Buffer, layer: usize, output: Buffer, shape: LinearShape },
}

/// One kernel launch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Launch {
    /// Which kernel; its thread blocks have [`Kernel::threads`] threads.
    pub kernel: Kernel,
    /// Thread blocks in x, y and z.
    pub grid: [u32; 3],
    /// Dynamic shared memory in bytes.
    pub shared_bytes: u32,
    /// Its parameter.
    pub work: Work,
}

impl Launch {
    fn new(kernel: Kernel, gpu: &Gpu, work: Work) -> Self {
        Self { kernel, grid: grid_of(kernel, &work), shared_bytes: kernel.shared_bytes(gpu.capability), work }
    }
}

/// A block's launches, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlockPlan {
    /// The block's name.
    pub name: String,
    /// What it reads.
    pub input: Activation,
    /// What it leaves.
    pub output: Activation,
    /// Its kernels.
    pub launches: Vec<Launch>,
}

/// A network's launches at one size.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LaunchPlan {
    /// Images that go through at once.
    pub batch: u32,
    /// In the order in which they run.
    pub blocks: Vec<BlockPlan>,
    /// Bytes of every buffer.
    pub buffers: BTreeMap<Buffer, u64>,
    /// Bytes of the workspace in which split sums lie; 0 where nothing is split.
    pub workspace_bytes: u64,
}

impl LaunchPlan {
    /// Plans the launches of a network.
    ///
    /// # Errors
    /// A layer that no kernel serves, layers that do not fit each other, or a batch that takes a tensor beyond 2^31
    /// elements.
    pub fn new(blocks: &[OpBlock], size: Size, gpu: &Gpu) -> Result<Self, Error> {
        Self::with_tile(blocks, size, gpu, None)
    }

    /// The same with one tile for every convolution, split over as many thread blocks as asked for and as it has steps:
    /// for tests of tiles that this GPU's plans do not choose.
    ///
    /// # Errors
    /// As [`LaunchPlan::new`].
    pub fn with_tile(blocks: &[OpBlock], size: Size, gpu: &Gpu, tile: Option<(Tile, u32)>) -> Result<Self, Error> {
        let Some(Op::Conv(first)) = blocks.first().and_then(|block| block.ops.first()) else {
            return Err(Error::no_kernel("the network", "its first layer is no convolution"));
        };
        let image =
            Activation { buffer: Buffer::Image, side: first.side, channels: first.inputs, pitch: IMAGE_CHANNELS };
        let mut planner = Planner {
            batch: size.0,
            gpu,
            tile,
            layer: 0,
            buffers: BTreeMap::new(),
            workspace_bytes: 0,
            block: "the network",
        };
        planner.hold(image)?;
        let mut input = image;
        let mut planned = Vec::with_capacity(blocks.len());
        for (i, block) in blocks.iter().enumerate() {
            planner.block = &block.name;
            let block = planner.block(block, input, Buffer::Between((i % 2) as u8))?;
            input = block.output;
            planned.push(block);
        }
        let Planner { batch, buffers, workspace_bytes, .. } = planner;
        Ok(Self { batch, blocks: planned, buffers, workspace_bytes })
    }
}

struct Planner<'a> {
    batch: u32,
    gpu: &'a Gpu,
    /// In place of the choice.
    tile: Option<(Tile, u32)>,
    /// Counts the ops of the whole network.
    layer: usize,
    buffers: BTreeMap<Buffer, u64>,
    workspace_bytes: u64,
    /// The block's name, for errors.
    block: &'a str,
}

impl Planner<'_> {
    fn block(&mut self, block: &OpBlock, input: Activation, last: Buffer) -> Result<BlockPlan, Error> {
        let mut launches = Vec::new();
        let mut main = input;
        let mut shortcut = input;
        let count = block.ops.iter().filter(|op| !matches!(op, Op::Shortcut(_))).count();
        let mut done = 0;
        for op in &block.ops {
            // Everything that is still to be read.
            let live = [input.buffer, main.buffer, shortcut.buffer];
            match op {
                Op::Shortcut(c) => shortcut = self.conv(c, input, None, scratch(&live), &live, &mut launches)?,
                Op::Conv(c) => {
                    done += 1;
                    let output = if done == count { last } else { scratch(&live) };
                    let residual = c.residual.then_some(shortcut);
                    main = self.conv(c, main, residual, output, &live, &mut launches)?;
                }
                Op::Linear(l) => {
                    done += 1;
                    let output = if done == count { last } else { scratch(&live) };
                    main = self.linear(l, main, output, &mut launches)?;
                }
            }
            self.layer += 1;
        }
        if main.buffer != last {
            return Err(self.unserved("it ends with a shortcut"));
        }
        Ok(BlockPlan { name: block.name.clone(), input, output: main, launches })
    }

    /// A convolution, and the pooling behind it that is not fused. `live` are the buffers still to be read.
    fn conv(
        &mut self,
        c: &Conv,
        input: Activation,
        residual: Option<Activation>,
        output: Buffer,
        live: &[Buffer],
        launches: &mut Vec<Launch>,
    ) -> Result<Activation, Error> {
        if (input.side, input.channels) != (c.side, c.inputs) {
            return Err(self.unserved(format_args!("{c:?} does not fit its input {input:?}")));
        }
        let stem = input.buffer == Buffer::Image;
        let pool2 = !stem && !c.residual && c.pool == Some(Pool::Max { window: 2, stride: 2, pad: 0 });
        let fused = pool2 || c.pool.is_none();
        let convolved = Activation {
            buffer: if fused { output } else { scratch(&[live, &[output]].concat()) },
            side: if pool2 { c.pooled_side() } else { c.out_side() },
            channels: c.outputs,
            pitch: c.outputs,
        };
        if residual.is_some_and(|r| (r.side, r.pitch) != (convolved.side, convolved.pitch)) {
            return Err(self.unserved(format_args!("{c:?} does not fit its residual {residual:?}")));
        }
        self.hold(convolved)?;
        let shape = ConvShape {
            batch: self.batch,
            height: c.side,
            width: c.side,
            channels: input.pitch,
            out_height: c.out_side(),
            out_width: c.out_side(),
            out_channels: c.outputs,
            kernel: c.kernel,
            stride: c.stride,
            pad: c.pad,
            relu: c.relu.into(),
            pool2: pool2.into(),
            splits: 1,
            reserved: 0,
        };
        if stem {
            self.stem(c, shape, convolved.buffer, launches)?;
        } else {
            self.matrix(shape, input.buffer, residual.map(|r| r.buffer), convolved.buffer, launches)?;
        }
        if fused {
            return Ok(convolved);
        }
        let pooled = Activation { buffer: output, side: c.pooled_side(), ..convolved };
        self.hold(pooled)?;
        launches.push(self.pool(c, convolved, pooled));
        Ok(pooled)
    }

    fn stem(&self, c: &Conv, shape: ConvShape, output: Buffer, launches: &mut Vec<Launch>) -> Result<(), Error> {
        let found = STEMS.into_iter().find(|s| (s.kernel, s.stride) == (c.kernel, c.stride));
        let Some(stem) =
            found.filter(|_| c.inputs < IMAGE_CHANNELS && c.outputs.is_multiple_of(STEM_TILE[2]) && !c.residual)
        else {
            return Err(self.unserved(format_args!("no stem is compiled for {c:?}")));
        };
        let work = Work::Conv { input: Buffer::Image, layer: self.layer, residual: None, output, shape };
        launches.push(Launch::new(Kernel::Stem(stem), self.gpu, work));
        Ok(())
    }

    /// A convolution as a matrix product, split where the grid is too small for the GPU.
    fn matrix(
        &mut self,
        mut shape: ConvShape,
        input: Buffer,
        residual: Option<Buffer>,
        output: Buffer,
        launches: &mut Vec<Launch>,
    ) -> Result<(), Error> {
        let aligned = [shape.channels, shape.out_channels].iter().all(|n| n.is_multiple_of(CHANNEL_ALIGN));
        if !aligned || shape.kernel > CONV_KERNEL_MAX {
            return Err(self.unserved(format_args!("no convolution is compiled for {shape:?}")));
        }
        let (tile, splits) = match self.tile {
            None => tile::choose(&shape, self.gpu),
            Some((tile, splits)) => (tile, splits.clamp(1, tile::steps(&shape, tile))),
        };
        shape.splits = splits;
        let work = Work::Conv { input, layer: self.layer, residual, output, shape };
        launches.push(Launch::new(Kernel::Conv(tile), self.gpu, work));
        if splits > 1 {
            let floats = u64::from(splits) * u64::from(shape.rows()) * u64::from(shape.out_channels);
            self.workspace_bytes = self.workspace_bytes.max(4 * floats);
            launches.push(Launch::new(Kernel::ConvReduce, self.gpu, work));
        }
        Ok(())
    }

    fn pool(&self, c: &Conv, from: Activation, to: Activation) -> Launch {
        let (kernel, window, stride, pad) = match c.pool {
            Some(Pool::Max { window, stride, pad }) => (Kernel::MaxPool, window, stride, pad),
            Some(Pool::GlobalAverage) | None => (Kernel::GlobalAverage, 0, 0, 0),
        };
        let shape = PoolShape {
            batch: self.batch,
            height: from.side,
            width: from.side,
            channels: from.pitch,
            out_height: to.side,
            out_width: to.side,
            window,
            stride,
            pad,
            reserved: 0,
        };
        Launch::new(kernel, self.gpu, Work::Pool { input: from.buffer, output: to.buffer, shape })
    }

    fn linear(
        &mut self,
        l: &Linear,
        input: Activation,
        output: Buffer,
        launches: &mut Vec<Launch>,
    ) -> Result<Activation, Error> {
        if input.side * input.side * input.channels != l.inputs || input.pitch != input.channels {
            return Err(self.unserved(format_args!("{l:?} does not fit its input {input:?}")));
        }
        let pitch = if self.batch == 1 { l.outputs } else { l.outputs.next_multiple_of(CHANNEL_ALIGN) };
        let out = Activation { buffer: output, side: 1, channels: l.outputs, pitch };
        self.hold(out)?;
        if self.batch > 1 {
            let shape = ConvShape {
                batch: self.batch,
                height: 1,
                width: 1,
                channels: l.inputs,
                out_height: 1,
                out_width: 1,
                out_channels: pitch,
                kernel: 1,
                stride: 1,
                relu: l.relu.into(),
                splits: 1,
                ..ConvShape::default()
            };
            self.matrix(shape, input.buffer, None, output, launches)?;
        } else if l.inputs.is_multiple_of(CHANNEL_ALIGN) {
            let shape = LinearShape { inputs: l.inputs, outputs: l.outputs, relu: l.relu.into(), reserved: 0 };
            let work = Work::Linear { input: input.buffer, layer: self.layer, output, shape };
            launches.push(Launch::new(Kernel::Linear1, self.gpu, work));
        } else {
            return Err(self.unserved(format_args!("{l:?} has inputs that are no multiple of {CHANNEL_ALIGN}")));
        }
        Ok(out)
    }

    /// Makes an activation's buffer large enough for it.
    fn hold(&mut self, activation: Activation) -> Result<(), Error> {
        let elements = activation.elements(self.batch);
        if self.batch == 0 || elements >= 1 << 31 {
            return Err(self.unserved(format_args!("a batch of {} makes {elements} elements", self.batch)));
        }
        let bytes = self.buffers.entry(activation.buffer).or_default();
        *bytes = (*bytes).max(2 * elements);
        Ok(())
    }

    fn unserved(&self, why: impl std::fmt::Display) -> Error {
        Error::no_kernel(self.block, why)
    }
}

/// The first scratch buffer that is not among those still to be read.
fn scratch(live: &[Buffer]) -> Buffer {
    (0..=live.len() as u8).map(Buffer::Scratch).find(|b| !live.contains(b)).unwrap_or(Buffer::Scratch(0))
}

#[cfg(test)]
mod tests;
