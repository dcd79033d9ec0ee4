//! `plan`'s objectives with the real binary: what each one promises holds of what is printed and written.

use std::fs;
use std::path::Path;

use assert_cmd::Command;
use serde_json::Value;
use tempfile::TempDir;

fn jetpace(folder: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_jetpace"));
    command.current_dir(folder).args(args);
    command
}

/// A folder with a model of the virtual frame whose phases differ.
fn folder() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let calibrate = ["calibrate", "--board", "sim:orin-nano", "--net", "robot-frame", "-o", "sweep.csv"];
    jetpace(folder.path(), &calibrate).assert().success();
    jetpace(folder.path(), &["fit", "sweep.csv", "-o", "model.json"]).assert().success();
    folder
}

const PERIOD: &str = "1000ms";

/// The plan's document.
fn plan(folder: &Path, more: &[&str]) -> Value {
    let args = [&["plan", "model.json", "--deadline", PERIOD, "--json"], more].concat();
    let output = jetpace(folder, &args).output().unwrap();
    assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn number(document: &Value, path: &str) -> f64 {
    document.pointer(path).and_then(Value::as_f64).unwrap_or_else(|| panic!("no {path} in {document}"))
}

#[test]
fn each_objective_keeps_what_it_promises() {
    let folder = folder();
    let folder = folder.path();
    let energy = plan(folder, &["--pareto", "front.csv"]);
    let least_j = number(&energy, "/energy_j");
    let product = |document: &Value| number(document, "/energy_j") * number(document, "/bound_s");

    // The front: time grows, energy falls, and it ends at the plan of least energy.
    let text = fs::read_to_string(folder.join("front.csv")).unwrap();
    let rows = text.lines().skip(1).map(|line| {
        let fields: Vec<f64> = line.split(',').take(3).map(|field| field.parse().unwrap()).collect();
        (fields[0], fields[2])
    });
    let rows: Vec<(f64, f64)> = rows.collect();
    assert!(text.starts_with("bound_s,time_s,energy_j,switches\n") && rows.len() > 5, "{text}");
    assert!(rows.windows(2).all(|pair| pair[0].0 < pair[1].0 && pair[0].1 > pair[1].1), "{text}");
    assert!(rows.last().unwrap().1 <= least_j * (1.0 + 1e-3), "{text}");

    // Energy times time: no more than that of the plan of least energy and of the best fixed clock.
    let edp_plan = plan(folder, &["--objective", "edp"]);
    let edp = product(&edp_plan);
    assert!(edp <= product(&energy), "{edp}");
    let fixed = number(&energy, "/baselines/best_fixed/energy_j") * number(&energy, "/bound_s");
    assert!(edp <= fixed, "{edp} {fixed}");

    // And than that of the plans for single deadlines; and it is in time for its own.
    assert!(number(&edp_plan, "/bound_s") <= number(&edp_plan, "/deadline_s"), "{edp_plan}");
    for deadline in ["640ms", "675ms", "720ms", "780ms", "880ms"] {
        let args = ["plan", "model.json", "--deadline", deadline, "--period", PERIOD, "--json"];
        let output = jetpace(folder, &args).output().unwrap();
        // Nothing meets the first at the risk.
        let Ok(at) = serde_json::from_slice::<Value>(&output.stdout) else { continue };
        assert!(edp <= product(&at) * 1.01, "{deadline}: {edp} {}", product(&at));
    }

    // The least time within an energy: faster than the most frugal plan, and the table that is written keeps to it.
    for share in [1.004, 1.02, 1.1] {
        let budget = least_j * share;
        let said = format!("{budget}");
        let fast = plan(folder, &["--objective", "time", "--energy", &said, "-o", "table.jpt"]);
        assert!(number(&fast, "/energy_j") <= budget, "{fast}");
        assert!(number(&fast, "/table/energy_j") <= budget, "{share}: {fast}");
        assert!(number(&fast, "/bound_s") <= number(&energy, "/bound_s"), "{fast}");
        assert!(number(&fast, "/bound_s") <= number(&fast, "/deadline_s"), "{fast}");
        // The period is a second, so watts are joules a period.
        let by_power = plan(folder, &["--objective", "time", "--power", &said, "-o", "table.jpt"]);
        assert_eq!(by_power, fast);
    }
}

#[test]
fn a_budget_that_nothing_keeps_is_refused_with_the_least() {
    let folder = folder();
    let args = ["plan", "model.json", "--deadline", PERIOD, "--objective", "time", "--power", "1", "-o", "table.jpt"];
    let output = jetpace(folder.path(), &args).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("no plan stays within 1.000000 J a period: the least possible is"), "{said}");
    assert!(!folder.path().join("table.jpt").exists());
}

#[test]
fn a_size_beyond_what_was_measured_is_said_to_be() {
    let folder = folder();
    let args = ["plan", "model.json", "--deadline", "5s", "--size", "3", "--json"];
    let output = jetpace(folder.path(), &args).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.contains("warning: size 3 was not measured but extrapolated"), "{said}");
    let output = jetpace(folder.path(), &["plan", "model.json", "--deadline", PERIOD, "--json"]).output().unwrap();
    assert!(!String::from_utf8_lossy(&output.stderr).contains("warning"));
}

#[test]
fn a_cpu_clock_other_than_the_measured_one_is_warned_of() {
    let folder = folder();
    for command in [&["predict", "model.json", "--json"][..], &["plan", "model.json", "--deadline", PERIOD, "--json"]] {
        // The virtual board's CPU stands at 1510.4 MHz.
        for (cpu, warns) in [("1510.4MHz", false), ("729.6MHz", true)] {
            let output = jetpace(folder.path(), &[command, &["--cpu-clock", cpu]].concat()).output().unwrap();
            let said = String::from_utf8_lossy(&output.stderr);
            let warned = said.matches("warning: measured at CPU clock 1510.4 MHz, not 729.6 MHz").count();
            assert!(output.status.success() && warned == usize::from(warns), "{command:?} {cpu}: {said}");
        }
    }
}

/// Rehearsal judges whatever is asked for: a table that is written misses no more often than accepted there, and what is
/// refused names a deadline that holds.
#[test]
fn what_is_written_misses_no_more_often_than_accepted_whatever_it_is_planned_for() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let make = |board: &str, network: &str, more: &[&str], name: &str| {
        let sweep = format!("{name}.csv");
        let calibrate = [&["calibrate", "--board", board, "--net", network, "-o", &sweep], more].concat();
        jetpace(folder, &calibrate).assert().success();
        jetpace(folder, &["fit", &sweep, "-o", &format!("{name}.json")]).assert().success();
    };
    make("sim:tx2", "vgg19", &[], "single");
    make("sim:orin-nano", "language-model", &["--sizes", "64,256,1024"], "sized");
    let sizes: &[&str] = &["--sizes", "64:0.5,256:0.3,1024:0.2"];
    let (mut written, mut refused) = (0, 0);
    for (model, deadlines_ms, asked) in [
        ("single.json", [74.0, 80.0], &["--objective", "edp"][..]),
        ("single.json", [78.0, 86.0], &["--objective", "time", "--energy", "1.2", "--list"]),
        ("sized.json", [950.0, 1150.0], sizes),
    ] {
        for deadline_ms in deadlines_ms {
            let plan = |deadline_ms: f64| {
                let deadline = format!("{deadline_ms:.3}ms");
                let args = ["plan", model, "--deadline", &deadline, "-o", "table.jpt", "--json", "--force"];
                jetpace(folder, &[&args, asked].concat()).output().unwrap()
            };
            let output = plan(deadline_ms);
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            if output.status.success() {
                let document: Value = serde_json::from_slice(&output.stdout).unwrap();
                let missed = number(&document, "/table/miss_probability");
                assert!(missed <= number(&document, "/risk"), "{model} {deadline_ms} {asked:?}: {missed}");
                written += 1;
            } else if let Some((_, behind)) = said.split_once("the least reachable one is ") {
                let least_ms: f64 = behind.split_once(" ms").unwrap().0.parse().unwrap();
                let output = plan(least_ms);
                let again = String::from_utf8_lossy(&output.stderr);
                assert!(!again.contains("least reachable"), "{model} {asked:?}: {said}{again}");
                refused += 1;
            }
        }
    }
    assert!(written > 3 && refused > 1, "{written} written, {refused} refused");
}
