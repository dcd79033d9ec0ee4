//! `jetpace-cuda` on a machine without CUDA, and on a stub of its driver.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};

#[test]
fn without_cuda_run_says_so_in_one_line_and_exits_with_3() {
    if ["/dev/nvidiactl", "/dev/nvmap"].iter().any(|node| Path::new(node).exists()) {
        println!("skipped: this machine has a GPU");
        return;
    }
    let mut run = Command::new(env!("CARGO_BIN_EXE_jetpace-cuda"));
    let output = run.args(["run", "--net", "resnet152", "--board", "auto"]).output().expect("it does not start");
    let message = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(3), "{message}");
    assert_eq!(message.lines().count(), 1, "{message}");
    // No libcuda.so.1, or one that a CUDA package left here without a driver.
    assert!(message.contains("no CUDA driver here") || message.contains("finds no GPU"), "{message}");
    assert!(output.stdout.is_empty());
}

/// Runs `jetpace-cuda ARGS` on the stub driver of tests/emu/libcuda, which runs the emulated kernels; nothing where
/// `./ci.sh emu` has not built it.
fn on_the_stub(folder: &Path, args: &[&str]) -> Option<Output> {
    on_the_stub_with(folder, args, "")
}

/// The same with this on its stdin.
fn on_the_stub_with(folder: &Path, args: &[&str], input: &str) -> Option<Output> {
    let Some(stubs) = std::env::var_os("JETPACE_STUBS") else {
        println!("skipped: no stub driver here; ./ci.sh emu builds it");
        return None;
    };
    let mut command = Command::new(env!("CARGO_BIN_EXE_jetpace-cuda"));
    command.current_dir(folder).args(args).env("LD_LIBRARY_PATH", Path::new(&stubs).join("87"));
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("it does not start");
    // Closed at once: one that does not read it has ended, or does not need it.
    let _ = child.stdin.take().expect("piped").write_all(input.as_bytes());
    let output = child.wait_with_output().expect("it does not end");
    assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    Some(output)
}

/// Such a machine has no devfreq node: the clock is left alone, and the sweep says so.
#[test]
fn a_gpu_whose_clock_cannot_be_set_is_observed() {
    let folder = tempfile::tempdir().expect("no folder");
    let args = ["calibrate", "--net", "vgg19-32", "--frames", "2", "--spacing", "1ms", "-o", "sweep.csv"];
    let Some(output) = on_the_stub(folder.path(), &args) else { return };
    let message = String::from_utf8_lossy(&output.stderr);
    assert!(message.contains("emulated GPU has no clock that can be set"), "{message}");
    let sweep = std::fs::read_to_string(folder.path().join("sweep.csv")).expect("no sweep");
    let first = sweep.lines().next().unwrap_or_default();
    for part in [" clock=left_alone", " evidence=gpu", " name=emulated_GPU"] {
        assert!(first.contains(part) && !first.contains("board="), "{first}");
    }
    // Two frames of six blocks behind the first line and the names of the columns.
    assert_eq!(sweep.lines().count(), 2 + 2 * 6, "{sweep}");
}

#[test]
fn a_line_is_a_frame() {
    let folder = tempfile::tempdir().expect("no folder");
    let args = ["run", "--net", "vgg19-32", "--trigger", "stdin", "--deadline", "500ms", "--json"];
    let Some(output) = on_the_stub_with(folder.path(), &args, "\n\n\n") else { return };
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.contains("\"frames\": 3,"), "{text}");
}

#[test]
fn a_network_runs_without_a_table() {
    let folder = tempfile::tempdir().expect("no folder");
    let args = ["run", "--net", "vgg19-32", "--frames", "2", "--deadline", "500ms", "--json"];
    let args = [&args[..], &["--csv", "frames.csv"]].concat();
    let Some(output) = on_the_stub(folder.path(), &args) else { return };
    let text = String::from_utf8_lossy(&output.stdout);
    for part in ["\"evidence\": \"gpu\"", "\"policy\": \"stock_governor\"", "\"frames\": 2"] {
        assert!(text.contains(part), "{text}");
    }
    let frames = std::fs::read_to_string(folder.path().join("frames.csv")).expect("no frames");
    assert_eq!(frames.lines().count(), 3, "{frames}");
}

/// A network that is not built in: as a launch plan with weights, measured and run like any other.
#[test]
fn a_launch_plan_is_measured_and_run() {
    use jetpace_kernels::cubin::Capability;
    use jetpace_kernels::launch::{Gpu, LaunchPlan};
    use jetpace_kernels::packed::PackedWeights;
    use jetpace_kernels::weights::Weights;
    use jetpace_tables::work::Size;

    let folder = tempfile::tempdir().expect("no folder");
    let blocks = jetpace_kernels::net::ops("vgg19-32").expect("it is built in");
    let gpu = Gpu { capability: Capability::new(8, 7), multiprocessors: 8 };
    let plan = LaunchPlan::new(&blocks, Size(1), &gpu).expect("it has kernels");
    std::fs::write(folder.path().join("net.json"), plan.to_json("their-network")).expect("not written");
    PackedWeights::write(&folder.path().join("net.safetensors"), &blocks, &Weights::random(1)).expect("not written");
    let program = ["--plan", "net.json", "--weights", "net.safetensors"];
    let args = [&["run"], &program[..], &["--frames", "2", "--deadline", "500ms", "--json"]].concat();
    let Some(output) = on_the_stub(folder.path(), &args) else { return };
    let text = String::from_utf8_lossy(&output.stdout);
    for part in ["\"network\": \"their-network\"", "\"evidence\": \"gpu\"", "\"frames\": 2"] {
        assert!(text.contains(part), "{text}");
    }
    let args = [&["calibrate"], &program[..], &["--frames", "2", "--spacing", "1ms", "-o", "sweep.csv"]].concat();
    on_the_stub(folder.path(), &args);
    let sweep = std::fs::read_to_string(folder.path().join("sweep.csv")).expect("no sweep");
    assert!(sweep.contains("their-network") && sweep.lines().count() == 2 + 2 * 6, "{sweep}");
}
