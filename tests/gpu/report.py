"""The benchmark's table."""
import math

CONV_FLOPS = 0.2e9  # a convolution from here on counts towards the bars
COLUMNS = ["network", "layer", "kernel", "GFLOP", "MB", "ours us", "cuDNN us", "roofline us", "of cuDNN", "of roofline"]


def layer_work(s, work):
    """(FLOP, bytes in fp16) of a layer from its ints."""
    if work == "linear":
        return 2.0 * s.inputs * s.outputs, 2.0 * (s.inputs * s.outputs + s.inputs + s.outputs)
    out = s.batch * s.out_height * s.out_width * s.out_channels
    inner = s.kernel * s.kernel * min(s.channels, 3 if s.channels == 4 else s.channels)
    moved = s.batch * s.height * s.width * s.channels + s.out_channels * inner + out
    return 2.0 * out * inner, 2.0 * moved


def roofline_s(flops, moved, rate, bandwidth):
    return max(flops / rate, moved / bandwidth)


def row(network, layer, kernel, flops, moved, ours_s, theirs_s, rate, bandwidth):
    bound = roofline_s(flops, moved, rate, bandwidth)
    return {
        "network": network, "layer": layer, "kernel": kernel, "GFLOP": flops / 1e9, "MB": moved / 1e6,
        "ours us": ours_s * 1e6, "cuDNN us": theirs_s * 1e6, "roofline us": bound * 1e6,
        "of cuDNN": theirs_s / ours_s, "of roofline": bound / ours_s,
    }


def text(value):
    if isinstance(value, str):
        return value
    return f"{value:.3f}" if value < 10 else f"{value:.1f}"


def markdown(rows):
    cells = [[text(r[c]) for c in COLUMNS] for r in rows]
    widths = [max(len(c), *(len(line[i]) for line in cells)) if cells else len(c) for i, c in enumerate(COLUMNS)]
    line = lambda words: "| " + " | ".join(w.ljust(n) for w, n in zip(words, widths)) + " |"
    return "\n".join([line(COLUMNS), line(["-" * n for n in widths]), *(line(c) for c in cells)])


def bars(rows, bandwidth):
    """The verdicts on the bars, as (what, figure, bar, met)."""
    convs = [r for r in rows if r["kernel"].startswith(("conv", "stem")) and r["GFLOP"] * 1e9 >= CONV_FLOPS]
    linears = [r for r in rows if r["kernel"] == "linear_1"]
    wholes = [r for r in rows if r["layer"] == "whole"]
    verdicts = []
    if convs:
        ratios = [r["of cuDNN"] for r in convs]
        mean = math.exp(sum(map(math.log, ratios)) / len(ratios))
        verdicts.append(("convolutions >= 0.2 GFLOP, geometric mean of cuDNN's speed", mean, 0.85, mean >= 0.85))
        verdicts.append(("convolutions >= 0.2 GFLOP, slowest against cuDNN", min(ratios), 0.7, min(ratios) >= 0.7))
    for r in linears:
        reached = r["MB"] * 1e6 / (r["ours us"] * 1e-6) / bandwidth
        verdicts.append((f"{r['network']} {r['layer']}, of measured bandwidth", reached, 0.85, reached >= 0.85))
    for r in wholes:
        verdicts.append((f"{r['network']}, speed against torch with cuDNN", r["of cuDNN"], 1.0, r["of cuDNN"] >= 1.0))
    return verdicts
