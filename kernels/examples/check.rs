//! check NETWORK [BATCH [WEIGHTS.safetensors]]: runs every block of a network on this machine's GPU and compares what it
//! leaves with the fp32 reference, given the same input; then the whole network frame by frame. Exit code 1 where a value
//! differs by more than 2 % of the largest or all together by more than 0.2 %, or one is not finite; 3 where there is no
//! GPU to be used.

use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

use jetpace_kernels::cuda::CudaRunner;
use jetpace_kernels::net::{self, Op, OpBlock};
use jetpace_kernels::reference::{self, Tensor};
use jetpace_kernels::weights::{Params, Weights};
use jetpace_tables::hw::{BlockRunner, Timer};
use jetpace_tables::units::Nanos;
use jetpace_tables::work::{BlockId, Size};

/// Largest difference over largest value that fp16 storage explains.
const TOLERANCE: f32 = 2e-2;

/// The same of the squares' sums, in which roundings average out.
const TOLERANCE_L2: f32 = 2e-3;

const SEED: u64 = 1;

struct Clock(Instant);

impl Timer for Clock {
    fn now(&self) -> Nanos {
        Nanos::new(self.0.elapsed().as_nanos() as u64)
    }

    fn sleep_until(&mut self, time: Nanos) {
        thread::sleep(Duration::from_nanos(time.saturating_sub(self.now()).get()));
    }
}

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let name = args.first().map_or("resnet152-32", String::as_str);
    let size = Size(args.get(1).and_then(|batch| batch.parse().ok()).unwrap_or(1));
    let Some(blocks) = net::ops(name) else {
        eprintln!("{name} has no kernels; there are: {}", net::NAMES.join(" "));
        return ExitCode::from(2);
    };
    let weights = match args.get(2) {
        None => Ok(Weights::random(SEED)),
        Some(path) => Weights::open(path.as_ref(), name, &blocks),
    };
    let runner = weights.and_then(|weights| {
        let runner = CudaRunner::new(blocks.clone(), &weights, SEED, Clock(Instant::now()))?;
        Ok((runner, weights))
    });
    match runner {
        Err(e) => {
            eprintln!("{e}");
            ExitCode::from(3)
        }
        Ok((mut runner, weights)) => match check(&mut runner, &blocks, &weights, size) {
            Ok((worst, lost)) => {
                println!("by {}", runner.library());
                println!("{name} at batch {}: {worst:.2e} at worst, on {}{lost}", size.0, runner.gpu_name());
                ExitCode::SUCCESS
            }
            Err(why) => {
                eprintln!("{name} at batch {}: {why}", size.0);
                ExitCode::FAILURE
            }
        },
    }
}

fn check(
    runner: &mut CudaRunner<Clock>,
    blocks: &[OpBlock],
    weights: &Weights,
    size: Size,
) -> Result<(f32, String), String> {
    let text = |e: jetpace_kernels::Error| e.to_string();
    let mut input = image(blocks, size)?;
    runner.set_image(size, &input.data).map_err(text)?;
    let (mut layer, mut worst) = (0, 0.0_f32);
    let mut outputs = Vec::new();
    for (i, block) in blocks.iter().enumerate() {
        let id = BlockId(i as u16);
        let mut times = [Nanos::ZERO; 2];
        // Twice: a block that is repeated has to find its input as it was.
        runner.run(id, size, &mut times, &mut |_| None).map_err(text)?;
        let got = runner.output(size).map_err(text)?;
        let params: Result<Vec<Params>, _> =
            block.ops.iter().enumerate().map(|(k, op)| weights.params(layer + k, op)).collect();
        layer += block.ops.len();
        let want = reference::block(block, &params.map_err(text)?, &input);
        let distance = reference::distance(&got, &want.data);
        let squares = reference::relative_l2(&got, &want.data);
        println!("{:<10} {distance:.2e} {squares:.2e} {}", block.name, times[1]);
        if let Some(value) = got.iter().find(|value| !value.is_finite()) {
            return Err(format!("{} leaves {value}", block.name));
        }
        if distance > TOLERANCE || squares > TOLERANCE_L2 {
            return Err(format!(
                "{} is {distance:.2e} from the reference by its largest value, at most {TOLERANCE}, and {squares:.2e} by \
                 squares, at most {TOLERANCE_L2}",
                block.name
            ));
        }
        worst = worst.max(distance);
        // The next block is judged on what the GPU really gave it.
        input = Tensor { data: got.clone(), ..want };
        outputs.push(got);
    }
    // The next run starts from the image again.
    runner.set_image(size, &image(blocks, size)?.data).map_err(text)?;
    frames(runner, &outputs, size)?;
    // A frame in which nothing is read on the way: every block is queued while the one before it runs.
    for block in 0..runner.blocks() {
        runner.run(BlockId(block as u16), size, &mut [Nanos::ZERO; 1], &mut |_| None).map_err(text)?;
    }
    runner.run_whole(size, &mut [Nanos::ZERO; 1]).map_err(text)?;
    if outputs.last() != Some(&runner.output(size).map_err(text)?) {
        return Err("the network as one graph leaves another output".to_owned());
    }
    Ok((worst, boundaries(runner, size).map_err(text)?))
}

/// What running block by block costs: whole frames on the host's clock, against one graph of the whole network.
fn boundaries(runner: &mut CudaRunner<Clock>, size: Size) -> Result<String, jetpace_kernels::Error> {
    let clock = Clock(Instant::now());
    let whole = |runner: &mut CudaRunner<Clock>| {
        let start = clock.now();
        runner.run_whole(size, &mut [Nanos::ZERO; 1]).map(|()| clock.now().saturating_sub(start))
    };
    // The emulation takes seconds a frame; there the figures mean nothing.
    let frames = if whole(runner)? < Nanos::from_millis(200) { 101 } else { return Ok(String::new()) };
    let (mut by_blocks, mut as_one) = (Vec::new(), Vec::new());
    for _ in 0..frames {
        as_one.push(whole(runner)?);
        let start = clock.now();
        for block in 0..runner.blocks() {
            runner.run(BlockId(block as u16), size, &mut [Nanos::ZERO; 1], &mut |_| None)?;
        }
        by_blocks.push(clock.now().saturating_sub(start));
    }
    let median = |mut times: Vec<Nanos>| {
        times.sort_unstable();
        times[times.len() / 2]
    };
    let (by_blocks, as_one) = (median(by_blocks), median(as_one));
    let lost = by_blocks.as_secs_f64() / as_one.as_secs_f64() - 1.0;
    Ok(format!("; by blocks {by_blocks}, as one graph {as_one}: {:.1} % lost (medians of {frames})", lost * 100.0))
}

/// Frames, and blocks out of their order, leave what the blocks left one by one.
fn frames(runner: &mut CudaRunner<Clock>, outputs: &[Vec<f32>], size: Size) -> Result<(), String> {
    let count = outputs.len() as u16;
    let order = [1].into_iter().chain(0..count).chain([count / 2, count / 3, count / 3, 0, count - 1]);
    for block in order {
        let mut calls = 0;
        let mut meanwhile = |now: Nanos| {
            calls += 1;
            (calls < 3).then(|| now.saturating_add(Nanos::from_micros(10)))
        };
        let mut time = [Nanos::ZERO];
        runner.run(BlockId(block), size, &mut time, &mut meanwhile).map_err(|e| e.to_string())?;
        let got = runner.output(size).map_err(|e| e.to_string())?;
        let name = runner.name(BlockId(block));
        if got != outputs[usize::from(block)] {
            return Err(format!("{name} leaves another output when it is run in a frame or on its own"));
        }
        if calls == 0 || time[0] == Nanos::ZERO {
            return Err(format!("{name}: {calls} samples were taken in {}", time[0]));
        }
    }
    Ok(())
}

/// A picture of smooth waves, in the reference's layout.
fn image(blocks: &[OpBlock], size: Size) -> Result<Tensor, String> {
    let Some(Op::Conv(first)) = blocks.first().and_then(|block| block.ops.first()) else {
        return Err("the network has no first convolution".to_owned());
    };
    let mut image = Tensor::zeros(size.0 as usize, first.side as usize, 3);
    for (i, value) in image.data.iter_mut().enumerate() {
        // As the GPU gets it: in fp16.
        *value = half::f16::from_f32((i as f32 * 0.37).sin() + 0.5 * (i as f32 * 0.011).cos()).to_f32();
    }
    Ok(image)
}
