"""Our layers and networks against cuDNN's."""
import copy

import torch
import torch.nn.functional as F

import report
from network import Ints


def theirs(network, launches):
    """The same layer by torch: (fused as we fuse it, the bare convolution). cuDNN fuses bias, addition and rectifier where
    there is a rectifier; the maximum that we fuse besides is left out."""
    first = launches[0]
    s = Ints(first)
    weight, bias = network.weights[first["layer"]], network.biases[first["layer"]].half()
    if first["work"] == "linear":
        x = torch.randn(1, s.inputs, device="cuda", dtype=torch.half)
        fused = lambda: F.linear(x, weight, bias[: s.outputs])
        return fused, lambda: F.linear(x, weight)
    channels = s.channels
    if first["kernel"].startswith("stem_"):
        channels = 3
        weight = weight[..., : s.kernel * 4].view(s.kernel, s.out_channels, s.kernel, 4)[..., :3].permute(1, 3, 0, 2)
    else:
        weight = weight.view(s.out_channels, s.kernel, s.kernel, channels).permute(0, 3, 1, 2)
    random = lambda *shape: torch.randn(*shape, device="cuda", dtype=torch.half).to(memory_format=torch.channels_last)
    x = random(s.batch, channels, s.height, s.width)
    weight = weight.contiguous(memory_format=torch.channels_last)
    twice = lambda n: (n, n)
    how = (twice(s.stride), twice(s.pad), (1, 1), 1)
    bare = lambda: F.conv2d(x, weight, None, s.stride, s.pad)
    if not s.relu:
        return lambda: F.conv2d(x, weight, bias, s.stride, s.pad), bare
    if first["residual"]:
        z = random(s.batch, s.out_channels, s.out_height, s.out_width)
        return lambda: torch.cudnn_convolution_add_relu(x, weight, z, 1.0, bias, *how), bare
    return lambda: torch.cudnn_convolution_relu(x, weight, bias, *how), bare


def with_norms_folded(model):
    """The network as one would run it: every batch norm folded into its convolution."""
    model = copy.deepcopy(model)
    fuse = torch.nn.utils.fusion.fuse_conv_bn_eval
    for unit in [model, *model.modules()]:
        for conv, norm in (("conv1", "bn1"), ("conv2", "bn2"), ("conv3", "bn3")):
            if hasattr(unit, conv) and hasattr(unit, norm):
                setattr(unit, conv, fuse(getattr(unit, conv), getattr(unit, norm)))
                setattr(unit, norm, torch.nn.Identity())
        if getattr(unit, "downsample", None) is not None:
            unit.downsample = torch.nn.Sequential(fuse(unit.downsample[0], unit.downsample[1]))
    return model


def layers_of(network):
    """The launches of each layer: the convolution, its reduction and pooling."""
    groups = []
    for block in network.blocks:
        for launch in block["launches"]:
            if launch["layer"] is not None and launch["kernel"] != "conv_reduce":
                groups.append((block["name"], []))
            groups[-1][1].append(launch)
    return groups


def layer_rows(name, network, kernels, clock, rate, bandwidth):
    """Yields a row per distinct layer. Pooling kernels of their own are not counted on either side."""
    seen = set()
    for block, group in layers_of(network):
        timed = [launch for launch in group if launch["work"] != "pool"]
        key = (timed[0]["kernel"], tuple(timed[0]["ints"]), timed[0]["residual"] is not None)
        if key in seen:
            continue
        seen.add(key)

        def ours(launches=timed):
            stream = torch.cuda.current_stream().cuda_stream
            for launch in launches:
                network.on_gpu(kernels, launch, stream)

        s = Ints(timed[0])
        flops, moved = report.layer_work(s, timed[0]["work"])
        kernel = timed[0]["kernel"] + (f" x{s.splits}" if s.get("splits", 1) > 1 else "")
        if timed[0]["work"] == "conv":
            what = f"{block} {s.kernel}x{s.kernel} {s.channels}->{s.out_channels} @{s.out_height}"
        else:
            what = f"{block} {s.inputs}->{s.outputs}"
        fused, bare = (clock.seconds(work) for work in theirs(network, timed))
        yield report.row(name, what, kernel, flops, moved, clock.seconds(ours), fused, rate, bandwidth, bare)


def whole_row(name, network, kernels, model, image, clock, rate, bandwidth):
    def ours():
        stream = torch.cuda.current_stream().cuda_stream
        for launch in network.launches():
            network.on_gpu(kernels, launch, stream)

    flops = moved = bound = 0.0
    for _, group in layers_of(network):
        f, m = report.layer_work(Ints(group[0]), group[0]["work"])
        flops, moved, bound = flops + f, moved + m, bound + report.roofline_s(f, m, rate, bandwidth)
    half = with_norms_folded(model).half().cuda().to(memory_format=torch.channels_last)
    x = image.half().to(memory_format=torch.channels_last)
    with torch.no_grad():
        whole = clock.seconds(lambda: half(x))
    row = report.row(name, "whole", "graph", flops, moved, clock.seconds(ours), whole, rate, bandwidth)
    # Layer by layer: not every layer is bound by the same.
    row["roofline us"], row["of roofline"] = bound * 1e6, bound * 1e6 / row["ours us"]
    return row
