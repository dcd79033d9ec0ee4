//! pack NETWORK.json WEIGHTS.safetensors OUT BATCH MAJOR MINOR MULTIPROCESSORS: a network and weights as the importer leaves
//! them, as OUT.plan.json and OUT.safetensors, which `jetpace-cuda run --plan` takes.

use std::path::PathBuf;
use std::process::ExitCode;

use jetpace_kernels::cubin::Capability;
use jetpace_kernels::launch::{Gpu, LaunchPlan};
use jetpace_kernels::net::OpBlock;
use jetpace_kernels::packed::PackedWeights;
use jetpace_kernels::weights::Weights;
use jetpace_tables::work::Size;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match pack(&args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("pack: {why}");
            ExitCode::from(2)
        }
    }
}

fn pack(args: &[String]) -> Result<(), String> {
    let [network, weights, out, numbers @ ..] = args else {
        return Err("usage: pack NETWORK.json WEIGHTS.safetensors OUT BATCH MAJOR MINOR MULTIPROCESSORS".into());
    };
    let numbers: Result<Vec<u32>, _> = numbers.iter().map(|n| n.parse()).collect();
    let Ok([batch, major, minor, multiprocessors]) = numbers.as_deref() else {
        return Err("BATCH, MAJOR, MINOR and MULTIPROCESSORS are whole numbers".into());
    };
    let text = std::fs::read_to_string(network).map_err(|e| format!("{network}: {e}"))?;
    let blocks: Vec<OpBlock> = serde_json::from_str(&text).map_err(|e| format!("{network}: {e}"))?;
    let gpu = Gpu { capability: Capability::new(*major as u8, *minor as u8), multiprocessors: *multiprocessors };
    let plan = LaunchPlan::new(&blocks, Size(*batch), &gpu).map_err(|e| e.to_string())?;
    let loaded = Weights::open_numbered(weights.as_ref(), network, &blocks).map_err(|e| e.to_string())?;
    let path = PathBuf::from(format!("{out}.plan.json"));
    std::fs::write(&path, plan.to_json(network)).map_err(|e| format!("{}: {e}", path.display()))?;
    let packed = PathBuf::from(format!("{out}.safetensors"));
    PackedWeights::write(&packed, &blocks, &loaded).map_err(|e| e.to_string())
}
