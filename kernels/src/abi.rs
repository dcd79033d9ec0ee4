//! The launcher's side of `cu/abi.h`: constants, kernel names and the ints of their parameters. A test compares every
//! constant with the header.

use crate::cubin::Capability;

/// Channels of an activation are padded with zeros to a multiple of this.
pub const CHANNEL_ALIGN: u32 = 8;
/// Channels of the network's image: red, green, blue, zero.
pub const IMAGE_CHANNELS: u32 = 4;
/// Largest side of a filter that the convolutions take; the stems have their own.
pub const CONV_KERNEL_MAX: u32 = 5;

const CONV_THREADS: u32 = 128;
const STEM_THREADS: u32 = 128;
const POINTWISE_THREADS: u32 = 256;
const AVERAGE_THREADS: u32 = 256;
const LINEAR_THREADS: u32 = 128;

/// Output rows, columns and channels of a stem's thread block.
pub const STEM_TILE: [u32; 3] = [8, 16, 64];
/// Outputs of one thread block of `linear_1`.
pub const LINEAR_OUTPUTS: u32 = 4;
/// Channels of one thread of the pointwise kernels.
pub const POINTWISE_CHANNELS: u32 = 8;
/// Channels of one image that a thread block of `global_average` does.
pub const AVERAGE_CHANNELS: u32 = 256;

/// A shape in which `conv_*` is compiled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Tile {
    /// Output pixels of a thread block.
    pub rows: u32,
    /// Output channels of a thread block.
    pub channels: u32,
    /// Warps along the pixels and along the channels; each reads its pixels' and its channels' operands by itself.
    pub warps: [u32; 2],
    /// Input channels in one step of the inner loop.
    pub step: u32,
    /// Dynamic shared memory in bytes.
    pub shared: u32,
    /// The same on sm_72, which has no asynchronous copies to hold buffers for.
    pub shared_sm72: u32,
}

const fn tile(rows: u32, channels: u32, warps: [u32; 2], step: u32, shared: u32, shared_sm72: u32) -> Tile {
    Tile { rows, channels, warps, step, shared, shared_sm72 }
}

/// Every shape, the largest first.
pub const TILES: [Tile; 6] = [
    tile(256, 64, [4, 1], 32, 81920, 51200),
    tile(128, 128, [2, 2], 32, 65536, 40960),
    tile(128, 64, [2, 2], 32, 49152, 30720),
    tile(64, 128, [2, 2], 32, 49152, 30720),
    tile(64, 64, [2, 2], 64, 49152, 36864),
    tile(32, 64, [2, 2], 64, 36864, 27648),
];

/// A first convolution: three channels, large filters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Stem {
    /// Side of the filter.
    pub kernel: u32,
    /// Step.
    pub stride: u32,
    /// Elements of one filter row as stored.
    pub row: u32,
}

/// Every stem.
pub const STEMS: [Stem; 3] = [
    Stem { kernel: 3, stride: 1, row: 16 },
    Stem { kernel: 7, stride: 2, row: 32 },
    Stem { kernel: 11, stride: 4, row: 48 },
];

/// A kernel of the cubins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kernel {
    /// A convolution on tensor cores.
    Conv(Tile),
    /// Sums what a split convolution left in the workspace, with everything that is fused behind it.
    ConvReduce,
    /// A first convolution.
    Stem(Stem),
    /// A maximum over windows.
    MaxPool,
    /// The mean over an image.
    GlobalAverage,
    /// A fully connected layer at batch 1.
    Linear1,
}

impl Kernel {
    /// Every kernel that a launch plan may use.
    pub fn all() -> impl Iterator<Item = Self> {
        let single = [Self::ConvReduce, Self::MaxPool, Self::GlobalAverage, Self::Linear1];
        TILES.into_iter().map(Self::Conv).chain(STEMS.into_iter().map(Self::Stem)).chain(single)
    }

    /// Its name in the cubin.
    pub fn name(self) -> String {
        match self {
            Self::Conv(tile) => format!("conv_{}x{}", tile.rows, tile.channels),
            Self::ConvReduce => "conv_reduce".to_owned(),
            Self::Stem(stem) => format!("stem_{0}x{0}", stem.kernel),
            Self::MaxPool => "max_pool".to_owned(),
            Self::GlobalAverage => "global_average".to_owned(),
            Self::Linear1 => "linear_1".to_owned(),
        }
    }

    /// Dynamic shared memory in bytes on a GPU of this capability.
    pub fn shared_bytes(self, capability: Capability) -> u32 {
        match self {
            Self::Conv(tile) if capability == Capability::SM_72 => tile.shared_sm72,
            Self::Conv(tile) => tile.shared,
            _ => 0,
        }
    }

    /// Threads of a thread block.
    pub const fn threads(self) -> u32 {
        match self {
            Self::Conv(_) => CONV_THREADS,
            Self::Stem(_) => STEM_THREADS,
            Self::ConvReduce | Self::MaxPool => POINTWISE_THREADS,
            Self::GlobalAverage => AVERAGE_THREADS,
            Self::Linear1 => LINEAR_THREADS,
        }
    }
}

/// The ints of `JpConv`, behind its six pointers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
#[expect(missing_docs, reason = "cu/abi.h documents them")]
pub struct ConvShape {
    pub batch: u32,
    pub height: u32,
    pub width: u32,
    pub channels: u32,
    pub out_height: u32,
    pub out_width: u32,
    pub out_channels: u32,
    pub kernel: u32,
    pub stride: u32,
    pub pad: u32,
    pub relu: u32,
    pub pool2: u32,
    pub splits: u32,
    pub reserved: u32,
}

impl ConvShape {
    /// In the header's order.
    pub const fn ints(&self) -> [u32; 14] {
        let Self { batch, height, width, channels, out_height, out_width, out_channels, .. } = *self;
        let Self { kernel, stride, pad, relu, pool2, splits, reserved, .. } = *self;
        [
            batch,
            height,
            width,
            channels,
            out_height,
            out_width,
            out_channels,
            kernel,
            stride,
            pad,
            relu,
            pool2,
            splits,
            reserved,
        ]
    }

    /// From [`ConvShape::ints`].
    pub const fn from_ints(ints: [u32; 14]) -> Self {
        let [batch, height, width, channels, out_height, out_width, out_channels, rest @ ..] = ints;
        let [kernel, stride, pad, relu, pool2, splits, reserved] = rest;
        Self {
            batch,
            height,
            width,
            channels,
            out_height,
            out_width,
            out_channels,
            kernel,
            stride,
            pad,
            relu,
            pool2,
            splits,
            reserved,
        }
    }

    /// Rows of the matrix product: output pixels, those that a fused 2x2 maximum drops left out.
    pub const fn rows(&self) -> u32 {
        match self.pool2 {
            0 => self.batch * self.out_height * self.out_width,
            _ => self.batch * (self.out_height / 2) * (self.out_width / 2) * 4,
        }
    }

    /// Elements of the output, behind a fused maximum.
    pub const fn outputs(&self) -> u32 {
        let pixels = if self.pool2 == 0 { self.rows() } else { self.rows() / 4 };
        pixels * self.out_channels
    }
}

/// The ints of `JpPool`, behind its two pointers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
#[expect(missing_docs, reason = "cu/abi.h documents them")]
pub struct PoolShape {
    pub batch: u32,
    pub height: u32,
    pub width: u32,
    pub channels: u32,
    pub out_height: u32,
    pub out_width: u32,
    pub window: u32,
    pub stride: u32,
    pub pad: u32,
    pub reserved: u32,
}

impl PoolShape {
    /// In the header's order.
    pub const fn ints(&self) -> [u32; 10] {
        let Self { batch, height, width, channels, out_height, out_width, window, stride, pad, reserved } = *self;
        [batch, height, width, channels, out_height, out_width, window, stride, pad, reserved]
    }

    /// From [`PoolShape::ints`].
    pub const fn from_ints(ints: [u32; 10]) -> Self {
        let [batch, height, width, channels, out_height, out_width, window, stride, pad, reserved] = ints;
        Self { batch, height, width, channels, out_height, out_width, window, stride, pad, reserved }
    }
}

/// The ints of `JpLinear`, behind its four pointers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
#[expect(missing_docs, reason = "cu/abi.h documents them")]
pub struct LinearShape {
    pub inputs: u32,
    pub outputs: u32,
    pub relu: u32,
    pub reserved: u32,
}

impl LinearShape {
    /// In the header's order.
    pub const fn ints(&self) -> [u32; 4] {
        [self.inputs, self.outputs, self.relu, self.reserved]
    }

    /// From [`LinearShape::ints`].
    pub const fn from_ints([inputs, outputs, relu, reserved]: [u32; 4]) -> Self {
        Self { inputs, outputs, relu, reserved }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    #[test]
    fn every_constant_is_the_headers() {
        let mut header = BTreeMap::new();
        for line in include_str!("../cu/abi.h").lines() {
            let mut words = line.split_whitespace();
            if let (Some("#define"), Some(name), Some(value)) = (words.next(), words.next(), words.next()) {
                header.insert(name.to_owned(), value.parse::<u32>().unwrap());
            }
        }
        assert_eq!(header.remove("JP_ABI_VERSION"), Some(1), "read the header's changes, then raise this");
        let mut ours: BTreeMap<String, u32> = [
            ("JP_CHANNEL_ALIGN", CHANNEL_ALIGN),
            ("JP_IMAGE_CHANNELS", IMAGE_CHANNELS),
            ("JP_CONV_KERNEL_MAX", CONV_KERNEL_MAX),
            ("JP_CONV_THREADS", CONV_THREADS),
            ("JP_STEM_THREADS", STEM_THREADS),
            ("JP_STEM_ROWS", STEM_TILE[0]),
            ("JP_STEM_COLS", STEM_TILE[1]),
            ("JP_STEM_CHANNELS", STEM_TILE[2]),
            ("JP_POINTWISE_THREADS", POINTWISE_THREADS),
            ("JP_POINTWISE_CHANNELS", POINTWISE_CHANNELS),
            ("JP_AVERAGE_THREADS", AVERAGE_THREADS),
            ("JP_AVERAGE_CHANNELS", AVERAGE_CHANNELS),
            ("JP_LINEAR_THREADS", LINEAR_THREADS),
            ("JP_LINEAR_OUTPUTS", LINEAR_OUTPUTS),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .into();
        for tile in TILES {
            let prefix = format!("JP_{}", Kernel::Conv(tile).name().to_uppercase());
            ours.insert(format!("{prefix}_K"), tile.step);
            // As conv.cu compiles it.
            let [rows, columns] = tile.warps;
            let compiled = format!("JP_CONV({}, {}, {rows}, {columns}, ", tile.rows, tile.channels);
            assert!(include_str!("../cu/conv.cu").contains(&compiled), "{compiled}");
            ours.insert(format!("{prefix}_SHARED"), tile.shared);
            ours.insert(format!("{prefix}_SHARED_SM72"), tile.shared_sm72);
        }
        for stem in STEMS {
            ours.insert(format!("JP_{}_ROW", Kernel::Stem(stem).name().to_uppercase()), stem.row);
        }
        assert_eq!(ours, header);
    }

    #[test]
    fn rows_and_outputs_follow_the_fused_maximum() {
        let shape = ConvShape { batch: 2, out_height: 5, out_width: 5, out_channels: 8, ..ConvShape::default() };
        assert_eq!((shape.rows(), shape.outputs()), (50, 400));
        let pooled = ConvShape { pool2: 1, ..shape };
        assert_eq!((pooled.rows(), pooled.outputs()), (2 * 2 * 2 * 4, 2 * 2 * 2 * 8));
    }
}
