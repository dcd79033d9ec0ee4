//! What every block truly takes and draws at every clock.

use jetpace_devfreq::board::Board;
use jetpace_devfreq::gpu::GpuNode;
use jetpace_devfreq::guard::Guard;
use jetpace_devfreq::sim;
use jetpace_tables::hw::{BlockRunner, GpuClock, Timer};
use jetpace_tables::model::Point;
use jetpace_tables::units::{Hertz, Nanos};
use jetpace_tables::work::{BlockId, ClockIndex, Network, Size};

use super::SEED;
use crate::failure::Failure;

/// How often each block runs at each clock.
const REPEATS: usize = 200;
/// What a clock has to come into effect.
const SETTLED: Nanos = Nanos::from_millis(100);

/// What can be known of a board and a network that a calibration does not tell.
#[derive(Debug)]
pub struct Truth {
    /// For asking what needs no run.
    pub board: sim::Board,
    /// Ascending.
    pub clocks: Vec<Hertz>,
    /// For each block: mean time and power of runs of that block behind each other, at each clock.
    pub blocks: Vec<Vec<Point>>,
    /// A whole frame's time at each clock, without noise.
    pub frame_s: Vec<f64>,
}

/// Runs each block behind itself at every clock.
pub fn measure(name: &str, network: &Network) -> Result<Truth, Failure> {
    let board = sim::Board::new(name, SEED).map_err(Failure::usage)?;
    let (nodes, mut timer) = (board.nodes(), board.timer());
    let (clocks, size) = (board.clocks(), Size::default());
    let ids = || (0..network.blocks.len() as u16).map(BlockId);
    let indices = || (0..clocks.len() as u8).map(ClockIndex);
    let frame_s = indices().map(|clock| ids().map(|id| board.true_time(network, id, size, clock).as_secs_f64()).sum());
    let frame_s = frame_s.collect();

    let (guard, _) = Guard::take(nodes.clone())?;
    let mut gpu = GpuNode::open(nodes.clone(), timer.clone(), &Board::discover(&nodes)?, &guard, None)?;
    let mut runner = board.runner(network.clone());
    let mut run = |block, repeats| -> Result<(), Failure> {
        runner.run(block, size, &mut vec![Nanos::ZERO; repeats], &mut |_| None).map_err(Failure::failed)
    };
    let mut blocks = vec![Vec::new(); network.blocks.len()];
    for clock in indices() {
        // Asleep, the GPU of an R32 board takes no clock.
        run(BlockId(0), 1)?;
        gpu.pin(clock)?;
        timer.sleep_until(timer.now().saturating_add(SETTLED));
        for block in ids() {
            let (started, drawn) = (timer.now(), board.energy());
            run(block, REPEATS)?;
            let time_s = timer.now().saturating_sub(started).as_secs_f64();
            let power_w = board.energy().saturating_sub(drawn).as_joules_f64() / time_s;
            blocks[block.index()].push(Point {
                gpu_freq_hz: clocks[clock.index()],
                emc_freq_hz: None,
                time_s: time_s / REPEATS as f64,
                time_sd_s: 0.0,
                power_w: Some(power_w),
                repeats: 1,
                power_repeats: 1,
            });
        }
    }
    gpu.release()?;
    drop(gpu);
    guard.restore()?;
    Ok(Truth { board, clocks, blocks, frame_s })
}
