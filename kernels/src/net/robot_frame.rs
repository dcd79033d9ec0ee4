//! `robot-frame`: a virtual workload, one second or so of what a robot's GPU does, with long phases of different
//! boundness. It has no kernels and runs on virtual boards only; every figure from it is labelled virtual.
//!
//! The sizes are those of common models, not of any one: a detector of 320 GFLOP (YOLO large at 1280 px is of that
//! order), a tracker's embedding network, and a language model of 1.1 billion parameters in eight bits (one byte
//! a weight, 22 layers) that reads 192 tokens and answers with 16.

use jetpace_tables::work::{Block, Layer};

pub(super) const PARAMETERS: u64 = 1_100_000_000;
pub(super) const LLM_LAYERS: u64 = 22;
const PROMPT_TOKENS: u64 = 192;
pub(super) const ANSWER_TOKENS: u64 = 16;

pub(super) fn blocks() -> Vec<Block> {
    let mut blocks = vec![
        // Four 1080p cameras: 8.3 M pixels debayered, undistorted and scaled, 30 operations and 24 bytes a pixel.
        even("preprocess", 4, Layer { flops: 250_000_000, weight_bytes: 0, activation_bytes: 200_000_000 }),
    ];
    // A pyramid: early stages move large activations, late ones large weights; the head is light and scattered.
    for (name, layers, gflop, weights_mb, activations_mb) in [
        ("detect.stem", 6, 40, 1, 240),
        ("detect.mid", 20, 110, 20, 300),
        ("detect.deep", 20, 90, 60, 120),
        ("detect.neck", 16, 60, 30, 180),
        ("detect.head", 12, 20, 6, 90),
    ] {
        blocks.push(even(
            name,
            layers,
            Layer {
                flops: gflop * 1_000_000_000,
                weight_bytes: weights_mb * 1_000_000,
                activation_bytes: activations_mb * 1_000_000,
            },
        ));
    }
    blocks.push(even(
        "track",
        24,
        Layer { flops: 12_000_000_000, weight_bytes: 50_000_000, activation_bytes: 60_000_000 },
    ));
    // Two operations per parameter and token; weights are read once for the whole prompt.
    blocks.push(even(
        "prefill",
        LLM_LAYERS,
        Layer {
            flops: 2 * PARAMETERS * PROMPT_TOKENS,
            weight_bytes: PARAMETERS,
            activation_bytes: PROMPT_TOKENS * LLM_LAYERS * 2048 * 2 * 8,
        },
    ));
    // Weights are read anew for every token: bound by the memory's bandwidth.
    for token in 1..=ANSWER_TOKENS {
        blocks.push(even(
            &format!("decode.{token}"),
            LLM_LAYERS,
            Layer { flops: 2 * PARAMETERS, weight_bytes: PARAMETERS, activation_bytes: LLM_LAYERS * 2048 * 2 * 8 },
        ));
    }
    blocks
}

/// A block of `count` equal layers that together do `total`.
pub(super) fn even(name: &str, count: u64, total: Layer) -> Block {
    let layer = Layer {
        flops: total.flops / count,
        weight_bytes: total.weight_bytes / count,
        activation_bytes: total.activation_bytes / count,
    };
    Block { name: name.to_owned(), layers: vec![layer; count as usize] }
}
