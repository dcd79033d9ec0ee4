//! How many thread blocks a kernel takes for its work.

use super::{Work, tile};
use crate::abi::{AVERAGE_CHANNELS, Kernel, LINEAR_OUTPUTS, POINTWISE_CHANNELS, STEM_TILE};

/// Thread blocks of a kernel on its work; none where it does not do such work.
pub(super) fn grid_of(kernel: Kernel, work: &Work) -> [u32; 3] {
    match (kernel, work) {
        (Kernel::Conv(tile), Work::Conv { shape, .. }) => [tile::thread_blocks(shape, tile), shape.splits, 1],
        (Kernel::ConvReduce, Work::Conv { shape, .. }) => pointwise(shape.outputs()),
        (Kernel::Stem(_), Work::Conv { shape, .. }) => {
            let [rows, columns, channels] = STEM_TILE;
            let across = shape.out_width.div_ceil(columns);
            [across, shape.out_height.div_ceil(rows), shape.batch * shape.out_channels / channels]
        }
        (Kernel::MaxPool, Work::Pool { shape, .. }) => {
            pointwise(shape.batch * shape.out_height * shape.out_width * shape.channels)
        }
        (Kernel::GlobalAverage, Work::Pool { shape, .. }) => {
            [shape.channels.div_ceil(AVERAGE_CHANNELS), shape.batch, 1]
        }
        (Kernel::Linear1, Work::Linear { shape, .. }) => [shape.outputs.div_ceil(LINEAR_OUTPUTS), 1, 1],
        _ => [0; 3],
    }
}

/// The grid of a kernel whose threads do eight channels each.
fn pointwise(outputs: u32) -> [u32; 3] {
    [outputs.div_ceil(POINTWISE_CHANNELS).div_ceil(Kernel::ConvReduce.threads()), 1, 1]
}
