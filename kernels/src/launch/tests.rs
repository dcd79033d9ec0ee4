use super::*;
use crate::abi::{AVERAGE_CHANNELS, LINEAR_OUTPUTS};
use crate::net;
use jetpace_tables::work::Network;

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

/// Written and read back, a plan is the same, and none of the planner's own is refused.
#[test]
fn a_plan_as_a_document_is_the_same_and_may_be_launched() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("plan.json");
    each_plan(|blocks, plan, gpu| {
        std::fs::write(&path, plan.to_json("some network")).unwrap();
        let (network, read) = LaunchPlan::read(&path).unwrap();
        assert_eq!((network.as_str(), &read), ("some network", plan));
        let layers = plan.check(gpu.capability).unwrap();
        let flops = |network: &Network| network.layers().map(|layer| layer.flops).sum::<u64>() as f64;
        let built_in: f64 = blocks.iter().flat_map(|b| &b.ops).map(|op| op.layer().flops as f64).sum();
        // The image's fourth channel and outputs stored as a multiple of 8 are counted here.
        let ratio = flops(&plan.network("n")) / (built_in * f64::from(plan.batch));
        assert!((0.99..1.06).contains(&ratio), "{ratio}");
        for (layer, (op, layout)) in crate::pack::layouts(blocks).into_iter().enumerate() {
            let outputs = match op {
                Op::Conv(c) | Op::Shortcut(c) => c.outputs,
                Op::Linear(l) => l.outputs,
            };
            let size = layers[&layer];
            assert!(size.bias >= u64::from(outputs) && size.weights > 0, "{op:?} {layout:?}");
        }
    });
}

#[test]
fn what_must_not_be_launched_is_refused_by_block_and_launch() {
    let plan = LaunchPlan::new(&net::ops("resnet152-32").unwrap(), Size(1), &ORIN_NANO).unwrap();
    let refused = |change: &dyn Fn(&mut LaunchPlan), part: &str| {
        let mut plan = plan.clone();
        change(&mut plan);
        let why = plan.check(ORIN_NANO.capability).unwrap_err();
        assert!(why.contains(part), "{why}, want {part}");
    };
    let shape = |plan: &mut LaunchPlan, change: &dyn Fn(&mut ConvShape)| {
        if let Work::Conv { shape, .. } = &mut plan.blocks[1].launches[0].work {
            change(shape);
        }
    };
    refused(&|p| p.blocks[1].launches[0].grid[0] += 1, "block s1.1: launch 0 (conv_");
    refused(&|p| p.blocks[1].launches[0].shared_bytes += 1, "bytes of shared memory");
    refused(&|p| shape(p, &|s| s.height += 1), "does not fit together");
    refused(&|p| shape(p, &|s| s.stride = 0), "does not fit together");
    refused(&|p| shape(p, &|s| s.channels = 4), "is not what it computes");
    refused(&|p| shape(p, &|s| s.channels *= 64), "bytes");
    refused(&|p| shape(p, &|s| s.out_channels *= 2), "its work takes");
    refused(&|p| shape(p, &|s| s.splits = 1000), "splits of");
    refused(&|p| shape(p, &|s| s.batch = 2), "does not fit together");
    refused(&|p| shape(p, &|s| s.out_channels = u32::MAX), "beyond what is counted");
    refused(&|p| p.workspace_bytes = 0, "a workspace of 0 bytes");
    refused(&|p| p.buffers.values_mut().for_each(|bytes| *bytes /= 2), "are used");
    refused(&|p| p.buffers.retain(|buffer, _| *buffer != Buffer::Scratch(0)), "there is no buffer");
    refused(&|p| p.blocks[0].launches.clear(), "it launches nothing");
    refused(&|p| drop(p.blocks.remove(1)), "does not read what the block before it leaves");
    refused(&|p| p.blocks[2].name = "stem".to_owned(), "a block's name is its own");
    refused(&|p| p.blocks.clear(), "no blocks");
    refused(
        &|p| {
            if let Work::Conv { output, .. } = &mut p.blocks[1].launches[0].work {
                *output = Buffer::Between(0);
            }
        },
        "still reads",
    );
    refused(
        &|p| {
            if let Work::Conv { input, .. } = &mut p.blocks[1].launches[0].work {
                *input = Buffer::Between(1);
            }
        },
        "nothing has written",
    );
    let reduced = plan.blocks.iter().flat_map(|b| &b.launches).any(|l| l.kernel == Kernel::ConvReduce);
    assert!(reduced, "this plan splits nothing; take another one for the next check");
    refused(
        &|p| {
            for block in &mut p.blocks {
                block.launches.retain(|launch| launch.kernel != Kernel::ConvReduce);
            }
        },
        "is not followed by the other half",
    );
    assert!(plan.check(XAVIER_NX.capability).unwrap_err().contains("bytes of shared memory"));
}

#[test]
fn other_documents_are_refused_with_the_place() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("plan.json");
    let plan = LaunchPlan::new(&net::ops("vgg19-32").unwrap(), Size(1), &ORIN_NANO).unwrap().to_json("n");
    let refused = |text: &str, part: &str| {
        std::fs::write(&path, text).unwrap();
        let message = LaunchPlan::read(&path).unwrap_err().to_string();
        assert!(message.contains(part) && message.contains("plan.json: no launch plan"), "{message}");
    };
    refused("{}", "missing field");
    refused(&plan.replacen("\"format\": 1", "\"format\": 2", 1), "format 2, not 1");
    refused(&plan.replacen("stem_3x3", "stem_9x9", 1), "block stage1: launch 0: there is no kernel stem_9x9");
    refused(&plan.replacen("\"threads\": 128", "\"threads\": 129", 1), "has 128 threads, not 129");
    refused(&plan.replacen("\"image\"", "\"picture\"", 1), "is no buffer");
    refused(&plan.replacen("\"batch\"", "\"bach\"", 1), "unknown field");
}
