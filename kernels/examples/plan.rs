//! plan NETWORK BATCH MAJOR MINOR MULTIPROCESSORS [TILE SPLITS]: the kernel launches of a network on such a GPU, as the
//! document that PLANS.md describes.

use std::process::ExitCode;

use jetpace_kernels::abi::TILES;
use jetpace_kernels::cubin::Capability;
use jetpace_kernels::launch::{Gpu, LaunchPlan};
use jetpace_kernels::net;
use jetpace_tables::work::Size;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match plan(&args) {
        Ok(document) => {
            println!("{document}");
            ExitCode::SUCCESS
        }
        Err(why) => {
            eprintln!("plan: {why}");
            ExitCode::from(2)
        }
    }
}

fn plan(args: &[String]) -> Result<String, String> {
    let usage = "usage: plan NETWORK BATCH MAJOR MINOR MULTIPROCESSORS [TILE SPLITS]";
    let (name, numbers, forced) = match args {
        [name, numbers @ ..] if numbers.len() == 4 => (name, numbers, None),
        [name, numbers @ .., tile, splits] if numbers.len() == 4 => (name, numbers, Some((tile, splits))),
        _ => return Err(usage.into()),
    };
    let forced = match forced {
        None => None,
        Some((tile, splits)) => {
            let known = TILES.into_iter().find(|t| format!("{}x{}", t.rows, t.channels) == *tile);
            let known = known.ok_or_else(|| format!("no tile {tile}; the kernels are conv_ROWSxCHANNELS"))?;
            Some((known, splits.parse().map_err(|_| "SPLITS is a whole number")?))
        }
    };
    let blocks = net::ops(name).ok_or_else(|| format!("{name} has no kernels"))?;
    let numbers: Result<Vec<u32>, _> = numbers.iter().map(|n| n.parse()).collect();
    let Ok([batch, major, minor, multiprocessors]) = numbers.as_deref() else {
        return Err("BATCH, MAJOR, MINOR and MULTIPROCESSORS are whole numbers".into());
    };
    let gpu = Gpu { capability: Capability::new(*major as u8, *minor as u8), multiprocessors: *multiprocessors };
    let plan = LaunchPlan::with_tile(&blocks, Size(*batch), &gpu, forced).map_err(|e| e.to_string())?;
    Ok(plan.to_json(name))
}
