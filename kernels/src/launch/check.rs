//! Whether a launch plan may be launched: every rule of cu/README.md, so that no kernel reads or writes outside its
//! buffers, whatever the plan says. Written apart from the planner, whose plans pass it in tests.

use std::collections::BTreeSet;
use std::collections::btree_map::{BTreeMap, Entry};

use super::grid::grid_of;
use super::{Activation, BlockPlan, Buffer, Launch, LaunchPlan, Work, tile};
use crate::abi::{
    CHANNEL_ALIGN, CONV_KERNEL_MAX, ConvShape, IMAGE_CHANNELS, Kernel, LinearShape, PoolShape, STEM_TILE,
};
use crate::cubin::Capability;

/// Elements of a tensor stay below this, as kernels count in 32 bits.
const MOST_ELEMENTS: u64 = 1 << 31;

/// No side, channel count or batch is larger; so that products of four stay within 64 bits.
const LARGEST: u32 = 1 << 16;

/// Thread blocks of a grid in y and z, on every GPU.
const MOST_BLOCKS: u32 = 65535;

/// What a layer's tensors must hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LayerSize {
    /// Elements of fp16.
    pub weights: u64,
    /// Elements of fp32.
    pub bias: u64,
}

impl LaunchPlan {
    /// The layers that the plan reads, by number.
    ///
    /// # Errors
    /// What must not be launched, with block and launch.
    pub fn check(&self, capability: Capability) -> Result<BTreeMap<usize, LayerSize>, String> {
        let mut checker = Checker { plan: self, capability, written: [Buffer::Image].into(), layers: BTreeMap::new() };
        let Some(first) = self.blocks.first() else { return Err("it has no blocks".to_owned()) };
        if first.input.buffer != Buffer::Image || first.input.pitch != IMAGE_CHANNELS || first.input.channels != 3 {
            return Err(format!("block {}: the first block reads the image, of 3 channels stored as 4", first.name));
        }
        let mut names = BTreeSet::new();
        let mut input = first.input;
        for block in &self.blocks {
            let name = &block.name;
            if name.is_empty() || !names.insert(name) {
                return Err(format!("block {name:?}: a block's name is its own"));
            }
            if block.input != input {
                return Err(format!("block {name}: it does not read what the block before it leaves"));
            }
            checker.block(block).map_err(|why| format!("block {name}: {why}"))?;
            input = block.output;
        }
        Ok(checker.layers)
    }
}

struct Checker<'a> {
    plan: &'a LaunchPlan,
    capability: Capability,
    written: BTreeSet<Buffer>,
    layers: BTreeMap<usize, LayerSize>,
}

impl Checker<'_> {
    fn block(&mut self, block: &BlockPlan) -> Result<(), String> {
        self.holds(&block.input)?;
        self.holds(&block.output)?;
        if block.launches.is_empty() {
            return Err("it launches nothing".to_owned());
        }
        for (i, launch) in block.launches.iter().enumerate() {
            let next = block.launches.get(i + 1);
            let before = i.checked_sub(1).and_then(|before| block.launches.get(before));
            self.launch(launch, before, next, block.input.buffer)
                .map_err(|why| format!("launch {i} ({}): {why}", launch.kernel.name()))?;
        }
        if !self.written.contains(&block.output.buffer) {
            return Err("nothing writes its output".to_owned());
        }
        Ok(())
    }

    fn launch(
        &mut self,
        launch: &Launch,
        before: Option<&Launch>,
        next: Option<&Launch>,
        block_input: Buffer,
    ) -> Result<(), String> {
        let wanted = launch.kernel.shared_bytes(self.capability);
        if launch.shared_bytes != wanted {
            return Err(format!("{} bytes of shared memory; it takes {wanted}", launch.shared_bytes));
        }
        let (input, output) = match (launch.kernel, launch.work) {
            (
                Kernel::Conv(_) | Kernel::ConvReduce | Kernel::Stem(_),
                Work::Conv { input, layer, residual, output, shape },
            ) => {
                self.conv(launch.kernel, &shape, residual)?;
                if shape.splits > 1 {
                    let (pair, what) = match launch.kernel {
                        Kernel::Conv(_) => (next, "is not followed by"),
                        _ => (before, "does not follow"),
                    };
                    let is_pair = |pair: &Launch| {
                        pair.work == launch.work
                            && matches!(pair.kernel, Kernel::Conv(_) | Kernel::ConvReduce)
                            && (pair.kernel == Kernel::ConvReduce) != (launch.kernel == Kernel::ConvReduce)
                    };
                    if !pair.is_some_and(is_pair) {
                        return Err(format!("{} splits, but it {what} the other half", shape.splits));
                    }
                }
                let elements = product([shape.batch, shape.height, shape.width, shape.channels])?;
                self.reads(input, elements)?;
                if let Some(residual) = residual {
                    self.reads(residual, shape.outputs().into())?;
                }
                self.writes(output, shape.outputs().into())?;
                self.layer(layer, conv_layer(launch.kernel, &shape))?;
                (input, output)
            }
            (Kernel::MaxPool | Kernel::GlobalAverage, Work::Pool { input, output, shape }) => {
                pool(launch.kernel, &shape)?;
                self.reads(input, product([shape.batch, shape.height, shape.width, shape.channels])?)?;
                self.writes(output, product([shape.batch, shape.out_height, shape.out_width, shape.channels])?)?;
                (input, output)
            }
            (Kernel::Linear1, Work::Linear { input, layer, output, shape }) => {
                linear(&shape)?;
                self.reads(input, shape.inputs.into())?;
                self.writes(output, shape.outputs.into())?;
                let weights = product([shape.inputs, shape.outputs, 1, 1])?;
                self.layer(layer, LayerSize { weights, bias: shape.outputs.into() })?;
                (input, output)
            }
            _ => return Err("it does not do such work".to_owned()),
        };
        if output == input || output == Buffer::Image || output == block_input {
            return Err("it writes what it or a repeat of its block still reads".to_owned());
        }
        let grid = grid_of(launch.kernel, &launch.work);
        if launch.grid != grid {
            return Err(format!("grid {:?}; its work takes {grid:?}", launch.grid));
        }
        if grid[1] > MOST_BLOCKS || grid[2] > MOST_BLOCKS {
            return Err(format!("grid {grid:?}; a GPU takes {MOST_BLOCKS} in y and z"));
        }
        self.written.insert(output);
        Ok(())
    }

    fn conv(&self, kernel: Kernel, s: &ConvShape, residual: Option<Buffer>) -> Result<(), String> {
        within(&s.ints())?;
        let out = |side: u32| (side + 2 * s.pad).checked_sub(s.kernel).map(|rest| rest / s.stride.max(1) + 1);
        let sides = out(s.height) == Some(s.out_height) && out(s.width) == Some(s.out_width);
        let flags = s.relu <= 1 && s.pool2 <= 1 && s.reserved == 0 && s.splits >= 1;
        if s.batch != self.plan.batch || s.stride == 0 || s.kernel == 0 || s.pad >= s.kernel || !sides || !flags {
            return Err(format!("{s:?} does not fit together"));
        }
        if s.pool2 == 1 && (residual.is_some() || s.out_height < 2 || s.out_width < 2) {
            return Err("a fused maximum takes two rows and columns and no residual".to_owned());
        }
        product([s.batch, s.out_height, s.out_width, s.out_channels])?;
        match kernel {
            Kernel::Stem(stem) => {
                let fits = (s.kernel, s.stride, s.channels) == (stem.kernel, stem.stride, IMAGE_CHANNELS);
                let plain = residual.is_none() && s.pool2 == 0 && s.splits == 1;
                if !fits || !plain || !s.out_channels.is_multiple_of(STEM_TILE[2]) || s.out_channels == 0 {
                    return Err(format!("{s:?} is not what it computes"));
                }
            }
            _ => {
                let aligned = |n: u32| n > 0 && n.is_multiple_of(CHANNEL_ALIGN);
                if !aligned(s.channels) || !aligned(s.out_channels) || s.kernel > CONV_KERNEL_MAX {
                    return Err(format!("{s:?} is not what it computes"));
                }
                if let Kernel::Conv(tile) = kernel
                    && s.splits > tile::steps(s, tile)
                {
                    return Err(format!("{} splits of {} steps", s.splits, tile::steps(s, tile)));
                }
                if kernel == Kernel::ConvReduce && s.splits == 1 {
                    return Err("there is nothing to reduce".to_owned());
                }
            }
        }
        let floats = product([s.splits, s.rows(), s.out_channels, 1]).map_err(|_| "the workspace is too large")?;
        if s.splits > 1 && 4 * floats > self.plan.workspace_bytes {
            return Err(format!("a workspace of {} bytes; its sums take {}", self.plan.workspace_bytes, 4 * floats));
        }
        Ok(())
    }

    /// A layer's sizes; a layer that is launched twice is the same.
    fn layer(&mut self, layer: usize, size: LayerSize) -> Result<(), String> {
        match self.layers.entry(layer) {
            Entry::Vacant(new) => {
                new.insert(size);
                Ok(())
            }
            Entry::Occupied(known) if *known.get() == size => Ok(()),
            Entry::Occupied(_) => Err(format!("layer {layer} is another one elsewhere")),
        }
    }

    fn holds(&self, activation: &Activation) -> Result<(), String> {
        let Activation { buffer, side, channels, pitch } = *activation;
        within(&[side, pitch])?;
        if side == 0 || channels == 0 || channels > pitch {
            return Err(format!("{activation:?} is no activation"));
        }
        self.room(buffer, product([self.plan.batch, side, side, pitch])?)
    }

    fn room(&self, buffer: Buffer, elements: u64) -> Result<(), String> {
        match self.plan.buffers.get(&buffer) {
            None => Err(format!("there is no buffer {buffer:?}")),
            Some(bytes) if *bytes < 2 * elements => {
                Err(format!("{buffer:?} has {bytes} bytes; {} are used", 2 * elements))
            }
            Some(_) => Ok(()),
        }
    }

    fn reads(&self, buffer: Buffer, elements: u64) -> Result<(), String> {
        if !self.written.contains(&buffer) {
            return Err(format!("it reads {buffer:?}, which nothing has written"));
        }
        self.room(buffer, elements)
    }

    fn writes(&self, buffer: Buffer, elements: u64) -> Result<(), String> {
        self.room(buffer, elements)
    }
}

fn conv_layer(kernel: Kernel, s: &ConvShape) -> LayerSize {
    let [outputs, channels, side] = [s.out_channels, s.channels, s.kernel].map(u64::from);
    let weights = match kernel {
        Kernel::Stem(stem) => side * outputs * u64::from(stem.row),
        _ => outputs * side * side * channels,
    };
    LayerSize { weights, bias: outputs }
}

fn pool(kernel: Kernel, s: &PoolShape) -> Result<(), String> {
    within(&s.ints())?;
    let aligned = s.channels > 0 && s.channels.is_multiple_of(CHANNEL_ALIGN);
    let fits = if kernel == Kernel::GlobalAverage {
        (s.out_height, s.out_width) == (1, 1) && s.height > 0 && s.width > 0
    } else {
        let out = |side: u32| (side + 2 * s.pad).checked_sub(s.window).map(|rest| rest / s.stride.max(1) + 1);
        let sides = out(s.height) == Some(s.out_height) && out(s.width) == Some(s.out_width);
        sides && s.stride > 0 && s.window > 0 && s.pad < s.window
    };
    if !aligned || !fits || s.batch == 0 || s.reserved != 0 {
        return Err(format!("{s:?} does not fit together"));
    }
    Ok(())
}

fn linear(s: &LinearShape) -> Result<(), String> {
    if s.inputs == 0 || !s.inputs.is_multiple_of(CHANNEL_ALIGN) || s.outputs == 0 || s.relu > 1 || s.reserved != 0 {
        return Err(format!("{s:?} does not fit together"));
    }
    Ok(())
}

fn within(ints: &[u32]) -> Result<(), String> {
    match ints.iter().find(|int| **int > LARGEST) {
        Some(int) => Err(format!("{int} is beyond what is counted")),
        None => Ok(()),
    }
}

/// Elements of a tensor.
fn product(sides: [u32; 4]) -> Result<u64, String> {
    let elements = sides.iter().try_fold(1_u64, |all, side| all.checked_mul(u64::from(*side)));
    elements.filter(|elements| *elements < MOST_ELEMENTS).ok_or_else(|| format!("{sides:?} are 2^31 elements or more"))
}
