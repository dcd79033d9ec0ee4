//! The other side of a cut: what each block gives, and how long a server takes for it.

use std::fs;
use std::path::Path;

use jetpace_kernels::net::{Op, ops};
use serde::Deserialize;

use crate::failure::Failure;

/// What the built-in server is. Half the peak is what large layers reach at most; small ones are bound by launching.
pub const BUILT_IN: &str =
    "virtual: 14 TFLOP/s and 900 GB/s (a V100's data sheet), half of each reached, 10 us a layer";

const FLOPS: f64 = 0.5 * 14e12;
const BYTES: f64 = 0.5 * 900e9;
const LAUNCH_S: f64 = 10e-6;

/// One block, or `input` for what goes into the first one.
#[derive(Clone, Debug, Deserialize)]
pub struct Side {
    /// Its name.
    pub block: String,
    /// What it gives.
    pub output_bytes: f64,
    /// The server's time for it.
    pub server_s: f64,
}

/// The server's side of a network: the input, then the blocks in order.
pub fn sides(file: Option<&Path>, net: &str) -> Result<Vec<Side>, Failure> {
    let sides = match file {
        Some(path) => read(path)?,
        None => built_in(net).ok_or_else(|| {
            Failure::usage(format_args!(
                "the server's times are not built in for {net}; give them in a file (`plan --cut FILE`, `compare --server FILE`), a CSV of block, \
                 output_bytes, server_s whose first row is `input`"
            ))
        })?,
    };
    Ok(sides)
}

fn read(path: &Path) -> Result<Vec<Side>, Failure> {
    let text = fs::read_to_string(path).map_err(|e| Failure::file(path, &e))?;
    let mut reader = csv::ReaderBuilder::new().comment(Some(b'#')).trim(csv::Trim::All).from_reader(text.as_bytes());
    let mut sides = Vec::new();
    for record in reader.deserialize() {
        let side: Side = record.map_err(|e| Failure::usage(format_args!("{}: {e}", path.display())))?;
        let sane = |value: f64| value.is_finite() && value >= 0.0;
        if !sane(side.output_bytes) || !sane(side.server_s) {
            let block = &side.block;
            return Err(Failure::usage(format_args!("{}: {block}: bytes or seconds below zero", path.display())));
        }
        sides.push(side);
    }
    match sides.first() {
        Some(first) if first.block == "input" => Ok(sides),
        _ => Err(Failure::usage(format_args!("{}: the first row has to be `input`", path.display()))),
    }
}

fn built_in(net: &str) -> Option<Vec<Side>> {
    let blocks = ops(net)?;
    let input = match blocks.first()?.ops.first()? {
        // An image of 8 bits a channel.
        Op::Conv(conv) | Op::Shortcut(conv) => f64::from(conv.inputs) * f64::from(conv.side).powi(2),
        Op::Linear(linear) => f64::from(linear.inputs),
    };
    let mut sides = vec![Side { block: "input".to_owned(), output_bytes: input, server_s: 0.0 }];
    for block in blocks {
        let server_s = block.ops.iter().map(|op| {
            let layer = op.layer();
            let bytes = (layer.weight_bytes + layer.activation_bytes) as f64;
            (layer.flops as f64 / FLOPS).max(bytes / BYTES) + LAUNCH_S
        });
        let server_s = server_s.sum();
        let last = block.ops.iter().rev().find(|op| !matches!(op, Op::Shortcut(_)))?;
        let elements = match last {
            Op::Conv(conv) | Op::Shortcut(conv) => f64::from(conv.outputs) * f64::from(conv.pooled_side()).powi(2),
            Op::Linear(linear) => f64::from(linear.outputs),
        };
        // fp32, as the kernels compute.
        sides.push(Side { block: block.name, output_bytes: 4.0 * elements, server_s });
    }
    Some(sides)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_built_in_side_follows_the_network() {
        let sides = built_in("vgg19").unwrap();
        assert_eq!((sides[0].block.as_str(), sides[0].output_bytes), ("input", 150_528.0));
        assert_eq!(sides.last().unwrap().output_bytes, 4000.0);
        // 39.3 GFLOP at 7 TFLOP/s are 5.6 ms.
        let total: f64 = sides.iter().map(|side| side.server_s).sum();
        assert!((0.0056..0.008).contains(&total), "{total}");
        assert!(built_in("robot-frame").is_none());
    }

    #[test]
    fn a_file_has_to_begin_with_the_input() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("server.csv");
        fs::write(&path, "block,output_bytes,server_s\ninput,1000,0\na,10,0.001\n").unwrap();
        assert_eq!(sides(Some(&path), "any").unwrap().len(), 2);
        fs::write(&path, "block,output_bytes,server_s\na,10,0.001\n").unwrap();
        assert!(sides(Some(&path), "any").unwrap_err().to_string().contains("has to be `input`"));
        fs::write(&path, "block,output_bytes,server_s\ninput,-1,0\n").unwrap();
        assert!(sides(Some(&path), "any").unwrap_err().to_string().contains("below zero"));
    }
}
