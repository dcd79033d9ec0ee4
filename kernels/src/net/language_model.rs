//! `language-model`: a virtual workload whose size is the number of tokens of the prompt. It has no kernels and runs on
//! virtual boards only; every figure from it is labelled virtual.
//!
//! The language model of [`super::robot_frame`] alone. Reading the prompt goes with the tokens (two operations per
//! parameter and token, the weights read once); each of the 16 tokens of the answer reads all weights anew and what the
//! model keeps of every token of the prompt (keys and values of 22 layers, 256 values of a byte each). What an answer's
//! token computes besides is left out: it does not grow with the prompt, and bandwidth bounds it anyway.

use jetpace_tables::work::{Block, Layer};

use super::robot_frame::{ANSWER_TOKENS, LLM_LAYERS, PARAMETERS, even};

/// The prompt is read in this many blocks of the model's layers, so that the clock can change meanwhile.
const PARTS: u64 = 4;

pub(super) fn blocks() -> Vec<Block> {
    let prefill = (0..PARTS).map(|part| {
        let layers = LLM_LAYERS * (part + 1) / PARTS - LLM_LAYERS * part / PARTS;
        let share = |all: u64| all / LLM_LAYERS * layers;
        let total = Layer {
            flops: share(2 * PARAMETERS),
            weight_bytes: share(PARAMETERS),
            activation_bytes: layers * 2048 * 2 * 8,
        };
        even(&format!("prefill.{}", part + 1), layers, total)
    });
    let decode = (1..=ANSWER_TOKENS).map(|token| {
        let kept = LLM_LAYERS * 2 * 256;
        let total = Layer { flops: 4 * LLM_LAYERS * 2048, weight_bytes: PARAMETERS, activation_bytes: kept };
        even(&format!("decode.{token}"), LLM_LAYERS, total)
    });
    prefill.chain(decode).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reading_and_answering_take_what_they_are_said_to() {
        let blocks = blocks();
        let sum = |name: &str, of: fn(&Layer) -> u64| -> u64 {
            blocks.iter().filter(|b| b.name.starts_with(name)).flat_map(|b| &b.layers).map(of).sum()
        };
        assert_eq!(blocks.len(), 20);
        // 2 x 1.1e9 a token; 22 layers in parts of 5, 6, 5 and 6; 16 tokens read 1.1 GB each.
        assert!(sum("prefill", |l| l.flops).abs_diff(2_200_000_000) < 100);
        assert_eq!(blocks[..4].iter().map(|b| b.layers.len()).collect::<Vec<_>>(), [5, 6, 5, 6]);
        assert!(sum("decode", |l| l.weight_bytes).abs_diff(17_600_000_000) < 1000);
    }
}
