//! AlexNet as torchvision builds it (one column, 64 filters first), one block per layer.

use super::{Conv, Linear, Op, OpBlock, Pool};

const POOL: Option<Pool> = Some(Pool::Max { window: 3, stride: 2, pad: 0 });

pub(super) fn blocks(classes: u32) -> Vec<OpBlock> {
    let convs = [
        Conv { stride: 4, pad: 2, pool: POOL, ..Conv::new(3, 64, 11, 224) },
        Conv { pad: 2, pool: POOL, ..Conv::new(64, 192, 5, 27) },
        Conv { pad: 1, ..Conv::new(192, 384, 3, 13) },
        Conv { pad: 1, ..Conv::new(384, 256, 3, 13) },
        Conv { pad: 1, pool: POOL, ..Conv::new(256, 256, 3, 13) },
    ];
    let linears = [
        Linear { inputs: 256 * 6 * 6, outputs: 4096, relu: true },
        Linear { inputs: 4096, outputs: 4096, relu: true },
        Linear { inputs: 4096, outputs: classes, relu: false },
    ];
    let convs = convs.into_iter().enumerate().map(|(i, c)| (format!("conv{}", i + 1), Op::Conv(c)));
    let linears = linears.into_iter().enumerate().map(|(i, l)| (format!("fc{}", i + 6), Op::Linear(l)));
    convs.chain(linears).map(|(name, op)| OpBlock { name, ops: vec![op] }).collect()
}
