//! `jetpace report`: from any of one's own files, the numbers of `plan`, and nothing that a hostile name or a broken file
//! could do.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};
use std::sync::OnceLock;

use serde_json::Value;

fn run(folder: &Path, line: &str) -> Output {
    Command::new(env!("CARGO_BIN_EXE_jetpace")).current_dir(folder).args(line.split(' ')).output().unwrap()
}

/// What a command that has to work prints.
fn text(folder: &Path, line: &str) -> String {
    let output = run(folder, line);
    assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// What a command that has to refuse says.
fn refused(folder: &Path, line: &str) -> String {
    let output = run(folder, line);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{line}: {said}");
    said
}

/// One of each file, made once.
fn folder() -> &'static Path {
    static FOLDER: OnceLock<tempfile::TempDir> = OnceLock::new();
    let folder = FOLDER.get_or_init(|| {
        let folder = tempfile::tempdir().unwrap();
        let at = folder.path();
        text(at, "calibrate --board sim:orin-nano --net vgg19 -o sweep.csv");
        text(at, "fit sweep.csv -o model.json");
        fs::write(at.join("plan.json"), text(at, "plan model.json --deadline 24ms -o table.jpt --json")).unwrap();
        let frames = "run --board sim:orin-nano --table table.jpt --frames 500 --csv frames.csv --json";
        fs::write(at.join("run.json"), text(at, frames)).unwrap();
        let event = |at: u64, slack: i64| format!("{{\"at_ns\":{at},\"event\":\"frame end\",\"slack_us\":{slack}}}\n");
        fs::write(at.join("trace.json"), (0..200u64).map(|i| event(i, i as i64 * 10 - 30)).collect::<String>()).unwrap();
        let held = "{\"format\":1,\"deadline_s\":0.08,\"risk\":0.01,\"power_of\":\"module\",\
                    \"before\":{\"time_s\":2,\"frames\":20,\"late\":0,\"energy_j\":16},\
                    \"held\":{\"time_s\":10,\"frames\":100,\"late\":1,\"energy_j\":60},\"clocks\":[{\"clock_hz\":408000000,\"time_s\":9}]}";
        fs::write(at.join("held.json"), held).unwrap();
        folder
    });
    folder.path()
}

fn page(line: &str) -> String {
    let out = tempfile::NamedTempFile::new().unwrap();
    text(folder(), &format!("report {line} -o {}", out.path().display()));
    fs::read_to_string(out.path()).unwrap()
}

fn json(file: &str) -> Value {
    serde_json::from_slice(&fs::read(folder().join(file)).unwrap()).unwrap()
}

/// Every kind of file alone and all together: one file, small, that loads nothing, whose ids are each their own.
#[test]
fn any_mix_of_files_makes_a_page_that_stands_alone() {
    let all = "sweep.csv model.json table.jpt run.json frames.csv trace.json held.json";
    for files in all.split(' ').chain([all, "sweep.csv model.json", "model.json table.jpt", "table.jpt frames.csv"]) {
        let html = page(files);
        assert!(html.len() < 1_000_000, "{files}: {} bytes", html.len());
        for foreign in ["http:", "https:", "src=", "url(", "@import"] {
            assert!(!html.contains(foreign), "{files}: {foreign}");
        }
        assert!(html.contains("class=\"lead\"") && html.ends_with("</html>\n"), "{files}");
        assert_eq!(html.matches("<svg").count(), html.matches("role=\"img\"").count(), "{files}");
        let ids: Vec<&str> = html.split(" id=\"").skip(1).map(|rest| rest.split('"').next().unwrap()).collect();
        let mut once = ids.clone();
        once.sort_unstable();
        once.dedup();
        assert_eq!(once.len(), ids.len(), "{files}");
        assert!(!text(folder(), &format!("report {files}")).is_empty(), "{files}");
    }
    let html = page(all);
    let sections = [
        "time and power against the clock",
        "planned for 24",
        "Changes of the clock",
        "how late, how early",
        "What was rejected",
    ];
    for section in sections {
        assert!(html.contains(section), "{section}");
    }
    for picture in [
        "Time of a frame",
        "Power while it runs",
        "Energy against the deadline",
        "A frame as planned",
        "Power in that frame",
        "Settle times",
        "Slack of frames",
    ] {
        assert!(html.contains(&format!("-t\">{picture}")), "{picture}");
    }
}

/// The page, the terminal and `plan --json` say the same numbers.
#[test]
fn the_numbers_are_those_of_plan() {
    let plan = json("plan.json");
    let number = |at: &str| plan.pointer(at).and_then(Value::as_f64).unwrap_or_else(|| panic!("{at}"));
    let html = page("sweep.csv model.json table.jpt");
    let terminal = text(folder(), "report sweep.csv model.json table.jpt");
    for at in ["/energy_j", "/table/energy_j", "/baselines/best_fixed/energy_j", "/baselines/max_clock/energy_j"] {
        let said = format!("{:.4} J", number(at));
        assert!(html.contains(&format!(">{said}<")) && terminal.contains(&said), "{at}: {said}\n{terminal}");
    }
    for at in ["/time_s", "/baselines/best_fixed/time_s"] {
        let said = format!("{:.3} ms", 1e3 * number(at));
        assert!(html.contains(&format!(">{said}<")) && terminal.contains(&said), "{at}: {said}");
    }
    for at in ["/miss_probability", "/table/miss_probability"] {
        let said = format!("{:.2} %", 1e2 * number(at));
        assert!(html.contains(&format!(">{said}<")) && terminal.contains(&said), "{at}: {said}");
    }
    // The picture has the point of the plan, too, and every block of it.
    assert!(html.contains(&format!("planned here: {:.4} J", number("/energy_j"))));
    for block in plan["blocks"].as_array().unwrap() {
        let row = format!("<td>{}</td>", block["block"].as_str().unwrap());
        assert!(html.contains(&row), "{row}");
    }
    // Without the sweep and from another place it is the same plan.
    let again = text(folder(), "report model.json --deadline 24ms");
    assert!(again.contains(&format!("{:.4} J", number("/energy_j"))), "{again}");
}

/// The sentence at the top is what the run's own numbers come to.
#[test]
fn the_headline_is_the_runs() {
    let ran = json("run.json");
    let number = |at: &str| ran.pointer(at).and_then(Value::as_f64).unwrap();
    let saved = 100.0 * (1.0 - number("/energy_j") / number("/baselines/stock_governor/energy_j"));
    let late = 100.0 * number("/missed") / number("/frames");
    let shown = |value: f64| format!("{value:.*}", if value >= 9.95 { 0 } else { 1 });
    let html = page("run.json");
    let saved = format!("vgg19: {} % less energy than the stock governor", shown(saved).trim_end_matches(".0"));
    let late = format!("{} % late of 1 % allowed, on a simulated board", shown(late).trim_end_matches(".0"));
    assert!(html.contains(&saved) && html.contains(&late), "{saved}, {late}: {}", text(folder(), "report run.json"));
    let held = page("held.json");
    assert!(held.contains("25 % less power than with the clock left alone; 1 % late of 1 % allowed"), "{held}");
    let late = page("trace.json");
    assert!(late.contains("3 of 200 frames late"), "{late}");
}

/// The names in a file are words, whatever they are.
#[test]
fn hostile_names_stay_words() {
    let at = tempfile::tempdir().unwrap();
    let evil = "</td><script>alert(1)</script><img src=x onerror=alert(1)>\"' onload='x";
    let quoted = evil.replace('"', "\"\"");
    let mut sweep = "device,model,block,gpu_freq_hz,latency_s,power_w,rejected\n".to_owned();
    for (clock, s, w) in [(3, 0.02, 4.0), (6, 0.011, 5.0), (9, 0.008, 7.0), (12, 0.007, 9.0)] {
        sweep += &format!("\"{quoted}\",\"{quoted}\",\"{quoted}\",{clock}00000000,{s},{w},\n");
        sweep += &format!("\"{quoted}\",\"{quoted}\",second,{clock}00000000,{s},{w},\n");
    }
    sweep += &format!("\"{quoted}\",\"{quoted}\",\"{quoted}\",700000000,0.01,5,\"{quoted}\"\n");
    fs::write(at.path().join("evil.csv"), sweep).unwrap();
    let trace = format!(
        "{{\"at_ns\":1,\"event\":\"frame end\",\"slack_us\":5,\"why\":{}}}\n",
        Value::from(format!("{evil}\u{1b}[2J"))
    );
    fs::write(at.path().join("evil.json"), trace).unwrap();
    text(at.path(), "report evil.csv evil.json -o page.html");
    let html = fs::read_to_string(at.path().join("page.html")).unwrap();
    assert!(html.contains("&lt;script&gt;alert(1)"), "it is there");
    assert_eq!(html.matches("<script").count(), 1, "the page's own");
    assert!(!html.contains("<img") && !html.contains("' onload"), "nothing else");
    assert!(!text(at.path(), "report evil.csv evil.json").contains('\u{1b}'));
}

/// What is broken is named, with its line where there is one, and nothing is written over.
#[test]
fn a_broken_file_is_named() {
    let at = tempfile::tempdir().unwrap();
    let write = |name: &str, bytes: &[u8]| fs::write(at.path().join(name), bytes).unwrap();
    let whole = |name: &str| fs::read(folder().join(name)).unwrap();
    let cut = |name: &str| whole(name)[..whole(name).len() / 2].to_vec();
    for name in ["sweep.csv", "model.json", "table.jpt", "run.json"] {
        write(name, &if name == "sweep.csv" { [cut(name), b"\nblock,1,2".to_vec()].concat() } else { cut(name) });
        let said = refused(at.path(), &format!("report {name} -o page.html"));
        assert!(said.contains(name), "{name}: {said}");
    }
    write("trace.json", &[whole("trace.json"), b"{\"at_ns\"".to_vec()].concat());
    assert!(refused(at.path(), "report trace.json").contains("trace.json: line 201: no event"));
    write("frames.csv", &[whole("frames.csv"), b"9,1,NaN,0,0\n".to_vec()].concat());
    assert!(refused(at.path(), "report frames.csv").contains("frames.csv: line 502: no frame"));
    let ran = String::from_utf8(whole("run.json")).unwrap().replace("\"risk\": 0.01", "\"risk\": 7.0");
    write("wrong.json", ran.as_bytes());
    assert!(refused(at.path(), "report wrong.json").contains("wrong.json: a time, an energy or a count"));
    write("empty.csv", b"");
    assert!(refused(at.path(), "report empty.csv").contains("empty.csv is none of jetpace's files"));
    write("bare.csv", b"device,model,block,gpu_freq_hz,latency_s\n");
    assert!(refused(at.path(), "report bare.csv").contains("bare.csv"));
    assert!(!at.path().join("page.html").exists());

    write("notes.html", b"<!doctype html><title>mine</title>");
    write("model.json", &whole("model.json"));
    assert!(refused(at.path(), "report model.json -o notes.html").contains("notes.html is none of jetpace's files"));
    assert!(refused(at.path(), "report model.json -o model.json").contains("is what this command reads"));
    assert_eq!(fs::read(at.path().join("model.json")).unwrap(), whole("model.json"));
    text(at.path(), "report model.json -o page.html");
    text(at.path(), "report model.json -o page.html");
}

/// The pictures in docs are made with this text, of README's tour: where it is another today, so are they.
#[test]
fn the_pictures_in_docs_are_todays() {
    let at = tempfile::tempdir().unwrap();
    for line in [
        "calibrate --board sim:orin-nano --net robot-frame -o sweep.csv",
        "fit sweep.csv -o model.json",
        "plan model.json --deadline 779.5ms -o table.jpt",
    ] {
        text(at.path(), line);
    }
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs");
    let then = fs::read_to_string(docs.join("report.txt")).unwrap();
    let now = text(at.path(), "report sweep.csv model.json table.jpt");
    assert!(now == then, "docs/report.txt and the pictures beside it are stale: run ./ci.sh report");
    let size = |name: &str| fs::metadata(docs.join(name)).unwrap().len();
    assert!(size("report-light.png") + size("report-dark.png") < 300_000);
}
