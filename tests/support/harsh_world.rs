//! Plans in a world that is not the models': boards made of measured curves, with heavy tails, bursts and slow changes
//! of the clock, judged by the simulator's truth.

use std::path::Path;
use std::time::Instant;

use jetpace::calibrate::Subject;
use jetpace::session::Drive;
use jetpace::signals::Stop;
use jetpace_devfreq::{board, sim};
use jetpace_kernels::net::network;
use jetpace_tables::stats::student95;
use jetpace_tables::table::Table;
use jetpace_tables::units::Nanos;
use jetpace_tables::work::{Block, ClockIndex, Layer, Network};

use crate::measured;
use crate::virtual_boards::{FIRST_SEED, Pool, RISK, fitted_in, frame_at, planned, run_on};

/// What instances differ in.
#[derive(Clone, Copy, Debug)]
pub struct Class {
    /// Its name.
    pub name: &'static str,
    /// Blocks, from and to.
    pub blocks: (u64, u64),
    /// A frame at the top clock, from and to, in milliseconds.
    pub frame_ms: (u64, u64),
    /// Words of the board's description.
    pub board: &'static str,
}

/// All classes.
pub const CLASSES: [Class; 8] = [
    Class { name: "short", blocks: (3, 8), frame_ms: (5, 20), board: "" },
    Class { name: "medium", blocks: (8, 24), frame_ms: (30, 80), board: "" },
    Class { name: "long", blocks: (12, 40), frame_ms: (150, 600), board: "" },
    Class { name: "scatter", blocks: (6, 24), frame_ms: (60, 200), board: ",scatter=0.2,slow=0.02" },
    Class { name: "four clocks", blocks: (4, 20), frame_ms: (30, 200), board: ",clocks=4" },
    Class { name: "many clocks", blocks: (4, 20), frame_ms: (30, 200), board: ",clocks=30" },
    Class { name: "smooth", blocks: (4, 24), frame_ms: (30, 200), board: ",rough=no" },
    Class { name: "calm", blocks: (4, 24), frame_ms: (30, 200), board: ",profile=calm,rough=yes" },
];

/// Measured sweeps of real boards, with the networks whose curves are taken.
const SWEEPS: [(&str, &str); 4] = [
    ("sweeps/jetson-nano.csv", ""),
    ("sweeps/tx2.csv", ",network=vgg19_N2"),
    ("sweeps/agx-orin-cpu-gpu.csv", ""),
    ("sweeps/v100-kernels.csv", ""),
];
const FACTORS: [f64; 4] = [1.1, 1.25, 1.5, 2.0];

/// One plan and what it is held against, as shares.
#[derive(Debug)]
pub struct Judged {
    /// What it is.
    pub name: String,
    /// Misses of the table: mean, and the bounds of its 95 % interval.
    pub missed: Option<(f64, f64, f64)>,
    /// The table's energy over that of the best fixed clock that meets the risk in truth.
    pub over_fixed: Option<f64>,
    /// The table's energy over the least of all fixed clocks and lists that meet the risk in truth.
    pub over_oracle: Option<f64>,
    /// Whether some fixed clock meets the risk in truth.
    pub reachable: bool,
    /// Changes of the clock a frame.
    pub switches: f64,
    /// Seconds that `plan` took.
    pub plan_s: f64,
}

impl Judged {
    /// The table's heading, in Markdown.
    pub const HEADER: &str =
        "| instance | missed (95 %) | switches | vs best fixed | vs oracle | plan |\n|---|---|---|---|---|---|";

    /// Its line in the table.
    pub fn row(&self) -> String {
        let share = |x: Option<f64>| x.map_or("-".to_owned(), |x| format!("{:+.2} %", x * 100.0));
        let missed = self.missed.map_or("refused".to_owned(), |(mean, low, high)| {
            format!("{:.2} % ({:.2} to {:.2})", mean * 100.0, low * 100.0, high * 100.0)
        });
        let faults = self.faults().join("; ");
        format!(
            "| {} | {missed} | {:.2} | {} | {} | {:.2} s |{}",
            self.name,
            self.switches,
            share(self.over_fixed),
            share(self.over_oracle),
            self.plan_s,
            if faults.is_empty() { String::new() } else { format!(" **{faults}**") }
        )
    }

    /// What does not hold.
    pub fn faults(&self) -> Vec<&'static str> {
        let mut faults = Vec::new();
        if self.missed.is_some_and(|(_, low, _)| low > RISK) {
            faults.push("late");
        }
        if self.missed.is_none() && self.reachable {
            faults.push("refused for nothing");
        }
        if self.over_fixed.is_some_and(|over| over > 0.01) {
            faults.push("above the best fixed clock");
        }
        if self.over_oracle.is_some_and(|over| over > 0.05) {
            faults.push("far above the oracle");
        }
        if self.plan_s > 10.0 {
            faults.push("slow");
        }
        faults
    }
}

/// Numbers that are the same every time.
struct Draw(u64);

impl Draw {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((self.0 >> 33) * n) >> 31
    }

    fn between(&mut self, (low, high): (u64, u64)) -> u64 {
        low + self.below(high - low + 1)
    }
}

/// The n-th instance of a class: calibrated, fitted and planned with the commands themselves, in `folder`, and run. `None`
/// where the measured data folder is absent.
///
/// # Panics
/// Where a command fails: this is a test's tool.
pub fn judge(folder: &Path, class: &Class, n: u64, seeds: u64, frames: u64, oracle: bool) -> Option<Judged> {
    let mut draw = Draw(0x9e37_79b9 * (n + 1) + class.name.len() as u64);
    draw.below(2);
    let (sweep, more) = SWEEPS[((n + draw.below(4)) % 4) as usize];
    let path = measured(sweep)?;
    let board = format!("from={},draw={}{more}{}", path.display(), draw.below(1000), class.board);
    let (blocks, frame_ms) = (draw.between(class.blocks), draw.between(class.frame_ms));
    let factor = FACTORS[draw.below(4) as usize];
    let world = sim::Board::new(&board, 1).expect("a board of measurements");
    let net = made(&mut draw, blocks, frame_ms, &world);
    let name = format!("{} {n}: {} {blocks} blocks, {factor:.2}x", class.name, path.file_stem()?.to_string_lossy());

    calibrate(&folder.join("sweep.csv"), &world, &net);
    fitted_in(folder);
    let clocks = world.clocks();
    let deadline = Nanos::from_secs_f64(factor * frame_at(&world, &net, clocks.len() - 1));
    let started = Instant::now();
    let table = planned(folder, deadline, &[]);
    let plan_s = started.elapsed().as_secs_f64();

    let run = |drive: Drive<'_>| {
        let mut pool = Pool::default();
        for seed in FIRST_SEED..FIRST_SEED + seeds {
            pool.add(&run_on((&board, seed), &net, deadline, frames, drive));
        }
        pool
    };
    let mut held: Vec<Pool> = (0..clocks.len())
        .filter(|clock| frame_at(&world, &net, *clock) < deadline.as_secs_f64())
        .map(|clock| run(Drive::Fixed(ClockIndex(clock as u8))))
        .filter(|pool| pool.miss_rate() <= RISK)
        .collect();
    let least = |held: &[Pool]| held.iter().map(Pool::energy_j).min_by(f64::total_cmp);
    let fixed = least(&held);
    let ours = table.as_ref().map(|table| run(Drive::Table(table)));
    if oracle {
        for share in [0.94, 0.97, 1.0, 1.02, 1.04] {
            let other = Nanos::from_secs_f64(deadline.as_secs_f64() * share);
            let list: Option<Table> = planned(folder, other, &["--list"]);
            held.extend(list.map(|list| run(Drive::Table(&list))).filter(|pool| pool.miss_rate() <= RISK));
        }
    }
    let over = |least: Option<f64>| Some(ours.as_ref()?.energy_j() / least? - 1.0);
    Some(Judged {
        name,
        missed: ours.as_ref().map(interval),
        over_fixed: over(fixed),
        over_oracle: over(least(&held).filter(|_| oracle)),
        reachable: fixed.is_some(),
        switches: ours.as_ref().map_or(0.0, Pool::switches),
        plan_s,
    })
}

/// The share of missed frames with its 95 % interval by seed, as misses cluster.
fn interval(pool: &Pool) -> (f64, f64, f64) {
    let (mean, error) = pool.miss_error();
    let off = student95(pool.seeds() - 1) * error;
    (mean, (mean - off).max(0.0), mean + off)
}

/// A network of so many blocks, each as long as it is drawn, that takes about so long at the top clock.
fn made(draw: &mut Draw, blocks: u64, frame_ms: u64, world: &sim::Board) -> Network {
    let shares: Vec<u64> = (0..blocks).map(|_| draw.between((20, 200))).collect();
    let of = |flops: u64| Layer { flops, weight_bytes: 0, activation_bytes: 0 };
    let network = |per_share: f64| Network {
        name: "drawn".to_owned(),
        blocks: shares
            .iter()
            .enumerate()
            .map(|(i, share)| Block { name: format!("b{i}"), layers: vec![of((per_share * *share as f64) as u64)] })
            .collect(),
    };
    // As long as asked for: one length is tried, and all go with it.
    let top = world.clocks().len() - 1;
    let tried = frame_at(world, &network(1e8), top);
    network(1e8 * frame_ms as f64 * 1e-3 / tried)
}

fn calibrate(path: &Path, world: &sim::Board, net: &Network) {
    let nodes = world.nodes();
    let subject = Subject {
        board: board::Board::discover(&nodes).expect("a board"),
        nodes,
        network: world.runner(net.clone()),
        probe: world.runner(network("vgg19-32").expect("a built-in network")),
        timer: world.timer(),
        device: "virtual".to_owned(),
        model: net.name.clone(),
        evidence: "virtual",
    };
    let settings = subject.settings();
    subject.calibrate(path, &settings, &Stop::never(), &mut |_| {}).expect("calibrated");
}
