//! The launcher on a stub CUDA driver that runs the emulated kernels (tests/emu/libcuda): the same code that runs on a
//! GPU, up to the driver's functions. `./ci.sh emu` builds the stubs and names their folder in JETPACE_STUBS; without
//! it these tests skip and say so.
//!
//! A process loads one driver, so every case is a process of its own: the example `check`.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// The folder of a stub by its name, or nothing where they are not built.
fn stub(name: &str) -> Option<PathBuf> {
    let Some(stubs) = std::env::var_os("JETPACE_STUBS") else {
        println!("skipped: no stub driver here; ./ci.sh emu builds it");
        return None;
    };
    let dir = Path::new(&stubs).join(name);
    assert!(dir.join("libcuda.so.1").exists(), "{} holds no libcuda.so.1", dir.display());
    Some(dir)
}

/// Runs `check ARGS` on the driver in `dir`, with the stub's settings.
fn check(dir: &Path, args: &[&str], settings: &[(&str, &str)]) -> Output {
    // Beside target/PROFILE/deps, where this test lies.
    let test = std::env::current_exe().expect("the test has no path");
    let example = test.ancestors().nth(2).expect("the test lies nowhere").join("examples/check");
    let mut check = Command::new(&example);
    check.args(args).env("LD_LIBRARY_PATH", dir).envs(settings.iter().copied());
    check.output().unwrap_or_else(|e| panic!("{}: {e}", example.display()))
}

/// Exit code 0, every block like the reference.
fn runs(stub_name: &str, args: &[&str], settings: &[(&str, &str)]) {
    let Some(dir) = stub(stub_name) else { return };
    let output = check(&dir, args, settings);
    let text = String::from_utf8_lossy(&output.stdout);
    print!("{text}");
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    assert!(text.contains("at worst, on emulated GPU"), "{text}");
}

/// Exit code 3 and one line that says `message`.
fn refuses(stub_name: &str, settings: &[(&str, &str)], message: &str) {
    let Some(dir) = stub(stub_name) else { return };
    let output = check(&dir, &["vgg19-32"], settings);
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(3), "{text}");
    assert!(text.contains(message), "{text}");
    assert_eq!(text.lines().count(), 1, "{text}");
}

#[test]
fn resnet152_equals_the_reference() {
    runs("87", &["resnet152-32"], &[]);
}

#[test]
fn alexnet_equals_the_reference() {
    runs("87", &["alexnet-32"], &[]);
}

/// In a frame the stream runs dry before the first block only.
#[test]
fn the_next_block_is_queued_before_the_last_one_ends() {
    let launches = std::env::temp_dir().join(format!("jetpace-launches-{}", std::process::id()));
    let path = launches.display().to_string();
    runs("87", &["vgg19-32"], &[("JP_STUB_LAUNCHES", &path)]);
    if stub("87").is_none() {
        return;
    }
    let letters = std::fs::read_to_string(&launches).expect("the stub writes down its launches");
    let _ = std::fs::remove_file(&launches);
    assert!(letters.contains("ibbbbb"), "no frame of 6 blocks in which only the first met an idle stream: {letters}");
}

#[test]
fn a_larger_batch_equals_the_reference_without_memory_pools() {
    runs("87", &["vgg19-32", "3"], &[("JP_STUB_POOLS", "0")]);
}

#[test]
fn sums_split_for_a_large_gpu_equal_the_reference() {
    runs("87", &["vgg19-32"], &[("JP_STUB_CAPABILITY", "90"), ("JP_STUB_PROCESSORS", "132")]);
}

#[test]
fn thor_takes_its_cubin() {
    runs("87", &["vgg19-32"], &[("JP_STUB_CAPABILITY", "110"), ("JP_STUB_PROCESSORS", "20")]);
}

#[test]
fn xaviers_kernels_equal_the_reference() {
    runs("72", &["vgg19-32"], &[("JP_STUB_PROCESSORS", "6")]);
}

/// Every byte that a kernel touches lies in a buffer of the launch plan.
#[test]
fn the_address_sanitizer_finds_nothing() {
    let sanitizer = Command::new("g++").arg("-print-file-name=libasan.so").output().expect("no g++");
    let sanitizer = String::from_utf8_lossy(&sanitizer.stdout).trim().to_owned();
    let options = "detect_leaks=0:detect_stack_use_after_return=0";
    runs("asan", &["vgg19-32"], &[("LD_PRELOAD", &sanitizer), ("ASAN_OPTIONS", options)]);
}

#[test]
fn a_machine_without_a_gpu_is_told_so() {
    refuses("87", &[("JP_STUB_DEVICES", "0")], "the CUDA driver finds no GPU (it lists none)");
    refuses("87", &[("JP_STUB_INIT", "100")], "the CUDA driver finds no GPU (CUDA_ERROR_NO_DEVICE)");
    refuses("87", &[("JP_STUB_INIT", "999")], "the CUDA driver finds no GPU (CUDA_ERROR_UNKNOWN)");
}

#[test]
fn another_gpu_is_named_with_those_that_there_are_kernels_for() {
    let message = "emulated GPU has compute capability 8.6; kernels are compiled for 7.2, 8.7, 9.0, 11.0 only";
    refuses("87", &[("JP_STUB_CAPABILITY", "86")], message);
}

#[test]
fn too_little_memory_is_said_with_how_much_there_is() {
    let message = "the GPU is out of memory: the weights of layer 12 takes 5 MB, 4 MB of 24 MB are free";
    refuses("87", &[("JP_STUB_MEMORY_MB", "24")], message);
}

#[test]
fn an_old_driver_is_told_by_the_function_that_it_lacks() {
    refuses("87/old", &[], "it has no cuEventElapsedTime");
}

#[test]
fn the_stub_has_the_functions_that_are_looked_up_and_no_other() {
    let Some(dir) = stub("87") else { return };
    let listed = Command::new("nm").args(["-D", "--defined-only"]).arg(dir.join("libcuda.so.1")).output().unwrap();
    let listed = String::from_utf8(listed.stdout).unwrap();
    let mut exported: Vec<&str> = listed.split_whitespace().filter(|word| word.starts_with("cu")).collect();
    exported.sort_unstable();
    let mut wanted = jetpace_kernels::cuda::SYMBOLS.to_vec();
    wanted.sort_unstable();
    assert_eq!(exported, wanted);
}
