//! `compare` with the real binary: the shape of its document, and that its figures are plausible. The figures
//! themselves are the README's.

use std::fs;
use std::path::Path;

use assert_cmd::Command;
use serde_json::Value;

use super::formats::agree;

fn json(folder: &Path, args: &[&str]) -> Value {
    let mut command = Command::new(env!("CARGO_BIN_EXE_jetpace"));
    let output = command.current_dir(folder).args(args).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{args:?}: {said}");
    serde_json::from_slice(&output.stdout).unwrap()
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or_else(|| panic!("{value} is no number"))
}

fn list(value: &Value) -> &Vec<Value> {
    value.as_array().unwrap_or_else(|| panic!("{value} is no list"))
}

fn named<'a>(row: &'a Value, name: &str) -> &'a Value {
    list(&row["policies"]).iter().find(|policy| policy["name"] == name).unwrap_or_else(|| panic!("no {name}: {row}"))
}

/// A published sweep as others measure: one network, six clocks, bound by the clock below and the memory above.
fn published(folder: &Path) {
    let mut text = "device,model,block,gpu_freq_hz,emc_freq_hz,latency_s,power_w,energy_j\n".to_owned();
    for hz in [114_750_000.0, 318_750_000.0, 522_750_000.0, 726_750_000.0, 1_032_750_000.0, 1_300_500_000.0] {
        let x: f64 = hz / 1.3005e9;
        let time = ((0.012 / x).powi(4) + 0.010_f64.powi(4)).powf(0.25) + 0.001;
        let power = 4.7 + 3.5 * x * (1.0 + (x - 0.59).max(0.0)).powi(2);
        text += &format!("tx2,net,whole,{hz},1866000000,{time:.6},{power:.4},\n");
    }
    fs::write(folder.join("published.csv"), text).unwrap();
}

#[test]
fn local_on_a_virtual_board_and_a_published_sweep() {
    let folder = tempfile::tempdir().unwrap();
    published(folder.path());
    let args = ["compare", "--case", "local", "published.csv", "--idle-w", "4.5", "--deadlines", "1.26"];
    let more = ["--adaptive", "--board", "sim:orin-nano", "--json"];
    let document = json(folder.path(), &[&args[..], &more].concat());
    agree("`compare --case local --json`", std::slice::from_ref(&document));
    assert_eq!((&document["format"], list(&document["skipped"]).len()), (&Value::from(1), 0));
    let rows = list(&document["rows"]);
    assert_eq!((rows.len(), &rows[0]["evidence"]), (1, &Value::from("measured data")));
    let adaptive = named(&rows[0], "adaptive");
    assert_eq!((&adaptive["missed"], number(&adaptive["regret"])), (&Value::from(false), 0.0), "{adaptive}");

    let boards = list(&document["boards"]);
    let networks: Vec<&str> = boards.iter().map(|row| row["network"].as_str().unwrap()).collect();
    assert_eq!(networks, ["alexnet", "vgg19", "resnet152"]);
    for row in boards {
        assert_eq!((&row["evidence"], &row["board"]), (&Value::from("virtual"), &Value::from("sim:orin-nano")));
        let oracle = &named(row, "oracle")["ran"];
        for policy in list(&row["policies"]).iter().filter(|policy| !policy["ran"].is_null()) {
            let ran = &policy["ran"];
            assert!(number(&ran["time_s"]) < 2.0 * number(&row["deadline_s"]), "{policy}");
            assert_eq!(ran["meets_risk"], number(&ran["miss_rate"]) <= number(&row["risk"]), "{policy}");
            // Nothing that meets the risk takes less than the best of what does.
            if ran["meets_risk"] == true {
                assert!(number(&ran["energy_j"]) >= number(&oracle["energy_j"]), "{policy}");
            }
        }
        let energy = |name| number(&named(row, name)["ran"]["energy_j"]);
        assert!(energy("table") < energy("stock-governor") && energy("table") < energy("max-clock"), "{row}");
        let clock = |name| number(&named(row, name)["clock_hz"]);
        assert!(clock("cpu-dvfs") <= clock("max-clock") && clock("best-fixed") < clock("max-clock"), "{row}");
    }

    let paper = &document["paper"];
    let settings = list(&paper["settings"]);
    // Four pairs of forms, once per network and once per block; the published sweep has one block.
    assert_eq!(settings.len(), 4 + 3 * 2 * 4);
    for setting in settings {
        let lowest = list(&setting["cpu_dvfs"]["clocks_hz"]).iter().map(number).fold(0.0, f64::max);
        assert!(lowest == 114_750_000.0 || lowest == 306_000_000.0, "{setting}");
        let saved = (number(&setting["time_saved"]), number(&setting["energy_saved"]));
        assert!((0.0..1.0).contains(&saved.0) && (-0.05..1.0).contains(&saved.1), "{setting}");
    }
    let closest = &settings[paper["closest"].as_u64().unwrap() as usize];
    assert!(number(&closest["time_saved"]) > 0.3, "{closest}");
}

#[test]
fn local_says_what_it_skips() {
    let folder = tempfile::tempdir().unwrap();
    published(folder.path());
    let document = json(folder.path(), &["compare", "published.csv", "--idle-w", "4.5", "--json"]);
    assert!(list(&document["boards"]).is_empty());
    assert!(document["skipped"][0].as_str().unwrap().contains("--board"), "{document}");
    assert_eq!(list(&document["rows"]).len(), 4);
}

#[test]
fn cooperative_on_a_virtual_sweep() {
    let folder = tempfile::tempdir().unwrap();
    let calibrate = ["calibrate", "--board", "sim:orin-nano", "--net", "vgg19", "--changes", "0", "--late", "0"];
    let mut command = Command::new(env!("CARGO_BIN_EXE_jetpace"));
    command.current_dir(folder.path()).args([&calibrate[..], &["-o", "vgg19.csv"]].concat()).assert().success();
    let args = ["compare", "--case", "cooperative", "vgg19.csv", "--deadlines", "1.5", "--rates-mbps", "1,100,10000"];
    let document = json(folder.path(), &[&args[..], &["--json"]].concat());
    assert_eq!((&document["format"], &document["evidence"]), (&Value::from(1), &Value::from("virtual")));
    let rows = list(&document["rows"]);
    assert_eq!(rows.len(), 3);
    let cut = |row: &Value| number(&named(row, "oracle")["cut"]);
    // The faster the link, the earlier the cut: all eight blocks here, or none.
    assert!(cut(&rows[0]) == 8.0 && cut(&rows[1]) >= cut(&rows[2]) && cut(&rows[2]) == 0.0, "{document}");
    for row in rows {
        let oracle = number(&named(row, "oracle")["energy_j"]);
        for policy in list(&row["policies"]).iter().filter(|policy| policy["missed"] == false) {
            assert!(number(&policy["energy_j"]) >= oracle * (1.0 - 1e-9), "{policy}");
        }
        assert!(number(&named(row, "default")["regret"]) < 0.1, "{row}");
    }
}

#[test]
fn a_cut_for_ones_own_numbers() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let run =
        |args: &[&str]| Command::new(env!("CARGO_BIN_EXE_jetpace")).current_dir(folder).args(args).output().unwrap();
    let calibrate = ["calibrate", "--board", "sim:orin-nano", "--net", "vgg19", "--changes", "0", "--late", "0"];
    assert!(run(&[&calibrate[..], &["-o", "vgg19.csv"]].concat()).status.success());
    assert!(run(&["fit", "vgg19.csv", "-o", "model.json"]).status.success());
    let plan = ["plan", "model.json", "--deadline", "40ms", "--settle", "2ms", "--stall", "100us"];
    let cut = [&plan[..], &["--cut"]].concat();

    // The built-in server, near and far: none here, all here; the energy of the best is the least of all cuts.
    let mut all_here = Value::Null;
    for (mbps, here) in [("10000", 0.0), ("1", 8.0)] {
        let document = json(folder, &[&cut[..], &["--rate-mbps", mbps, "--json"]].concat());
        assert_eq!(number(&document["best"]["cut"]), here, "{document}");
        let least = list(&document["cuts"]).iter().map(|row| number(&row["energy_j"])).fold(f64::INFINITY, f64::min);
        assert_eq!(number(&document["best"]["energy_j"]), least);
        assert!(document["server"].as_str().unwrap().contains("data sheet"), "{document}");
        all_here = document["best"].clone();
    }
    // All here is what is planned without a server.
    let alone = json(folder, &[&plan[..], &["--json"]].concat());
    assert!((number(&all_here["energy_j"]) / number(&alone["energy_j"]) - 1.0).abs() < 1e-9, "{all_here} {alone}");

    // What to measure next for that plan, and for one that cannot be.
    let suggest = ["fit", "vgg19.csv", "--train", "3", "--suggest", "1", "--json", "--deadline"];
    let sd = |document: &Value, key| number(&list(&document["suggest"])[0][key]);
    let for_plan = json(folder, &[&suggest[..], &["40ms"]].concat());
    assert!(sd(&for_plan, "sd_then") < sd(&for_plan, "sd_now"), "{for_plan}");
    assert_ne!(sd(&json(folder, &suggest[..7]), "sd_now"), sd(&for_plan, "sd_now"));
    let said = run(&[&suggest[..], &["1ms"]].concat());
    assert!(String::from_utf8_lossy(&said.stderr).contains("no plan meets the deadline of 1.000 ms"));

    // A channel: 1 MHz at a signal 1000 times the noise, log2(1001) bits a hertz.
    let channel = [&cut[..], &["--channel", "1e6:4e-12:4e-21", "--json"]].concat();
    let document = json(folder, &channel);
    assert!((number(&document["rate_bps"]) / 1e6 - 1001f64.log2()).abs() < 1e-3, "{document}");
    assert!(document["uplink"].as_str().unwrap().contains("B log2"), "{document}");

    // A server of one's own, that takes a second a block, is of no use.
    let blocks =
        list(&json(folder, &["predict", "model.json", "--clock", "408MHz", "--json"])["rows"])[0]["blocks"].clone();
    let rows: String = list(&blocks).iter().map(|b| format!("{},1000,1\n", b["block"].as_str().unwrap())).collect();
    std::fs::write(folder.join("slow.csv"), format!("block,output_bytes,server_s\ninput,1000,0\n{rows}")).unwrap();
    let slow = [&cut[..], &["slow.csv", "--rate-mbps", "10000", "--json"]].concat();
    assert_eq!(number(&json(folder, &slow)["best"]["cut"]), 8.0);
    // One that is slow with the first four alone: those run here, at clocks that are chosen for the time that is left, and
    // theirs is the table.
    let rows: String = list(&blocks)
        .iter()
        .enumerate()
        .map(|(i, b)| format!("{},1000,{}\n", b["block"].as_str().unwrap(), if i < 4 { 1.0 } else { 0.0002 }))
        .collect();
    std::fs::write(folder.join("half.csv"), format!("block,output_bytes,server_s\ninput,1000,0\n{rows}")).unwrap();
    let half = [&cut[..], &["half.csv", "--rate-mbps", "10", "-o", "half.jpt", "--json"]].concat();
    let document = json(folder, &half);
    let best = &document["best"];
    assert_eq!((number(&best["cut"]), list(&best["clocks_hz"]).len()), (4.0, 4), "{document}");
    assert!((number(&best["upload_s"]) - 0.0008).abs() < 1e-9 && (number(&best["server_s"]) - 0.0008).abs() < 1e-9);
    assert!(number(&best["energy_j"]) <= number(&best["fixed"]["energy_j"]), "{document}");
    assert!(number(&document["table"]["miss_probability"]) <= 0.01, "{document}");
    let table = std::fs::read(folder.join("half.jpt")).unwrap();
    let table = jetpace_tables::table::image::decode(&table).unwrap();
    assert_eq!(table.blocks(), 4);
    // The other blocks' time is not there to be used up.
    let left_ns = 40_000_000 - 1_600_000;
    assert!(table.deadline().get() <= left_ns && table.deadline().get() > left_ns - 1_000, "{}", table.deadline());
    assert_eq!(table.period().get(), 40_000_000);

    // What a cut takes no account of is refused, and so is a table of nothing.
    let more: [&[&str]; 3] = [&["--pareto", "front.csv"], &["--objective", "edp"], &["--size", "2"]];
    for more in more {
        let output = run(&[&cut[..], &["--rate-mbps", "10"], more].concat());
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.code() == Some(2) && said.contains("cannot be used with"), "{more:?}: {said}");
    }
    let output = run(&[&cut[..], &["--rate-mbps", "10000", "-o", "none.jpt"]].concat());
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(1) && said.contains("no table to write"), "{said}");
}
