//! `jetpace-cuda` on a machine without CUDA.

use std::path::Path;
use std::process::Command;

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
