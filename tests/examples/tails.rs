#![allow(missing_docs, clippy::unwrap_used)]
use jetpace::frames::Pace;
use jetpace::session::Drive;
use jetpace::signals::Stop;
use jetpace::virtual_board::Case;
use jetpace_devfreq::sim;
use jetpace_tables::units::Nanos;
use jetpace_tables::work::{BlockId, ClockIndex, Size};

fn main() {
    let mut args = std::env::args().skip(1);
    let (board, network) = (args.next().unwrap(), args.next().unwrap());
    let seeds: u64 = args.next().map_or(10, |s| s.parse().unwrap());
    let net = jetpace_kernels::net::network(&network).unwrap();
    let truth = sim::Board::new(&board, 1).unwrap();
    for (c, hz) in truth.clocks().iter().enumerate() {
        let t: f64 = (0..net.blocks.len() as u16)
            .map(|b| truth.true_time(&net, BlockId(b), Size(1), ClockIndex(c as u8)).as_secs_f64())
            .sum();
        let mut all = Vec::new();
        for seed in 1000..1000 + seeds {
            let p = Nanos::from_secs_f64(t * 1.2);
            let case = Case {
                board: board.clone(),
                seed,
                network: net.clone(),
                pace: Pace { deadline: p, period: p },
                frames: 1000,
            };
            let s = case.run(Drive::Fixed(ClockIndex(c as u8)), &Stop::never(), |_| Ok(())).unwrap();
            all.extend(s.times.iter().map(|x| x.as_secs_f64() / t));
        }
        all.sort_by(f64::total_cmp);
        let q = |p: f64| (all[((p * all.len() as f64) as usize).min(all.len() - 1)] - 1.0) * 100.0;
        let m = all.iter().sum::<f64>() / all.len() as f64;
        println!(
            "{hz} t {:.3} ms mean {:+.2}% p10 {:+.2} p50 {:+.2} p90 {:+.2} p97 {:+.2} p98 {:+.2} p99 {:+.2} p995 {:+.2} p999 {:+.2}",
            t * 1e3,
            (m - 1.0) * 100.0,
            q(0.1),
            q(0.5),
            q(0.9),
            q(0.97),
            q(0.98),
            q(0.99),
            q(0.995),
            q(0.999)
        );
    }
}
