//! The networks in plain fp32 on the CPU: what the kernels are judged by. Nothing here is shared with them.

use crate::net::{Conv, Linear, Op, OpBlock, Pool};
use crate::weights::Params;

/// Activations of a batch: square images of `side` x `side`, channels innermost (NHWC), as on the GPU.
#[derive(Clone, Debug, PartialEq)]
pub struct Tensor {
    /// Images.
    pub batch: usize,
    /// Height and width.
    pub side: usize,
    /// Channels.
    pub channels: usize,
    /// `[batch][row][column][channel]`.
    pub data: Vec<f32>,
}

impl Tensor {
    /// All zeros.
    pub fn zeros(batch: usize, side: usize, channels: usize) -> Self {
        Self { batch, side, channels, data: vec![0.0; batch * side * side * channels] }
    }

    /// Where the channels of a pixel start.
    fn at(&self, image: usize, row: usize, column: usize) -> usize {
        ((image * self.side + row) * self.side + column) * self.channels
    }

    fn pixel(&self, image: usize, row: usize, column: usize) -> &[f32] {
        let at = self.at(image, row, column);
        &self.data[at..at + self.channels]
    }

    fn pixel_mut(&mut self, image: usize, row: usize, column: usize) -> &mut [f32] {
        let at = self.at(image, row, column);
        &mut self.data[at..at + self.channels]
    }

    fn each_pixel(&self) -> impl Iterator<Item = (usize, usize, usize)> + use<> {
        let (batch, side) = (self.batch, self.side);
        (0..batch).flat_map(move |n| (0..side).flat_map(move |y| (0..side).map(move |x| (n, y, x))))
    }
}

/// Runs a block. `params` holds one entry per op, in their order.
///
/// # Panics
/// If the shapes do not fit each other.
pub fn block(block: &OpBlock, params: &[Params], input: &Tensor) -> Tensor {
    let mut shortcut = input.clone();
    let mut main = input.clone();
    for (op, params) in block.ops.iter().zip(params) {
        match op {
            Op::Conv(c) => main = conv(c, params, &main, c.residual.then_some(&shortcut)),
            Op::Shortcut(c) => shortcut = conv(c, params, input, None),
            Op::Linear(l) => main = linear(l, params, &main),
        }
    }
    main
}

/// A convolution with what is fused behind it: bias, `residual`, rectifier, pooling.
///
/// # Panics
/// If the shapes do not fit each other.
pub fn conv(c: &Conv, params: &Params, input: &Tensor, residual: Option<&Tensor>) -> Tensor {
    let (inputs, outputs, kernel) = (c.inputs as usize, c.outputs as usize, c.kernel as usize);
    assert_eq!((input.side, input.channels), (c.side as usize, inputs), "input of {c:?}");
    // `[row][column][input][output]`, so that the innermost loop runs over neighbours in memory.
    let mut taps = vec![0.0; params.weight.len()];
    for (i, weight) in params.weight.iter().enumerate() {
        let (output, rest) = (i / (inputs * kernel * kernel), i % (inputs * kernel * kernel));
        let (channel, tap) = (rest / (kernel * kernel), rest % (kernel * kernel));
        taps[(tap * inputs + channel) * outputs + output] = *weight;
    }
    let mut out = Tensor::zeros(input.batch, c.out_side() as usize, outputs);
    for (n, y, x) in out.each_pixel() {
        let sums = out.pixel_mut(n, y, x);
        sums.copy_from_slice(&params.bias);
        for tap in 0..kernel * kernel {
            let inside = |at: usize, offset: usize| {
                (at * c.stride as usize + offset).checked_sub(c.pad as usize).filter(|i| *i < input.side)
            };
            let (Some(row), Some(column)) = (inside(y, tap / kernel), inside(x, tap % kernel)) else { continue };
            for (channel, value) in input.pixel(n, row, column).iter().enumerate() {
                let weights = &taps[(tap * inputs + channel) * outputs..][..outputs];
                sums.iter_mut().zip(weights).for_each(|(sum, w)| *sum += value * w);
            }
        }
        if let Some(residual) = residual {
            sums.iter_mut().zip(residual.pixel(n, y, x)).for_each(|(sum, r)| *sum += r);
        }
        if c.relu {
            sums.iter_mut().for_each(|sum| *sum = sum.max(0.0));
        }
    }
    match c.pool {
        None => out,
        Some(Pool::Max { window, stride, pad }) => {
            max_pool(&out, window as usize, stride as usize, pad as usize, c.pooled_side() as usize)
        }
        Some(Pool::GlobalAverage) => average(&out),
    }
}

fn max_pool(input: &Tensor, window: usize, stride: usize, pad: usize, side: usize) -> Tensor {
    let mut out = Tensor::zeros(input.batch, side, input.channels);
    out.data.fill(f32::NEG_INFINITY);
    for (n, y, x) in out.each_pixel() {
        for i in 0..window * window {
            let inside = |at: usize, offset: usize| (at * stride + offset).checked_sub(pad).filter(|i| *i < input.side);
            let (Some(row), Some(column)) = (inside(y, i / window), inside(x, i % window)) else { continue };
            let largest = out.pixel_mut(n, y, x).iter_mut().zip(input.pixel(n, row, column));
            largest.for_each(|(largest, value)| *largest = largest.max(*value));
        }
    }
    out
}

fn average(input: &Tensor) -> Tensor {
    let mut out = Tensor::zeros(input.batch, 1, input.channels);
    for (n, y, x) in input.each_pixel() {
        out.pixel_mut(n, 0, 0).iter_mut().zip(input.pixel(n, y, x)).for_each(|(sum, value)| *sum += value);
    }
    let pixels = (input.side * input.side) as f32;
    out.data.iter_mut().for_each(|sum| *sum /= pixels);
    out
}

/// A fully connected layer over a whole image, flattened as torch does: channel, row, column.
///
/// # Panics
/// If the shapes do not fit each other.
pub fn linear(l: &Linear, params: &Params, input: &Tensor) -> Tensor {
    let (inputs, outputs, pixels) = (l.inputs as usize, l.outputs as usize, input.side * input.side);
    assert_eq!(pixels * input.channels, inputs, "input of {l:?}");
    let mut out = Tensor::zeros(input.batch, 1, outputs);
    for n in 0..input.batch {
        let image = &input.data[n * inputs..][..inputs];
        for (o, weights) in params.weight.chunks_exact(inputs).enumerate() {
            // Eight sums, so that their additions need not wait for each other.
            let mut sums = [0.0; 8];
            for (channel, weights) in weights.chunks_exact(pixels).enumerate() {
                for (pixel, w) in weights.iter().enumerate() {
                    sums[(channel + pixel) % 8] += w * image[pixel * input.channels + channel];
                }
            }
            let sum = params.bias[o] + sums.iter().sum::<f32>();
            out.data[n * outputs + o] = if l.relu { sum.max(0.0) } else { sum };
        }
    }
    out
}

/// How far `got` is from `want`: the largest difference over the largest magnitude; infinite where a value of `got`
/// is not finite.
pub fn distance(got: &[f32], want: &[f32]) -> f32 {
    assert_eq!(got.len(), want.len(), "different shapes");
    let largest = want.iter().fold(f32::MIN_POSITIVE, |m, w| m.max(w.abs()));
    let differences = got.iter().zip(want).map(|(g, w)| if g.is_finite() { (g - w).abs() } else { f32::INFINITY });
    differences.fold(0.0, f32::max) / largest
}

/// How far `got` is from `want` on the whole: the root of the summed squares of the differences over that of `want`;
/// infinite where a value of `got` is not finite. One channel that is dead shows here, though it may hold no large value.
pub fn relative_l2(got: &[f32], want: &[f32]) -> f32 {
    assert_eq!(got.len(), want.len(), "different shapes");
    let square = |x: f32| if x.is_finite() { f64::from(x) * f64::from(x) } else { f64::INFINITY };
    let difference: f64 = got.iter().zip(want).map(|(g, w)| square(g - w)).sum();
    let whole: f64 = want.iter().map(|w| square(*w)).sum();
    (difference / whole.max(f64::MIN_POSITIVE)).sqrt() as f32
}

#[cfg(test)]
mod tests {
    use super::*;

    fn conv_of(inputs: u32, outputs: u32, kernel: u32, side: u32) -> Conv {
        Conv { inputs, outputs, kernel, stride: 1, pad: 0, side, relu: false, residual: false, pool: None }
    }

    fn tensor(side: usize, channels: usize, data: &[f32]) -> Tensor {
        let batch = data.len() / (side * side * channels);
        Tensor { batch, side, channels, data: data.to_vec() }
    }

    #[test]
    fn a_3x3_with_padding_and_stride_by_hand() {
        // One channel, 1..9, corner taps only: top left 1, bottom right 10. Output pixel (y, x) at stride 2 sits over
        // (2y - 1, 2x - 1): in[2y-1][2x-1] + 10 in[2y+1][2x+1].
        let c = Conv { stride: 2, pad: 1, ..conv_of(1, 1, 3, 3) };
        let params = Params { weight: vec![1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 10.0], bias: vec![0.5] };
        let x = tensor(3, 1, &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0]);
        let y = conv(&c, &params, &x, None);
        assert_eq!(y, tensor(2, 1, &[50.5, 0.5, 0.5, 5.5]));
    }

    #[test]
    fn channels_are_summed_in_torchs_order_and_images_kept_apart() {
        // Two inputs, two outputs, 1x1: out0 = a + 2 b, out1 = 3 a + 4 b.
        let params = Params { weight: vec![1.0, 2.0, 3.0, 4.0], bias: vec![0.0, 1.0] };
        let x = tensor(1, 2, &[1.0, 10.0, -1.0, 0.0]);
        assert_eq!(conv(&conv_of(2, 2, 1, 1), &params, &x, None), tensor(1, 2, &[21.0, 44.0, -1.0, -2.0]));
    }

    #[test]
    fn residual_comes_before_the_rectifier_and_pooling_last() {
        let c = Conv { relu: true, residual: true, pool: Some(Pool::GlobalAverage), ..conv_of(1, 1, 1, 2) };
        let params = Params { weight: vec![1.0], bias: vec![0.0] };
        let x = tensor(2, 1, &[1.0, 2.0, 3.0, 4.0]);
        let r = tensor(2, 1, &[-5.0, 0.0, 1.0, -6.0]);
        // 1 - 5 and 4 - 6 are rectified away; (2 + 4) / 4.
        assert_eq!(conv(&c, &params, &x, Some(&r)), tensor(1, 1, &[1.5]));
    }

    #[test]
    fn padding_of_a_maximum_is_never_the_largest() {
        let x = tensor(3, 1, &[-1.0, -2.0, -3.0, -4.0, -5.0, -6.0, -7.0, -8.0, -9.0]);
        assert_eq!(max_pool(&x, 3, 2, 1, 2), tensor(2, 1, &[-1.0, -2.0, -4.0, -5.0]));
    }

    #[test]
    fn a_linear_layer_flattens_channels_first() {
        // 2x2 with two channels; the weights pick channel 1 of pixel (0, 1), torch's position 1 * 4 + 1.
        let mut weight = vec![0.0; 8];
        weight[5] = 1.0;
        let l = Linear { inputs: 8, outputs: 1, relu: false };
        let x = tensor(2, 2, &[0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0]);
        assert_eq!(linear(&l, &Params { weight, bias: vec![0.0] }, &x).data, [3.0]);
    }

    #[test]
    fn a_residual_unit_adds_its_own_input_or_the_shortcuts_output() {
        let narrow = Op::Conv(Conv { relu: true, ..conv_of(1, 1, 1, 1) });
        let widen = Op::Conv(Conv { relu: true, residual: true, ..conv_of(1, 1, 1, 1) });
        let shortcut = Op::Shortcut(conv_of(1, 1, 1, 1));
        let times = |w: f32| Params { weight: vec![w], bias: vec![0.0] };
        let x = tensor(1, 1, &[3.0]);
        let plain = OpBlock { name: "plain".into(), ops: vec![narrow, widen] };
        // 3 * 2 * 5 + 3, and with the shortcut 3 * 2 * 5 - 3 * 7.
        assert_eq!(block(&plain, &[times(2.0), times(5.0)], &x).data, [33.0]);
        let first = OpBlock { name: "first".into(), ops: vec![narrow, shortcut, widen] };
        assert_eq!(block(&first, &[times(2.0), times(-7.0), times(5.0)], &x).data, [9.0]);
    }

    #[test]
    fn distance_is_relative_to_the_largest_and_sees_nan() {
        assert_eq!(distance(&[1.0, -3.0], &[1.0, -4.0]), 0.25);
        assert_eq!(distance(&[f32::NAN], &[1.0]), f32::INFINITY);
    }

    #[test]
    fn a_dead_channel_is_seen_by_the_squares() {
        // One of 99 small values is lost beside a large one.
        let want: Vec<f32> = (0..100).map(|i| if i == 0 { 10.0 } else { 0.1 }).collect();
        let mut got = want.clone();
        got[50] = 0.0;
        assert!((distance(&got, &want) - 0.01).abs() < 1e-6);
        // 0.1 / sqrt(100 + 99 * 0.01).
        assert!((relative_l2(&got, &want) - 0.009_951).abs() < 1e-5);
        got[50] = f32::NAN;
        assert_eq!(relative_l2(&got, &want), f32::INFINITY);
        got[50] = f32::INFINITY;
        assert_eq!(relative_l2(&got, &want), f32::INFINITY);
    }
}
