//! The launcher on a stub CUDA driver that runs the emulated kernels (tests/emu/libcuda): the same code that runs on a
//! GPU, up to the driver's functions. `./ci.sh emu` builds the stubs and names their folder in JETPACE_STUBS; without
//! it these tests skip and say so.
//!
//! A process loads one driver, so every case is a process of its own: the example `check`.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use jetpace_kernels::cubin::Capability;
use jetpace_kernels::launch::{Gpu, LaunchPlan};
use jetpace_kernels::net::{self, OpBlock};
use jetpace_kernels::packed::PackedWeights;
use jetpace_kernels::reference::{self, Tensor};
use jetpace_kernels::weights::Weights;
use jetpace_tables::work::Size;

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

/// An example that lies beside target/PROFILE/deps, where this test lies.
fn example(name: &str) -> PathBuf {
    let test = std::env::current_exe().expect("the test has no path");
    test.ancestors().nth(2).expect("the test lies nowhere").join("examples").join(name)
}

/// Runs `check ARGS` on the driver in `dir`, with the stub's settings.
fn check(dir: &Path, args: &[&str], settings: &[(&str, &str)]) -> Output {
    let example = example("check");
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
fn a_desktop_card_takes_its_cubin() {
    runs("87", &["vgg19-32"], &[("JP_STUB_CAPABILITY", "86"), ("JP_STUB_PROCESSORS", "28")]);
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
    let message =
        "emulated GPU has compute capability 7.5; kernels are compiled for 7.2, 8.0, 8.6, 8.7, 8.9, 9.0, 11.0 only";
    refuses("87", &[("JP_STUB_CAPABILITY", "75")], message);
}

#[test]
fn too_little_memory_is_said_with_how_much_there_is() {
    let message = "the GPU is out of memory: the weights of layer 12 takes 5 MB, 4 MB of 24 MB are free";
    refuses("87", &[("JP_STUB_MEMORY_MB", "24")], message);
}

/// CUDA's toolkit has a libcuda.so to link with, in a folder that some put into LD_LIBRARY_PATH.
#[test]
fn a_library_to_link_with_is_told_from_a_driver() {
    refuses("87", &[("JP_STUB_INIT", "34")], "libcuda.so.1 is none to run with");
}

#[test]
fn an_old_driver_is_told_by_the_function_that_it_lacks() {
    refuses("87/old", &[], "it has no cuEventElapsedTime");
}

/// A launch plan in files, its weights and an image.
struct Files {
    folder: tempfile::TempDir,
    plan: LaunchPlan,
    blocks: Vec<OpBlock>,
    image: Tensor,
}

const SEED: u64 = 1;

impl Files {
    fn new() -> Self {
        let blocks = net::ops("vgg19-32").expect("it is built in");
        let gpu = Gpu { capability: Capability::new(8, 7), multiprocessors: 8 };
        let plan = LaunchPlan::new(&blocks, Size(1), &gpu).expect("it has kernels");
        let mut image = Tensor::zeros(1, 32, 3);
        for (i, value) in image.data.iter_mut().enumerate() {
            *value = half::f16::from_f32((i as f32 * 0.37).sin()).to_f32();
        }
        let files = Self { folder: tempfile::tempdir().expect("no folder"), plan, blocks, image };
        files.write_plan(&files.plan);
        PackedWeights::write(&files.path("weights"), &files.blocks, &Weights::random(SEED)).expect("not written");
        let bytes: Vec<u8> = files.image.data.iter().flat_map(|value| value.to_le_bytes()).collect();
        std::fs::write(files.path("image"), bytes).expect("not written");
        files
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write_plan(&self, plan: &LaunchPlan) {
        std::fs::write(self.path("plan.json"), plan.to_json("vgg19-32")).expect("not written");
    }

    /// Runs `infer` on the driver in `dir`.
    fn infer(&self, dir: &Path) -> Output {
        let mut infer = Command::new(example("infer"));
        infer.args(["plan.json", "weights", "image", "output"].map(|name| self.path(name)));
        infer.env("LD_LIBRARY_PATH", dir).output().expect("infer does not start")
    }
}

#[test]
fn a_launch_plan_from_a_file_equals_the_reference() {
    let Some(dir) = stub("87") else { return };
    let files = Files::new();
    let output = files.infer(&dir);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let bytes = std::fs::read(files.path("output")).expect("no output");
    let got: Vec<f32> = bytes.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect();
    let (weights, mut layer) = (Weights::random(SEED), 0);
    let want = files.blocks.iter().fold(files.image.clone(), |input, block| {
        let params: Vec<_> =
            block.ops.iter().enumerate().map(|(i, op)| weights.params(layer + i, op).expect("random")).collect();
        layer += block.ops.len();
        reference::block(block, &params, &input)
    });
    let distance = reference::distance(&got, &want.data);
    assert!(distance < 2e-2, "{distance}");
}

#[test]
fn a_launch_plan_that_must_not_be_launched_is_not() {
    let Some(dir) = stub("87") else { return };
    let files = Files::new();
    let refused = |part: &str| {
        let output = files.infer(&dir);
        let text = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && text.contains(part) && text.lines().count() == 1, "{text}");
        assert!(!files.path("output").exists());
    };
    let mut larger = files.plan.clone();
    larger.blocks[0].launches[1].grid[0] += 1;
    files.write_plan(&larger);
    refused("plan.json: no launch plan that can be run: block stage1: launch 1");
    // Weights of another network: its last layer has other tensors.
    files.write_plan(&files.plan);
    let other = net::ops("resnet152-32").expect("it is built in");
    PackedWeights::write(&files.path("weights"), &other[..3], &Weights::random(SEED)).expect("not written");
    refused("weights: layer1.weights is");
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
