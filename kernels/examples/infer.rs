//! infer PLAN.json WEIGHTS.safetensors IMAGE OUTPUT: runs a launch plan once. IMAGE and OUTPUT are files of little-endian
//! floats: `[batch][row][column][3]`, and what the last block leaves.

use std::path::Path;
use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

use jetpace_kernels::Error;
use jetpace_kernels::cuda::CudaRunner;
use jetpace_kernels::launch::LaunchPlan;
use jetpace_tables::hw::Timer;
use jetpace_tables::units::Nanos;
use jetpace_tables::work::Size;

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
    let [plan, weights, image, output] = args.as_slice() else {
        eprintln!("usage: infer PLAN.json WEIGHTS.safetensors IMAGE OUTPUT");
        return ExitCode::from(2);
    };
    let pixels = match std::fs::read(image) {
        Ok(bytes) => bytes.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect::<Vec<_>>(),
        Err(e) => {
            eprintln!("{image}: {e}");
            return ExitCode::from(2);
        }
    };
    match infer(plan.as_ref(), weights.as_ref(), &pixels) {
        Ok(values) => {
            let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
            if let Err(e) = std::fs::write(output, bytes) {
                eprintln!("{output}: {e}");
                return ExitCode::FAILURE;
            }
            ExitCode::SUCCESS
        }
        Err(e) => {
            eprintln!("{e}");
            ExitCode::FAILURE
        }
    }
}

fn infer(plan: &Path, weights: &Path, image: &[f32]) -> Result<Vec<f32>, Error> {
    let size = Size(LaunchPlan::read(plan)?.1.batch);
    let mut runner = CudaRunner::from_plan(plan, weights, None, 1, Clock(Instant::now()))?;
    runner.set_image(size, image)?;
    runner.run_whole(size, &mut [Nanos::ZERO])?;
    runner.output(size)
}
