//! Weights as the kernels read them: fp16, the reduced dimension innermost, padded with zeros.

use half::f16;

use crate::abi::{CHANNEL_ALIGN, IMAGE_CHANNELS, STEMS, Stem};
use crate::error::Error;
use crate::net::{Op, OpBlock};
use crate::weights::Params;

/// How a layer's weights lie in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// `[row][output][column][channel]`, four channels, filter rows padded as the stem says.
    Stem(Stem),
    /// `[output][row][column][channel]`.
    Matrix,
    /// `[output][pixel][channel]`, outputs padded to a multiple of 8; the field is the channels of the input image.
    Linear(u32),
}

/// A layer's weights and bias, ready to be copied to the GPU.
#[derive(Clone, Debug, PartialEq)]
pub struct Packed {
    /// fp16.
    pub weights: Vec<u16>,
    /// fp32, padded like the outputs.
    pub bias: Vec<f32>,
}

/// Every layer with its layout, in order.
pub fn layouts(blocks: &[OpBlock]) -> Vec<(Op, Layout)> {
    let mut channels = 0;
    let ops = blocks.iter().flat_map(|block| &block.ops).enumerate();
    let with_layout = ops.map(|(i, op)| {
        let layout = match op {
            Op::Linear(l) => Layout::Linear(if channels == 0 { l.inputs } else { channels }),
            Op::Conv(c) | Op::Shortcut(c) => STEMS
                .into_iter()
                .find(|s| i == 0 && (s.kernel, s.stride) == (c.kernel, c.stride))
                .map_or(Layout::Matrix, Layout::Stem),
        };
        channels = match op {
            Op::Linear(l) => l.outputs,
            Op::Conv(c) | Op::Shortcut(c) => c.outputs,
        };
        (*op, layout)
    });
    with_layout.collect()
}

/// Puts a layer's weights into their layout.
///
/// # Errors
/// A weight is beyond the range of fp16.
pub fn pack(op: &Op, layout: Layout, params: &Params) -> Result<Packed, Error> {
    let shape = Shape::of(op, layout);
    let mut weights = vec![0; shape.stored(layout)];
    for (i, weight) in params.weight.iter().enumerate() {
        let half = f16::from_f32(*weight);
        if !half.is_finite() {
            return Err(Error::TooLarge { weight: *weight });
        }
        weights[shape.place(layout, i)] = half.to_bits();
    }
    let mut bias = params.bias.clone();
    bias.resize(shape.outputs.next_multiple_of(CHANNEL_ALIGN as usize), 0.0);
    Ok(Packed { weights, bias })
}

/// A layer's weights as torch counts them: output, channel, tap. A fully connected layer's taps are the pixels of the
/// image in front of it.
struct Shape {
    outputs: usize,
    channels: usize,
    taps: usize,
    /// Taps in a row of the filter.
    row: usize,
}

impl Shape {
    fn of(op: &Op, layout: Layout) -> Self {
        let shape = |outputs: u32, channels: u32, taps: u32, row: u32| {
            let [outputs, channels, taps, row] = [outputs, channels, taps, row].map(|n| n as usize);
            Self { outputs, channels, taps, row }
        };
        match (*op, layout) {
            (Op::Conv(c) | Op::Shortcut(c), _) => shape(c.outputs, c.inputs, c.kernel * c.kernel, c.kernel),
            (Op::Linear(l), Layout::Linear(channels)) => shape(l.outputs, channels, l.inputs / channels, 1),
            (Op::Linear(l), _) => shape(l.outputs, l.inputs, 1, 1),
        }
    }

    /// Elements in memory, padding included.
    fn stored(&self, layout: Layout) -> usize {
        match layout {
            Layout::Stem(stem) => self.row * self.outputs * stem.row as usize,
            Layout::Matrix => self.outputs * self.taps * self.channels,
            Layout::Linear(_) => self.outputs.next_multiple_of(CHANNEL_ALIGN as usize) * self.taps * self.channels,
        }
    }

    /// Where weight `i` of torch's goes.
    fn place(&self, layout: Layout, i: usize) -> usize {
        let (tap, rest) = (i % self.taps, i / self.taps);
        let (channel, output) = (rest % self.channels, rest / self.channels);
        match layout {
            Layout::Stem(stem) => {
                let (row, column) = (tap / self.row, tap % self.row);
                (row * self.outputs + output) * stem.row as usize + column * IMAGE_CHANNELS as usize + channel
            }
            Layout::Matrix | Layout::Linear(_) => (output * self.taps + tap) * self.channels + channel,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::{self, Conv, Linear};

    fn params(count: usize, outputs: usize) -> Params {
        Params { weight: (0..count).map(|i| i as f32).collect(), bias: vec![0.5; outputs] }
    }

    fn floats(packed: &Packed) -> Vec<f32> {
        packed.weights.iter().map(|bits| f16::from_bits(*bits).to_f32()).collect()
    }

    fn conv(inputs: u32, outputs: u32, kernel: u32) -> Conv {
        Conv { inputs, outputs, kernel, stride: 1, pad: 0, side: 8, relu: true, residual: false, pool: None }
    }

    #[test]
    fn a_convolutions_channels_come_last() {
        // Two channels, 2x2: torch counts the four taps of channel 0, then those of channel 1.
        let packed = pack(&Op::Conv(conv(2, 1, 2)), Layout::Matrix, &params(8, 1)).unwrap();
        assert_eq!(floats(&packed), [0.0, 4.0, 1.0, 5.0, 2.0, 6.0, 3.0, 7.0]);
        assert_eq!(packed.bias, [0.5, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]);
    }

    #[test]
    fn a_stems_rows_are_padded_and_outermost() {
        let packed = pack(&Op::Conv(conv(3, 2, 3)), Layout::Stem(STEMS[0]), &params(2 * 27, 2)).unwrap();
        let got = floats(&packed);
        assert_eq!(got.len(), 3 * 2 * 16);
        // Row 1 of output 0: taps (1, 0..3) of channels 0, 1, 2 are 3 + c, 12 + c, 21 + c in torch's order.
        assert_eq!(got[32..48], [3., 12., 21., 0., 4., 13., 22., 0., 5., 14., 23., 0., 0., 0., 0., 0.]);
        // Row 0 of output 1 lies behind row 0 of output 0.
        assert_eq!(got[16..20], [27.0, 36.0, 45.0, 0.0]);
    }

    #[test]
    fn a_linear_layer_follows_its_images_layout() {
        // Two channels of 2 pixels (one row of a picture would do as well): torch counts pixels innermost.
        let op = Op::Linear(Linear { inputs: 4, outputs: 1, relu: false });
        let packed = pack(&op, Layout::Linear(2), &params(4, 1)).unwrap();
        assert_eq!(floats(&packed)[..4], [0.0, 2.0, 1.0, 3.0]);
        assert_eq!(packed.weights.len(), 8 * 4);
    }

    #[test]
    fn layouts_follow_the_network() {
        let of = |name: &str| layouts(&net::ops(name).unwrap()).into_iter().map(|(_, layout)| layout);
        assert_eq!(of("alexnet").next(), Some(Layout::Stem(STEMS[2])));
        let linears = [Layout::Linear(256), Layout::Linear(4096), Layout::Linear(4096)];
        assert_eq!(of("alexnet").skip(5).collect::<Vec<_>>(), linears);
        assert_eq!(of("resnet152").next(), Some(Layout::Stem(STEMS[1])));
        assert_eq!(of("resnet152").next_back(), Some(Layout::Linear(2048)));
        assert_eq!(of("vgg19").filter(|layout| matches!(layout, Layout::Stem(_))).count(), 1);
    }

    #[test]
    fn a_weight_beyond_fp16_is_refused() {
        let mut large = params(8, 1);
        large.weight[3] = 70_000.0;
        let message = pack(&Op::Conv(conv(2, 1, 2)), Layout::Matrix, &large).unwrap_err().to_string();
        assert!(message.contains("70000"), "{message}");
    }
}
