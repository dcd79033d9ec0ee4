//! Boards in the states that users have shown: edits on a recorded board, and what is right there. Each stands for a kind
//! of fault, so each is tried on several boards and releases.

use jetpace::calibrate::{self, Settings};
use jetpace_devfreq::Error;
use jetpace_devfreq::board::{Board, Bound};
use jetpace_devfreq::gpu::{self, GpuNode, Way};
use jetpace_devfreq::guard::Guard;
use jetpace_devfreq::rails::{PowerPace, Total};
use jetpace_devfreq::sim::tree::Tree;
use jetpace_tables::hw::{GpuClock, PowerOf, RailRole};
use jetpace_tables::units::Hertz;
use jetpace_tables::work::ClockIndex;
use jetpace_tests::edited::Edited;

use crate::rivals::read;

const SUPER: &str = "orin-nano-8gb-super-r36.4";

fn said(board: &Edited) -> String {
    board.board().bounds_in_words(&board.nodes()).join("\n")
}

fn missing(board: &Edited) -> String {
    board.board().missing.join("\n")
}

const fn mhz(mhz: u64) -> Hertz {
    Hertz::new(mhz * 1_000_000)
}

/// A board that is hot: its GPU's device or alert at work, and the bound as far down.
fn hot(name: &str, kind: &str, max: &str) -> Edited {
    Edited::new(name).cooling(0, kind, 2).gpu("max_freq", max)
}

#[test]
fn heats_bound_is_never_the_users() {
    use Bound::{At, Open, Unknown};
    for (board, user, cap) in [
        (hot(SUPER, "gpu-throttle-alert", "510000000").mode(2), Open, mhz(1020)),
        (hot(SUPER, "gpu-throttle-alert", "510000000").mode(1), At(mhz(918)), mhz(918)),
        (hot(SUPER, "devfreq-17000000.gpu", "408000000").mode(1), At(mhz(918)), mhz(918)),
        // The status says less than the hardware allows: no claim to go by.
        (hot(SUPER, "gpu-throttle-alert", "816000000").mode(0), Unknown, mhz(816)),
        (hot(SUPER, "gpu-throttle-alert", "510000000").remove("/var/lib/nvpmodel"), Unknown, mhz(510)),
        (hot("agx-orin-r35.4", "thermal-devfreq-0", "408000000").mode(0), Open, Hertz::new(1_300_500_000)),
        (hot("xavier-nx-r35.5", "17000000.gv11b", "510000000").remove("/var/lib/nvpmodel"), Unknown, mhz(510)),
        // 4.9 shows what was stored, whatever the heat.
        (hot("nano-r32.7", "GPU-balanced", "614400000").remove("/var/lib/nvpmodel"), At(Hertz::new(614_400_000)), {
            Hertz::new(614_400_000)
        }),
    ] {
        let gpu = board.board().gpu;
        assert_eq!((gpu.user, gpu.cap), (user, cap), "{}", gpu.devfreq.display());
        assert!(said(&board).contains("held down now by"), "{}", said(&board));
        assert_eq!(said(&board).contains("cannot be known"), user == Unknown, "{}", said(&board));
    }
}

#[test]
fn another_engines_heat_bounds_nothing() {
    for (name, kind) in [
        (SUPER, "cpu-throttle-alert"),
        ("orin-nx-16gb-super-r36.5", "soc0-throttle-alert"),
        ("agx-orin-r35.4", "devfreq-15340000.vic"),
        ("thor-r38.2", "devfreq-gpu-nvd-0"),
    ] {
        let board = Edited::new(name).cooling(7, kind, 3);
        let gpu = board.board().gpu;
        assert!(!gpu.throttled, "{name} {kind}");
        assert_eq!(gpu.user, Edited::new(name).board().gpu.user);
        assert!(said(&board).contains(kind) && said(&board).contains("does not bound"), "{}", said(&board));
    }
}

/// What `max_freq` holds once a clock was held under heat and the heat is gone.
fn left(tree: &Tree, way: Option<Way>) -> Result<String, Error> {
    let board = Board::discover(tree)?;
    let (guard, _) = Guard::take(tree.clone())?;
    let mut gpu = GpuNode::open(tree.clone(), tree.timer(), &board, &guard, way)?;
    gpu.set(ClockIndex(0))?;
    gpu.release()?;
    guard.restore()?;
    drop(gpu);
    tree.outside(|outside| outside.throttle(None));
    Ok(read(tree, &board.gpu.node("max_freq")))
}

#[test]
fn what_is_put_back_is_the_users_bound() {
    for (mode, way, wanted) in
        [(2, Way::MinMax, "1020000000"), (1, Way::MinMax, "918000000"), (2, Way::Userspace, "1020000000")]
    {
        let open = if mode == 2 { "1020000000" } else { "918000000" };
        let tree = Edited::new(SUPER).mode(mode).gpu("max_freq", open).tree();
        tree.outside(|outside| outside.throttle(Some(mhz(510))));
        assert_eq!(left(&tree, Some(way)).unwrap(), wanted, "{mode} {way}");
    }
}

#[test]
fn where_the_users_bound_is_unknown_no_bound_is_written() {
    // Boards on which a cooling device tells of the heat: where none does, nothing tells it from a bound written by hand.
    for name in [SUPER, "agx-orin-r36.4", "orin-nx-16gb-super-r36.5"] {
        let unknown = || {
            let tree = Edited::new(name).remove("/var/lib/nvpmodel").tree();
            tree.outside(|outside| outside.throttle(Some(mhz(408))));
            tree
        };
        let tree = unknown();
        let before = read(&tree, &Board::discover(&tree).unwrap().gpu.node("max_freq"));
        let refused = left(&tree, Some(Way::MinMax)).unwrap_err();
        assert!(matches!(refused, Error::BoundUnknown { .. }), "{name}: {refused}");
        let tree = unknown();
        let held = left(&tree, None);
        let wrote = tree.log().iter().any(|entry| entry.path.ends_with("max_freq"));
        assert!(!wrote, "{name}: {before} {held:?}");
    }
}

#[test]
fn one_board_has_one_identity_whoever_looks() {
    for name in ["agx-orin-r36.4", "agx-orin-r34.1", "xavier-nx-r32.7", "thor-r38.2"] {
        let whole = Edited::new(name).board();
        let user = Edited::new(name)
            .remove("/sys/kernel/debug")
            .remove("/sys/kernel/nvpmodel_emc_cap")
            .remove("/sys/kernel/nvpmodel_clk_cap")
            .board();
        assert_eq!(whole.digest(), user.digest(), "{name}");
        assert!(whole.digests().include(&user.digest_bytes()));
    }
}

#[test]
fn a_container_is_told_what_to_mount() {
    for name in ["agx-orin-r36.4", "nano-r32.7", "orin-nano-8gb-r39.2"] {
        let board = Edited::new(name).remove("/etc/nv_tegra_release").remove("/var/lib/nvpmodel");
        let text = missing(&board);
        assert!(text.contains("digest hangs on") && text.contains("mount /etc/nv_tegra_release"), "{name}: {text}");
    }
    // One of the files alone makes another identity, too, and is named alone.
    for (name, path) in [
        ("xavier-nx-r35.5", "/etc/nv_tegra_release"),
        ("nano-r32.7", "/var/lib/nvpmodel"),
        ("thor-r38.2", "/etc/nvpmodel.conf"),
    ] {
        let board = Edited::new(name).remove(path);
        assert_ne!(board.board().digest(), Edited::new(name).board().digest(), "{name} {path}");
        let text = missing(&board);
        assert!(text.contains(&format!("in a container mount {path} into it")), "{name}: {text}");
    }
    assert!(!missing(&Edited::new("tx2-r32.7")).contains("container"));
}

#[test]
fn the_hardware_counts_where_the_status_says_otherwise() {
    let lying = Edited::new(SUPER).mode(0).gpu("max_freq", "1020000000");
    assert!(said(&lying).contains("status says 15W (612 MHz), the hardware allows 1020 MHz"), "{}", said(&lying));
    let honest = Edited::new(SUPER).mode(0).gpu("max_freq", "612000000");
    assert_eq!(honest.board().differs, None);
    assert_ne!(lying.board().digest(), honest.board().digest());
    let lower = Edited::new("agx-orin-r36.4").mode(0).gpu("max_freq", "612000000");
    assert!(lower.board().differs.is_some_and(|said| said.contains("the hardware allows 612 MHz")));
}

#[test]
fn a_mode_that_was_never_set_is_not_in_the_identity() {
    for name in [SUPER, "xavier-nx-r32.7", "agx-orin-r35.4"] {
        let configured = Edited::new(name).remove("/var/lib/nvpmodel");
        let none = Edited::new(name).remove("/var/lib/nvpmodel").remove("/etc/nvpmodel.conf");
        assert_eq!(configured.board().digest(), none.board().digest(), "{name}");
        assert!(missing(&configured).contains("nothing says that it was ever set"), "{}", missing(&configured));
    }
}

#[test]
fn a_locked_clock_and_a_fixed_governor_are_told() {
    for name in ["agx-orin-r36.4", "tx2-r32.7", "thor-r38.2"] {
        let top = Edited::new(name).board().gpu.cap.get().to_string();
        let locked = Edited::new(name).gpu("min_freq", &top).gpu("max_freq", &top).gpu("cur_freq", &top);
        assert!(
            said(&locked).contains("locked by someone (floor = bound), as jetson_clocks does"),
            "{}",
            said(&locked)
        );
        for governor in ["performance", "userspace"] {
            let fixed = Edited::new(name).gpu("governor", governor);
            assert!(said(&fixed).contains(&format!("governor {governor}, left by someone")), "{}", said(&fixed));
        }
        assert_eq!(Edited::new(name).board().gpu.fixed_governor(), None);
        assert_eq!(Edited::new(name).board().gpu.stock_governor(), Some("nvhost_podgov"));
        let other = Edited::new(name).gpu("governor", "simple_ondemand");
        assert_eq!(other.board().gpu.stock_governor(), None);
        assert!(said(&other).contains("simple_ondemand, set by someone"), "{}", said(&other));
    }
    let device = "/sys/devices/platform/17000000.ga10b/enable_3d_scaling";
    let off = Edited::new("agx-orin-r35.4").put(device, "0\n");
    assert!(said(&off).contains("enable_3d_scaling 0"), "{}", said(&off));
}

#[test]
fn only_a_jetsons_gpu_is_set() {
    let of = |name: &str, text: &str| {
        let device = Edited::new(name).board().gpu.device;
        Edited::new(name).put(&device.join("of_node/compatible").to_string_lossy(), text)
    };
    for name in [SUPER, "nano-r32.7", "xavier-nx-r35.5"] {
        let refused = Board::discover(&of(name, "arm,mali-valhall-csf\0").nodes()).unwrap_err();
        assert!(matches!(refused, Error::ForeignGpu { .. }) && refused.is_unsupported(), "{refused}");
        assert!(Board::discover(&of(name, "nvidia,ga10b\0nvidia,gpu\0").nodes()).is_ok());
        let other = Edited::new(name).put("/proc/device-tree/compatible", "rockchip,rk3588\0");
        assert!(Board::discover(&other.nodes()).unwrap_err().to_string().contains("rockchip"));
    }
    // Another vendor's device, with its own name.
    let foreign = Edited::new(SUPER)
        .remove("/sys/class/devfreq")
        .remove("/proc/device-tree/compatible")
        .put("/sys/class/devfreq/fb000000.gpu/available_frequencies", "300000000 600000000\n")
        .put("/sys/class/devfreq/fb000000.gpu/device/of_node/name", "gpu\0");
    assert!(matches!(Board::discover(&foreign.nodes()).unwrap_err(), Error::ForeignGpu { .. }));
}

#[test]
fn the_node_that_sleeps_is_found_and_put_back() {
    for (name, wanted) in [
        ("thor-r38.2", "0000:01:00.0/power/control"),
        (SUPER, "17000000.gpu/power/control"),
        ("xavier-nx-r35.5", "17000000.gv11b/power/control"),
    ] {
        let board = Edited::new(name);
        let sleep = board.board().gpu.sleep.unwrap();
        assert!(sleep.ends_with(wanted), "{}", sleep.display());
        let tree = board.put(&sleep.to_string_lossy(), "auto\n").tree();
        let found = Board::discover(&tree).unwrap();
        let (guard, _) = Guard::take(tree.clone()).unwrap();
        gpu::try_ways(&tree, tree.timer(), &found, &guard).unwrap();
        guard.restore().unwrap();
        assert!(tree.log().iter().any(|entry| entry.path == sleep && entry.text == "on"), "{name}: not woken");
        assert_eq!(read(&tree, &sleep), "auto", "{name}");
    }
    // Thor's devfreq device has a node of its own, which does nothing.
    let device = Edited::new("thor-r38.2").board().gpu.device;
    let own = Edited::new("thor-r38.2").put(&device.join("power/control").to_string_lossy(), "auto\n");
    assert!(own.board().gpu.sleep.unwrap().ends_with("0000:01:00.0/power/control"));
}

/// An INA3221 more, on a bus and address.
fn monitor(board: Edited, dir: &str, name: &str, label: &str) -> Edited {
    board
        .put(&format!("{dir}/name"), format!("{name}\n"))
        .put(&format!("{dir}/in1_label"), format!("{label}\n"))
        .put(&format!("{dir}/in1_input"), "5000\n")
        .put(&format!("{dir}/curr1_input"), "900\n")
        .link("/sys/class/hwmon/hwmon9", dir)
}

#[test]
fn one_total_is_the_modules_and_other_monitors_are_left_out() {
    for (name, dir, kind, label) in [
        (SUPER, "/sys/devices/platform/bus@0/c240000.i2c/i2c-1/1-0041/hwmon/hwmon9", "ina3221", "VDD_IN"),
        (SUPER, "/sys/devices/platform/bus@0/3160000.i2c/i2c-0/0-0040/hwmon/hwmon9", "ina3221", "VDD_IN"),
        ("orin-nx-16gb-r35.3", "/sys/devices/platform/c240000.i2c/i2c-1/1-0044/hwmon/hwmon9", "ina238", "VIN"),
        ("xavier-nx-r35.5", "/sys/devices/platform/c240000.i2c/i2c-1/1-0045/hwmon/hwmon9", "ina226", "VDD_IN"),
        (
            "agx-orin-r36.4",
            "/sys/devices/platform/bus@0/31e0000.i2c/i2c-8/8-0040/hwmon/hwmon9",
            "ina3221",
            "VIN_SYS_5V0",
        ),
    ] {
        let before = Edited::new(name).board();
        let board = monitor(Edited::new(name), dir, kind, label);
        let found = board.board();
        assert_eq!((&found.rails, &found.total), (&before.rails, &before.total), "{name}");
        assert!(missing(&board).contains("left out"), "{name}: {}", missing(&board));
    }
    let thor = Edited::new("thor-r38.2");
    let twice = monitor(thor, "/sys/devices/platform/bus@0/810c690000.i2c/i2c-3/3-0040/hwmon/hwmon9", "ina3221", "VIN");
    assert!(twice.board().total.to_string().contains("nothing tells which is the module's"), "{}", twice.board().total);
    assert!(twice.board().rails.is_empty());
}

#[test]
fn a_total_that_lacks_a_part_is_not_known() {
    let chip = |bus: &str| format!("/sys/devices/platform/{bus}c240000.i2c/i2c-1/1-0040/hwmon/hwmon1");
    let told = |board: &Board| PowerOf::told_by(board.rails.iter().map(|rail| rail.role)).map(|(of, _)| of);
    let orin = chip("bus@0/");
    for (board, of, why) in [
        (Edited::new(SUPER).put(&format!("{orin}/in1_enable"), "0\n"), Some(PowerOf::GpuShared), "switched off"),
        (
            Edited::new("agx-orin-r36.4").put(&format!("{orin}/in3_enable"), "0\n"),
            Some(PowerOf::GpuShared),
            "VIN_SYS_5V0",
        ),
        (Edited::new("agx-orin-r36.4").remove(&format!("{orin}/in3_label")), Some(PowerOf::GpuShared), "VIN_SYS_5V0"),
        (Edited::new("agx-xavier-r32.7").remove("/sys/bus/i2c/drivers/ina3221x/1-0041"), Some(PowerOf::Gpu), "CV"),
        (Edited::new(SUPER).remove("/sys/class/hwmon"), None, "no power monitor"),
    ] {
        let found = board.board();
        assert_eq!(told(&found), of, "{:?}", found.rails);
        let Total::Unknown(said) = &found.total else { panic!("{}", found.total) };
        assert!(said.contains(why), "{said}");
        assert!(!found.rails.iter().any(|rail| matches!(rail.role, RailRole::Total | RailRole::Part)));
    }
    assert_eq!(
        Edited::new("agx-orin-r36.4").board().total.to_string(),
        "the sum of VDD_GPU_SOC + VDD_CPU_CV + VIN_SYS_5V0"
    );
}

#[test]
fn a_super_module_without_the_super_clocks_is_told() {
    let short = "306000000 408000000 510000000 612000000 624750000";
    let board = Edited::new(SUPER).mode(2).gpu("available_frequencies", short).gpu("max_freq", "624750000");
    assert!(said(&board).contains("lacks the Super clocks"), "{}", said(&board));
    let board = Edited::new("orin-nx-16gb-super-r36.5").gpu("available_frequencies", "306000000 612000000 918000000");
    assert!(said(&board).contains("lacks the Super clocks"), "{}", said(&board));
    for name in [SUPER, "orin-nx-16gb-super-r36.5", "orin-nx-16gb-r35.3"] {
        assert!(!said(&Edited::new(name)).contains("lacks"), "{name}");
    }
}

#[test]
fn files_edited_elsewhere_lose_nothing_but_the_bad_part() {
    for name in [SUPER, "nano-r32.7", "agx-orin-r35.4"] {
        let plain = Edited::new(name).board();
        let windows = |path: &str| {
            let text = std::fs::read_to_string(Edited::new(name).on_disk(path)).unwrap();
            let mut bytes = b"\xef\xbb\xbf".to_vec();
            bytes.extend(text.replace('\n', " \t\r\n").into_bytes());
            bytes.extend(b"# caf\xe9\r\n");
            bytes
        };
        let status = format!("\u{feff}pmode:{:04} \r\n", plain.power_mode.as_ref().unwrap().id);
        let edited = Edited::new(name)
            .put("/etc/nvpmodel.conf", windows("/etc/nvpmodel.conf"))
            .put("/etc/nv_tegra_release", windows("/etc/nv_tegra_release"))
            .put("/var/lib/nvpmodel/status", status);
        let found = edited.board();
        assert_eq!(found.identity, plain.identity, "{name}");
        assert_eq!(found.digest(), plain.digest(), "{name}");
    }
    // Half a number is another number.
    let half = |name: &str, end: &str| {
        let text = std::fs::read_to_string(Edited::new(name).on_disk("/etc/nvpmodel.conf")).unwrap();
        let at = text.find(end).unwrap() + end.len();
        Edited::new(name).put("/etc/nvpmodel.conf", &text[..at])
    };
    for (name, end) in
        [(SUPER, "ID=1 NAME=25W >\nGPU MIN_FREQ 0\nGPU MAX_FREQ 9180"), ("tx2-r32.7", "GPU MAX_FREQ 11220")]
    {
        let board = half(name, end);
        let text = missing(&board);
        assert!(text.contains("ends in the middle of a line"), "{name}: {text}");
        assert_eq!(board.board().differs, None, "{name}");
    }
    let list = Edited::new(SUPER).gpu("available_frequencies", "306000000 408000000 5l0000000 612000000");
    assert_eq!(list.board().gpu.clocks, [306, 408, 612].map(mhz));
    assert!(missing(&list).contains("5l0000000"), "{}", missing(&list));
}

#[test]
fn a_node_that_is_gone_or_holds_garbage_is_unknown_and_the_rest_is_told() {
    for name in ["orin-nx-16gb-r35.3", "nano-r32.7", "thor-r38.2"] {
        let node = Edited::new(name).board().gpu.node("max_freq").to_string_lossy().into_owned();
        for board in [
            Edited::new(name).remove(&node),
            Edited::new(name).put(&node, ""),
            Edited::new(name).put(&node, "4080000l0\n"),
        ] {
            let gpu = board.board().gpu;
            assert_eq!((gpu.max, gpu.user), (Bound::Unknown, Bound::Unknown), "{name}");
            // nvpmodel's mode says what is allowed where the node does not.
            assert_eq!(gpu.cap, Edited::new(name).board().gpu.cap, "{name}");
            assert!(missing(&board).contains("max_freq"), "{name}: {}", missing(&board));
            assert!(said(&board).contains("max_freq does not tell it"), "{name}: {}", said(&board));
            let tree = board.tree();
            assert!(left(&tree, None).is_err(), "{name}: a bound that could not be put back was written over");
            assert!(tree.log().iter().all(|entry| !entry.path.ends_with("max_freq")), "{name}");
        }
        let floor = Edited::new(name).gpu("min_freq", "low");
        assert_eq!((floor.board().gpu.min, floor.board().gpu.is_locked()), (Bound::Unknown, false), "{name}");
        let governor = Edited::new(name).gpu("governor", "");
        assert_eq!(governor.board().gpu.stock_governor(), None);
        assert!(missing(&governor).contains("so none could be put back"), "{name}: {}", missing(&governor));
        for way in [Way::Userspace, Way::Performance] {
            assert!(way.lacks(&governor.nodes(), &governor.board().gpu).is_some(), "{name} {way}");
        }
    }
    let unnamed = Edited::new("agx-xavier-r32.7").put("/etc/nv_tegra_release", "R32.7.2\n");
    assert!(missing(&unnamed).contains("/etc/nv_tegra_release names none"), "{}", missing(&unnamed));
}

#[test]
fn absolute_links_lead_below_the_trees_own_root() {
    for name in [SUPER, "agx-orin-r35.4", "thor-r38.2"] {
        let plain = Edited::new(name).board();
        let gpu = plain.gpu.devfreq.file_name().unwrap().to_string_lossy().into_owned();
        let link = format!("/sys/class/devfreq/{gpu}");
        let linked = Edited::new(name).link(&link, &plain.gpu.devfreq.to_string_lossy());
        assert_eq!(linked.board().gpu, plain.gpu, "{name}");
        let outside = Edited::new(name).link(&link, "/../../../../tmp");
        assert!(Board::discover(&outside.nodes()).is_err());
    }
}

#[test]
fn a_list_of_170_clocks_is_a_list() {
    let list: Vec<String> = (0..170).map(|step| (315_000_000u64 + step * 7_500_000).to_string()).collect();
    let tree = Edited::new("thor-r38.2").gpu("available_frequencies", &list.join(" ")).tree();
    let board = Board::discover(&tree).unwrap();
    assert_eq!(board.gpu.clocks.len(), 170);
    // Calibration visits as many as a table holds, both ends among them.
    let measured = calibrate::measured(&board);
    let highest = board.gpu.clocks.iter().rposition(|clock| *clock <= board.gpu.cap).unwrap();
    assert_eq!((measured.len(), measured[0], measured[15]), (16, ClockIndex(0), ClockIndex(highest as u8)));
    assert!(measured.windows(2).all(|pair| pair[0] < pair[1]));
    let settings = Settings::usual(PowerPace::HWMON);
    let changes = calibrate::steps(&settings, &measured);
    let changes = changes.iter().filter(|step| matches!(step, calibrate::Step::Change { .. })).count();
    assert_eq!(changes, 240 * settings.changes as usize);
    let few = Edited::new("agx-xavier-r32.7").board();
    assert_eq!(calibrate::measured(&few).len(), few.gpu.clocks.len());
    let (guard, _) = Guard::take(tree.clone()).unwrap();
    let mut gpu = GpuNode::open(tree.clone(), tree.timer(), &board, &guard, None).unwrap();
    for clock in [0, 84, 169, 12] {
        let wanted = board.gpu.clocks[clock].min(board.gpu.cap);
        assert_eq!(gpu.pin(ClockIndex(clock as u8)).unwrap(), wanted);
    }
}
