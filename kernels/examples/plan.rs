//! plan NETWORK BATCH MAJOR MINOR MULTIPROCESSORS: the kernel launches of a network on such a GPU, as JSON, for
//! tests/gpu, which launches them without the rest of the program. `ints` are those of the parameter's struct in
//! cu/abi.h, in its order.

use std::process::ExitCode;

use jetpace_kernels::abi::{ConvShape, LinearShape, PoolShape};
use jetpace_kernels::cubin::Capability;
use jetpace_kernels::launch::{Buffer, Gpu, Launch, LaunchPlan, Work};
use jetpace_kernels::net;
use jetpace_tables::work::Size;
use serde_json::{Value, json};

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

fn plan(args: &[String]) -> Result<Value, String> {
    let [name, numbers @ ..] = args else { return Err("usage: plan NETWORK BATCH MAJOR MINOR MULTIPROCESSORS".into()) };
    let blocks = net::ops(name).ok_or_else(|| format!("{name} has no kernels"))?;
    let numbers: Result<Vec<u32>, _> = numbers.iter().map(|n| n.parse()).collect();
    let Ok([batch, major, minor, multiprocessors]) = numbers.as_deref() else {
        return Err("BATCH, MAJOR, MINOR and MULTIPROCESSORS are whole numbers".into());
    };
    let gpu = Gpu { capability: Capability::new(*major as u8, *minor as u8), multiprocessors: *multiprocessors };
    let plan = LaunchPlan::new(&blocks, Size(*batch), &gpu).map_err(|e| e.to_string())?;
    let buffers: serde_json::Map<_, _> = plan.buffers.iter().map(|(b, bytes)| (buffer(*b), json!(bytes))).collect();
    let planned: Vec<Value> = plan
        .blocks
        .iter()
        .map(|block| {
            json!({
                "name": block.name,
                "output": {
                    "buffer": buffer(block.output.buffer),
                    "side": block.output.side,
                    "channels": block.output.channels,
                    "pitch": block.output.pitch,
                },
                "launches": block.launches.iter().map(launch).collect::<Vec<_>>(),
            })
        })
        .collect();
    Ok(json!({
        "format": 1,
        "network": name,
        "batch": batch,
        "buffers": buffers,
        "workspace_bytes": plan.workspace_bytes,
        "blocks": planned,
    }))
}

fn buffer(buffer: Buffer) -> String {
    match buffer {
        Buffer::Image => "image".to_owned(),
        Buffer::Between(i) => format!("between{i}"),
        Buffer::Scratch(i) => format!("scratch{i}"),
    }
}

fn launch(launch: &Launch) -> Value {
    let (work, input, output, layer, residual, ints) = match launch.work {
        Work::Conv { input, layer, residual, output, shape } => {
            ("conv", input, output, Some(layer), residual, conv(shape).to_vec())
        }
        Work::Pool { input, output, shape } => ("pool", input, output, None, None, pool(shape).to_vec()),
        Work::Linear { input, layer, output, shape } => {
            ("linear", input, output, Some(layer), None, linear(shape).to_vec())
        }
    };
    json!({
        "kernel": launch.kernel.name(),
        "grid": launch.grid,
        "threads": launch.kernel.threads(),
        "shared_bytes": launch.shared_bytes,
        "work": work,
        "input": buffer(input),
        "output": buffer(output),
        "residual": residual.map(buffer),
        "layer": layer,
        "ints": ints,
    })
}

fn conv(s: ConvShape) -> [u32; 14] {
    [
        s.batch,
        s.height,
        s.width,
        s.channels,
        s.out_height,
        s.out_width,
        s.out_channels,
        s.kernel,
        s.stride,
        s.pad,
        s.relu,
        s.pool2,
        s.splits,
        s.reserved,
    ]
}

fn pool(s: PoolShape) -> [u32; 10] {
    [s.batch, s.height, s.width, s.channels, s.out_height, s.out_width, s.window, s.stride, s.pad, s.reserved]
}

fn linear(s: LinearShape) -> [u32; 4] {
    [s.inputs, s.outputs, s.relu, s.reserved]
}
