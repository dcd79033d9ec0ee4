//! The virtual TX2 against the sweep of a real one.

use std::path::Path;

use jetpace_devfreq::nodes::Nodes;
use jetpace_devfreq::sim::Board;
use jetpace_tables::hw::{BlockRunner, Timer};
use jetpace_tables::units::{Hertz, Nanos};
use jetpace_tables::work::{BlockId, Size};
use jetpace_tests::measured;

/// Clock, time and input power of the rows of `vgg19_N2`.
fn rows() -> Option<Vec<(Hertz, f64, f64)>> {
    let text = std::fs::read_to_string(measured("sweeps/tx2.csv")?).unwrap();
    let mut lines = text.lines();
    let names: Vec<&str> = lines.next().unwrap().split(',').collect();
    let column = |name: &str| names.iter().position(|&n| n == name).unwrap();
    let (model, clock, time, power) = (column("model"), column("gpu_freq_hz"), column("latency_s"), column("power_w"));
    let fields = lines.map(|line| line.split(',').collect::<Vec<_>>());
    let vgg = fields.filter(|fields| fields[model] == "vgg19_N2");
    Some(vgg.map(|f| (f[clock].parse().unwrap(), f[time].parse().unwrap(), f[power].parse().unwrap())).collect())
}

/// Mean time and mean true power of VGG19 on the virtual board, pinned to a clock; 20 frames.
fn on_the_virtual_board(clock: Hertz) -> (f64, f64) {
    const FRAMES: u32 = 20;
    let board = Board::new("tx2", 1).unwrap();
    let nodes = board.nodes();
    let devfreq = Path::new("/sys/class/devfreq/17000000.gp10b");
    for file in ["max_freq", "min_freq"] {
        nodes.write(&devfreq.join(file), &clock.get().to_string()).unwrap();
    }
    let mut timer = board.timer();
    timer.sleep_until(Nanos::from_millis(200));
    assert_eq!(board.clocks()[board.clock().index()], clock);
    let mut runner = board.runner(jetpace_kernels::net::network("vgg19").unwrap());
    let (start, before) = (timer.now(), board.energy());
    for _ in 0..FRAMES {
        for block in 0..runner.blocks() {
            runner.run(BlockId(block as u16), Size(1), &mut [Nanos::ZERO], &mut |_| None).unwrap();
        }
    }
    let seconds = timer.now().saturating_sub(start).as_secs_f64();
    let joules = board.energy().saturating_sub(before).as_joules_f64();
    (seconds / f64::from(FRAMES), joules / seconds)
}

#[test]
fn the_virtual_tx2_follows_vgg19_in_time_and_power() {
    let Some(rows) = rows() else { return };
    assert_eq!(rows.len(), 13);
    let (mut times, mut powers) = (vec![], vec![]);
    for (clock, time_s, power_w) in rows {
        let (time, power) = on_the_virtual_board(clock);
        println!(
            "{clock}: {:+.2} % time, {:+.2} % power",
            100.0 * (time / time_s - 1.0),
            100.0 * (power / power_w - 1.0)
        );
        times.push((time / time_s - 1.0).abs());
        powers.push((power / power_w - 1.0).abs());
    }
    for (what, errors) in [("time", times), ("power", powers)] {
        let mean = errors.iter().sum::<f64>() / errors.len() as f64;
        let worst = errors.iter().fold(0.0f64, |worst, &e| worst.max(e));
        assert!(mean <= 0.03 && worst <= 0.06, "{what}: mean {mean}, worst {worst}");
    }
}
