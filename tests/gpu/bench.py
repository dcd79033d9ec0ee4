"""Times on the GPU: CUDA graphs replayed with cold caches."""
import statistics

import torch
import torch.nn.functional as F

import report
from network import Ints

FLUSH_BYTES = 256 << 20  # more than any of these GPUs' L2 cache


class Clock:
    """Times graphs one replay at a time, everything else thrown out of the caches before each."""

    def __init__(self, repeats):
        self.repeats = repeats
        self.flushed = torch.empty(FLUSH_BYTES, dtype=torch.uint8, device="cuda")

    def capture(self, work):
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(3):  # lets cuDNN choose and allocates what the graph needs
                work()
        torch.cuda.current_stream().wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            work()
        return graph

    def seconds(self, work):
        """The median time of a replay. The flush is longer than a launch takes the host, so that the GPU never waits
        between the first event and the graph."""
        graph = self.capture(work)
        times = []
        for _ in range(self.repeats):
            self.flushed.zero_()
            begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
            begin.record()
            graph.replay()
            end.record()
            end.synchronize()
            times.append(begin.elapsed_time(end) * 1e-3)
        return statistics.median(times)


def measured_bandwidth(clock):
    """Bytes a second of a large copy, both directions counted."""
    source = torch.empty(512 << 20, dtype=torch.uint8, device="cuda")
    target = torch.empty_like(source)
    return 2 * source.numel() / clock.seconds(lambda: target.copy_(source))


def measured_rate(clock, side=4096):
    """FLOP a second of torch's matrix product in fp16."""
    a, b = (torch.randn(side, side, device="cuda", dtype=torch.half) for _ in range(2))
    return 2.0 * side**3 / clock.seconds(lambda: torch.mm(a, b))


def cudnn_layer(network, launches):
    """The same layer as torch does it with cuDNN: the convolution with its bias, not what we fuse behind it."""
    first = launches[0]
    s = Ints(first)
    weight, bias = network.weights[first["layer"]], network.biases[first["layer"]].half()
    if first["work"] == "linear":
        x = torch.randn(1, s.inputs, device="cuda", dtype=torch.half)
        return lambda: F.linear(x, weight, bias[: s.outputs])
    channels = s.channels
    if first["kernel"].startswith("stem_"):
        channels = 3
        weight = weight[..., : s.kernel * 4].view(s.kernel, s.out_channels, s.kernel, 4)[..., :3].permute(1, 3, 0, 2)
    else:
        weight = weight.view(s.out_channels, s.kernel, s.kernel, channels).permute(0, 3, 1, 2)
    like = {"device": "cuda", "dtype": torch.half}
    x = torch.randn(s.batch, channels, s.height, s.width, **like).to(memory_format=torch.channels_last)
    weight = weight.contiguous(memory_format=torch.channels_last)
    return lambda: F.conv2d(x, weight, bias, s.stride, s.pad)


def layers_of(network):
    """The launches of each layer: the convolution, its reduction and pooling."""
    groups = []
    for block in network.blocks:
        for launch in block["launches"]:
            if launch["layer"] is not None and launch["kernel"] != "conv_reduce":
                groups.append((block["name"], []))
            groups[-1][1].append(launch)
    return groups


def bench_layers(name, network, kernels, clock, rate, bandwidth):
    """A row per distinct layer. Pooling kernels of their own are not counted on either side."""
    rows, seen = [], set()
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
        theirs = clock.seconds(cudnn_layer(network, timed))
        rows.append(report.row(name, what, kernel, flops, moved, clock.seconds(ours), theirs, rate, bandwidth))
    return rows


def bench_whole(name, network, kernels, model, image, clock, rate, bandwidth):
    def ours():
        stream = torch.cuda.current_stream().cuda_stream
        for launch in network.launches():
            network.on_gpu(kernels, launch, stream)

    flops = moved = bound = 0.0
    for _, group in layers_of(network):
        f, m = report.layer_work(Ints(group[0]), group[0]["work"])
        flops, moved, bound = flops + f, moved + m, bound + report.roofline_s(f, m, rate, bandwidth)
    half = model.half().cuda().to(memory_format=torch.channels_last)
    x = image.half().to(memory_format=torch.channels_last)
    with torch.no_grad():
        theirs = clock.seconds(lambda: half(x))
    whole = report.row(name, "whole", "graph", flops, moved, clock.seconds(ours), theirs, rate, bandwidth)
    # Layer by layer: not every layer is bound by the same.
    whole["roofline us"], whole["of roofline"] = bound * 1e6, bound * 1e6 / whole["ours us"]
    return whole
