//! ResNet152, one block per residual unit (stride in the 3x3 convolution, as in torchvision).

use super::{Conv, Linear, Op, OpBlock, Pool};

/// Inner channels and units of the four stages; a unit's output has four times as many channels.
const STAGES: [(u32, u32); 4] = [(64, 3), (128, 8), (256, 36), (512, 3)];

pub(super) fn imagenet() -> Vec<OpBlock> {
    let pool = Some(Pool::Max { window: 3, stride: 2, pad: 1 });
    blocks(Conv { stride: 2, pad: 3, pool, ..Conv::new(3, 64, 7, 224) }, 1000)
}

/// For 32 x 32 images, as usual for CIFAR-10: a 3x3 stem that keeps the resolution, no pooling behind it.
pub(super) fn cifar() -> Vec<OpBlock> {
    blocks(Conv { pad: 1, ..Conv::new(3, 64, 3, 32) }, 10)
}

fn blocks(stem: Conv, classes: u32) -> Vec<OpBlock> {
    let mut side = stem.pooled_side();
    let mut inputs = stem.outputs;
    let mut blocks = vec![OpBlock { name: "stem".to_owned(), ops: vec![Op::Conv(stem)] }];
    for (s, (inner, units)) in STAGES.into_iter().enumerate() {
        for unit in 0..units {
            let stride = if s > 0 && unit == 0 { 2 } else { 1 };
            let narrow = Conv::new(inputs, inner, 1, side);
            let middle = Conv { stride, pad: 1, ..Conv::new(inner, inner, 3, side) };
            let last_unit = s + 1 == STAGES.len() && unit + 1 == units;
            let widen = Conv {
                residual: true,
                pool: last_unit.then_some(Pool::GlobalAverage),
                ..Conv::new(inner, 4 * inner, 1, middle.out_side())
            };
            let mut ops = vec![Op::Conv(narrow), Op::Conv(middle), Op::Conv(widen)];
            if unit == 0 {
                // Before the last convolution, which adds it.
                let shortcut = Conv { stride, relu: false, ..Conv::new(inputs, 4 * inner, 1, side) };
                ops.insert(2, Op::Shortcut(shortcut));
            }
            (inputs, side) = (4 * inner, middle.out_side());
            blocks.push(OpBlock { name: format!("s{}.{}", s + 1, unit + 1), ops });
        }
    }
    let fc = Op::Linear(Linear { inputs, outputs: classes, relu: false });
    blocks.push(OpBlock { name: "fc".to_owned(), ops: vec![fc] });
    blocks
}
