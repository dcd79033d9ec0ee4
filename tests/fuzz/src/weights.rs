//! The reader of weights: safetensors.

use std::collections::BTreeMap;
use std::io::Write;
use std::os::fd::AsRawFd;
use std::path::PathBuf;

use jetpace_kernels::launch::LayerSize;
use jetpace_kernels::packed::PackedWeights;

/// So much the plan reads of its only layer.
const LAYER: LayerSize = LayerSize { weights: 8, bias: 4 };

/// A file that is accepted gives what the plan reads. Whether it was.
pub fn weights(data: &[u8]) -> bool {
    let mut file = tempfile::tempfile().unwrap_or_else(|e| panic!("a file of its own: {e}"));
    file.write_all(data).unwrap_or_else(|e| panic!("its bytes: {e}"));
    let path = PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd()));
    let Ok(opened) = PackedWeights::open(&path, &BTreeMap::from([(0, LAYER)])) else { return false };
    let layer = opened.layer(0).unwrap_or_else(|e| panic!("accepted, and then {e}"));
    assert!(layer.weights.len() as u64 >= LAYER.weights && layer.bias.len() as u64 >= LAYER.bias);
    true
}
