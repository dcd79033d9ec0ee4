//! What torchvision calls a network's tensors.

use crate::net::{Op, OpBlock, Pool};

/// One layer's tensors by their prefixes; `.weight` and the like follow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Names {
    /// The convolution or fully connected layer.
    pub layer: String,
    /// The batch norm behind it; a layer that has one has no bias of its own.
    pub norm: Option<String>,
}

impl Names {
    fn plain(layer: String) -> Self {
        Self { layer, norm: None }
    }

    /// What the importer calls a layer.
    pub(super) fn numbered(layer: usize) -> Self {
        Self::plain(format!("layer{layer}"))
    }
}

/// The names of every layer, in the order of the ops; `None` for a network that torchvision has not. The `-32`
/// networks take their ImageNet siblings' names; the one fully connected layer of `vgg19-32` is `classifier`.
pub(super) fn torchvision(network: &str, blocks: &[OpBlock]) -> Option<Vec<Names>> {
    match network.trim_end_matches("-32") {
        "alexnet" => Some(sequential(blocks, |i| format!("classifier.{}", [1, 4, 6][i]))),
        "vgg19" if network == "vgg19" => Some(sequential(blocks, |i| format!("classifier.{}", [0, 3, 6][i]))),
        "vgg19" => Some(sequential(blocks, |_| "classifier".to_owned())),
        "resnet152" => Some(blocks.iter().flat_map(residual_unit).collect()),
        _ => None,
    }
}

/// `features` counts a convolution, its rectifier and its pooling as one entry each.
fn sequential(blocks: &[OpBlock], classifier: impl Fn(usize) -> String) -> Vec<Names> {
    let (mut features, mut linears) = (0, 0);
    let mut names = Vec::new();
    for op in blocks.iter().flat_map(|block| &block.ops) {
        names.push(Names::plain(match op {
            Op::Conv(c) | Op::Shortcut(c) => {
                let name = format!("features.{features}");
                features += if matches!(c.pool, Some(Pool::Max { .. })) { 3 } else { 2 };
                name
            }
            Op::Linear(_) => {
                linears += 1;
                classifier(linears - 1)
            }
        }));
    }
    names
}

fn residual_unit(block: &OpBlock) -> Vec<Names> {
    // `s2.1` is torchvision's `layer2.0.`; the stem's and the last layer's names stand alone.
    let unit = block.name.strip_prefix('s').and_then(|rest| rest.split_once('.'));
    let prefix = unit.and_then(|(stage, unit)| Some(format!("layer{stage}.{}.", unit.parse::<u32>().ok()? - 1)));
    let prefix = prefix.unwrap_or_default();
    let mut convs = 0;
    let names = block.ops.iter().map(|op| match op {
        Op::Conv(_) => {
            convs += 1;
            Names { layer: format!("{prefix}conv{convs}"), norm: Some(format!("{prefix}bn{convs}")) }
        }
        Op::Shortcut(_) => {
            Names { layer: format!("{prefix}downsample.0"), norm: Some(format!("{prefix}downsample.1")) }
        }
        Op::Linear(_) => Names::plain(format!("{prefix}fc")),
    });
    names.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net;

    fn layers(network: &str) -> Vec<String> {
        let blocks = net::ops(network).unwrap();
        torchvision(network, &blocks).unwrap().into_iter().map(|n| n.layer).collect()
    }

    #[test]
    fn features_count_rectifiers_and_pools() {
        let alexnet = ["features.0", "features.3", "features.6", "features.8", "features.10"];
        assert_eq!(layers("alexnet")[..5], alexnet);
        assert_eq!(layers("alexnet")[5..], ["classifier.1", "classifier.4", "classifier.6"]);
        // torchvision's make_layers for configuration E.
        let vgg = [0, 2, 5, 7, 10, 12, 14, 16, 19, 21, 23, 25, 28, 30, 32, 34].map(|i| format!("features.{i}"));
        assert_eq!(layers("vgg19")[..16], vgg);
        assert_eq!(layers("vgg19")[16..], ["classifier.0", "classifier.3", "classifier.6"]);
        assert_eq!(layers("vgg19-32").last().unwrap(), "classifier");
    }

    #[test]
    fn residual_units_count_from_zero() {
        let blocks = net::ops("resnet152").unwrap();
        let names = torchvision("resnet152", &blocks).unwrap();
        let named = |layer: &str, norm: &str| Names { layer: layer.to_owned(), norm: Some(norm.to_owned()) };
        assert_eq!(names[0], named("conv1", "bn1"));
        assert_eq!(names[1], named("layer1.0.conv1", "layer1.0.bn1"));
        assert_eq!(names[3], named("layer1.0.downsample.0", "layer1.0.downsample.1"));
        assert_eq!(names[4], named("layer1.0.conv3", "layer1.0.bn3"));
        assert_eq!(names[154], named("layer4.2.conv3", "layer4.2.bn3"));
        assert_eq!(names[155], Names::plain("fc".to_owned()));
    }

    #[test]
    fn other_networks_have_no_names() {
        assert_eq!(torchvision("robot-frame", &[]), None);
    }
}
