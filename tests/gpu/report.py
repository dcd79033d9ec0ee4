"""What was found, as a document."""
import json
import math

CONV_FLOPS = 0.2e9  # a convolution from here on counts towards the bars
LINEAR_BYTES = 32e6  # a fully connected layer from here on: below, launching it takes as long as reading it
COLUMNS = ["network", "layer", "kernel", "GFLOP", "MB", "ours us", "cuDNN us", "bare us", "roofline us", "of cuDNN", "of roofline"]


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


def row(network, layer, kernel, flops, moved, ours_s, theirs_s, rate, bandwidth, bare_s=None):
    """`theirs_s`: cuDNN, fused as far as it fuses; `bare_s`: its convolution alone."""
    bound = roofline_s(flops, moved, rate, bandwidth)
    return {
        "network": network, "layer": layer, "kernel": kernel, "GFLOP": flops / 1e9, "MB": moved / 1e6,
        "ours us": ours_s * 1e6, "cuDNN us": theirs_s * 1e6,
        "bare us": "" if bare_s is None else bare_s * 1e6, "roofline us": bound * 1e6,
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
    linears = [r for r in rows if r["kernel"] == "linear_1" and r["MB"] * 1e6 >= LINEAR_BYTES]
    wholes = [r for r in rows if r["layer"] == "whole"]
    verdicts = []
    if convs:
        ratios = [r["of cuDNN"] for r in convs]
        mean = math.exp(sum(map(math.log, ratios)) / len(ratios))
        verdicts.append(("convolutions >= 0.2 GFLOP, geometric mean of fused cuDNN's speed", mean, 0.85, mean >= 0.85))
        verdicts.append(("convolutions >= 0.2 GFLOP, slowest against fused cuDNN", min(ratios), 0.7, min(ratios) >= 0.7))
    for r in linears:
        reached = r["MB"] * 1e6 / (r["ours us"] * 1e-6) / bandwidth
        verdicts.append((f"{r['network']} {r['layer']}, of measured bandwidth", reached, 0.85, reached >= 0.85))
    for r in wholes:
        verdicts.append((f"{r['network']}, speed against torch with cuDNN, norms folded", r["of cuDNN"], 1.0, r["of cuDNN"] >= 1.0))
    return verdicts


def boundary_table(found):
    lines = ["| boundary | launch to known, less the GPU's time, us | later start of the next block, us | processor busy |",
             "|---|---|---|---|"]
    for line in found:
        name, host, stream, busy = (line[key] for key in ("boundary", "host", "stream", "busy"))
        lines.append(f"| {name} | {host} | | |" if stream is None else f"| {name} | {host:.1f} | {stream:.1f} | {busy:.0%} |")
    return "\n".join(lines)


def document(lines):
    """results.md of the lines of results.jsonl."""
    machine = next((line["machine"] for line in lines if "machine" in line), {})
    peaks = next((line["peaks"] for line in lines if "peaks" in line), {})
    rows = [line["row"] for line in lines if "row" in line]
    parts = [f"# {machine.get('gpu', 'unknown GPU')}", "```\n" + json.dumps(machine, indent=1) + "\n```"]
    parts.append("\n".join(f"- {line['step']}: {line['ended']}" for line in lines if "ended" in line))
    checks = []
    for line in lines:
        if "plan" in line:
            checks.append(f"- {line['plan']}: {line['worst']:.1e} at worst, {line['worst_l2']:.1e} by squares"
                          + "".join(f"\n  - WRONG {launch}" for launch in line["wrong"]))
        if "logits" in line:
            checks.append(f"- {line['step']}: logits {line['logits']:.1e} from torchvision's fp32, {line['other_tops']} of "
                          f"{line['images']} clear top-1 differ")
        if "few" in line:
            checks.append(f"- {line['step']}: {line['few']}")
    parts.append("\n".join(checks))
    if peaks:
        parts.append("\n".join(f"- {what}: {value:.4g}" for what, value in peaks.items()))
        verdicts = bars(rows, peaks["bytes a second"])
        parts.append("\n".join(f"- {'met   ' if met else 'MISSED'} {what}: {figure:.2f} (bar {bar})" for what, figure, bar, met in verdicts))
    if found := [line for line in lines if "boundary" in line]:
        parts.append(boundary_table(found))
    if rows:
        parts.append("Batch 1, fp16, medians of graph replays, caches flushed before each. cuDNN: bias, addition and rectifier "
                     "fused; bare: the convolution alone.\n\n" + markdown(rows))
    return "\n\n".join(part for part in parts if part) + "\n"
