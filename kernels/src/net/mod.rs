//! The networks: AlexNet, VGG19 and ResNet152 as their convolutions and fully connected layers, grouped into blocks,
//! and the virtual workloads `robot-frame` and `language-model`.
//!
//! Batch norm is folded into the weights; activation, pooling and the residual addition belong to the layer they
//! follow, as the kernels fuse them. Work is counted for fp16: two bytes an element, each layer reading its input
//! and weights and writing its output once.

mod alexnet;
mod language_model;
mod resnet152;
mod robot_frame;
mod vgg19;

use jetpace_tables::work::{Block, Layer, Network};
use serde::{Deserialize, Serialize};

/// Bytes of one fp16 element.
const ELEMENT: u64 = 2;

/// Pooling fused behind a convolution.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Pool {
    /// Largest of a `window` x `window` square every `stride` elements, `pad` elements added on each side.
    Max {
        /// Side of the square.
        window: u32,
        /// Step between squares.
        stride: u32,
        /// Elements added on each side, never the largest.
        pad: u32,
    },
    /// Mean over the whole square: one element per channel.
    GlobalAverage,
}

/// A two-dimensional convolution on a square input, with what is fused behind it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub struct Conv {
    /// Input channels.
    pub inputs: u32,
    /// Output channels.
    pub outputs: u32,
    /// Side of the square kernel.
    pub kernel: u32,
    /// Step.
    pub stride: u32,
    /// Zeros added on each side.
    pub pad: u32,
    /// Height and width of the input.
    pub side: u32,
    /// Rectified behind the bias and the residual.
    pub relu: bool,
    /// Adds the block's shortcut before rectifying.
    pub residual: bool,
    /// Pooled behind everything else.
    pub pool: Option<Pool>,
}

impl Conv {
    /// A convolution that keeps what is not named: stride 1, no padding, rectified, nothing fused besides.
    const fn new(inputs: u32, outputs: u32, kernel: u32, side: u32) -> Self {
        Self { inputs, outputs, kernel, stride: 1, pad: 0, side, relu: true, residual: false, pool: None }
    }

    /// Height and width behind the convolution, before pooling.
    pub const fn out_side(&self) -> u32 {
        (self.side + 2 * self.pad - self.kernel) / self.stride + 1
    }

    /// Height and width behind the pooling.
    pub const fn pooled_side(&self) -> u32 {
        let side = self.out_side();
        match self.pool {
            None => side,
            Some(Pool::Max { window, stride, pad }) => (side + 2 * pad - window) / stride + 1,
            Some(Pool::GlobalAverage) => 1,
        }
    }
}

/// A fully connected layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub struct Linear {
    /// Elements in.
    pub inputs: u32,
    /// Elements out.
    pub outputs: u32,
    /// Rectified behind the bias.
    pub relu: bool,
}

/// One layer of a network that has kernels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Op {
    /// A convolution.
    Conv(Conv),
    /// A convolution of the block's input that becomes its residual; it runs beside the main path.
    Shortcut(Conv),
    /// A fully connected layer.
    Linear(Linear),
}

impl Op {
    /// Its work at size 1.
    pub fn layer(&self) -> Layer {
        match *self {
            Op::Conv(c) | Op::Shortcut(c) => {
                let square = |side: u32| u64::from(side) * u64::from(side);
                let filter = u64::from(c.inputs) * square(c.kernel);
                let outputs = u64::from(c.outputs);
                let computed = outputs * square(c.out_side());
                let read = u64::from(c.inputs) * square(c.side) + if c.residual { computed } else { 0 };
                Layer {
                    flops: 2 * computed * filter,
                    weight_bytes: ELEMENT * outputs * (filter + 1),
                    activation_bytes: ELEMENT * (read + outputs * square(c.pooled_side())),
                }
            }
            Op::Linear(l) => {
                let (inputs, outputs) = (u64::from(l.inputs), u64::from(l.outputs));
                Layer {
                    flops: 2 * inputs * outputs,
                    weight_bytes: ELEMENT * outputs * (inputs + 1),
                    activation_bytes: ELEMENT * (inputs + outputs),
                }
            }
        }
    }
}

/// A block with the layers that its kernels need.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OpBlock {
    /// Unique within its network.
    pub name: String,
    /// In the order in which they run; a [`Op::Shortcut`] takes the block's input.
    pub ops: Vec<Op>,
}

/// The names that `--net` knows; those ending in `-32` take CIFAR-10's 32 x 32 images and give 10 classes.
pub const NAMES: [&str; 8] =
    ["alexnet", "vgg19", "resnet152", "alexnet-32", "vgg19-32", "resnet152-32", "robot-frame", "language-model"];

/// The blocks of a network that has kernels; `None` for another name, the virtual workloads included.
pub fn ops(name: &str) -> Option<Vec<OpBlock>> {
    Some(match name {
        "alexnet" => alexnet::blocks(1000),
        // AlexNet's graph takes no 32 x 32 image, so the image is scaled up to 224 x 224 first.
        "alexnet-32" => alexnet::blocks(10),
        "vgg19" => vgg19::imagenet(),
        "vgg19-32" => vgg19::cifar(),
        "resnet152" => resnet152::imagenet(),
        "resnet152-32" => resnet152::cifar(),
        _ => return None,
    })
}

/// A built-in network by its name.
pub fn network(name: &str) -> Option<Network> {
    let blocks = match ops(name) {
        Some(blocks) => {
            blocks.into_iter().map(|b| Block { name: b.name, layers: b.ops.iter().map(Op::layer).collect() }).collect()
        }
        None if name == "robot-frame" => robot_frame::blocks(),
        None if name == "language-model" => language_model::blocks(),
        None => return None,
    };
    Some(Network { name: name.to_owned(), blocks })
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Totals {
        layers: usize,
        gflop: f64,
        weight_mb: f64,
        moved_mb: f64,
    }

    fn totals(name: &str) -> Totals {
        let net = network(name).unwrap();
        let sum = |f: fn(&Layer) -> u64| net.layers().map(f).sum::<u64>() as f64;
        Totals {
            layers: net.layers().count(),
            gflop: sum(|l| l.flops) / 1e9,
            weight_mb: sum(|l| l.weight_bytes) / 1e6,
            moved_mb: sum(|l| l.weight_bytes + l.activation_bytes) / 1e6,
        }
    }

    fn assert_within_1_percent(name: &str, layers: usize, gflop: f64, weight_mb: f64, moved_mb: f64) {
        let t = totals(name);
        assert_eq!(t.layers, layers, "{name}");
        for (what, got, want) in
            [("GFLOP", t.gflop, gflop), ("weights", t.weight_mb, weight_mb), ("moved", t.moved_mb, moved_mb)]
        {
            assert!((got / want - 1.0).abs() < 0.01, "{name}: {what} {got}, want {want}");
        }
    }

    #[test]
    fn alexnet_totals() {
        // Multiply-adds: conv 64*55*55*363 + 192*27*27*1600 + 384*13*13*1728 + 256*13*13*3456 + 256*13*13*2304
        // = 70.28 + 223.95 + 112.14 + 149.52 + 99.68 M; fc 9216*4096 + 4096*4096 + 4096*1000 = 58.62 M;
        // 714.19 M in all, 1.428 GFLOP. Weights 61.1 M.
        assert_within_1_percent("alexnet", 8, 1.428, 122.2, 123.3);
        // Only the last layer shrinks, from 1000 classes to 10: 4096*990 multiply-adds and weights less.
        assert_within_1_percent("alexnet-32", 8, 1.428 - 0.00811, 122.2 - 8.11, 123.3 - 8.11);
    }

    #[test]
    fn vgg19_totals() {
        // Multiply-adds: stages 1.937 + 2.775 + 6.474 + 6.474 + 1.850 G (each 3x3: out*side^2*in*9), fc 0.1236 G;
        // 19.63 G in all, 39.26 GFLOP. Weights: conv 20.02 M, fc 123.6 M.
        assert_within_1_percent("vgg19", 19, 39.26, 287.3, 328.7);
        // At 32 px the convolutions shrink by 49 (0.3982 G multiply-adds), one layer of 512*10 behind the average:
        // 0.797 GFLOP; weights 20.02 M + 5130.
        assert_within_1_percent("vgg19-32", 17, 0.797, 40.06, 40.9);
    }

    #[test]
    fn resnet152_totals() {
        // Multiply-adds: stem 118.0 M; first units 231.2 + 3 x 372.5 M, 46 further ones of 218.4 M, fc 2.0 M:
        // 11.51 G in all, 23.03 GFLOP. Weights 60.1 M.
        assert_within_1_percent("resnet152", 156, 23.03, 120.2, 234.6);
        // CIFAR stem: 3x3, stride 1, no pooling: sides 32, 32, 16, 8, 4, so every unit costs (32/56)^2 of the above:
        // (11.51 - 0.120) * 0.32653 + 0.00177 = 3.721 G multiply-adds; 7.44 GFLOP. Weights 60.1 - 2.03 = 58.1 M.
        assert_within_1_percent("resnet152-32", 156, 7.44, 116.2, 153.4);
    }

    #[test]
    fn robot_frame_totals() {
        // Each phase's own numbers are derived in robot_frame.rs: 1 + 5 + 1 + 1 + 16 blocks.
        let net = network("robot-frame").unwrap();
        let names: Vec<_> = net.blocks.iter().map(|b| b.name.as_str()).collect();
        assert_eq!(names[0], "preprocess");
        // 0.25 + 320 + 12 + 2*1.1e9*192/1e9 + 16*2*1.1 = 789.85 GFLOP.
        assert!((totals("robot-frame").gflop / 789.85 - 1.0).abs() < 0.01, "{}", totals("robot-frame").gflop);
    }

    #[test]
    fn block_names_are_unique() {
        for name in NAMES {
            let mut names: Vec<_> = network(name).unwrap().blocks.into_iter().map(|b| b.name).collect();
            let count = names.len();
            names.sort();
            names.dedup();
            assert_eq!(names.len(), count, "{name}");
        }
        assert_eq!(network("resnet152").unwrap().blocks.len(), 52);
        assert_eq!(network("vgg19").unwrap().blocks.len(), 8);
        assert!(network("lenet").is_none());
    }
}
