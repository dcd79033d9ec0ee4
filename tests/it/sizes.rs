//! Work that varies: a language model whose prompts have 64 to 1024 tokens. Reading the prompt goes with its tokens, an
//! answer's token does not. Virtual throughout.

use std::path::Path;

use clap::Parser;
use jetpace::args::Cli;
use jetpace::files::model;
use jetpace::session::frames::Pace;
use jetpace::session::virtual_board::{VirtualRun, best_fixed};
use jetpace::session::{Drive, Summary};
use jetpace::signals::Stop;
use jetpace_tables::table::Table;
use jetpace_tables::table::image;
use jetpace_tables::units::{Hertz, Nanos};
use jetpace_tables::work::{BlockId, Size};

const BOARD: &str = "orin-nano";
const SIZES: &str = "64:0.5,256:0.3,1024:0.2";
const DEADLINE: Nanos = Nanos::from_millis(1150);
const RISK: f64 = 0.01;

fn command(words: &str) {
    let line = format!("jetpace {words}");
    let parsed = Cli::try_parse_from(line.split_whitespace()).unwrap();
    parsed.command.run().unwrap();
}

fn read(path: &Path) -> Table {
    image::decode(&std::fs::read(path).unwrap()).unwrap()
}

fn run(drive: Drive<'_>, seed: u64) -> Summary {
    case(seed).run(drive, &Stop::never(), |_| Ok(())).unwrap()
}

fn case(seed: u64) -> VirtualRun {
    VirtualRun {
        board: BOARD.to_owned(),
        seed,
        network: jetpace_kernels::net::network("language-model").unwrap(),
        pace: Pace { deadline: DEADLINE, period: DEADLINE },
        frames: 200,
        triggers: None,
        sizes: SIZES.split(',').map(|size| size.parse().unwrap()).collect(),
    }
}

#[test]
fn prompts_of_several_sizes_run_at_clocks_of_their_own() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let (sweep, model) = (path("sweep.csv"), path("model.json"));
    let (sweep, model) = (sweep.display(), model.display());
    command(&format!("calibrate --board sim:{BOARD} --net language-model --sizes 64,256,1024 --late 6000 -o {sweep}"));
    command(&format!("fit {sweep} -o {model}"));
    let (sized, one) = (path("sized.jpt"), path("one.jpt"));
    command(&format!("plan {model} --deadline {}ns --sizes {SIZES} -o {}", DEADLINE.get(), sized.display()));
    command(&format!("plan {model} --deadline {}ns --size 1024 -o {}", DEADLINE.get(), one.display()));

    // What the fit says of sizes: between those measured, too.
    let (fitted, _) = model::read(&path("model.json")).unwrap();
    let blocks = fitted.blocks("language-model", fitted.emc_clocks("language-model")[0]);
    let grows = |name: &str, to: u32| {
        let block = blocks.iter().find(|block| block.name() == name).unwrap();
        let at = |size: u32| block.time_s(fitted.f_ref_hz, Size(size));
        at(to) / at(256)
    };
    let (prefill, decode) = (grows("prefill.1", 512), grows("decode.1", 512));
    assert!((1.7..2.0).contains(&prefill), "prefill of twice the tokens takes {prefill} times as long");
    assert!((decode - 1.0).abs() < 0.02, "a token behind twice the prompt takes {decode} times as long");

    let (sized, one) = (read(&sized), read(&one));
    let rung = |size: u32| sized.look_up(sized.class(Size(size)), BlockId(1), sized.gap().first, 1_100_000_000);
    assert_eq!([1, 64, 65, 256, 257, 5000].map(|size| sized.class(Size(size))), [0, 0, 1, 1, 2, 2]);
    assert!(rung(1024) > rung(64), "{:?} {:?}", rung(1024), rung(64));

    let (mut missed, mut frames, mut joules) = (0, 0, [0.0; 3]);
    for seed in 100..105 {
        let (ours, theirs) = (run(Drive::Table(&sized), seed), run(Drive::Table(&one), seed));
        let fixed = case(seed).run_fixed(&Stop::never()).unwrap();
        let (_, fixed): &(Hertz, Summary) = best_fixed(&fixed, RISK).unwrap();
        for (sum, run) in joules.iter_mut().zip([&ours, &theirs, fixed]) {
            *sum += run.energy.unwrap().as_joules_f64();
        }
        missed += ours.missed;
        frames += ours.frames;
    }
    assert!(missed as f64 <= RISK * frames as f64, "{missed} of {frames} missed");
    let [ours, one_size, fixed] = joules;
    // Thresholds per size take less than a table that takes every prompt for the longest, and than any one clock.
    assert!(ours < 0.995 * one_size && ours < 0.98 * fixed, "{ours} J, for one size {one_size} J, fixed {fixed} J");
}
