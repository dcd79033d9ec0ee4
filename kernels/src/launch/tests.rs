use super::*;
use crate::net;

const ORIN_NANO: Gpu = Gpu { capability: Capability::new(8, 7), multiprocessors: 8 };
const XAVIER_NX: Gpu = Gpu { capability: Capability::SM_72, multiprocessors: 6 };
const H200: Gpu = Gpu { capability: Capability::new(9, 0), multiprocessors: 132 };

/// Every network that has kernels, at batch 1 and larger ones, on a small, an old and a large GPU.
fn each_plan(mut check: impl FnMut(&[OpBlock], &LaunchPlan, &Gpu)) {
    for name in net::NAMES {
        let Some(blocks) = net::ops(name) else { continue };
        for gpu in [ORIN_NANO, XAVIER_NX, H200] {
            for batch in [1, 3, 8] {
                let plan = LaunchPlan::new(&blocks, Size(batch), &gpu).unwrap();
                assert_eq!(plan.blocks.len(), blocks.len());
                check(&blocks, &plan, &gpu);
            }
        }
    }
}

/// Which layer's output lies in each buffer while the launches run one after another.
struct Contents(BTreeMap<Buffer, Value>);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Value {
    Image,
    Layer(usize),
}

impl Contents {
    fn run(&mut self, launch: &Launch, wants: &BTreeMap<usize, (Value, Option<Value>)>) {
        let read = |buffer: &Buffer| self.0[buffer];
        let (output, value) = match launch.work {
            Work::Conv { input, layer, residual, output, .. } => {
                assert_eq!((read(&input), residual.as_ref().map(read)), wants[&layer], "layer {layer}");
                assert!(output != input && Some(output) != residual, "layer {layer} writes what it reads");
                (output, Value::Layer(layer))
            }
            Work::Linear { input, layer, output, .. } => {
                assert_eq!((read(&input), None), wants[&layer], "layer {layer}");
                assert_ne!(output, input);
                (output, Value::Layer(layer))
            }
            Work::Pool { input, output, .. } => {
                assert_ne!(output, input);
                (output, read(&input))
            }
        };
        self.0.insert(output, value);
    }
}

#[test]
fn every_layer_reads_the_one_before_it_and_blocks_can_be_repeated() {
    each_plan(|blocks, plan, _| {
        let mut contents = Contents([(Buffer::Image, Value::Image)].into());
        let (mut layer, mut main) = (0, Value::Image);
        for (block, planned) in blocks.iter().zip(&plan.blocks) {
            let input = main;
            let (mut wants, mut shortcut) = (BTreeMap::new(), input);
            for op in &block.ops {
                let value = Value::Layer(layer);
                match op {
                    Op::Shortcut(_) => {
                        wants.insert(layer, (input, None));
                        shortcut = value;
                    }
                    Op::Conv(c) => {
                        wants.insert(layer, (main, c.residual.then_some(shortcut)));
                        main = value;
                    }
                    Op::Linear(_) => {
                        wants.insert(layer, (main, None));
                        main = value;
                    }
                }
                layer += 1;
            }
            // Twice: the second time finds the same input and leaves the same output.
            for _ in 0..2 {
                assert_eq!(contents.0[&planned.input.buffer], input, "{}", block.name);
                planned.launches.iter().for_each(|launch| contents.run(launch, &wants));
                assert_eq!(contents.0[&planned.output.buffer], main, "{}", block.name);
            }
        }
    });
}

#[test]
fn every_grid_covers_its_output_and_every_buffer_holds_it() {
    each_plan(|_, plan, gpu| {
        let holds = |buffer: Buffer, elements: u64| assert!(plan.buffers[&buffer] >= 2 * elements, "{buffer:?}");
        for launch in plan.blocks.iter().flat_map(|block| &block.launches) {
            let threads = u64::from(launch.grid[0]) * u64::from(launch.kernel.threads());
            match (launch.kernel, launch.work) {
                (Kernel::Conv(tile), Work::Conv { input, residual, output, shape, .. }) => {
                    let (across, down) = (shape.out_channels.div_ceil(tile.channels), shape.rows().div_ceil(tile.rows));
                    assert_eq!(launch.grid, [across * down, shape.splits, 1]);
                    assert!(across * tile.channels >= shape.out_channels && down * tile.rows >= shape.rows());
                    assert!(shape.splits <= tile::steps(&shape, tile), "more splits than steps: {shape:?}");
                    let shared = if gpu.capability == Capability::SM_72 { tile.shared_sm72 } else { tile.shared };
                    assert_eq!(launch.shared_bytes, shared);
                    let workspace = 4 * u64::from(shape.splits) * u64::from(shape.rows() * shape.out_channels);
                    assert!(shape.splits == 1 || plan.workspace_bytes >= workspace);
                    holds(input, u64::from(shape.batch * shape.height * shape.width * shape.channels));
                    holds(output, shape.outputs().into());
                    residual.iter().for_each(|r| holds(*r, shape.outputs().into()));
                }
                (Kernel::Stem(_), Work::Conv { output, shape, .. }) => {
                    let [x, y, z] = launch.grid;
                    assert!(x * STEM_TILE[1] >= shape.out_width && y * STEM_TILE[0] >= shape.out_height);
                    assert_eq!(z * STEM_TILE[2], shape.batch * shape.out_channels);
                    holds(output, shape.outputs().into());
                }
                (Kernel::ConvReduce, Work::Conv { shape, .. }) => {
                    assert!(8 * threads >= u64::from(shape.outputs()) && shape.splits > 1);
                }
                (kernel, Work::Pool { input, output, shape }) => {
                    let outputs = shape.batch * shape.out_height * shape.out_width * shape.channels;
                    match kernel {
                        Kernel::MaxPool => assert!(8 * threads >= u64::from(outputs)),
                        _ => assert!(
                            launch.grid[0] * AVERAGE_CHANNELS >= shape.channels && launch.grid[1] == shape.batch
                        ),
                    }
                    holds(input, u64::from(shape.batch * shape.height * shape.width * shape.channels));
                    holds(output, outputs.into());
                }
                (Kernel::Linear1, Work::Linear { input, output, shape, .. }) => {
                    assert!(launch.grid[0] * LINEAR_OUTPUTS >= shape.outputs && plan.batch == 1);
                    holds(input, shape.inputs.into());
                    holds(output, shape.outputs.into());
                }
                other => panic!("{other:?}"),
            }
        }
    });
}

#[test]
fn split_convolutions_are_reduced_at_once() {
    let mut splits = 0;
    each_plan(|_, plan, _| {
        for launches in plan.blocks.iter().map(|block| &block.launches) {
            for (i, launch) in launches.iter().enumerate() {
                let Work::Conv { shape, .. } = launch.work else { continue };
                if shape.splits > 1 && matches!(launch.kernel, Kernel::Conv(_)) {
                    // The next split convolution overwrites the one workspace.
                    let next = launches.get(i + 1).unwrap();
                    assert_eq!((next.kernel, next.work), (Kernel::ConvReduce, launch.work));
                    splits += 1;
                }
            }
        }
    });
    assert!(splits > 0);
}

#[test]
fn alexnets_first_block_by_hand() {
    let plan = LaunchPlan::new(&net::ops("alexnet").unwrap(), Size(2), &ORIN_NANO).unwrap();
    // 224 + 2*2 - 11 over 4 is 53.25: 54 + 1 = 55 wide; the maximum of 3 by 2 leaves 27.
    let [stem, pool] = &plan.blocks[0].launches[..] else { panic!("{:?}", plan.blocks[0]) };
    assert_eq!((stem.kernel.name().as_str(), stem.grid), ("stem_11x11", [4, 7, 2]));
    // 2 * 27 * 27 * 64 / 8 / 256 = 45.6.
    assert_eq!((pool.kernel.name().as_str(), pool.grid), ("max_pool", [46, 1, 1]));
    let output = Activation { buffer: Buffer::Between(0), side: 27, channels: 64, pitch: 64 };
    assert_eq!(plan.blocks[0].output, output);
    assert_eq!(plan.buffers[&Buffer::Image], 2 * 2 * 224 * 224 * 4);
    // Ten classes are stored as sixteen where the last layer is a matrix product.
    let plan = LaunchPlan::new(&net::ops("alexnet-32").unwrap(), Size(2), &ORIN_NANO).unwrap();
    let last = plan.blocks.last().unwrap().output;
    assert_eq!((last.channels, last.pitch), (10, 16));
}

#[test]
fn what_no_kernel_serves_is_named() {
    let refused = |change: &dyn Fn(&mut Vec<OpBlock>), batch: u32| {
        let mut blocks = net::ops("resnet152-32").unwrap();
        change(&mut blocks);
        LaunchPlan::new(&blocks, Size(batch), &H200).unwrap_err().to_string()
    };
    let of = |message: String, parts: [&str; 2]| {
        parts.iter().for_each(|part| assert!(message.contains(part), "{message}"));
    };
    let set = |blocks: &mut Vec<OpBlock>, change: &dyn Fn(&mut Conv)| {
        if let Op::Conv(c) = &mut blocks[1].ops[1] {
            change(c);
        }
    };
    of(refused(&|b| set(b, &|c| c.outputs = 60), 1), ["s1.1", "no convolution is compiled"]);
    of(refused(&|b| set(b, &|c| c.kernel = 7), 1), ["s1.1", "no convolution is compiled"]);
    of(refused(&|b| set(b, &|c| c.side = 31), 1), ["s1.1", "does not fit its input"]);
    of(refused(&|b| b.clear(), 1), ["the network", "its first layer"]);
    of(refused(&|b| b[0].ops[0] = Op::Conv(Conv { stride: 2, ..first(b) }), 1), ["stem", "no stem is compiled"]);
    of(refused(&|_| {}, 0), ["the network", "a batch of 0"]);
    of(refused(&|_| {}, 1 << 20), ["the network", "a batch of 1048576"]);
}

fn first(blocks: &[OpBlock]) -> Conv {
    match blocks[0].ops[0] {
        Op::Conv(c) => c,
        _ => panic!("no convolution"),
    }
}
