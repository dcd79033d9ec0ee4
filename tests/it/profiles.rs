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

#[test]
fn every_release_imports_and_plans() {
    for (file, layers) in TRTEXEC {
        let Some(path) = measured(file) else { return };
        let folder = tempfile::tempdir().unwrap();
        let place = |name: &str| folder.path().join(name).display().to_string();
        let (_, read) = profile::parse(&fs::read(&path).unwrap()).unwrap();
        assert_eq!(read.len(), layers, "{file}");
        let mut import = vec!["import".to_owned(), "trtexec".into(), "-o".into(), place("sweep.csv")];
        for mhz in [306.0, 510.0, 816.0, 1020.0] {
            let times = times(folder.path(), mhz);
            import.extend(["--clock".into(), format!("{mhz}MHz={}", path.display())]);
            import.extend(["--times".into(), format!("{mhz}MHz={}", times.display())]);
            import.extend(["--power".into(), format!("{mhz}MHz={}", 5.0 + mhz / 200.0)]);
        }
        run(&import).unwrap();
        run(&["fit".into(), place("sweep.csv"), "-o".into(), place("model.json")]).unwrap();
        let plan =
            ["plan", "DEADLINE", "--deadline", "16ms", "--idle-w", "4", "--settle", "8ms", "--stall", "0.1ms", "-o"];
        let mut plan: Vec<String> = plan.map(str::to_owned).to_vec();
        plan[1] = place("model.json");
        plan.push(place("table.jpt"));
        run(&plan).unwrap();
        assert!(fs::metadata(place("table.jpt")).unwrap().len() > 0);
    }
}
