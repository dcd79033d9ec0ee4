//! Which tile a convolution takes, and over how many thread blocks its sums are split.

use super::Gpu;
use crate::abi::{ConvShape, TILES, Tile};

/// More splits than this only move sums through memory.
const MOST_SPLITS: u32 = 32;

// The estimate counts in multiply-adds that a multiprocessor's tensor cores could do meanwhile: 0.64e12 a second on an
// Orin Nano at 625 MHz, 3.7e12 on an H200.
/// Starting and finishing a thread block and filling its pipeline: about a microsecond.
const BLOCK_OVERHEAD: f64 = 600_000.0;
/// Moving one element of a tile from the L2 cache, 32 to 64 bytes a clock, three quarters of it behind the multiplications.
const ELEMENT: f64 = 12.0;
/// Reading one element of an operand from shared memory, or writing it there: 2 bytes at 128 bytes a clock, in which the
/// tensor cores of an Orin do 1024 multiply-adds.
const SHARED_ELEMENT: f64 = 16.0;
/// A float of the workspace, written and read back: 8 bytes at 8 (Orin Nano) to 40 GB/s (H200) a multiprocessor.
const WORKSPACE_ELEMENT: f64 = 700.0;
/// One more kernel in the graph: about two microseconds.
const LAUNCH: f64 = 1_500_000.0;
/// A thread block alone on its multiprocessor waits for memory part of the time; most of its addresses are computed
/// while the tensor cores work.
const ALONE: f64 = 1.1;

/// The tile and the splits with the least estimated time on this GPU.
///
/// The estimate knows four things: a multiprocessor does its thread blocks one after another, small tiles move more
/// elements per multiply-add, of which shared memory takes only so many, and sums split over thread blocks go through
/// memory. Its constants come from data sheets; no GPU has tuned them yet.
pub(super) fn choose(shape: &ConvShape, gpu: &Gpu) -> (Tile, u32) {
    let mut best = (TILES[0], 1, f64::INFINITY);
    for tile in TILES {
        let mut splits = 1;
        while splits <= MOST_SPLITS.min(steps(shape, tile)) {
            let cost = cost(shape, tile, splits, gpu);
            if cost < best.2 {
                best = (tile, splits, cost);
            }
            splits *= 2;
        }
    }
    (best.0, best.1)
}

/// Steps of the inner loop.
pub(super) fn steps(shape: &ConvShape, tile: Tile) -> u32 {
    shape.kernel * shape.kernel * shape.channels.div_ceil(tile.step)
}

/// Thread blocks of one split.
pub(super) fn thread_blocks(shape: &ConvShape, tile: Tile) -> u32 {
    shape.rows().div_ceil(tile.rows) * shape.out_channels.div_ceil(tile.channels)
}

fn cost(shape: &ConvShape, tile: Tile, splits: u32, gpu: &Gpu) -> f64 {
    let per_processor = (thread_blocks(shape, tile) * splits).div_ceil(gpu.multiprocessors.max(1));
    let steps = f64::from(steps(shape, tile).div_ceil(splits)) * f64::from(tile.step);
    let (rows, channels) = (f64::from(tile.rows), f64::from(tile.channels));
    let [down, across] = tile.warps.map(f64::from);
    // Every warp along the channels reads the pixels' operands, and the other way round; each is written once.
    let shared = SHARED_ELEMENT * (rows * (across + 1.0) + channels * (down + 1.0));
    let block = BLOCK_OVERHEAD + steps * ((rows * channels).max(shared) + ELEMENT * (rows + channels));
    let blocks = if per_processor == 1 { ALONE * block } else { f64::from(per_processor) * block };
    if splits == 1 {
        return blocks;
    }
    let workspace = f64::from(splits) * f64::from(shape.rows()) * f64::from(shape.out_channels);
    blocks + LAUNCH + WORKSPACE_ELEMENT * workspace / f64::from(gpu.multiprocessors.max(1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cubin::Capability;

    fn conv(side: u32, channels: u32, out_channels: u32, kernel: u32) -> ConvShape {
        ConvShape {
            batch: 1,
            height: side,
            width: side,
            channels,
            out_height: side,
            out_width: side,
            out_channels,
            kernel,
            stride: 1,
            pad: kernel / 2,
            splits: 1,
            ..ConvShape::default()
        }
    }

    const ORIN_NANO: Gpu = Gpu { capability: Capability::new(8, 7), multiprocessors: 8 };
    const H200: Gpu = Gpu { capability: Capability::new(9, 0), multiprocessors: 132 };

    #[test]
    fn a_full_gpu_takes_large_tiles_and_does_not_split() {
        let vgg = conv(56, 256, 256, 3);
        let (tile, splits) = choose(&vgg, &ORIN_NANO);
        assert_eq!(splits, 1);
        assert!(tile.rows * tile.channels >= 128 * 64, "{tile:?}");
    }

    #[test]
    fn tiles_that_wait_for_shared_memory_cost_more_than_their_products() {
        // 32x64: 16 * (32 * 3 + 64 * 3) = 4608 for 2048 multiply-adds a channel; 128x128: 12288 for 16384.
        let vgg = conv(56, 256, 256, 3);
        let [small, large] = [TILES[5], TILES[1]].map(|tile| cost(&vgg, tile, 1, &ORIN_NANO));
        assert!(small > 2.0 * large, "{small} {large}");
    }

    #[test]
    fn a_grid_too_small_for_the_gpu_is_split() {
        // ResNet's last stage: 49 pixels x 512 channels is one row of eight 64x64 tiles.
        let deep = conv(7, 512, 512, 3);
        let (tile, splits) = choose(&deep, &H200);
        assert!(splits > 1, "{tile:?}");
        assert!(thread_blocks(&deep, tile) * splits >= 66, "{tile:?} x {splits} leaves half the GPU idle");
        let one = ConvShape { kernel: 1, pad: 0, channels: 64, ..deep };
        assert!(choose(&one, &H200).1 <= steps(&one, TILES[5]), "no more splits than steps");
    }
}
