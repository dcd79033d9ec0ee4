#![allow(missing_docs, clippy::unwrap_used)]
use jetpace::frames::Pace;
use jetpace::session::Drive;
use jetpace::signals::Stop;
use jetpace::virtual_board::Case;
use jetpace_tables::image;

fn main() {
    let mut args = std::env::args().skip(1);
    let (board, network, table) = (args.next().unwrap(), args.next().unwrap(), args.next().unwrap());
    let net = jetpace_kernels::net::network(&network).unwrap();
    let table = image::decode(&std::fs::read(&table).unwrap()).unwrap();
    let pace = Pace { deadline: table.deadline(), period: table.period() };
    let mut all = Vec::new();
    let mut e = 0.0;
    for seed in 100..108 {
        let case = Case { board: board.clone(), seed, network: net.clone(), pace, frames: 1000, triggers: None };
        let s = case.run(Drive::Table(&table), &Stop::never(), |_| Ok(())).unwrap();
        e += s.energy.unwrap().as_joules_f64() / 8000.0;
        all.extend(s.times.iter().map(|x| x.as_secs_f64() * 1e3));
    }
    all.sort_by(f64::total_cmp);
    let q = |p: f64| all[((p * all.len() as f64) as usize).min(all.len() - 1)];
    let m = all.iter().sum::<f64>() / all.len() as f64;
    println!(
        "mean {m:.3} p10 {:.3} p50 {:.3} p90 {:.3} p95 {:.3} p97 {:.3} p98 {:.3} p99 {:.3} p995 {:.3} energy {e:.4} J",
        q(0.1),
        q(0.5),
        q(0.9),
        q(0.95),
        q(0.97),
        q(0.98),
        q(0.99),
        q(0.995)
    );
}
