//! A safetensors file with a network's weights: its header checked as a whole when it is opened, its tensors read
//! when they are asked for.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use half::{bf16, f16};
use safetensors::tensor::{Dtype, Metadata, TensorInfo};

use super::Params;
use super::names::{Names, torchvision};
use crate::error::Error;
use crate::net::{Op, OpBlock};

/// What torch adds to the variance before the root.
const NORM_EPS: f32 = 1e-5;

/// A header of ImageNet's largest network is some 60 kB.
const LONGEST_HEADER: u64 = 16 << 20;

/// An open safetensors file whose header is right.
#[derive(Debug)]
pub(crate) struct TensorFile {
    path: PathBuf,
    file: File,
    /// Where the tensors' bytes start.
    data: u64,
    header: Metadata,
}

impl TensorFile {
    pub(crate) fn open(path: &Path) -> Result<Self, Error> {
        let mut file = File::open(path).map_err(|e| Error::file(path, e))?;
        let (header, data) = read_header(path, &mut file)?;
        Ok(Self { path: path.to_owned(), file, data, header })
    }

    pub(crate) fn info(&self, tensor: &str) -> Result<&TensorInfo, Error> {
        self.header.info(tensor).ok_or_else(|| Error::weights(&self.path, format_args!("{tensor} is missing")))
    }

    pub(crate) fn bytes(&self, tensor: &str) -> Result<Vec<u8>, Error> {
        let (start, end) = self.info(tensor)?.data_offsets;
        let mut bytes = vec![0; end - start];
        self.file.read_exact_at(&mut bytes, self.data + start as u64).map_err(|e| Error::file(&self.path, e))?;
        Ok(bytes)
    }
}

#[derive(Debug)]
pub(super) struct WeightsFile {
    tensors: TensorFile,
    names: Vec<Names>,
}

impl WeightsFile {
    pub(super) fn open(path: &Path, network: &str, blocks: &[OpBlock]) -> Result<Self, Error> {
        let names = torchvision(network, blocks);
        Self::open_named(path, network, blocks, names)
    }

    /// With the tensors `layerN.weight` and `layerN.bias`, norms folded in: what the importer writes.
    pub(super) fn open_numbered(path: &Path, network: &str, blocks: &[OpBlock]) -> Result<Self, Error> {
        let layers = blocks.iter().map(|block| block.ops.len()).sum();
        Self::open_named(path, network, blocks, Some((0..layers).map(Names::numbered).collect()))
    }

    fn open_named(path: &Path, network: &str, blocks: &[OpBlock], names: Option<Vec<Names>>) -> Result<Self, Error> {
        let names =
            names.ok_or_else(|| Error::weights(path, format_args!("no tensor names are known for {network}")))?;
        let tensors = TensorFile::open(path)?;
        let opened = Self { tensors, names };
        opened.check(network, blocks)?;
        Ok(opened)
    }

    /// Every tensor that the network has, no other, each of its shape and of a type that can be read.
    fn check(&self, network: &str, blocks: &[OpBlock]) -> Result<(), Error> {
        let ops = blocks.iter().flat_map(|block| &block.ops);
        let wanted: BTreeMap<String, Vec<usize>> =
            self.names.iter().zip(ops).flat_map(|(names, op)| tensors(names, op)).collect();
        let mut wrong = Vec::new();
        for (name, shape) in &wanted {
            match self.tensors.header.info(name) {
                None => wrong.push(format!("{name} is missing")),
                Some(info) if info.shape != *shape => {
                    wrong.push(format!("{name} has shape {:?}, not {shape:?}", info.shape));
                }
                Some(info) if !matches!(info.dtype, Dtype::F32 | Dtype::F16 | Dtype::BF16) => {
                    wrong.push(format!("{name} is {:?}; F32, F16 and BF16 can be read", info.dtype));
                }
                Some(_) => {}
            }
        }
        let mut extra = self.tensors.header.offset_keys();
        // torch counts the batches it has trained on beside each norm; nothing is computed from it.
        extra.retain(|name| !wanted.contains_key(name) && !name.ends_with(".num_batches_tracked"));
        extra.sort();
        wrong.extend(extra.into_iter().map(|name| format!("{name} is not of this network")));
        if wrong.is_empty() {
            return Ok(());
        }
        const SHOWN: usize = 8;
        let more = wrong.len().saturating_sub(SHOWN);
        wrong.truncate(SHOWN);
        let more = if more > 0 { format!("; {more} more") } else { String::new() };
        Err(Error::weights(
            &self.tensors.path,
            format_args!("not the weights of {network}: {}{more}", wrong.join("; ")),
        ))
    }

    pub(super) fn params(&self, index: usize) -> Result<Params, Error> {
        let names = self
            .names
            .get(index)
            .ok_or_else(|| Error::weights(&self.tensors.path, format_args!("the network has no layer {index}")))?;
        let mut weight = self.read(&format!("{}.weight", names.layer))?;
        let Some(norm) = &names.norm else {
            return Ok(Params { weight, bias: self.read(&format!("{}.bias", names.layer))? });
        };
        let read = |tensor: &str| self.read(&format!("{norm}.{tensor}"));
        let (gamma, beta) = (read("weight")?, read("bias")?);
        let (mean, var) = (read("running_mean")?, read("running_var")?);
        let bias = fold_norm(&mut weight, [&gamma, &beta, &mean, &var]);
        Ok(Params { weight, bias })
    }

    fn read(&self, tensor: &str) -> Result<Vec<f32>, Error> {
        let bytes = self.tensors.bytes(tensor)?;
        let pairs = || bytes.chunks_exact(2).map(|b| u16::from_le_bytes([b[0], b[1]]));
        let values: Vec<f32> = match self.tensors.info(tensor)?.dtype {
            Dtype::F16 => pairs().map(|b| f16::from_bits(b).to_f32()).collect(),
            Dtype::BF16 => pairs().map(|b| bf16::from_bits(b).to_f32()).collect(),
            _ => bytes.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect(),
        };
        match values.iter().find(|v| !v.is_finite()) {
            Some(v) => Err(Error::weights(&self.tensors.path, format_args!("{tensor} holds {v}"))),
            None => Ok(values),
        }
    }
}

/// The header and where the tensors start. Not `SafeTensors::deserialize`, which wants the whole file in memory.
fn read_header(path: &Path, file: &mut File) -> Result<(Metadata, u64), Error> {
    let bad = |why: &dyn std::fmt::Display| Error::weights(path, format_args!("not a safetensors file: {why}"));
    let io = |e| Error::file(path, e);
    let length = file.metadata().map_err(io)?.len();
    let mut prefix = [0; 8];
    if length < prefix.len() as u64 {
        return Err(bad(&"it is too short"));
    }
    file.read_exact(&mut prefix).map_err(io)?;
    let header = u64::from_le_bytes(prefix);
    if header > LONGEST_HEADER.min(length - 8) {
        return Err(bad(&format_args!("it says that its header is {header} bytes long")));
    }
    let mut text = vec![0; header as usize];
    file.read_exact(&mut text).map_err(io)?;
    let metadata: Metadata = serde_json::from_slice(&text).map_err(|e| bad(&e))?;
    let data = 8 + header;
    match data + metadata.data_len() as u64 {
        whole if whole == length => Ok((metadata, data)),
        whole => Err(bad(&format_args!("{length} bytes instead of {whole}; was it cut off?"))),
    }
}

fn outputs(op: &Op) -> usize {
    match op {
        Op::Conv(c) | Op::Shortcut(c) => c.outputs as usize,
        Op::Linear(l) => l.outputs as usize,
    }
}

/// Names and shapes of a layer's tensors.
fn tensors(names: &Names, op: &Op) -> Vec<(String, Vec<usize>)> {
    let weight = match op {
        Op::Conv(c) | Op::Shortcut(c) => [c.outputs, c.inputs, c.kernel, c.kernel].map(|n| n as usize).to_vec(),
        Op::Linear(l) => vec![l.outputs as usize, l.inputs as usize],
    };
    let per_output = |prefix: &str, tensor: &str| (format!("{prefix}.{tensor}"), vec![outputs(op)]);
    let mut all = vec![(format!("{}.weight", names.layer), weight)];
    match &names.norm {
        None => all.push(per_output(&names.layer, "bias")),
        Some(norm) => {
            all.extend(["weight", "bias", "running_mean", "running_var"].map(|tensor| per_output(norm, tensor)));
        }
    }
    all
}

/// Scales the filters by gamma / sqrt(var + eps) and returns the bias beta - mean * that, as batch norm computes
/// y = gamma (x - mean) / sqrt(var + eps) + beta in inference.
fn fold_norm(weight: &mut [f32], [gamma, beta, mean, var]: [&[f32]; 4]) -> Vec<f32> {
    let filter = weight.len() / gamma.len();
    let mut bias = Vec::with_capacity(gamma.len());
    for (o, filter) in weight.chunks_exact_mut(filter).enumerate() {
        let scale = gamma[o] / (var[o] + NORM_EPS).sqrt();
        filter.iter_mut().for_each(|w| *w *= scale);
        bias.push(beta[o] - mean[o] * scale);
    }
    bias
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::{Conv, Linear};
    use safetensors::tensor::TensorView;

    /// A stem and a last layer under torchvision's names for ResNet.
    fn blocks() -> Vec<OpBlock> {
        let stem = Conv { outputs: 2, ..first_conv() };
        vec![
            OpBlock { name: "stem".into(), ops: vec![Op::Conv(stem)] },
            OpBlock { name: "fc".into(), ops: vec![Op::Linear(Linear { inputs: 2, outputs: 1, relu: false })] },
        ]
    }

    fn first_conv() -> Conv {
        Conv { inputs: 1, outputs: 1, kernel: 1, stride: 1, pad: 0, side: 2, relu: true, residual: false, pool: None }
    }

    type Tensor = (&'static str, Dtype, Vec<usize>, Vec<u8>);

    fn f32s(name: &'static str, shape: &[usize], values: &[f32]) -> Tensor {
        (name, Dtype::F32, shape.to_vec(), values.iter().flat_map(|v| v.to_le_bytes()).collect())
    }

    fn good() -> Vec<Tensor> {
        vec![
            f32s("conv1.weight", &[2, 1, 1, 1], &[3.0, -1.0]),
            f32s("bn1.weight", &[2], &[2.0, 1.0]),
            f32s("bn1.bias", &[2], &[0.5, 0.0]),
            f32s("bn1.running_mean", &[2], &[1.0, -2.0]),
            f32s("bn1.running_var", &[2], &[4.0 - NORM_EPS, 1.0 - NORM_EPS]),
            ("bn1.num_batches_tracked", Dtype::I64, vec![], vec![9; 8]),
            ("fc.weight", Dtype::F16, vec![1, 2], vec![0x00, 0x3c, 0x00, 0xc0]),
            ("fc.bias", Dtype::BF16, vec![1], vec![0x40, 0x3f]),
        ]
    }

    fn open(tensors: &[Tensor]) -> Result<(tempfile::TempDir, WeightsFile), String> {
        let views = tensors.iter().map(|(n, t, s, b)| (*n, TensorView::new(*t, s.clone(), b).unwrap()));
        let bytes = safetensors::serialize(views, None).unwrap();
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("w.safetensors");
        std::fs::write(&path, bytes).unwrap();
        WeightsFile::open(&path, "resnet152", &blocks()).map(|file| (dir, file)).map_err(|e| e.to_string())
    }

    #[test]
    fn norms_fold_into_the_filters_and_every_type_is_read() {
        let (_dir, file) = open(&good()).unwrap();
        // scale = 2 / sqrt(4) = 1 and 1 / sqrt(1) = 1; bias = 0.5 - 1 * 1 and 0 - (-2) * 1.
        let stem = file.params(0).unwrap();
        for (got, want) in stem.weight.iter().chain(&stem.bias).zip([3.0, -1.0, -0.5, 2.0]) {
            assert!((got - want).abs() < 1e-6, "{stem:?}");
        }
        // 0x3c00, 0xc000 are 1 and -2 in fp16, 0x3f40 is 0.75 in bf16.
        assert_eq!(file.params(1).unwrap(), Params { weight: vec![1.0, -2.0], bias: vec![0.75] });
    }

    #[test]
    fn what_is_missing_extra_or_misshapen_is_named() {
        let mut tensors = good();
        tensors.remove(2);
        tensors[0] = f32s("conv1.weight", &[1, 2, 1, 1], &[3.0, -1.0]);
        tensors.push(f32s("layer1.0.conv1.weight", &[1], &[0.0]));
        let last = tensors.iter_mut().find(|t| t.0 == "fc.bias").unwrap();
        *last = ("fc.bias", Dtype::F64, vec![1], vec![0; 8]);
        let message = open(&tensors).err().unwrap();
        for part in [
            "bn1.bias is missing",
            "conv1.weight has shape [1, 2, 1, 1], not [2, 1, 1, 1]",
            "fc.bias is F64; F32, F16 and BF16 can be read",
            "layer1.0.conv1.weight is not of this network",
        ] {
            assert!(message.contains(part), "{message}");
        }
        assert!(message.contains("w.safetensors: not the weights of resnet152"), "{message}");
    }

    #[test]
    fn other_files_and_cut_off_ones_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("w.safetensors");
        let views = good();
        let views = views.iter().map(|(n, t, s, b)| (*n, TensorView::new(*t, s.clone(), b).unwrap()));
        let whole = safetensors::serialize(views, None).unwrap();
        for (bytes, why) in [
            (&whole[..4], "too short"),
            (&whole[..whole.len() - 1], "was it cut off?"),
            (&whole[8..], "its header is"),
            (&[&[2, 0, 0, 0, 0, 0, 0, 0], &b"[]"[..]].concat()[..], "not a safetensors file"),
        ] {
            std::fs::write(&path, bytes).unwrap();
            let message = WeightsFile::open(&path, "resnet152", &blocks()).unwrap_err().to_string();
            assert!(message.contains(why), "{message}");
        }
        let message = WeightsFile::open(&path, "robot-frame", &blocks()).unwrap_err().to_string();
        assert!(message.contains("no tensor names are known"), "{message}");
        let gone = WeightsFile::open(&dir.path().join("gone"), "resnet152", &blocks()).unwrap_err().to_string();
        assert!(gone.contains("gone: No such file"), "{gone}");
    }

    #[test]
    fn infinity_in_a_tensor_is_named() {
        let mut tensors = good();
        tensors[0] = f32s("conv1.weight", &[2, 1, 1, 1], &[3.0, f32::INFINITY]);
        let (_dir, file) = open(&tensors).unwrap();
        let message = file.params(0).unwrap_err().to_string();
        assert!(message.contains("conv1.weight holds inf"), "{message}");
    }
}
