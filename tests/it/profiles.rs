//! Profiles that TensorRT's tools wrote: they import, fit and plan; cut off or damaged they are refused, or still a profile.

use std::fs;
use std::path::{Path, PathBuf};

use clap::Parser;
use jetpace::args::Cli;
use jetpace::commands::import::{edge_llm, profile};
use jetpace_tests::measured;

const TRTEXEC: [(&str, usize); 3] = [
    ("profiles/trt82-mobilenet-qat.profile.json", 85),
    ("profiles/trt84-mobilenet-qat.profile.json", 73),
    ("profiles/trt101-alexnet-fp16.profile.json", 14),
];
const EDGE_LLM: &str = "profiles/trt-edge-llm-orin-nano.profile.json";
const STAGES: [&str; 3] = ["vision_encoder", "llm_prefill", "llm_generation"];

/// Every file that is cut off before its last sign, and every one with one bit of a byte turned over.
fn damaged(bytes: &[u8]) -> impl Iterator<Item = (Vec<u8>, bool)> {
    let whole = bytes.trim_ascii_end().len();
    let cut = (0..whole).map(|at| (bytes[..at].to_vec(), true));
    let flipped = (0..whole).flat_map(|at| {
        [at % 8, (at + 3) % 8].map(|bit| {
            let mut bytes = bytes.to_vec();
            bytes[at] ^= 1 << bit;
            (bytes, false)
        })
    });
    cut.chain(flipped)
}

fn run(arguments: &[String]) -> Result<(), String> {
    let line = ["jetpace".to_owned()].into_iter().chain(arguments.iter().cloned());
    let cli = Cli::try_parse_from(line).map_err(|e| e.to_string())?;
    cli.command.run().map_err(|e| e.to_string())
}

#[test]
fn damaged_profiles_are_refused_or_still_profiles() {
    for (file, _) in TRTEXEC {
        let Some(path) = measured(file) else { return };
        for (bytes, cut) in damaged(&fs::read(&path).unwrap()) {
            match profile::parse(&bytes) {
                Err(why) => assert!(!why.is_empty()),
                Ok((runs, layers)) => {
                    assert!(!cut, "{file}: {} bytes are no profile", bytes.len());
                    assert!(runs > 0 && layers.iter().all(|layer| (0.0..1e8).contains(&layer.ms)), "{file}");
                }
            }
        }
    }
}

#[test]
fn damaged_stages_are_refused_or_still_stages() {
    let Some(path) = measured(EDGE_LLM) else { return };
    for (bytes, cut) in damaged(&fs::read(&path).unwrap()) {
        if let Ok(stages) = edge_llm::request(&bytes) {
            assert!(!cut && stages.iter().all(|(_, stage)| stage.size.0 > 0), "{stages:?}");
        }
        for stage in STAGES {
            match edge_llm::parse(&bytes, stage) {
                Err(why) => assert!(!why.is_empty()),
                Ok(stage) => assert!(!cut && stage.size.0 > 0 && stage.time.as_secs_f64() < 100.0, "{stage:?}"),
            }
        }
    }
}

/// Times of whole runs at a clock: 6 ms of cycles at 1020 MHz, and 3 ms of memory.
fn times(folder: &Path, mhz: f64) -> PathBuf {
    let path = folder.join(format!("times-{mhz}.json"));
    let ms = 6.0 * 1020.0 / mhz + 3.0;
    let runs: Vec<String> = (0..20).map(|run| format!("{{\"computeMs\":{}}}", ms + 0.001 * f64::from(run))).collect();
    fs::write(&path, format!("[{}]", runs.join(","))).unwrap();
    path
}

/// A plan of the sweep that these arguments import, made as a user makes it.
fn planned(folder: &Path, import: &[String], deadline: &str) {
    let place = |name: &str| folder.join(name).display().to_string();
    let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
    run(&[import, &words(&["-o", &place("sweep.csv")])].concat()).unwrap();
    run(&words(&["fit", &place("sweep.csv"), "-o", &place("model.json")])).unwrap();
    let unmeasured = ["--idle-w", "4", "--settle", "8ms", "--stall", "0.1ms", "-o", &place("table.jpt")];
    run(&words(&[&["plan", &place("model.json"), "--deadline", deadline], &unmeasured[..]].concat())).unwrap();
    assert!(fs::metadata(folder.join("table.jpt")).unwrap().len() > 0);
}

const MHZ: [f64; 4] = [306.0, 510.0, 816.0, 1020.0];

#[test]
fn every_release_imports_and_plans() {
    for (file, layers) in TRTEXEC {
        let Some(path) = measured(file) else { return };
        let folder = tempfile::tempdir().unwrap();
        let (_, read) = profile::parse(&fs::read(&path).unwrap()).unwrap();
        assert_eq!(read.len(), layers, "{file}");
        let mut import = vec!["import".to_owned(), "trtexec".into()];
        for mhz in MHZ {
            let times = times(folder.path(), mhz);
            import.extend(["--clock".into(), format!("{mhz}MHz={}", path.display())]);
            import.extend(["--times".into(), format!("{mhz}MHz={}", times.display())]);
            import.extend(["--power".into(), format!("{mhz}MHz={}", 5.0 + mhz / 200.0)]);
        }
        planned(folder.path(), &import, "16ms");
    }
}

#[test]
fn a_request_to_a_language_model_imports_and_plans_with_a_monitors_log_as_power() {
    let Some(path) = measured(EDGE_LLM) else { return };
    let text = fs::read_to_string(&path).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let mut import = vec!["import".to_owned(), "edge-llm".into()];
    for mhz in MHZ {
        // The same profile, as slow as a clock that much lower makes it.
        let mut document: serde_json::Value = serde_json::from_str(&text).unwrap();
        for stage in document["stages"].as_array_mut().unwrap() {
            let ms = stage["gpu_time_stats"]["median_ms"].as_f64().unwrap();
            stage["gpu_time_stats"]["median_ms"] = (ms * (0.3 + 0.7 * 1020.0 / mhz)).into();
        }
        let (profile, log) = (folder.path().join(format!("{mhz}.json")), folder.path().join(format!("{mhz}.log")));
        fs::write(&profile, document.to_string()).unwrap();
        let milliwatts = (5_000.0 + 5.0 * mhz) as u32;
        fs::write(&log, format!("RAM 1/2MB GR3D_FREQ 99% VDD_IN {milliwatts}mW/{milliwatts}mW\n").repeat(20)).unwrap();
        import.extend(["--clock".into(), format!("{mhz}MHz={}", profile.display())]);
        import.extend(["--power".into(), format!("{mhz}MHz={}", log.display())]);
    }
    planned(folder.path(), &import, "4s");
    import.extend(["--stage".to_owned(), "llm_generation".into()]);
    planned(folder.path(), &import, "25ms");
}

#[test]
fn nothing_that_is_read_or_was_measured_is_written_over() {
    let folder = tempfile::tempdir().unwrap();
    let place = |name: &str| folder.path().join(name).display().to_string();
    fs::write(place("table.csv"), "clock_mhz,latency_ms\n612,12\n").unwrap();
    fs::write(place("sweep.csv"), "device,model,block,gpu_freq_hz,latency_s\na,b,c,612000000,0.5\n").unwrap();
    for (output, said) in [("table.csv", "is what this command reads"), ("sweep.csv", "no import made")] {
        let before = fs::read(place(output)).unwrap();
        let why = run(&["import".into(), "csv".into(), place("table.csv"), "-o".into(), place(output)]).unwrap_err();
        assert!(why.contains(said) && why.contains(output), "{why}");
        assert_eq!(fs::read(place(output)).unwrap(), before);
    }
}
