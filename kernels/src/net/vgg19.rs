//! VGG19, one block per stage and per fully connected layer.

use super::{Conv, Linear, Op, OpBlock, Pool};

const POOL: Option<Pool> = Some(Pool::Max { window: 2, stride: 2, pad: 0 });

/// Output channels and convolutions of the five stages.
const STAGES: [(u32, u32); 5] = [(64, 2), (128, 2), (256, 4), (512, 4), (512, 4)];

pub(super) fn imagenet() -> Vec<OpBlock> {
    let mut blocks = stages(224, POOL);
    let linears = [(512 * 7 * 7, 4096, true), (4096, 4096, true), (4096, 1000, false)];
    blocks.extend(linears.into_iter().enumerate().map(|(i, (inputs, outputs, relu))| OpBlock {
        name: format!("fc{}", i + 6),
        ops: vec![Op::Linear(Linear { inputs, outputs, relu })],
    }));
    blocks
}

/// For 32 x 32 images, as usual for CIFAR-10: global average pooling in place of the last maximum and of the two
/// large fully connected layers.
pub(super) fn cifar() -> Vec<OpBlock> {
    let mut blocks = stages(32, Some(Pool::GlobalAverage));
    let fc = Op::Linear(Linear { inputs: 512, outputs: 10, relu: false });
    blocks.push(OpBlock { name: "fc".to_owned(), ops: vec![fc] });
    blocks
}

fn stages(mut side: u32, last_pool: Option<Pool>) -> Vec<OpBlock> {
    let mut inputs = 3;
    let mut blocks = Vec::new();
    for (i, (outputs, convs)) in STAGES.into_iter().enumerate() {
        let mut ops = Vec::new();
        for k in 0..convs {
            let last = k + 1 == convs;
            let pool = match (last, i + 1 == STAGES.len()) {
                (false, _) => None,
                (true, false) => POOL,
                (true, true) => last_pool,
            };
            let conv = Conv { pad: 1, pool, ..Conv::new(inputs, outputs, 3, side) };
            (inputs, side) = (outputs, conv.pooled_side());
            ops.push(Op::Conv(conv));
        }
        blocks.push(OpBlock { name: format!("stage{}", i + 1), ops });
    }
    blocks
}
