//! Samples of released versions (`tests/frozen`): every file that a version wrote reads as it was meant.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use jetpace::files::{model, sweep};
use jetpace_devfreq::guard::{self, Leftover, STATE};
use jetpace_devfreq::nodes::SysfsRoot;
use jetpace_tables::model::{PowerModel, TimeModel};
use jetpace_tables::sample::Kind;
use jetpace_tables::table::{Rung, Table, image};
use jetpace_tables::units::{Hertz, Milliwatts, Nanos};
use jetpace_tables::work::{BlockId, Size};

use crate::killed::copy;

fn place(name: &str) -> PathBuf {
    jetpace_tests::root().join("tests/frozen/0.1").join(name)
}

const BOARD: &str = "904c442d709053fd228e9d1c1e5947f6eca2c1da947228f47517f5d192d355d8";
const CLOCKS: [u64; 5] = [306_000_000, 408_000_000, 510_000_000, 612_000_000, 624_750_000];

#[test]
fn a_sweep() {
    let sweep = sweep::read(&place("sweep.csv")).unwrap();
    assert_eq!(sweep.board.as_deref(), Some(BOARD));
    assert_eq!(sweep.clocks(), CLOCKS.map(Hertz::new));
    for (key, value) in [("name", "sim:orin-nano"), ("evidence", "virtual"), ("repeats", "frames"), ("late", "60")] {
        assert_eq!(sweep.field(key), Some(value));
    }
    let count = |kind| sweep.rows.iter().filter(|row| row.kind == kind).count();
    assert_eq!(Kind::ALL.map(count), [280, 60, 10, 20, 20, 20]);

    let first = &sweep.rows[0];
    assert_eq!((first.block.as_str(), first.size, first.repeat), ("conv1", Size(1), 0));
    assert_eq!((first.gpu_freq, first.emc_freq), (Some(Hertz::new(510_000_000)), Some(Hertz::new(2_133_000_000))));
    assert_eq!((first.latency, first.power), (Some(Nanos::new(53_316)), None));
    let settle = sweep.rows.iter().rev().find(|row| row.kind == Kind::Settle).unwrap();
    assert_eq!((settle.from, settle.to), (Some(Hertz::new(510_000_000)), Some(Hertz::new(306_000_000))));
    assert_eq!(settle.latency, Some(Nanos::new(5_770_681)));
    let idle = sweep.rows.iter().find(|row| row.kind == Kind::Idle).unwrap();
    assert_eq!(
        idle.rails.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(),
        ["VDD_IN", "VDD_CPU_GPU_CV", "VDD_SOC"]
    );
    assert_eq!(idle.power, Some(idle.rails[0].1));
    assert!(idle.power > Some(Milliwatts::new(1_000)), "{idle:?}");
}

#[test]
fn a_model() {
    let (model, digest) = model::read(&place("model.json")).unwrap();
    assert_eq!(digest, *table("table.jpt").model(), "the table was planned from it");
    assert_eq!(model.board.as_ref().map(|board| board.digest.as_str()), Some(BOARD));
    assert_eq!((model.f_ref_hz.get(), model.clocks_hz.len()), (624_750_000, 5));
    let blocks: Vec<&str> = model.series.iter().map(|series| series.block.as_str()).collect();
    assert_eq!(blocks, ["conv1", "conv2", "conv3", "conv4", "conv5", "fc6", "fc7", "fc8"]);

    let conv1 = &model.series[0];
    let expected = TimeModel::Additive { w_s: 3.674469572716879e-5, c_s: 8.052154634348475e-6 };
    assert_eq!(conv1.time_fit(None).unwrap().model, expected, "the default form");
    assert_eq!((conv1.time.len(), conv1.power.len()), (5, 5));
    let power = conv1.power_fit(None).unwrap();
    let expected =
        PowerModel::VoltageActivity { p0_w: 4.400859383408266, k_w: 3.6010816624492645, e_j: 7.0351733410324e-5 };
    assert_eq!(power.model, expected);
    assert_eq!(conv1.points[0].time_s, 8.291485714285714e-5);
    assert_eq!(model.idle[0].power_w, 3.997);
    assert_eq!((model.settle.len(), model.stall.len()), (20, 20));
    assert_eq!(model.settle[0].time.p50_s, 0.004879347);
    assert_eq!(model.write.unwrap().p50_s, 3.3271e-5);
    assert_eq!(model.device_constants.voltage.knee, 0.7096561677286048);
    let frames = &model.frames[0];
    assert_eq!(frames.count, 90);
    assert_eq!(frames.late.len(), 5);

    // As it is planned from: blocks and whole frames at a clock.
    let blocks = model.blocks("alexnet", Some(Hertz::new(2_133_000_000)));
    let time: f64 = blocks.iter().map(|block| block.time_s(Hertz::new(CLOCKS[0]), Size(1))).sum();
    assert!((time / 3.4561e-3 - 1.0).abs() < 1e-4, "{time}");
}

fn table(name: &str) -> Table {
    image::decode(&fs::read(place(name)).unwrap()).unwrap()
}

#[test]
fn tables() {
    let plain = table("table.jpt");
    assert_eq!((plain.network(), plain.blocks(), plain.classes()), ("alexnet", 8, 1));
    assert_eq!((plain.deadline(), plain.period()), (Nanos::from_micros(4_600), Nanos::from_micros(4_600)));
    assert_eq!((plain.risk_ppm(), plain.emc()), (10_000, Some(Hertz::new(2_133_000_000))));
    assert_eq!(plain.write_time(), Some(Nanos::new(33_271)));
    assert_eq!(plain.names().collect::<Vec<_>>()[7], "fc8");
    assert!(plain.clocks().iter().map(|clock| clock.clock.get()).eq(CLOCKS));
    assert_eq!(plain.look_up(0, BlockId(3), Rung(4), 1_000_000), Rung(0));

    let sizes = table("sizes.jpt");
    assert_eq!((sizes.network(), sizes.blocks(), sizes.classes()), ("language-model", 20, 2));
    assert_eq!([64, 65].map(|size| sizes.class(Size(size))), [0, 1]);
    // A long prompt is read at the second clock, a short one at the first, and both are answered at the first.
    let slack = 900_000_000;
    let clock = |class, block| sizes.look_up(class, BlockId(block), Rung(0), slack);
    assert_eq!([clock(0, 0), clock(1, 0), clock(1, 4)], [Rung(0), Rung(1), Rung(0)]);
    assert!((5_000..5_400).contains(&(sizes.gap().wake_lead.get() / 1_000)), "{:?}", sizes.gap());
}

#[test]
fn a_state_file_is_put_back() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    copy(&jetpace_tests::root().join("tests/boards/orin-nx-16gb-r35.3"), root);
    let gpu = root.join("sys/devices/platform/17000000.ga10b/devfreq/17000000.ga10b");
    let state = root.join(STATE.trim_start_matches('/'));
    fs::create_dir_all(state.parent().unwrap()).unwrap();
    fs::copy(place("state.json"), &state).unwrap();
    // As it makes them: nobody else's.
    fs::set_permissions(state.parent().unwrap(), fs::Permissions::from_mode(0o700)).unwrap();
    fs::set_permissions(&state, fs::Permissions::from_mode(0o600)).unwrap();
    // As the killed instance left it.
    for (node, value) in [("min_freq", "510000000\n"), ("max_freq", "612000000\n")] {
        fs::write(gpu.join(node), value).unwrap();
    }
    let Leftover::Restored(report) = guard::restore(&SysfsRoot::new(root)).unwrap() else {
        panic!("nothing was put back")
    };
    assert!(report.foreign.is_empty() && report.failed.is_empty(), "{report:?}");
    let now = |node| fs::read_to_string(gpu.join(node)).unwrap().trim().to_owned();
    assert_eq!((now("min_freq"), now("max_freq")), ("306000000".to_owned(), "408000000".to_owned()));
    assert!(!Path::new(&state).exists());
}
